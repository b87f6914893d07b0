package sim

import (
	"net/netip"
	"testing"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/packet"
	"dove.network/scenario"
	"dove.network/world"
)

// TestAVirtualAddressMovesWithItsAnnouncement has two guests on two hosts
// announce one address by turns: a third reaches whoever announced it last, and
// what a guest is not allowed is dropped.
func TestAVirtualAddressMovesWithItsAnnouncement(t *testing.T) {
	s := New(1)
	for _, h := range []dove.HostName{"h1", "h2", "h3"} {
		if err := s.AddHost(h); err != nil {
			t.Fatal(err)
		}
	}
	do := func(decide func(w *world.World) (dove.Txn, error)) {
		t.Helper()
		revision, err := s.Edit(decide)
		if err == nil {
			err = s.Wait(revision)
		}
		if err == nil {
			err = s.Settle()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	do(func(w *world.World) (dove.Txn, error) { txn, _, err := edit.PutTenant(w, "acme", nil); return txn, err })
	do(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutBlueprint(w, "acme", "", []byte(`{apiVersion: dove/v1, kind: Blueprint, name: shop, networks: {front: {subnets: [10.0.1.0/24]}}, groups: {web: {network: front}}}`), s.Now(), nil)
		return txn, err
	})
	vip := netip.MustParseAddr("10.0.1.100")
	endpoint := func(id, host, addr string, r edit.EndpointRequest) world.Endpoint {
		t.Helper()
		r.Tenant, r.ID, r.Host, r.Addresses, r.Groups = "acme", dove.EndpointID(id), dove.HostName(host), []string{addr}, []string{"shop/web"}
		do(func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutEndpoint(w, r, s.chance(), nil)
			return txn, err
		})
		e, _ := s.World().Endpoint(dove.Endpoint{Tenant: "acme", ID: r.ID})
		s.Plug(e)
		if err := s.Settle(); err != nil {
			t.Fatal(err)
		}
		return e
	}
	allowed := edit.EndpointRequest{Allowed: []edit.AllowedRequest{{Prefix: vip.String()}, {Prefix: "10.9.0.0/16"}}}
	one := endpoint("one", "h1", "10.0.1.11", allowed)
	two := endpoint("two", "h2", "10.0.1.12", allowed)
	ask := endpoint("ask", "h3", "10.0.1.13", edit.EndpointRequest{})
	open := endpoint("open", "h3", "10.0.1.14", edit.EndpointRequest{PortSecurity: new(false)})

	reached := func(from world.Endpoint, src, dst netip.Addr) (dove.EndpointID, dataplane.Reason) {
		t.Helper()
		x, err := s.exchange(s.plugged(from.Full()), src, dst, false, request(scenario.Probe{Protocol: dove.ProtocolUDP, Port: 53}, false, s.freePort()))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case len(x.reached) == 1 && len(x.drops) == 0:
			return x.reached[0].endpoint.ID, 0
		case len(x.drops) > 0:
			return "", x.drops[0].reason
		}
		return "", 0
	}
	announce := func(e world.Endpoint) {
		t.Helper()
		g := s.plugged(e.Full())
		g.emit(packet.ARPRequest(g.mac, vip, vip))
		if err := s.Settle(); err != nil {
			t.Fatal(err)
		}
		s.Sleep(2 * 1000 * 1000 * 1000)
		if err := s.Settle(); err != nil {
			t.Fatal(err)
		}
	}
	if got, why := reached(ask, ask.Addresses[0], vip); got != "" || why != dataplane.NoEndpoint {
		t.Errorf("before anybody announced it: %q, %s", got, why)
	}
	for _, holder := range []world.Endpoint{one, two, one} {
		announce(holder)
		if got, why := reached(ask, ask.Addresses[0], vip); got != holder.ID {
			t.Errorf("announced by %s, reached %q: %s", holder.ID, got, why)
		}
	}
	if got, why := reached(one, vip, ask.Addresses[0]); got != ask.ID {
		t.Errorf("from the virtual address: %q, %s", got, why)
	}
	if got, why := reached(ask, vip, one.Addresses[0]); got != "" || why != dataplane.SpoofedAddress {
		t.Errorf("from what is not allowed: %q, %s", got, why)
	}
	announce(ask)
	if got, _ := reached(open, open.Addresses[0], vip); got != one.ID {
		t.Errorf("a stranger announced it, and it is at %q", got)
	}
	if _, why := reached(open, netip.MustParseAddr("10.0.1.77"), ask.Addresses[0]); why == dataplane.SpoofedAddress {
		t.Errorf("without port security: %s", why)
	}
}
