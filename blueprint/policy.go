package blueprint

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"dove.network/dove"
)

// ends reads from or to: one group or a list of them.
func (p *parser) ends(policy node, keys map[string]node, key string, where item) []dove.Group {
	n, given := keys[key]
	if !given {
		p.add(dove.Invalid, policy.place(), "a policy has no "+key, "write "+key+": and one group or a list")
		return nil
	}
	var groups []dove.Group
	seen := map[dove.Group]bool{}
	for _, e := range p.oneOrMore(n, key, key+": web or "+key+": [web, other/app]") {
		s, ok := p.text(e, "a group")
		if !ok {
			continue
		}
		g, ok := p.reference(e, s)
		if !ok {
			continue
		}
		if seen[g] {
			p.add(dove.Invalid, e.place(), fmt.Sprintf("group %s is named twice in %s", quote(s), key), "leave one out")
			continue
		}
		seen[g] = true
		groups = append(groups, g)
		where.ref = g
		if _, taken := p.b.places[where]; !taken { // the policy's name may be taken
			p.b.places[where] = e.place()
		}
	}
	return groups
}

// reference reads "web", a group of this blueprint, or "other/web".
func (p *parser) reference(n node, s string) (dove.Group, bool) {
	if p.outside[s] {
		p.add(dove.Unsupported, n.place(), fmt.Sprintf("%s is outside: this version enforces policy between groups only", quote(s)), "name a group")
		return dove.Group{}, false
	}
	if isAddress(s) {
		p.add(dove.Unsupported, n.place(), fmt.Sprintf("%s is an address: this version enforces policy between groups only", quote(s)), "name a group")
		return dove.Group{}, false
	}
	blueprint, name, crosses := strings.Cut(s, "/")
	if !crosses {
		blueprint, name = p.b.Name, s
	} else if err := dove.CheckName(blueprint); err != nil {
		p.add(dove.Invalid, n.place(), fmt.Sprintf("blueprint of group %s: %v", quote(s), err), "write web, or other/web for a group of another blueprint")
		return dove.Group{}, false
	}
	if err := dove.CheckName(name); err != nil {
		p.add(dove.Invalid, n.place(), fmt.Sprintf("group %s: %v", quote(s), err), "write web, or other/web for a group of another blueprint")
		return dove.Group{}, false
	}
	if blueprint == p.b.Name && p.groups != nil && !p.groups[name] {
		p.add(dove.Invalid, n.place(), fmt.Sprintf("unknown group %q", name), p.nearest(name, maps.Keys(p.groups)))
		return dove.Group{}, false
	}
	return dove.Group{Tenant: p.b.Tenant, Blueprint: blueprint, Name: name}, true
}

func isAddress(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	_, err := netip.ParsePrefix(s)
	return err == nil
}

// readTraffic reads allow and deny, of which a policy needs at least one.
func (p *parser) readTraffic(at node, keys map[string]node, policy *Policy) {
	allow, allows := keys["allow"]
	deny, denies := keys["deny"]
	if !allows && !denies {
		p.add(dove.Invalid, at.place(), "a policy neither allows nor denies anything", "write allow: [tcp/443] or deny: [any]")
	}
	lines := map[Traffic]int{}
	if allows {
		policy.Allow = p.traffic(allow, "allow", lines, nil)
	}
	if denies {
		policy.Deny = p.traffic(deny, "deny", map[Traffic]int{}, lines)
	}
}

// traffic reads one list. lines receives the line of each entry; opposite has
// those of the other list, which may not say the same.
func (p *parser) traffic(n node, key string, lines, opposite map[Traffic]int) []Traffic {
	var list []Traffic
	for _, e := range p.oneOrMore(n, key, key+": [tcp/443, udp/53, icmp]") {
		s, ok := p.text(e, "an entry of "+key)
		if !ok {
			continue
		}
		some, fault := parseTraffic(s)
		if fault != nil {
			p.add(fault.kind, e.place(), fault.message, fault.hint)
			continue
		}
		for _, t := range some {
			if line, twice := lines[t]; twice {
				p.add(dove.Invalid, e.place(), fmt.Sprintf("%s is in %s twice", t, key), fmt.Sprintf("line %d says it already", line))
				continue
			}
			lines[t] = e.Line
			if line, both := opposite[t]; both {
				p.add(dove.Invalid, e.place(), fmt.Sprintf("%s is both allowed and denied by one policy", t), fmt.Sprintf("line %d allows it; deny would win, so leave one out", line))
				continue
			}
			list = append(list, t)
		}
	}
	return list
}

// apart finds two groups that the policy joins although their default networks
// differ and no router joins those. A group without a default network is
// nowhere, and near to every other.
func apart(p Policy, networks map[dove.Group]string, joined func(a, b string) bool) (from, to dove.Group, ok bool) {
	first := func(groups []dove.Group) []dove.Group { // of each network, in order
		var list []dove.Group
		seen := map[string]bool{"": true}
		for _, g := range groups {
			if n := networks[g]; !seen[n] {
				seen[n] = true
				list = append(list, g)
			}
		}
		return list
	}
	targets := first(p.To)
	for _, f := range first(p.From) {
		for _, t := range targets {
			if networks[f] != networks[t] && !joined(networks[f], networks[t]) {
				return f, t, true
			}
		}
	}
	return dove.Group{}, dove.Group{}, false
}

// routedHint says what to do about two groups that no router joins.
const routedHint = "join the networks with a router, or put both groups on one"

// routed says why two groups cannot be joined, in the words of a blueprint.
func routed(blueprint string, f, t dove.Group, networks map[dove.Group]string) string {
	return fmt.Sprintf("joining %s on network %q and %s on network %q needs a router, and none joins them",
		relative(blueprint, f), networks[f], relative(blueprint, t), networks[t])
}

// relative names a group as a tenant writes it in the given blueprint.
func relative(blueprint string, g dove.Group) string {
	if g.Blueprint == blueprint {
		return g.Name
	}
	return g.Blueprint + "/" + g.Name
}
