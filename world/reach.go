package world

import (
	"iter"
	"net/netip"
	"slices"

	"dove.network/dove"
)

// Reach says who has an address as seen from a network.
type Reach struct {
	// Ways lead to the address, in the order of endpoints' names: more than one
	// where a static route has several next hops, none if nobody has it. A next hop
	// that is not allowed the address is none, nor is one on whose network another
	// has it: what it sends from there would be forged.
	Ways []Way
	// Router is between, "" if the address is on the network itself.
	Router string
	// Route is the static route that was taken; zero if none was.
	Route netip.Prefix
	// NoRoute: no subnet of the network, of those beside it, and no route has
	// the address.
	NoRoute bool
}

// Way is an endpoint that packets to an address go to.
type Way struct {
	Endpoint Endpoint
	Network  Network    // of the endpoint
	Addr     netip.Addr // that the endpoint is found by: its own, for a static route the next hop's
	Gateway  dove.MAC   // of the router on the asking network, zero if none is between
	Far      dove.MAC   // of the router on the endpoint's network
}

// Reach finds out who has an address as seen from a network: an endpoint there,
// by its own address or by one that it is allowed; one on a network that a router
// joins with it; or the next hops of the longest static route, unless an endpoint on
// the network is allowed a longer prefix. An address in a subnet is never taken
// by a route.
func (w *World) Reach(n Network, addr netip.Addr) Reach { return w.ReachBy(&n, addr, nil) }

// ReachBy is Reach for one who has room for the ways: an empty slice, to which they are
// appended.
func (w *World) ReachBy(n *Network, addr netip.Addr, room []Way) Reach {
	if e, ok := w.holder(n, addr); ok {
		return Reach{Ways: append(room, Way{Endpoint: e, Network: *n, Addr: addr})}
	}
	if n.holds(addr) {
		if e, ok := w.within(n, addr); ok {
			return Reach{Ways: append(room, Way{Endpoint: e, Network: *n, Addr: addr})}
		}
		return Reach{Ways: room}
	}
	var by Router
	var route Route
	for r := range w.RoutersOn(n.Full()) {
		for _, f := range r.Interfaces {
			if f.Network == n.Name {
				continue
			}
			far, ok := w.Network(r.NetworkOf(f))
			if !ok || !far.holds(addr) {
				continue
			}
			out := Reach{Router: r.Name, Ways: room}
			e, ok := w.holder(&far, addr)
			if !ok {
				e, ok = w.within(&far, addr)
			}
			if ok {
				out.Ways = append(room, w.way(r, n, far, e, addr))
			}
			return out
		}
		for _, t := range r.Routes {
			if t.To.Contains(addr) && (!route.To.IsValid() || t.To.Bits() > route.To.Bits()) {
				by, route = r, t
			}
		}
	}
	if e, prefix, ok := w.covering(n, addr, 0); ok && (!route.To.IsValid() || prefix.Bits() > route.To.Bits()) {
		return Reach{Ways: append(room, Way{Endpoint: e, Network: *n, Addr: addr})}
	}
	if !route.To.IsValid() {
		return Reach{NoRoute: true, Ways: room}
	}
	out := Reach{Router: by.Name, Route: route.To, Ways: room}
	for _, via := range route.Via {
		if far, ok := w.joinedBy(by, via); ok {
			if e, ok := w.holder(&far, via); ok && w.speaks(&far, e, addr, route.To.Bits()) {
				out.Ways = append(out.Ways, w.way(by, n, far, e, via))
			}
		}
	}
	slices.SortStableFunc(out.Ways, func(a, b Way) int {
		return pair(a.Endpoint.Tenant, a.Endpoint.ID, b.Endpoint.Tenant, b.Endpoint.ID)
	})
	out.Ways = slices.CompactFunc(out.Ways, func(a, b Way) bool { return a.Endpoint.Full() == b.Endpoint.Full() })
	return out
}

// Seen returns the endpoint that packets to an address go to as seen from the
// network with the VNI; of several ways the first.
func (w *World) Seen(v dove.VNI, addr netip.Addr) (Endpoint, bool) {
	n, ok := w.NetworkByVNI(v)
	if !ok {
		return Endpoint{}, false
	}
	if reach := w.Reach(n, addr); len(reach.Ways) > 0 {
		return reach.Ways[0].Endpoint, true
	}
	return Endpoint{}, false
}

// way leads over a router, from one of its networks to an endpoint on one.
func (w *World) way(r Router, from *Network, far Network, e Endpoint, addr netip.Addr) Way {
	near, _ := r.On(from.Name)
	there, _ := r.On(far.Name)
	return Way{Endpoint: e, Network: far, Addr: addr, Gateway: near.MAC, Far: there.MAC}
}

// speaks reports whether an endpoint on a network may be a next hop to an address: it
// is allowed it, and there nobody else has the address more than a route of so many
// bits leads to it.
func (w *World) speaks(n *Network, e Endpoint, addr netip.Addr, bits int) bool {
	if !e.Has(addr) {
		return false
	}
	has, ok := w.holder(n, addr)
	if !ok {
		has, _, ok = w.covering(n, addr, bits+1)
	}
	return !ok || has.Full() == e.Full()
}

// joinedBy returns the network of a router that has an address in a subnet.
func (w *World) joinedBy(r Router, addr netip.Addr) (Network, bool) {
	for _, f := range r.Interfaces {
		if n, ok := w.Network(r.NetworkOf(f)); ok && n.holds(addr) {
			return n, true
		}
	}
	return Network{}, false
}

// holds reports whether an address is in a subnet of the network.
func (n *Network) holds(addr netip.Addr) bool {
	return slices.ContainsFunc(n.Subnets, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// RoutesVia yields the prefixes that routes lead to by an address on a network,
// with each network from which they do.
func (w *World) RoutesVia(n Network, addr netip.Addr) iter.Seq2[Network, netip.Prefix] {
	return func(yield func(Network, netip.Prefix) bool) {
		for r := range w.RoutersOn(n.Full()) {
			for _, t := range r.Routes {
				if !slices.Contains(t.Via, addr) {
					continue
				}
				for _, f := range r.Interfaces {
					if near, ok := w.Network(r.NetworkOf(f)); ok && !yield(near, t.To) {
						return
					}
				}
			}
		}
	}
}
