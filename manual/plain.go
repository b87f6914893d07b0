package manual

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Plain lets a program's commands say in plain words how many arguments they
// take, and complete with files only what is one. Call it once, when all
// commands and flags are there.
func Plain(root *cobra.Command) {
	for _, c := range root.Commands() {
		Plain(c)
	}
	for _, flags := range []*pflag.FlagSet{root.Flags(), root.PersistentFlags()} {
		flags.VisitAll(func(f *pflag.Flag) {
			value, _ := pflag.UnquoteUsage(f)
			_, completed := root.GetFlagCompletionFunc(f.Name)
			if value == "" || completed || ofFiles(value) || f.Annotations[cobra.BashCompFilenameExt] != nil {
				return
			}
			if err := root.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions); err != nil {
				panic("manual: " + err.Error()) // it has none, and exists
			}
		})
	}
	if root.HasSubCommands() {
		return // a folder says itself what it lacks
	}
	if root.ValidArgsFunction == nil && len(root.ValidArgs) == 0 && !ofFiles(root.Use) {
		root.ValidArgsFunction = cobra.NoFileCompletions
	}
	check := root.Args
	if check == nil {
		return
	}
	root.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err == nil || !cobrasOwn(err.Error()) {
			return err
		}
		return miscount(cmd, len(args))
	}
}

// ofFiles reports whether something that is used like this takes files.
func ofFiles(use string) bool {
	return strings.Contains(use, "FILE") || strings.Contains(use, "FOLDER") || strings.Contains(use, "COMMAND")
}

// cobrasOwn tells what cobra says of the number of arguments from what a
// command says itself.
func cobrasOwn(text string) bool {
	for _, begin := range []string{"accepts ", "requires at least ", "unknown command "} {
		if strings.HasPrefix(text, begin) {
			return true
		}
	}
	return false
}

// miscount says what a command takes, and how many arguments it got. It repeats
// none: one may be secret.
func miscount(cmd *cobra.Command, got int) error {
	takes := "no arguments"
	for i, word := range strings.Fields(cmd.Use)[1:] {
		switch {
		case strings.HasPrefix(word, "-"): // flags
			return fmt.Errorf("%s takes %s, and got %d", cmd.CommandPath(), takes, got)
		case i == 0:
			takes = word
		default:
			takes += " " + word
		}
	}
	return fmt.Errorf("%s takes %s, and got %d", cmd.CommandPath(), takes, got)
}
