package policy

import (
	"slices"
	"strings"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/verdict"
)

// Domain is what the blueprints of one domain say, indexed by group. It never
// changes, so any number of goroutines may read it.
type Domain struct {
	rules []rule // in order of name
	from  index
	to    index
	open  map[dove.Group]bool // groups whose members may talk to each other
	shut  map[dove.Group]bool // isolated groups
}

// rule is a policy with the name under which verdicts cite it.
type rule struct {
	name     string
	from, to []dove.Group // sorted
	allow    []blueprint.Traffic
	deny     []blueprint.Traffic
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
// and the Domain shares their content: they must not change any more.
func Compile(blueprints []*blueprint.Blueprint) *Domain {
	d := &Domain{from: index{}, to: index{}, open: map[dove.Group]bool{}, shut: map[dove.Group]bool{}}
	for _, b := range blueprints {
		for _, g := range b.Groups {
			if g.Isolated {
				d.shut[b.GroupOf(g.Name)] = true
			} else {
				d.open[b.GroupOf(g.Name)] = true
			}
		}
		for _, p := range b.Policies {
			d.rules = append(d.rules, rule{b.RuleName(p), sorted(p.From), sorted(p.To), p.Allow, p.Deny})
		}
	}
	slices.SortFunc(d.rules, func(a, b rule) int { return strings.Compare(a.name, b.name) })
	for i, r := range d.rules {
		d.from.add(i, r.from)
		d.to.add(i, r.to)
	}
	return d
}

func sorted(groups []dove.Group) []dove.Group {
	if slices.IsSortedFunc(groups, dove.Group.Compare) {
		return groups
	}
	return slices.SortedFunc(slices.Values(groups), dove.Group.Compare)
}

// Halves returns what the source's end and the target's end say of packets
// from src to dst. Policies of a blueprint open both, so both have the same
// rules, unless port security of an end is off: that one allows everything. They
// share the rules, and nobody may change them.
func (d *Domain) Halves(src, dst Signature) (egress, ingress verdict.Half) {
	var rules []verdict.Rule
	for _, i := range d.between(src, dst) {
		r := d.rules[i]
		for _, t := range r.deny {
			rules = append(rules, verdict.Rule{Match: matchOf(t), Allow: false, Name: r.name})
		}
		for _, t := range r.allow {
			rules = append(rules, verdict.Rule{Match: matchOf(t), Allow: true, Name: r.name})
		}
	}
	for _, g := range src.Groups {
		if d.open[g] && names(dst.Groups, g) {
			all := verdict.Match{Protocol: dove.ProtocolAny, First: 0, Last: 65535}
			rules = append(rules, verdict.Rule{Match: all, Allow: true, Name: blueprint.GroupRuleName(g)})
		}
	}
	half := verdict.Half{Rules: rules, DefaultName: verdict.DefaultDeny, Stateful: true}
	egress, ingress = half, half
	open := verdict.Half{Default: true, DefaultName: OpenRule, Stateful: true}
	if src.Open {
		egress = open
	}
	if dst.Open {
		ingress = open
	}
	return egress, ingress
}

// OpenRule names what the end of an address says whose port security is off.
const OpenRule = "port-security-off"

// Table returns a fresh table of what src may send to dst.
func (d *Domain) Table(src, dst Signature) *verdict.Table {
	return verdict.Product(d.Halves(src, dst))
}

// between returns the rules that name a group of src in from and one of dst in
// to, ascending. It walks the rules of whichever side has fewer.
func (d *Domain) between(src, dst Signature) []int {
	var found []int
	if d.from.count(src.Groups) <= d.to.count(dst.Groups) {
		for _, g := range src.Groups {
			for _, i := range d.from[g] {
				if meet(d.rules[i].to, dst.Groups) {
					found = append(found, i)
				}
			}
		}
	} else {
		for _, g := range dst.Groups {
			for _, i := range d.to[g] {
				if meet(d.rules[i].from, src.Groups) {
					found = append(found, i)
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
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

// matchOf is a traffic whose port has a number.
func matchOf(t blueprint.Traffic) verdict.Match {
	return verdict.Match{Protocol: t.Protocol, First: t.First, Last: t.Last}
}
