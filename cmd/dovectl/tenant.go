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

func (a *app) tenantCommand() *cobra.Command {
	create := &cobra.Command{
		Use: "create NAME", Short: "make a tenant", Args: cobra.ExactArgs(1),
		Example: "  dovectl tenant create acme",
	}
	createWrite := writeFlags(create)
	create.RunE = a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		t, err := createWrite.on(c).PutTenant(ctx, dove.Tenant(args[0]), createWrite.condition())
		if err != nil {
			return err
		}
		return a.emit(t, func(w io.Writer) { fmt.Fprintf(w, "tenant %s: revision %d\n", t.Name, t.Revision) })
	})
	remove := &cobra.Command{
		Use: "delete NAME", Short: "delete a tenant that owns nothing any more", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completed(tenantNames),
	}
	removeWrite := writeFlags(remove)
	remove.RunE = a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		rev, err := removeWrite.on(c).DeleteTenant(ctx, dove.Tenant(args[0]), removeWrite.condition())
		return a.deleted("tenant "+args[0], rev, err)
	})
	return folder(&cobra.Command{Use: "tenant", Short: "make and delete tenants"},
		create, listed(a.tenantsCommand()), remove)
}

func (a *app) tenantsCommand() *cobra.Command {
	var filter api.TenantFilter
	cmd := &cobra.Command{
		Use: "tenants", Short: "list tenants", Args: cobra.NoArgs,
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.Tenants(ctx, filter)
			if err != nil {
				return err
			}
			return a.emit(all, func(w io.Writer) {
				row(w, "NAME", "REVISION")
				for _, t := range all {
					row(w, t.Name, t.Revision)
				}
			})
		}),
	}
	cmd.Flags().StringVar(&filter.Prefix, "prefix", "", "only those whose names begin with `LETTERS`")
	return cmd
}

func tenantNames(ctx context.Context, c *client.Client, _ dove.Tenant, prefix string) ([]string, error) {
	all, err := c.Tenants(ctx, api.TenantFilter{Prefix: prefix})
	return namesOf(all, err, func(t api.Tenant) dove.Tenant { return t.Name })
}

// deleted reports a deletion.
func (a *app) deleted(what string, rev dove.Revision, err error) error {
	if err != nil {
		return err
	}
	return a.emit(api.Done{Revision: rev}, func(w io.Writer) { fmt.Fprintf(w, "%s is deleted: revision %d\n", what, rev) })
}
