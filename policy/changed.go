package policy

import (
	"iter"
	"maps"
	"slices"

	"dove.network/blueprint"
	"dove.network/dove"
)

// End is what one side of a rule matches.
type End struct {
	groups []dove.Group // and outsides, sorted; one of them is enough
	any    bool
	of     *Domain // that knows the outsides
}

// Has reports whether addresses of a signature are of the end.
func (e End) Has(s Signature) bool {
	return e.any || meet(e.groups, s.Groups) || e.of != nil && meet(e.groups, e.of.mention.around(s.Prefix))
}

func (d *Domain) end(groups []dove.Group) End {
	return End{groups: groups, any: slices.Contains(groups, blueprint.Any), of: d}
}

var all = End{any: true}

// Touch is a set of pairs: packets from what From has to what To has.
type Touch struct{ From, To End }

// Has reports whether a pair is in the set.
func (t Touch) Has(src, dst Signature) bool { return t.From.Has(src) && t.To.Has(dst) }

// Changed returns sets of pairs outside of which two states of a domain say the
// same of every pair of signatures. It costs as much as comparing their rules.
func Changed(before, after *Domain) []Touch {
	if !before.Classifies(after) || !maps.EqualFunc(before.mention.holders, after.mention.holders, slices.Equal) {
		return []Touch{{all, all}} // names of addresses mean something else
	}
	var touched []Touch
	for b, a := range both(before.rules, after.rules) {
		switch {
		case a == nil:
			touched = append(touched, b.touch(before))
		case b == nil:
			touched = append(touched, a.touch(after))
		case !a.equal(*b):
			touched = append(touched, b.touch(before))
			if !slices.Equal(a.from, b.from) || !slices.Equal(a.to, b.to) {
				touched = append(touched, a.touch(after))
			}
		}
	}
	for _, g := range before.differing(after) {
		members := End{groups: []dove.Group{g}}
		touched = append(touched, Touch{members, members})
		if b, a := before.groups[g], after.groups[g]; b.Egress != a.Egress || b.Ingress != a.Ingress || b.Stateless != a.Stateless {
			touched = append(touched, Touch{members, all}, Touch{all, members})
		}
	}
	return touched
}

// both yields the rules of one name in two lists that are in order of names; one
// of them is nil where only the other list has it.
func both(before, after []rule) iter.Seq2[*rule, *rule] {
	return func(yield func(b, a *rule) bool) {
		for len(before) > 0 || len(after) > 0 {
			var b, a *rule
			if len(after) == 0 || len(before) > 0 && before[0].name <= after[0].name {
				b = &before[0]
			}
			if len(before) == 0 || len(after) > 0 && after[0].name <= before[0].name {
				a = &after[0]
			}
			if b != nil {
				before = before[1:]
			}
			if a != nil {
				after = after[1:]
			}
			if !yield(b, a) {
				return
			}
		}
	}
}

func (r rule) touch(d *Domain) Touch { return Touch{d.end(r.from), d.end(r.to)} }

// equal reports whether two rules of one name say the same.
func (r rule) equal(o rule) bool {
	return slices.Equal(r.from, o.from) && slices.Equal(r.to, o.to) &&
		slices.Equal(r.Allow, o.Allow) && slices.Equal(r.Deny, o.Deny) && slices.Equal(r.Pass, o.Pass) &&
		r.tier == o.tier && r.Priority == o.Priority && r.Side == o.Side && r.Family == o.Family && r.Log == o.Log && r.Shadow == o.Shadow
}

// differing returns, in order, the groups of which two states say something else
// about members.
func (d *Domain) differing(o *Domain) []dove.Group {
	var list []dove.Group
	differs := func(b, a blueprint.Group) bool {
		return b.Isolated != a.Isolated || b.Egress != a.Egress || b.Ingress != a.Ingress || b.Stateless != a.Stateless
	}
	for g, was := range d.groups {
		if is, ok := o.groups[g]; !ok || differs(was, is) {
			list = append(list, g)
		}
	}
	for g := range o.groups {
		if _, ok := d.groups[g]; !ok {
			list = append(list, g)
		}
	}
	slices.SortFunc(list, dove.Group.Compare)
	return list
}

// Turned is about an address whose signature is one in one state of a domain
// and another in another: it returns the ends with which its pairs may have other
// verdicts for that reason, as a source and as a target.
func Turned(before *Domain, was Signature, after *Domain, is Signature) (out, in []End) {
	if was.Key() == is.Key() {
		return nil, nil
	}
	if was.Open != is.Open {
		return []End{all}, []End{all}
	}
	for b, a := range both(before.naming(before.from, was), after.naming(after.from, is)) {
		if r := alone(b, a); r != nil {
			out = append(out, after.end(r.to), before.end(r.to))
		}
	}
	for b, a := range both(before.naming(before.to, was), after.naming(after.to, is)) {
		if r := alone(b, a); r != nil {
			in = append(in, after.end(r.from), before.end(r.from))
		}
	}
	for _, g := range slices.Concat(was.Groups, is.Groups) {
		if names(was.Groups, g) == names(is.Groups, g) {
			continue
		}
		members := End{groups: []dove.Group{g}}
		out, in = append(out, members), append(in, members)
		for _, d := range []*Domain{before, after} {
			if says := d.groups[g]; says.Egress != blueprint.DefaultNone || says.Ingress != blueprint.DefaultNone || says.Stateless {
				return []End{all}, []End{all}
			}
		}
	}
	if !slices.Equal(was.Ports, is.Ports) {
		in = append(in, all)
	}
	return out, in
}

// alone returns the one of two rules that is there, nil if both are.
func alone(b, a *rule) *rule {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return nil
}

// naming returns the rules that an index lists for a signature, in order.
func (d *Domain) naming(x index, s Signature) []rule {
	var found []int
	for _, g := range d.names(s) {
		found = append(found, x[g]...)
	}
	slices.Sort(found)
	found = slices.Compact(found)
	list := make([]rule, len(found))
	for i, at := range found {
		list[i] = d.rules[at]
	}
	return list
}
