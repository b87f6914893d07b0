package blueprint

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// NetworkRoutersMax is how many routers may join one network.
const NetworkRoutersMax = 16

// fabric is the networks and routers of one domain, together.
type fabric struct {
	networks map[string][]netip.Prefix // subnets by name
	routers  []Router                  // in order of name
	on       map[string][]Router       // those that join a network
}

// objection is what two parts of a fabric cannot both say. It is told where
// one of them is written.
type objection struct {
	routers, networks []string
	message, hint     string
}

func newFabric(networks map[string][]netip.Prefix, routers []Router) *fabric {
	f := &fabric{networks, slices.SortedFunc(slices.Values(routers), compareRouters), map[string][]Router{}}
	for _, r := range f.routers {
		for _, name := range r.Networks() {
			f.on[name] = append(f.on[name], r)
		}
	}
	return f
}

// joined reports whether a router is on both networks.
func (f *fabric) joined(a, b string) bool {
	return slices.ContainsFunc(f.on[a], func(r Router) bool { _, ok := r.On(b); return ok })
}

// objections returns what does not fit, at most MaxFaults and one more. Networks
// that do not exist are not its concern.
func (f *fabric) objections() []objection {
	var all []objection
	for _, r := range f.routers {
		all = append(all, f.ofRouter(r)...)
	}
	told := map[[2]string]bool{} // two networks or routers, once each
	for _, name := range slices.Sorted(maps.Keys(f.on)) {
		if len(all) > MaxFaults {
			break
		}
		if _, exists := f.networks[name]; exists {
			all = append(all, f.around(name, told)...)
		}
	}
	return all[:min(len(all), MaxFaults+1)]
}

// ofRouter checks the addresses and next hops of one router.
func (f *fabric) ofRouter(r Router) []objection {
	var all []objection
	object := func(network, hint, format string, args ...any) {
		all = append(all, objection{[]string{r.Name}, []string{network}, fmt.Sprintf(format, args...), hint})
	}
	complete := true
	for _, i := range r.Interfaces {
		subnets, exists := f.networks[i.Network]
		if !exists {
			complete = false
			continue
		}
		taken := map[netip.Prefix]netip.Addr{}
		for _, a := range i.Addresses {
			at := slices.IndexFunc(subnets, func(s netip.Prefix) bool { return s.Contains(a) })
			if at < 0 {
				object(i.Network, "", "address %s of router %q is in no subnet of network %q", a, r.Name, i.Network)
				continue
			}
			s := subnets[at]
			if a == s.Addr() || a.Is4() && a == LastOf(s) {
				object(i.Network, "", "address %s of router %q is the first or last of subnet %s, which nobody can have", a, r.Name, s)
			}
			if other, twice := taken[s]; twice {
				object(i.Network, "a router has one address in a subnet", "addresses %s and %s of router %q are both in subnet %s", other, a, r.Name, s)
			}
			taken[s] = a
		}
	}
	for _, t := range r.Routes {
		for _, via := range t.Via {
			switch network, own, found := f.hop(r, via); {
			case own:
				object(network, "name an endpoint's address", "next hop %s of router %q is its own address", via, r.Name)
			case !found && complete:
				object("", "a next hop is an endpoint on one of them", "next hop %s of router %q is in no subnet of its networks", via, r.Name)
			}
		}
	}
	return all
}

// hop finds the network of a router that a next hop is on.
func (f *fabric) hop(r Router, via netip.Addr) (network string, own, found bool) {
	for _, i := range r.Interfaces {
		subnets := f.networks[i.Network]
		if slices.ContainsFunc(subnets, func(s netip.Prefix) bool { return s.Contains(via) }) {
			return i.Network, slices.Contains(i.Gateways(subnets), via), true
		}
	}
	return "", false, false
}

