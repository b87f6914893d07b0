package sim

import (
	"testing"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/scenario"
)

// TestNextHopThatAHostDoesNotKnow makes a second next hop behind a host while another
// one is cut off. That answers the one which it knows there, and the new one once
// it has heard of it (docs/limits.md).
func TestNextHopThatAHostDoesNotKnow(t *testing.T) {
	s := New(1)
	x := newShop(t, s, `{apiVersion: dove/v1, kind: Blueprint, name: shop,
networks: {net: {subnets: [10.0.0.0/24]}}, groups: {all: {network: net}},
routers: {out: {networks: [net], routes: [{to: 10.9.0.0/16, via: [10.0.0.3, 10.0.0.5]}]}},
policies: [{name: talk, from: all, to: all, allow: [any]}]}`, "h1", "h3")
	put := func(id dove.EndpointID, host dove.HostName, address string, allowed ...edit.AllowedRequest) dove.Endpoint {
		t.Helper()
		x.edit(x.has(edit.EndpointRequest{ID: id, Groups: []string{"shop/all"}, Addresses: []string{address}, Host: host, Allowed: allowed}))
		x.must(s.Settle())
		return x.plug(id).Full()
	}
	behind := edit.AllowedRequest{Prefix: beyond[0].String()}
	known := put("e3", "h1", "10.0.0.3", behind)
	put("e4", "h3", "10.0.0.4")
	ask := func(from dove.Endpoint) (Finding, *exchange, Packet) {
		t.Helper()
		p := Packet{From: from, Src: beyond[0].Addr(), Dst: address4(1), Probe: scenario.Probe{Protocol: dove.ProtocolUDP, Port: 53}}
		f, came, err := s.ask(p)
		x.must(err)
		return f, came, p
	}
	if f, _, p := ask(known); !allowed(f) {
		t.Fatalf("%s: %s", p, f)
	}
	s.Cut("h3")
	x.must(s.Settle())
	fresh := put("e5", "h1", "10.0.0.5", behind)
	f, came, p := ask(fresh)
	if len(came.reached) != 2 || came.reached[1].endpoint != known {
		t.Errorf("while h3 is cut off, %s: %s", p, f)
	}
	s.Connect("h3")
	x.must(s.Settle())
	for _, from := range []dove.Endpoint{known, fresh} {
		if f, came, p := ask(from); !allowed(f) || len(came.reached) != 1 {
			t.Errorf("%s: %s", p, f)
		}
	}
}
