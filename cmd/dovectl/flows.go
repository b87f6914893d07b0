package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

func (a *app) flowsCommand() *cobra.Command {
	var filter api.FlowFilter
	var follow bool
	cmd := &cobra.Command{
		Use: "flows", Short: "list the flows that switches carry now, or follow them", Args: cobra.NoArgs,
		Long: `Asks the switches of all hosts that the tenant has endpoints on which flows
they carry. FROM sent first; PORT/ID is the port that it sent from, of icmp the
identifier. A flow over a router is listed once, too, with the counts of where
it was sent. A flow stays for some seconds after its end, and one whose policy
changed until its next packet, which is judged anew. Hosts that do not answer
are named on standard error.

With -f nothing is listed, and what happens from now on is told as it happens:
new flows, ended ones, denied packets with the reason or the rule (of a flow
that tries again and again, about one a second), and flows that a policy with
"log: true" allows, however short they live. It ends when it is
interrupted, or nobody reads its output. With -o json each is one line.`,
		Example: "  dovectl flows --endpoint web-1\n  dovectl flows -f\n  dovectl flows -f --rule default-deny -o json",
		RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, _ []string) error {
			if follow {
				return a.followFlows(ctx, c, t, filter)
			}
			all, err := c.Flows(ctx, t, filter)
			if err != nil {
				return err
			}
			a.warnFlows(all)
			return a.emit(all, func(w io.Writer) { flowRows(w, all.Items) })
		}),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&follow, "follow", "f", false, "tell what happens from now on")
	f.StringVar((*string)(&filter.Endpoint), "endpoint", "", "only those from or to endpoint `ID`")
	f.StringVar(&filter.Rule, "rule", "", "only those that `RULE` allows or denies, such as shop/web-db or default-deny")
	f.StringVar(&filter.Protocol, "protocol", "", "only those of `PROTOCOL`: tcp, udp, sctp, icmp, icmpv6 or a number")
	a.completedFlag(cmd, "endpoint", endpointNames)
	choices(cmd, "protocol", "tcp", "udp", "sctp", "icmp", "icmpv6")
	return cmd
}

func flowRows(w io.Writer, all []api.LiveFlow) {
	row(w, "FROM", "TO", "TRAFFIC", "PORT/ID", "RULE", "HOSTS", "IDLE", "PACKETS", "BYTES")
	for _, f := range all {
		row(w, end(f.From, f.Src), end(f.To, f.Dst), traffic(f.Protocol, f.DstPort), f.SrcPort, f.Rule,
			several(slices.Sorted(slices.Values(f.Hosts))), brief(f.Idle), f.Packets, f.Bytes)
	}
}

// warnUnanswered says what follows from each host that did not answer.
func (a *app) warnUnanswered(hosts, noSession []dove.HostName, so string) {
	for _, host := range hosts {
		said := "did not answer"
		if slices.Contains(noSession, host) {
			said = "has no session"
		}
		fmt.Fprintln(a.err, paint(a.colourErr, yellow, fmt.Sprintf("%s %s: %s", host, said, so)))
	}
}

// warnFlows says what is not in a list of flows.
func (a *app) warnFlows(all api.Flows) {
	a.warnUnanswered(all.Unanswered, all.NoSession, "flows that only it carries are missing")
	for _, host := range all.Foreign {
		fmt.Fprintf(a.err, "%s is foreign: of its flows those are listed that other hosts tell of\n", host)
	}
	if all.Lost > 0 {
		fmt.Fprintln(a.err, paint(a.colourErr, yellow, fmt.Sprintf("%d flows are left out because they are too many: use --endpoint, --rule or --protocol", all.Lost)))
	}
}

func (a *app) followFlows(ctx context.Context, c *client.Client, t dove.Tenant, filter api.FlowFilter) error {
	ctx, stop := whileRead(ctx, a.out)
	defer stop()
	for event, err := range c.WatchFlows(ctx, t, filter) {
		if ctx.Err() != nil {
			return nil // whoever asked has seen enough
		}
		if err != nil {
			return err
		}
		if err := a.emitLine(event, a.flowLine(event)); err != nil {
			return err
		}
	}
	return nil
}

// flowLine tells one event.
func (a *app) flowLine(e api.FlowEvent) string {
	at := e.At.Local().Format("15:04:05.000")
	switch e.Event {
	case "lost":
		return fmt.Sprintf("%s  %s\n", at, paint(a.colourOut, yellow, fmt.Sprintf("%d events were lost: too many at once", e.Count)))
	case "host":
		if e.Answers != nil && *e.Answers {
			return fmt.Sprintf("%s  host %s answers\n", at, e.Host)
		}
		said := "does not answer"
		if e.Reason == "no-session" {
			said = "has no session"
		}
		return fmt.Sprintf("%s  %s\n", at, paint(a.colourOut, yellow, fmt.Sprintf("host %s %s: what happens there is not told", e.Host, said)))
	}
	what, why := e.Event, e.Rule
	switch e.Event {
	case "new":
		what = paint(a.colourOut, green, "new   ")
	case "ended":
		what = "ended "
		why += fmt.Sprintf(", %d packets, %d bytes", e.Packets, e.Bytes)
	case "logged":
		what = "logged"
	case "denied":
		what = paint(a.colourOut, red, "denied")
		why = "by " + cmp.Or(e.Rule, e.Reason)
	}
	port := ""
	if e.SrcPort != 0 {
		port = fmt.Sprintf(" (%s %d)", sourceOf(e.Protocol), e.SrcPort)
	}
	return fmt.Sprintf("%s  %s  %s -> %s  %s%s  %s, at %s\n", at, what, end(e.From, e.Src), end(e.To, e.Dst), traffic(e.Protocol, e.DstPort), port, why, e.Host)
}

// end is the name of one end of a flow, or its address if it has none.
func end(name dove.EndpointID, address string) string { return cmp.Or(string(name), address) }

// sourceOf says what number the sender of a flow chose.
func sourceOf(protocol string) string {
	if strings.HasPrefix(protocol, "icmp") {
		return "id"
	}
	return "port"
}

// traffic spells a destination as blueprints do.
func traffic(protocol string, port uint16) string {
	switch protocol {
	case "icmp", "icmpv6":
		if code := port & 255; code != 0 {
			return fmt.Sprintf("%s/%d/%d", protocol, port>>8, code)
		}
		return fmt.Sprintf("%s/%d", protocol, port>>8)
	case "tcp", "udp", "sctp":
		return protocol + "/" + strconv.Itoa(int(port))
	}
	if strings.Trim(protocol, "0123456789") == "" {
		return "proto/" + protocol
	}
	return protocol
}
