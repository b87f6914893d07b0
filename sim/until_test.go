package sim

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/scenario"
	"dove.network/world"
)

// TestAPolicyEndsOnce ends a policy by its document while the member restarts
// before and after: what switches do is what the oracle reads from the world, and
// time alone changes neither.
func TestAPolicyEndsOnce(t *testing.T) {
	s := New(1)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	change := func(decide func(*world.World) (dove.Txn, error)) {
		t.Helper()
		revision, err := s.Edit(decide)
		must(err)
		must(s.Wait(revision))
		must(s.Settle())
	}
	must(s.AddHost("h1"))
	must(s.AddHost("h2"))
	change(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutTenant(w, "acme", nil)
		return txn, err
	})
	until := s.now.Add(time.Hour)
	text := fmt.Appendf(nil, `{apiVersion: dove/v1, kind: Blueprint, name: shop, networks: {net: {subnets: [10.0.0.0/24]}}, groups: {all: {network: net, isolated: true}},
policies: [{name: visit, from: all, to: all, allow: [tcp/80], until: %q}, {name: stay, from: all, to: all, allow: [tcp/443]}]}`, until.Format(time.RFC3339))
	change(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutBlueprint(w, "acme", "", text, s.now, nil)
		return txn, err
	})
	name := func(i int) dove.Endpoint {
		return dove.Endpoint{Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", i))}
	}
	for i, host := range []dove.HostName{"h1", "h2"} {
		change(func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutEndpoint(w, edit.EndpointRequest{Tenant: "acme", ID: name(i).ID, Groups: []string{"shop/all"},
				Addresses: []string{fmt.Sprintf("10.0.0.%d", 11+i)}, Host: host}, s.chance(), nil)
			return txn, err
		})
		e, _ := s.World().Endpoint(name(i))
		s.Plug(e)
		must(s.Settle())
	}
	says := func(when string, port uint16, want bool) {
		t.Helper()
		p := Packet{From: name(0), Src: netip.MustParseAddr("10.0.0.11"), Dst: netip.MustParseAddr("10.0.0.12"), Probe: scenario.Probe{Protocol: dove.ProtocolTCP, Port: port}}
		seen, _, err := s.ask(p)
		must(err)
		if meant := judge(s.World(), byOracle, s.Plugged, p); seen != meant || allowed(seen) != want {
			t.Errorf("%s, port %d: %s, the oracle says: %s, want allowed %t", when, port, seen, meant, want)
		}
	}
	restart := func() {
		t.Helper()
		must(s.RestartMember())
		must(s.Settle())
	}
	says("before", 80, true)
	restart()
	s.Sleep(2 * time.Hour)
	says("its time is up and nobody swept", 80, true)
	at, domain := edit.NextEdge(s.World())
	if !at.Equal(until) || domain != (dove.Domain{Tenant: "acme", Name: "shop"}) {
		t.Fatalf("the next policy ends at %s in %v", at, domain)
	}
	change(func(w *world.World) (dove.Txn, error) { return edit.SweepEdge(w, domain, s.now) })
	says("swept", 80, false)
	says("swept", 443, true)
	restart()
	says("after a restart", 80, false)
	says("after a restart", 443, true)
	if at, _ := edit.NextEdge(s.World()); !at.IsZero() {
		t.Errorf("the restarted member would end a policy at %s again", at)
	}
}
