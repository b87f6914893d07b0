package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

func (a *app) hostCommand() *cobra.Command {
	return folder(&cobra.Command{Use: "host", Short: "admit, show and delete hosts"},
		a.hostTokenCommand(), a.hostCreateCommand(), listed(a.hostsCommand()),
		getCommand(a, a.asAnyone, "show a host and its session", hostNames, func(ctx context.Context, c *client.Client, _ dove.Tenant, name string) (api.Host, error) {
			return c.Host(ctx, dove.HostName(name))
		}, a.printHost),
		a.deleteCommand(a.asAnyone, "host", "delete a host that no endpoint is on", `Deletes a host that no endpoint is on. Its certificate and its join tokens are
worth nothing afterwards.`, hostNames, func(ctx context.Context, c *client.Client, _ dove.Tenant, name string, ifMatch *dove.Revision) (dove.Revision, error) {
			return c.DeleteHost(ctx, dove.HostName(name), ifMatch)
		}))
}

func (a *app) hostsCommand() *cobra.Command {
	var filter api.HostFilter
	cmd := &cobra.Command{
		Use: "hosts", Short: "list hosts and how they are connected", Args: cobra.NoArgs,
		Long: `Lists hosts. FOR is how long the session lasts. Everything that concerns the
host up to the revision TOLD was sent to it, and up to ACKED it is enforced in
its kernel. ROWS are the answers that it holds.`,
		Example: "  dovectl hosts --connected=false\n  dovectl hosts --behind",
		RunE: listing(a, a.asAnyone, func(ctx context.Context, c *client.Client, _ dove.Tenant) ([]api.Host, error) {
			return c.Hosts(ctx, filter)
		}, a.hostRows),
	}
	onlyFlag(cmd, &filter.Connected, "connected", "only those with a session with a DPC member in reach; =false: only those without")
	onlyFlag(cmd, &filter.Behind, "behind", "only those that have not acknowledged all that they were told; =false: only those that have")
	return cmd
}

// onlyFlag is a choice that may also be left open.
func onlyFlag(cmd *cobra.Command, to *string, name, usage string) {
	cmd.Flags().BoolFunc(name, usage, func(s string) error {
		yes, err := strconv.ParseBool(s)
		if err != nil {
			return errors.New("it is true or false")
		}
		*to = strconv.FormatBool(yes)
		return nil
	})
}

func (a *app) hostRows(w io.Writer, all ...api.Host) {
	row(w, "NAME", "VTEP", "STATE", "FOR", "TOLD", "ACKED", "ENDPOINTS", "ROWS")
	for _, h := range all {
		if s := h.Session; s != nil {
			row(w, h.Name, h.VTEP, a.hostState(h), age(time.Since(s.Opened)), s.Told, s.Acked, h.Endpoints, s.Peers+s.Pairs)
		} else {
			row(w, h.Name, h.VTEP, a.hostState(h), "", "", "", h.Endpoints, "")
		}
	}
}

func hostNames(ctx context.Context, c *client.Client, _ dove.Tenant, _ string) ([]string, error) {
	all, err := c.Hosts(ctx, api.HostFilter{})
	return namesOf(all, err, func(h api.Host) dove.HostName { return h.Name })
}

// age says how long ago something was, in a few letters.
func age(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// week is how long a join token is good at most.
const week = 7 * 24 * time.Hour

func (a *app) hostTokenCommand() *cobra.Command {
	var vtep netip.Addr
	cmd := &cobra.Command{
		Use: "token NAME", ValidArgsFunction: a.completed(hostNames), Short: "make a token with which a host joins, once", Args: cobra.ExactArgs(1),
		Long: `Makes a token that admits one host, once. The token alone goes to standard
output. With --vtep the host is made with that underlay address, and can join
with no other; without, it joins with the address that it has. A host that
joins again gets a new certificate; its old one is worth nothing from then on.`,
		Example: `  dovectl host token h1 --vtep 192.0.2.11 > h1.token
  dovectl host token h1 --valid 10m`,
	}
	addressFlag(cmd, &vtep, "vtep", "underlay `ADDRESS` that the host must have")
	valid := cmd.Flags().Duration("valid", time.Hour, "how long the token is good, from 1m to 168h")
	cmd.RunE = a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		host := dove.HostName(args[0])
		if *valid < time.Minute || *valid > week {
			return coded{exitRefused, fmt.Errorf("--valid %s is not from 1m to 168h", *valid)}
		}
		if vtep.IsValid() {
			if _, err := c.PutHost(ctx, host, api.HostSpec{VTEP: vtep}, nil); err != nil {
				return err
			}
		}
		token, err := c.CreateJoinToken(ctx, host, *valid)
		if err != nil {
			return err
		}
		if a.form == "table" {
			_, err := fmt.Fprintln(a.out, token.Token)
			return err
		}
		return a.emit(token, nil)
	})
	return cmd
}

