package manual

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestPlain: a wrong number of arguments is said with what the command takes,
// never with what it got, and only files are completed with files.
func TestPlain(t *testing.T) {
	root := &cobra.Command{Use: "tool", SilenceErrors: true, SilenceUsage: true}
	run := func(*cobra.Command, []string) {}
	put := &cobra.Command{Use: "put ID HOST --group GROUP...", Args: cobra.ExactArgs(2), Run: run}
	put.Flags().String("group", "", "its `GROUP`")
	put.Flags().String("save", "", "into `FILE`")
	root.AddCommand(put,
		&cobra.Command{Use: "list", Args: cobra.NoArgs, Run: run},
		&cobra.Command{Use: "check FILE...", Args: cobra.MinimumNArgs(1), Run: run})
	Plain(root)
	for line, want := range map[string]string{
		"put secret":   "tool put takes ID HOST, and got 1",
		"list secret":  "tool list takes no arguments, and got 1",
		"check":        "tool check takes FILE..., and got 0",
		"put web-1 h1": "",
	} {
		root.SetArgs(strings.Fields(line))
		got := ""
		if err := root.Execute(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	for line, want := range map[string]string{
		"list ":             ":4",
		"put --group ":      ":4",
		"put --save ":       ":0",
		"check ":            ":0",
		"put web-1 ":        ":4",
		"put web-1 --group": ":4",
	} {
		var out strings.Builder
		root.SetOut(&out)
		root.SetErr(io.Discard)
		root.SetArgs(append([]string{"__complete"}, strings.Split(line, " ")...))
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), want+"\n") {
			t.Errorf("completing %q: %v, %q, want %s", line, err, out.String(), want)
		}
	}
}