// around checks what can be reached from one network: every address there must
// be one thing.
func (f *fabric) around(name string, told map[[2]string]bool) []objection {
	var all []objection
	once := func(kind, a, b string) bool {
		key := [2]string{kind + min(a, b), max(a, b)}
		first := !told[key]
		told[key] = true
		return first
	}
	routers := f.on[name]
	if len(routers) > NetworkRoutersMax {
		return []objection{{[]string{routers[0].Name}, []string{name}, fmt.Sprintf("network %q is on %d routers: %d are the most", name, len(routers), NetworkRoutersMax), "take it out of some"}}
	}
	type reached struct {
		subnet          netip.Prefix
		network, router string
	}
	var list []reached
	for _, s := range f.networks[name] {
		list = append(list, reached{s, name, ""})
	}
	over := map[string]string{name: ""}   // the router by which a network is reached
	gateways := map[netip.Addr]string{}   // the router that has an address here
	prefixes := map[netip.Prefix]string{} // the router that has a route to a prefix
	type routed struct {
		to     netip.Prefix
		router string
	}
	var routes []routed
	for _, r := range routers {
		i, _ := r.On(name)
		for _, a := range i.Gateways(f.networks[name]) {
			if other, taken := gateways[a]; taken {
				all = append(all, objection{[]string{r.Name, other}, []string{name},
					fmt.Sprintf("routers %q and %q both have address %s on network %q", other, r.Name, a, name), "give one of them another with addresses"})
			}
			gateways[a] = r.Name
		}
		for _, m := range r.Networks() {
			if m == name {
				continue
			}
			if other, twice := over[m]; twice {
				if once("routers ", other, r.Name) {
					all = append(all, objection{[]string{r.Name, other}, []string{name, m},
						fmt.Sprintf("routers %q and %q both join networks %q and %q", other, r.Name, min(name, m), max(name, m)), "one router joins two networks: take one of them out of one router"})
				}
				continue
			}
			over[m] = r.Name
			for _, s := range f.networks[m] {
				list = append(list, reached{s, m, r.Name})
			}
		}
		for _, t := range r.Routes {
			if other, twice := prefixes[t.To]; twice {
				all = append(all, objection{[]string{r.Name, other}, []string{name},
					fmt.Sprintf("routers %q and %q both have a route to %s, and both are on network %q", other, r.Name, t.To, name), "leave one out, or choose prefixes of other lengths"})
				continue
			}
			prefixes[t.To] = r.Name
			routes = append(routes, routed{t.To, r.Name})
		}
	}
	slices.SortStableFunc(list, func(a, b reached) int { return compareSubnets(a.subnet, b.subnet) })
	var wide reached
	for _, at := range list {
		if wide.subnet.IsValid() && at.subnet.Overlaps(wide.subnet) {
			if wide.network != at.network && once("networks ", wide.network, at.network) {
				names := slices.DeleteFunc([]string{wide.router, at.router}, func(s string) bool { return s == "" })
				slices.Sort(names)
				names = slices.Compact(names)
				all = append(all, objection{names, []string{at.network, wide.network},
					fmt.Sprintf("networks %q (%s) and %q (%s) overlap, and both are reached from network %q by %s", wide.network, wide.subnet, at.network, at.subnet, name, routersWord(names)),
					"what can be reached from one network must not overlap"})
			}
			continue
		}
		wide = at
	}
	for _, t := range routes {
		// Of subnets that do not overlap the last that begins no later is the one that may hold the prefix.
		i, found := slices.BinarySearchFunc(list, t.to, func(r reached, to netip.Prefix) int { return compareSubnets(r.subnet, to) })
		if !found {
			i--
		}
		if i >= 0 && list[i].subnet.Bits() <= t.to.Bits() && list[i].subnet.Contains(t.to.Addr()) && once("route ", t.router, t.to.String()) {
			all = append(all, objection{[]string{t.router}, []string{list[i].network},
				fmt.Sprintf("the route of router %q to %s would never be taken: network %q has subnet %s", t.router, t.to, list[i].network, list[i].subnet), "leave it out"})
		}
	}
	return all
}

func routersWord(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	if len(names) == 1 {
		return "router " + quoted[0]
	}
	return "routers " + strings.Join(quoted, " and ")
}

// LastOf returns the last address of a prefix.
func LastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}
