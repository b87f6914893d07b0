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
	write := writeFlags(create)
	create.RunE = a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		t, err := write.on(c).PutTenant(ctx, dove.Tenant(args[0]), write.condition())
		if err != nil {
			return err
		}
		return a.emit(t, func(w io.Writer) { fmt.Fprintf(w, "tenant %s: revision %d\n", t.Name, t.Revision) })
	})
	return folder(&cobra.Command{Use: "tenant", Short: "make and delete tenants"},
		create, listed(a.tenantsCommand()),
		a.deleteCommand(a.asAnyone, "tenant", "delete a tenant that owns nothing any more", "", tenantNames, func(ctx context.Context, c *client.Client, _ dove.Tenant, name string, ifMatch *dove.Revision) (dove.Revision, error) {
			return c.DeleteTenant(ctx, dove.Tenant(name), ifMatch)
		}))
}

func (a *app) tenantsCommand() *cobra.Command {
	var filter api.TenantFilter
	cmd := &cobra.Command{
		Use: "tenants", Short: "list tenants", Args: cobra.NoArgs,
		RunE: listing(a, a.asAnyone, func(ctx context.Context, c *client.Client, _ dove.Tenant) ([]api.Tenant, error) {
			return c.Tenants(ctx, filter)
		}, func(w io.Writer, all ...api.Tenant) {
			row(w, "NAME", "REVISION")
			for _, t := range all {
				row(w, t.Name, t.Revision)
			}
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
