package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// Move says how far an endpoint with two bindings is.
type Move struct {
	Step    string          `json:"step" enum:"preparing,prepared,activating,confirmed" doc:"prepared: it may be activated on its standby host. confirmed: the workload may go on at the host where it is active now."`
	Flows   uint32          `json:"flows" doc:"How many flows the host that it moves to has taken over, as far as it said."`
	Lost    string          `json:"lost,omitempty" doc:"Which flows that host did not take over, and why: they are judged anew, or lost."`
	Carried bool            `json:"carried" doc:"Whether that host has all flows that the step needs, but for what is lost."`
	Hosts   []dove.HostName `json:"hosts" nullable:"false" doc:"Which hosts the step waits for."`
	Waits   []string        `json:"waits" nullable:"false" doc:"What the step waits for. Of confirmed: what finishing it waits for."`
}

// BindingPath names a binding of an endpoint in a request.
type BindingPath struct {
	EndpointPath
	Host dove.HostName `path:"host" maxLength:"63"`
}

// Force has a step of a move done though the one before is not complete.
type Force struct {
	Force   bool   `query:"force" doc:"Do it though the step before is not complete, and lose packets and flows."`
	Without string `query:"without" maxLength:"1023" doc:"Do it without these hosts, which are dead, separated by commas: once the flows are carried, they are not waited for."`
}

// Settled reports whether nothing holds the next step of a move up, or only hosts
// that it is done without.
func (f Force) Settled(m *Move) bool {
	without := strings.Split(f.Without, ",")
	left := slices.ContainsFunc(m.Hosts, func(h dove.HostName) bool { return !slices.Contains(without, string(h)) })
	return len(m.Waits) == 0 || m.Carried && len(m.Hosts) > 0 && !left
}

// moveOf says how far the move of an endpoint is: nil if it has but one
// binding. States are what its hosts said of it.
func moveOf(w *world.World, e world.Endpoint, states func(dove.HostName) (control.EndpointUpdate, bool), receipt func(dove.Revision) control.Receipt) *Move {
	if e.Standby == "" {
		return nil
	}
	m := Move{Step: "prepared", Hosts: []dove.HostName{}, Waits: []string{}}
	waits := func(host dove.HostName, format string, args ...any) {
		if host != "" {
			m.Hosts = append(m.Hosts, host)
		}
		m.Waits = append(m.Waits, fmt.Sprintf(format, args...))
	}
	if e.Activated {
		m.Step = "confirmed"
	}
	from := e.Source()
	to := e.Other(from)
	u, ok := states(to)
	carried := ok && u.Carried && opened(e, to, u)
	if carried {
		// What the other host was needed for is done: its workload, its device and the host
		// itself may be gone by now.
		m.Flows, m.Lost = u.Flows, u.Detail
	} else {
		for _, host := range []dove.HostName{from, to} {
			switch u, ok := states(host); {
			case !ok:
				waits(host, "host %s does not say yet whether its port is open", host)
			case !opened(e, host, u):
				waits(host, "%s", closed(e, host, u))
			case host == to && len(m.Waits) == 0:
				waits(to, "host %s does not have the flows of host %s yet", to, from)
			}
		}
	}
	n := len(m.Waits)
	unaware(w, e, carried, receipt(w.DocRevision(e.Key())), waits)
	if n > 0 || !e.Activated && len(m.Waits) > 0 {
		m.Step = map[bool]string{false: "preparing", true: "activating"}[e.Activated]
	}
	m.Carried = carried
	slices.Sort(m.Hosts)
	m.Hosts = slices.Compact(m.Hosts)
	return &m
}

// along adds how far a sub-port is, which moves with its parent: no step is done
// before all are ready for it.
func (m *Move) along(id dove.EndpointID, sub *Move) {
	if sub == nil {
		return
	}
	for _, wait := range sub.Waits {
		m.Waits = append(m.Waits, fmt.Sprintf("its sub-port %s: %s", id, wait))
	}
	if sub.Lost != "" {
		m.Lost = strings.TrimPrefix(m.Lost+fmt.Sprintf("; its sub-port %s: %s", id, sub.Lost), "; ")
	}
	if sub.Step == "preparing" || sub.Step == "activating" {
		m.Step = sub.Step
	}
	m.Flows, m.Carried = m.Flows+sub.Flows, m.Carried && sub.Carried
	m.Hosts = append(m.Hosts, sub.Hosts...)
	slices.Sort(m.Hosts)
	m.Hosts = slices.Compact(m.Hosts)
}

// closed says why a port is not open on a host, and what to do.
func closed(e world.Endpoint, host dove.HostName, u control.EndpointUpdate) string {
	text := fmt.Sprintf("host %s: its port is %s", host, stateNames[u.State])
	if u.Detail != "" {
		text += ": " + u.Detail
	}
	switch {
	case u.State != control.EndpointWaiting:
		return text
	case host == e.Host && !e.Activated:
		return text + fmt.Sprintf(" (bring it back, or give the move up and move the endpoint at once, without its flows: dovectl endpoint move %s %s)", e.Trunk(), e.Standby)
	}
	return text + " (make it there)"
}

