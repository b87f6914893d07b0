package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"dove.network/lab"
	"dove.network/lab/bench"
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
			return fmt.Errorf("--rounds %d: give 1 to 1000", b.Rounds)
		}
		if b.Flows < 1 || b.Flows > lab.FlowsMost {
			return fmt.Errorf("--flows %d: give 1 to %d", b.Flows, lab.FlowsMost)
		}
		if cmd.Flags().Changed("flows") && !cmd.Flags().Changed("shape") {
			b.Shapes = []string{"flows"}
		}
		if b.Quick {
			b.Rounds = 1
		}
		opt, err := options(fmt.Sprintf("bench-%d", os.Getpid()))
		if err != nil {
			return err
		}
		out, err := figures(file)
		if err != nil {
			return err
		}
		defer out.Close()
		b.Out, b.Software = cmd.OutOrStdout(), version
		report, err := b.Run(cmd.Context(), opt)
		if errors.Is(cmd.Context().Err(), context.Canceled) {
			fmt.Fprintln(cmd.OutOrStdout(), "\nbench: stopped; everything it made is removed")
			return errFailed
		}
		if err != nil {
			return err
		}
		return tell(cmd, report, out, lab.Subjects, lab.Baselines)
	}
	return cmd
}

// tell prints the report, and writes it to out if that is there.
func tell(cmd *cobra.Command, report *bench.Report, out *os.File, subjects, baselines []string) error {
	w, e := cmd.OutOrStdout(), report.Environment
	fmt.Fprintln(w)
	if err := report.Table(w, subjects, baselines...); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s, %d CPUs, Linux %s; rounds: %d; load when it began: %.1f.\n", e.CPU, e.CPUs, e.Kernel, e.Rounds, e.Load)
	if e.Noisy > 0 {
		fmt.Fprintf(w, "%d of %d measurements began while the machine was busy with other work: trust ratios, and repeat when it is quiet.\n", e.Noisy, e.Measured)
	}
	return save(report, out)
}

// figures opens the file for a report's figures, and none if it has no name.
// It comes first: minutes of work must not end at a wrong name.
func figures(name string) (*os.File, error) {
	if name == "" {
		return nil, nil
	}
	return os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
}

// save writes the report to out if that is there.
func save(report *bench.Report, out *os.File) error {
	if out == nil {
		return nil
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := out.Truncate(0); err != nil {
		return err
	}
	if _, err := out.Write(append(text, '\n')); err != nil {
		return err
	}
	return out.Close()
}
