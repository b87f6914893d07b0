package sim

import (
	"fmt"
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
	until := s.now.Add(time.Hour)
	x := newShop(t, s, fmt.Sprintf(`{apiVersion: dove/v1, kind: Blueprint, name: shop, networks: {net: {subnets: [10.0.0.0/24]}}, groups: {all: {network: net, isolated: true}},
policies: [{name: visit, from: all, to: all, allow: [tcp/80], until: %q}, {name: stay, from: all, to: all, allow: [tcp/443]}]}`, until.Format(time.RFC3339)), "h1", "h2")
	from := x.endpoint(edit.EndpointRequest{ID: "e0", Groups: []string{"shop/all"}, Host: "h1"})
	to := x.endpoint(edit.EndpointRequest{ID: "e1", Groups: []string{"shop/all"}, Host: "h2"})
	says := func(when string, port uint16, want bool) {
		t.Helper()
		p := Packet{From: from.Full(), Src: from.Addresses[0], Dst: to.Addresses[0], Probe: scenario.Probe{Protocol: dove.ProtocolTCP, Port: port}}
		seen, _, err := s.ask(p)
		x.must(err)
		if meant := judge(s.World(), byOracle, s.Plugged, p); seen != meant || allowed(seen) != want {
			t.Errorf("%s, port %d: %s, the oracle says: %s, want allowed %t", when, port, seen, meant, want)
		}
	}
	restart := func() {
		t.Helper()
		x.must(s.RestartMember())
		x.must(s.Settle())
	}
	says("before", 80, true)
	restart()
	s.Sleep(2 * time.Hour)
	says("its time is up and nobody swept", 80, true)
	at, domain := edit.NextEdge(s.World())
	if !at.Equal(until) || domain != (dove.Domain{Tenant: "acme", Name: "shop"}) {
		t.Fatalf("the next policy ends at %s in %v", at, domain)
	}
	x.do(func(w *world.World) (dove.Txn, error) { return edit.SweepEdge(w, domain, s.now) })
	says("swept", 80, false)
	says("swept", 443, true)
	restart()
	says("after a restart", 80, false)
	says("after a restart", 443, true)
	if at, _ := edit.NextEdge(s.World()); !at.IsZero() {
		t.Errorf("the restarted member would end a policy at %s again", at)
	}
}
