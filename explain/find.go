package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"dove.network/dove"
	"dove.network/world"
)

// Find reads how a tenant writes an end: "web-1" (an endpoint), "web-1/10.0.0.5"
// (an address that it has or is allowed), "front/10.0.0.5" (an address on a network), or
// "10.0.0.5" where only one of the tenant's networks has it. Errors are
// dove.NotFound, dove.Invalid or, for an address that several networks have,
// dove.Conflict.
func Find(w *world.World, t dove.Tenant, text string) (End, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return anywhere(w, t, addr.Unmap())
	}
	name, after, two := strings.Cut(text, "/")
	if err := dove.CheckName(name); err != nil {
		return End{}, dove.Errorf(dove.Invalid, "%q names no end: write an endpoint, an address or network/address", text)
	}
	e, isEndpoint := w.Endpoint(dove.Endpoint{Tenant: t, ID: dove.EndpointID(name)})
	if !two {
		if !isEndpoint {
			return End{}, missing(dove.Endpoint{Tenant: t, ID: dove.EndpointID(name)})
		}
		return End{Endpoint: e.Full()}, nil
	}
	addr, err := netip.ParseAddr(after)
	if err != nil {
		return End{}, dove.Errorf(dove.Invalid, "%q names no end: %q is no address (write an endpoint without its tenant, an address or network/address)", text, after)
	}
	addr = addr.Unmap()
	network := dove.Network{Tenant: t, Name: name}
	if on, ok := w.EndpointOn(network, addr); ok {
		return End{Endpoint: on.Full(), Addr: addr}, nil
	}
	if isEndpoint {
		if e.Has(addr) {
			return End{Endpoint: e.Full(), Addr: addr}, nil
		}
		return End{}, dove.Errorf(dove.NotFound, "endpoint %s does not have address %s", e.Full(), addr)
	}
	n, ok := w.Network(network)
	if !ok {
		return End{}, dove.Errorf(dove.NotFound, "there is no network or endpoint %s", network)
	}
	if says := Gateway(w, n, addr); says != "" {
		return End{}, dove.Errorf(dove.NotFound, "%s", says)
	}
	if to, ok := w.Seen(n.VNI, addr); ok && to.NetworkOf() == network { // by what it is allowed
		return End{Endpoint: to.Full(), Addr: addr}, nil
	}
	return End{}, dove.Errorf(dove.NotFound, "no endpoint has address %s on network %s", addr, network)
}

// FindSeen is Find of an end as another end sees it: an address alone may also be
// one that only a router's static routes lead to, or the one of several that the
// other end reaches.
func FindSeen(w *world.World, from End, text string) (End, error) {
	end, err := Find(w, from.Endpoint.Tenant, text)
	addr, parseErr := netip.ParseAddr(text)
	if err == nil || parseErr != nil {
		return end, err
	}
	e, _ := w.Endpoint(from.Endpoint)
	n, _ := w.Network(e.NetworkOf())
	if to, ok := w.Seen(n.VNI, addr.Unmap()); ok {
		return End{Endpoint: to.Full(), Addr: addr.Unmap()}, nil
	}
	return End{}, err
}

// anywhere finds an address on any of a tenant's networks.
func anywhere(w *world.World, t dove.Tenant, addr netip.Addr) (End, error) {
	var found End
	var on dove.Network
	router := ""
	for n := range w.Networks(t) {
		e, ok := w.EndpointOn(n.Full(), addr)
		if !ok {
			router = cmp.Or(router, Gateway(w, n, addr))
			continue
		}
		if on.Name != "" {
			return End{}, dove.Errorf(dove.Conflict, "networks %s and %s both have address %s: write network/address", on, n.Full(), addr)
		}
		found, on = End{Endpoint: e.Full(), Addr: addr}, n.Full()
	}
	switch {
	case on.Name == "" && router != "":
		return End{}, dove.Errorf(dove.NotFound, "%s", router)
	case on.Name == "":
		return End{}, dove.Errorf(dove.NotFound, "no endpoint of tenant %s has address %s", t, addr)
	}
	return found, nil
}

// Gateway says what an address is that a router has on a network, "" if none has it.
func Gateway(w *world.World, n world.Network, addr netip.Addr) string {
	r, _, ok := w.GatewayOn(n, addr)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s on network %s is router %s's own address, no endpoint: the switch of whoever sends answers its ARP, neighbour discovery and pings from that network, and drops all else for it (to-router)", addr, n.Full(), r.Name)
}
