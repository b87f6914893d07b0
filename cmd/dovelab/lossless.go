package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"dove.network/lab"
	"dove.network/lab/bench"
)

func losslessCommand() *cobra.Command {
	var file string
	x := &lab.Lossless{}
	cmd := &cobra.Command{
		Use:   "lossless",
		Short: "Kill programs, edit policies and move a guest under traffic, and account for every packet",
		Long: `lossless sends numbered UDP datagrams both ways between guests on two hosts, and
a TCP stream with known content over IPv4 and one over IPv6. Meanwhile the dswitch of
either host in turn is killed (kill -9) and started again, policies are edited so that
they still allow these flows, half of the edits while a dswitch is down, the groups
that the guests are in are changed, a policy with thousands of ranges of ports is
replaced by one with all others, one of the guests moves between three hosts (it has
a tenth of that traffic with a guest on each of two of them, too), and the DPC is killed and started again. In the end each number must have arrived once, the
content must be intact, nothing that no policy ever allowed may have arrived, and no TCP message may have been under way for more than a
second in which this program ran. Each loss is named, with what was done at that time.

What the receivers' own sockets dropped is counted apart: it makes a run invalid. A run
of 100 restarts, 200 edits, 100 moves and 10 restarts of the DPC takes some minutes. It exits
with 0 if nothing was lost.`,
		Example: `  dovelab lossless                               # as "make lossless" does it
  dovelab lossless --restarts 5 --edits 5 --group-edits 5 --moves 5 --dpc-restarts 1 --rate 2000`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().IntVar(&x.Restarts, "restarts", 100, "how often to kill and start a dswitch")
	cmd.Flags().IntVar(&x.Edits, "edits", 100, "how often to edit a policy")
	cmd.Flags().IntVar(&x.GroupEdits, "group-edits", 100, "how often to change which groups a guest is in")
	cmd.Flags().IntVar(&x.Moves, "moves", 100, "how often to move a guest to another host")
	cmd.Flags().IntVar(&x.DPCRestarts, "dpc-restarts", 10, "how often to kill and start the DPC")
	cmd.Flags().IntVar(&x.LargeEdits, "large-edits", 0, "how often to write all of --rules anew")
	cmd.Flags().IntVar(&x.Rules, "rules", 10000, "with --large-edits, ranges of ports that policies tell apart beside those of the flows")
	cmd.Flags().IntVar(&x.Rate, "rate", 10000, "numbered datagrams a second, each way")
	cmd.Flags().StringVar(&file, "json", "", "write the figures to `FILE`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if min(x.Restarts, x.Edits, x.GroupEdits, x.Moves, x.DPCRestarts, x.LargeEdits) < 0 {
			return refused{errors.New("--restarts, --edits, --group-edits, --moves, --dpc-restarts and --large-edits: give 0 or more")}
		}
		if x.Rules < 0 || x.Rules > lab.RulesMax {
			return refused{fmt.Errorf("--rules %d: give 0 to %d", x.Rules, lab.RulesMax)}
		}
		if x.Rate < 1 || x.Rate > 1_000_000 {
			return refused{fmt.Errorf("--rate %d: give 1 to 1000000", x.Rate)}
		}
		started := time.Now()
		x.Out, x.Software = cmd.OutOrStdout(), version
		return inLab(cmd, "lossless", file, x.Run, func(*bench.Report) error {
			fmt.Fprintln(x.Out)
			err := x.Table()
			fmt.Fprintln(x.Out)
			return errors.Join(err, outcome(x.Out, x.Faults(), "lossless: nothing was lost in %d restarts of a dswitch, %d edits of policies, %d of all their rules, %d of groups, %d moves of a guest and %d restarts of the dpc, in %.0f s",
				x.Restarts, x.Edits, x.LargeEdits, x.GroupEdits, x.Moves, x.DPCRestarts, time.Since(started).Seconds()))
		})
	}
	return cmd
}
