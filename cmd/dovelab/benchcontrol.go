package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dove.network/lab/fleet"
)

func benchControlCommand() *cobra.Command {
	var file string
	b := &fleet.ControlBench{}
	cmd := &cobra.Command{
		Use:   "control",
		Short: "Measure the controller under a fleet",
		Long: `control runs a dpc with a store of its own and, in this process, a fleet of hosts
without switches: each has a certificate and a session with mutual TLS, takes what it is
told, acknowledges it and asks. It measures questions, changes, how long one change
takes until all hosts have acknowledged it, memory, starts, and how long hosts of a member
that is killed take to one of two others. Where OVN's central daemons are installed
(package ovn-central) it measures what they take to work one change out, with at most
10,000 ports. It needs no root, and a file descriptor for each host.

--storm measures instead how long questions of hosts take that have no part in a storm,
calm and in the storm in turn: guests of another tenant look for all addresses of its network as fast as dswitches let
them (scan), hosts ask about them as fast as they are answered (flood), an address is
announced by two guests without a pause (claims), half of the hosts open sessions and hold
nothing (coldstart), one of three members is killed (death). The fleet and the dpc share the
processors: as root, the fleet has what the dpc and those who ask leave of them. What that takes by
itself is measured by asking, in a third turn, another dpc with a fleet of its own, which has no
part in the storm (aside).`,
		Example: `  dovelab bench control                                       # 100,000 endpoints, 1,000 hosts
  dovelab bench control --endpoints 1000000 --hosts 10000 --json out.json
  dovelab bench control --endpoints 2000 --hosts 50 --seconds 1
  dovelab bench control --storm scan,claims,coldstart,death --endpoints 20000 --hosts 200`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&file, "json", "", "write the figures to `FILE`")
	cmd.Flags().IntVar(&b.Endpoints, "endpoints", 100_000, "how many endpoints there are in the end")
	cmd.Flags().IntVar(&b.Hosts, "hosts", 1000, "how many hosts have sessions")
	cmd.Flags().IntVar(&b.Seconds, "seconds", 5, "how long each load runs")
	cmd.Flags().StringSliceVar(&b.Storms, "storm", nil, "measure what a storm does to others, and nothing else: of "+strings.Join(fleet.Storms(), ", "))
	cmd.Flags().BoolVar(&b.OVN, "ovn", true, "measure OVN's central daemons too, where they are installed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for name, c := range map[string]struct{ is, least, most int }{
			"endpoints": {b.Endpoints, max(1000, b.Hosts), fleet.EndpointsMax},
			"hosts":     {b.Hosts, 2, fleet.HostsMax},
			"seconds":   {b.Seconds, 1, 3600},
		} {
			if c.is < c.least || c.is > c.most {
				return refused{fmt.Errorf("--%s %d: give %d to %d", name, c.is, c.least, c.most)}
			}
		}
		for _, name := range b.Storms {
			if !slices.Contains(fleet.Storms(), name) {
				return refused{fmt.Errorf("--storm %s: there is none: give some of %s", name, strings.Join(fleet.Storms(), ", "))}
			}
		}
		bin, err := programs()
		if err != nil {
			return err
		}
		if len(b.Storms) > 0 {
			if err := fleet.Behind(); err != nil {
				return err
			}
		}
		b.Out, b.Software, b.DPC = cmd.OutOrStdout(), version, filepath.Join(bin, "dpc")
		b.Prober = []string{filepath.Join(bin, "dovelab"), "bench", "probe"}
		return measured(cmd, "bench", file, b.Run, compared(cmd, []string{fleet.Subject, fleet.OVN}, []string{fleet.OVN}))
	}
	return cmd
}

// benchProbeCommand is the other process of bench control.
func benchProbeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "probe FOLDER", Short: "Ask what a folder says", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fleet.Probe(cmd.Context(), args[0], cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
