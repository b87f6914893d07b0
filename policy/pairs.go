package policy

import (
	"slices"

	"dove.network/dove"
	"dove.network/verdict"
)

// PairsMax is how many pairs Pairs remembers before it forgets them all.
const PairsMax = 1 << 17

// Pairs remembers the tables of one domain, so that equal tables are one
// pointer, also across a change of the domain. It has one owner: it is not
// safe for several goroutines. The tables are.
type Pairs struct {
	domain     *Domain
	numbers    map[string]int32 // of signatures that are in pairs, by key
	signatures []Signature      // by number
	pairs      map[pair]*verdict.Table
	tables     map[verdict.Digest]*shared
	before     map[verdict.Digest]*verdict.Table // that no pair has since the last Renew
	compiled   int
}

type pair struct{ src, dst int32 } // numbers of signatures

// shared is a table with the number of pairs that have it.
type shared struct {
	table *verdict.Table
	pairs int
}

// NewPairs returns a memory of the domain's tables that is empty.
func NewPairs(d *Domain) *Pairs {
	return &Pairs{domain: d, numbers: map[string]int32{}, pairs: map[pair]*verdict.Table{}, tables: map[verdict.Digest]*shared{}}
}

// Renew goes on with a changed domain, and returns what changed. Pairs of which
// both states say the same are remembered; a table of another that stays equal keeps
// its pointer if it is asked for before the next Renew.
func (p *Pairs) Renew(d *Domain) *Shift {
	s := NewShift(p.domain, d)
	p.domain, p.before = d, map[verdict.Digest]*verdict.Table{}
	if s.None() {
		return s
	}
	sides := make([]Side, len(p.signatures))
	for i, signature := range p.signatures {
		sides[i] = s.Side(signature)
	}
	for key, t := range p.pairs {
		if !sides[key.src].Differs(sides[key.dst]) {
			continue
		}
		delete(p.pairs, key)
		digest := t.Digest()
		if same := p.tables[digest]; same.pairs > 1 {
			same.pairs--
		} else {
			delete(p.tables, digest)
			p.before[digest] = t
		}
	}
	return s
}

// Compiled counts the tables that were made so far, each time.
func (p *Pairs) Compiled() int { return p.compiled }

// Table returns the table of what src may send to dst.
func (p *Pairs) Table(src, dst Signature) *verdict.Table {
	if len(p.pairs) >= PairsMax || len(p.signatures) >= PairsMax {
		last, compiled := p.tables, p.compiled
		*p = *NewPairs(p.domain)
		p.compiled = compiled
		p.before = map[verdict.Digest]*verdict.Table{}
		for digest, s := range last {
			p.before[digest] = s.table
		}
	}
	key := pair{p.number(src), p.number(dst)}
	if t := p.pairs[key]; t != nil {
		return t
	}
	p.compiled++
	t := p.domain.Table(src, dst)
	digest := t.Digest()
	same := p.tables[digest]
	if same == nil {
		if old := p.before[digest]; old != nil {
			t = old
		}
		same = &shared{table: t}
		p.tables[digest] = same
	}
	same.pairs++
	p.pairs[key] = same.table
	return same.table
}

// number gives a signature a small number.
func (p *Pairs) number(s Signature) int32 {
	key := s.Key()
	n, known := p.numbers[key]
	if !known {
		n = int32(len(p.signatures))
		p.numbers[key], p.signatures = n, append(p.signatures, s)
	}
	return n
}

// Shift is what two states of a domain say otherwise of pairs.
type Shift struct {
	before, after *Domain
	from          map[dove.Group]map[dove.Group]bool // names of sources, as the names of targets
	to            map[dove.Group]bool                // all names of targets
}

// NewShift compares two states of a domain. It costs as much as comparing their rules.
func NewShift(before, after *Domain) *Shift {
	s := &Shift{before, after, map[dove.Group]map[dove.Group]bool{}, map[dove.Group]bool{}}
	for _, t := range Changed(before, after) {
		for _, from := range t.From {
			if s.from[from] == nil {
				s.from[from] = map[dove.Group]bool{}
			}
			for _, to := range t.To {
				s.from[from][to], s.to[to] = true, true
			}
		}
	}
	return s
}

// None reports whether all pairs have the verdicts that they had.
func (s *Shift) None() bool { return len(s.from) == 0 }

// Side is what a Shift knows of one end of pairs.
type Side struct {
	from []map[dove.Group]bool // as a source: with targets of these names
	to   []dove.Group          // its names as a target
}

// Side returns that of addresses with a signature.
func (s *Shift) Side(of Signature) Side {
	var out Side
	names := slices.Concat(s.before.Names(of), s.after.Names(of))
	slices.SortFunc(names, dove.Group.Compare)
	for _, g := range slices.Compact(names) {
		if to := s.from[g]; to != nil {
			out.from = append(out.from, to)
		}
		if s.to[g] {
			out.to = append(out.to, g)
		}
	}
	return out
}

// From reports whether packets from this end can have another verdict than before.
func (e Side) From() bool { return len(e.from) > 0 }

// To reports whether packets to this end can.
func (e Side) To() bool { return len(e.to) > 0 }

// Differs reports whether packets from the one end to the other may have another
// verdict than before.
func (e Side) Differs(dst Side) bool {
	return slices.ContainsFunc(e.from, func(to map[dove.Group]bool) bool {
		return slices.ContainsFunc(dst.to, func(g dove.Group) bool { return to[g] })
	})
}
