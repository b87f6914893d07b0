package world

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"dove.network/dove"
)

// permitted is an endpoint under one of the prefixes that it is allowed, by index.
type permitted struct {
	endpoint *packed
	i        int
}

func (p permitted) prefix() netip.Prefix { return p.endpoint.rare.allowed[p.i].Prefix }

// at orders by network and prefix.
func (p permitted) at(n dove.Network, prefix netip.Prefix) int {
	if c := p.endpoint.on(n); c != 0 {
		return c
	}
	is := p.prefix()
	return cmp.Or(is.Addr().Compare(prefix.Addr()), cmp.Compare(is.Bits(), prefix.Bits()))
}

// Has reports whether the endpoint has an address, is allowed it, or may send
// from any.
func (e Endpoint) Has(addr netip.Addr) bool {
	return e.Open || slices.Contains(e.Addresses, addr) ||
		slices.ContainsFunc(e.Allowed, func(a Allowed) bool { return a.Prefix.Contains(addr) })
}

// MACFor returns the MAC that packets to an address of the endpoint carry: that
// of the longest allowed prefix which names one, else its own.
func (e Endpoint) MACFor(addr netip.Addr) dove.MAC {
	mac, bits := e.MAC, -1
	if slices.Contains(e.Addresses, addr) {
		return mac
	}
	for _, a := range e.Allowed {
		if a.Prefix.Contains(addr) && a.Prefix.Bits() > bits {
			bits, mac = a.Prefix.Bits(), e.MAC
			if a.MAC != (dove.MAC{}) {
				mac = a.MAC
			}
		}
	}
	return mac
}

// AllowedOn yields the endpoints of a network that are allowed exactly a prefix.
func (w *World) AllowedOn(n dove.Network, prefix netip.Prefix) iter.Seq[Endpoint] {
	return func(yield func(Endpoint) bool) {
		for p := range w.byAllowed.within(func(p permitted) int { return p.at(n, prefix) }) {
			if !yield(p.endpoint.doc()) {
				return
			}
		}
	}
}

// Claim returns who claimed a virtual address of a network last.
func (w *World) Claim(n dove.Network, addr netip.Addr) (Claim, bool) {
	return docOf(w.claims.find(func(h *held[Claim]) int {
		return cmp.Or(compareNetwork(h.doc.NetworkOf(), n), h.doc.Addr.Compare(addr))
	}))
}

// Claims yields the claims to addresses of a network.
func (w *World) Claims(n dove.Network) iter.Seq[Claim] {
	return docs(w.claims.within(func(h *held[Claim]) int { return compareNetwork(h.doc.NetworkOf(), n) }))
}

// AllClaims yields the claims of all networks.
func (w *World) AllClaims() iter.Seq[Claim] { return docs(w.claims.all()) }

// Virtual reports whether an address of a network is one that several endpoints
// are allowed, so that a claim decides.
func (w *World) Virtual(n dove.Network, addr netip.Addr) bool {
	count := 0
	for range w.AllowedOn(n, netip.PrefixFrom(addr, addr.BitLen())) {
		count++
	}
	return count > 1
}

// holder returns the endpoint that has an address on a network: as its own, as
// the only one that is allowed just it, or by its claim.
func (w *World) holder(n *Network, addr netip.Addr) (Endpoint, bool) {
	if e, ok := w.EndpointOn(n.Full(), addr); ok {
		return e, true
	}
	var first Endpoint
	count := 0
	claim, claimed := w.Claim(n.Full(), addr)
	for e := range w.AllowedOn(n.Full(), netip.PrefixFrom(addr, addr.BitLen())) {
		if claimed && e.ID == claim.Endpoint && e.UID == claim.UID {
			return e, true
		}
		if count++; count == 1 {
			first = e
		}
	}
	return first, count == 1
}

// covering returns the endpoint that is allowed the longest prefix around an
// address, of several the first by name, and the prefix. Only prefixes of at
// least so many bits count.
func (w *World) covering(n *Network, addr netip.Addr, least int) (Endpoint, netip.Prefix, bool) {
	if _, any := w.byAllowed.find(func(p permitted) int { return p.endpoint.on(n.Full()) }); !any {
		return Endpoint{}, netip.Prefix{}, false
	}
	for bits := addr.BitLen() - 1; bits >= least; bits-- {
		prefix, _ := addr.Prefix(bits)
		for e := range w.AllowedOn(n.Full(), prefix) {
			return e, prefix, true
		}
	}
	return Endpoint{}, netip.Prefix{}, false
}

// within returns the endpoint that is allowed a part of a subnet with the address.
func (w *World) within(n *Network, addr netip.Addr) (Endpoint, bool) {
	for _, s := range n.Subnets {
		if s.Contains(addr) {
			e, _, ok := w.covering(n, addr, s.Bits())
			return e, ok
		}
	}
	return Endpoint{}, false
}
