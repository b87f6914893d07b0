package policy

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/verdict"
)

// Domain is what the blueprints of one domain say, indexed by group. It never
// changes, so any number of goroutines may read it.
type Domain struct {
	rules   []rule // in order of name
	ended   []rule // policies whose time is up, likewise
	from    index
	to      index
	groups  map[dove.Group]blueprint.Group
	chosen  selectors
	mention mentions
}

// rule is a policy with the name under which verdicts cite it. Ends are groups,
// outsides and blueprint.Any.
type rule struct {
	blueprint.Policy
	name     string
	tier     verdict.Tier
	from, to []dove.Group // sorted
}

// index lists, for each group, the rules that name it on one side, ascending.
type index map[dove.Group][]int

func (x index) add(rule int, groups []dove.Group) {
	for _, g := range groups {
		x[g] = append(x[g], rule)
	}
}

// count says how many rules name one of the groups, some perhaps twice.
func (x index) count(groups []dove.Group) int {
	n := 0
	for _, g := range groups {
		n += len(x[g])
	}
	return n
}

// Compile reads all blueprints of one domain, in any order. They were checked,
// and the Domain shares their content: they must not change any more. Policies
// that end at the edge or before it do not count, but what they mention does, so
// that their end changes no class.
func Compile(blueprints []*blueprint.Blueprint, edge time.Time) *Domain {
	d := &Domain{from: index{}, to: index{}, groups: map[dove.Group]blueprint.Group{}}
	d.mention.outsides = map[dove.Group]blueprint.Outside{}
	policies := 0
	for _, b := range blueprints {
		policies += len(b.Policies)
	}
	d.rules = make([]rule, 0, policies)
	for _, b := range blueprints {
		for _, g := range b.Groups {
			d.groups[b.GroupOf(g.Name)] = g
			if g.Selector != nil {
				d.chosen.add(b.GroupOf(g.Name), g.Selector)
			}
		}
		for _, o := range b.Outside {
			d.mention.outsides[b.GroupOf(o.Name)] = o
		}
		tier := map[blueprint.Tier]verdict.Tier{blueprint.Provider: verdict.Provider, blueprint.Tenant: verdict.Tenant, blueprint.Baseline: verdict.Baseline}[b.Tier]
		for _, p := range b.Policies {
			list := &d.rules
			if !p.Until.IsZero() && !p.Until.After(edge) {
				list = &d.ended
			}
			*list = append(*list, rule{p, b.RuleName(p), tier, sorted(p.From), sorted(p.To)})
		}
	}
	for _, list := range [][]rule{d.rules, d.ended} {
		slices.SortFunc(list, func(a, b rule) int { return strings.Compare(a.name, b.name) })
	}
	for i, r := range d.rules {
		d.from.add(i, r.from)
		d.to.add(i, r.to)
	}
	for _, b := range blueprints {
		for _, p := range b.Policies {
			d.mention.policy(p)
		}
	}
	d.mention.settle()
	return d
}

func sorted(groups []dove.Group) []dove.Group {
	if slices.IsSortedFunc(groups, dove.Group.Compare) {
		return groups
	}
	return slices.SortedFunc(slices.Values(groups), dove.Group.Compare)
}

// Halves returns what the source's end and the target's end say of packets
// from src to dst. An end whose port security is off allows everything. They may
// share rules, and nobody may change them.
func (d *Domain) Halves(src, dst Signature) (egress, ingress verdict.Half) {
	egress = d.half(src.Groups, func(g blueprint.Group) blueprint.Default { return g.Egress })
	ingress = d.half(dst.Groups, func(g blueprint.Group) blueprint.Default { return g.Ingress })
	var both, out, in []verdict.Rule
	for _, i := range d.between(src, dst) {
		r := d.rules[i]
		rules := map[blueprint.Side]*[]verdict.Rule{blueprint.BothSides: &both, blueprint.Egress: &out, blueprint.Ingress: &in}[r.Side]
		*rules = r.appendTo(*rules, dst)
	}
	for _, g := range src.Groups {
		if declared, ok := d.groups[g]; ok && !declared.Isolated && names(dst.Groups, g) {
			both = append(both, verdict.Rule{Match: everything, Action: verdict.Allow, Tier: verdict.Tenant, Name: blueprint.GroupRuleName(g)})
		}
	}
	join := func(h *verdict.Half, side []verdict.Rule) {
		if len(h.Rules)+len(side) == 0 {
			h.Rules = both
		} else {
			h.Rules = slices.Concat(both, side, h.Rules)
		}
	}
	join(&egress, out)
	join(&ingress, in)
	open := verdict.Half{Default: true, DefaultName: OpenRule, Stateful: true}
	if src.Open {
		egress = open
	}
	if dst.Open {
		ingress = open
	}
	return egress, ingress
}

