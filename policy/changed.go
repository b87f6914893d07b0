package policy

import (
	"iter"
	"maps"
	"slices"

	"dove.network/blueprint"
	"dove.network/dove"
)

// Touch is a set of pairs: packets from addresses that one of From names to
// addresses that one of To names (Domain.Names).
type Touch struct{ From, To []dove.Group }

var anybody = []dove.Group{blueprint.Any}

// Changed returns sets of pairs outside of which two states of a domain say the
// same of every pair of signatures. Names are those that either state gives. It
// costs as much as comparing their rules.
func Changed(before, after *Domain) []Touch {
	moved := map[dove.Group]bool{} // outsides that hold other addresses
	for _, states := range [][2]*Domain{{before, after}, {after, before}} {
		for name, o := range states[0].mention.outsides {
			is := states[1].mention.outsides[name]
			if !slices.Equal(o.Prefixes, is.Prefixes) || !slices.Equal(o.Except, is.Except) {
				moved[name] = true
			}
		}
	}
	var all []Touch
	for b, a := range both(before.rules, after.rules) {
		if a != nil && b != nil && a.equal(b) && !a.namesOneOf(moved) {
			continue
		}
		if b != nil {
			all = append(all, Touch{b.from, b.to})
		}
		if a != nil && (b == nil || !slices.Equal(a.from, b.from) || !slices.Equal(a.to, b.to)) {
			all = append(all, Touch{a.from, a.to})
		}
	}
	groups := maps.Clone(before.groups)
	maps.Copy(groups, after.groups)
	for _, g := range slices.SortedFunc(maps.Keys(groups), dove.Group.Compare) {
		is := []dove.Group{g}
		b, a := before.says(g), after.says(g)
		if b.members != a.members {
			all = append(all, Touch{is, is})
		}
		if b.egress != a.egress || b.stateless != a.stateless {
			all = append(all, Touch{is, anybody})
		}
		if b.ingress != a.ingress || b.stateless != a.stateless {
			all = append(all, Touch{anybody, is})
		}
	}
	return all
}

// saying is what a group says beside policies.
type saying struct {
	members, stateless bool
	egress, ingress    blueprint.Default
}

func (d *Domain) says(g dove.Group) saying {
	declared, ok := d.groups[g]
	return saying{ok && !declared.Isolated, declared.Stateless, declared.Egress, declared.Ingress}
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

// equal reports whether two rules of one name say the same, while they last.
func (r *rule) equal(o *rule) bool {
	return r.tier == o.tier && r.Side == o.Side && r.Priority == o.Priority && r.Family == o.Family && r.Log == o.Log && r.Shadow == o.Shadow &&
		slices.Equal(r.from, o.from) && slices.Equal(r.to, o.to) &&
		slices.Equal(r.Allow, o.Allow) && slices.Equal(r.Deny, o.Deny) && slices.Equal(r.Pass, o.Pass)
}

func (r *rule) namesOneOf(set map[dove.Group]bool) bool {
	in := func(g dove.Group) bool { return set[g] }
	return len(set) > 0 && (slices.ContainsFunc(r.from, in) || slices.ContainsFunc(r.to, in))
}

// Turned is about addresses whose signature is one in one state of a domain and
// another in another: it returns the names of those with whom they may
// have other verdicts for that reason, as sources and as targets.
func Turned(before *Domain, was Signature, after *Domain, is Signature) (out, in []dove.Group) {
	if was.Key() == is.Key() {
		return nil, nil
	}
	if was.Open != is.Open {
		return anybody, anybody
	}
	ported := !slices.Equal(was.Ports, is.Ports)
	for b, a := range both(before.naming(before.from, was), after.naming(after.from, is)) {
		if r := alone(b, a); r != nil {
			out = append(out, r.to...)
		}
	}
	for b, a := range both(before.naming(before.to, was), after.naming(after.to, is)) {
		switch r := alone(b, a); {
		case r != nil:
			in = append(in, r.from...)
		case ported:
			in = append(append(in, b.from...), a.from...)
		}
	}
	for _, g := range slices.Concat(was.Groups, is.Groups) {
		if names(was.Groups, g) == names(is.Groups, g) {
			continue
		}
		b, a := before.says(g), after.says(g)
		if b.members || a.members {
			out, in = append(out, g), append(in, g)
		}
		if b.stateless || a.stateless || b.egress != blueprint.DefaultNone || a.egress != blueprint.DefaultNone {
			out = append(out, anybody...)
		}
		if b.stateless || a.stateless || b.ingress != blueprint.DefaultNone || a.ingress != blueprint.DefaultNone {
			in = append(in, anybody...)
		}
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
	for _, g := range d.Names(s) {
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
