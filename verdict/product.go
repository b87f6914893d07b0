package verdict

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"dove.network/dove"
)

// opinion is what one half says of one range of packets.
type opinion struct {
	allow    bool
	explicit bool // a rule said so, not the default
	name     string
}

// ruling is what both halves together say.
type ruling struct {
	allow bool
	name  string
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
// Halves must be as Half says: ranges that are not empty, printable names of
// at most half of NameMax bytes. Halves that would need more than IntervalsMax
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
		t.Names, t.Sections, t.Default = []string{TableTooLarge}, nil, Verdict{}
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
	}
	return slices.SortedFunc(slices.Values(h.Rules), func(a, b Rule) int {
		if a.Allow != b.Allow {
			if b.Allow {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
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

	a, b := paint(eg, egress, p, cuts), paint(in, ingress, p, cuts)
	var spans []span
	for i := range a {
		s := span{uint16(cuts[i]), uint16(cuts[i+1] - 1), rule(a[i], b[i])}
		if n := len(spans); n > 0 && spans[n-1].ruling == s.ruling {
			spans[n-1].last = s.last
			continue
		}
		spans = append(spans, s)
	}
	return spans
}

// paint gives each segment between two cuts the first rule that matches there.
// Rules come in order of precedence, so a painted segment is never touched
// again: free[i] leads to the first unpainted segment from i on.
func paint(rules []Rule, h Half, p dove.Protocol, cuts []uint32) []opinion {
	out := make([]opinion, len(cuts)-1)
	for i := range out {
		out[i] = opinion{allow: h.Default, name: h.DefaultName}
	}
	free := make([]int, len(cuts))
	for i := range free {
		free[i] = i
	}
	find := func(i int) int {
		for free[i] != i {
			free[i] = free[free[i]]
			i = free[i]
		}
		return i
	}
	for _, r := range rules {
		if r.Match.Protocol != p && r.Match.Protocol != dove.ProtocolAny {
			continue
		}
		first, _ := slices.BinarySearch(cuts, uint32(r.Match.First))
		end, _ := slices.BinarySearch(cuts, uint32(r.Match.Last)+1)
		for i := find(first); i < end; i = find(i) {
			out[i] = opinion{allow: r.Allow, explicit: true, name: r.Name}
			free[i] = i + 1
		}
	}
	return out
}

// joint stands between the names of two halves that both had to allow.
const joint = " & "

func rule(egress, ingress opinion) ruling {
	switch {
	case egress.allow && ingress.allow && egress.name == ingress.name:
		return ruling{true, egress.name}
	case egress.allow && ingress.allow:
		return ruling{true, egress.name + joint + ingress.name}
	case egress.allow:
		return ruling{false, ingress.name}
	case ingress.allow, egress.explicit, !ingress.explicit:
		return ruling{false, egress.name}
	default:
		return ruling{false, ingress.name}
	}
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
	index := map[string]uint16{r.fallback.name: 0}
	for _, s := range r.sections {
		for _, sp := range s.spans {
			index[sp.ruling.name] = 0
		}
	}
	t := &Table{Names: slices.Sorted(maps.Keys(index))}
	for i, name := range t.Names {
		index[name] = uint16(i)
	}
	verdict := func(r ruling) Verdict { return Verdict{Allow: r.allow, Rule: index[r.name]} }
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
