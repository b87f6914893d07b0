package policy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"dove.network/blueprint"
	"dove.network/dove"
)

// mentions are the prefixes and named ports that policies mention.
type mentions struct {
	outsides map[dove.Group]blueprint.Outside // all; those that no policy names say nothing
	named    map[dove.Group]bool
	ports    map[portName]bool
	families bool                          // a policy is of one family: the prefix of all addresses of each is mentioned
	prefixes []netip.Prefix                // sorted
	holders  map[netip.Prefix][]dove.Group // the outsides that hold addresses of which it is the longest
	lengths  map[bool][]int                // of the prefixes of IPv4 (true) and IPv6, the longest first
}

type portName struct {
	protocol dove.Protocol
	name     string
}

// policy notes what a policy mentions; the outsides are known.
func (m *mentions) policy(p blueprint.Policy) {
	if m.named == nil {
		m.named, m.ports = map[dove.Group]bool{}, map[portName]bool{}
	}
	for _, ends := range [][]dove.Group{p.From, p.To} {
		for _, g := range ends {
			if len(m.outsides) > 0 {
				m.named[g] = true
			}
		}
	}
	m.families = m.families || p.Family != blueprint.BothFamilies
	for _, list := range [][]blueprint.Traffic{p.Allow, p.Deny, p.Pass} {
		for _, t := range list {
			if t.Port != "" {
				m.ports[portName{t.Protocol, t.Port}] = true
			}
		}
	}
}

// families are the prefixes of all addresses.
var families = map[blueprint.Family]netip.Prefix{
	blueprint.IPv4: netip.PrefixFrom(netip.IPv4Unspecified(), 0), blueprint.IPv6: netip.PrefixFrom(netip.IPv6Unspecified(), 0),
}

// settle sorts the prefixes of the outsides that policies name, and finds which
// outsides are around each.
func (m *mentions) settle() {
	for name := range m.outsides {
		if !m.named[name] {
			delete(m.outsides, name)
		}
	}
	// Of each prefix, what begins to hold its addresses there and what ceases to.
	type edge struct{ holds, leaves []dove.Group }
	edges := map[netip.Prefix]*edge{}
	at := func(p netip.Prefix) *edge {
		if edges[p] == nil {
			edges[p] = &edge{}
			m.prefixes = append(m.prefixes, p)
		}
		return edges[p]
	}
	if m.families {
		for _, all := range families {
			at(all)
		}
	}
	for name, o := range m.outsides {
		for _, p := range o.Prefixes {
			at(p).holds = append(at(p).holds, name)
		}
		for _, p := range o.Except {
			at(p).leaves = append(at(p).leaves, name)
		}
	}
	slices.SortFunc(m.prefixes, comparePrefixes)
	m.holders, m.lengths = map[netip.Prefix][]dove.Group{}, map[bool][]int{}
	type around struct {
		prefix      netip.Prefix
		holds, gone map[dove.Group]bool
	}
	var outer []around // the prefixes around the present one, the widest first
	for _, p := range m.prefixes {
		for len(outer) > 0 && !outer[len(outer)-1].prefix.Contains(p.Addr()) {
			outer = outer[:len(outer)-1]
		}
		outer = append(outer, around{p, map[dove.Group]bool{}, map[dove.Group]bool{}})
		here := outer[len(outer)-1]
		for _, g := range edges[p].holds {
			here.holds[g] = true
		}
		for _, g := range edges[p].leaves {
			here.gone[g] = true
		}
		held, gone := map[dove.Group]bool{}, map[dove.Group]bool{}
		for _, o := range outer {
			for g := range o.holds {
				held[g] = true
			}
			for g := range o.gone {
				gone[g] = true
			}
		}
		for g := range held {
			if !gone[g] {
				m.holders[p] = append(m.holders[p], g)
			}
		}
		slices.SortFunc(m.holders[p], dove.Group.Compare)
		lengths := m.lengths[p.Addr().Is4()]
		if !slices.Contains(lengths, p.Bits()) {
			m.lengths[p.Addr().Is4()] = append(lengths, p.Bits())
		}
	}
	for _, lengths := range m.lengths {
		slices.SortFunc(lengths, func(a, b int) int { return cmp.Compare(b, a) })
	}
}

// longest returns the longest prefix that is mentioned and covers another one.
func (m *mentions) longest(p netip.Prefix) netip.Prefix {
	if !p.IsValid() {
		return netip.Prefix{}
	}
	for _, bits := range m.lengths[p.Addr().Is4()] {
		if bits > p.Bits() {
			continue
		}
		wide, _ := p.Addr().Prefix(bits)
		if _, mentioned := slices.BinarySearchFunc(m.prefixes, wide, comparePrefixes); mentioned {
			return wide
		}
	}
	return netip.Prefix{}
}

// until returns the last address, from one on, up to which the longest prefix that is mentioned is the same.
func (m *mentions) until(addr netip.Addr) netip.Addr {
	around := m.longest(netip.PrefixFrom(addr, addr.BitLen()))
	if !around.IsValid() {
		around, _ = addr.Prefix(0)
	}
	last := blueprint.LastOf(around)
	next, _ := slices.BinarySearchFunc(m.prefixes, addr, func(p netip.Prefix, a netip.Addr) int { return cmp.Or(p.Addr().Compare(a), -1) })
	if next < len(m.prefixes) && !last.Less(m.prefixes[next].Addr()) {
		last = m.prefixes[next].Addr().Prev()
	}
	return last
}

// around returns the outsides that hold the addresses of which a prefix is the
// longest that is mentioned.
func (m *mentions) around(p netip.Prefix) []dove.Group {
	if !p.IsValid() {
		return nil
	}
	return m.holders[m.longest(p)]
}

// inside returns the prefixes that are mentioned and lie within another one,
// without that one itself.
func (m *mentions) inside(p netip.Prefix) []netip.Prefix {
	if !p.IsValid() {
		return nil
	}
	first, found := slices.BinarySearchFunc(m.prefixes, p, comparePrefixes)
	if found {
		first++
	}
	end := first
	for end < len(m.prefixes) && p.Contains(m.prefixes[end].Addr()) {
		end++
	}
	return m.prefixes[first:end]
}

// comparePrefixes puts what lies within a prefix right after it.
func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// Classifies reports whether two domains are sure to give every member the same
// signatures.
func (d *Domain) Classifies(o *Domain) bool {
	return slices.Equal(d.mention.prefixes, o.mention.prefixes) && maps.Equal(d.mention.ports, o.mention.ports) && maps.Equal(d.chosen.texts, o.chosen.texts)
}
