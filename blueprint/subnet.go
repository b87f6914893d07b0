package blueprint

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"dove.network/dove"
)

// MinHostBits is how many bits the smallest subnet leaves for its addresses.
const MinHostBits = 2

// special are the ranges that no endpoint can have an address in.
var special = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "the unspecified address"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local addresses"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved addresses"},
	{netip.MustParsePrefix("::/96"), "the unspecified address and loopback"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4 in IPv6"},
	{netip.MustParsePrefix("fe80::/10"), "link-local addresses"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// Special says which range that no workload has addresses in holds a prefix, ""
// if none does. What is wider than such a range is not in it.
func Special(p netip.Prefix) string {
	for _, r := range special {
		if p.IsValid() && r.prefix.Bits() <= p.Bits() && r.prefix.Contains(p.Addr()) {
			return r.prefix.String() + ", " + r.what
		}
	}
	return ""
}

// subnets reads the subnets of one network, which must not overlap.
func (p *parser) subnets(n node) []netip.Prefix {
	type subnet struct {
		prefix netip.Prefix
		node   node
	}
	var sound []subnet
	for _, e := range p.oneOrMore(n, "subnets", "subnets: [10.0.1.0/24]") {
		s, ok := p.text(e, "a subnet")
		if !ok {
			continue
		}
		prefix, f := parseSubnet(s)
		if f != nil {
			p.add(f.kind, e.place(), f.message, f.hint)
			continue
		}
		sound = append(sound, subnet{prefix, e})
	}
	// In ascending order a subnet overlaps an earlier one if and only if it lies in the last that did not.
	slices.SortStableFunc(sound, func(a, b subnet) int { return compareSubnets(a.prefix, b.prefix) })
	var prefixes []netip.Prefix
	var wide subnet
	for _, s := range sound {
		switch {
		case wide.prefix.IsValid() && s.prefix == wide.prefix:
			p.add(dove.Invalid, s.node.place(), fmt.Sprintf("subnet %s is given twice", s.prefix), fmt.Sprintf("line %d says it already", wide.node.Line))
		case wide.prefix.IsValid() && s.prefix.Overlaps(wide.prefix):
			p.add(dove.Invalid, s.node.place(), fmt.Sprintf("subnet %s overlaps %s of the same network", s.prefix, wide.prefix),
				fmt.Sprintf("line %d; overlapping plans belong on different networks", wide.node.Line))
		default:
			wide = s
		}
		prefixes = append(prefixes, s.prefix)
	}
	return prefixes
}

// parseSubnet reads a prefix that endpoints can have addresses in.
func parseSubnet(s string) (netip.Prefix, *fault) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			wide := netip.PrefixFrom(a, a.BitLen()-8).Masked()
			return p, invalid(fmt.Sprintf("write %s or what it should be", wide), "%s is an address, no subnet", quote(s))
		}
		return p, invalid("write an address, a slash and a length: 10.0.1.0/24 or fd00:0:0:1::/64", "%s is no subnet", quote(s))
	}
	if p.Addr().Is4In6() {
		return p, invalid("write 10.0.1.0/24 for IPv4", "%s is IPv4 in IPv6", quote(s))
	}
	if p != p.Masked() {
		return p, invalid("write "+p.Masked().String(), "%s has bits set beyond its length", quote(s))
	}
	if p.Addr().BitLen()-p.Bits() < MinHostBits {
		return p, invalid(fmt.Sprintf("the longest length is /%d", p.Addr().BitLen()-MinHostBits), "%s is too small for a subnet", quote(s))
	}
	for _, r := range special {
		if p.Overlaps(r.prefix) {
			return p, invalid("use addresses that workloads can have", "%s overlaps %s, %s", quote(s), r.prefix, r.what)
		}
	}
	return p, nil
}

// compareSubnets puts IPv4 before IPv6, then lower and wider before higher and narrower.
func compareSubnets(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
