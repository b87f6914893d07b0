package lab

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"dove.network/blueprint"
	"dove.network/dove"
)

// routesOf says how a guest's owner would write down what is beyond its network,
// from the tenant's blueprints and the networks made by hand: by the routers on it to the networks that they
// join, and by the first of them to all else. Joined are those networks.
func routesOf(g *Guest, blueprints map[string]*blueprint.Blueprint, networks map[dove.Network][]netip.Prefix) (routes map[netip.Prefix]netip.Addr, joined []string) {
	subnets := map[string][]netip.Prefix{}
	for name, made := range networks {
		if name.Tenant == g.Endpoint.Tenant {
			subnets[name.Name] = made
		}
	}
	for _, b := range blueprints {
		for _, n := range b.Networks {
			subnets[n.Name] = n.Subnets
		}
	}
	var routers []blueprint.Router
	for _, name := range slices.Sorted(maps.Keys(blueprints)) {
		routers = append(routers, blueprints[name].Routers...)
	}
	routes = map[netip.Prefix]netip.Addr{}
	for _, r := range routers {
		near, on := r.On(g.Network)
		if !on {
			continue
		}
		beyond := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		for _, n := range r.Networks() {
			if n != g.Network {
				joined = append(joined, n)
				beyond = append(beyond, subnets[n]...)
			}
		}
		for i, via := range near.Gateways(g.Subnets) {
			if !slices.ContainsFunc(g.Addrs, g.Subnets[i].Contains) {
				continue // it is on another subnet than the guest
			}
			for _, to := range beyond {
				if _, taken := routes[to]; !taken && to.Addr().Is4() == via.Is4() {
					routes[to] = via
				}
			}
		}
	}
	return routes, joined
}

// reroute brings the routes of a tenant's guests to what its blueprints say.
func (st *Stage) reroute(t dove.Tenant) error {
	for _, g := range st.Lab.guests {
		if g.Endpoint.Tenant == t {
			if err := st.route(g); err != nil {
				return err
			}
		}
	}
	return nil
}

func (st *Stage) route(g *Guest) error {
	routes, joined := routesOf(g, st.blueprints[g.Endpoint.Tenant], st.networks)
	g.Joined = joined
	var lines []string
	for to := range g.routes {
		if _, stays := routes[to]; stays {
			continue
		}
		if to.Bits() == 0 { // each address is on the link again, as without a router
			lines = append(lines, fmt.Sprintf("route replace %s dev eth0", to))
		} else {
			lines = append(lines, fmt.Sprintf("route del %s", to))
		}
	}
	for to, via := range routes {
		if g.routes[to] == via || !g.Addr(to.Addr().Is6()).IsValid() {
			continue
		}
		lines = append(lines, fmt.Sprintf("route replace %s via %s dev eth0", to, via))
	}
	g.routes = routes
	if len(lines) == 0 {
		return nil
	}
	slices.Sort(lines)
	return g.ns.IP(lines...)
}
