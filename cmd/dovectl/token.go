package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/auth"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

func (a *app) tokenCommand() *cobra.Command {
	return folder(&cobra.Command{
		Use: "token", Short: "make and delete tokens",
		Long: `An administrator's token lets its holder do everything with this DPC; one of a
tenant what is that tenant's: write its networks, routers and blueprints (but
those of the tiers provider and baseline), and ask about all that it has. Give
each person and program its own, and delete it when it is not needed any more,
or known to others. (Hosts join with other ones: dovectl host token.)`,
	}, a.tokenCreateCommand(), listed(a.tokensCommand()), a.tokenDeleteCommand())
}

func (a *app) tokenCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "make another token", Args: cobra.NoArgs,
		Long: `Makes another administrator's token, or with --tenant one of that tenant
($DOVE_TENANT is of no matter here). The token alone goes to standard output,
this once: the DPC keeps only its digest. With --save it goes into a
configuration file instead, which names the same DPC as yours.`,
		Example: "  dovectl token create --save ada.yaml\n  dovectl token create --tenant acme --save acme.yaml\n  dovectl token create -o json",
	}
	file := cmd.Flags().String("save", "", "write a configuration `FILE` for its holder")
	cmd.RunE = a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
		conf, err := client.Load(a.file)
		if err != nil {
			return fileError{a.file, err}
		}
		if *file != "" {
			if err := reserve(*file); err != nil {
				return coded{exitRefused, err}
			}
		}
		var tenant dove.Tenant
		if cmd.Flags().Changed("tenant") {
			tenant = dove.Tenant(a.tenant)
		}
		token, err := c.CreateToken(ctx, tenant)
		if err != nil {
			if *file != "" {
				err = errors.Join(err, os.Remove(*file))
			}
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

// reserve makes an empty file that only its owner can read, before there is a
// token that could be lost.
func reserve(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s exists already, and no token was made: name another file, or remove it first", file)
	case err != nil:
		return fmt.Errorf("no token was made, since it could not be saved: %w", err)
	}
	return f.Close()
}

func (a *app) tokensCommand() *cobra.Command {
	return &cobra.Command{
		Use: "tokens", Short: "list tokens, without their secrets", Args: cobra.NoArgs,
		RunE: listing(a, a.asAnyone, func(ctx context.Context, c *client.Client, _ dove.Tenant) ([]api.Token, error) {
			return c.Tokens(ctx)
		}, func(w io.Writer, all ...api.Token) {
			row(w, "ID", "CREATED", "REVISION", "TENANT")
			for _, t := range all {
				row(w, t.ID, moment(t.Created), t.Revision, cmp.Or(t.Tenant, "-"))
			}
		}),
	}
}

func tokenNames(ctx context.Context, c *client.Client, _ dove.Tenant, _ string) ([]string, error) {
	all, err := c.Tokens(ctx)
	return namesOf(all, err, func(t api.Token) string { return t.ID })
}

func (a *app) tokenDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete ID", ValidArgsFunction: a.completed(tokenNames), Short: "delete a token", Args: cobra.ExactArgs(1),
		Long: `Deletes a token: whoever has it is nobody from then on. The last
administrator's cannot be deleted.`,
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			id := args[0]
			if kind, rest, whole := strings.Cut(id, "."); whole { // never repeated: it has a secret
				return coded{exitRefused, wholeToken(kind, rest)}
			}
			rev, err := c.DeleteToken(ctx, id)
			if err := a.deleted("token "+id, rev, err); err != nil {
				return err
			}
			conf, err := client.Load(a.file)
			if err != nil {
				return fileError{a.file, err}
			}
			if own, err := auth.ParseAPIToken(conf.Token); err == nil && own.ID == id {
				fmt.Fprintln(a.err, paint(a.colourErr, yellow, fmt.Sprintf("this was the token in %s: the file is worth nothing any more", a.file)))
			}
			return nil
		}),
	}
}

// wholeToken refuses a token's text where its ID is wanted.
func wholeToken(kind, rest string) error {
	if kind == string(auth.JoinToken) {
		return errors.New("this is a host's join token, none of the API: dovectl host delete takes its host")
	}
	id, _, _ := strings.Cut(rest, ".")
	if kind != string(auth.AdminToken) && kind != string(auth.TenantToken) || len(id) > 12 {
		return errors.New("this is no ID of a token: dovectl tokens lists them")
	}
	return fmt.Errorf("this is a whole token: its ID is the second part, dovectl token delete %s", id)
}
