package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"dove.network/agent"
	"dove.network/dove"
)

// asker is what the commands that ask a running dswitch have in common.
type asker struct {
	state string
	json  bool
}

// askCommands are the commands that talk to the local socket.
func askCommands() []*cobra.Command {
	var follow bool
	drops := askCommand("drops", "Show the last drops, with names", cobra.NoArgs, func(ctx context.Context, c *agent.Client, a *asker, _ []string, w io.Writer) error {
		return showDrops(ctx, c, a, follow, w)
	})
	drops.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more")
	return []*cobra.Command{
		askCommand("status", "Show the session, what is held, and the ports", cobra.NoArgs, showStatus),
		askCommand("plug ENDPOINT DEVICE", "Name the device of an endpoint (tenant/id); \"\" goes back to the default", cobra.ExactArgs(2),
			func(ctx context.Context, c *agent.Client, a *asker, args []string, w io.Writer) error {
				return plug(args[0], a, w, func(e dove.Endpoint) (agent.PlugReply, error) { return c.Plug(ctx, e, args[1]) })
			}),
		askCommand("unplug ENDPOINT", "Close an endpoint's port until the next plug", cobra.ExactArgs(1),
			func(ctx context.Context, c *agent.Client, a *asker, args []string, w io.Writer) error {
				return plug(args[0], a, w, func(e dove.Endpoint) (agent.PlugReply, error) { return c.Unplug(ctx, e) })
			}),
		drops,
		askCommand("flows", "Show the flow table", cobra.NoArgs, showFlows),
		askCommand("counts", "Show what was dropped since the start, by port, reason and rule", cobra.NoArgs, showCounts),
		askCommand("held", "Show the held answers of the DPC", cobra.NoArgs, showHeld),
	}
}

func askCommand(use, short string, args cobra.PositionalArgs, act func(context.Context, *agent.Client, *asker, []string, io.Writer) error) *cobra.Command {
	a := &asker{state: defaults().State}
	cmd := &cobra.Command{Use: use, Short: short, Args: args, SilenceUsage: true, SilenceErrors: true}
	cmd.Flags().StringVar(&a.state, "state", a.state, "state `FOLDER` of the running dswitch")
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c := agent.NewClient(filepath.Join(a.state, socketName))
		defer c.Close()
		return act(cmd.Context(), c, a, args, cmd.OutOrStdout())
	}
	return cmd
}

// print writes a value as JSON, or as the table that rows writes.
func (a *asker) print(w io.Writer, value any, rows func(io.Writer)) error {
	if a.json {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(value)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows(t)
	return t.Flush()
}

func showStatus(ctx context.Context, c *agent.Client, a *asker, _ []string, w io.Writer) error {
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	return a.print(w, s, func(w io.Writer) {
		fmt.Fprintf(w, "host\t%s at %s, %s\n", s.Host, s.VTEP, s.Software)
		fmt.Fprintf(w, "session\t%s %s, seen revision %d\n", s.Session, s.Member, s.Seen)
		for _, line := range []string{s.Refusal, s.Trouble} {
			if line != "" && s.Session != "open" {
				fmt.Fprintf(w, "\t%s\n", strings.ReplaceAll(line, "\n", " "))
			}
		}
		fmt.Fprintf(w, "held\t%d peers, %d pairs, %d absent, %d ports, %d VTEPs\n", s.Held.Peers, s.Held.Pairs, s.Held.Absent, s.Held.Ports, s.Held.VTEPs)
		fmt.Fprintf(w, "waiting\t%d questions, %d packets\n", s.Waiting.Questions, s.Waiting.Packets)
		if s.Answers.Count > 0 {
			fmt.Fprintf(w, "answers\tthe last %d took %s (median), %s (99 %%)\n", s.Answers.Count, s.Answers.P50.Round(time.Microsecond), s.Answers.P99.Round(time.Microsecond))
		}
		for _, fault := range s.Faults {
			fmt.Fprintf(w, "fault\t%s\n", fault)
		}
		if len(s.Ports) > 0 {
			fmt.Fprintf(w, "\nENDPOINT\tSTATE\tDEVICE\tNETWORK\tVNI\tADDRESSES (CLASS)\t\n")
		}
		for _, p := range s.Ports {
			var addrs []string
			for _, x := range p.Addresses {
				addrs = append(addrs, fmt.Sprintf("%s (%d)", x.Addr, x.Class))
			}
			state := p.State
			switch {
			case p.Standby:
				state += ", standby for " + string(p.Other)
			case p.Other != "":
				state += ", standby is " + string(p.Other)
			}
			device := p.Device
			if p.VLAN != 0 {
				device += fmt.Sprintf(" VLAN %d", p.VLAN)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", p.Endpoint, state, device, p.Network, p.VNI, strings.Join(addrs, ", "), p.Detail)
		}
	})
}

func plug(name string, a *asker, w io.Writer, act func(dove.Endpoint) (agent.PlugReply, error)) error {
	e, err := agent.ParseEndpoint(name)
	if err != nil {
		return err
	}
	reply, err := act(e)
	if err != nil {
		return err
	}
	return a.print(w, reply, func(w io.Writer) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e, reply.State, reply.Device, reply.Detail)
	})
}

