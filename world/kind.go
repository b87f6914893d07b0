package world

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unique"

	"dove.network/dove"
	"dove.network/policy"
)

// spot is an endpoint under one of the prefixes that it may send from: number i of its Spans.
type spot struct {
	endpoint *held[Endpoint]
	i        int
}

func (s spot) prefix() netip.Prefix {
	e := &s.endpoint.doc
	switch n := s.i - len(e.Addresses); {
	case n < 0:
		return netip.PrefixFrom(e.Addresses[s.i], e.Addresses[s.i].BitLen())
	case n < len(e.Allowed):
		return e.Allowed[n].Prefix
	case n == len(e.Allowed):
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// spans says how many spots an endpoint has.
func (e *Endpoint) spans() int {
	n := len(e.Addresses) + len(e.Allowed)
	if e.Open {
		n += 2
	}
	return n
}

// at orders by network, kind, length and prefix, so that addresses of one kind are neighbours.
func (s spot) at(n dove.Network, kind string, p netip.Prefix) int {
	if c := compareNetwork(s.endpoint.doc.NetworkOf(), n); c != 0 {
		return c
	}
	if c := strings.Compare(s.endpoint.sort, kind); c != 0 {
		return c
	}
	is := s.prefix()
	return cmp.Or(cmp.Compare(is.Bits(), p.Bits()), is.Addr().Compare(p.Addr()))
}

func bySpot(a, b spot) int {
	if c := a.at(b.endpoint.doc.NetworkOf(), b.endpoint.sort, b.prefix()); c != 0 {
		return c
	}
	return cmp.Or(byEndpoint(a.endpoint, b.endpoint), cmp.Compare(a.i, b.i))
}

// kind returns what policy tells an endpoint from others by, as text: equal for equal members alone.
func (e *Endpoint) kind() string {
	var b strings.Builder
	part := func(mark byte, text string) {
		b.WriteByte(mark)
		b.WriteString(text)
		b.WriteByte(0) // in no name
	}
	if e.Open {
		part('o', "")
	}
	for _, g := range e.Groups {
		part('g', string(g.Tenant))
		part('/', g.Blueprint)
		part('/', g.Name)
	}
	for _, key := range slices.Sorted(maps.Keys(e.Labels)) {
		part('l', key)
		part('=', e.Labels[key])
	}
	for _, name := range slices.Sorted(maps.Keys(e.Ports)) {
		part('p', name)
		part('=', e.Ports[name].String())
	}
	return unique.Make(b.String()).Value()
}

// likeOthers lets an endpoint share what others of its kind have.
func (d *draft) likeOthers(e *held[Endpoint]) {
	e.sort = e.doc.kind()
	n := e.doc.NetworkOf()
	like, ok := d.byKind.find(func(s spot) int {
		if c := compareNetwork(s.endpoint.doc.NetworkOf(), n); c != 0 {
			return c
		}
		return strings.Compare(s.endpoint.sort, e.sort)
	})
	if ok {
		e.doc.Groups, e.doc.Labels, e.doc.Ports = like.endpoint.doc.Groups, like.endpoint.doc.Labels, like.endpoint.doc.Ports
	}
}

// run is neighbours in byKind that some domains do not tell apart: one kind at one prefix, or
// at single addresses up to last around which each domain mentions the same.
type run struct {
	first spot
	last  netip.Prefix
}

// runs yields all of a network.
func (w *World) runs(n dove.Network, domains ...*policy.Domain) iter.Seq[run] {
	return func(yield func(run) bool) {
		s, ok := w.byKind.find(func(s spot) int { return compareNetwork(s.endpoint.doc.NetworkOf(), n) })
		for ok {
			r := run{s, s.prefix()}
			if addr := r.last.Addr(); r.last.IsSingleIP() {
				last := domains[0].AlikeUntil(addr)
				for _, d := range domains[1:] {
					if l := d.AlikeUntil(addr); l.Less(last) {
						last = l
					}
				}
				r.last = netip.PrefixFrom(last, last.BitLen())
			}
			if !yield(r) {
				return
			}
			s, ok = w.byKind.find(func(o spot) int {
				if o.at(n, s.endpoint.sort, r.last) <= 0 {
					return -1
				}
				return compareNetwork(o.endpoint.doc.NetworkOf(), n)
			})
		}
	}
}

// endpoints yields those of a run.
func (r run) endpoints(w *World) iter.Seq[*held[Endpoint]] {
	n, kind, first := r.first.endpoint.doc.NetworkOf(), r.first.endpoint.sort, r.first.prefix()
	return func(yield func(*held[Endpoint]) bool) {
		for s := range w.byKind.within(func(s spot) int {
			if s.at(n, kind, first) < 0 {
				return -1
			}
			return max(0, s.at(n, kind, r.last))
		}) {
			if !yield(s.endpoint) {
				return
			}
		}
	}
}

// Signatures returns the signatures of all that the endpoints of a domain may send from, by
// key, in the words of an intent of the domain. It costs as much as there are different ones among them.
func (w *World) Signatures(name dove.Domain, intent *policy.Domain) map[string]policy.Signature {
	all := map[string]policy.Signature{}
	for n := range w.Networks(name.Tenant) {
		if n.Domain != name.Name {
			continue
		}
		for r := range w.runs(n.Full(), intent) {
			member := r.first.endpoint.doc.Member()
			for _, part := range intent.Parts(r.first.prefix()) {
				s := intent.SignatureIn(member, part)
				all[s.Key()] = s
			}
		}
	}
	return all
}

// reclass notes as changed the endpoints of a domain that have other signatures now. It costs
// as much as there are of those, and kinds of all.
func (d *draft) reclass(name dove.Domain, before, after *policy.Domain) {
	for n := range d.Networks(name.Tenant) {
		if n.Domain != name.Name {
			continue
		}
		for r := range d.runs(n.Full(), before, after) {
			member, within := r.first.endpoint.doc.Member(), r.first.prefix()
			differs := slices.ContainsFunc(slices.Concat(before.Parts(within), after.Parts(within)), func(part netip.Prefix) bool {
				return before.SignatureIn(member, part).Key() != after.SignatureIn(member, part).Key()
			})
			if !differs {
				continue
			}
			for e := range r.endpoints(&d.World) {
				record(&d.delta.Endpoints, e, e)
			}
		}
	}
}
