package worlds_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/policy"
	"dove.network/verdict"
)

// worldsPerFault is within how many random worlds each fault must show.
const worldsPerFault = 200

// faults are mistakes that a compiler of blueprints can make. Each is put on
// the way of copies, so that the code under test has no switches for it. Keep
// the list: a bug that the comparison once missed belongs here too.
var faults = []struct {
	name string
	compiler
}{
	{"isolated is ignored", compiler{blueprint: func(b *blueprint.Blueprint) {
		for i := range b.Groups {
			b.Groups[i].Isolated = false
		}
	}}},
	{"members of a group may not talk", compiler{blueprint: func(b *blueprint.Blueprint) {
		for i := range b.Groups {
			b.Groups[i].Isolated = true
		}
	}}},
	{"isolated denies", compiler{blueprint: func(b *blueprint.Blueprint) {
		for _, g := range b.Groups {
			if g.Isolated {
				all := []dove.Group{b.GroupOf(g.Name)}
				deny := []blueprint.Traffic{{Protocol: dove.ProtocolAny, First: 0, Last: 65535}}
				b.Policies = append(b.Policies, blueprint.Policy{Name: "zz-isolated", From: all, To: all, Deny: deny})
			}
		}
	}}},
	{"policies of one family count for both", compiler{blueprint: func(b *blueprint.Blueprint) {
		for i := range b.Policies {
			b.Policies[i].Family = blueprint.BothFamilies
		}
	}}},
	{"from and to are swapped", compiler{blueprint: func(b *blueprint.Blueprint) {
		for i, p := range b.Policies {
			b.Policies[i].From, b.Policies[i].To = p.To, p.From
		}
	}}},
	{"only the first group of from counts", compiler{blueprint: func(b *blueprint.Blueprint) {
		for i, p := range b.Policies {
			b.Policies[i].From = p.From[:1]
		}
	}}},
	{"groups of other blueprints are forgotten", compiler{blueprint: func(b *blueprint.Blueprint) {
		for i, p := range b.Policies {
			b.Policies[i].To = slices.DeleteFunc(slices.Clone(p.To), func(g dove.Group) bool { return g.Blueprint != b.Name })
		}
	}}},
	{"a group is known by its last name only", compiler{blueprint: func(b *blueprint.Blueprint) {
		for i, p := range b.Policies {
			to := slices.Clone(p.To)
			for j := range to {
				to[j].Blueprint = b.Name
			}
			b.Policies[i].To = to
		}
	}}},
	{"the last policy is missed", compiler{blueprint: func(b *blueprint.Blueprint) {
		b.Policies = b.Policies[:max(1, len(b.Policies))-1]
	}}},
	{"only the first group of an endpoint counts", compiler{member: func(m *policy.Member) {
		m.Groups = m.Groups[:min(1, len(m.Groups))]
	}}},
	{"no group means every group", compiler{member: func(m *policy.Member) {
		if len(m.Groups) > 0 {
			return
		}
		for _, name := range []string{"app", "cache", "db", "ops", "web"} {
			m.Groups = append(m.Groups, dove.Group{Tenant: "acme", Blueprint: "shop", Name: name})
		}
	}}},
	{"deny is dropped", rules(func(r verdict.Rule) []verdict.Rule {
		if r.Action == verdict.Deny {
			return nil
		}
		return []verdict.Rule{r}
	})},
	{"deny allows", rules(func(r verdict.Rule) []verdict.Rule {
		r.Action = verdict.Allow
		return []verdict.Rule{r}
	})},
	{"allow beats deny", overlapping(func(r, other verdict.Rule, _ bool) bool {
		return r.Action == verdict.Deny && other.Action == verdict.Allow
	})},
	{"the first rule wins", overlapping(func(r, other verdict.Rule, later bool) bool { return r.Action != other.Action && later })},
	{"the last rule wins", overlapping(func(r, other verdict.Rule, later bool) bool { return r.Action != other.Action && !later })},
	{"membership beats deny", overlapping(func(r, other verdict.Rule, _ bool) bool {
		return r.Action == verdict.Deny && strings.HasSuffix(other.Name, "/members")
	})},
	{"the greatest name is named", overlapping(func(r, other verdict.Rule, _ bool) bool {
		return r.Action == other.Action && r.Name < other.Name
	})},
	{"a range ends one early", ranges(func(m *verdict.Match) { m.Last = max(m.First, m.Last-1) })},
	{"a range ends one late", ranges(func(m *verdict.Match) { m.Last = min(m.Last, 65534) + 1 })},
	{"a range begins one early", ranges(func(m *verdict.Match) { m.First = max(m.First, 1) - 1 })},
	{"a range begins one late", ranges(func(m *verdict.Match) { m.First = min(m.First+1, m.Last) })},
	{"only the first port of a range counts", ranges(func(m *verdict.Match) { m.Last = m.First })},
	{"the code of ICMP is ignored", ranges(func(m *verdict.Match) {
		if m.Protocol.IsICMP() {
			m.First, m.Last = m.First&0xff00, m.Last|0xff
		}
	})},
	{"type and code of ICMP are swapped", ranges(func(m *verdict.Match) {
		if m.Protocol.IsICMP() && m.First == m.Last {
			m.First = m.First<<8 | m.First>>8
			m.Last = m.First
		}
	})},
	{"ports are ignored", ranges(func(m *verdict.Match) { m.First, m.Last = 0, 65535 })},
	{"ICMPv6 is ICMP", rules(func(r verdict.Rule) []verdict.Rule {
		if r.Match.Protocol == dove.ProtocolICMPv6 {
			r.Match.Protocol = dove.ProtocolICMP
		}
		return []verdict.Rule{r}
	})},
	{"any protocol is TCP and UDP", rules(func(r verdict.Rule) []verdict.Rule {
		if r.Match.Protocol != dove.ProtocolAny {
			return []verdict.Rule{r}
		}
		tcp, udp := r, r
		tcp.Match.Protocol, udp.Match.Protocol = dove.ProtocolTCP, dove.ProtocolUDP
		return []verdict.Rule{tcp, udp}
	})},
	{"protocols without ports are any protocol", rules(func(r verdict.Rule) []verdict.Rule {
		if p := r.Match.Protocol; !p.HasPorts() && !p.IsICMP() {
			r.Match.Protocol = dove.ProtocolAny
		}
		return []verdict.Rule{r}
	})},
	{"the rule has no blueprint in its name", rules(func(r verdict.Rule) []verdict.Rule {
		_, r.Name, _ = strings.Cut(r.Name, "/")
		return []verdict.Rule{r}
	})},
	{"the default allows", compiler{half: func(h *verdict.Half) { h.Default = true }}},
	{"halves are stateless", compiler{half: func(h *verdict.Half) { h.Stateful = false }}},
	{"except is ignored", outsides(func(o *blueprint.Outside) { o.Except = nil })},
	{"only the first prefix of an outside counts", outsides(func(o *blueprint.Outside) { o.Prefixes = o.Prefixes[:1] })},
	{"an outside is nobody", outsides(func(o *blueprint.Outside) { o.Prefixes = nil })},
	{"an address is taken for the next one", compiler{addr: netip.Addr.Next}},
	{"an address has no prefix", compiler{addr: func(netip.Addr) netip.Addr { return netip.Addr{} }}},
	{"selectors select nobody", groups(func(g *blueprint.Group) { g.Selector = nil })},
	{"an empty selector selects nobody", groups(func(g *blueprint.Group) {
		if g.Selector != nil && len(g.Selector.Requirements) == 0 {
			g.Selector = nil
		}
	})},
	{"one requirement is enough", requirements(func(all []blueprint.Requirement) []blueprint.Requirement { return all[:1] })},
	{"values of a requirement do not matter", requirements(func(all []blueprint.Requirement) []blueprint.Requirement {
		for i, r := range all {
			all[i] = blueprint.Requirement{Key: r.Key, Operator: max(blueprint.Exists, r.Operator)}
		}
		return all
	})},
	{"NotIn needs the label", requirements(func(all []blueprint.Requirement) []blueprint.Requirement {
		for _, r := range all {
			if r.Operator == blueprint.NotIn {
				all = append(all, blueprint.Requirement{Key: r.Key, Operator: blueprint.Exists})
			}
		}
		return all
	})},
	{"labels are forgotten", compiler{member: func(m *policy.Member) { m.Labels = nil }}},
	{"names of ports are forgotten", compiler{member: func(m *policy.Member) { m.Ports = nil }}},
	{"the protocol of a named port is ignored", compiler{member: func(m *policy.Member) {
		ports := map[string]dove.Port{}
		for name, p := range m.Ports {
			p.Protocol = dove.ProtocolTCP
			ports[name] = p
		}
		m.Ports = ports
	}}},
	{"port security is always on", compiler{member: func(m *policy.Member) { m.Open = false }}},
	{"tiers are ignored", tiers(func(r *verdict.Rule) {
		if r.Action != verdict.Pass {
			r.Tier = verdict.Tenant
		}
	})},
	{"baseline comes first", tiers(func(r *verdict.Rule) {
		if r.Tier == verdict.Baseline {
			r.Tier = verdict.Provider
		}
	})},
	{"baseline comes before a group's deny", tiers(func(r *verdict.Rule) {
		if r.Tier == verdict.Closed {
			r.Tier, r.Priority = verdict.Baseline, 1<<30
		}
	})},
	{"a group's deny comes before the tenant", tiers(func(r *verdict.Rule) {
		if r.Tier == verdict.Closed {
			r.Tier = verdict.Tenant
		}
	})},
	{"priorities are ignored", tiers(func(r *verdict.Rule) { r.Priority = 0 })},
	{"the highest priority comes first", tiers(func(r *verdict.Rule) { r.Priority = 10 - r.Priority })},
	{"pass allows", tiers(func(r *verdict.Rule) {
		if r.Action == verdict.Pass {
			r.Action = verdict.Allow
		}
	})},
	{"pass says nothing", rules(func(r verdict.Rule) []verdict.Rule {
		if r.Action == verdict.Pass {
			return nil
		}
		return []verdict.Rule{r}
	})},
	{"sides are ignored", policies(func(p *blueprint.Policy) { p.Side = blueprint.BothSides })},
	{"sides are swapped", policies(func(p *blueprint.Policy) {
		if p.Side != blueprint.BothSides {
			p.Side = blueprint.Egress + blueprint.Ingress - p.Side
		}
	})},
	{"a group's default is forgotten", groups(func(g *blueprint.Group) { g.Egress, g.Ingress = blueprint.DefaultNone, blueprint.DefaultNone })},
	{"a group's defaults are swapped", groups(func(g *blueprint.Group) { g.Egress, g.Ingress = g.Ingress, g.Egress })},
	{"stateless is ignored", groups(func(g *blueprint.Group) { g.Stateless = false })},
	{"any is nobody", policies(func(p *blueprint.Policy) {
		nobody := func(all []dove.Group) []dove.Group {
			return slices.DeleteFunc(slices.Clone(all), func(g dove.Group) bool { return g == blueprint.Any })
		}
		p.From, p.To = nobody(p.From), nobody(p.To)
	})},
	{"policies never end", compiler{edge: func(time.Time) time.Time { return time.Time{} }}},
	{"policies end a moment late", compiler{edge: func(t time.Time) time.Time { return t.Add(-time.Nanosecond) }}},
	{"policies end a moment early", compiler{edge: func(t time.Time) time.Time { return t.Add(time.Second) }}},
	{"shadow is enforced", policies(func(p *blueprint.Policy) { p.Shadow = false })},
	{"shadow is forgotten", policies(func(p *blueprint.Policy) {
		if p.Shadow {
			p.Allow, p.Deny, p.Pass = nil, nil, nil
		}
	})},
	{"log is forgotten", policies(func(p *blueprint.Policy) { p.Log = false })},
	{"names are off by one", compiler{table: func(t *verdict.Table) {
		if len(t.Names) > 1 {
			t.Names = append(t.Names[1:], t.Names[0])
		}
	}}},
	{"the last interval is the default", compiler{table: func(t *verdict.Table) {
		for _, s := range t.Sections {
			s.Intervals[len(s.Intervals)-1].Verdict = t.Default
		}
	}}},
	{"neighbours that both allow or deny are merged", compiler{table: func(t *verdict.Table) {
		for _, s := range t.Sections {
			for i := 1; i < len(s.Intervals); i++ {
				if before := s.Intervals[i-1].Verdict; before.Allow == s.Intervals[i].Verdict.Allow {
					s.Intervals[i].Verdict = before
				}
			}
		}
	}}},
	{"sections are forgotten", compiler{table: func(t *verdict.Table) { t.Sections = nil }}},
	{"a section is taken for the next protocol's", compiler{table: func(t *verdict.Table) {
		for i := range t.Sections {
			t.Sections[i].Protocol++
		}
	}}},
}

