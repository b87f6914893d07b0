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
	in    *Blueprint
	index int // there
}

// checkPriorities refuses two policies of one tier and priority that say different
// things of packets that both can match: which of them was meant nobody could tell.
// Both may be of others, if it is groups or outsides of b that make them meet.
func (c *checker) checkPriorities() {
	type level struct {
		tier     Tier
		priority uint32
	}
	at, known := map[level]*[1 << 3][]*tiered{}, c.ends() // by what they say
	for _, b := range append([]*Blueprint{c.b}, c.others...) {
		if b.Domain != c.b.Domain || b.Tier == Tenant {
			continue
		}
		for i, p := range b.Policies {
			if p.Shadow || !p.Until.IsZero() && !p.Until.After(c.ctx.Ended) {
				continue
			}
			l, here := level{b.Tier, p.Priority}, &tiered{p, b, i}
			if at[l] == nil {
				at[l] = new([1 << 3][]*tiered)
			}
			says := here.says()
			for others, all := range at[l] {
				if says == others && says&(says-1) == 0 {
					continue // one thing, both
				}
				for _, before := range all {
					if b == c.b {
						c.checkPriority(known, here, before)
					} else {
						c.checkPriority(known, before, here)
					}
				}
			}
			at[l][says] = append(at[l][says], here)
		}
	}
}

// says has a bit for each of the policy's lists that says something.
func (p *Policy) says() (bits int) {
	for i, list := range [][]Traffic{p.Deny, p.Allow, p.Pass} {
		if len(list) > 0 {
			bits |= 1 << i
		}
	}
	return bits
}

// checkPriority says that two policies of one tier and priority disagree: at the
// first, if that is of b, else where b has its groups.
func (c *checker) checkPriority(known ends, p, o *tiered) {
	if p.Side != BothSides && o.Side != BothSides && p.Side != o.Side || p.Family != BothFamilies && o.Family != BothFamilies && p.Family != o.Family {
		return
	}
	if p.in != c.b && !c.names(&p.Policy) && !c.names(&o.Policy) {
		return // b changes nothing about them
	}
	t, says, others, differ := contradiction(&p.Policy, &o.Policy)
	if !differ {
		return
	}
	from, share := known.common(p.From, o.From)
	to, also := known.common(p.To, o.To)
	if !share || !also {
		return
	}
	where := c.b.place(item{kind: itemGroups}, "groups")
	if p.in == c.b {
		where = c.b.place(item{kind: itemPolicy, name: p.Name}, fmt.Sprintf("policies[%d]", p.index))
	}
	c.add(dove.Conflict, where, fmt.Sprintf("policies %s and %s of priority %d disagree: %s from %s to %s is one's %s and the other's %s",
		p.in.RuleName(p.Policy), o.in.RuleName(o.Policy), p.Priority, t, from, to, says, others), "give them different priorities")
}

// names reports whether a policy names a group or an outside of b.
func (c *checker) names(p *Policy) bool {
	return slices.ContainsFunc(slices.Concat(p.From, p.To), func(g dove.Group) bool { return c.own(g.Blueprint) })
}

// contradiction finds a traffic that two policies both match and of which they
// say different things.
func contradiction(p, o *Policy) (t Traffic, says, others string, found bool) {
	type said struct {
		verb string
		list []Traffic
	}
	lists := func(p *Policy) [3]said { return [...]said{{"deny", p.Deny}, {"allow", p.Allow}, {"pass", p.Pass}} }
	for _, a := range lists(p) {
		for _, b := range lists(o) {
			if a.verb == b.verb {
				continue
			}
			for i, j := 0, 0; i < len(a.list) && j < len(b.list); { // both are sorted
				x, y := a.list[i], b.list[j]
				if t, ok := x.overlap(y); ok {
					return t, a.verb, b.verb, true
				}
				if x.Protocol < y.Protocol || x.Protocol == y.Protocol && x.Last < y.First {
					i++
				} else {
					j++
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
