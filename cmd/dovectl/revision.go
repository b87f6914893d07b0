package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

// How long one question for a receipt waits: short at first, so that somebody
// who waits soon sees for whom.
const (
	firstPoll = time.Second
	laterPoll = 10 * time.Second
	answering = 10 * time.Second // that an answer may take beyond its wait
)

func parseRevision(s string) (dove.Revision, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		return 0, coded{exitRefused, fmt.Errorf("%q is no revision: use the number that a change answered", s)}
	}
	return dove.Revision(n), nil
}

func (a *app) waitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "wait REVISION", Short: "wait until every host enforces a revision", Args: cobra.ExactArgs(1),
		Long: `Waits until every host that is connected enforces the revision, and prints its
receipt. Meanwhile it names on standard error the hosts that it waits for. Ends
with exit code 3 if some host does not enforce it when the time is over.

Hosts that have endpoints but no session are named as unconfirmed: they enforce
what they knew last, and do not hold up the receipt.`,
		Example: "  dovectl wait 42 --timeout 30s",
	}
	timeout := cmd.Flags().Duration("timeout", waitTimeout, "how long to wait at most")
	cmd.RunE = a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		rev, err := parseRevision(args[0])
		if err != nil {
			return err
		}
		return a.await(ctx, c, rev, *timeout, a.out)
	})
	return cmd
}

// await waits for a receipt and prints it to out. Whoever is waited for is named
// whenever that changes.
func (a *app) await(ctx context.Context, c *client.Client, rev dove.Revision, timeout time.Duration, out io.Writer) error {
	deadline := time.Now().Add(timeout)
	said := ""
	for poll := firstPoll; ; poll = laterPoll {
		wait := max(min(poll, time.Until(deadline).Round(time.Millisecond)), time.Millisecond)
		limited, cancel := context.WithTimeoutCause(ctx, wait+answering, errors.New("it took too long"))
		receipt, err := c.Receipt(limited, rev, wait)
		cancel()
		switch {
		case err != nil:
			return err
		case receipt.Complete:
			if out == a.out {
				return a.emit(receipt, func(w io.Writer) { fmt.Fprintln(w, receiptLine(receipt, "")) })
			}
			fmt.Fprintln(out, receiptLine(receipt, ""))
			return nil
		case !time.Now().Before(deadline):
			if out == a.out && a.form != "table" {
				if err := a.emit(receipt, nil); err != nil {
					return err
				}
			}
			return coded{exitIncomplete, errors.New(receiptLine(receipt, " after "+timeout.String()))}
		}
		if line := receiptLine(receipt, ""); line != said {
			said = line
			fmt.Fprintln(a.err, line)
		}
	}
}

// receiptLine says how far a revision got, after some time.
func receiptLine(r api.Receipt, after string) string {
	line := fmt.Sprintf("revision %d is not complete%s", r.Revision, after)
	if r.Complete {
		where, who := "", fmt.Sprintf("%d hosts were told", r.Told)
		switch r.Told {
		case 0:
			who = "no host had to be told"
		case 1:
			who = "1 host was told"
		}
		if len(r.Unconfirmed) > 0 {
			where = " on hosts with a session"
		}
		line = fmt.Sprintf("revision %d is complete%s: %s", r.Revision, where, who)
		if r.Took > 0 {
			line += fmt.Sprintf(", it took %s", r.Took.Round(10*time.Microsecond))
		}
	}
	if len(r.Pending) > 0 {
		line += "; pending: " + several(r.Pending)
	}
	if len(r.Failed) > 0 {
		line += "; failed: " + failures(r.Failed)
	}
	if len(r.Unconfirmed) > 0 {
		line += "; unconfirmed, without a session and perhaps as before: " + several(r.Unconfirmed)
	}
	if len(r.Unknown) > 0 {
		line += "; unknown: " + unknown(r.Unknown)
	}
	if len(r.Members) > 0 {
		line += "; not said yet by members: " + strings.Join(r.Members, ", ")
	}
	return line
}

// unknown says of which hosts only a member could tell that is not reached.
func unknown(hosts []api.UnknownHost) string {
	said := make([]string, len(hosts))
	for i, u := range hosts {
		said[i] = fmt.Sprintf("%s (was with %s)", u.Host, u.Member)
	}
	return strings.Join(said, ", ")
}

// failures says which hosts could not do something, and why.
func failures(failed []api.HostFailure) string {
	said := make([]string, len(failed))
	for i, f := range failed {
		said[i] = fmt.Sprintf("%s (%s)", f.Host, f.Reason)
	}
	return strings.Join(said, ", ")
}

