package main

import (
	"context"
	"strings"
	"time"

	"dove.network/api/client"
	"dove.network/blueprint"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

// completing is how long somebody who pressed a key waits for names.
const completing = time.Second

// names are what the DPC knows of a kind, for somebody who typed a prefix.
type names func(ctx context.Context, c *client.Client, t dove.Tenant, prefix string) ([]string, error)

// completed completes the arguments of a command, each of its kind. Without an
// answer there are no names, and no complaint: it is not a command yet.
func (a *app) completed(kinds ...names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(kinds) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.known(cmd.Context(), kinds[len(args)], prefix)
	}
}

// completedFlag completes a flag's value; of a list, its last.
func (a *app) completedFlag(cmd *cobra.Command, flag string, kind names) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		before, prefix := "", typed
		if i := strings.LastIndexByte(typed, ','); i >= 0 {
			before, prefix = typed[:i+1], typed[i+1:]
		}
		found, directive := a.known(cmd.Context(), kind, prefix)
		for i := range found {
			found[i] = before + found[i]
		}
		return found, directive
	})
	if err != nil {
		panic("dovectl: " + err.Error()) // no such flag
	}
}

func (a *app) known(ctx context.Context, kind names, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	directive := cobra.ShellCompDirectiveNoFileComp
	c, err := a.connect()
	if err != nil {
		return nil, directive
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, completing)
	defer cancel()
	all, err := kind(ctx, c, dove.Tenant(a.tenant), prefix)
	if err != nil {
		return nil, directive
	}
	var found []cobra.Completion
	for _, name := range all {
		if strings.HasPrefix(name, prefix) {
			found = append(found, name)
		}
		if strings.HasSuffix(name, "/") {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
	}
	return found, directive
}

// filesOf completes documents.
func filesOf(endings ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return endings, cobra.ShellCompDirectiveFilterFileExt
	}
}

// blueprintFiles completes one argument with a blueprint's file.
func blueprintFiles(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return filesOf("yaml", "yml", "json")(cmd, args, typed)
}

// choices completes a flag that knows all its values.
func choices(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic("dovectl: " + err.Error())
	}
}

// namesOf takes the names from a list.
func namesOf[T any, N ~string](all []T, err error, name func(T) N) ([]string, error) {
	out := make([]string, len(all))
	for i, x := range all {
		out[i] = string(name(x))
	}
	return out, err
}

// groupNames offers blueprints first, and the groups of one after its slash.
func groupNames(ctx context.Context, c *client.Client, t dove.Tenant, prefix string) ([]string, error) {
	name, _, chosen := strings.Cut(prefix, "/")
	if !chosen {
		found, err := blueprintNames(ctx, c, t, prefix)
		for i := range found {
			found[i] += "/"
		}
		return found, err
	}
	b, err := c.Blueprint(ctx, t, name)
	if err != nil {
		return nil, err
	}
	parsed, err := blueprint.Stored(t, []byte(b.Text))
	if err != nil {
		return nil, err
	}
	var found []string
	for _, g := range parsed.Groups {
		found = append(found, name+"/"+g.Name)
	}
	return found, nil
}
