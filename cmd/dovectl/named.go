package main

import (
	"context"
	"io"

	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

// getCommand shows something that a tenant has, by its name.
func getCommand[T any](a *app, kind string, known names, read func(ctx context.Context, c *client.Client, t dove.Tenant, name string) (T, error), show func(io.Writer, T)) *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: "show a " + kind, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completed(known),
		RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
			thing, err := read(ctx, c, t, args[0])
			if err != nil {
				return err
			}
			return a.emit(thing, func(w io.Writer) { show(w, thing) })
		}),
	}
}

// deleteCommand deletes something that a tenant has, by its name.
func (a *app) deleteCommand(kind, short string, known names, remove func(ctx context.Context, c *client.Client, t dove.Tenant, name string, ifMatch *dove.Revision) (dove.Revision, error)) *cobra.Command {
	cmd := &cobra.Command{Use: "delete NAME", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completed(known)}
	write, wait := writeFlags(cmd), a.waitFlags(cmd)
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		rev, err := remove(ctx, write.on(c), t, args[0], write.condition())
		if err := a.deleted(kind+" "+args[0], rev, err); err != nil {
			return err
		}
		return wait(ctx, c, rev)
	})
	return cmd
}
