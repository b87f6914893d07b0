package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
	"github.com/spf13/cobra"
)

func (a *app) endpointPrepareCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "prepare ID HOST", Short: "prepare to move an endpoint without loss", Args: cobra.ExactArgs(2),
		Long: `Gives an endpoint a second binding, on standby. The dSwitch there waits for the
endpoint's device and opens its port; all hosts believe from then on what comes
for the endpoint from either host, and its flows are taken over. It stays active
where it is.`,
		Example:           "  dovectl endpoint prepare web-1 h2 --wait",
		ValidArgsFunction: a.completed(endpointNames, hostNames),
	}
	write := writeFlags(cmd)
	wait, _ := a.moveFlags(cmd, "wait until it is prepared")
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		e, err := write.on(c).PrepareEndpoint(ctx, endpointName(t, args[0]), dove.HostName(args[1]), write.condition())
		if err != nil {
			return err
		}
		return a.moved(ctx, e, func() (api.Endpoint, error) {
			return wait(ctx, c, e, "prepared", func(e api.Endpoint) bool { return e.Move == nil || e.Move.Step != "preparing" })
		})
	})
	return cmd
}

func (a *app) endpointActivateCommand() *cobra.Command {
	var force api.Force
	cmd := &cobra.Command{
		Use: "activate ID [HOST]", ValidArgsFunction: a.completed(endpointNames, hostNames), Short: "make the standby host of an endpoint the active one", Args: cobra.RangeArgs(1, 2),
		Long: `Makes the standby host of an endpoint the active one, and the other way round.
It is refused before the move is prepared; with --wait it waits for that first,
and then until the workload may go on at its new host. Said again it changes
nothing, and goes on to wait. Until the move is finished, naming the host where
it was goes back.`,
		Example: "  dovectl endpoint activate web-1 --wait\n  dovectl endpoint activate web-1 h1 --wait    # go back to h1",
	}
	a.forceFlags(cmd, &force, "do it though it is not prepared: packets and flows are lost")
	write := writeFlags(cmd)
	wait, _ := a.moveFlags(cmd, "wait until it is prepared, and then until it is confirmed")
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		e, err := a.moving(ctx, c, endpointName(t, args[0]))
		if err != nil {
			return err
		}
		to := e.Standby
		if len(args) == 2 {
			to = dove.HostName(args[1])
		} else if e.Move.Step == "activating" || e.Move.Step == "confirmed" {
			to = e.Host // said before
		}
		if to != e.Host {
			if a.waits && !force.Force {
				if e, err = wait(ctx, c, e, "prepared", settled(force)); err != nil {
					return err
				}
			}
			before := *e.Move
			e, err = write.on(c).ActivateEndpoint(ctx, endpointName(t, args[0]), to, force, write.conditionOr(e.Revision))
			if err != nil {
				return err
			}
			if force.Force {
				a.warnForced(e, before)
			}
		}
		return a.moved(ctx, e, func() (api.Endpoint, error) {
			return wait(ctx, c, e, "confirmed", func(e api.Endpoint) bool { return e.Move == nil || e.Move.Step == "confirmed" })
		})
	})
	return cmd
}

func (a *app) endpointFinishCommand() *cobra.Command {
	var force api.Force
	cmd := &cobra.Command{
		Use: "finish ID", ValidArgsFunction: a.completed(endpointNames), Short: "end the move of an endpoint, or give it up", Args: cobra.ExactArgs(1),
		Long: `Takes the binding to the standby host away, whose dSwitch closes the port. After
an activation that ends the move: it is refused before all hosts know where the
endpoint is; with --wait it waits for that first. Before one it gives the move
up.`,
		Example: "  dovectl endpoint finish web-1 --wait",
	}
	a.forceFlags(cmd, &force, "do it though not all hosts know where it is, or its flows: packets are lost")
	write := writeFlags(cmd)
	wait, timeout := a.moveFlags(cmd, "wait until all hosts know where it is, and then until it is done")
	cmd.RunE = a.asTenant(func(ctx context.Context, c *client.Client, t dove.Tenant, args []string) error {
		e, err := a.moving(ctx, c, endpointName(t, args[0]))
		if err != nil {
			return err
		}
		activated := e.Move.Step == "activating" || e.Move.Step == "confirmed"
		if a.waits && !force.Force && activated {
			if e, err = wait(ctx, c, e, "finished", settled(force)); err != nil {
				return err
			}
		}
		e, err = write.on(c).FinishEndpoint(ctx, endpointName(t, args[0]), e.Standby, force, write.conditionOr(e.Revision))
		return a.wroteEndpoint(ctx, c, e, err, func(ctx context.Context, c *client.Client, rev dove.Revision) error {
			if !a.waits {
				return nil
			}
			return a.await(ctx, c, rev, *timeout, a.err)
		})
	})
	return cmd
}

