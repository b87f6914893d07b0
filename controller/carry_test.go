package controller

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

var web = dove.Endpoint{Tenant: "acme", ID: "web-1"}

// decide prepares, activates or finishes a move of web-1.
func (r *rig) decide(how func(*world.World, dove.Endpoint, dove.HostName, *dove.Revision) (dove.Txn, world.Endpoint, error), host dove.HostName) {
	r.t.Helper()
	txn, _, err := how(r.core.World(), web, host, nil)
	r.edit(txn, err)
}

// opened has a host say that the port of web-1 is open as it was told last.
func (r *rig) opened(d *dswitch, carried bool) {
	r.t.Helper()
	a := d.assigned[web]
	r.say(d, &control.EndpointUpdate{Endpoint: web, Epoch: a.Epoch, State: control.EndpointActive, Standby: a.Standby, Carried: carried})
}

// flow is one that web-1 began.
func (r *rig) flow(port uint16) control.FlowState {
	e, _ := r.core.World().Endpoint(web)
	return control.FlowState{
		Tuple: control.Tuple{VNI: r.vni("acme"), Src: e.Addresses[0], Dst: netip.MustParseAddr("10.0.0.12"), Protocol: dove.ProtocolTCP, SrcPort: port, DstPort: 8080},
		UIDs:  [2]dove.UID{e.UID, 99},
	}
}

