package plan

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"dove.network/dove"
	"dove.network/policy"
)

// lines turns the relations into lines, each of all sources that have the same
// targets, and names both.
func (d *domain) lines() []Line {
	n := newNamer(d)
	var all []Line
	for _, key := range slices.Sorted(maps.Keys(d.pieces)) {
		r := d.pieces[key]
		for _, block := range r.blocks() {
			l := Line{
				Op: r.op, Domain: d.name, Traffic: r.traffic, Before: r.before, After: r.after,
				From: n.names(r.op, block.sources), To: n.names(r.op, block.targets),
				sources: block.sources, targets: block.targets,
			}
			if d.count(&l); l.EndpointCount > 0 {
				all = append(all, l)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Line) int {
		return cmp.Or(
			cmp.Compare(a.Op, b.Op), slices.Compare(a.From, b.From), slices.Compare(a.To, b.To),
			slices.Compare(exact(a.Traffic), exact(b.Traffic)), cmp.Compare(a.Before, b.Before), cmp.Compare(a.After, b.After),
		)
	})
	return all
}

// block is sources that all have the same targets.
type block struct{ sources, targets []int }

// blocks cuts a relation into as few blocks as rows or columns make.
func (r *relation) blocks() []block {
	reverse := map[int][]int{}
	for _, src := range slices.Sorted(maps.Keys(r.targets)) {
		for _, dst := range r.targets[src] {
			reverse[dst] = append(reverse[dst], src)
		}
	}
	rows, columns := alike(r.targets), alike(reverse)
	if len(rows) <= len(columns) {
		return rows
	}
	for i, b := range columns {
		columns[i] = block{b.targets, b.sources}
	}
	return columns
}

// alike puts together the sources with equal targets, in order of the first source.
func alike(of map[int][]int) []block {
	byTargets := map[string]int{}
	var blocks []block
	for _, src := range slices.Sorted(maps.Keys(of)) {
		var key strings.Builder
		for _, dst := range of[src] {
			key.WriteRune(rune(dst & 0x3fff))
			key.WriteRune(rune(dst >> 14))
		}
		at, known := byTargets[key.String()]
		if !known {
			at = len(blocks)
			byTargets[key.String()] = at
			blocks = append(blocks, block{targets: of[src]})
		}
		blocks[at].sources = append(blocks[at].sources, src)
	}
	return blocks
}

// count fills in which endpoints and hosts a line touches: those with a partner
// that is another one, and has an address of the same family.
func (d *domain) count(l *Line) {
	touched := make([]bool, len(d.endpoints))
	hosts := map[dove.HostName]bool{}
	from, to := d.families(l.sources), d.families(l.targets)
	note := func(side, other map[int]uint8) {
		var having [family6 + 1]int // endpoints of the other side, by family
		for _, f := range other {
			having[f&family4]++
			having[f&family6]++
		}
		for e, f := range side {
			for _, family := range []uint8{f & family4, f & family6} {
				partners := having[family]
				if other[e]&family != 0 {
					partners-- // itself
				}
				if e >= 0 && family != 0 && partners > 0 {
					touched[e] = true
				}
			}
		}
	}
	note(from, to)
	note(to, from)
	for i, yes := range touched {
		if !yes {
			continue
		}
		if l.EndpointCount++; l.EndpointCount <= NamesMax {
			l.Endpoints = append(l.Endpoints, d.endpoints[i].name)
		}
		for _, h := range d.endpoints[i].hosts {
			hosts[h] = true
		}
	}
	l.HostCount = len(hosts)
	l.Hosts = slices.Sorted(maps.Keys(hosts))
	l.Hosts = l.Hosts[:min(len(l.Hosts), NamesMax)]
}

// families returns the endpoints of some classes, with the families of those of
// their addresses that are in the classes.
func (d *domain) families(classes []int) map[int]uint8 {
	all := map[int]uint8{}
	for _, i := range classes {
		for _, m := range d.classes[i].members {
			all[m.endpoint] |= m.families
		}
		if f := d.classes[i].families; f != 0 {
			all[-1-i] = f // an outside one, which is no endpoint
		}
	}
	return all
}

// namer finds the words for sets of classes.
type namer struct {
	d       *domain
	groups  [2]map[dove.Group][]int // the classes of a group before and after, ascending
	spread  map[int]map[int]bool    // the islands of a signature
	outside int                     // how many classes are outside
	turns   [2]map[int]map[int]bool // what becomes of a signature, and what it was
}

func newNamer(d *domain) *namer {
	n := &namer{d: d, spread: map[int]map[int]bool{}}
	for side := range n.groups {
		n.groups[side], n.turns[side] = map[dove.Group][]int{}, map[int]map[int]bool{}
		for i, c := range d.classes {
			if c.outside != "" {
				n.outside += side // once
				continue
			}
			s := c.signature(side)
			for _, g := range d.signatures[s].Groups {
				n.groups[side][g] = append(n.groups[side][g], i)
			}
			if n.spread[s] == nil {
				n.spread[s] = map[int]bool{}
			}
			n.spread[s][c.island] = true
			if n.turns[side][s] == nil {
				n.turns[side][s] = map[int]bool{}
			}
			n.turns[side][s][c.signature(1-side)] = true
		}
	}
	return n
}

// signature returns the number of that before (0) or after (1).
func (c class) signature(side int) int { return [2]int{c.before, c.after}[side] }

// names writes a set of classes, ascending: by groups that are in it as a whole,
// and the rest one by one. What is removed is named by what the classes were, what
// is added by what they will be.
func (n *namer) names(op Op, set []int) []string {
	side := 0
	if op == Added {
		side = 1
	}
	left, out := map[int]bool{}, []string{}
	candidates := map[dove.Group]int{} // how many classes of it are in the set
	var inside, outside []int
	for _, i := range set {
		if n.d.classes[i].outside != "" {
			outside = append(outside, i)
		} else {
			inside = append(inside, i)
		}
	}
	switch {
	case len(outside) == n.outside && len(outside) > 0:
		out = append(out, "outside")
	default:
		for _, i := range outside {
			out = append(out, "outside "+n.d.classes[i].outside)
		}
	}
	if len(inside) == len(n.d.classes)-n.outside && len(inside) > 1 {
		return append([]string{"any endpoint"}, out...)
	}
	for _, i := range inside {
		left[i] = true
		for _, g := range n.d.signatures[n.d.classes[i].signature(side)].Groups {
			candidates[g]++
		}
	}
	var whole []dove.Group
	for g, count := range candidates {
		if count == len(n.groups[side][g]) {
			whole = append(whole, g)
		}
	}
	slices.SortFunc(whole, func(a, b dove.Group) int {
		return cmp.Or(cmp.Compare(candidates[b], candidates[a]), a.Compare(b))
	})
	for _, g := range whole {
		covers := false
		for _, i := range n.groups[side][g] {
			covers = covers || left[i]
			delete(left, i)
		}
		if covers {
			out = append(out, relative(g))
		}
	}
	for i := range left {
		out = append(out, n.name(n.d.classes[i], side))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// name writes one class.
func (n *namer) name(c class, side int) string {
	s := n.d.signatures[c.signature(side)]
	text := groupsText(s)
	if len(n.turns[side][c.signature(side)]) > 1 {
		text += []string{" that will be ", " that was "}[side] + groupsText(n.d.signatures[c.signature(1-side)])
	}
	if len(n.spread[c.signature(side)]) > 1 {
		text += " on " + n.d.islands[c.island].String()
	}
	return text
}

func groupsText(s policy.Signature) string {
	text := "no group"
	if len(s.Groups) > 0 {
		names := make([]string, len(s.Groups))
		for i, g := range s.Groups {
			names[i] = relative(g)
		}
		text = "only " + strings.Join(names, "+")
	}
	if s.Prefix.IsValid() {
		text += " in " + s.Prefix.String()
	}
	for i, p := range s.Ports {
		text += []string{" with ", ", "}[min(i, 1)] + p.Name + " = " + p.String()
	}
	if s.Open {
		text += " without port security"
	}
	return text
}

// relative names a group as a tenant does.
func relative(g dove.Group) string { return g.Blueprint + "/" + g.Name }
