package verdict

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"

	"dove.network/dove"
)

// opinion is what one half says of one range of packets.
type opinion struct {
	allow    bool
	explicit bool // a rule said so, not the default
	log      bool // a rule that says so wants it told
	shadow   bool // the rule is in shadow
	name     string
}

// ruling is what both halves together say.
type ruling struct {
	allow, noReply, log bool
	name                string
	would               string // "": shadow makes no difference
	wouldAllow          bool
}

// Product returns the table that allows what both halves allow. The result is
// canonical: equal meaning and names give equal tables and digests, whatever
// the order of rules.
//
// What both halves allow is named after the egress half's rule, and if the
// ingress half's rule has another name, "egress & ingress". What is denied is
// named after a denying rule rather than a default, and then after the egress
// half rather than the ingress half.
//
// Halves must be as Half says: ranges that are not empty, pass in tier Provider
// only, printable names of at most half of NameMax bytes. Halves that would need more than IntervalsMax
// intervals or EncodedMax bytes give a table that denies everything, named
// TableTooLarge.
func Product(egress, ingress Half) *Table {
	eg, in := byPrecedence(egress), byPrecedence(ingress)
	whole := ruled{fallback: product(eg, in, egress, ingress, dove.ProtocolAny)[0].ruling}
	intervals := 0
	for _, p := range protocols(eg, in) {
		spans := product(eg, in, egress, ingress, p)
		if len(spans) > 1 || spans[0].ruling != whole.fallback {
			whole.sections = append(whole.sections, ruledSection{p, spans})
			intervals += len(spans)
		}
	}
	t := new(Table)
	if intervals <= IntervalsMax {
		t = whole.intern()
	}
	t.EgressStateful, t.IngressStateful = egress.Stateful, ingress.Stateful
	encoded := t.Encode()
	if intervals > IntervalsMax || len(encoded) > EncodedMax {
		t.Names, t.Sections, t.Default = []string{TableTooLarge}, nil, Verdict{NoReply: !egress.Stateful || !ingress.Stateful}
		encoded = t.Encode()
	}
	t.digest = digestOf(encoded)
	return t
}

// byPrecedence returns a half's rules with those that win first, and panics
// if one breaks the contract of Half.
func byPrecedence(h Half) []Rule {
	check := func(name string) {
		if err := checkName(name); err != nil || len(name) > (NameMax-len(joint))/2 {
			panic(fmt.Sprintf("verdict: a half names a rule %.80q: %v", name, err))
		}
	}
	check(h.DefaultName)
	for _, r := range h.Rules {
		check(r.Name)
		m := r.Match
		if m.First > m.Last || m.Protocol == dove.ProtocolAny && (m.First != 0 || m.Last != 65535) {
			panic(fmt.Sprintf("verdict: rule %s matches %s/%d-%d, which is no range", r.Name, m.Protocol, m.First, m.Last))
		}
		if r.Action > Pass || r.Action == Pass && r.Tier != Provider {
			panic(fmt.Sprintf("verdict: rule %s of tier %d says %d", r.Name, r.Tier, r.Action))
		}
	}
	return slices.SortedFunc(slices.Values(h.Rules), func(a, b Rule) int {
		return cmp.Or(cmp.Compare(a.Tier, b.Tier), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Action, b.Action), cmp.Compare(a.Name, b.Name))
	})
}

// protocols returns, in ascending order, those that a rule names.
func protocols(halves ...[]Rule) []dove.Protocol {
	var named [256]bool
	for _, rules := range halves {
		for _, r := range rules {
			named[r.Match.Protocol] = true
		}
	}
	var ps []dove.Protocol
	for p := 1; p < len(named); p++ {
		if named[p] {
			ps = append(ps, dove.Protocol(p))
		}
	}
	return ps
}

// span is a ruling over a closed range of ports.
type span struct {
	first, last uint16
	ruling      ruling
}

// product rules over all ports of one protocol; neighbours differ. For
// ProtocolAny only the rules for any protocol count, and there is one span.
func product(eg, in []Rule, egress, ingress Half, p dove.Protocol) []span {
	cuts := []uint32{0, 1 << 16}
	for _, rules := range [][]Rule{eg, in} {
		for _, r := range rules {
			if r.Match.Protocol == p {
				cuts = append(cuts, uint32(r.Match.First), uint32(r.Match.Last)+1)
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)

	a, b := paint(eg, egress, p, cuts, false), paint(in, ingress, p, cuts, false)
	wouldA, wouldB := a, b
	if shadowed(eg, p) || shadowed(in, p) {
		wouldA, wouldB = paint(eg, egress, p, cuts, true), paint(in, ingress, p, cuts, true)
	}
	var spans []span
	for i := range a {
		s := span{uint16(cuts[i]), uint16(cuts[i+1] - 1), rule(a[i], b[i])}
		s.ruling.noReply = !(egress.Stateful || a[i].allow) || !(ingress.Stateful || b[i].allow)
		if would := rule(wouldA[i], wouldB[i]); wouldA[i].shadow && would.by(wouldA[i]) || wouldB[i].shadow && would.by(wouldB[i]) {
			s.ruling.would, s.ruling.wouldAllow = would.name, would.allow
		}
		if n := len(spans); n > 0 && spans[n-1].ruling == s.ruling {
			spans[n-1].last = s.last
			continue
		}
		spans = append(spans, s)
	}
	return spans
}

// shadowed reports whether a rule in shadow may match packets of a protocol.
func shadowed(rules []Rule, p dove.Protocol) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool { return r.Shadow && r.concerns(p) })
}

