package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
)

func (a *app) whyCommand() *cobra.Command {
	var intended bool
	cmd := &cobra.Command{
		Use: "why FROM TO TRAFFIC", ValidArgsFunction: a.completed(endpointNames, endpointNames), Short: "say why one endpoint reaches another, or not", Args: cobra.ExactArgs(3),
		Long: `Says whether FROM may open a connection to TO, which rule says so, and where
both are. Where a default denies it names the rule that came nearest, and the
terms of it that failed: were they as the packet wants them, it would pass.
Where a policy in shadow would decide, it says what and which one, and where an
end that keeps no state denies the answers, by which rule.
Then the switches of both say what they would do with the packet now.

FROM and TO are endpoints (web-1), addresses (10.0.1.2) or, where that is not
clear, one of an endpoint (web-1/10.0.1.2) or on a network (front/10.0.1.2). TO
may be an address that only a static route leads to from FROM. One of the two
may be an address that nobody has: then it says what policy would say, and where
packets end.
TRAFFIC is written as in a blueprint: tcp/443, icmp, icmp/8, icmpv6/128,
proto/47.

A switch AGREES if it does what is intended, by the same rule. One that does
not is behind or in trouble: SEEN is the revision of the last word that it
took. One that would ask holds no answer yet, as before the first packet, and
agrees.

Ends with exit code 4 if the packet would not arrive as intended, and with 5 if
a switch that answered does not agree.`,
		Example: `  dovectl why web-1 db-1 tcp/5432
  dovectl why web-1 fd00:0:0:1::3 icmp
  dovectl why web-1 db-1 udp/53 -o json`,
		RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
			flow, err := parseFlow(args[0], args[1], args[2])
			if err != nil {
				return coded{exitRefused, err}
			}
			ask := c.Why
			if intended {
				ask = c.WhyIntended
			}
			why, err := ask(ctx, t, flow)
			if err != nil {
				return err
			}
			if err := a.emit(why, func(w io.Writer) { a.printWhy(w, args[2], why) }); err != nil {
				return err
			}
			if code := whyCode(why); code != exitOK {
				return coded{code: code} // the answer was given
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&intended, "intended", false, "say what is intended, and ask no switch")
	return cmd
}

// parseFlow reads the traffic of one packet as blueprints spell it.
func parseFlow(from, to, traffic string) (api.Flow, error) {
	f := api.Flow{From: from, To: to}
	proto, rest, more := strings.Cut(traffic, "/")
	switch proto {
	case "tcp", "udp", "sctp":
		if n, err := strconv.ParseUint(rest, 10, 16); err != nil || n == 0 {
			return f, fmt.Errorf("%q does not say the one port, from 1 to 65535, that a packet goes to: write %s/443", traffic, proto)
		}
		f.Proto, f.Port = proto, rest
	case "icmp", "icmpv4", "icmpv6":
		f.Proto = strings.TrimSuffix(proto, "v4")
		if !more {
			return f, nil
		}
		kind, code, _ := strings.Cut(rest, "/")
		t, err := strconv.ParseUint(kind, 10, 8)
		if err != nil {
			return f, fmt.Errorf("%s: %q is no ICMP type from 0 to 255", traffic, kind)
		}
		c, err := strconv.ParseUint(cmp.Or(code, "0"), 10, 8)
		if err != nil {
			return f, fmt.Errorf("%s: %q is no ICMP code from 0 to 255", traffic, code)
		}
		f.Port = strconv.FormatUint(t<<8|c, 10)
	case "proto":
		n, err := strconv.ParseUint(rest, 10, 8)
		if err != nil || n == 0 {
			return f, fmt.Errorf("%q names no protocol: write proto/47, a number from 1 to 255", traffic)
		}
		p := dove.Protocol(n)
		if p.HasPorts() {
			return f, fmt.Errorf("%q does not say the port that a packet goes to: write %s/443", traffic, p)
		}
		f.Proto = rest
	default:
		return f, fmt.Errorf("%q is no traffic of one packet: write tcp/443, udp/53, sctp/5060, icmp, icmp/8, icmpv6/128 or proto/47", traffic)
	}
	return f, nil
}

// printWhy says what was intended, where both ends are, and what their switches
// do now.
func (a *app) printWhy(w io.Writer, traffic string, why api.Why) {
	fmt.Fprintf(w, "%s -> %s %s: %s by %s\n", endName(why.From), endName(why.To), traffic, a.verdict(why.Allowed), why.Rule)
	if why.Nearest != "" {
		fmt.Fprintf(w, "nearest:\t%s, which fails on: %s\n", why.Nearest, why.Failed)
	}
	for _, f := range why.Because {
		fmt.Fprintf(w, "\t%s: %s\n", f.Term, f.Says)
	}
	if s := why.Shadow; s != nil {
		fmt.Fprintf(w, "in shadow:\t%s by %s\n", a.verdict(s.Allowed), s.Rule)
	}
	for _, n := range why.NoReply {
		at := "answers"
		if n.Ports != "any" {
			at = "answers to ports " + n.Ports
		}
		fmt.Fprintf(w, "%s\t%s are denied by %s: an end keeps no state\n", paint(a.colourOut, yellow, "no reply:"), at, n.Rule)
	}
	for _, o := range why.Obstacles {
		fmt.Fprintf(w, "%s\t%s\n", paint(a.colourOut, yellow, "in the way:"), o)
	}
	if why.Router != "" {
		fmt.Fprintf(w, "over:\trouter %s\n", why.Router)
	}
	fmt.Fprintf(w, "revision:\t%d\n\n", why.Revision)
	row(w, "END", "ADDRESS", "NETWORK", "GROUPS", "CLASS", "HOST")
	place := func(end string, p api.WhyPlace) {
		host := string(p.Host)
		if p.VTEP != "" {
			host += " at " + p.VTEP
		}
		row(w, end, p.Address, p.Network, strings.Join(p.Groups, ","), p.Class, host)
	}
	place("from", why.From)
	place("to", why.To)
	if len(why.Live) == 0 {
		return
	}
	fmt.Fprintln(w)
	row(w, "SWITCH", "SIDE", "NOW", "RULE", "SEEN", "AGREES")
	for _, l := range why.Live {
		if l.State != answered {
			said := l.State
			if l.Host == "" {
				said = "on no host"
			}
			row(w, l.Host, l.Role, paint(a.colourOut, yellow, said), "", "", "")
			continue
		}
		agrees := "yes"
		if !l.Agrees {
			agrees = paint(a.colourOut, red, "NO")
		}
		row(w, l.Host, l.Role, l.Standing, l.Rule, l.Seen, agrees)
	}
	for _, l := range why.Live {
		if l.Detail != "" && (l.State == answered || l.State == "foreign") {
			fmt.Fprintf(w, "%s: %s\n", l.Host, l.Detail)
		}
		if f := l.Flow; f != nil {
			port := ""
			if f.SrcPort != 0 {
				port = fmt.Sprintf(" from %s %d", sourceOf(why.Protocol), f.SrcPort)
			}
			fmt.Fprintf(w, "%s remembers one%s: %d packets, %d bytes, idle %s\n", l.Host, port, f.Packets, f.Bytes, brief(f.Idle))
		}
	}
}

// endName is an end's endpoint, or the address that nobody has.
func endName(p api.WhyPlace) string { return cmp.Or(string(p.Endpoint), p.Address+" (nobody's)") }

func (a *app) verdict(allowed bool) string {
	if allowed {
		return paint(a.colourOut, green, "allowed")
	}
	return paint(a.colourOut, red, "denied")
}

// answered is the state of a live switch that said what it does.
const answered = "answered"

// whyCode is the exit code of an answer.
func whyCode(why api.Why) int {
	for _, l := range why.Live {
		if l.State == answered && !l.Agrees {
			return exitDiffers
		}
	}
	if !why.Reaches {
		return exitDenied
	}
	return exitOK
}

// brief is a duration without the digits that nobody reads.
func brief(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return age(d)
}
