package sim

import (
	"net/netip"
	"testing"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/packet"
	"dove.network/world"
)

// TestAVirtualAddressMovesWithItsAnnouncement has two guests on two hosts
// announce one address by turns: a third reaches whoever announced it last, and
// what a guest is not allowed is dropped.
func TestAVirtualAddressMovesWithItsAnnouncement(t *testing.T) {
	s := New(1)
	x := newShop(t, s, `{apiVersion: dove/v1, kind: Blueprint, name: shop, networks: {front: {subnets: [10.0.1.0/24]}}, groups: {web: {network: front}}}`, "h1", "h2", "h3")
	vip := netip.MustParseAddr("10.0.1.100")
	endpoint := func(id, host, addr string, r edit.EndpointRequest) world.Endpoint {
		t.Helper()
		r.ID, r.Host, r.Addresses, r.Groups = dove.EndpointID(id), dove.HostName(host), []string{addr}, []string{"shop/web"}
		return x.endpoint(r)
	}
	allowed := edit.EndpointRequest{Allowed: []edit.AllowedRequest{{Prefix: vip.String()}, {Prefix: "10.9.0.0/16"}}}
	one := endpoint("one", "h1", "10.0.1.11", allowed)
	two := endpoint("two", "h2", "10.0.1.12", allowed)
	ask := endpoint("ask", "h3", "10.0.1.13", edit.EndpointRequest{})
	open := endpoint("open", "h3", "10.0.1.14", edit.EndpointRequest{PortSecurity: new(false)})

	reached := x.reached
	announce := func(e world.Endpoint) {
		t.Helper()
		g := s.plugged(e.Full())
		g.emit(packet.ARPRequest(g.mac, vip, vip))
		x.must(s.Settle())
		s.Sleep(2 * time.Second)
		x.must(s.Settle())
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
