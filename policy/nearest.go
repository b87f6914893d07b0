package policy

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/verdict"
)

// Near is the rule that came nearest to allowing what was denied by default, and
// why it did not. If each of the failed terms were as the packet wants it, the
// packet would pass. The zero value says that no rule is near.
type Near struct {
	Rule   string
	Failed []Failure // never empty if there is a Rule
}

// Failure is a term of a rule that a packet fails: "from", "to", "protocol",
// "port", "family", "priority", "default", "side", "until", "shadow" or, for
// members of an isolated group, "isolated". Words say what the term is, for
// people: "it counts for packets from shop/app".
type Failure struct{ Term, Words string }

// Terms writes the failed terms of a rule, such as "to, port".
func (n Near) Terms() string {
	var terms []string
	for _, f := range n.Failed {
		terms = append(terms, f.Term)
	}
	return strings.Join(terms, ", ")
}

// Isolated is the term that Nearest names for members of an isolated group.
const Isolated = "isolated"

// Terms of a policy that a packet can fail. Of policies that fail equally many,
// the one that fails the least significant terms is the nearest.
const (
	failShadow = 1 << iota
	failUntil
	failSide
	failDefault
	failPriority
	failFamily
	failPort
	failProtocol
	failTo
	failFrom
	onlyAny // no term: one end fails, and the other is named as any address is
)

var failNames = []string{"shadow", "until", "side", "default", "priority", "family", "port", "protocol", "to", "from"}

// near is a traffic that a rule allows, and the terms that a packet fails.
type near struct {
	rule    *rule
	traffic blueprint.Traffic
	fails   int
}

// nearerThan reports whether fewer terms fail, or less significant ones.
func (n near) nearerThan(o near) bool {
	if a, b := bits.OnesCount(uint(n.fails&^onlyAny)), bits.OnesCount(uint(o.fails&^onlyAny)); o.rule == nil || a != b {
		return o.rule == nil || a < b
	}
	return n.fails < o.fails
}

// Nearest explains why a packet from src to dst is denied where no policy says
// so, but a default: that nobody says anything, or that of a group. It returns
// the rule that would allow the packet if the fewest of its terms were different.
// Only rules that name src in from or dst in to are near: those that count, those
// in shadow, and those whose time is up. The port is as in verdict.Table.Lookup.
// It returns the zero Near for what is allowed, and for what a policy denies:
// the verdict names that.
func (d *Domain) Nearest(src, dst Signature, protocol dove.Protocol, port uint16) Near {
	p := question{d: d, src: src, dst: dst, from: d.Names(src), to: d.Names(dst), protocol: protocol, port: port}
	if !p.ask() {
		return Near{}
	}
	for _, g := range src.Groups {
		if d.groups[g].Isolated && names(dst.Groups, g) {
			return Near{blueprint.GroupRuleName(g), []Failure{{Isolated, "both ends are in " + d.describe(g) + ", which is isolated"}}}
		}
	}
	var best near
	consider := func(r *rule, fails int) {
		if r.tier == verdict.Baseline && p.outdone(r) || p.has(r.Deny) {
			return // it would be denied all the same
		}
		fails |= p.ends(r)
		for _, t := range r.Allow {
			if n := (near{r, t, fails | p.misses(t)}); n.nearerThan(best) {
				best = n
			}
		}
	}
	for _, i := range p.near() {
		consider(&d.rules[i], 0)
	}
	for i := range d.ended {
		if r := &d.ended[i]; meet(r.from, p.from) || meet(r.to, p.to) {
			consider(r, failUntil)
		}
	}
	if best.rule == nil {
		return Near{}
	}
	n := Near{Rule: best.rule.name}
	for bit := failFrom; bit > 0; bit >>= 1 {
		if best.fails&bit != 0 {
			n.Failed = append(n.Failed, Failure{failNames[bits.TrailingZeros(uint(bit))], p.words(best, bit)})
		}
	}
	return n
}

// question is a packet that defaults deny.
type question struct {
	d        *Domain
	src, dst Signature
	from, to []dove.Group // their names
	protocol dove.Protocol
	port     uint16
	halves   []shut // that do not let it pass
}

// shut is a half that does not let a packet pass.
type shut struct {
	side   blueprint.Side
	closed string // the default of a group that denies it, "" if nobody says anything
	rules  []verdict.Rule
}

// ask finds the halves that are shut, and reports whether defaults alone are
// what shuts them.
func (p *question) ask() bool {
	egress, ingress := p.d.Halves(p.src, p.dst)
	for _, h := range []struct {
		side blueprint.Side
		half verdict.Half
	}{{blueprint.Egress, egress}, {blueprint.Ingress, ingress}} {
		says := verdict.Product(h.half, verdict.Half{Default: true, DefaultName: OpenRule, Stateful: true})
		v := says.Lookup(p.protocol, p.port)
		if v.Allow {
			continue
		}
		s := shut{side: h.side, rules: h.half.Rules}
		if name := says.Name(v); name != verdict.DefaultDeny {
			if !slices.ContainsFunc(h.half.Rules, func(r verdict.Rule) bool { return r.Tier == verdict.Closed && r.Name == name }) {
				return false
			}
			s.closed = name
		}
		p.halves = append(p.halves, s)
	}
	return len(p.halves) > 0
}

