package worlds

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/oracle"
)

// World is the intent of one domain and the group sets of some endpoints.
type World struct {
	// Blueprints are in the order in which they can be applied: each names
	// groups of its own and of earlier ones only. The first one makes the only
	// network, Network.
	Blueprints []*blueprint.Blueprint
	// Members are endpoints; the first names no group.
	Members []Member
	// Edge is the moment up to which policies have ended.
	Edge time.Time
}

// Member is what policy sees of an endpoint, but for its addresses.
type Member struct {
	Groups []dove.Group
	Labels map[string]string
	Ports  map[string]dove.Port
	Open   bool // port security is off
}

// End returns the member as the oracle asks about it, at one of its addresses.
func (m Member) End(a netip.Addr) oracle.End {
	return oracle.End{Addr: a, Groups: m.Groups, Labels: m.Labels, Ports: m.Ports, Open: m.Open}
}

// Domain and Network are the names of every world's domain and network.
const (
	Domain  = "world"
	Network = "net"
)

// Subnets of the network, wide enough for any test.
var (
	Subnet4 = netip.MustParsePrefix("10.0.0.0/16")
	Subnet6 = netip.MustParsePrefix("fd00:0:0:1::/64")
)

// Random draws a world of a tenant, of groups, members and policies alone.
func Random(r *rand.Rand, tenant dove.Tenant) *World {
	w := &World{}
	var groups []dove.Group
	for i := range 1 + r.IntN(3) {
		b := &blueprint.Blueprint{Tenant: tenant, Name: []string{"shop", "base", "tools"}[i], Domain: Domain}
		if i == 0 {
			b.Networks = []blueprint.Network{{Name: Network, Subnets: []netip.Prefix{Subnet4, Subnet6}}}
		}
		for _, name := range some(r, []string{"app", "cache", "db", "ops", "web"}, 1+r.IntN(4)) {
			g := blueprint.Group{Name: name, Isolated: r.IntN(3) == 0}
			if r.IntN(4) > 0 {
				g.Network = Network
			}
			b.Groups = append(b.Groups, g)
			groups = append(groups, b.GroupOf(name))
		}
		for _, name := range some(r, []string{"a", "b", "c", "d", "e", "f", "web", "z"}, r.IntN(7)) {
			b.Policies = append(b.Policies, randomPolicy(r, name, groups))
		}
		w.Blueprints = append(w.Blueprints, b)
	}
	w.Members = append(w.Members, Member{})
	for range 3 + r.IntN(4) {
		w.Members = append(w.Members, Member{Groups: some(r, groups, 1+r.IntN(min(3, len(groups))))})
	}
	return w
}

func randomPolicy(r *rand.Rand, name string, groups []dove.Group) blueprint.Policy {
	p := blueprint.Policy{Name: name, From: ends(r, groups), To: ends(r, groups)}
	count := 1 + r.IntN(4)
	for _, t := range some(r, traffic(r), count) {
		// One policy may not both allow and deny the same entry.
		if r.IntN(4) == 0 {
			p.Deny = append(p.Deny, t)
		} else {
			p.Allow = append(p.Allow, t)
		}
	}
	slices.SortFunc(p.Allow, blueprint.Traffic.Compare)
	slices.SortFunc(p.Deny, blueprint.Traffic.Compare)
	return p
}

func ends(r *rand.Rand, groups []dove.Group) []dove.Group {
	list := some(r, groups, 1+r.IntN(min(3, len(groups))))
	slices.SortFunc(list, dove.Group.Compare)
	return list
}

// edges are ports at which ranges begin and end; close enough together for
// ranges to touch, overlap and contain each other.
var edges = []uint16{1, 2, 22, 79, 80, 81, 443, 8080, 65534, 65535}

