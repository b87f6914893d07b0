package main

import (
	"context"
	"io"

	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

// doing is the body of a command, and asker makes one of it: app.asTenant for what
// a tenant has, app.asAnyone for what there is of the whole installation.
type (
	doing = func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error
	asker = func(doing) func(*cobra.Command, []string) error
)

func (a *app) asAnyone(do doing) func(*cobra.Command, []string) error {
	return a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		return do(ctx, c, dove.Tenant(a.tenant), args)
	})
}

// listing is the body of a command that shows all things of a kind.
func listing[T any](a *app, ask asker, read func(ctx context.Context, c *client.Client, t dove.Tenant) ([]T, error), show func(io.Writer, ...T)) func(*cobra.Command, []string) error {
	return ask(func(ctx context.Context, c *client.Client, t dove.Tenant, _ []string) error {
		all, err := read(ctx, c, t)
		if err != nil {
			return err
		}
		return a.emit(all, func(w io.Writer) { show(w, all...) })
	})
}

// getCommand shows one thing of a kind, by its name.
func getCommand[T any](a *app, ask asker, short string, known names, read func(ctx context.Context, c *client.Client, t dove.Tenant, name string) (T, error), show func(io.Writer, T)) *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completed(known),
		RunE: ask(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
			thing, err := read(ctx, c, t, args[0])
			if err != nil {
				return err
			}
			return a.emit(thing, func(w io.Writer) { show(w, thing) })
		}),
	}
}

// deleteCommand deletes one, by its name.
func (a *app) deleteCommand(ask asker, kind, short, long string, known names, remove func(ctx context.Context, c *client.Client, t dove.Tenant, name string, ifMatch *dove.Revision) (dove.Revision, error)) *cobra.Command {
	cmd := &cobra.Command{Use: "delete NAME", Short: short, Long: long, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completed(known)}
	write, wait := writeFlags(cmd), a.waitFlags(cmd)
	cmd.RunE = ask(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		rev, err := remove(ctx, write.on(c), t, args[0], write.condition())
		if err := a.deleted(kind+" "+args[0], rev, err); err != nil {
			return err
		}
		return wait(ctx, c, rev)
	})
	return cmd
}
