package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"dove.network/sim/fleet"
)

func simCommand() *cobra.Command {
	var seed uint64
	var seeds int
	var file string
	run := fleet.Run{}
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Run a fleet in virtual time while everything goes wrong that may",
		Long: `sim runs the controllers of several DPC members and the agents and switches of a
fleet in this process, with virtual time and links that delay, lose, double and cut what
travels on them. Tenants edit their policies, endpoints come, go and move, and send
packets; members and agents are killed, stopped, slowed, drained and cut off, one way too,
and clocks leap. All of it is drawn from one seed: equal seeds are equal runs, as the
digest shows.

After every event these must hold: no switch lets a packet pass that nothing allows, by the
oracle and by what the host is known to enforce; no host is told less than it has seen; no
receipt is complete before all hosts that it does not name enforce the revision. Flows of
tenants of whom nothing changes go on whatever happens. Now and then all is mended: then
every host has a session and holds what the world says, and packets are what the oracle says.

It needs no root. Every host knows the whole fleet: 1,000 hosts take some 2 GB of memory, 3,000 some 13 GB.
It exits with 1 if something did not hold, and says at which step.`,
		Example: `  dovelab sim                                    # a seed of the moment
  dovelab sim --seed 7 --hosts 1000 --members 5 --steps 10000
  dovelab sim --seed 7 --trace run.txt           # the same run again, every event a line
  dovelab sim --seeds 100 --hosts 50             # one run after the other`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().Uint64Var(&seed, "seed", 0, "seed of the (first) run; 0: one of the moment")
	cmd.Flags().IntVar(&seeds, "seeds", 1, "how many runs there are, of one seed after the other")
	cmd.Flags().IntVar(&run.Hosts, "hosts", 200, "how many hosts there are")
	cmd.Flags().IntVar(&run.Members, "members", 3, "how many members the DPC has")
	cmd.Flags().IntVar(&run.Steps, "steps", 1000, "how many steps a run has")
	cmd.Flags().StringVar(&file, "trace", "", "write every event of a run to `FILE`, of the last one that ran")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for _, c := range []struct {
			name            string
			is, least, most int
		}{{"hosts", run.Hosts, 2, fleet.HostsMax}, {"members", run.Members, 2, fleet.MembersMax}, {"steps", run.Steps, 1, 1_000_000_000}, {"seeds", seeds, 1, 1_000_000_000}} {
			if c.is < c.least || c.is > c.most {
				return refused{fmt.Errorf("--%s is %d, it must be from %d to %d", c.name, c.is, c.least, c.most)}
			}
		}
		if seed == 0 {
			seed = rand.Uint64()
		}
		started := time.Now()
		for n := range seeds {
			run.Seed = seed + uint64(n)
			if err := simulate(cmd, run, file); err != nil {
				return err
			}
		}
		runs := "one run"
		if seeds > 1 {
			runs = fmt.Sprintf("%d runs", seeds)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "sim: all held in %s, in %.0f s\n", runs, time.Since(started).Seconds())
		return nil
	}
	return cmd
}

// simulate carries out one run and tells what it came to.
func simulate(cmd *cobra.Command, run fleet.Run, file string) (err error) {
	out := cmd.OutOrStdout()
	if file != "" {
		f, failed := os.Create(file)
		if failed != nil {
			return failed
		}
		lines := bufio.NewWriter(f)
		defer func() {
			if failed := errors.Join(lines.Flush(), f.Close()); failed != nil {
				fmt.Fprintf(out, "\nsim: the trace is not whole: %v\n", failed)
				err = errFailed
			}
		}()
		run.Trace = lines
	}
	fmt.Fprintf(out, "seed %d: %d hosts, %d members, %d steps\n", run.Seed, run.Hosts, run.Members, run.Steps)
	started := time.Now()
	said := started
	run.Progress = func(step int, at time.Duration) bool {
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			fmt.Fprintf(out, "  step %d of %d, %s of virtual time\n", step, run.Steps, at.Round(time.Second))
		}
		return cmd.Context().Err() == nil
	}
	r, wrong := run.Do()
	tellRun(out, r, time.Since(started))
	switch {
	case wrong == nil && cmd.Context().Err() != nil:
		fmt.Fprintf(out, "\nsim: stopped in the run of seed %d; so far all held\n", run.Seed)
		return errFailed
	case wrong == nil:
		return nil
	}
	fmt.Fprintln(out, "\nThe last that was done:")
	for _, line := range r.Last {
		fmt.Fprintln(out, "  "+line)
	}
	fmt.Fprintf(out, "\n  FAIL  seed %d, %v\n\nAgain, every event a line: dovelab sim --seed %d --hosts %d --members %d --steps %d --trace FILE\n",
		run.Seed, wrong, run.Seed, run.Hosts, run.Members, run.Steps)
	return errFailed
}

func tellRun(out io.Writer, r fleet.Result, took time.Duration) {
	fmt.Fprintf(out, "  %d steps, %s of virtual time in %s, %d revisions, %d events, digest %016x\n",
		r.Steps, r.Took.Round(time.Second), took.Round(time.Millisecond), r.Revisions, r.Events, r.Digest)
	fmt.Fprintf(out, "  %d packets; %d flows began, %d packets of known flows had to pass and did; %d live moves ended, %d were given up; all was mended %d times\n",
		r.Packets, r.Passed, r.Known, r.Moved, r.GivenUp, r.Mended)
	for _, kind := range slices.Sorted(maps.Keys(r.Faults)) {
		fmt.Fprintf(out, "  %6d x %s\n", r.Faults[kind], kind)
	}
}
