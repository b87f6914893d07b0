package policy

import (
	"cmp"
	"slices"

	"dove.network/dove"
	"dove.network/verdict"
)

// largeMax is how many pairs TooLarge makes the tables of: those about which
// policies say most.
const largeMax = 32

// burden is what rules may come to in a table, at most.
type burden struct{ intervals, bytes int }

// tooMuch reports whether that may be more than a table holds, beside what groups say.
func (b burden) tooMuch() bool {
	return b.intervals > verdict.IntervalsMax-64 || b.bytes > verdict.EncodedMax-1<<16
}

// burden of a rule: each of its ranges cuts the ports of a protocol in two places,
// and what is between may have a name of its own and one of another rule's beside it.
func (r rule) burden() burden {
	n := 3 * (len(r.Allow) + len(r.Deny) + len(r.Pass))
	return burden{n, n * (2*len(r.name) + 32)}
}

// MayBeLarge reports whether all that the policies say might not fit one table:
// if it does, each pair's does.
func (d *Domain) MayBeLarge() bool {
	var all burden
	for _, r := range d.rules {
		b := r.burden()
		all.intervals, all.bytes = all.intervals+b.intervals, all.bytes+b.bytes
	}
	return all.tooMuch()
}

// TooLarge returns a pair of signatures whose table would be verdict.TableTooLarge,
// so that nothing passes, if it finds one among those of which policies say most.
func (d *Domain) TooLarge(signatures []Signature) (src, dst Signature, found bool) {
	type end struct {
		Signature
		burden
	}
	heavy := func(x index) []end {
		var all []end
		for _, s := range signatures {
			e := end{Signature: s}
			for _, g := range d.Names(s) {
				for _, i := range x[g] {
					b := d.rules[i].burden()
					e.intervals, e.bytes = e.intervals+b.intervals, e.bytes+b.bytes
				}
			}
			if e.tooMuch() {
				all = append(all, e)
			}
		}
		slices.SortStableFunc(all, func(a, b end) int { return cmp.Compare(b.bytes, a.bytes) })
		return all[:min(len(all), largeMax)]
	}
	type both struct {
		src, dst Signature
		bytes    int
	}
	var pairs []both
	targets := heavy(d.to)
	for _, s := range heavy(d.from) {
		for _, t := range targets {
			pairs = append(pairs, both{s.Signature, t.Signature, min(s.bytes, t.bytes)})
		}
	}
	slices.SortStableFunc(pairs, func(a, b both) int { return cmp.Compare(b.bytes, a.bytes) })
	for _, p := range pairs[:min(len(pairs), largeMax)] {
		if d.Overflows(p.src, p.dst) {
			return p.src, p.dst, true
		}
	}
	return Signature{}, Signature{}, false
}

// Ranges returns, for each of some signatures, how many ranges of ports the rules name at most
// in the tables of packets between it and all of them, either way. It costs as much as the rules and the signatures.
func (d *Domain) Ranges(signatures []Signature) []int {
	named := map[dove.Group]int{} // signatures
	for _, s := range signatures {
		for _, g := range d.Names(s) {
			named[g]++
		}
	}
	all := func(groups []dove.Group) (n int) {
		for _, g := range groups {
			n += named[g]
		}
		return n
	}
	by := map[dove.Group]int{}
	for _, r := range d.rules {
		ranges := len(r.Allow) + len(r.Deny) + len(r.Pass)
		from, to := all(r.from), all(r.to)
		for _, g := range r.from {
			by[g] += ranges * to
		}
		for _, g := range r.to {
			by[g] += ranges * from
		}
	}
	out := make([]int, len(signatures))
	for i, s := range signatures {
		for _, g := range d.Names(s) {
			out[i] += by[g]
		}
	}
	return out
}

// Overflows reports whether the table of a pair would be verdict.TableTooLarge.
func (d *Domain) Overflows(src, dst Signature) bool {
	t := d.Table(src, dst)
	v := t.Lookup(dove.ProtocolTCP, 0)
	return t.Names[v.Rule] == verdict.TableTooLarge
}
