package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

func (a *app) memberCommand() *cobra.Command {
	return folder(&cobra.Command{
		Use: "member", Short: "admit, show, drain and remove members of the DPC",
		Long: `The DPC is one process or several, its members, which serve the same documents.
Have 1, 3 or 5: the loss of one of three, or of two of five, stops nothing.`,
	},
		a.memberTokenCommand(), listed(a.membersCommand()),
		getCommand(a, a.asAnyone, "show a member", memberNames, func(ctx context.Context, c *client.Client, _ dove.Tenant, name string) (api.Member, error) {
			return c.Member(ctx, name)
		}, printMember),
		a.memberDrainCommand("drain NAME", "have a member send its hosts to others and take none", true,
			`Has a member send the sessions of hosts to other members, and take no new ones,
as before its machine is upgraded. Hosts keep what they hold. The member goes on
to serve the API and to keep documents.`),
		a.memberDrainCommand("undrain NAME", "have a member take hosts again", false, ""),
		a.memberRemoveCommand())
}

func (a *app) membersCommand() *cobra.Command {
	return &cobra.Command{
		Use: "members", Short: "list the members of the DPC", Args: cobra.NoArgs,
		Long: `Lists the members of the DPC, with the revision that each has applied and the
number of hosts that have a session with it. The one that answers is marked
with a star; it tells of the others what they told it, and of one that it does
not reach what that said last.`,
		RunE: listing(a, a.asAnyone, func(ctx context.Context, c *client.Client, _ dove.Tenant) ([]api.Member, error) {
			return c.Members(ctx)
		}, func(w io.Writer, all ...api.Member) {
			row(w, "NAME", "API", "CONTROL", "STATE", "APPLIED", "SESSIONS")
			for _, m := range all {
				name := m.Name
				if m.Answers {
					name += " *"
				}
				row(w, name, m.API, m.Control, memberHeard(m), m.Applied, m.Sessions)
			}
		}),
	}
}

// memberHeard is memberState, and whether the one that answers hears of it.
func memberHeard(m api.Member) string {
	if !m.Reached {
		return memberState(m) + ", not reached"
	}
	return memberState(m)
}

func memberState(m api.Member) string {
	if m.Draining {
		return "draining"
	}
	return "serving"
}

func printMember(w io.Writer, m api.Member) {
	row(w, "name:", m.Name)
	row(w, "state:", memberHeard(m))
	row(w, "api:", m.API)
	row(w, "control:", m.Control)
	row(w, "peer:", m.Peer)
	row(w, "etcd:", m.Etcd)
	row(w, "serial:", m.Serial)
	row(w, "joined:", moment(m.Joined))
	row(w, "applied:", m.Applied)
	row(w, "sessions:", m.Sessions)
	row(w, "revision:", m.Revision)
}

func memberNames(ctx context.Context, c *client.Client, _ dove.Tenant, _ string) ([]string, error) {
	all, err := c.Members(ctx)
	return namesOf(all, err, func(m api.Member) string { return m.Name })
}

func (a *app) memberTokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "token NAME", Short: "make a token with which a member joins, once", Args: cobra.ExactArgs(1),
		Long: `Makes a token that admits one member of the DPC, once. The token alone goes to
standard output. Whoever shows it first becomes that member and gets the
authority's key, with which it can admit anybody: carry it over a safe way, and
use it at once.`,
		Example: `  dovectl member token dpc-2 > dpc-2.token
  dpc join - --name dpc-2 --server 192.0.2.254:7443 --advertise 192.0.2.253 \
    < dpc-2.token`,
	}
	valid := cmd.Flags().Duration("valid", 30*time.Minute, "how long the token is good, from 1m to 24h")
	cmd.RunE = a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		if *valid < time.Minute || *valid > 24*time.Hour {
			return coded{exitRefused, fmt.Errorf("--valid %s is not from 1m to 24h", *valid)}
		}
		token, err := c.CreateMemberToken(ctx, args[0], *valid)
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

func (a *app) memberDrainCommand(use, short string, draining bool, long string) *cobra.Command {
	cmd := &cobra.Command{Use: use, ValidArgsFunction: a.completed(memberNames), Short: short, Long: long, Args: cobra.ExactArgs(1)}
	write := writeFlags(cmd)
	cmd.RunE = a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		m, err := write.on(c).DrainMember(ctx, args[0], draining, write.condition())
		if err != nil {
			return err
		}
		return a.emit(m, func(w io.Writer) {
			fmt.Fprintf(w, "member %s is %s: revision %d\n", m.Name, memberState(m), m.Revision)
		})
	})
	return cmd
}

func (a *app) memberRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove NAME", ValidArgsFunction: a.completed(memberNames), Short: "remove a member for good", Args: cobra.ExactArgs(1),
		Long: `Removes a member for good: one whose machine is lost, or that is to be taken out
of service. Its process ends if it runs. It is refused while the others could
not go on without it. To replace a member remove it, then let another one join.

A member has the authority's key: destroy its state folder.`,
	}
	write := writeFlags(cmd)
	cmd.RunE = a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		rev, err := write.on(c).RemoveMember(ctx, args[0], write.condition())
		if err := a.deleted("member "+args[0], rev, err); err != nil {
			return err
		}
		left, err := c.Members(ctx)
		if err != nil {
			return errors.Join(errors.New("what is left cannot be said"), err)
		}
		if note := sizeNote(left); note != "" {
			fmt.Fprintln(a.err, paint(a.colourErr, yellow, note))
		}
		return nil
	})
	return cmd
}

// sizeNote says what an even number of members is worth, where their documents
// are in etcd members inside their processes.
func sizeNote(members []api.Member) string {
	n := len(members)
	if n%2 == 1 || !strings.Contains(members[0].Etcd, ":") {
		return ""
	}
	lost := "none of them may be lost"
	if n > 2 {
		lost = fmt.Sprintf("only %d of them may be lost, as of %d", (n-1)/2, n-1)
	}
	return fmt.Sprintf("there are %d members: %s. Have %d or %d", n, lost, n-1, n+1)
}