func (a *app) receiptCommand() *cobra.Command {
	return &cobra.Command{
		Use: "receipt REVISION", Short: "show how far a revision got", Args: cobra.ExactArgs(1),
		Long: `Shows how far a revision got, and does not wait ("dovectl wait" does).

  complete     every host with a session that it concerns enforces it
  told         how many hosts with a session it concerned
  pending      hosts that were told and have not acknowledged
  failed       hosts that could not do something of it, and why; they keep
               closed what that would have opened, and try again
  unconfirmed  hosts that have endpoints but no session: they enforce what they
               knew last, and do not hold it up
  unknown      hosts whose session was with a DPC member that is not reached;
               they hold it up until they have one elsewhere, or the member is
               back or removed
  members      other DPC members that have not said yet how far their hosts are
  committed    when the DPC member applied it; missing if too long ago
  completed    when the last host acknowledged it
  took         from committed to completed; nanoseconds in JSON and YAML`,
		Example: "  dovectl receipt 42",
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			rev, err := parseRevision(args[0])
			if err != nil {
				return err
			}
			r, err := c.Receipt(ctx, rev, 0)
			if err != nil {
				return err
			}
			return a.emit(r, func(w io.Writer) {
				row(w, "revision:", r.Revision)
				row(w, "complete:", r.Complete)
				row(w, "told:", r.Told)
				row(w, "pending:", several(r.Pending))
				row(w, "failed:", failures(r.Failed))
				row(w, "unconfirmed:", several(r.Unconfirmed))
				if len(r.Unknown) > 0 {
					row(w, "unknown:", unknown(r.Unknown))
				}
				if len(r.Members) > 0 {
					row(w, "members:", strings.Join(r.Members, ", "))
				}
				row(w, "committed:", moment(r.Committed))
				row(w, "completed:", moment(r.Completed))
				if r.Took > 0 {
					row(w, "took:", r.Took)
				}
			})
		}),
	}
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "show the DPC member, and which hosts are behind or absent", Args: cobra.NoArgs,
		Long: `Shows the DPC member that answers, what it knows, and the hosts that should
worry somebody. Behind are those that have not acknowledged all that they were
told, absent those without a session with a member in reach; foreign ones run no
dSwitch and need none. "dovectl hosts" has all of them.`,
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			s, err := c.Status(ctx)
			if err != nil {
				return err
			}
			return a.emit(s, func(w io.Writer) { a.printStatus(w, s) })
		}),
	}
}

func (a *app) printStatus(w io.Writer, s api.Status) {
	row(w, "member:", s.Member)
	if len(s.Members) > 1 {
		row(w, "members:", strings.Join(s.Members, ", "))
	}
	row(w, "version:", s.Version)
	row(w, "revision:", s.Revision)
	row(w, "incarnation:", s.Incarnation)
	row(w, "tenants:", s.Tenants)
	row(w, "endpoints:", s.Endpoints)
	row(w, "hosts:", fmt.Sprintf("%d, %d with a session", s.Hosts, s.Sessions))
	row(w, "behind:", a.someHosts(s.Behind))
	row(w, "absent:", a.someHosts(s.Absent))
	if s.Foreign.Count > 0 {
		row(w, "foreign:", firstOf(s.Foreign))
	}
	row(w, "store:", fmt.Sprintf("%d %% full, led by %s", s.Store.Full, cmp.Or(s.Store.Leader, "nobody")))
	for _, alarm := range s.Store.Alarms {
		row(w, "alarm:", paint(a.colourOut, yellow, alarm))
	}
}

// someHosts counts hosts that should be none, and names the first of them.
func (a *app) someHosts(h api.SomeHosts) string {
	if h.Count == 0 {
		return "none"
	}
	return paint(a.colourOut, yellow, firstOf(h))
}

// firstOf counts hosts and names the first of them.
func firstOf(h api.SomeHosts) string {
	text := fmt.Sprintf("%d: %s", h.Count, strings.Join(strings.Split(several(h.First), ","), ", "))
	if more := h.Count - len(h.First); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// versions is the answer to version.
type versions struct {
	Dovectl string       `json:"dovectl"`
	DPC     *api.Version `json:"dpc,omitempty"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "show the version of dovectl, and of the DPC if one is configured", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Dovectl: version}
			c, err := a.connect()
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err == nil {
				defer c.Close()
				answer, err := c.Version(cmd.Context())
				if err != nil {
					return err
				}
				v.DPC = &answer
			}
			return a.emit(v, func(w io.Writer) {
				row(w, "dovectl:", v.Dovectl)
				if v.DPC != nil {
					row(w, "dpc:", fmt.Sprintf("%s (control protocol %d)", v.DPC.Version, v.DPC.Protocol))
				}
			})
		},
	}
}
