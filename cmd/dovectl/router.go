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

func (a *app) routerCommand() *cobra.Command {
	return folder(&cobra.Command{
		Use: "router", Short: "show, make and delete routers",
		Long: `A router joins networks of one domain: endpoints of one reach those of another,
where policy allows it. Routers usually come with a blueprint, and are changed
there. These commands are for routers between networks of several blueprints.`,
	},
		listed(a.routersCommand()),
		getCommand(a, a.asTenant, "show a router", routerNames, func(ctx context.Context, c *client.Client, t dove.Tenant, name string) (api.Router, error) {
			return c.Router(ctx, dove.Router{Tenant: t, Name: name})
		}, routerParts),
		a.routerCreateCommand(),
		a.deleteCommand(a.asTenant, "router", "delete a router that no policy needs", "", routerNames, func(ctx context.Context, c *client.Client, t dove.Tenant, name string, ifMatch *dove.Revision) (dove.Revision, error) {
			return c.DeleteRouter(ctx, dove.Router{Tenant: t, Name: name}, ifMatch)
		}))
}

func (a *app) routersCommand() *cobra.Command {
	var filter api.RouterFilter
	cmd := &cobra.Command{
		Use: "routers", Short: "list the tenant's routers", Args: cobra.NoArgs,
		RunE: listing(a, a.asTenant, func(ctx context.Context, c *client.Client, t dove.Tenant) ([]api.Router, error) {
			return c.Routers(ctx, t, filter)
		}, routerRows),
	}
	cmd.Flags().StringVar(&filter.Network, "network", "", "only those that join network `NAME`")
	cmd.Flags().StringVar(&filter.Blueprint, "blueprint", "", "only those that blueprint `NAME` makes")
	a.completedFlag(cmd, "network", networkNames)
	a.completedFlag(cmd, "blueprint", blueprintNames)
	return cmd
}

func routerNames(ctx context.Context, c *client.Client, t dove.Tenant, _ string) ([]string, error) {
	all, err := c.Routers(ctx, t, api.RouterFilter{})
	return namesOf(all, err, func(r api.Router) string { return r.Name })
}

func (a *app) routerCreateCommand() *cobra.Command {
	var spec api.RouterSpec
	var addresses, routes []string
	cmd := &cobra.Command{
		Use: "create NAME --network NETWORK...", Short: "make a router by itself, or change it as a whole", Args: cobra.ExactArgs(1),
		Example: `  dovectl router create core --network front,back
  dovectl router create edge --network back,store --address back=10.0.2.254`,
	}
	f := cmd.Flags()
	f.StringSliceVar(&spec.Networks, "network", nil, "`NAME` of a network that it joins; repeat for more")
	f.StringVar(&spec.Domain, "domain", "", "`NAME` of the domain, that of its networks if missing")
	f.StringArrayVar(&addresses, "address", nil, "`NETWORK=ADDRESS,...` that it has there, if not each subnet's first; repeat for more")
	f.StringArrayVar(&routes, "route", nil, "`PREFIX=ADDRESS,...` of endpoints that lead to a prefix, each flow by one of them; repeat for more")
	a.completedFlag(cmd, "network", networkNames)
	write, wait := writeFlags(cmd), a.waitFlags(cmd)
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		for _, text := range addresses {
			network, list, err := assigned("--address", text)
			if err != nil {
				return err
			}
			if spec.Addresses == nil {
				spec.Addresses = map[string][]string{}
			}
			spec.Addresses[network] = append(spec.Addresses[network], list...)
		}
		for _, text := range routes {
			to, via, err := assigned("--route", text)
			if err != nil {
				return err
			}
			spec.Routes = append(spec.Routes, api.Route{To: to, Via: via})
		}
		r, err := write.on(c).PutRouter(ctx, dove.Router{Tenant: t, Name: args[0]}, spec, write.condition())
		if err != nil {
			return err
		}
		if err := a.emit(r, func(w io.Writer) { fmt.Fprintf(w, "router %s: revision %d\n", r.Name, r.Revision) }); err != nil {
			return err
		}
		return wait(ctx, c, r.Revision)
	})
	return cmd
}

// assigned reads NAME=VALUE,VALUE.
func assigned(flag, text string) (name string, values []string, err error) {
	name, list, ok := strings.Cut(text, "=")
	if !ok || name == "" || list == "" {
		return "", nil, dove.Errorf(dove.Invalid, "%s %q: write what it is for, = and addresses with commas between them", flag, text)
	}
	return name, strings.Split(list, ","), nil
}

func routerRows(w io.Writer, all ...api.Router) {
	row(w, "NAME", "DOMAIN", "BLUEPRINT", "NETWORKS", "ROUTES", "REVISION")
	for _, r := range all {
		var networks []string
		for _, f := range r.Interfaces {
			networks = append(networks, f.Network)
		}
		row(w, r.Name, r.Domain, r.Blueprint, strings.Join(networks, ","), len(r.Routes), r.Revision)
	}
}

func routerParts(w io.Writer, r api.Router) {
	routerRows(w, r)
	row(w)
	row(w, "NETWORK", "ADDRESSES", "MAC")
	for _, f := range r.Interfaces {
		row(w, f.Network, strings.Join(f.Addresses, ","), f.MAC)
	}
	if len(r.Routes) > 0 {
		row(w)
		row(w, "TO", "VIA")
	}
	for _, t := range r.Routes {
		row(w, t.To, strings.Join(t.Via, ","))
	}
}
