package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// columns is how wide help is at most.
const columns = 80

// usage prints how a command is used, below what it does.
func usage(cmd *cobra.Command) error {
	w := cmd.OutOrStderr()
	fmt.Fprintf(w, "Usage:\n  %s\n", cmd.UseLine())
	if cmd.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		children := cmd.Commands()
		for _, g := range cmd.Groups() {
			listChildren(w, g.Title, children, g.ID)
		}
		if len(cmd.Groups()) == 0 {
			listChildren(w, "Commands:", children, "")
		}
	}
	flags := func(title string, set *pflag.FlagSet) {
		if text := set.FlagUsagesWrapped(columns); text != "" {
			fmt.Fprintf(w, "\n%s:\n%s", title, text)
		}
	}
	flags("Flags", cmd.LocalFlags())
	flags("Flags of all commands", cmd.InheritedFlags())
	return nil
}

// lowerCobra says what cobra's own commands do as the others do.
func lowerCobra(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short = "help about any command"
		case "completion":
			c.Short = "print what a shell completes commands with"
			for _, shell := range c.Commands() {
				shell.Short = "print what " + shell.Name() + " completes commands with"
			}
		}
	}
}

func listChildren(w io.Writer, title string, children []*cobra.Command, group string) {
	fmt.Fprintf(w, "\n%s\n", title)
	for _, c := range children {
		if c.GroupID == group && (c.IsAvailableCommand() || c.Name() == "help") {
			fmt.Fprintf(w, "  %-*s  %s\n", c.NamePadding(), c.Name(), c.Short)
		}
	}
}
