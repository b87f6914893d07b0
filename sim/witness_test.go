package sim

import (
	"strings"
	"testing"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/scenario"
	"dove.network/world"
)

// TestEachHostAnswersForItsOwnEnd deletes an endpoint whose host is cut off and goes on sending for it.
// If the address is another's there, the receiver cannot tell; if it is nobody's, a receiver that
// delivers would be at fault, and the host that is cut off never is.
func TestEachHostAnswersForItsOwnEnd(t *testing.T) {
	for _, again := range []bool{false, true} {
		s := fleetOf(t, 2)
		gone := dove.Endpoint{Tenant: "acme", ID: "eh1"}
		e, _ := s.World().Endpoint(gone)
		to, _ := s.World().Endpoint(dove.Endpoint{Tenant: "acme", ID: "eh2"})
		packet := Packet{From: gone, Src: e.Addresses[0], Dst: to.Addresses[0], Probe: scenario.Probe{Protocol: dove.ProtocolTCP, Port: 80}}
		talk := s.Begin(packet)
		s.Pass(time.Second)
		if !talk.Answered() {
			t.Fatalf("%s: %s", packet, talk.Became())
		}
		for n := range s.members {
			s.Sever("h1", n)
		}
		s.edit(func(w *world.World) (dove.Txn, error) { return edit.DeleteEndpoint(w, gone, nil) })
		if again {
			next := edit.EndpointRequest{Tenant: "acme", ID: "next", Network: "front", Groups: []string{"shop/web"}, Host: "h1", Device: "dv3", Addresses: []string{e.Addresses[0].String()}}
			chance := s.chance()
			s.edit(func(w *world.World) (dove.Txn, error) { return first(edit.PutEndpoint(w, next, chance, nil)) })
		}
		s.Pass(time.Second)
		talk.Again()
		s.Pass(time.Second)
		if talk.Reached() != again {
			t.Errorf("the address is another's: %v; %s", again, talk.Became())
		}
		if err := s.Faults(); err != nil {
			t.Errorf("the address is another's: %v; %v", again, err)
		}
	}
	// A host that is current is judged by who its own end is.
	s := fleetOf(t, 2)
	e, _ := s.World().Endpoint(dove.Endpoint{Tenant: "acme", ID: "eh1"})
	to, _ := s.World().Endpoint(dove.Endpoint{Tenant: "acme", ID: "eh2"})
	from := s.guests[e.Full()]
	stale := *from
	stale.uid++
	p := sight{from: &stale, here: &stale, src: e.Addresses[0], dst: to.Addresses[0], protocol: dove.ProtocolTCP, port: 80, near: s.byName["h1"]}
	if why := p.wrongIn(s.World()); !strings.Contains(why, "is not there") {
		t.Errorf("what a former life sends from a host: %q", why)
	}
	if p.here = nil; !p.rightIn(s.World()) {
		t.Errorf("what a former life sends, as others see it: %s", p.wrongIn(s.World()))
	}
}
