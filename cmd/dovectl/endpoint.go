package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

func (a *app) endpointCommand() *cobra.Command {
	return folder(&cobra.Command{
		Use: "endpoint", Short: "put workloads into groups and on hosts",
		Long: `An endpoint is one interface of a workload. Its groups say what it means, its
host says where it is. The dSwitch of that host waits for the endpoint's device
and connects it.`,
	},
		a.endpointCreateCommand(), a.endpointLoadCommand(), listed(a.endpointsCommand()), a.endpointGetCommand(),
		a.endpointAttachCommand(), a.endpointMoveCommand(), a.endpointPrepareCommand(), a.endpointActivateCommand(), a.endpointFinishCommand(),
		a.endpointDetachCommand(), a.endpointDeleteCommand())
}

func (a *app) endpointCreateCommand() *cobra.Command {
	var spec api.EndpointSpec
	var allowed []string
	var labels, ports map[string]string
	var secure bool
	cmd := &cobra.Command{
		Use: "create ID --group BLUEPRINT/GROUP...", Short: "make an endpoint, or change it", Args: cobra.ExactArgs(1),
		Long: `Makes an endpoint. If there is one with that id, its groups become those that
are given, and everything else that is given changes; --if-match 0 refuses
that. Without --address it gets the lowest free address of each family of its
network.`,
		Example: `  dovectl endpoint create web-1 --group shop/web --host h1
  dovectl endpoint create db-1 --group shop/db --address 10.0.2.9,fd00:0:0:2::9
  dovectl endpoint create p3 --network front --label app=web --port http=tcp/80
  dovectl endpoint create vm-7 --group shop/app --host h2 --device tap7 --wait
  dovectl endpoint create vm-7-db --group shop/db --parent vm-7 --vlan 7`,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringSliceVarP(&spec.Groups, "group", "g", []string{}, "`BLUEPRINT/GROUP` that it is in; repeat for more")
	f.StringVar((*string)(&spec.Host), "host", "", "`NAME` of the host that it is on")
	f.StringVar(&spec.Network, "network", "", "`NAME` of its network; default is its groups'")
	f.StringSliceVar(&spec.Addresses, "address", nil, "its `ADDRESS`; repeat for more")
	f.StringVar(&spec.MAC, "mac", "", "its hardware `ADDRESS`; default is made up")
	f.StringSliceVar(&allowed, "allow", nil, "`ADDRESS` or prefix that it may send from and gets beside its own, =MAC if not with its own; repeat for more")
	f.BoolVar(&secure, "port-security", true, "false: it may send from any address and MAC, and its end of every policy allows everything")
	f.StringVar(&spec.Device, "device", "", "`NAME` of its device on the host; default is tap or dv and the first 11 characters of the id")
	f.StringVar((*string)(&spec.Parent), "parent", "", "`ID` of the endpoint whose device it shares: its frames have a VLAN tag there, and it is bound where that is")
	f.Uint16Var(&spec.VLAN, "vlan", 0, "`NUMBER` of that tag, 1 to 4094")
	f.StringToStringVarP(&labels, "label", "l", nil, "`KEY=VALUE` by which groups select it; repeat for more")
	f.StringToStringVar(&ports, "port", nil, "`NAME=PORT` that policies may name, as http=tcp/80; repeat for more")
	a.completedFlag(cmd, "group", groupNames)
	a.completedFlag(cmd, "host", hostNames)
	a.completedFlag(cmd, "network", networkNames)
	a.completedFlag(cmd, "parent", endpointNames)
	write, wait := writeFlags(cmd), a.waitFlags(cmd)
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		for _, text := range allowed {
			prefix, mac, _ := strings.Cut(text, "=")
			spec.Allowed = append(spec.Allowed, api.AllowedPrefix{Prefix: prefix, MAC: mac})
		}
		if cmd.Flags().Changed("label") {
			spec.Labels = labels
		}
		if cmd.Flags().Changed("port") {
			spec.Ports = ports
		}
		if cmd.Flags().Changed("port-security") {
			spec.PortSecurity = &secure
		}
		e, err := write.on(c).PutEndpoint(ctx, endpointName(t, args[0]), spec, write.condition())
		return a.wroteEndpoint(ctx, c, e, err, wait)
	})
	return cmd
}

// pairs prints what is said of keys in their order.
func pairs(of map[string]string) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(of)) {
		all = append(all, key+"="+of[key])
	}
	return strings.Join(all, ", ")
}

func endpointName(t dove.Tenant, id string) dove.Endpoint {
	return dove.Endpoint{Tenant: t, ID: dove.EndpointID(id)}
}

// wroteEndpoint shows an endpoint after a write, and waits if that was asked for.
func (a *app) wroteEndpoint(ctx context.Context, c *client.Client, e api.Endpoint, err error, wait func(context.Context, *client.Client, dove.Revision) error) error {
	if err != nil {
		return err
	}
	if a.waits && a.form != "table" { // what it is afterwards
		waited := wait(ctx, c, e.Revision)
		if now, err := c.Endpoint(ctx, dove.Endpoint{Tenant: e.Tenant, ID: e.ID}); err == nil {
			e = now
		}
		return errors.Join(a.emit(e, nil), waited)
	}
	if err := a.emit(e, func(w io.Writer) {
		where := "on no host"
		if e.Host != "" {
			where = "on " + string(e.Host)
		}
		if e.Standby != "" {
			where += ", standby on " + string(e.Standby)
		}
		fmt.Fprintf(w, "endpoint %s (%s, %s): revision %d\n", e.ID, strings.Join(e.Addresses, ", "), where, e.Revision)
	}); err != nil {
		return err
	}
	return wait(ctx, c, e.Revision)
}

