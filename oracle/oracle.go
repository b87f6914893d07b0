package oracle

import (
	"net/netip"
	"slices"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
)

// DefaultDeny names the rule where no policy says anything, PortSecurityOff that
// of an end which allows everything.
const (
	DefaultDeny     = "default-deny"
	PortSecurityOff = "port-security-off"
)

// End is one end of a flow: an address and the endpoint that has it.
type End struct {
	Addr   netip.Addr
	Groups []dove.Group // that the endpoint names
	Labels map[string]string
	Ports  map[string]dove.Port
	Open   bool // port security is off
}

// Packet is what the first packet of a flow asks for. The port is the
// destination's, or type<<8|code for ICMP and ICMPv6, or 0 for protocols
// without ports.
type Packet struct {
	Src, Dst End
	Protocol dove.Protocol
	Port     uint16
}

// Answer says what becomes of a packet and which rule said so. What both ends
// allow by different rules has the names of both; what is denied has the name of
// a rule that denies rather than of a default, and then of the source's end
// rather than the target's. Log: a rule that says what was decided wants it told.
// Shadow names the rule that would have decided if policies in shadow counted,
// if it is one of these, and Would is what it would have said.
type Answer struct {
	Allow  bool
	Rule   string
	Log    bool
	Shadow string
	Would  bool
	// NoReply: as a reply of a flow that the other end opened the packet does not
	// pass either, for a stateless end denies it. Stateless: an end keeps no state.
	NoReply, Stateless bool
}

// opinion is what one end says.
type opinion struct {
	allow, byDefault, log, shadow, stateless bool
	rule                                     string
}

// Decide says whether a packet may open a flow. The blueprints are all those of
// one domain; policies that end at the edge or before do not exist.
func Decide(blueprints []*blueprint.Blueprint, edge time.Time, p Packet) Answer {
	out, in := p.side(blueprints, edge, false, false), p.side(blueprints, edge, true, false)
	a := both(out, in)
	a.NoReply = out.stateless && !out.allow || in.stateless && !in.allow
	a.Stateless = out.stateless || in.stateless
	out, in = p.side(blueprints, edge, false, true), p.side(blueprints, edge, true, true)
	if would := both(out, in); out.shadow && (would.Allow || would.Rule == out.rule && !out.allow) || in.shadow && (would.Allow || would.Rule == in.rule && !in.allow) {
		a.Shadow, a.Would = would.Rule, would.Allow
	}
	return a
}

func both(out, in opinion) Answer {
	a := Answer{Allow: out.allow && in.allow}
	for _, o := range []opinion{out, in} {
		if o.allow == a.Allow && o.log {
			a.Log = true
		}
	}
	switch {
	case a.Allow && out.rule == in.rule:
		a.Rule = out.rule
	case a.Allow:
		a.Rule = out.rule + " & " + in.rule
	case !out.allow && !out.byDefault:
		a.Rule = out.rule
	case !in.allow && !in.byDefault:
		a.Rule = in.rule
	case !out.allow:
		a.Rule = out.rule
	default:
		a.Rule = in.rule
	}
	return a
}