// near returns the rules that name one end by one of its names, ascending.
func (p *question) near() []int {
	var found []int
	for _, g := range p.from {
		found = append(found, p.d.from[g]...)
	}
	for _, g := range p.to {
		found = append(found, p.d.to[g]...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// ends says which terms of a rule fail whatever its traffic is.
func (p *question) ends(r *rule) int {
	fails := 0
	fail := func(bit int, failed bool) {
		if failed {
			fails |= bit
		}
	}
	fail(failShadow, r.Shadow)
	fail(failFamily, !r.of(p.src, p.dst))
	from, to := meet(r.from, p.from), meet(r.to, p.to)
	fail(failFrom, !from)
	fail(failTo, !to)
	fail(onlyAny, !from && names(r.to, blueprint.Any) || !to && names(r.from, blueprint.Any))
	for _, h := range p.halves {
		fail(failSide, r.Side != blueprint.BothSides && r.Side != h.side)
		fail(failDefault, r.tier == verdict.Baseline && h.closed != "")
		fail(failPriority, r.tier == verdict.Provider && p.passed(h, r) != "")
	}
	return fails
}

// passed names the rule that leaves a packet to the tenant's before a provider's
// rule comes to speak at a half, "" if none does.
func (p *question) passed(h shut, r *rule) string {
	for _, o := range h.rules {
		if o.Action == verdict.Pass && !o.Shadow && o.Priority < r.Priority && p.in(o.Match) {
			return o.Name
		}
	}
	return ""
}

// outdone reports whether a baseline policy denies a packet before another rule
// of that tier allows it. A default that denies comes before both.
func (p *question) outdone(r *rule) bool {
	for _, h := range p.halves {
		for _, o := range h.rules {
			if o.Tier == verdict.Baseline && o.Action == verdict.Deny && !o.Shadow && o.Priority <= r.Priority && p.in(o.Match) {
				return true
			}
		}
	}
	return false
}

func (p *question) in(m verdict.Match) bool {
	return m.Protocol == dove.ProtocolAny || m.Protocol == p.protocol && m.First <= p.port && p.port <= m.Last
}

// has reports whether a packet is of one of the traffics.
func (p *question) has(list []blueprint.Traffic) bool {
	return slices.ContainsFunc(list, func(t blueprint.Traffic) bool {
		m, known := p.dst.match(t)
		return known && p.in(m)
	})
}

// misses says which terms of one traffic a packet fails. A port counts across
// protocols that have ports: udp/80 is nearer to tcp/80 than udp/53 is. A port by
// name is no port of a target that does not have the name.
func (p *question) misses(t blueprint.Traffic) int {
	fails := 0
	m, known := p.dst.match(t)
	if t.Protocol != dove.ProtocolAny && t.Protocol != p.protocol {
		fails |= failProtocol
	}
	comparable := t.Protocol == p.protocol || t.Protocol.HasPorts() && p.protocol.HasPorts()
	if comparable && (!known || p.port < m.First || p.port > m.Last) {
		fails |= failPort
	}
	return fails
}

// words say what a term is that a packet fails.
func (p *question) words(n near, term int) string {
	r := n.rule
	switch term {
	case failFrom:
		return "it counts for packets from " + p.d.list(r.from)
	case failTo:
		return "it counts for packets to " + p.d.list(r.to)
	case failProtocol:
		return "it allows " + n.traffic.String()
	case failPort:
		if _, known := p.dst.match(n.traffic); !known {
			return fmt.Sprintf("it allows %s, and the target has no %s port of that name", n.traffic, n.traffic.Protocol)
		}
		return "it allows " + n.traffic.String()
	case failFamily:
		return "it counts for packets of " + r.Family.String()
	case failPriority:
		for _, h := range p.halves {
			if name := p.passed(h, r); name != "" {
				return fmt.Sprintf("its priority is %d, and before it %s passes the packet to the tenant's policies", r.Priority, name)
			}
		}
	case failDefault:
		for _, h := range p.halves {
			if h.closed != "" {
				return "it is of tier baseline, and before that " + h.closed + " denies"
			}
		}
	case failSide:
		var nobody []string
		for _, h := range p.halves {
			if r.Side != h.side {
				nobody = append(nobody, map[blueprint.Side]string{blueprint.Egress: "the source's end (egress)", blueprint.Ingress: "the target's end (ingress)"}[h.side])
			}
		}
		return fmt.Sprintf("it counts for %s only, and nothing allows the packet at %s", r.Side, strings.Join(nobody, " and "))
	case failUntil:
		return "its time was up at " + r.Until.Format(time.RFC3339)
	case failShadow:
		return "it is in shadow: it decides nothing"
	}
	panic(fmt.Sprintf("policy: no words for term %#x of %s", term, r.name))
}

// listMax bounds how many names a list in words has.
const listMax = 4

// list writes names of ends, with the prefixes of outsides.
func (d *Domain) list(ends []dove.Group) string {
	var all []string
	for _, g := range ends {
		all = append(all, d.describe(g))
	}
	return some(all)
}

// describe names an end of a policy, and if it is an outside its prefixes.
func (d *Domain) describe(g dove.Group) string {
	if g == blueprint.Any {
		return g.Name
	}
	name := g.Blueprint + "/" + g.Name
	o, ok := d.mention.outsides[g]
	if !ok {
		return name
	}
	name += " (" + some(o.Prefixes)
	if len(o.Except) > 0 {
		name += " except " + some(o.Except)
	}
	return name + ")"
}

// some writes the first of many things.
func some[T any](list []T) string {
	var all []string
	for i, v := range list {
		if i == listMax {
			all = append(all, fmt.Sprintf("%d more", len(list)-i))
			break
		}
		all = append(all, fmt.Sprint(v))
	}
	return strings.Join(all, ", ")
}
