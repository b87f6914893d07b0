package sim

import (
	"testing"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/scenario"
	"dove.network/world"
)

// TestNextHopThatAHostDoesNotKnow makes a second next hop behind a host while another
// one is cut off. That answers the one which it knows there, and the new one once
// it has heard of it (docs/limits.md).
func TestNextHopThatAHostDoesNotKnow(t *testing.T) {
	s := New(1)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	change := func(decide func(*world.World) (dove.Txn, error)) {
		t.Helper()
		_, err := s.Edit(decide)
		must(err)
		must(s.Settle())
	}
	put := func(id dove.EndpointID, host dove.HostName, address string, allowed ...edit.AllowedRequest) dove.Endpoint {
		t.Helper()
		request := edit.EndpointRequest{Tenant: "acme", ID: id, Groups: []string{"shop/all"}, Addresses: []string{address}, Host: host, Allowed: allowed}
		change(func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutEndpoint(w, request, s.chance(), nil)
			return txn, err
		})
		e, _ := s.World().Endpoint(dove.Endpoint{Tenant: "acme", ID: id})
		s.Plug(e)
		must(s.Settle())
		return e.Full()
	}
	must(s.AddHosts("h1", "h3"))
	change(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutTenant(w, "acme", nil)
		return txn, err
	})
	change(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutBlueprint(w, "acme", "", []byte(`{apiVersion: dove/v1, kind: Blueprint, name: shop,
networks: {net: {subnets: [10.0.0.0/24]}}, groups: {all: {network: net}},
routers: {out: {networks: [net], routes: [{to: 10.9.0.0/16, via: [10.0.0.3, 10.0.0.5]}]}},
policies: [{name: talk, from: all, to: all, allow: [any]}]}`), s.now, nil)
		return txn, err
	})
	behind := edit.AllowedRequest{Prefix: beyond[0].String()}
	known := put("e3", "h1", "10.0.0.3", behind)
	put("e4", "h3", "10.0.0.4")
	ask := func(from dove.Endpoint) (Finding, *exchange, Packet) {
		t.Helper()
		p := Packet{From: from, Src: beyond[0].Addr(), Dst: address4(1), Probe: scenario.Probe{Protocol: dove.ProtocolUDP, Port: 53}}
		f, x, err := s.ask(p)
		must(err)
		return f, x, p
	}
	if f, _, p := ask(known); !allowed(f) {
		t.Fatalf("%s: %s", p, f)
	}
	s.Cut("h3")
	must(s.Settle())
	fresh := put("e5", "h1", "10.0.0.5", behind)
	f, x, p := ask(fresh)
	if len(x.reached) != 2 || x.reached[1].endpoint != known {
		t.Errorf("while h3 is cut off, %s: %s", p, f)
	}
	s.Connect("h3")
	must(s.Settle())
	for _, from := range []dove.Endpoint{known, fresh} {
		if f, x, p := ask(from); !allowed(f) || len(x.reached) != 1 {
			t.Errorf("%s: %s", p, f)
		}
	}
}