func showDrops(ctx context.Context, c *agent.Client, a *asker, follow bool, w io.Writer) error {
	for since, wait := uint64(0), false; ; wait = true {
		d, err := c.Drops(ctx, since, wait)
		if ctx.Err() != nil {
			return nil // stopped by whoever asked
		}
		if err != nil {
			return err
		}
		since = d.Last
		err = a.print(w, d.Drops, func(w io.Writer) {
			for _, x := range d.Drops {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s -> %s\t%s\t%s %s\n", x.At.Format("15:04:05.000"), x.Reason, x.Rule,
					named(x.From, x.Src.String()), named(x.To, x.Dst.String()), service(x.Protocol, x.SrcPort, x.DstPort), x.Direction, x.Port)
			}
		})
		if err != nil || !follow {
			return err
		}
	}
}

func showFlows(ctx context.Context, c *agent.Client, a *asker, _ []string, w io.Writer) error {
	flows, err := c.Flows(ctx)
	if err != nil {
		return err
	}
	return a.print(w, flows, func(w io.Writer) {
		for _, f := range flows {
			fmt.Fprintf(w, "%s -> %s\t%s\t%s\tidle %s\t%d packets\t%d bytes\n", named(f.From, f.Src.String()), named(f.To, f.Dst.String()),
				service(f.Protocol, f.SrcPort, f.DstPort), f.Rule, time.Duration(f.IdleMS)*time.Millisecond, f.Packets, f.Bytes)
		}
	})
}

func showCounts(ctx context.Context, c *agent.Client, a *asker, _ []string, w io.Writer) error {
	counts, err := c.Counts(ctx)
	if err != nil {
		return err
	}
	return a.print(w, counts, func(w io.Writer) {
		for _, x := range counts {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d packets\t%d bytes\n", named(x.Port, "-"), x.Reason, x.Rule, x.Packets, x.Bytes)
		}
	})
}

func showHeld(ctx context.Context, c *agent.Client, a *asker, _ []string, w io.Writer) error {
	held, err := c.Held(ctx)
	if err != nil {
		return err
	}
	return a.print(w, held, func(w io.Writer) {
		for _, p := range held.Peers {
			where := "at " + p.VTEP + " " + string(p.Host)
			switch {
			case p.Absent:
				where = "nobody"
			case !p.Content:
				where = "held by the switch, not told since the restart"
			case p.VTEP == "":
				where = "location withheld"
			}
			fmt.Fprintf(w, "peer\t%s\t%s\t%s\tclass %d\t%s\n", p.Network, p.Addr, p.Endpoint, p.Class, where)
			for _, way := range p.Ways {
				where := "at " + way.VTEP + " " + string(way.Host)
				if way.VTEP == "" {
					where = "location withheld"
				}
				fmt.Fprintf(w, "  or\t%s\t%s\t%s\tclass %d\t%s\n", p.Network, p.Addr, way.Endpoint, way.Class, where)
			}
		}
		for _, p := range held.Pairs {
			fmt.Fprintf(w, "pair\t%s\t%d -> %d\t%s\t\t\n", p.Domain, p.Src, p.Dst, strings.Join(p.Rules, ", "))
		}
	})
}

func named(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

// service writes ports the way people read them.
func service(protocol string, src, dst uint16) string {
	switch protocol {
	case "icmp", "icmpv6":
		return fmt.Sprintf("%s type %d code %d", protocol, dst>>8, dst&255)
	case "tcp", "udp", "sctp":
		return protocol + " " + strconv.Itoa(int(src)) + " -> " + strconv.Itoa(int(dst))
	}
	return protocol
}
