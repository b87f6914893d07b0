package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"dove.network/control"
	"dove.network/dove"
)

// TestMove moves an endpoint by the operations on its bindings, as its hosts say
// one thing after another.
func TestMove(t *testing.T) {
	r := newRig(t)
	r.populate()
	r.ok(nil, "PUT /v1/hosts/acme-2", `{"vtep":"192.0.2.77"}`)
	const at = "/v1/tenants/acme/endpoints/web-1"
	name := dove.Endpoint{Tenant: "acme", ID: "web-1"}
	var e Endpoint
	// says has the endpoint's hosts say how it is there: host state [standby] [carried].
	says := func(words ...string) {
		r.backend.sessions = nil
		for _, w := range words {
			f := strings.Fields(w)
			u := control.EndpointUpdate{Endpoint: name, Epoch: r.epoch("web-1"), State: control.EndpointActive, Standby: slices.Contains(f, "standby")}
			if slices.Contains(f, "waiting") {
				u.State = control.EndpointWaiting
			}
			if u.Carried = slices.Contains(f, "carried"); u.Carried {
				u.Flows = 7
			}
			r.backend.sessions = append(r.backend.sessions, control.SessionStatus{Host: dove.HostName(f[0]), Endpoints: []control.EndpointUpdate{u}})
		}
	}
	is := func(host, standby, step string, waits ...string) {
		t.Helper()
		e = Endpoint{}
		r.ok(&e, "GET "+at, "")
		if string(e.Host) != host || string(e.Standby) != standby || (e.Move == nil) != (step == "") {
			t.Fatalf("%+v %+v, want it on %s, standby on %q", e, e.Move, host, standby)
		}
		if step == "" {
			return
		}
		if e.Move.Step != step || len(e.Move.Waits) != len(waits) {
			t.Fatalf("%+v, want %s waiting for %q", e.Move, step, waits)
		}
		for i, w := range waits {
			if !strings.Contains(e.Move.Waits[i], w) {
				t.Errorf("waits for %q, want %q", e.Move.Waits[i], w)
			}
		}
	}
	r.refused(409, "POST "+at+"/bindings/acme-2/activate", "")
	r.refused(404, "DELETE "+at+"/bindings/acme-2", "")
	r.refused(409, "PUT "+at+"/bindings/acme-1", "")
	r.refused(422, "PUT "+at+"/bindings/nowhere", "")
	r.refused(404, "PUT /v1/tenants/acme/endpoints/nobody/bindings/acme-2", "")

	r.ok(&e, "PUT "+at+"/bindings/acme-2", "")
	r.refused(412, "PUT "+at+"/bindings/acme-2", "", fmt.Sprintf("If-Match: \"%d\"", e.Revision-1))
	r.ok(nil, "PUT "+at+"/bindings/acme-2", "") // done already
	is("acme-1", "acme-2", "preparing", "acme-1 does not say", "acme-2 does not say")
	says("acme-1 active", "acme-2 waiting standby")
	is("acme-1", "acme-2", "preparing", "acme-2: its port is waiting")
	r.backend.sessions[1].Endpoints[0].Detail = "there is no device tap1"
	is("acme-1", "acme-2", "preparing", "acme-2: its port is waiting: there is no device tap1 (make it there)")
	says("acme-1 waiting", "acme-2 active standby")
	is("acme-1", "acme-2", "preparing", "acme-1: its port is waiting (bring it back, or give the move up and move the endpoint at once, without its flows: dovectl endpoint move web-1 acme-2)")
	says("acme-1 active", "acme-2 active")
	is("acme-1", "acme-2", "preparing", "acme-2: its port is active") // in the part that it had before
	says("acme-1 active", "acme-2 active standby")
	is("acme-1", "acme-2", "preparing", "acme-2 does not have the flows of host acme-1")
	if p := r.refused(409, "POST "+at+"/bindings/acme-2/activate", ""); !strings.Contains(p.Detail, "preparing:\n  host acme-2 does not have the flows") {
		t.Errorf("refused: %+v", p)
	}
	says("acme-1 active", "acme-2 active standby carried")
	// Who has endpoints of the tenant and does not know of it holds it up; a stranger does not.
	r.backend.receipt = control.Receipt{Revision: 9, Pending: []dove.HostName{"acme-1", "bolt-1"}, Unconfirmed: []dove.HostName{"acme-1", "acme-2", "bolt-1"}}
	is("acme-1", "acme-2", "preparing", "acme-1 has not acknowledged revision", "acme-2 has not acknowledged")
	r.refused(409, "POST "+at+"/bindings/acme-2/activate", "")
	// So does who could not do it, by name; what a stranger could not do holds nothing up.
	failed := []control.HostFailure{{Host: "acme-2", Reason: "no room"}, {Host: "bolt-1", Reason: "no room"}}
	r.backend.receipt = control.Receipt{Revision: 9, Failed: failed}
	is("acme-1", "acme-2", "preparing", "acme-2 could not do what revision")
	r.backend.receipt = control.Receipt{Revision: 9, Failed: failed[1:]}
	is("acme-1", "acme-2", "prepared")
	r.backend.receipt = control.Receipt{Complete: true, Unconfirmed: []dove.HostName{"bolt-1"}}
	is("acme-1", "acme-2", "prepared")
	if e.Move.Flows != 7 || e.State != "active" {
		t.Errorf("%+v %+v", e, e.Move)
	}

	r.ok(nil, "POST "+at+"/bindings/acme-2/activate", "")
	is("acme-2", "acme-1", "activating", "acme-1 does not say", "acme-2 does not say") // in this epoch
	r.refused(409, "DELETE "+at+"/bindings/acme-1", "")
	r.refused(409, "DELETE "+at+"/bindings/acme-2", "")
	says("acme-1 active standby", "acme-2 active")
	is("acme-2", "acme-1", "activating", "acme-2 does not have the flows of host acme-1")
	says("acme-1 active standby", "acme-2 active carried")
	r.backend.receipt = control.Receipt{Revision: 10, Pending: []dove.HostName{"acme-1"}}
	is("acme-2", "acme-1", "confirmed", "acme-1 has not acknowledged revision")
	r.refused(409, "DELETE "+at+"/bindings/acme-1", "")
	r.refused(409, "POST "+at+"/bindings/acme-1/activate", "")
	r.backend.receipt = control.Receipt{Complete: true}
	is("acme-2", "acme-1", "confirmed")
	r.backend.sessions[0].Late = []dove.Endpoint{name}
	is("acme-2", "acme-1", "confirmed", "acme-1 has not handed over yet what began there")
	r.refused(409, "DELETE "+at+"/bindings/acme-1", "")
	r.backend.sessions[0].Late = nil
	// The workload, its device or the whole host where it was may be gone by now.
	says("acme-1 waiting standby", "acme-2 active carried")
	is("acme-2", "acme-1", "confirmed")
	says("acme-2 active carried")
	is("acme-2", "acme-1", "confirmed")
	r.backend.receipt = control.Receipt{Revision: 10, Pending: []dove.HostName{"acme-1"}}
	r.ok(nil, "PUT /v1/tenants/acme/endpoints/db-1/binding", `{"host":"bolt-1"}`) // nobody is left there who could send
	is("acme-2", "acme-1", "confirmed")
	r.ok(nil, "PUT /v1/tenants/acme/endpoints/db-1/binding", `{"host":"acme-1"}`)
	is("acme-2", "acme-1", "confirmed", "acme-1 has not acknowledged")
	r.backend.receipt = control.Receipt{Complete: true}
	// A dead host holds it up, unless it is done without that one; the flows are another matter.
	r.backend.receipt = control.Receipt{Revision: 10, Unconfirmed: []dove.HostName{"acme-1"}, Complete: true}
	is("acme-2", "acme-1", "confirmed", "acme-1 has not acknowledged")
	r.refused(409, "DELETE "+at+"/bindings/acme-1", "")
	r.refused(409, "DELETE "+at+"/bindings/acme-1?without=acme-2,bolt-1", "")
	if is("acme-2", "acme-1", "confirmed", "acme-1 has not acknowledged"); !(Force{Without: "bolt-1,acme-1"}).Settled(e.Move) || (Force{}).Settled(e.Move) || !e.Move.Carried {
		t.Errorf("%+v", e.Move)
	}
	says("acme-1 active standby", "acme-2 active")
	r.refused(409, "DELETE "+at+"/bindings/acme-1?without=acme-2,acme-1", "")
	says("acme-2 active carried")
	r.ok(nil, "POST "+at+"/bindings/acme-1/activate?without=acme-2,acme-1", "")
	r.ok(nil, "POST "+at+"/bindings/acme-2/activate?force=true", "")
	says("acme-2 active carried")
	r.backend.receipt = control.Receipt{Complete: true}
	is("acme-2", "acme-1", "confirmed")
	// What was not taken over is said.
	r.backend.sessions[0].Endpoints[0].Detail = "3 flows were not taken over: flow-budget"
	if is("acme-2", "acme-1", "confirmed"); e.Move.Lost == "" {
		t.Errorf("%+v", e.Move)
	}
	var page List[Endpoint]
	for _, host := range []string{"acme-1", "acme-2"} {
		if r.ok(&page, "GET /v1/tenants/acme/endpoints?host="+host, ""); !slices.ContainsFunc(page.Items, func(e Endpoint) bool { return e.ID == "web-1" && e.Move != nil }) {
			t.Errorf("on host %s: %+v", host, page.Items)
		}
	}
	// And back, by force, which makes it another request, and given up.
	says()
	r.refused(409, "POST "+at+"/bindings/acme-1/activate", "", "Idempotency-Key: back")
	r.ok(nil, "POST "+at+"/bindings/acme-1/activate?force=true", "", "Idempotency-Key: back")
	r.ok(nil, "POST "+at+"/bindings/acme-1/activate?force=true", "", "Idempotency-Key: back")
	r.refused(422, "POST "+at+"/bindings/acme-1/activate", "", "Idempotency-Key: back")
	is("acme-1", "acme-2", "activating", "acme-2 does not say", "acme-1 does not say")
	r.ok(nil, "DELETE "+at+"/bindings/acme-2?force=true", "")
	is("acme-1", "", "")
	r.ok(nil, "PUT "+at+"/bindings/acme-2", "")
	r.ok(nil, "DELETE "+at+"/bindings/acme-2", "") // nobody relies on it yet
	is("acme-1", "", "")
	r.ok(nil, "PUT "+at+"/bindings/acme-2", "")
	r.ok(nil, "PUT "+at+"/binding", `{"host":"acme-2"}`)
	is("acme-2", "", "")
}
