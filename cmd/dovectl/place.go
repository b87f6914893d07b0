package main

import (
	"context"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

func (a *app) endpointAttachCommand() *cobra.Command {
	var device string
	cmd := &cobra.Command{
		Use: "attach ID HOST", Short: "put an endpoint that is on no host on one", Args: cobra.ExactArgs(2),
		Long: `Puts an endpoint on a host. Its dSwitch waits for the endpoint's device, and
connects it. An endpoint that is on another host stays there: move it.`,
		Example:           "  dovectl endpoint attach web-1 h1 --wait\n  dovectl endpoint attach vm-7 h2 --device tap7",
		ValidArgsFunction: a.completed(endpointNames, hostNames),
	}
	cmd.Flags().StringVar(&device, "device", "", "`NAME` of its device on the host; default is as it was, at first tap or dv and the first 11 characters of the id")
	return a.placing(cmd, func(ctx context.Context, c *client.Client, e api.Endpoint, host dove.HostName, ifMatch *dove.Revision) (api.Endpoint, error) {
		if e.Host != "" && e.Host != host {
			return e, dove.Errorf(dove.Conflict, "endpoint %s is on %s: move it with dovectl endpoint move %s %s", e.ID, e.Host, e.ID, host)
		}
		name := dove.Endpoint{Tenant: e.Tenant, ID: e.ID}
		if device == "" || device == e.Device {
			return c.BindEndpoint(ctx, name, host, ifMatch)
		}
		return c.PutEndpoint(ctx, name, api.EndpointSpec{Groups: e.Groups, Host: host, Device: device}, ifMatch)
	})
}

func (a *app) endpointMoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "move ID HOST", Short: "move an endpoint to another host", Args: cobra.ExactArgs(2),
		Long: `Moves an endpoint to another host at once. Its connections survive if its
device is there by then, or soon, and policy allows them either way. Whoever
talks to it is told where it is now. To move it without losing a packet, use
dovectl endpoint prepare, activate and finish.`,
		Example:           "  dovectl endpoint move web-1 h2 --wait",
		ValidArgsFunction: a.completed(endpointNames, hostNames),
	}
	return a.placing(cmd, func(ctx context.Context, c *client.Client, e api.Endpoint, host dove.HostName, ifMatch *dove.Revision) (api.Endpoint, error) {
		if e.Host == "" {
			return e, dove.Errorf(dove.Conflict, "endpoint %s is on no host: attach it with dovectl endpoint attach %s %s", e.ID, e.ID, host)
		}
		return c.BindEndpoint(ctx, dove.Endpoint{Tenant: e.Tenant, ID: e.ID}, host, ifMatch)
	})
}

// placing makes the body of a command that depends on where the endpoint is: it
// reads that, and writes on condition that it is still so.
func (a *app) placing(cmd *cobra.Command, place func(ctx context.Context, c *client.Client, e api.Endpoint, host dove.HostName, ifMatch *dove.Revision) (api.Endpoint, error)) *cobra.Command {
	write, wait := writeFlags(cmd), a.waitFlags(cmd)
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		e, err := c.Endpoint(ctx, endpointName(t, args[0]))
		if err != nil {
			return err
		}
		e, err = place(ctx, write.on(c), e, dove.HostName(args[1]), write.conditionOr(e.Revision))
		return a.wroteEndpoint(ctx, c, e, err, wait)
	})
	return cmd
}

func (a *app) endpointDetachCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "detach ID", ValidArgsFunction: a.completed(endpointNames), Short: "take an endpoint from its host", Args: cobra.ExactArgs(1),
		Long: `Takes an endpoint from its host, whose dSwitch closes its port. Its addresses
and groups stay its own.`,
		Example: "  dovectl endpoint detach web-1 --wait",
	}
	write, wait := writeFlags(cmd), a.waitFlags(cmd)
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		e, err := write.on(c).UnbindEndpoint(ctx, endpointName(t, args[0]), write.condition())
		return a.wroteEndpoint(ctx, c, e, err, wait)
	})
	return cmd
}
