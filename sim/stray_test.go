package sim

import (
	"testing"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/scenario"
	"dove.network/world"
)

// TestNextHopsThatAHostDoesNotKnow changes the next hops of a route while a host is cut
// off. It answers the one that it knows behind a host, also what a new one there has
// sent, and sends to one that the route left, who may have the packet still. Once it has
// heard of both it does neither (docs/limits.md).
func TestNextHopsThatAHostDoesNotKnow(t *testing.T) {
	s := New(1)
	text := func(via string) string {
		return `{apiVersion: dove/v1, kind: Blueprint, name: shop, networks: {net: {subnets: [10.0.0.0/24]}}, groups: {all: {network: net}},
policies: [{name: talk, from: all, to: all, allow: [any]}], routers: {out: {networks: [net], routes: [{to: 10.9.0.0/16, via: [` + via + "]}]}}}"
	}
	x := newShop(t, s, text("10.0.0.3, 10.0.0.5"), "h1", "h3")
	put := func(id dove.EndpointID, host dove.HostName, address string, allowed ...edit.AllowedRequest) world.Endpoint {
		return x.endpoint(edit.EndpointRequest{ID: id, Groups: []string{"shop/all"}, Addresses: []string{address}, Host: host, Allowed: allowed})
	}
	behind := edit.AllowedRequest{Prefix: beyond[0].String()}
	known := put("e3", "h1", "10.0.0.3", behind)
	client := put("e4", "h3", "10.0.0.4")
	answers := func(from world.Endpoint) (Finding, *exchange) {
		t.Helper()
		f, talk, err := s.ask(Packet{From: from.Full(), Src: beyond[0].Addr(), Dst: client.Addresses[0], Probe: scenario.Probe{Protocol: dove.ProtocolUDP, Port: 53}})
		x.must(err)
		return f, talk
	}
	if f, _ := answers(known); !allowed(f) {
		t.Fatal(f)
	}
	s.Cut("h3")
	fresh := put("e5", "h1", "10.0.0.5", behind)
	if f, talk := answers(fresh); len(talk.reached) != 2 || talk.reached[1].endpoint != known.Full() {
		t.Errorf("while h3 is cut off, from %s: %s", fresh.ID, f)
	}
	s.Connect("h3")
	x.must(s.Settle())
	for _, from := range []world.Endpoint{known, fresh} {
		if f, talk := answers(from); !allowed(f) || len(talk.reached) != 1 {
			t.Errorf("from %s: %s", from.ID, f)
		}
	}

	s.Cut("h3")
	x.do(x.means(text("10.0.0.9")))
	if who, why := x.reached(client, client.Addresses[0], beyond[0].Addr()); who == "" {
		t.Errorf("while h3 is cut off, by a route that leads elsewhere: %s", why)
	}
	s.Connect("h3")
	x.must(s.Settle())
	if who, _ := x.reached(client, client.Addresses[0], beyond[0].Addr()); who != "" {
		t.Errorf("by a route that leads elsewhere a packet reaches %s", who)
	}
}
