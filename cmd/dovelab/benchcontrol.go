package main

import (
	"fmt"
	"path/filepath"

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
10,000 ports. It needs no root, and a file descriptor for each host.`,
		Example: `  dovelab bench control                                       # 100,000 endpoints, 1,000 hosts
  dovelab bench control --endpoints 1000000 --hosts 10000 --json out.json
  dovelab bench control --endpoints 2000 --hosts 50 --seconds 1`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&file, "json", "", "write the figures to `FILE`")
	cmd.Flags().IntVar(&b.Endpoints, "endpoints", 100_000, "how many endpoints there are in the end")
	cmd.Flags().IntVar(&b.Hosts, "hosts", 1000, "how many hosts have sessions")
	cmd.Flags().IntVar(&b.Seconds, "seconds", 5, "how long each load runs")
	cmd.Flags().BoolVar(&b.OVN, "ovn", true, "measure OVN's central daemons too, where they are installed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for name, c := range map[string]struct{ is, least, most int }{
			"endpoints": {b.Endpoints, max(1000, b.Hosts), fleet.EndpointsMax},
			"hosts":     {b.Hosts, 2, fleet.HostsMax},
			"seconds":   {b.Seconds, 1, 3600},
		} {
			if c.is < c.least || c.is > c.most {
				return fmt.Errorf("--%s %d: give %d to %d", name, c.is, c.least, c.most)
			}
		}
		bin, err := programs()
		if err != nil {
			return err
		}
		out, err := figures(file)
		if err != nil {
			return err
		}
		defer out.Close()
		b.Out, b.Software, b.DPC = cmd.OutOrStdout(), version, filepath.Join(bin, "dpc")
		report, err := b.Run(cmd.Context())
		if err != nil {
			return err
		}
		return tell(cmd, report, out, []string{fleet.Subject, fleet.OVN}, []string{fleet.OVN})
	}
	return cmd
}
