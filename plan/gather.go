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
	classes       []class // in order of key
	endpoints     []end   // in order of names
	at            map[address]int
	compared      int // pairs of classes

	signatures []policy.Signature
	keys       []string       // of signatures
	numbers    map[string]int // of signatures, by key
	turns      map[[4]int][]piece
	pieces     map[string]*relation
}

// address is one as seen on its network.
type address struct {
	network dove.Network
	addr    netip.Addr
}

// end is an endpoint with the hosts that it is bound to.
type end struct {
	name  dove.Endpoint
	hosts []dove.HostName
}

// class is addresses that are alike: their signatures before and after, by
// number, and their island.
type class struct {
	before, after int
	island        int
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
	if a == b {
		return true, true
	}
	n := d.islands[b].networks[0]
	return d.islands[a].before[n], d.islands[a].after[n]
}

// gather finds out which addresses of a domain are alike.
func gather(before, after *world.World, name dove.Domain) *domain {
	d := &domain{
		name: name, before: before.Domain(name), after: after.Domain(name), at: map[address]int{},
		numbers: map[string]int{}, turns: map[[4]int][]piece{}, pieces: map[string]*relation{},
	}
	found := map[string]*class{}
	places := map[string][]address{} // of a class
	for _, n := range networksOf(before, after, name) {
		on := d.island(before, after, n)
		for e := range before.EndpointsIn(n) {
			if _, stays := after.Network(n); !stays {
				continue
			}
			d.endpoints = append(d.endpoints, end{e.Full(), e.Bindings()})
			for _, a := range e.Addresses {
				_, was, _ := before.SignatureFor(e, a)
				_, is, _ := after.SignatureFor(e, a)
				c := class{before: d.number(was), after: d.number(is), island: on}
				c.key = strings.Join([]string{d.keys[c.before], d.keys[c.after], d.islands[on].networks[0].Name}, "\x00")
				it := found[c.key]
				if it == nil {
					it = &c
					found[c.key] = it
				}
				it.add(len(d.endpoints)-1, a)
				places[c.key] = append(places[c.key], address{n, a})
			}
		}
	}
	for _, c := range found {
		d.classes = append(d.classes, *c)
	}
	slices.SortFunc(d.classes, func(a, b class) int { return strings.Compare(a.key, b.key) })
	for i, c := range d.classes {
		for _, p := range places[c.key] {
			d.at[p] = i
		}
	}
	d.order()
	return d
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

// add notes an address of the class.
func (c *class) add(endpoint int, a netip.Addr) {
	if n := len(c.members); n == 0 || c.members[n-1].endpoint != endpoint {
		c.members = append(c.members, member{endpoint: endpoint})
	}
	family := uint8(family4)
	if a.Is6() {
		family = family6
	}
	c.members[len(c.members)-1].families |= family
}
