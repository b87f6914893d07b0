package blueprint

import (
	"fmt"
	"net/netip"
	"slices"

	"dove.network/dove"
)

// tiered is a policy of tier Provider or Baseline with its document.
type tiered struct {
	Policy
	in *Blueprint
}

// checkPriorities refuses two policies of one tier and priority that say different
// things of packets that both can match: which of them was meant nobody could tell.
func (c *checker) checkPriorities() {
	if c.b.Tier == Tenant {
		return
	}
	at := map[uint32][]tiered{}
	for _, b := range append(slices.Clone(c.others), c.b) {
		if b.Domain == c.b.Domain && b.Tier == c.b.Tier {
			for _, p := range b.Policies {
				if !p.Shadow {
					at[p.Priority] = append(at[p.Priority], tiered{p, b})
				}
			}
		}
	}
	known := c.ends()
	for i, p := range c.b.Policies {
		for _, o := range at[p.Priority] {
			// Of two of this document the later is told, once.
			if o.in == c.b && o.Name >= p.Name || p.Shadow || p.Side != BothSides && o.Side != BothSides && p.Side != o.Side {
				continue
			}
			if p.Family != BothFamilies && o.Family != BothFamilies && p.Family != o.Family {
				continue
			}
			t, says, others, differ := contradiction(p, o.Policy)
			if !differ {
				continue
			}
			from, share := known.common(p.From, o.From)
			to, also := known.common(p.To, o.To)
			if share && also {
				c.add(dove.Conflict, c.b.place(item{kind: itemPolicy, name: p.Name}, fmt.Sprintf("policies[%d]", i)),
					fmt.Sprintf("policies %s and %s of priority %d disagree: %s from %s to %s is one's %s and the other's %s",
						c.b.RuleName(p), o.in.RuleName(o.Policy), p.Priority, t, from, to, says, others), "give them different priorities")
			}
		}
	}
}

// contradiction finds a traffic that two policies both match and of which they
// say different things.
func contradiction(p, o Policy) (t Traffic, says, others string, found bool) {
	lists := func(p Policy) []struct {
		verb string
		list []Traffic
	} {
		return []struct {
			verb string
			list []Traffic
		}{{"deny", p.Deny}, {"allow", p.Allow}, {"pass", p.Pass}}
	}
	for _, a := range lists(p) {
		for _, b := range lists(o) {
			if a.verb == b.verb {
				continue
			}
			for _, x := range a.list {
				for _, y := range b.list {
					if t, ok := x.overlap(y); ok {
						return t, a.verb, b.verb, true
					}
				}
			}
		}
	}
	return Traffic{}, "", "", false
}

// overlap returns what two traffics have in common. A named port may be any.
func (t Traffic) overlap(o Traffic) (Traffic, bool) {
	switch {
	case t.Protocol == dove.ProtocolAny:
		return o, true
	case o.Protocol == dove.ProtocolAny:
		return t, true
	case t.Protocol != o.Protocol:
		return Traffic{}, false
	case t.Port != "":
		return t, true
	case o.Port != "":
		return o, true
	}
	both := Traffic{Protocol: t.Protocol, First: max(t.First, o.First), Last: min(t.Last, o.Last)}
	return both, both.First <= both.Last
}

// ends are what the groups and outsides of a domain are, by name.
type ends struct {
	groups   map[dove.Group]Group
	outsides map[dove.Group]Outside
	names    func(dove.Group) string
}

func (c *checker) ends() ends {
	e := ends{map[dove.Group]Group{}, map[dove.Group]Outside{}, func(g dove.Group) string { return relative(c.b.Name, g) }}
	for _, b := range append(slices.Clone(c.others), c.b) {
		for _, g := range b.Groups {
			e.groups[b.GroupOf(g.Name)] = g
		}
		for _, o := range b.Outside {
			e.outsides[b.GroupOf(o.Name)] = o
		}
	}
	return e
}

// common finds what two lists can both name, in words.
func (e ends) common(a, b []dove.Group) (string, bool) {
	for _, x := range a {
		for _, y := range b {
			if text, ok := e.meet(x, y); ok {
				return text, true
			}
		}
	}
	return "", false
}

// meet reports whether two names can name one address. Groups can share
// endpoints unless their selectors exclude each other; an endpoint that names both
// by itself is not thought of: there deny wins.
func (e ends) meet(a, b dove.Group) (string, bool) {
	p, outer := e.outsides[a]
	q, also := e.outsides[b]
	g, h := e.groups[a], e.groups[b]
	switch {
	case a == b, b == Any:
		return e.names(a), true
	case a == Any:
		return e.names(b), true
	case outer && also:
		prefix, ok := p.meet(q)
		return prefix.String(), ok
	case outer || also:
		return e.names(a) + " in " + e.names(b), true
	case g.Selector != nil && h.Selector != nil && g.Selector.excludes(h.Selector):
		return "", false
	}
	return e.names(a) + " in " + e.names(b), true
}

// meet returns a prefix of which addresses are in both outsides.
func (o Outside) meet(p Outside) (netip.Prefix, bool) {
	for _, a := range o.Prefixes {
		for _, b := range p.Prefixes {
			if !a.Overlaps(b) {
				continue
			}
			both := a
			if b.Bits() > a.Bits() {
				both = b
			}
			gone := func(x netip.Prefix) bool { return x.Bits() <= both.Bits() && x.Contains(both.Addr()) }
			if !slices.ContainsFunc(o.Except, gone) && !slices.ContainsFunc(p.Except, gone) {
				return both, true
			}
		}
	}
	return netip.Prefix{}, false
}

// excludes reports whether no labels can meet both selectors, as far as one label
// shows it.
func (s *Selector) excludes(o *Selector) bool {
	for _, r := range s.Requirements {
		for _, q := range o.Requirements {
			if r.Key == q.Key && (r.against(q) || q.against(r)) {
				return true
			}
		}
	}
	return false
}

// against reports whether a value that meets r never meets q.
func (r Requirement) against(q Requirement) bool {
	listed := func(v string) bool { return slices.Contains(q.Values, v) }
	switch {
	case r.Operator == In && q.Operator == In:
		return !slices.ContainsFunc(r.Values, listed)
	case r.Operator == In && q.Operator == NotIn:
		return !slices.ContainsFunc(r.Values, func(v string) bool { return !listed(v) })
	}
	return (r.Operator == In || r.Operator == Exists) && q.Operator == DoesNotExist
}
