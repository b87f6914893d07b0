package worlds

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
)

// Addrs are addresses that prefixes of rich worlds tell apart: both sides of
// their edges, within Subnet4 and Subnet6 and beyond them.
var Addrs = addrs("10.0.0.3", "10.0.0.4", "10.0.0.7", "10.0.0.8", "10.0.1.9", "10.1.0.1", "203.0.113.7", "fd00:0:0:1::3", "fd00:0:0:1::4", "fd00:0:0:1::9", "2001:db8::1")

func addrs(list ...string) []netip.Addr {
	var all []netip.Addr
	for _, s := range list {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

// prefixes nest, touch and stand apart.
var prefixes = []string{
	"0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/24", "10.0.0.0/29", "10.0.0.4/30", "10.0.0.7/32", "10.0.1.0/24", "203.0.113.0/24",
	"::/0", "fd00:0:0:1::/64", "fd00:0:0:1::4/126", "2001:db8::/32",
}

// start is when the time of rich worlds begins; policies end some hours later.
var start = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

// hours are those after which policies of rich worlds end.
var hours = []int{1, 2, 3}

// Edges are moments that rich worlds tell apart: when a policy ends, and before
// and after that.
var Edges = []time.Time{start, start.Add(time.Hour), start.Add(2*time.Hour - time.Second), start.Add(2 * time.Hour), start.Add(4 * time.Hour)}

// namedPorts are those that names of ports stand for.
var namedPorts = []uint16{80, 81, 443}

var (
	labelKeys   = []string{"app", "tier", "zone"}
	labelValues = []string{"a", "b", ""}
)

// Rich draws a world of a tenant with all that the language has: outsides,
// groups by label, tiers, defaults, sides, named ports, stateless groups,
// policies that end, log and shadow. Some worlds have little of it, so that
// what they show is not covered by something else.
func Rich(r *rand.Rand, tenant dove.Tenant) *World {
	w := Random(r, tenant)
	w.Edge = Edges[r.IntN(len(Edges))]
	has := func() bool { return r.IntN(2) == 0 }
	outside, selects, tiers, defaults, sides, ports, stateless, ends, log, shadow, families := has(), has(), has(), has(), has(), has(), has(), has(), has(), has(), has()
	if tiers {
		for _, t := range []blueprint.Tier{blueprint.Provider, blueprint.Baseline} {
			b := &blueprint.Blueprint{Tenant: tenant, Name: t.String(), Domain: Domain, Tier: t}
			var groups []dove.Group
			for _, o := range w.Blueprints {
				for _, g := range o.Groups {
					groups = append(groups, o.GroupOf(g.Name))
				}
			}
			for _, name := range some(r, []string{"a", "b", "c", "d", "e"}, r.IntN(6)) {
				p := randomPolicy(r, name, groups)
				p.Priority = uint32(r.IntN(3))
				if t == blueprint.Provider && has() {
					p.Pass, p.Allow = p.Allow, nil
				}
				b.Policies = append(b.Policies, p)
			}
			w.Blueprints = append(w.Blueprints, b)
		}
	}
	for _, b := range w.Blueprints {
		if outside {
			for _, name := range some(r, []string{"in", "out", "world"}, 1+r.IntN(3)) {
				b.Outside = append(b.Outside, randomOutside(r, name))
			}
		}
		for i := range b.Groups {
			g := &b.Groups[i]
			if selects && has() {
				g.Selector = randomSelector(r)
			}
			if defaults && r.IntN(3) == 0 {
				g.Egress, g.Ingress = blueprint.Default(r.IntN(3)), blueprint.Default(r.IntN(3))
			}
			g.Stateless = stateless && r.IntN(4) == 0
		}
		for i := range b.Policies {
			p := &b.Policies[i]
			if outside && has() {
				p.From = instead(r, p.From, b)
			}
			if outside && has() {
				p.To = instead(r, p.To, b)
			}
			if sides {
				p.Side = blueprint.Side(r.IntN(3))
			}
			if families && r.IntN(3) == 0 {
				p.Family = blueprint.Family(1 + r.IntN(2))
			}
			if ports {
				for _, list := range [][]blueprint.Traffic{p.Allow, p.Deny, p.Pass} {
					name(r, list)
				}
				p.Deny = slices.DeleteFunc(p.Deny, func(t blueprint.Traffic) bool { return slices.Contains(p.Allow, t) || slices.Contains(p.Pass, t) })
				for _, list := range []*[]blueprint.Traffic{&p.Allow, &p.Deny, &p.Pass} {
					slices.SortFunc(*list, blueprint.Traffic.Compare)
					*list = slices.Compact(*list)
				}
			}
			if ends && has() {
				p.Until = start.Add(time.Duration(hours[r.IntN(len(hours))]) * time.Hour)
			}
			p.Log = log && has()
			p.Shadow = shadow && r.IntN(3) == 0
		}
		b.Policies = slices.DeleteFunc(b.Policies, func(p blueprint.Policy) bool { return len(p.Allow)+len(p.Deny)+len(p.Pass) == 0 })
	}
	for i := range w.Members {
		m := &w.Members[i]
		m.Open = r.IntN(12) == 0
		m.Labels, m.Ports = map[string]string{}, map[string]dove.Port{}
		for _, key := range some(r, labelKeys, r.IntN(3)) {
			m.Labels[key] = labelValues[r.IntN(len(labelValues))]
		}
		for _, name := range some(r, []string{"http", "dns"}, r.IntN(3)) {
			m.Ports[name] = dove.Port{Protocol: []dove.Protocol{dove.ProtocolTCP, dove.ProtocolUDP}[r.IntN(2)], Number: namedPorts[r.IntN(len(namedPorts))]}
		}
	}
	return w
}

func randomOutside(r *rand.Rand, name string) blueprint.Outside {
	o := blueprint.Outside{Name: name}
	for _, s := range some(r, prefixes, 1+r.IntN(3)) {
		o.Prefixes = append(o.Prefixes, netip.MustParsePrefix(s))
	}
	for _, s := range some(r, prefixes, r.IntN(3)) {
		p := netip.MustParsePrefix(s)
		if slices.ContainsFunc(o.Prefixes, func(a netip.Prefix) bool { return a.Bits() < p.Bits() && a.Contains(p.Addr()) }) {
			o.Except = append(o.Except, p)
		}
	}
	order := func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	}
	slices.SortFunc(o.Prefixes, order)
	slices.SortFunc(o.Except, order)
	return o
}

func randomSelector(r *rand.Rand) *blueprint.Selector {
	s := &blueprint.Selector{}
	for _, key := range some(r, labelKeys, r.IntN(3)) {
		q := blueprint.Requirement{Key: key, Operator: blueprint.Operator(r.IntN(4))}
		if q.Operator == blueprint.In || q.Operator == blueprint.NotIn {
			q.Values = some(r, []string{"", "a", "b"}, 1+r.IntN(2))
		}
		s.Requirements = append(s.Requirements, q)
	}
	return s
}

// instead adds outsides of a blueprint, or any, to the ends of a policy, or puts
// them in their place.
func instead(r *rand.Rand, ends []dove.Group, b *blueprint.Blueprint) []dove.Group {
	var names []dove.Group
	for _, o := range some(r, b.Outside, 1+r.IntN(2)) {
		names = append(names, b.GroupOf(o.Name))
	}
	if r.IntN(4) == 0 {
		names = []dove.Group{blueprint.Any}
	}
	if r.IntN(2) == 0 {
		names = append(names, ends...)
	}
	slices.SortFunc(names, dove.Group.Compare)
	return slices.Compact(names)
}

// name puts names in the place of some ports.
func name(r *rand.Rand, list []blueprint.Traffic) {
	for i, t := range list {
		if t.Protocol.HasPorts() && r.IntN(2) == 0 {
			list[i] = blueprint.Traffic{Protocol: t.Protocol, Port: []string{"http", "dns"}[r.IntN(2)]}
		}
	}
}

// Settle takes from a world what cannot be applied: policies of one priority that
// disagree. Members have port security, which is given with the endpoint and not by
// a blueprint.
func (w *World) Settle() {
	for _, b := range w.Blueprints {
		for i := range b.Policies {
			if b.Tier != blueprint.Tenant {
				b.Policies[i].Priority = uint32(i)
			}
		}
	}
	for i := range w.Members {
		w.Members[i].Open = false
	}
}
