package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"time"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

func (a *app) hostCommand() *cobra.Command {
	remove := &cobra.Command{
		Use: "delete NAME", Short: "delete a host to which no endpoint is bound", Args: cobra.ExactArgs(1),
		Long: "Deletes a host to which no endpoint is bound. Its certificate and its join tokens are worth nothing afterwards.",
	}
	ifMatch := ifMatchFlag(remove)
	remove.RunE = a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		rev, err := c.DeleteHost(ctx, dove.HostName(args[0]), ifMatch())
		return a.deleted("host "+args[0], rev, err)
	})
	return folder(&cobra.Command{Use: "host", Short: "admit, list and delete hosts"},
		a.hostTokenCommand(), a.hostCreateCommand(),
		&cobra.Command{
			Use: "list", Short: "list hosts", Args: cobra.NoArgs,
			RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
				all, err := c.Hosts(ctx)
				if err != nil {
					return err
				}
				return a.emit(all, func(w io.Writer) {
					row(w, "NAME", "VTEP", "STATE", "ENDPOINTS", "REVISION")
					for _, h := range all {
						row(w, h.Name, h.VTEP, hostState(h), h.Endpoints, h.Revision)
					}
				})
			}),
		},
		&cobra.Command{
			Use: "get NAME", Short: "show a host and its session", Args: cobra.ExactArgs(1),
			RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
				h, err := c.Host(ctx, dove.HostName(args[0]))
				if err != nil {
					return err
				}
				return a.emit(h, func(w io.Writer) { printHost(w, h) })
			}),
		},
		remove)
}

// week is how long a join token is good at most.
const week = 7 * 24 * time.Hour

func (a *app) hostTokenCommand() *cobra.Command {
	var vtep netip.Addr
	cmd := &cobra.Command{
		Use: "token NAME", Short: "make a token with which a host joins, once", Args: cobra.ExactArgs(1),
		Long: `Makes a token that admits one host, once. The token alone goes to standard output.
With --vtep the host is made with that underlay address, and can join with no
other; without, it joins with the address that it has. A host that joins again
gets a new certificate; its old one is worth nothing from then on.`,
		Example: `  dovectl host token h1 --vtep 192.0.2.11 > h1.token
  dovectl host token h1 --valid 10m`,
	}
	cmd.Flags().TextVar(&vtep, "vtep", netip.Addr{}, "underlay `ADDRESS` that the host must have")
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
	var vtep netip.Addr
	cmd := &cobra.Command{
		Use: "create NAME --vtep ADDRESS", Aliases: []string{"put"}, Short: "make a host before it joins, or change its underlay address", Args: cobra.ExactArgs(1),
		Long: `Makes a host, so that endpoints can be bound to it before it joins. A host whose
address changes has to join again, since its certificate names the old one.`,
		Example: "  dovectl host create h1 --vtep 192.0.2.11",
	}
	cmd.Flags().TextVar(&vtep, "vtep", netip.Addr{}, "its underlay `ADDRESS`")
	ifMatch := ifMatchFlag(cmd)
	cmd.RunE = a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		if !vtep.IsValid() {
			return coded{exitRefused, fmt.Errorf("host %s needs an underlay address: give --vtep ADDRESS", args[0])}
		}
		h, err := c.PutHost(ctx, dove.HostName(args[0]), api.HostSpec{VTEP: vtep}, ifMatch())
		if err != nil {
			return err
		}
		return a.emit(h, func(w io.Writer) { fmt.Fprintf(w, "host %s (%s): revision %d\n", h.Name, h.VTEP, h.Revision) })
	})
	return cmd
}

// hostState says in a word how a host is connected.
func hostState(h api.Host) string {
	switch {
	case h.Session != nil:
		return "connected"
	case h.Serial != "":
		return "away"
	}
	return "not-joined"
}

func printHost(w io.Writer, h api.Host) {
	row(w, "name:", h.Name)
	row(w, "vtep:", h.VTEP)
	row(w, "state:", hostState(h))
	row(w, "certificate:", h.Serial)
	row(w, "endpoints:", h.Endpoints)
	row(w, "revision:", h.Revision)
	if s := h.Session; s != nil {
		row(w, "session:", fmt.Sprintf("%d, since %s", s.Session, s.Opened.Format(time.RFC3339)))
		row(w, "software:", s.Software)
		row(w, "frontier:", fmt.Sprintf("told %d, acknowledged %d", s.Told, s.Acked))
		row(w, "holds:", fmt.Sprintf("%d peers (%d of them absent), %d class pairs", s.Peers, s.Absent, s.Pairs))
	}
}
