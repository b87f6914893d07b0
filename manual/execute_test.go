package manual

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestExecute: a command line at fault ends with 2 and the usage, whatever is
// wrong with it; what fails later ends with 1 and says no more than that.
func TestExecute(t *testing.T) {
	failed := errors.New("the disk is full")
	run := func(*cobra.Command, []string) error { return failed }
	tool := func(use string, root bool) *cobra.Command {
		c := &cobra.Command{Use: use, SilenceErrors: true, SilenceUsage: true}
		if root {
			c.RunE, c.Args = run, cobra.NoArgs
		}
		put := &cobra.Command{Use: "put ID", Args: cobra.ExactArgs(1), RunE: run}
		put.Flags().Int("size", 0, "")
		c.AddCommand(put)
		Plain(c)
		return c
	}
	for _, runs := range []bool{false, true} { // by itself, as dswitch does, or not
		for line, want := range map[string]string{
			"put a":            "the disk is full",
			"pat a":            "tool has no command \"pat\": did you mean \"put\"?\nusage: tool",
			"bogus":            "tool has no command \"bogus\": --help lists them\nusage: tool",
			"--bogus":          "unknown flag: --bogus\nusage: tool",
			"put":              "tool put takes ID, and got 0\nusage: tool put ID",
			"put a b":          "tool put takes ID, and got 2\nusage: tool put ID",
			"put a --size big": "invalid argument \"big\" for \"--size\" flag",
		} {
			code, err := Execute(t.Context(), tool("tool", runs), strings.Fields(line))
			wantCode := Refused
			if want == failed.Error() {
				wantCode = Failed
			}
			if err == nil || !strings.HasPrefix(err.Error(), want) || code != wantCode {
				t.Errorf("%q, runs by itself: %v: code %d, %v; want %d, %s", line, runs, code, err, wantCode, want)
			}
		}
		if code, err := Execute(t.Context(), tool("tool", runs), []string{"put", "--help"}); code != OK || err != nil {
			t.Errorf("--help: code %d, %v", code, err)
		}
	}
}
