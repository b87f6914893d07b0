package main

import (
	"context"
	"fmt"
	"io"
	"strings"

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
	createIf := ifMatchFlag(create)
	create.RunE = a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		t, err := c.PutTenant(ctx, dove.Tenant(args[0]), createIf())
		if err != nil {
			return err
		}
		return a.emit(t, func(w io.Writer) { fmt.Fprintf(w, "tenant %s: revision %d\n", t.Name, t.Revision) })
	})
	remove := &cobra.Command{
		Use: "delete NAME", Short: "delete a tenant that owns nothing any more", Args: cobra.ExactArgs(1),
	}
	removeIf := ifMatchFlag(remove)
	remove.RunE = a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		rev, err := c.DeleteTenant(ctx, dove.Tenant(args[0]), removeIf())
		return a.deleted("tenant "+args[0], rev, err)
	})
	return folder(&cobra.Command{Use: "tenant", Short: "make, list and delete tenants"},
		create,
		&cobra.Command{
			Use: "list", Short: "list tenants", Args: cobra.NoArgs,
			RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
				all, err := c.Tenants(ctx)
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
		},
		remove)
}

// deleted reports a deletion.
func (a *app) deleted(what string, rev dove.Revision, err error) error {
	if err != nil {
		return err
	}
	return a.emit(api.Done{Revision: rev}, func(w io.Writer) { fmt.Fprintf(w, "%s is deleted: revision %d\n", what, rev) })
}

func (a *app) networkCommand() *cobra.Command {
	return folder(&cobra.Command{
		Use: "network", Short: "make, list and delete networks",
		Long: "Networks usually come with a blueprint, and are changed there. These commands are for networks that several blueprints use.",
	},
		&cobra.Command{
			Use: "list", Short: "list the tenant's networks", Args: cobra.NoArgs,
			RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, _ []string) error {
				all, err := c.Networks(ctx, t)
				if err != nil {
					return err
				}
				return a.emit(all, func(w io.Writer) { networkRows(w, all...) })
			}),
		},
		&cobra.Command{
			Use: "get NAME", Short: "show a network", Args: cobra.ExactArgs(1),
			RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
				n, err := c.Network(ctx, dove.Network{Tenant: t, Name: args[0]})
				if err != nil {
					return err
				}
				return a.emit(n, func(w io.Writer) { networkRows(w, n) })
			}),
		},
		a.networkCreateCommand(), a.networkDeleteCommand())
}

func (a *app) networkCreateCommand() *cobra.Command {
	var spec api.NetworkSpec
	cmd := &cobra.Command{
		Use: "create NAME --domain DOMAIN --subnet PREFIX...", Short: "make a network by itself, or change it", Args: cobra.ExactArgs(1),
		Example: "  dovectl network create back --domain shop --subnet 10.0.2.0/24 --subnet fd00:0:0:2::/64",
	}
	f := cmd.Flags()
	f.StringVar(&spec.Domain, "domain", "", "`NAME` of the domain, fixed when the network is made")
	f.StringSliceVar(&spec.Subnets, "subnet", nil, "`PREFIX` of a subnet; repeat for more")
	f.Uint16Var(&spec.MTU, "mtu", 0, "`BYTES` that a guest may send in one packet")
	ifMatch := ifMatchFlag(cmd)
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		n, err := c.PutNetwork(ctx, dove.Network{Tenant: t, Name: args[0]}, spec, ifMatch())
		if err != nil {
			return err
		}
		return a.emit(n, func(w io.Writer) { fmt.Fprintf(w, "network %s (VNI %d): revision %d\n", n.Name, n.VNI, n.Revision) })
	})
	return cmd
}

func (a *app) networkDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "delete a network that nobody is on", Args: cobra.ExactArgs(1),
	}
	ifMatch := ifMatchFlag(cmd)
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		rev, err := c.DeleteNetwork(ctx, dove.Network{Tenant: t, Name: args[0]}, ifMatch())
		return a.deleted("network "+args[0], rev, err)
	})
	return cmd
}

func networkRows(w io.Writer, all ...api.Network) {
	row(w, "NAME", "DOMAIN", "BLUEPRINT", "SUBNETS", "VNI", "MTU", "REVISION")
	for _, n := range all {
		row(w, n.Name, n.Domain, n.Blueprint, strings.Join(n.Subnets, ","), n.VNI, n.MTU, n.Revision)
	}
}