// TestAMove follows a move through what its hosts and a holder are told.
func TestAMove(t *testing.T) {
	r, h1, h2, h3 := newShop(t)
	fourth := r.host(4)
	r.endpoint("bolt", "far-1", "h4", "10.0.0.14", "web")
	mute := r.open(fourth) // of another tenant alone, acknowledges nothing
	r.ask(mute, r.vni("bolt"), "10.0.0.14", "10.0.0.12")
	r.ask(h2, r.vni("acme"), "10.0.0.12", "10.0.0.11")
	for _, d := range []*dswitch{h1, h2, h3} {
		d.hear()
	}
	key := control.PeerKey{VNI: r.vni("acme"), Addr: netip.MustParseAddr("10.0.0.11")}

	r.decide(edit.PrepareEndpoint, "h3")
	expect(t, "where it is", h1, "assign web-1", "frontier")
	expect(t, "where it goes", h3, "assign web-1", "frontier")
	expect(t, "who holds it", h2, "peer 10.0.0.11 at h1", "frontier")
	if a, s := h1.assigned[web], h3.assigned[web]; a.Standby || a.Other.Host != "h3" || !s.Standby || s.Other != (control.Tunnel{Host: "h1", VTEP: h1.identity.VTEP}) {
		t.Errorf("prepared: %+v and %+v", a, s)
	}
	if row := h2.peers[key]; row.VTEP != h1.identity.VTEP || row.Other != h3.identity.VTEP {
		t.Errorf("prepared: row %+v", row)
	}
	// A host on standby has the endpoint: it may ask for it.
	if a := r.ask(h3, r.vni("acme"), "10.0.0.11", "10.0.0.12"); a.Status != control.Found {
		t.Errorf("on standby: %+v", a)
	}

	// Flows are asked for when both ports are as they should be, and once.
	r.opened(h3, false)
	expect(t, "before the other port is", h1)
	r.opened(h1, false)
	expect(t, "both are", h1, "*control.CarryRequest")
	r.opened(h1, false)
	expect(t, "asked already", h1)
	epoch := h1.assigned[web].Epoch
	h3.hear()
	r.say(h1, &control.Carry{Endpoint: web, Epoch: epoch, Flows: []control.FlowState{r.flow(1), r.flow(2)}, More: true})
	r.say(h1, &control.Carry{Endpoint: web, Epoch: epoch, Flows: []control.FlowState{r.flow(3)}})
	expect(t, "the flows", h3, "*control.Carry", "*control.Carry")
	expect(t, "nobody else hears of them", h2)
	// As long as they are not installed, they are asked for again.
	r.now = r.now.Add(control.CarryAgain)
	r.step(Tick{})
	expect(t, "again", h1, "*control.CarryRequest")
	r.opened(h3, true)
	r.now = r.now.Add(control.CarryAgain)
	r.step(Tick{})
	expect(t, "installed", h1, "*control.Heartbeat")

	h2.hear()
	h3.hear()
	r.decide(edit.ActivateEndpoint, "h3")
	expect(t, "where it was", h1, "assign web-1", "frontier")
	expect(t, "where it is", h3, "assign web-1", "frontier")
	expect(t, "who holds it", h2, "peer 10.0.0.11 at h3", "frontier")
	if row := h2.peers[key]; row.VTEP != h3.identity.VTEP || row.Other != h1.identity.VTEP {
		t.Errorf("activated: row %+v", row)
	}
	// The host where it was carries once more, to a host that opens a session meanwhile too.
	r.opened(h1, false)
	r.step(Closed{h3.id})
	delete(r.switches, h3.id)
	hello := h3.hello(1, h3.frontier)
	again := r.resume(h3.identity, hello, h3)
	expect(t, "the other is back", h1, "*control.CarryRequest")
	again.hear()
	r.say(h1, &control.Carry{Endpoint: web, Epoch: epoch, Flows: []control.FlowState{r.flow(4)}})
	expect(t, "flows of bindings that are no more", again)
	r.say(h1, &control.Carry{Endpoint: web, Epoch: h1.assigned[web].Epoch, Flows: []control.FlowState{r.flow(4)}})
	expect(t, "the last flows", again, "*control.Carry")
	r.opened(again, true)
	// What begins meanwhile follows, until all of the tenant know of the activation.
	late := func() int {
		r.t.Helper()
		statuses := r.core.SessionsOf([]dove.HostName{"h1"})
		if len(statuses) != 1 {
			t.Fatalf("%+v", statuses)
		}
		port := r.core.PortsOf([]dove.Endpoint{web}, []dove.HostName{"h1"})[0]
		if len(port.Endpoints) != 1 || port.Endpoints[0].Endpoint != web || len(port.Late) != len(statuses[0].Late) {
			t.Fatalf("of the endpoint alone: %+v", port)
		}
		return len(statuses[0].Late)
	}
	expect(t, "not all know", h1)
	r.now = r.now.Add(control.CarryAgain)
	r.step(Tick{})
	expect(t, "not all know yet", h1, "*control.CarryRequest")
	carry := func(idle time.Duration) []string {
		f, old := r.flow(5), r.flow(6)
		f.Idle, old.Idle = idle, 10*time.Second
		again.hear()
		r.say(h1, &control.Carry{Endpoint: web, Epoch: h1.assigned[web].Epoch, Flows: []control.FlowState{old, f}})
		for _, m := range again.heard {
			if c, ok := m.(*control.Carry); ok && !slices.Equal(c.Flows, []control.FlowState{f}) {
				t.Errorf("handed on late: %+v", c.Flows)
			}
		}
		heard := again.hear()
		r.opened(again, true)
		return heard
	}
	if got := carry(time.Second); !slices.Equal(got, []string{"*control.Carry"}) || late() != 1 {
		t.Errorf("handed on: %v, late: %d", got, late())
	}
	r.ack(h1, h2, again)
	r.step(Tick{})
	expect(t, "all of the tenant know", h1, "*control.CarryRequest")
	if late() != 1 {
		t.Error("what began last may be left behind")
	}
	carry(time.Second)
	r.say(again, &control.EndpointUpdate{Endpoint: web, Epoch: h1.assigned[web].Epoch, State: control.EndpointActive, Carried: true, Flows: 7, Detail: "some were lost"})
	r.opened(again, true)
	if u, _ := r.core.hosts["h3"].said(web); u.Flows != 7 || u.Detail == "" {
		t.Errorf("what followed late is told for all: %+v", u)
	}
	if late() != 0 {
		t.Error("the move waits for what was handed on")
	}
	r.now = r.now.Add(control.CarryAgain)
	r.step(Tick{})
	expect(t, "it followed", h1, "*control.Heartbeat")

	again.hear()
	r.decide(edit.FinishEndpoint, "h1")
	expect(t, "where it was", h1, "unassign web-1", "frontier")
	expect(t, "where it is", again, "assign web-1", "frontier")
	if row := h2.peers[key]; row.VTEP != h3.identity.VTEP || row.Other.IsValid() {
		t.Errorf("finished: row %+v", row)
	}
	if len(r.denied) > 0 {
		t.Errorf("denied: %+v", r.denied)
	}
	r.now = r.now.Add(control.CarryAgain)
	r.step(Tick{})
	expect(t, "finished", h1, "*control.Heartbeat")
	r.check()
}

