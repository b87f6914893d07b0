package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"dove.network/lab"
)

func asRoot() error {
	if os.Getuid() != 0 {
		return errors.New("making network namespaces and loading eBPF programs needs root: run it with sudo")
	}
	return nil
}

func options(name string) (lab.Options, error) {
	if err := asRoot(); err != nil {
		return lab.Options{}, err
	}
	bin, err := programs()
	return lab.Options{Name: name, Bin: bin}, err
}

// family is an underlay's.
type family int

func underlayFlag(cmd *cobra.Command) *family {
	f := family(4)
	cmd.Flags().Var(&f, "underlay", "IP version of the underlay, 4 or 6")
	return &f
}

func (f *family) String() string { return strconv.Itoa(int(*f)) }
func (f *family) Type() string   { return "VERSION" }

func (f *family) Set(s string) error {
	if s != "4" && s != "6" {
		return fmt.Errorf("%q is no IP version: give 4 or 6", s)
	}
	*f = family(s[0] - '0')
	return nil
}

func demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Build two tenants on three hosts and hold every connection against their blueprints",
		Long: `demo builds three hosts with a real dswitch each and one dpc, applies the
blueprints of two tenants with equal addresses, opens a connection for every pair
of endpoints and service, compares each with what the oracle says, edits a policy
while traffic runs, and cleans up. It exits with 0 if every check held.`,
		Args: cobra.NoArgs,
	}
	underlay := underlayFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		opt, err := options(fmt.Sprintf("demo-%d", os.Getpid()))
		if err != nil {
			return err
		}
		opt.IPv6 = *underlay == 6
		started := time.Now()
		demo := &lab.Demo{Out: cmd.OutOrStdout()}
		err = demo.Run(cmd.Context(), opt)
		held, total := demo.Count()
		if errors.Is(cmd.Context().Err(), context.Canceled) {
			fmt.Fprintf(cmd.OutOrStdout(), "\ndemo: stopped after %d checks; everything it made is removed\n", total)
			return errFailed
		}
		if err != nil {
			fmt.Fprintln(cmd.ErrOrStderr(), "dovelab: the demo could not go on:", err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "\ndemo: %d of %d checks held, in %.0f s\n", held, total, time.Since(started).Seconds())
		if err != nil || held != total || total == 0 {
			return errFailed
		}
		return nil
	}
	return cmd
}
