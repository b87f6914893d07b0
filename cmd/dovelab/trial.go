package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dove.network/lab"
	"dove.network/lab/bench"
)

func trialCommand() *cobra.Command {
	var file string
	t := &lab.Trial{}
	cmd := &cobra.Command{
		Use:   "trial",
		Short: "Strike a DPC of three members and three hosts with real faults, and see what holds",
		Long: `trial runs three members of the DPC, each with a small disk of its own and a cable
that can be slow, and three hosts. It kills a member or a dswitch (kill -9), stops
one for 20 s, cuts members from each other, both ways or one way, from everything, or
from a host, slows a cable, and fills a disk: each alone, in random order, and two at
once. Every second pair strikes two members, so that there is no majority.

Meanwhile known flows are sent as numbered datagrams between all hosts, and none may
be lost. A policy is edited all the time: what it forbids must not come once a receipt
said that one of the two hosts enforces it, as the oracle says. Endpoints are written,
bound and read through all members at once, and the history must be linearizable. New
flows are opened from every host, and how long they have to wait is told.

It exits with 0 if all held. The same seed strikes in the same order.`,
		Example: `  dovelab trial                                  # as "make real-faults" does it
  dovelab trial --rounds 0 --pairs 4 --seed 7
  dovelab trial --rounds 0 --pairs 3 --strike "cut a member from everything,stop a member"`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().IntVar(&t.Rounds, "rounds", 2, "how often each kind of fault strikes alone")
	cmd.Flags().IntVar(&t.Pairs, "pairs", 12, "how often two strike at once")
	cmd.Flags().StringSliceVar(&t.Strike, "strike", nil, "which of these strike at once in all pairs: "+strings.Join(lab.BlowKinds(), "; "))
	cmd.Flags().BoolVar(&t.Short, "short", false, "four pairs of faults, each as short as can be")
	cmd.Flags().Uint64Var(&t.Seed, "seed", 0, "of what strikes whom; 0: one is drawn")
	cmd.Flags().IntVar(&t.Rate, "rate", 500, "numbered datagrams of each known flow a second")
	cmd.Flags().StringVar(&file, "json", "", "write the figures to `FILE`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if t.Rounds < 0 || t.Pairs < 0 || t.Rounds*len(lab.BlowKinds())+t.Pairs > lab.TrialMost {
			return refused{fmt.Errorf("--rounds %d --pairs %d: give 0 or more, and at most %d faults in all", t.Rounds, t.Pairs, lab.TrialMost)}
		}
		for _, kind := range t.Strike {
			if !slices.Contains(lab.BlowKinds(), kind) {
				return refused{fmt.Errorf("--strike %q: there is no such kind of fault; there are: %s", kind, strings.Join(lab.BlowKinds(), "; "))}
			}
		}
		if len(t.Strike) > 3 {
			return refused{fmt.Errorf("--strike names %d kinds: give 3 at most, as there are three members and three hosts", len(t.Strike))}
		}
		if t.Rate < 1 || t.Rate > 100_000 {
			return refused{fmt.Errorf("--rate %d: give 1 to 100000", t.Rate)}
		}
		started := time.Now()
		t.Out, t.Software = cmd.OutOrStdout(), version
		return inLab(cmd, "trial", file, t.Run, func(*bench.Report) error {
			fmt.Fprintf(t.Out, "\n%s\n", t.Summary())
			return outcome(t.Out, t.Faults(), "trial: all held, in %.0f s", time.Since(started).Seconds())
		})
	}
	return cmd
}
