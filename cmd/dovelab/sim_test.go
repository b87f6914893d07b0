package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestSimSays runs a small fleet: it says in the end that all held, or that it was
// stopped, or that its trace could not be written.
func TestSimSays(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, c := range []struct {
		name  string
		ctx   context.Context
		trace string
		says  string
		fails bool
	}{
		{"held", t.Context(), filepath.Join(t.TempDir(), "trace"), "sim: all held in 2 runs", false},
		{"stopped", stopped, "", "sim: stopped in the run of seed 7", true},
		{"no room", t.Context(), "/dev/full", "sim: the trace is not whole", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			cmd := simCommand()
			cmd.SetOut(&out)
			cmd.SetErr(&out)
			cmd.SetArgs([]string{"--seed", "7", "--seeds", "2", "--hosts", "4", "--members", "2", "--steps", "5", "--trace", c.trace})
			if err := cmd.ExecuteContext(c.ctx); errors.Is(err, errFailed) != c.fails || !c.fails && err != nil || !strings.Contains(out.String(), c.says) {
				t.Errorf("%v\n%s", err, out.String())
			}
		})
	}
}

// TestFlagsRefused gives flags values that they do not take: that is the command line's
// fault, and no finding.
func TestFlagsRefused(t *testing.T) {
	for _, c := range []struct {
		of   *cobra.Command
		args string
	}{
		{simCommand(), "--hosts 1"},
		{trialCommand(), "--rate 0"},
		{trialCommand(), "--strike nothing"},
		{losslessCommand(), "--edits -1"},
		{upCommand(), "--dpcs 0"},
		{benchDataplaneCommand(), "--rounds 0"},
		{benchControlCommand(), "--storm rain"},
	} {
		c.of.SetArgs(strings.Fields(c.args))
		if _, ok := errors.AsType[refused](c.of.ExecuteContext(t.Context())); !ok {
			t.Errorf("%s %s is not refused", c.of.Name(), c.args)
		}
	}
}
