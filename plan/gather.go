package plan

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"dove.network/dove"
	"dove.network/policy"
	"dove.network/world"
)

// domain is one domain before and after.
type domain struct {
	name          dove.Domain
	before, after *policy.Domain
	islands       []island
	islandOf      map[dove.Network]int
	classes       []class // in order of key
	byKey         map[string]int
	endpoints     []end // in order of names
	compared      int   // pairs of classes

	signatures []policy.Signature
	keys       []string       // of signatures
	numbers    map[string]int // of signatures, by key
	turns      map[[4]int][]piece
	pieces     map[string]*relation
}

// end is an endpoint with the hosts that it is bound to.
type end struct {
	name  dove.Endpoint
	hosts []dove.HostName
}

// class is addresses that are alike: their signatures before and after, by
// number, and their island. Outside are those that no endpoint has.
type class struct {
	before, after int
	island        int
	outside       string // which, for people; "" for endpoints
	families      uint8  // of outside addresses
	key           string
	members       []member
}

// member is an endpoint of a class, by number, with the families that it has of its addresses.
type member struct {
	endpoint int
	families uint8
}

const (
	family4 = 1 << iota
	family6
)

func familyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return family4
	}
	return family6
}

// nowhere is the island of addresses that no endpoint has: whether something
// leads there is not known.
const nowhere = -1

// island is networks that are joined with each other and with the same others.
type island struct {
	before, after map[dove.Network]bool // what it is joined with, itself too
	networks      []dove.Network        // in order
}

func (i island) String() string {
	names := make([]string, len(i.networks))
	for at, n := range i.networks {
		names[at] = n.Name
	}
	return strings.Join(names, "+")
}

// joined reports whether addresses of two islands can be on one way, before and
// after.
func (d *domain) joined(a, b int) (before, after bool) {
	switch {
	case a == nowhere || b == nowhere:
		return a != b, a != b
	case a == b:
		return true, true
	}
	n := d.islands[b].networks[0]
	return d.islands[a].before[n], d.islands[a].after[n]
}

// gather finds out which addresses of a domain are alike.
func gather(before, after *world.World, name dove.Domain) *domain {
	d := &domain{
		name: name, before: before.Domain(name), after: after.Domain(name), islandOf: map[dove.Network]int{}, byKey: map[string]int{},
		numbers: map[string]int{}, turns: map[[4]int][]piece{}, pieces: map[string]*relation{},
	}
	found := map[string]*class{}
	for _, n := range networksOf(before, after, name) {
		on := d.island(before, after, n)
		d.islandOf[n] = on
		for e := range before.EndpointsIn(n) {
			d.endpoints = append(d.endpoints, end{e.Full(), e.Bindings()})
			m := e.Member()
			for _, span := range e.Spans() {
				for _, part := range d.parts(span) {
					c := d.class(m, part, on)
					it := found[c.key]
					if it == nil {
						it = &c
						found[c.key] = it
					}
					it.add(len(d.endpoints)-1, familyOf(part.Addr()))
				}
			}
		}
	}
	for _, all := range []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
		for _, part := range d.parts(all) {
			c := d.class(policy.Member{Open: true}, part, nowhere)
			c.outside, c.families = part.String(), familyOf(part.Addr())
			c.key += "\x00" + c.outside
			found[c.key] = &c
		}
	}
	for _, c := range found {
		d.classes = append(d.classes, *c)
	}
	slices.SortFunc(d.classes, func(a, b class) int { return strings.Compare(a.key, b.key) })
	for i, c := range d.classes {
		d.byKey[c.key] = i
	}
	d.order()
	return d
}

// parts cuts a prefix where either state mentions a part of it.
func (d *domain) parts(span netip.Prefix) []netip.Prefix {
	if span.IsSingleIP() {
		return []netip.Prefix{span}
	}
	all := slices.Concat(d.before.Parts(span), d.after.Parts(span))
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return slices.Compact(all)
}

// class returns that of addresses of a part of what a member has, without members.
func (d *domain) class(m policy.Member, part netip.Prefix, on int) class {
	c := class{before: d.number(d.before.SignatureIn(m, part)), after: d.number(d.after.SignatureIn(m, part)), island: on}
	place := ""
	if on != nowhere {
		place = d.islands[on].networks[0].Name
	}
	c.key = strings.Join([]string{d.keys[c.before], d.keys[c.after], place}, "\x00")
	return c
}

// at returns the class of an endpoint's address, false if it is of another domain.
func (d *domain) at(e world.Endpoint, a netip.Addr) (int, bool) {
	on, known := d.islandOf[e.NetworkOf()]
	if !known {
		return 0, false
	}
	part := netip.PrefixFrom(a, a.BitLen())
	i, ok := d.byKey[d.class(e.Member(), part, on).key]
	return i, ok
}

// networksOf returns the networks of a domain, before or after, in order.
func networksOf(before, after *world.World, name dove.Domain) []dove.Network {
	var list []dove.Network
	for _, w := range []*world.World{before, after} {
		for n := range w.Networks(name.Tenant) {
			if n.DomainOf() == name {
				list = append(list, n.Full())
			}
		}
	}
	slices.SortFunc(list, func(a, b dove.Network) int { return cmp.Compare(a.Name, b.Name) })
	return slices.Compact(list)
}

// island returns the number of the island of a network, a new one if it is like
// no network before it.
func (d *domain) island(before, after *world.World, n dove.Network) int {
	beside := func(w *world.World) map[dove.Network]bool {
		all := map[dove.Network]bool{n: true}
		for other := range w.Beside(n) {
			all[other.Full()] = true
		}
		return all
	}
	is := island{beside(before), beside(after), []dove.Network{n}}
	for i, o := range d.islands {
		if maps.Equal(o.before, is.before) && maps.Equal(o.after, is.after) {
			d.islands[i].networks = append(d.islands[i].networks, n)
			return i
		}
	}
	d.islands = append(d.islands, is)
	return len(d.islands) - 1
}

// number gives a signature a small number.
func (d *domain) number(s policy.Signature) int {
	key := s.Key()
	n, known := d.numbers[key]
	if !known {
		n = len(d.signatures)
		d.numbers[key] = n
		d.signatures, d.keys = append(d.signatures, s), append(d.keys, key)
	}
	return n
}

// order puts the endpoints in order of names.
func (d *domain) order() {
	by := make([]int, len(d.endpoints))
	for i := range by {
		by[i] = i
	}
	slices.SortFunc(by, func(a, b int) int {
		return strings.Compare(d.endpoints[a].name.String(), d.endpoints[b].name.String())
	})
	sorted, now := make([]end, len(by)), make([]int, len(by))
	for i, old := range by {
		sorted[i], now[old] = d.endpoints[old], i
	}
	d.endpoints = sorted
	for _, c := range d.classes {
		for i := range c.members {
			c.members[i].endpoint = now[c.members[i].endpoint]
		}
	}
}

// add notes that an endpoint has addresses of the class.
func (c *class) add(endpoint int, family uint8) {
	if n := len(c.members); n == 0 || c.members[n-1].endpoint != endpoint {
		c.members = append(c.members, member{endpoint: endpoint})
	}
	c.members[len(c.members)-1].families |= family
}
