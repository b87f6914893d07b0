package main

import (
	"cmp"
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

func (a *app) resolveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "resolve FROM TO", Short: "show what the DPC would answer a dSwitch", Args: cobra.ExactArgs(2),
		Long: `Shows what the DPC would answer if the dSwitch of FROM asked about TO now: who
has the address and where, and what may pass between the two classes in either
direction. A switch is not told where somebody is that nobody on it may talk
to.

FROM and TO are written as in "dovectl why". TO may be an address that nobody
has. What a switch does hold, "dswitch held" shows on its host.`,
		Example:           "  dovectl resolve web-1 db-1\n  dovectl resolve web-1 10.0.1.99",
		ValidArgsFunction: a.completed(endpointNames, endpointNames),
		RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
			r, err := c.Resolve(ctx, t, api.Resolving{From: args[0], To: args[1]})
			if err != nil {
				return err
			}
			return a.emit(r, func(w io.Writer) { a.printResolution(w, r) })
		}),
	}
}

func (a *app) printResolution(w io.Writer, r api.Resolution) {
	asks := "it is on no host, so nobody"
	if r.From.Host != "" {
		asks = "dSwitch of " + string(r.From.Host)
	}
	fmt.Fprintf(w, "asks:\t%s, for %s at %s on %s\n", asks, r.From.Endpoint, r.From.Address, r.From.Network)
	fmt.Fprintf(w, "about:\t%s\n", r.Address)
	colour := yellow
	if r.Status == "found" {
		colour = green
	}
	answer := paint(a.colourOut, colour, r.Status)
	if r.Detail != "" {
		answer += ": " + r.Detail
	}
	fmt.Fprintf(w, "answer:\t%s\n", answer)
	if p := r.Peer; p != nil {
		fmt.Fprintf(w, "peer:\t%s, %s, class %d of %s\n", p.Endpoint, p.MAC, p.Class, p.Domain)
		where := string(p.Host) + " at " + p.VTEP
		if p.Withheld {
			where = "withheld: " + p.Why
		}
		fmt.Fprintf(w, "where:\t%s\n", where)
		if p.Router != "" {
			over := fmt.Sprintf("router %s, on network %s", p.Router, p.Network)
			if p.Route != "" {
				over += ", by the route to " + p.Route
			}
			fmt.Fprintf(w, "over:\t%s\n", over)
		}
		for _, way := range p.Ways {
			fmt.Fprintf(w, "or:\t%s, class %d, on %s\n", way.Endpoint, way.Class, cmp.Or(string(way.Host), "a host that is withheld"))
		}
	}
	fmt.Fprintf(w, "revision:\t%d\n", r.Revision)
	a.printPair(w, "forth", r.Forth)
	a.printPair(w, "back", r.Back)
}

// printPair shows what may pass from one class to another.
func (a *app) printPair(w io.Writer, way string, p *api.ResolvedPair) {
	if p == nil {
		return
	}
	fmt.Fprintf(w, "\n%s, from class %d to %d:\n", way, p.From, p.To)
	line := func(range_, says string) {
		verdict, rule, _ := strings.Cut(says, " ")
		colour := red
		if verdict == "allow" {
			colour = green
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", range_, paint(a.colourOut, colour, verdict), rule)
	}
	for _, text := range p.Ranges {
		if ports, says, _ := strings.Cut(text, " "); says != p.Default {
			line(spell(ports), says)
		}
	}
	line("all else", p.Default)
}

// spell writes PROTOCOL/FIRST-LAST as blueprints do.
func spell(text string) string {
	protocol, ports, _ := strings.Cut(text, "/")
	from, to, _ := strings.Cut(ports, "-")
	first, err := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	switch icmp := strings.HasPrefix(protocol, "icmp"); {
	case err != nil || err2 != nil:
		return text
	case first == 0 && last == 1<<16-1:
		return strings.TrimSuffix(traffic(protocol, 0), "/0")
	case first == last:
		return traffic(protocol, uint16(first))
	case icmp && first&255 == 0 && last == first|255:
		return traffic(protocol, uint16(first))
	case icmp:
		return fmt.Sprintf("%s/%d/%d to %d/%d", protocol, first>>8, first&255, last>>8, last&255)
	}
	return text
}