var everything = verdict.Match{Protocol: dove.ProtocolAny, First: 0, Last: 65535}

// half returns what the groups of one end say beside policies.
func (d *Domain) half(groups []dove.Group, says func(blueprint.Group) blueprint.Default) verdict.Half {
	h := verdict.Half{DefaultName: verdict.DefaultDeny, Stateful: true}
	for _, g := range groups { // the least name first
		declared := d.groups[g]
		h.Stateful = h.Stateful && !declared.Stateless
		switch says(declared) {
		case blueprint.DefaultDeny:
			h.Rules = append(h.Rules, verdict.Rule{Match: everything, Action: verdict.Deny, Tier: verdict.Closed, Name: blueprint.DefaultRuleName(g)})
		case blueprint.DefaultAllow:
			if name := blueprint.DefaultRuleName(g); !h.Default || name < h.DefaultName {
				h.Default, h.DefaultName = true, name
			}
		}
	}
	return h
}

// appendTo appends what a rule says of packets to addresses like dst.
func (r rule) appendTo(rules []verdict.Rule, dst Signature) []verdict.Rule {
	for _, says := range []struct {
		action  verdict.Action
		traffic []blueprint.Traffic
	}{{verdict.Deny, r.Deny}, {verdict.Allow, r.Allow}, {verdict.Pass, r.Pass}} {
		for _, t := range says.traffic {
			m, ok := dst.match(t)
			if ok {
				rules = append(rules, verdict.Rule{Match: m, Action: says.action, Tier: r.tier, Priority: r.Priority, Name: r.name, Log: r.Log, Shadow: r.Shadow})
			}
		}
	}
	return rules
}

// match returns what a traffic means at addresses like dst; false if it names a
// port that they do not have.
func (s Signature) match(t blueprint.Traffic) (verdict.Match, bool) {
	if t.Port == "" {
		return verdict.Match{Protocol: t.Protocol, First: t.First, Last: t.Last}, true
	}
	for _, p := range s.Ports {
		if p.Name == t.Port && p.Protocol == t.Protocol {
			return verdict.Match{Protocol: p.Protocol, First: p.Number, Last: p.Number}, true
		}
	}
	return verdict.Match{}, false
}

// OpenRule names what the end of an address says whose port security is off.
const OpenRule = "port-security-off"

// Table returns a fresh table of what src may send to dst.
func (d *Domain) Table(src, dst Signature) *verdict.Table {
	return verdict.Product(d.Halves(src, dst))
}

// between returns the rules that name src in from and dst in to, ascending. It
// walks the rules of whichever side has fewer.
func (d *Domain) between(src, dst Signature) []int {
	from, to := d.Names(src), d.Names(dst)
	var found []int
	if d.from.count(from) <= d.to.count(to) {
		for _, g := range from {
			for _, i := range d.from[g] {
				if meet(d.rules[i].to, to) {
					found = append(found, i)
				}
			}
		}
	} else {
		for _, g := range to {
			for _, i := range d.to[g] {
				if meet(d.rules[i].from, from) {
					found = append(found, i)
				}
			}
		}
	}
	found = slices.DeleteFunc(found, func(i int) bool { return !d.rules[i].of(src, dst) })
	slices.Sort(found)
	return slices.Compact(found)
}

// of reports whether the rule counts for packets of the ends' family, which
// their prefixes tell once any rule asks for it.
func (r rule) of(src, dst Signature) bool {
	all := families[r.Family]
	return r.Family == blueprint.BothFamilies || src.Prefix.Overlaps(all) && dst.Prefix.Overlaps(all)
}

// Names returns, sorted, all by which policies can name addresses like s: its
// groups, the outsides around it, and any.
func (d *Domain) Names(s Signature) []dove.Group {
	around := d.mention.around(s.Prefix)
	all := slices.Concat([]dove.Group{blueprint.Any}, s.Groups, around)
	slices.SortFunc(all, dove.Group.Compare)
	return all
}

// meet reports whether two sorted lists have a group in common.
func meet(a, b []dove.Group) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	return slices.ContainsFunc(a, func(g dove.Group) bool { return names(b, g) })
}

// names reports whether a sorted list has a group.
func names(sorted []dove.Group, g dove.Group) bool {
	_, found := slices.BinarySearchFunc(sorted, g, dove.Group.Compare)
	return found
}

// Parts yields the prefixes within which a member's addresses of a prefix are
// alike, but for what lies in a smaller one of them: the prefix itself, and those
// in it that policies mention. SignatureIn says what each is like.
func (d *Domain) Parts(within netip.Prefix) []netip.Prefix {
	return append([]netip.Prefix{within}, d.mention.inside(within)...)
}
