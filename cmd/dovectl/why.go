package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

func (a *app) whyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "why FROM TO TRAFFIC", ValidArgsFunction: a.completed(endpointNames, endpointNames), Short: "say why one endpoint reaches another, or not", Args: cobra.ExactArgs(3),
		Long: `Says whether FROM may open a connection to TO, which rule says so, and where both
are. For a default deny it names the rule that came nearest, and the terms of it
that failed. Ends with exit code 4 if the packet would not arrive.

FROM and TO are endpoints (web-1), addresses (10.0.1.2) or, where that is not
clear, one of an endpoint (web-1/10.0.1.2) or on a network (front/10.0.1.2).
TRAFFIC is written as in a blueprint: tcp/443, icmp, icmp/8, icmpv6/128, proto/47.

The answer is what was intended at the revision that it names; "dovectl wait"
says whether every host enforces that one.`,
		Example: `  dovectl why web-1 db-1 tcp/5432
  dovectl why web-1 fd00:0:0:1::3 icmp
  dovectl why web-1 db-1 udp/53 -o json`,
		RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
			flow, err := parseFlow(args[0], args[1], args[2])
			if err != nil {
				return coded{exitRefused, err}
			}
			why, err := c.Why(ctx, t, flow)
			if err != nil {
				return err
			}
			if err := a.emit(why, func(w io.Writer) { a.printWhy(w, args[2], why) }); err != nil {
				return err
			}
			if !why.Reaches {
				return coded{code: exitDenied} // the answer was given
			}
			return nil
		}),
	}
}

// parseFlow reads traffic as blueprints spell it. What is no known protocol is
// left to the DPC to refuse.
func parseFlow(from, to, traffic string) (api.Flow, error) {
	f := api.Flow{From: from, To: to}
	f.Proto, f.Port, _ = strings.Cut(traffic, "/")
	switch f.Proto {
	case "proto":
		f.Proto, f.Port = f.Port, ""
	case "icmpv4":
		f.Proto = "icmp"
	}
	if f.Port != "" && strings.HasPrefix(f.Proto, "icmp") {
		kind, code, _ := strings.Cut(f.Port+"/0", "/")
		code, _, _ = strings.Cut(code, "/")
		t, err := strconv.ParseUint(kind, 10, 8)
		if err != nil {
			return f, fmt.Errorf("%s: %q is no ICMP type from 0 to 255", traffic, kind)
		}
		c, err := strconv.ParseUint(code, 10, 8)
		if err != nil {
			return f, fmt.Errorf("%s: %q is no ICMP code from 0 to 255", traffic, code)
		}
		f.Port = strconv.FormatUint(t<<8|c, 10)
	}
	return f, nil
}

func (a *app) printWhy(w io.Writer, traffic string, why api.Why) {
	said := paint(a.colourOut, red, "denied")
	if why.Allowed {
		said = paint(a.colourOut, green, "allowed")
	}
	fmt.Fprintf(w, "%s -> %s %s: %s by %s\n", why.From.Endpoint, why.To.Endpoint, traffic, said, why.Rule)
	if why.Nearest != "" {
		fmt.Fprintf(w, "nearest:\t%s, which fails on: %s\n", why.Nearest, why.Failed)
	}
	for _, o := range why.Obstacles {
		fmt.Fprintf(w, "%s\t%s\n", paint(a.colourOut, yellow, "in the way:"), o)
	}
	fmt.Fprintf(w, "from:\t%s\n", placeLine(why.From))
	fmt.Fprintf(w, "to:\t%s\n", placeLine(why.To))
	if why.Forth != "" {
		fmt.Fprintf(w, "tables:\tforth %s, back %s\n", why.Forth, why.Back)
	}
	fmt.Fprintf(w, "revision:\t%d\n", why.Revision)
}

func placeLine(p api.WhyPlace) string {
	groups, host := "no group", "on no host"
	if len(p.Groups) > 0 {
		groups = strings.Join(p.Groups, ", ")
	}
	if p.Host != "" {
		host = "on host " + string(p.Host)
	}
	if p.VTEP != "" {
		host += " at " + p.VTEP
	}
	return fmt.Sprintf("%s on %s (VNI %d), %s (class %d), %s", p.Address, p.Network, p.VNI, groups, p.Class, host)
}