// opened reports whether a host says that an endpoint's port is open, in the part
// that its bindings give it there.
func opened(e world.Endpoint, host dove.HostName, u control.EndpointUpdate) bool {
	return u.State == control.EndpointActive && u.Standby == (host == e.Standby)
}

// unaware tells of the hosts that may send to an endpoint and need not know yet
// where it is: those with endpoints of its tenant that a receipt waits for,
// that could not do what it is about, that have no session, or of which nobody knows. Once its flows are
// carried, the one that it moves from counts only for endpoints that stay there.
func unaware(w *world.World, e world.Endpoint, carried bool, r control.Receipt, waits func(host dove.HostName, format string, args ...any)) {
	if !r.Complete && len(r.Pending) == 0 && len(r.Failed) == 0 && len(r.Unknown) == 0 && len(r.Members) == 0 {
		waits("", "revision %d is under way", r.Revision)
	}
	for _, m := range r.Members {
		waits("", "DPC member %s has not said how far its hosts are with revision %d", m, r.Revision)
	}
	may := func(h dove.HostName) bool {
		for other := range w.EndpointsOn(h) {
			if other.Tenant == e.Tenant && !(carried && h == e.Source() && other.Trunk() == e.Trunk()) {
				return true
			}
		}
		return false
	}
	hosts := slices.Concat(r.Pending, r.Unconfirmed)
	slices.Sort(hosts)
	for _, h := range slices.Compact(hosts) {
		if may(h) {
			waits(h, "host %s has not acknowledged revision %d", h, r.Revision)
		}
	}
	for _, u := range r.Unknown {
		if may(u.Host) {
			waits(u.Host, "host %s had its session with DPC member %s, which is not reached: nobody knows whether it has revision %d", u.Host, u.Member, r.Revision)
		}
	}
	for _, f := range r.Failed {
		if may(f.Host) {
			waits(f.Host, "host %s could not do what revision %d asks: %s", f.Host, r.Revision, f.Reason)
		}
	}
}

func (s *server) moves() {
	const path = "/v1/tenants/{tenant}/endpoints/{endpoint}/bindings/{host}"
	tags := []string{"endpoints"}
	type input struct {
		BindingPath
		Conditions
		Force
	}
	// complete refuses a step of a move before the one before is complete.
	complete := func(w *world.World, in *input, what string) error {
		e, _ := w.Endpoint(in.name())
		m := renderEndpoint(w, s.portsOf(w, e), s.Backend.Receipt)(e, 0).Move
		if in.Force.Force || m == nil || in.Force.Settled(m) {
			return nil
		}
		return dove.Errorf(dove.Conflict, "%s of endpoint %q on host %q would lose packets (wait, do it without a host that is dead, or force it): it is %s:\n  %s", what, in.name(), in.Host, m.Step, strings.Join(m.Waits, "\n  "))
	}
	register(s, huma.Operation{
		OperationID: "prepare-endpoint", Method: http.MethodPut, Path: path, Tags: tags,
		Summary: "Prepare the move of an endpoint to a host",
		Description: "The endpoint gets a second binding, on standby. It is prepared once all hosts believe what comes for it from there, its port there is open, " +
			"and its flows are there.",
	}, func(ctx context.Context, in *struct {
		BindingPath
		Conditions
	}) (*Written[Endpoint], error) {
		return s.writeEndpoint(ctx, in.EndpointPath, in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, world.Endpoint, error) {
			return edit.PrepareEndpoint(w, in.name(), in.Host, ifMatch)
		})
	})
	register(s, huma.Operation{
		OperationID: "activate-endpoint", Method: http.MethodPost, Path: path + "/activate", Tags: tags,
		Summary: "Make an endpoint's standby binding the active one",
		Description: "The binding that was active becomes the standby, and what still arrives there is handed on. Refused with 409 before the move is prepared. " +
			"It is confirmed once the workload may go on at the host. Until it is finished, it may be activated back.",
	}, func(ctx context.Context, in *input) (*Written[Endpoint], error) {
		return s.writeEndpoint(ctx, in.EndpointPath, in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, world.Endpoint, error) {
			txn, e, err := edit.ActivateEndpoint(w, in.name(), in.Host, ifMatch)
			if err == nil && !txn.Empty() {
				err = complete(w, in, "activation")
			}
			return txn, e, err
		})
	})
	register(s, huma.Operation{
		OperationID: "finish-endpoint", Method: http.MethodDelete, Path: path, Tags: tags,
		Summary:     "Take an endpoint's standby binding away",
		Description: "After an activation it ends the move: refused with 409 before all hosts know where the endpoint is. Before one it gives the move up.",
	}, func(ctx context.Context, in *input) (*Written[Endpoint], error) {
		return s.writeEndpoint(ctx, in.EndpointPath, in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, world.Endpoint, error) {
			txn, doc, err := edit.FinishEndpoint(w, in.name(), in.Host, ifMatch)
			if e, _ := w.Endpoint(in.name()); err == nil && e.Activated {
				err = complete(w, in, "the end of the move")
			}
			return txn, doc, err
		})
	})
}