// traffic draws different entries for one policy to choose from.
func traffic(r *rand.Rand) []blueprint.Traffic {
	all := func(p dove.Protocol) blueprint.Traffic { return blueprint.Traffic{Protocol: p, First: 0, Last: 65535} }
	list := []blueprint.Traffic{
		all(dove.ProtocolAny), all(dove.ProtocolTCP), all(dove.ProtocolUDP), all(dove.ProtocolICMP),
		all(dove.ProtocolICMPv6), all(47), all(255),
	}
	for range 8 {
		p := []dove.Protocol{dove.ProtocolTCP, dove.ProtocolTCP, dove.ProtocolUDP, dove.ProtocolSCTP}[r.IntN(4)]
		a, b := edges[r.IntN(len(edges))], edges[r.IntN(len(edges))]
		list = append(list, blueprint.Traffic{Protocol: p, First: min(a, b), Last: max(a, b)})
	}
	for _, echo := range []blueprint.Traffic{{Protocol: dove.ProtocolICMP, First: 8 << 8}, {Protocol: dove.ProtocolICMPv6, First: 128 << 8}} {
		echo.Last = echo.First // one code
		if r.IntN(2) == 0 {
			echo.Last |= 255 // or all of them
		}
		list = append(list, echo)
	}
	slices.SortFunc(list, blueprint.Traffic.Compare)
	return slices.Compact(list)
}

// some draws n different elements, or all, and keeps their order.
func some[T any](r *rand.Rand, list []T, n int) []T {
	chosen := r.Perm(len(list))[:min(n, len(list))]
	slices.Sort(chosen)
	out := make([]T, len(chosen))
	for i, at := range chosen {
		out[i] = list[at]
	}
	return out
}

// Probe is what the first packet of a flow asks for: a protocol, and a port
// (ICMP and ICMPv6: type<<8|code; protocols without ports: 0).
type Probe struct {
	Protocol dove.Protocol
	Port     uint16
}

// Probes returns, in order, what the blueprints can tell apart: the edges of
// each range and the ports beside them, the ports that have names here, and a
// protocol that no blueprint names.
func Probes(blueprints []*blueprint.Blueprint) []Probe {
	list := []Probe{{Protocol: 254}}
	for _, p := range []dove.Protocol{dove.ProtocolTCP, dove.ProtocolUDP, dove.ProtocolICMP, dove.ProtocolICMPv6} {
		list = append(list, Probe{p, 0}, Probe{p, 65535})
	}
	for _, b := range blueprints {
		for _, p := range b.Policies {
			for _, t := range slices.Concat(p.Allow, p.Deny, p.Pass) {
				switch {
				case t.Port != "":
					for _, port := range namedPorts {
						list = append(list, Probe{t.Protocol, port})
					}
				case t.Protocol == dove.ProtocolAny:
				case !t.Protocol.HasPorts() && !t.Protocol.IsICMP():
					list = append(list, Probe{t.Protocol, 0})
				default:
					for _, port := range []uint16{t.First, t.Last} {
						list = append(list, Probe{t.Protocol, max(port, 1) - 1}, Probe{t.Protocol, port}, Probe{t.Protocol, min(port, 65534) + 1})
					}
				}
			}
		}
	}
	slices.SortFunc(list, func(a, b Probe) int {
		if a.Protocol != b.Protocol {
			return int(a.Protocol) - int(b.Protocol)
		}
		return int(a.Port) - int(b.Port)
	})
	return slices.Compact(list)
}

// String writes the world for whoever must understand a failure: its documents
// and its endpoints.
func (w *World) String() string {
	var b strings.Builder
	for _, bp := range w.Blueprints {
		fmt.Fprintf(&b, "%s---\n", blueprint.Format(bp))
	}
	for i, m := range w.Members {
		fmt.Fprintf(&b, "endpoint %d in %v, labels %v, ports %v, open %t\n", i, m.Groups, m.Labels, m.Ports, m.Open)
	}
	fmt.Fprintf(&b, "edge %s\n", w.Edge)
	return b.String()
}