func (a *app) hostCreateCommand() *cobra.Command {
	var spec api.HostSpec
	cmd := &cobra.Command{
		Use: "create NAME --vtep ADDRESS", Aliases: []string{"put"}, Short: "make a host before it joins, or change its underlay address", Args: cobra.ExactArgs(1),
		Long: `Makes a host, so that endpoints can be put on it before it joins. A host whose
address changes has to join again, since its certificate names the old one.

With --foreign it is a machine without dSwitch, such as one with a VXLAN device
of the kernel or Open vSwitch: endpoints that are bound to it are reached at its
address, and policy is enforced where the other end is. Say --plain if it does
not know group policy ids.`,
		Example: `  dovectl host create h1 --vtep 192.0.2.11
  dovectl host create store-1 --vtep 192.0.2.80 --foreign --plain`,
	}
	addressFlag(cmd, &spec.VTEP, "vtep", "its underlay `ADDRESS`")
	cmd.Flags().BoolVar(&spec.Foreign, "foreign", false, "it runs no dSwitch")
	cmd.Flags().BoolVar(&spec.Plain, "plain", false, "with --foreign: send it VXLAN without group policy ids")
	write := writeFlags(cmd)
	cmd.RunE = a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		if !spec.VTEP.IsValid() {
			return coded{exitRefused, fmt.Errorf("host %s needs an underlay address: give --vtep ADDRESS", args[0])}
		}
		h, err := write.on(c).PutHost(ctx, dove.HostName(args[0]), spec, write.condition())
		if err != nil {
			return err
		}
		return a.emit(h, func(w io.Writer) { fmt.Fprintf(w, "host %s (%s): revision %d\n", h.Name, h.VTEP, h.Revision) })
	})
	return cmd
}

// addressFlag is a flag that takes an address.
func addressFlag(cmd *cobra.Command, to *netip.Addr, name, usage string) {
	cmd.Flags().Func(name, usage, func(s string) (err error) {
		if *to, err = netip.ParseAddr(s); err == nil {
			return nil
		}
		if p, err := netip.ParsePrefix(s); err == nil {
			return fmt.Errorf("it is a prefix: write the address alone, %s", p.Addr())
		}
		return errors.New("it is no address: write one such as 192.0.2.1 or 2001:db8::1")
	})
}

// hostState says in a word how a host is connected.
func (a *app) hostState(h api.Host) string {
	switch {
	case h.Session != nil:
		return paint(a.colourOut, green, "connected")
	case h.Foreign:
		return "foreign"
	case h.Serial != "":
		return paint(a.colourOut, red, "away")
	}
	return "not-joined"
}

func (a *app) printHost(w io.Writer, h api.Host) {
	row(w, "name:", h.Name)
	row(w, "vtep:", h.VTEP)
	row(w, "state:", a.hostState(h))
	row(w, "certificate:", h.Serial)
	row(w, "endpoints:", h.Endpoints)
	row(w, "revision:", h.Revision)
	if s := h.Session; s != nil {
		row(w, "session:", fmt.Sprintf("%d, since %s", s.Session, s.Opened.Format(time.RFC3339)))
		row(w, "software:", s.Software)
		row(w, "frontier:", fmt.Sprintf("told %d, acknowledged %d", s.Told, s.Acked))
		if s.Paused > 0 {
			row(w, "said too much:", fmt.Sprintf("and was not read for %s", s.Paused.Round(time.Millisecond)))
		}
		row(w, "holds:", fmt.Sprintf("%d peers (%d of them absent), %d class pairs", s.Peers, s.Absent, s.Pairs))
	}
}