// policies makes a fault in each policy.
func policies(change func(*blueprint.Policy)) compiler {
	return compiler{blueprint: func(b *blueprint.Blueprint) {
		for i := range b.Policies {
			change(&b.Policies[i])
		}
	}}
}

// groups makes a fault in each group.
func groups(change func(*blueprint.Group)) compiler {
	return compiler{blueprint: func(b *blueprint.Blueprint) {
		for i := range b.Groups {
			change(&b.Groups[i])
		}
	}}
}

// outsides makes a fault in each outside.
func outsides(change func(*blueprint.Outside)) compiler {
	return compiler{blueprint: func(b *blueprint.Blueprint) {
		for i := range b.Outside {
			change(&b.Outside[i])
		}
	}}
}

// requirements makes a fault in each selector that has requirements.
func requirements(change func([]blueprint.Requirement) []blueprint.Requirement) compiler {
	return groups(func(g *blueprint.Group) {
		if g.Selector != nil && len(g.Selector.Requirements) > 0 {
			g.Selector = &blueprint.Selector{Requirements: change(slices.Clone(g.Selector.Requirements))}
		}
	})
}

// tiers makes a fault in when rules count.
func tiers(change func(*verdict.Rule)) compiler {
	return rules(func(r verdict.Rule) []verdict.Rule {
		change(&r)
		return []verdict.Rule{r}
	})
}

