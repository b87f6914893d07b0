package world

import (
	"cmp"
	"net/netip"
	"strings"

	"dove.network/dove"
)

// The orders of the trees and the places in them. An index under something
// other than the name orders by the name where that is equal, so that it holds
// the same whatever the order of writing.

func ordered[D any](first func(a, b *D) int, name func(a, b *held[D]) int) func(a, b *held[D]) int {
	return func(a, b *held[D]) int {
		if c := first(&a.doc, &b.doc); c != 0 {
			return c
		}
		return name(a, b)
	}
}

// pair compares two names of two parts. The first parts are equal most of the
// time, which is seen faster than which of two is less.
func pair[A, B ~string](a1 A, b1 B, a2 A, b2 B) int {
	if a1 != a2 {
		return strings.Compare(string(a1), string(a2))
	}
	return strings.Compare(string(b1), string(b2))
}

func compareDomain(a, b dove.Domain) int   { return pair(a.Tenant, a.Name, b.Tenant, b.Name) }
func compareNetwork(a, b dove.Network) int { return pair(a.Tenant, a.Name, b.Tenant, b.Name) }

func byTenant(a, b *held[Tenant]) int { return cmp.Compare(a.doc.Name, b.doc.Name) }

func byBlueprint(a, b *held[Blueprint]) int {
	return pair(a.doc.Tenant, a.doc.Name, b.doc.Tenant, b.doc.Name)
}

func byNetworkName(a, b *held[Network]) int {
	return pair(a.doc.Tenant, a.doc.Name, b.doc.Tenant, b.doc.Name)
}

func byRouter(a, b *held[Router]) int {
	return pair(a.doc.Tenant, a.doc.Name, b.doc.Tenant, b.doc.Name)
}

func byClaim(a, b *held[Claim]) int {
	return cmp.Or(compareNetwork(a.doc.NetworkOf(), b.doc.NetworkOf()), a.doc.Addr.Compare(b.doc.Addr))
}

func byHostName(a, b *held[Host]) int       { return cmp.Compare(a.doc.Name, b.doc.Name) }
func byJoinToken(a, b *held[JoinToken]) int { return cmp.Compare(a.doc.ID, b.doc.ID) }
func byAPIToken(a, b *held[APIToken]) int   { return cmp.Compare(a.doc.ID, b.doc.ID) }
func byRequest(a, b *held[Request]) int     { return pair(a.doc.Token, a.doc.ID, b.doc.Token, b.doc.ID) }
func byVNIAlloc(a, b *held[VNIAlloc]) int   { return cmp.Compare(a.doc.VNI, b.doc.VNI) }

func byDigest(a, b *held[ClassAlloc]) int {
	if c := compareDomain(a.doc.DomainOf(), b.doc.DomainOf()); c != 0 {
		return c
	}
	return cmp.Compare(a.digest, b.digest)
}

func byClassNext(a, b *held[ClassNext]) int {
	return compareDomain(a.doc.DomainOf(), b.doc.DomainOf())
}

func tenantAt(t dove.Tenant) func(*held[Tenant]) int {
	return func(h *held[Tenant]) int { return cmp.Compare(h.doc.Name, t) }
}

func blueprintAt(t dove.Tenant, name string) func(*held[Blueprint]) int {
	return func(h *held[Blueprint]) int { return pair(h.doc.Tenant, h.doc.Name, t, name) }
}

func networkAt(n dove.Network) func(*held[Network]) int {
	return func(h *held[Network]) int { return pair(h.doc.Tenant, h.doc.Name, n.Tenant, n.Name) }
}

func routerAt(n dove.Router) func(*held[Router]) int {
	return func(h *held[Router]) int { return pair(h.doc.Tenant, h.doc.Name, n.Tenant, n.Name) }
}

// claimAt finds nothing under what is no address.
func claimAt(n dove.Network, s string) func(*held[Claim]) int {
	addr, _ := netip.ParseAddr(s)
	return func(h *held[Claim]) int {
		return cmp.Or(compareNetwork(h.doc.NetworkOf(), n), h.doc.Addr.Compare(addr))
	}
}

func hostAt(name dove.HostName) func(*held[Host]) int {
	return func(h *held[Host]) int { return cmp.Compare(h.doc.Name, name) }
}

func joinTokenAt(id string) func(*held[JoinToken]) int {
	return func(h *held[JoinToken]) int { return cmp.Compare(h.doc.ID, id) }
}

func apiTokenAt(id string) func(*held[APIToken]) int {
	return func(h *held[APIToken]) int { return cmp.Compare(h.doc.ID, id) }
}

func requestAt(token, id string) func(*held[Request]) int {
	return func(h *held[Request]) int { return pair(h.doc.Token, h.doc.ID, token, id) }
}

func vniAt(v dove.VNI) func(*held[VNIAlloc]) int {
	return func(h *held[VNIAlloc]) int { return cmp.Compare(h.doc.VNI, v) }
}

func classNextAt(d dove.Domain) func(*held[ClassNext]) int {
	return func(h *held[ClassNext]) int { return compareDomain(h.doc.DomainOf(), d) }
}

func edgeAt(d dove.Domain) func(*held[Edge]) int {
	return func(h *held[Edge]) int { return compareDomain(h.doc.DomainOf(), d) }
}

func classAt(d dove.Domain, digest string) func(*held[ClassAlloc]) int {
	return func(h *held[ClassAlloc]) int {
		if c := compareDomain(h.doc.DomainOf(), d); c != 0 {
			return c
		}
		return cmp.Compare(h.digest, digest)
	}
}

func ledgerAt(t dove.Tenant) func(*held[Ledger]) int {
	return func(h *held[Ledger]) int { return cmp.Compare(h.doc.Tenant, t) }
}

// vtepAt finds nothing under what is no address.
func vtepAt(s string) func(*held[VTEPAlloc]) int {
	addr, _ := netip.ParseAddr(s)
	return func(h *held[VTEPAlloc]) int { return h.doc.VTEP.Compare(addr) }
}
