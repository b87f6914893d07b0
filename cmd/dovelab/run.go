package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dove.network/lab"
	"dove.network/scenario"
	"dove.network/sim"
)

// kernel is the level of real programs, namespaces and packets.
const kernel = "kernel"

func runCommand() *cobra.Command {
	levels := append(slices.Clone(sim.Levels), kernel)
	chosen := levels
	if os.Getuid() != 0 {
		chosen = sim.Levels
	}
	verbose := false
	var underlay *family
	cmd := &cobra.Command{
		Use:   "run FILE...",
		Short: "Run scenarios, each at every level",
		Long: `run plays scenario files, each at four levels: oracle reads the blueprints, table
asks what they compile to, soft sends packets through switches in memory
with the real controller and agent, and kernel through real programs in network
namespaces (root only). It tells every step that does not hold, and how many a
level has no means for, and why: paper knows no links, so oracle and table leave
out what depends on a cut or a stop. With --verbose it tells what happened in each
step: where a packet went, which rule decided, who was told. It exits with 0 if
all steps held that a level has means for.`,
		Example: `  dovelab run scenarios/*.dove
  dovelab run scenarios/move.dove --level soft --verbose
  dovelab run scenarios/cut-host.dove --level soft,kernel
  dovelab run scenarios/move.dove --level kernel --underlay 6`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			for _, l := range chosen {
				if !slices.Contains(levels, l) {
					return refused{fmt.Errorf("unknown level %q: use %s", l, strings.Join(levels, ", "))}
				}
			}
			scenarios := make([]*scenario.Scenario, len(files))
			for i, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				if scenarios[i], err = scenario.Parse(text); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
			}
			r := runner{out: cmd.OutOrStdout(), verbose: verbose, ipv6: *underlay == 6}
			held := 0
			for i, s := range scenarios {
				if cmd.Context().Err() != nil {
					fmt.Fprintf(r.out, "stopped before %s\n", files[i])
					break
				}
				if r.run(cmd.Context(), files[i], s, chosen) {
					held++
				}
			}
			fmt.Fprintf(r.out, "\nscenarios: %d of %d held, skipped %d\n", held, len(files), r.skipped)
			if held < len(files) {
				return errFailed
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&chosen, "level", chosen, "levels, of "+strings.Join(levels, ", "))
	underlay = underlayFlag(cmd)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "tell what happened in each step, not only in those that do not hold")
	return cmd
}

// runner tells how scenarios go, line by line.
type runner struct {
	out     io.Writer
	verbose bool
	ipv6    bool     // the underlay of kernel
	skipped int      // steps
	reasons []string // why steps of the present run are skipped
}

// run reports whether a scenario held at every level.
func (r *runner) run(ctx context.Context, file string, s *scenario.Scenario, levels []string) bool {
	fmt.Fprintf(r.out, "%s: %s\n", file, s.Name)
	all := true
	for _, level := range levels {
		begun := time.Now()
		r.reasons = nil
		tally, err := r.at(ctx, level, s)
		verdict := "held"
		if err = errors.Join(err, ctx.Err()); err != nil || tally.Failed > 0 {
			verdict, all = "FAILED", false
		}
		r.skipped += tally.Skipped
		fmt.Fprintf(r.out, "  %-7s %-6s %2d of %2d steps held in %.1f s", level, verdict, tally.Held, len(s.Steps)-tally.Skipped, time.Since(begun).Seconds())
		if tally.Skipped > 0 {
			fmt.Fprintf(r.out, ", %d skipped: %s", tally.Skipped, strings.Join(distinct(r.reasons), "; "))
		}
		fmt.Fprintln(r.out)
		if err != nil {
			fmt.Fprintf(r.out, "          %s\n", indented(err.Error()))
		}
	}
	return all
}

// at runs a scenario at one level. The error is about the level, not about what
// the scenario expects.
func (r *runner) at(ctx context.Context, level string, s *scenario.Scenario) (tally scenario.Tally, err error) {
	each := func(step scenario.Step, says string, err error) { r.step(level, step, says, err) }
	if level != kernel {
		stage, err := sim.NewStage(level, s)
		if err != nil {
			return tally, err
		}
		return scenario.Run(ctx, s, stage, each), nil
	}
	opt, err := options(fmt.Sprintf("run-%d", os.Getpid()))
	if err != nil {
		return tally, err
	}
	opt.IPv6 = r.ipv6
	l, err := lab.New(ctx, opt)
	if err != nil {
		return tally, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	stage, err := lab.NewStage(ctx, l, s)
	if err != nil {
		return tally, err
	}
	defer stage.Close()
	return scenario.Run(ctx, s, stage, each), nil
}

func (r *runner) step(level string, step scenario.Step, says string, err error) {
	said, _, _ := strings.Cut(step.Action.String(), "\n")
	switch {
	case errors.Is(err, scenario.ErrCannot):
		r.reasons = append(r.reasons, strings.TrimSuffix(err.Error(), ": "+scenario.ErrCannot.Error()))
		if r.verbose {
			fmt.Fprintf(r.out, "  %-7s skip   line %d: %s\n          > %s\n", level, step.Line, said, indented(r.reasons[len(r.reasons)-1]))
		}
	case err != nil:
		fmt.Fprintf(r.out, "  %-7s FAIL   line %d: %s\n          %s\n", level, step.Line, said, indented(err.Error()))
	case r.verbose:
		fmt.Fprintf(r.out, "  %-7s ok     line %d: %s\n", level, step.Line, strings.TrimSuffix(said, " <<END"))
		if says != "" {
			fmt.Fprintf(r.out, "          > %s\n", strings.ReplaceAll(says, "\n", "\n          > "))
		}
	}
}

// distinct leaves out what was said before.
func distinct(reasons []string) []string {
	var out []string
	for _, reason := range reasons {
		if !slices.Contains(out, reason) {
			out = append(out, reason)
		}
	}
	return out
}

func indented(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n          ")
}