// warnForced says what an activation was forced in spite of.
func (a *app) warnForced(e api.Endpoint, before api.Move) {
	for _, wait := range before.Waits {
		fmt.Fprintf(a.err, "warning: forced though %s\n", wait)
	}
	if slices.Contains(before.Hosts, e.Host) {
		fmt.Fprintf(a.err, "warning: endpoint %s gets nothing until host %s is ready; to go back: dovectl endpoint activate %s %s --force\n", e.ID, e.Host, e.ID, e.Standby)
	}
}

// settled says of a move that nothing holds its next step up, but for hosts that
// it is done without.
func settled(f api.Force) func(api.Endpoint) bool {
	return func(e api.Endpoint) bool { return e.Move == nil || f.Settled(e.Move) }
}

// forceFlags let a step be done before the one before is complete.
func (a *app) forceFlags(cmd *cobra.Command, f *api.Force, usage string) {
	cmd.Flags().BoolVar(&f.Force, "force", false, usage)
	cmd.Flags().StringVar(&f.Without, "without", "", "a dead `HOST` that it is done without, once the flows are carried; more by commas")
	_ = cmd.RegisterFlagCompletionFunc("without", a.completed(hostNames)) // the flag is there
}

// moving reads an endpoint that is on its way.
func (a *app) moving(ctx context.Context, c *client.Client, name dove.Endpoint) (api.Endpoint, error) {
	e, err := c.Endpoint(ctx, name)
	if err == nil && e.Move == nil {
		err = dove.Errorf(dove.Conflict, "endpoint %s does not move: begin with dovectl endpoint prepare %s HOST", e.ID, e.ID)
	}
	return e, err
}

// moveWait waits for a step of a move.
type moveWait func(ctx context.Context, c *client.Client, e api.Endpoint, what string, should func(api.Endpoint) bool) (api.Endpoint, error)

// moveFlags let the caller wait for a step of a move, each time for so long.
func (a *app) moveFlags(cmd *cobra.Command, usage string) (moveWait, *time.Duration) {
	cmd.Flags().BoolVar(&a.waits, "wait", false, usage)
	timeout := cmd.Flags().Duration("timeout", waitTimeout, "how long to wait at most")
	return func(ctx context.Context, c *client.Client, e api.Endpoint, what string, should func(api.Endpoint) bool) (api.Endpoint, error) {
		limited, cancel := context.WithTimeout(ctx, *timeout)
		defer cancel()
		said := ""
		e, err := c.WaitEndpoint(limited, dove.Endpoint{Tenant: e.Tenant, ID: e.ID}, func(e api.Endpoint) bool {
			if should(e) {
				return true
			}
			if line := fmt.Sprintf("endpoint %s is %s", e.ID, moveSaid(*e.Move)); line != said {
				said = line
				fmt.Fprintln(a.err, line)
			}
			return false
		})
		switch {
		case err != nil:
			return e, err
		case !should(e):
			return e, coded{exitIncomplete, fmt.Errorf("endpoint %s is not %s after %s: %s", e.ID, what, timeout, moveSaid(*e.Move))}
		case e.Move == nil:
			return e, errors.New("somebody else ended the move of endpoint " + string(e.ID))
		}
		return e, nil
	}, timeout
}

// moved shows an endpoint after a step of its move, and waits if that was asked for.
func (a *app) moved(ctx context.Context, e api.Endpoint, wait func() (api.Endpoint, error)) error {
	began := time.Now()
	var waited error
	if a.waits {
		var now api.Endpoint
		if now, waited = wait(); now.ID != "" {
			e = now
		}
	}
	if waited != nil && a.form == "table" {
		return waited
	}
	if a.waits && e.Move != nil && e.Move.Lost != "" {
		fmt.Fprintf(a.err, "warning: %s\n", e.Move.Lost)
	}
	return errors.Join(a.emit(e, func(w io.Writer) {
		said := ""
		if e.Move != nil {
			said = ", " + e.Move.Step
		}
		if a.waits {
			said += fmt.Sprintf(" after %s, %d flows taken over", time.Since(began).Round(time.Millisecond), e.Move.Flows)
		}
		fmt.Fprintf(w, "endpoint %s (on %s, standby on %s)%s: revision %d\n", e.ID, e.Host, e.Standby, said, e.Revision)
	}), waited)
}

// moveSaid says how far a move is, and in lines of their own what it waits for if
// that is several things.
func moveSaid(m api.Move) string {
	switch len(m.Waits) {
	case 0:
		return m.Step
	case 1:
		return m.Step + ": " + m.Waits[0]
	}
	return m.Step + ":\n  " + strings.Join(m.Waits, "\n  ")
}

// hostsOf names the hosts of an endpoint, the one where it is active first.
func hostsOf(e api.Endpoint) string {
	if e.Standby == "" {
		return string(e.Host)
	}
	return string(e.Host) + ",(" + string(e.Standby) + ")"
}
