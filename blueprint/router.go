package blueprint

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dove.network/dove"
)

// Limits of one router.
const (
	InterfacesMax = 64
	RoutesMax     = 256
	ViaMax        = 8 // next hops of one route
)

// Router joins networks of one domain. Interfaces are sorted by network,
// routes by prefix; a Router without routes joins and no more.
type Router struct {
	Name       string
	Interfaces []Interface
	Routes     []Route
}

// Interface is a router's on a network. Addresses are those that were given;
// in each subnet that none of them is in, it has the subnet's first (Gateway).
type Interface struct {
	Network   string
	Addresses []netip.Addr
}

// Route leads a prefix that no network has to endpoints of the router's
// networks, by their addresses. A flow takes one of several.
type Route struct {
	To  netip.Prefix
	Via []netip.Addr
}

// Networks lists the names of the networks that the router joins.
func (r Router) Networks() []string {
	names := make([]string, len(r.Interfaces))
	for i, f := range r.Interfaces {
		names[i] = f.Network
	}
	return names
}

// On returns the router's interface on a network, by name.
func (r Router) On(network string) (Interface, bool) {
	i, found := slices.BinarySearchFunc(r.Interfaces, network, func(f Interface, n string) int { return strings.Compare(f.Network, n) })
	if !found {
		return Interface{}, false
	}
	return r.Interfaces[i], true
}

// Gateways returns the addresses of the interface in the network's subnets, one
// in each, in the order of the subnets.
func (f Interface) Gateways(subnets []netip.Prefix) []netip.Addr {
	all := make([]netip.Addr, len(subnets))
	for i, s := range subnets {
		all[i] = Gateway(s)
		if at := slices.IndexFunc(f.Addresses, s.Contains); at >= 0 {
			all[i] = f.Addresses[at]
		}
	}
	return all
}

// Gateway returns the first address of a subnet after the one that names it.
func Gateway(subnet netip.Prefix) netip.Addr { return subnet.Addr().Next() }

// Equal reports whether two routers say the same.
func (r Router) Equal(o Router) bool {
	return r.Name == o.Name &&
		slices.EqualFunc(r.Interfaces, o.Interfaces, func(x, y Interface) bool {
			return x.Network == y.Network && slices.Equal(x.Addresses, y.Addresses)
		}) &&
		slices.EqualFunc(r.Routes, o.Routes, func(x, y Route) bool { return x.To == y.To && slices.Equal(x.Via, y.Via) })
}

// order puts a router into canonical order.
func (r Router) order() {
	slices.SortFunc(r.Interfaces, func(x, y Interface) int { return strings.Compare(x.Network, y.Network) })
	slices.SortFunc(r.Routes, func(x, y Route) int { return compareSubnets(x.To, y.To) })
	for _, f := range r.Interfaces {
		slices.SortFunc(f.Addresses, netip.Addr.Compare)
	}
	for _, t := range r.Routes {
		slices.SortFunc(t.Via, netip.Addr.Compare)
	}
}