// endpointStates are those of the API.
var endpointStates = []string{"unbound", "unknown", "foreign", "waiting", "active", "failed"}

func (a *app) endpointsCommand() *cobra.Command {
	var filter api.EndpointFilter
	cmd := &cobra.Command{
		Use: "endpoints", Short: "list the tenant's endpoints", Args: cobra.NoArgs,
		Example: "  dovectl endpoints --host h1\n  dovectl endpoints --group shop/web",
		RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, _ []string) error {
			if filter.State != "" && !slices.Contains(endpointStates, filter.State) {
				return coded{exitRefused, fmt.Errorf("--state %q is no state: use %s", filter.State, strings.Join(endpointStates, ", "))}
			}
			all, err := c.Endpoints(ctx, t, filter)
			if err != nil {
				return err
			}
			return a.emit(all, func(w io.Writer) {
				row(w, "ID", "ADDRESSES", "NETWORK", "GROUPS", "HOST", "STATE")
				for _, e := range all {
					row(w, e.ID, strings.Join(e.Addresses, ","), e.Network, strings.Join(e.Groups, ","), hostsOf(e), a.endpointState(e))
				}
			})
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&filter.Group, "group", "g", "", "only those in `BLUEPRINT/GROUP`")
	f.StringVar((*string)(&filter.Host), "host", "", "only those on host `NAME`")
	f.StringVar(&filter.Network, "network", "", "only those on network `NAME`")
	f.StringVar(&filter.Address, "address", "", "only those with `ADDRESS`")
	f.StringVar(&filter.State, "state", "", "only those in `STATE`: unbound, unknown, foreign, waiting, active or failed")
	choices(cmd, "state", endpointStates...)
	a.completedFlag(cmd, "group", groupNames)
	a.completedFlag(cmd, "host", hostNames)
	a.completedFlag(cmd, "network", networkNames)
	return cmd
}

func endpointNames(ctx context.Context, c *client.Client, t dove.Tenant, _ string) ([]string, error) {
	all, err := c.Endpoints(ctx, t, api.EndpointFilter{})
	return namesOf(all, err, func(e api.Endpoint) dove.EndpointID { return e.ID })
}

func (a *app) endpointGetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "get ID", ValidArgsFunction: a.completed(endpointNames), Short: "show an endpoint", Args: cobra.ExactArgs(1),
		RunE: a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
			e, err := c.Endpoint(ctx, endpointName(t, args[0]))
			if err != nil {
				return err
			}
			return a.emit(e, func(w io.Writer) {
				row(w, "id:", e.ID)
				row(w, "network:", e.Network)
				row(w, "addresses:", strings.Join(e.Addresses, ", "))
				row(w, "mac:", e.MAC)
				row(w, "groups:", strings.Join(e.Groups, ", "))
				for _, x := range e.Allowed {
					says := x.Prefix
					if x.MAC != "" {
						says += " with MAC " + x.MAC
					}
					if slices.Contains(e.Claimed, x.Prefix) {
						says += ", claimed"
					}
					row(w, "allowed:", says)
				}
				if len(e.Labels) > 0 {
					row(w, "labels:", pairs(e.Labels))
				}
				if len(e.Ports) > 0 {
					row(w, "ports:", pairs(e.Ports))
				}
				if !e.PortSecurity {
					row(w, "port security:", "off")
				}
				row(w, "host:", e.Host)
				if e.Standby != "" {
					row(w, "standby:", e.Standby)
				}
				row(w, "state:", a.endpointState(e))
				if m := e.Move; m != nil {
					row(w, "move:", m.Step)
					for _, wait := range m.Waits {
						row(w, "waits:", wait)
					}
					row(w, "flows taken over:", m.Flows)
					if m.Lost != "" {
						row(w, "flows lost:", m.Lost)
					}
				}
				if e.Device != "" {
					row(w, "device:", e.Device)
				}
				if e.Parent != "" {
					row(w, "parent:", fmt.Sprintf("%s, VLAN %d", e.Parent, e.VLAN))
				}
				for _, sub := range e.SubPorts {
					row(w, "sub-port:", fmt.Sprintf("%s, VLAN %d", sub.ID, sub.VLAN))
				}
				row(w, "epoch:", e.Epoch)
				row(w, "uid:", e.UID)
				row(w, "revision:", e.Revision)
			})
		}),
	}
}

// endpointState says how the endpoint is, and why it failed.
func (a *app) endpointState(e api.Endpoint) string {
	said := e.State
	switch e.State {
	case "active":
		said = paint(a.colourOut, green, said)
	case "failed":
		said = paint(a.colourOut, red, said)
	case "waiting", "unknown":
		said = paint(a.colourOut, yellow, said)
	}
	if e.Detail != "" {
		said += ": " + e.Detail
	}
	return said
}

func (a *app) endpointDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete ID", ValidArgsFunction: a.completed(endpointNames), Short: "delete an endpoint", Args: cobra.ExactArgs(1),
	}
	write, wait := writeFlags(cmd), a.waitFlags(cmd)
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		rev, err := write.on(c).DeleteEndpoint(ctx, endpointName(t, args[0]), write.condition())
		if err := a.deleted("endpoint "+args[0], rev, err); err != nil {
			return err
		}
		return wait(ctx, c, rev)
	})
	return cmd
}
