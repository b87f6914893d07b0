package blueprint

import (
	"fmt"
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
	// A group of the name may be in a text that is older than the word.
	if s == Any.Name && !p.groups[s] {
		return Any, true
	}
	if isAddress(s) {
		p.add(dove.Invalid, n.place(), fmt.Sprintf("%s is an address, and policies name things", quote(s)), "give it a name under outside, "+outsideShape.example)
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
	if blueprint == p.b.Name && p.groups != nil && p.outside != nil && !p.groups[name] && !p.outside[name] {
		known := func(yield func(string) bool) {
			for _, names := range []map[string]bool{p.groups, p.outside} {
				for name := range names {
					if !yield(name) {
						return
					}
				}
			}
		}
		p.add(dove.Invalid, n.place(), fmt.Sprintf("unknown group %q", name), p.nearest(name, known))
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

// readTraffic reads allow, deny and pass, of which a policy needs at least one.
func (p *parser) readTraffic(at node, keys map[string]node, policy *Policy) {
	allow, allows := keys["allow"]
	deny, denies := keys["deny"]
	pass, passes := keys["pass"]
	if !allows && !denies && !passes {
		p.add(dove.Invalid, at.place(), "a policy neither allows nor denies anything", "write allow: [tcp/443] or deny: [any]")
	}
	said := map[Traffic]claim{}
	if allows {
		policy.Allow = p.traffic(allow, "allow", said)
	}
	if denies {
		policy.Deny = p.traffic(deny, "deny", said)
	}
	if passes {
		policy.Pass = p.traffic(pass, "pass", said)
		if p.b.Tier != Provider {
			p.add(dove.Invalid, pass.place(), "pass is for policies of tier provider", "leave it out, or write tier: provider at the top")
		}
	}
}

// claim is where a policy says something of a traffic, and what.
type claim struct {
	verb string
	line int
}

// traffic reads one list. What other lists of the policy said may not be said again.
func (p *parser) traffic(n node, key string, said map[Traffic]claim) []Traffic {
	verbs := map[string]string{"allow": "allowed", "deny": "denied", "pass": "passed"}
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
			switch before, again := said[t]; {
			case again && before.verb == key:
				p.add(dove.Invalid, e.place(), fmt.Sprintf("%s is in %s twice", t, key), fmt.Sprintf("line %d says it already", before.line))
			case again:
				p.add(dove.Invalid, e.place(), fmt.Sprintf("%s is both %s and %s by one policy", t, verbs[before.verb], verbs[key]),
					fmt.Sprintf("line %d has it in %s; leave one out", before.line, before.verb))
			default:
				said[t] = claim{key, e.Line}
				list = append(list, t)
			}
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
	if g.Blueprint == blueprint || g == Any {
		return g.Name
	}
	return g.Blueprint + "/" + g.Name
}