// side asks one end: the source's, or if ingress the target's.
func (p Packet) side(blueprints []*blueprint.Blueprint, edge time.Time, ingress, shadows bool) opinion {
	end, here := p.Src, blueprint.Egress
	if ingress {
		end, here = p.Dst, blueprint.Ingress
	}
	if end.Open {
		return opinion{allow: true, byDefault: true, rule: PortSecurityOff}
	}
	var o opinion
	var shut, open []string
	type saying struct {
		policy       blueprint.Policy
		tier         blueprint.Tier
		name         string
		denies       bool
		allows, pass bool
	}
	var say []saying
	for _, b := range blueprints {
		for _, g := range b.Groups {
			name := b.Name + "/" + g.Name
			full := dove.Group{Tenant: b.Tenant, Blueprint: b.Name, Name: g.Name}
			if p.Src.member(full, g) && p.Dst.member(full, g) && !g.Isolated {
				say = append(say, saying{name: name + "/members", allows: true})
			}
			if !end.member(full, g) {
				continue
			}
			o.stateless = o.stateless || g.Stateless
			says := g.Egress
			if ingress {
				says = g.Ingress
			}
			switch says {
			case blueprint.DefaultDeny:
				shut = append(shut, name+"/default")
			case blueprint.DefaultAllow:
				open = append(open, name+"/default")
			}
		}
		for _, q := range b.Policies {
			over := !q.Until.IsZero() && !edge.Before(q.Until)
			if over || q.Shadow && !shadows || q.Side != blueprint.BothSides && q.Side != here {
				continue
			}
			four, six := p.Src.Addr.Is4() && p.Dst.Addr.Is4(), p.Src.Addr.Is6() && p.Dst.Addr.Is6()
			if q.Family == blueprint.IPv4 && !four || q.Family == blueprint.IPv6 && !six {
				continue
			}
			if !p.Src.named(blueprints, q.From) || !p.Dst.named(blueprints, q.To) {
				continue
			}
			say = append(say, saying{q, b.Tier, b.Name + "/" + q.Name, p.in(q.Deny), p.in(q.Allow), p.in(q.Pass)})
		}
	}
	decided := func(allow bool, s saying) {
		if o.rule != "" {
			return
		}
		o.allow, o.rule, o.shadow = allow, s.name, s.policy.Shadow
		for _, other := range say {
			if other.policy.Log && (allow && other.allows || !allow && other.denies) {
				o.log = true
			}
		}
	}
	// tier asks the policies of one tier in order of priority.
	tier := func(t blueprint.Tier) {
		var priorities []uint32
		for _, s := range say {
			if s.tier == t {
				priorities = append(priorities, s.policy.Priority)
			}
		}
		slices.Sort(priorities)
		for _, priority := range priorities {
			var least [3]*saying // that denies, allows, passes
			for _, s := range say {
				if s.tier != t || s.policy.Priority != priority {
					continue
				}
				for i, does := range []bool{s.denies, s.allows, s.pass} {
					if does && (least[i] == nil || s.name < least[i].name) {
						least[i] = &s
					}
				}
			}
			switch {
			case o.rule != "":
			case least[0] != nil:
				decided(false, *least[0])
			case least[1] != nil:
				decided(true, *least[1])
			case least[2] != nil:
				return
			}
		}
	}
	tier(blueprint.Provider)
	tier(blueprint.Tenant)
	if len(shut) > 0 {
		decided(false, saying{name: slices.Min(shut)})
	}
	tier(blueprint.Baseline)
	if o.rule == "" {
		o.byDefault, o.rule = true, DefaultDeny
		if len(open) > 0 {
			o.allow, o.rule = true, slices.Min(open)
		}
	}
	return o
}

// member reports whether an endpoint is in a group.
func (e End) member(name dove.Group, g blueprint.Group) bool {
	if slices.Contains(e.Groups, name) {
		return true
	}
	if g.Selector == nil {
		return false
	}
	for _, r := range g.Selector.Requirements {
		value, has := e.Labels[r.Key]
		listed := has && slices.Contains(r.Values, value)
		switch {
		case r.Operator == blueprint.In && !listed, r.Operator == blueprint.NotIn && listed,
			r.Operator == blueprint.Exists && !has, r.Operator == blueprint.DoesNotExist && has:
			return false
		}
	}
	return true
}

// named reports whether a policy's end names an address: it, an outside around
// it, or a group that its endpoint is in.
func (e End) named(blueprints []*blueprint.Blueprint, ends []dove.Group) bool {
	for _, name := range ends {
		if name == blueprint.Any {
			return true
		}
		for _, b := range blueprints {
			if b.Name != name.Blueprint || b.Tenant != name.Tenant {
				continue
			}
			for _, g := range b.Groups {
				if g.Name == name.Name && e.member(name, g) {
					return true
				}
			}
			for _, o := range b.Outside {
				if o.Name == name.Name && within(o.Prefixes, e.Addr) && !within(o.Except, e.Addr) {
					return true
				}
			}
		}
	}
	return false
}

func within(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// in reports whether a list of traffic has what the packet asks for.
func (p Packet) in(list []blueprint.Traffic) bool {
	for _, t := range list {
		if t.Port != "" {
			if has, ok := p.Dst.Ports[t.Port]; ok && has.Protocol == t.Protocol && t.Protocol == p.Protocol && has.Number == p.Port {
				return true
			}
			continue
		}
		if t.Protocol == dove.ProtocolAny || t.Protocol == p.Protocol && t.First <= p.Port && p.Port <= t.Last {
			return true
		}
	}
	return false
}