// body prints what a router says.
func (r Router) body() string {
	networks := make([]string, len(r.Interfaces))
	var given, routes []string
	for i, f := range r.Interfaces {
		networks[i] = word(f.Network)
		if len(f.Addresses) > 0 {
			given = append(given, word(f.Network)+": "+addressList(f.Addresses))
		}
	}
	for _, t := range r.Routes {
		routes = append(routes, "{to: "+word(t.To.String())+", via: "+addressList(t.Via)+"}")
	}
	fields := []string{"networks: [" + strings.Join(networks, ", ") + "]"}
	if len(given) > 0 {
		fields = append(fields, "addresses: {"+strings.Join(given, ", ")+"}")
	}
	if len(routes) > 0 {
		fields = append(fields, "routes: ["+strings.Join(routes, ", ")+"]")
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

func addressList(all []netip.Addr) string {
	words := make([]string, len(all))
	for i, a := range all {
		words[i] = word(a.String())
	}
	return "[" + strings.Join(words, ", ") + "]"
}

var (
	routerShape = shape{
		what:        "a router",
		known:       []string{"networks", "addresses", "routes"},
		unsupported: []string{"labels", "outside", "nat", "bgp"},
		example:     "core: {networks: [front, back]}",
	}
	routeShape = shape{
		what:    "a route",
		known:   []string{"to", "via"},
		example: "- {to: 10.9.0.0/16, via: [10.0.1.7]}",
	}
)

func (p *parser) readRouters(n node) {
	if n.Node == nil {
		return
	}
	p.b.places[item{kind: itemRouters}] = n.place()
	all, _ := p.mapping(n, "routers", routerShape.example)
	for _, e := range all {
		p.name(e.key, "router")
		router := Router{Name: e.name}
		keys, ok := p.fields(e.value, routerShape)
		if list, given := keys["networks"]; given {
			p.interfaces(list, &router)
		} else if ok {
			p.add(dove.Invalid, e.key.place(), fmt.Sprintf("router %s joins no networks", quote(e.name)), "write "+routerShape.example)
		}
		if v, given := keys["addresses"]; given {
			p.interfaceAddresses(v, &router)
		}
		if v, given := keys["routes"]; given {
			p.routes(v, &router)
		}
		p.b.Routers = append(p.b.Routers, router)
		p.b.places[item{kind: itemRouter, name: e.name}] = e.key.place()
	}
}

func (p *parser) interfaces(n node, r *Router) {
	list := p.oneOrMore(n, "networks", "networks: [front, back]")
	if len(list) > InterfacesMax {
		p.add(dove.Invalid, n.place(), fmt.Sprintf("a router on %d networks: %d are the most", len(list), InterfacesMax), "use several routers")
		return
	}
	for _, e := range list {
		name, ok := p.name(e, "network")
		if !ok {
			continue
		}
		if slices.Contains(r.Networks(), name) {
			p.add(dove.Invalid, e.place(), fmt.Sprintf("network %q is named twice", name), "leave one out")
			continue
		}
		r.Interfaces = append(r.Interfaces, Interface{Network: name})
		p.b.places[item{kind: itemRouterNetwork, name: r.Name, ref: dove.Group{Name: name}}] = e.place()
	}
}

func (p *parser) interfaceAddresses(n node, r *Router) {
	all, _ := p.mapping(n, "addresses", "addresses: {front: [10.0.1.254]}")
	for _, e := range all {
		i := slices.IndexFunc(r.Interfaces, func(f Interface) bool { return f.Network == e.name })
		if i < 0 {
			p.add(dove.Invalid, e.key.place(), fmt.Sprintf("addresses on network %s, which the router does not join", quote(e.name)), "name it under networks")
			continue
		}
		if a, ok := p.addresses(e.value, "addresses"); ok {
			r.Interfaces[i].Addresses = a
		}
	}
}

// addresses reads a list of addresses, each once.
func (p *parser) addresses(n node, what string) (all []netip.Addr, ok bool) {
	sound := true
	for _, e := range p.oneOrMore(n, what, what+": [10.0.1.254]") {
		s, ok := p.text(e, "an address")
		if !ok {
			sound = false
			continue
		}
		a, err := netip.ParseAddr(s)
		switch {
		case err != nil || a.Zone() != "" || a.Is4In6():
			p.add(dove.Invalid, e.place(), quote(s)+" is no address", "write 10.0.1.254 or fd00:0:0:1::fe")
			sound = false
		case slices.Contains(all, a):
			p.add(dove.Invalid, e.place(), fmt.Sprintf("address %s is given twice", a), "leave one out")
			sound = false
		default:
			all = append(all, a)
		}
	}
	return all, sound && len(all) > 0
}

func (p *parser) routes(n node, r *Router) {
	if n.isNull() {
		return
	}
	if n.Kind == 0 || n.sort() != "a list" {
		p.add(dove.Invalid, n.place(), "routes must be a list, not "+n.sort(), "write "+routeShape.example)
		return
	}
	list := items(n)
	if len(list) > RoutesMax {
		p.add(dove.Invalid, n.place(), fmt.Sprintf("%d routes: %d are the most of a router", len(list), RoutesMax), "use several routers")
		return
	}
	lines := map[netip.Prefix]int{}
	for _, e := range list {
		keys, ok := p.fields(e, routeShape)
		if !ok || e.isNull() {
			if ok {
				p.add(dove.Invalid, e.place(), "a route must be a mapping, not nothing", "write "+routeShape.example)
			}
			continue
		}
		route := Route{}
		sound := true
		for _, key := range routeShape.known {
			if _, given := keys[key]; !given {
				p.add(dove.Invalid, e.place(), "a route has no "+key, "write "+routeShape.example)
				sound = false
			}
		}
		if v, given := keys["to"]; given {
			route.To, ok = p.destination(v)
			sound = sound && ok
			if line, twice := lines[route.To]; ok && twice {
				p.add(dove.Invalid, v.place(), fmt.Sprintf("a second route to %s", route.To), fmt.Sprintf("line %d has one; list all next hops there", line))
			} else if ok {
				lines[route.To] = v.Line
			}
		}
		if v, given := keys["via"]; given {
			route.Via, ok = p.addresses(v, "via")
			sound = sound && ok
			if len(route.Via) > ViaMax {
				p.add(dove.Invalid, v.place(), fmt.Sprintf("%d next hops: %d are the most of a route", len(route.Via), ViaMax), "")
			}
			for _, a := range route.Via {
				if sound && a.Is4() != route.To.Addr().Is4() {
					p.add(dove.Invalid, v.place(), fmt.Sprintf("next hop %s is not of the family of %s", a, route.To), "")
				}
			}
		}
		if sound {
			r.Routes = append(r.Routes, route)
		}
	}
}

// destination reads the prefix of a route; 0.0.0.0/0 and ::/0 are all that
// nothing else leads to.
func (p *parser) destination(n node) (netip.Prefix, bool) {
	s, ok := p.text(n, "a prefix")
	if !ok {
		return netip.Prefix{}, false
	}
	to, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		p.add(dove.Invalid, n.place(), quote(s)+" is no prefix", "write an address, a slash and a length: 10.9.0.0/16 or 0.0.0.0/0")
		return to, false
	case to.Addr().Is4In6():
		p.add(dove.Invalid, n.place(), quote(s)+" is IPv4 in IPv6", "write 10.9.0.0/16 for IPv4")
		return to, false
	case to != to.Masked():
		p.add(dove.Invalid, n.place(), quote(s)+" has bits set beyond its length", "write "+to.Masked().String())
		return to, false
	}
	if special := Special(to); special != "" {
		p.add(dove.Invalid, n.place(), fmt.Sprintf("%s lies in %s", quote(s), special), "use addresses that workloads can have")
		return to, false
	}
	return to, true
}

func compareRouters(a, b Router) int { return cmp.Compare(a.Name, b.Name) }
