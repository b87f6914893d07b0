package plan

import (
	"maps"
	"slices"

	"dove.network/dove"
	"dove.network/policy"
	"dove.network/verdict"
)

// relation is the pairs of classes between which one piece is the same.
type relation struct {
	piece
	targets map[int][]int // by source; ascending once compared
}

// compare judges the pairs of classes that may differ, at most so many, and
// returns how many it left out.
func (d *domain) compare(most int) (left int) {
	candidates := d.candidates()
	for _, src := range slices.Sorted(maps.Keys(candidates)) {
		targets := candidates[src]
		slices.Sort(targets)
		for _, dst := range slices.Compact(targets) {
			a, b := d.classes[src], d.classes[dst]
			was, is := d.joined(a.island, b.island)
			if !was && !is {
				continue
			}
			if d.compared == most {
				left++
				continue
			}
			d.compared++
			for _, p := range d.judge(a, b, was, is) {
				r := d.pieces[p.key]
				if r == nil {
					r = &relation{piece: p, targets: map[int][]int{}}
					d.pieces[p.key] = r
				}
				r.targets[src] = append(r.targets[src], dst)
			}
		}
	}
	return left
}

// judge compares what two classes may say to each other. Joined or not is as
// much of a state as its tables: pairs of it are remembered apart.
func (d *domain) judge(a, b class, was, is bool) []piece {
	key := [4]int{-1, -1, -1, -1}
	if was {
		key[0], key[1] = a.before, b.before
	}
	if is {
		key[2], key[3] = a.after, b.after
	}
	if known, ok := d.turns[key]; ok {
		return known
	}
	var before, after *verdict.Table
	if was {
		before = d.before.Table(d.signatures[a.before], d.signatures[b.before])
	}
	if is {
		after = d.after.Table(d.signatures[a.after], d.signatures[b.after])
	}
	d.turns[key] = pieces(before, after)
	return d.turns[key]
}

// candidates returns the pairs of classes that can differ, by source; some more
// than once.
func (d *domain) candidates() map[int][]int {
	named := map[dove.Group][]int{} // the classes of a name, some twice
	for i, c := range d.classes {
		for _, g := range slices.Concat(d.before.Names(d.signatures[c.before]), d.after.Names(d.signatures[c.after])) {
			named[g] = append(named[g], i)
		}
	}
	of := func(names []dove.Group) []int {
		var list []int
		for _, g := range names {
			list = append(list, named[g]...)
		}
		slices.Sort(list)
		return slices.Compact(list)
	}
	all := map[int][]int{}
	cross := func(sources, targets []int) {
		for _, s := range sources {
			all[s] = append(all[s], targets...)
		}
	}
	for _, t := range policy.Changed(d.before, d.after) {
		cross(of(t.From), of(t.To))
	}
	for i, c := range d.classes {
		if c.before != c.after {
			out, in := policy.Turned(d.before, d.signatures[c.before], d.after, d.signatures[c.after])
			cross([]int{i}, of(out))
			cross(of(in), []int{i})
		}
	}
	for a := range d.islands {
		for b := range d.islands {
			if was, is := d.joined(a, b); was != is {
				cross(d.on(a), d.on(b))
			}
		}
	}
	return all
}

// on returns the classes of an island.
func (d *domain) on(island int) []int {
	var list []int
	for i, c := range d.classes {
		if c.island == island {
			list = append(list, i)
		}
	}
	return list
}