// rules makes a fault that replaces each rule of a half.
func rules(change func(verdict.Rule) []verdict.Rule) compiler {
	return compiler{half: func(h *verdict.Half) {
		var out []verdict.Rule
		for _, r := range h.Rules {
			out = append(out, change(r)...)
		}
		h.Rules = out
	}}
}

// ranges makes a fault in the bounds of rules that have some.
func ranges(change func(*verdict.Match)) compiler {
	return rules(func(r verdict.Rule) []verdict.Rule {
		whole := r.Match.First == 0 && r.Match.Last == 65535
		if r.Match.Protocol != dove.ProtocolAny && !whole {
			change(&r.Match)
		}
		return []verdict.Rule{r}
	})
}

// overlapping makes a fault in which one rule displaces another that it
// overlaps. later says that the displaced rule comes after the other one.
func overlapping(displaced func(r, other verdict.Rule, later bool) bool) compiler {
	overlap := func(a, b verdict.Match) bool {
		return (a.Protocol == b.Protocol || a.Protocol == dove.ProtocolAny || b.Protocol == dove.ProtocolAny) &&
			a.First <= b.Last && b.First <= a.Last
	}
	return compiler{half: func(h *verdict.Half) {
		var out []verdict.Rule
		for i, r := range h.Rules {
			gone := false
			for j, other := range h.Rules {
				gone = gone || i != j && overlap(r.Match, other.Match) && displaced(r, other, i > j)
			}
			if !gone {
				out = append(out, r)
			}
		}
		h.Rules = out
	}}
}

func TestSeededFaultsAreCaught(t *testing.T) {
	r := random(t)
	list := make([]judged, worldsPerFault)
	for i := range list {
		list[i] = judge(drawn(r, i))
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			for n, w := range list {
				if d := f.disagreement(w); d != "" {
					line, _, _ := strings.Cut(d, "\n")
					t.Logf("world %d: %s", n, line)
					return
				}
			}
			t.Errorf("%d worlds did not show it", len(list))
		})
	}
}
