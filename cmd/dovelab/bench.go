package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"dove.network/lab"
)

func benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure DOVE beside what it replaces",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return refused{fmt.Errorf("there is no benchmark %q: use dataplane or control", args[0])}
			}
			return refused{errors.New("say which benchmark: dataplane or control")}
		},
		Args: cobra.ArbitraryArgs,
	}
	cmd.AddCommand(benchDataplaneCommand(), benchControlCommand(), benchProbeCommand())
	return cmd
}

func benchDataplaneCommand() *cobra.Command {
	var file string
	b := &lab.DataplaneBench{}
	cmd := &cobra.Command{
		Use:   "dataplane",
		Short: "Measure guest to guest",
		Long: `dataplane measures from guest to guest: TCP streams (cubic), UDP round trips,
packets of 64 bytes, connections, and cold first packets whose hosts know neither
address yet. It measures DOVE, a bare veth, a Linux bridge with the kernel's VXLAN, the
same with a stateful filter, and Open vSwitch in user space where that is installed, in
turn, in every round. Compare ratios within one run: figures of two machines, or of two
hours, differ.

Guests are on two hosts; --shape chooses others, whose metrics have another ending:
both on one host (_local), behind taps as virtual machines are (_tap), or on an underlay
whose MTU is 9000 (_9000). The shape "flows" is of DOVE alone: are a million flows
at once carried, each with its answer, and how fast?`,
		Example: `  dovelab bench dataplane                              # five rounds, about ten minutes
  dovelab bench dataplane --shape hosts,local,tap,9000
  dovelab bench dataplane --rounds 9 --json out.json
  dovelab bench dataplane --flows 1000000              # two hosts, a million flows
  dovelab bench dataplane --quick                      # does it work?`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&file, "json", "", "write the figures to `FILE`")
	cmd.Flags().IntVar(&b.Rounds, "rounds", 5, "how often to measure everything")
	cmd.Flags().StringSliceVar(&b.Shapes, "shape", lab.ShapeNames()[:1], "how the guests lie, of "+strings.Join(lab.ShapeNames(), ", "))
	cmd.Flags().IntVar(&b.Flows, "flows", 1_000_000, "how many flows the shape \"flows\" has at once; chooses that shape if --shape chooses none")
	cmd.Flags().BoolVar(&b.Quick, "quick", false, "one round, as short as can be; its figures mean little")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if b.Rounds < 1 || b.Rounds > 1000 {
			return refused{fmt.Errorf("--rounds %d: give 1 to 1000", b.Rounds)}
		}
		if b.Flows < 1 || b.Flows > lab.FlowsMost {
			return refused{fmt.Errorf("--flows %d: give 1 to %d", b.Flows, lab.FlowsMost)}
		}
		if cmd.Flags().Changed("flows") && !cmd.Flags().Changed("shape") {
			b.Shapes = []string{"flows"}
		}
		if b.Quick {
			b.Rounds = 1
		}
		b.Out, b.Software = cmd.OutOrStdout(), version
		return inLab(cmd, "bench", file, b.Run, compared(cmd, lab.Subjects, lab.Baselines))
	}
	return cmd
}