// A host carries what it was asked for, and of the endpoint that moves.
func TestAHostCarriesNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		from    string
		change  func(r *rig, m *control.Carry)
		allowed bool
	}{
		"as asked":           {"h1", func(*rig, *control.Carry) {}, true},
		"by a bystander":     {"h2", func(*rig, *control.Carry) {}, false},
		"by the other host":  {"h3", func(*rig, *control.Carry) {}, false},
		"another endpoint's": {"h1", func(r *rig, m *control.Carry) { m.Endpoint.ID = "app-1" }, false},
		"an unknown one's":   {"h1", func(r *rig, m *control.Carry) { m.Endpoint.ID = "nobody" }, false},
		"a later epoch":      {"h1", func(r *rig, m *control.Carry) { m.Epoch++ }, false},
		"a flow of others": {"h1", func(r *rig, m *control.Carry) {
			m.Flows[1].Tuple.Src = netip.MustParseAddr("10.0.0.13")
		}, false},
		"another network":     {"h1", func(r *rig, m *control.Carry) { m.Flows[0].Tuple.VNI = r.vni("bolt") }, false},
		"a former life's":     {"h1", func(r *rig, m *control.Carry) { m.Flows[0].UIDs[0]++ }, false},
		"the other end's UID": {"h1", func(r *rig, m *control.Carry) { m.Flows[0].UIDs = [2]dove.UID{1, m.Flows[0].UIDs[0]} }, false},
	} {
		r, h1, h2, h3 := newShop(t)
		r.decide(edit.PrepareEndpoint, "h3")
		r.opened(h1, false)
		r.opened(h3, false)
		m := &control.Carry{Endpoint: web, Epoch: h1.assigned[web].Epoch, Flows: []control.FlowState{r.flow(1), r.flow(2)}}
		c.change(r, m)
		h3.hear()
		r.say(map[string]*dswitch{"h1": h1, "h2": h2, "h3": h3}[c.from], m)
		want, denials := []string{}, 1
		if c.allowed {
			want, denials = []string{"expect peer 10.0.0.12 at h2", "expect pair 2-3 allows", "expect pair 3-2 denies", "*control.Carry"}, 0 // with what the flows need there
		}
		if got := h3.hear(); fmt.Sprint(got) != fmt.Sprint(want) || len(r.denied) != denials {
			t.Errorf("%s: the other host hears %v, denied %+v", name, got, r.denied)
		}
	}
	// What was asked for is late: the endpoint has gone since.
	r, h1, _, h3 := newShop(t)
	r.decide(edit.PrepareEndpoint, "h3")
	r.opened(h1, false)
	r.opened(h3, false)
	late := &control.Carry{Endpoint: web, Epoch: h1.assigned[web].Epoch}
	r.decide(edit.BindEndpoint, "h2") // away from both
	r.say(h1, late)
	if len(r.denied) > 0 {
		t.Errorf("an answer that crossed an Unassign is denied: %+v", r.denied)
	}
	r.say(h3, late)
	r.now = r.now.Add(2 * carryLate)
	r.step(Tick{})
	r.say(h1, late)
	if len(r.denied) != 2 {
		t.Errorf("of one who was never asked, and one far too late, are denied %+v", r.denied)
	}
	// So is what it was asked for when it is bound to no host any more, under the same epoch.
	r, h1, _, h3 = newShop(t)
	r.decide(edit.PrepareEndpoint, "h3")
	r.opened(h1, false)
	r.opened(h3, false)
	late = &control.Carry{Endpoint: web, Epoch: h1.assigned[web].Epoch, Flows: []control.FlowState{r.flow(1)}}
	txn, _, err := edit.UnbindEndpoint(r.core.World(), web, nil)
	r.edit(txn, err)
	h3.hear()
	r.say(h1, late)
	if got := h3.hear(); len(got) > 0 || len(r.denied) > 0 {
		t.Errorf("of nobody's flows %v is heard, denied %+v", got, r.denied)
	}
	// So is what was asked for twice, and is there.
	r, h1, _, h3 = newShop(t)
	r.decide(edit.PrepareEndpoint, "h3")
	r.opened(h1, false)
	r.opened(h3, false)
	late = &control.Carry{Endpoint: web, Epoch: h1.assigned[web].Epoch, Flows: []control.FlowState{r.flow(1)}}
	r.say(h1, late)
	r.opened(h3, true)
	h1.hear()
	h3.hear()
	r.say(h1, late)
	if got := h3.hear(); len(got) > 0 || len(r.denied) > 0 {
		t.Errorf("of flows that are there %v is heard, denied %+v", got, r.denied)
	}
	r.opened(h3, false) // it has lost them
	if got := fmt.Sprint(h1.hear()); got != "[*control.CarryRequest]" {
		t.Errorf("when they are lost, the host hears %s", got)
	}
	// However often it says it.
	r, h1, _, h3 = newShop(t)
	r.decide(edit.PrepareEndpoint, "h3")
	r.opened(h1, false)
	r.opened(h3, false)
	m := &control.Carry{Endpoint: web, Epoch: h1.assigned[web].Epoch, Flows: make([]control.FlowState, control.CarryBatch), More: true}
	for i := range m.Flows {
		m.Flows[i] = r.flow(uint16(i))
	}
	h3.hear()
	for range 3 * control.CarryMax / control.CarryBatch {
		r.say(h1, m)
	}
	h3.heard = slices.DeleteFunc(h3.heard, func(m control.Down) bool { _, carry := m.(*control.Carry); return !carry })
	if n := len(h3.hear()); n != 2*control.CarryMax/control.CarryBatch || len(r.denied) == 0 {
		t.Errorf("%d messages were handed on, %d denied", n, len(r.denied))
	}
}
