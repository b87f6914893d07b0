package main

import (
	"context"
	"fmt"
	"io"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

func (a *app) tokenCommand() *cobra.Command {
	return folder(&cobra.Command{
		Use: "token", Short: "make and delete administrators' tokens",
		Long: `A token lets its holder do everything with this DPC. Give each person and
program its own, and delete it when it is not needed any more, or known to
others. (Hosts join with other ones: dovectl host token.)`,
	}, a.tokenCreateCommand(), listed(a.tokensCommand()), a.tokenDeleteCommand())
}

func (a *app) tokenCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "make another administrator's token", Args: cobra.NoArgs,
		Long: `Makes another administrator's token. The token alone goes to standard output,
this once: the DPC keeps only its digest. With --save it goes into a
configuration file instead, which names the same DPC as yours.`,
		Example: "  dovectl token create --save ada.yaml\n  dovectl token create -o json",
	}
	file := cmd.Flags().String("save", "", "write a configuration `FILE` for its holder")
	cmd.RunE = a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
		conf, err := client.Load(a.file)
		if err != nil {
			return fileError{a.file, err}
		}
		token, err := c.CreateToken(ctx)
		if err != nil {
			return err
		}
		if *file != "" {
			conf.Token, conf.Server = token.Token, c.Server()
			if err := conf.Save(*file); err != nil {
				return fmt.Errorf("token %s is made, but not written: delete it with dovectl token delete %s (%w)", token.ID, token.ID, err)
			}
			token.Token = ""
		}
		if a.form == "table" && *file == "" {
			fmt.Fprintf(a.err, "token %s: revision %d\n", token.ID, token.Revision)
			_, err := fmt.Fprintln(a.out, token.Token)
			return err
		}
		return a.emit(token, func(w io.Writer) {
			fmt.Fprintf(w, "token %s is in %s: revision %d\n", token.ID, *file, token.Revision)
		})
	})
	return cmd
}

func (a *app) tokensCommand() *cobra.Command {
	return &cobra.Command{
		Use: "tokens", Short: "list administrators' tokens, without their secrets", Args: cobra.NoArgs,
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.Tokens(ctx)
			if err != nil {
				return err
			}
			return a.emit(all, func(w io.Writer) {
				row(w, "ID", "CREATED", "REVISION")
				for _, t := range all {
					row(w, t.ID, moment(t.Created), t.Revision)
				}
			})
		}),
	}
}

func tokenNames(ctx context.Context, c *client.Client, _ dove.Tenant, _ string) ([]string, error) {
	all, err := c.Tokens(ctx)
	return namesOf(all, err, func(t api.Token) string { return t.ID })
}

func (a *app) tokenDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete ID", ValidArgsFunction: a.completed(tokenNames), Short: "delete an administrator's token", Args: cobra.ExactArgs(1),
		Long: `Deletes an administrator's token: whoever has it is nobody from then on. The
last one cannot be deleted.`,
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			rev, err := c.DeleteToken(ctx, args[0])
			return a.deleted("token "+args[0], rev, err)
		}),
	}
}
