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

func (a *app) networkCommand() *cobra.Command {
	return folder(&cobra.Command{
		Use: "network", Short: "show, make and delete networks",
		Long: `Networks usually come with a blueprint, and are changed there. These commands
are for networks that several blueprints use.`,
	},
		listed(a.networksCommand()),
		getCommand(a, a.asTenant, "show a network", networkNames, func(ctx context.Context, c *client.Client, t dove.Tenant, name string) (api.Network, error) {
			return c.Network(ctx, dove.Network{Tenant: t, Name: name})
		}, func(w io.Writer, n api.Network) { networkRows(w, n) }),
		a.networkCreateCommand(),
		a.deleteCommand(a.asTenant, "network", "delete a network that nobody is on", "", networkNames, func(ctx context.Context, c *client.Client, t dove.Tenant, name string, ifMatch *dove.Revision) (dove.Revision, error) {
			return c.DeleteNetwork(ctx, dove.Network{Tenant: t, Name: name}, ifMatch)
		}))
}

func (a *app) networksCommand() *cobra.Command {
	var filter api.NetworkFilter
	cmd := &cobra.Command{
		Use: "networks", Short: "list the tenant's networks", Args: cobra.NoArgs,
		RunE: listing(a, a.asTenant, func(ctx context.Context, c *client.Client, t dove.Tenant) ([]api.Network, error) {
			return c.Networks(ctx, t, filter)
		}, networkRows),
	}
	cmd.Flags().StringVar(&filter.Domain, "domain", "", "only those of domain `NAME`")
	cmd.Flags().StringVar(&filter.Blueprint, "blueprint", "", "only those that blueprint `NAME` makes")
	a.completedFlag(cmd, "blueprint", blueprintNames)
	return cmd
}

func networkNames(ctx context.Context, c *client.Client, t dove.Tenant, _ string) ([]string, error) {
	all, err := c.Networks(ctx, t, api.NetworkFilter{})
	return namesOf(all, err, func(n api.Network) string { return n.Name })
}

func (a *app) networkCreateCommand() *cobra.Command {
	var spec api.NetworkSpec
	cmd := &cobra.Command{
		Use: "create NAME --domain DOMAIN --subnet PREFIX...", Short: "make a network by itself, or change it", Args: cobra.ExactArgs(1),
		Example: "  dovectl network create back --domain shop --subnet 10.0.2.0/24,fd00:0:0:2::/64",
	}
	f := cmd.Flags()
	f.StringVar(&spec.Domain, "domain", "", "`NAME` of the domain, fixed when the network is made")
	f.StringSliceVar(&spec.Subnets, "subnet", nil, "`PREFIX` of a subnet; repeat for more")
	f.Uint16Var(&spec.MTU, "mtu", 0, "`BYTES` that a guest may send in one packet")
	write, wait := writeFlags(cmd), a.waitFlags(cmd)
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		n, err := write.on(c).PutNetwork(ctx, dove.Network{Tenant: t, Name: args[0]}, spec, write.condition())
		if err != nil {
			return err
		}
		if err := a.emit(n, func(w io.Writer) {
			fmt.Fprintf(w, "network %s (VNI %d): revision %d\n", n.Name, n.VNI, n.Revision)
		}); err != nil {
			return err
		}
		return wait(ctx, c, n.Revision)
	})
	return cmd
}

func networkRows(w io.Writer, all ...api.Network) {
	row(w, "NAME", "DOMAIN", "BLUEPRINT", "SUBNETS", "VNI", "MTU", "REVISION")
	for _, n := range all {
		row(w, n.Name, n.Domain, n.Blueprint, strings.Join(n.Subnets, ","), n.VNI, n.MTU, n.Revision)
	}
}
