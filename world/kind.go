package world

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"dove.network/dove"
	"dove.network/policy"
)

// spot is an endpoint under one of the prefixes that it may send from: number i of its Spans.
type spot struct {
	endpoint *packed
	i        int
}

func (s spot) prefix() netip.Prefix {
	e := s.endpoint
	addresses, allowed := e.addresses(), e.allowed()
	switch n := s.i - len(addresses); {
	case n < 0:
		return netip.PrefixFrom(addresses[s.i], addresses[s.i].BitLen())
	case n < len(allowed):
		return allowed[n].Prefix
	case n == len(allowed):
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// spans says how many spots an endpoint has.
func (p *packed) spans() int {
	n := len(p.addresses()) + len(p.allowed())
	if p.alike.open {
		n += 2
	}
	return n
}

func (p *packed) spot(i int) spot { return spot{p, i} }

// at orders by network, kind, length and prefix, so that addresses of one kind are neighbours.
func (s spot) at(n dove.Network, kind string, p netip.Prefix) int {
	if c := s.endpoint.on(n); c != 0 {
		return c
	}
	if c := strings.Compare(s.endpoint.alike.kind, kind); c != 0 {
		return c
	}
	return s.along(p)
}

// along orders by length and prefix.
func (s spot) along(p netip.Prefix) int {
	is := s.prefix()
	return cmp.Or(cmp.Compare(is.Bits(), p.Bits()), is.Addr().Compare(p.Addr()))
}

func bySpot(a, b spot) int {
	var c int
	if a.endpoint.alike == b.endpoint.alike {
		c = a.along(b.prefix())
	} else {
		c = a.at(b.endpoint.networkOf(), b.endpoint.alike.kind, b.prefix())
	}
	if c != 0 {
		return c
	}
	return cmp.Or(byEndpoint(a.endpoint, b.endpoint), cmp.Compare(a.i, b.i))
}

// openKind begins the kinds of endpoints without port security.
const openKind = "o\x00"

// kind returns what policy tells an endpoint from others by, as text: equal for equal members alone.
func (e *Endpoint) kind() string {
	var b strings.Builder
	part := func(mark byte, text string) {
		b.WriteByte(mark)
		b.WriteString(text)
		b.WriteByte(0) // in no name
	}
	if e.Open {
		b.WriteString(openKind)
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
	return b.String()
}

// alikeOf returns what an endpoint shares with others of its kind.
func (d *draft) alikeOf(e *Endpoint) *alike {
	n, kind := e.NetworkOf(), e.kind()
	like, ok := d.byKind.find(func(s spot) int {
		if c := s.endpoint.on(n); c != 0 {
			return c
		}
		return strings.Compare(s.endpoint.alike.kind, kind)
	})
	if ok {
		return like.endpoint.alike
	}
	return newAlike(e, kind)
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
		s, ok := w.byKind.find(func(s spot) int { return s.endpoint.on(n) })
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
				if o.at(n, s.endpoint.alike.kind, r.last) <= 0 {
					return -1
				}
				return o.endpoint.on(n)
			})
		}
	}
}

// endpoints yields those of a run.
func (r run) endpoints(w *World) iter.Seq[*packed] {
	n, kind, first := r.first.endpoint.networkOf(), r.first.endpoint.alike.kind, r.first.prefix()
	return func(yield func(*packed) bool) {
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
			member := r.first.endpoint.alike.member()
			for _, part := range intent.Parts(r.first.prefix()) {
				s := intent.SignatureIn(member, part)
				all[s.Key()] = s
			}
		}
	}
	return all
}

// Wide yields the endpoints of a domain that may send from more than their own addresses.
func (w *World) Wide(name dove.Domain) iter.Seq[Endpoint] {
	return func(yield func(Endpoint) bool) {
		for n := range w.Networks(name.Tenant) {
			if n.Domain != name.Name {
				continue
			}
			for p := range w.byAllowed.within(func(p permitted) int { return p.endpoint.on(n.Full()) }) {
				if p.i == 0 && !yield(p.endpoint.doc()) {
					return
				}
			}
			open := func(s spot) int {
				kind := s.endpoint.alike.kind
				return cmp.Or(s.endpoint.on(n.Full()), strings.Compare(kind[:min(len(kind), len(openKind))], openKind))
			}
			for s := range w.byKind.within(open) {
				if s.i == 0 && len(s.endpoint.allowed()) == 0 && !yield(s.endpoint.doc()) {
					return
				}
			}
		}
	}
}

// reclass notes as changed the endpoints of a domain that have other signatures now. It costs
// as much as there are of those, and kinds of all.
func (d *draft) reclass(name dove.Domain, before, after *policy.Domain) {
	for n := range d.Networks(name.Tenant) {
		if n.Domain != name.Name {
			continue
		}
		for r := range d.runs(n.Full(), before, after) {
			member, within := r.first.endpoint.alike.member(), r.first.prefix()
			differs := slices.ContainsFunc(slices.Concat(before.Parts(within), after.Parts(within)), func(part netip.Prefix) bool {
				return before.SignatureIn(member, part).Key() != after.SignatureIn(member, part).Key()
			})
			if !differs {
				continue
			}
			for e := range r.endpoints(&d.World) {
				d.delta.Endpoints = append(d.delta.Endpoints, Change[Endpoint]{Old: new(e.doc()), New: new(e.doc())})
			}
		}
	}
}
