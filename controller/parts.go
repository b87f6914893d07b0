package controller

import (
	"cmp"
	"net/netip"
	"slices"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

// allowed returns what an endpoint is allowed, in order of prefixes, each part of
// it that policies tell apart with its class. With port security off it is allowed
// everything, which is told in parts where policies know any.
func allowed(w *world.World, e world.Endpoint, domain dove.Domain) []control.Allowed {
	intent, member := w.Domain(domain), e.Member()
	parts := map[netip.Prefix]bool{}
	for _, x := range e.Allowed {
		for _, p := range intent.Parts(x.Prefix) {
			parts[p] = true
		}
	}
	if e.Open {
		var known int
		for _, all := range []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
			of := intent.Parts(all)
			if known += len(of) - 1; intent.SignatureIn(member, all).Prefix.IsValid() {
				known++
			}
			for _, p := range of {
				parts[p] = true
			}
		}
		if known == 0 { // the port's own class says it
			parts = map[netip.Prefix]bool{}
			for _, x := range e.Allowed {
				parts[x.Prefix] = true
			}
		}
	}
	var all []control.Allowed
	for p := range parts {
		out := control.Allowed{Prefix: p}
		out.Class, _ = w.ClassOf(domain, intent.SignatureIn(member, p))
		longest := -1
		for _, x := range e.Allowed {
			if x.Prefix.Bits() > longest && x.Prefix.Bits() <= p.Bits() && x.Prefix.Contains(p.Addr()) {
				longest, out.MAC = x.Prefix.Bits(), x.MAC
			}
		}
		all = append(all, out)
	}
	slices.SortFunc(all, func(a, b control.Allowed) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return all
}
