package blueprint

import (
	"fmt"
	"net/netip"
	"slices"

	"dove.network/dove"
)

var outsideShape = shape{
	what:    "an outside",
	known:   []string{"prefixes", "except"},
	example: "office: {prefixes: [203.0.113.0/24], except: [203.0.113.7/32]}",
}

// readOutside reads the names of sets of addresses.
func (p *parser) readOutside(n node) {
	p.outside = map[string]bool{}
	if n.Node == nil {
		return
	}
	all, ok := p.mapping(n, "outside", outsideShape.example)
	if !ok {
		p.outside = nil
		return
	}
	for _, e := range all {
		p.outside[e.name] = true
		p.name(e.key, "outside")
		p.distinct(e.key, e.name)
		outside := Outside{Name: e.name}
		keys, ok := p.fields(e.value, outsideShape)
		if list, given := keys["prefixes"]; given {
			outside.Prefixes = p.prefixes(list, "prefixes", nil)
		} else if ok {
			p.add(dove.Invalid, e.key.place(), fmt.Sprintf("outside %s has no prefixes", quote(e.name)), "write "+outsideShape.example)
		}
		if list, given := keys["except"]; given {
			outside.Except = p.prefixes(list, "except", outside.Prefixes)
		}
		p.b.Outside = append(p.b.Outside, outside)
	}
}

const anyTaken = `"any" stands for every address in policies`

// distinct refuses a name that policies could not tell from another: groups and
// outsides share one set of names, and any is everything.
func (p *parser) distinct(key node, name string) {
	switch {
	case name == Any.Name && !p.groups[name]: // of a group Check says so
		p.add(dove.Invalid, key.place(), anyTaken, "choose another name")
	case p.groups[name] && p.outside[name]:
		p.add(dove.Invalid, key.place(), fmt.Sprintf("%s names a group and an outside", quote(name)), "policies could not tell them apart: choose another name for one")
	}
}

// prefixes reads a list. If around is given each must lie in one of those, and be
// smaller.
func (p *parser) prefixes(n node, key string, around []netip.Prefix) []netip.Prefix {
	var list []netip.Prefix
	lines := map[netip.Prefix]int{}
	for _, e := range p.oneOrMore(n, key, key+": [203.0.113.0/24]") {
		s, ok := p.text(e, "a prefix")
		if !ok {
			continue
		}
		prefix, f := parsePrefix(s)
		line, twice := lines[prefix]
		switch {
		case f != nil:
			p.add(f.kind, e.place(), f.message, f.hint)
		case twice:
			p.add(dove.Invalid, e.place(), fmt.Sprintf("%s is in %s twice", prefix, key), fmt.Sprintf("line %d says it already", line))
		case around != nil && !slices.ContainsFunc(around, func(a netip.Prefix) bool { return a.Bits() < prefix.Bits() && a.Contains(prefix.Addr()) }):
			p.add(dove.Invalid, e.place(), fmt.Sprintf("%s lies in none of the prefixes", prefix), "except takes away parts of them")
		default:
			lines[prefix] = e.Line
			list = append(list, prefix)
		}
	}
	return list
}

// parsePrefix reads a prefix of any addresses.
func parsePrefix(s string) (netip.Prefix, *fault) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			return p, invalid(fmt.Sprintf("write %s for it alone", netip.PrefixFrom(a, a.BitLen())), "%s is an address, no prefix", quote(s))
		}
		return p, invalid("write an address, a slash and a length: 203.0.113.0/24 or 2001:db8::/32", "%s is no prefix", quote(s))
	case p.Addr().Is4In6():
		return p, invalid("write 203.0.113.0/24 for IPv4", "%s is IPv4 in IPv6", quote(s))
	case p != p.Masked():
		return p, invalid("write "+p.Masked().String(), "%s has bits set beyond its length", quote(s))
	}
	return p, nil
}