func (r Rule) concerns(p dove.Protocol) bool {
	return r.Match.Protocol == p || r.Match.Protocol == dove.ProtocolAny
}

// paint gives each segment between two cuts what the half says there. Rules come
// in order of precedence; those in shadow count if shadow says so.
func paint(rules []Rule, h Half, p dove.Protocol, cuts []uint32, shadow bool) []opinion {
	out := make([]opinion, len(cuts)-1)
	for i := range out {
		out[i] = opinion{allow: h.Default, name: h.DefaultName}
	}
	var counts []Rule
	for _, r := range rules {
		if r.concerns(p) && (shadow || !r.Shadow) {
			counts = append(counts, r)
		}
	}
	end := 0
	for end < len(counts) && counts[end].Tier == Provider {
		end++
	}
	open := newCanvas(cuts) // what no rule decided about
	decide := open.copy()   // what a provider's rule may still speak of
	for _, r := range counts[:end] {
		for i := range decide.take(r.Match) {
			if r.Action != Pass {
				out[i] = opinion{allow: r.Action == Allow, explicit: true, name: r.Name, shadow: r.Shadow}
				open.drop(i)
			}
		}
	}
	for _, r := range counts[end:] {
		for i := range open.take(r.Match) {
			out[i] = opinion{allow: r.Action == Allow, explicit: true, name: r.Name, shadow: r.Shadow}
		}
	}
	for _, said := range []Action{Deny, Allow} {
		untold := newCanvas(cuts)
		for _, r := range counts {
			if !r.Log || r.Action != said {
				continue
			}
			for i := range untold.take(r.Match) {
				out[i].log = out[i].log || out[i].explicit && out[i].allow == (said == Allow)
			}
		}
	}
	return out
}

// canvas is the segments between cuts that are not painted yet: next[i] leads to
// the first of them from i on.
type canvas struct {
	cuts []uint32
	next []int
}

func newCanvas(cuts []uint32) canvas {
	c := canvas{cuts, make([]int, len(cuts))}
	for i := range c.next {
		c.next[i] = i
	}
	return c
}

func (c canvas) copy() canvas { return canvas{c.cuts, slices.Clone(c.next)} }

func (c canvas) find(i int) int {
	for c.next[i] != i {
		c.next[i] = c.next[c.next[i]]
		i = c.next[i]
	}
	return i
}

// drop takes one segment away.
func (c canvas) drop(i int) { c.next[i] = i + 1 }

// take yields the segments that a match covers, and takes them away.
func (c canvas) take(m Match) iter.Seq[int] {
	return func(yield func(int) bool) {
		first, _ := slices.BinarySearch(c.cuts, uint32(m.First))
		end, _ := slices.BinarySearch(c.cuts, uint32(m.Last)+1)
		for i := c.find(first); i < end; i = c.find(i) {
			c.drop(i)
			if !yield(i) {
				return
			}
		}
	}
}

// joint stands between the names of two halves that both had to allow.
const joint = " & "

func rule(egress, ingress opinion) ruling {
	switch {
	case egress.allow && ingress.allow && egress.name == ingress.name:
		return ruling{allow: true, log: egress.log || ingress.log, name: egress.name}
	case egress.allow && ingress.allow:
		return ruling{allow: true, log: egress.log || ingress.log, name: egress.name + joint + ingress.name}
	case egress.allow:
		return ruling{log: ingress.log, name: ingress.name}
	case ingress.allow:
		return ruling{log: egress.log, name: egress.name}
	case egress.explicit, !ingress.explicit:
		return ruling{log: egress.log || ingress.log, name: egress.name}
	default:
		return ruling{log: egress.log || ingress.log, name: ingress.name}
	}
}

// by reports whether an opinion of one of the halves is behind the ruling.
func (r ruling) by(o opinion) bool {
	return r.allow || !o.allow && o.name == r.name
}

// ruled is a table whose rules are still names.
type ruled struct {
	fallback ruling
	sections []ruledSection
}

type ruledSection struct {
	protocol dove.Protocol
	spans    []span
}

// intern turns names into indices of a sorted dictionary of the used ones.
func (r ruled) intern() *Table {
	index := map[string]uint16{}
	note := func(r ruling) {
		index[r.name] = 0
		if r.would != "" {
			index[r.would] = 0
		}
	}
	note(r.fallback)
	for _, s := range r.sections {
		for _, sp := range s.spans {
			note(sp.ruling)
		}
	}
	t := &Table{Names: slices.Sorted(maps.Keys(index))}
	for i, name := range t.Names {
		index[name] = uint16(i)
	}
	verdict := func(r ruling) Verdict {
		v := Verdict{Allow: r.allow, Rule: index[r.name], NoReply: r.noReply, Log: r.log}
		if r.would != "" {
			v.Would, v.WouldAllow = index[r.would]+1, r.wouldAllow
		}
		return v
	}
	t.Default = verdict(r.fallback)
	for _, s := range r.sections {
		section := Section{Protocol: s.protocol, Intervals: make([]Interval, len(s.spans))}
		for i, sp := range s.spans {
			section.Intervals[i] = Interval{sp.first, sp.last, verdict(sp.ruling)}
		}
		t.Sections = append(t.Sections, section)
	}
	return t
}
