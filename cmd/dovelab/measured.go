package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"dove.network/lab"
	"dove.network/lab/bench"
)

// inLab is measured for what runs in a lab of its own, which needs root.
func inLab(cmd *cobra.Command, name, file string, run func(context.Context, lab.Options) (*bench.Report, error), tell func(*bench.Report) error) error {
	opt, err := options(fmt.Sprintf("%s-%d", name, os.Getpid()))
	if err != nil {
		return err
	}
	return measured(cmd, name, file, func(ctx context.Context) (*bench.Report, error) { return run(ctx, opt) }, tell)
}

// measured runs what takes minutes, tells what came of it, and writes the figures to a file if
// it has a name. The file comes first: minutes of work must not end at a wrong name.
func measured(cmd *cobra.Command, name, file string, run func(context.Context) (*bench.Report, error), tell func(*bench.Report) error) error {
	var out *os.File
	if file != "" {
		var err error
		if out, err = os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
			return err
		}
		defer out.Close()
	}
	report, err := run(cmd.Context())
	if errors.Is(cmd.Context().Err(), context.Canceled) {
		fmt.Fprintf(cmd.OutOrStdout(), "\n%s: stopped; everything it made is removed\n", name)
		return errFailed
	}
	if err != nil {
		return err
	}
	err = tell(report)
	if out != nil {
		if failed := save(report, out); failed != nil {
			return failed
		}
	}
	return err
}

// save writes a report.
func save(report *bench.Report, out *os.File) error {
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

// outcome says what did not hold, or that all did.
func outcome(w io.Writer, faults []string, all string, args ...any) error {
	for _, f := range faults {
		fmt.Fprintln(w, "  FAIL  "+f)
	}
	if len(faults) > 0 {
		return errFailed
	}
	fmt.Fprintf(w, all+"\n", args...)
	return nil
}

// compared prints the table of a report.
func compared(cmd *cobra.Command, subjects, baselines []string) func(*bench.Report) error {
	return func(report *bench.Report) error {
		w, e := cmd.OutOrStdout(), report.Environment
		fmt.Fprintln(w)
		if err := report.Table(w, subjects, baselines...); err != nil {
			return err
		}
		fmt.Fprintf(w, "\n%s, %d CPUs, Linux %s; rounds: %d; load when it began: %.1f.\n", e.CPU, e.CPUs, e.Kernel, e.Rounds, e.Load)
		if e.Noisy > 0 {
			fmt.Fprintf(w, "%d of %d measurements began while the machine was busy with other work: trust ratios, and repeat when it is quiet.\n", e.Noisy, e.Measured)
		}
		return nil
	}
}
