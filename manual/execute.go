package manual

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// What programs end with.
const (
	OK      = 0
	Failed  = 1
	Refused = 2 // the command line is at fault
)

// Execute runs a program's command line, and returns its error and what the
// program ends with. An error in the command line itself says what is wrong with
// it and how the command is used.
func Execute(ctx context.Context, root *cobra.Command, args []string) (code int, err error) {
	understood := false
	root.PersistentPreRun = func(*cobra.Command, []string) { understood = true }
	root.SetArgs(args)
	err = root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return OK, nil
	case understood:
		return Failed, err
	}
	return Refused, Misuse(root, args, err)
}

// Misuse says in plain words what cobra found wrong with a command line, and how
// the command is used that it names.
func Misuse(root *cobra.Command, args []string, err error) error {
	used := root.UseLine()
	cmd, _, lost := root.Find(args)
	if lost == nil {
		used = cmd.UseLine()
	} else if root.HasSubCommands() && !root.Runnable() {
		used = root.Use + " COMMAND"
	}
	if cmd.HasSubCommands() && strings.HasPrefix(err.Error(), "unknown command ") {
		if words := strings.SplitN(err.Error(), `"`, 3); len(words) == 3 {
			err = NoCommand(cmd, words[1])
		}
	}
	return fmt.Errorf("%w\nusage: %s (--help says more)", err, used)
}

// NoCommand says that a command which holds others has none of that name.
func NoCommand(cmd *cobra.Command, name string) error {
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		return fmt.Errorf("%s has no command %q: did you mean %q?", cmd.CommandPath(), name, near[0])
	}
	return fmt.Errorf("%s has no command %q: --help lists them", cmd.CommandPath(), name)
}
