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
	signatures map[string]Signature // by key, of those that are in pairs
	pairs      map[pair]*verdict.Table
	tables     map[verdict.Digest]*verdict.Table
	before     map[verdict.Digest]*verdict.Table // tables of the domain before
}

type pair struct{ src, dst string } // keys of signatures

// NewPairs returns a memory of the domain's tables that is empty.
func NewPairs(d *Domain) *Pairs {
	return &Pairs{domain: d, signatures: map[string]Signature{}, pairs: map[pair]*verdict.Table{}, tables: map[verdict.Digest]*verdict.Table{}}
}

// Renew goes on with a changed domain. Pairs of which both states say the same
// are remembered; a table of another that stays equal keeps its pointer if it is
// asked for before the next Renew.
func (p *Pairs) Renew(d *Domain) {
	last := *p
	*p = *NewPairs(d)
	p.before = last.tables
	touched := touching(Changed(last.domain, d))
	names := map[string][]dove.Group{} // in either state
	for key, s := range last.signatures {
		names[key] = slices.Concat(last.domain.Names(s), d.Names(s))
	}
	for key, t := range last.pairs {
		if touched.has(names[key.src], names[key.dst]) {
			continue
		}
		p.pairs[key], p.tables[t.Digest()] = t, t
		p.signatures[key.src], p.signatures[key.dst] = last.signatures[key.src], last.signatures[key.dst]
	}
}

// touched are sets of pairs, by the names of sources, as the names of targets.
type touched map[dove.Group]map[dove.Group]bool

func touching(all []Touch) touched {
	out := touched{}
	for _, t := range all {
		for _, from := range t.From {
			if out[from] == nil {
				out[from] = map[dove.Group]bool{}
			}
			for _, to := range t.To {
				out[from][to] = true
			}
		}
	}
	return out
}

func (t touched) has(src, dst []dove.Group) bool {
	return slices.ContainsFunc(src, func(from dove.Group) bool {
		to := t[from]
		return len(to) > 0 && slices.ContainsFunc(dst, func(g dove.Group) bool { return to[g] })
	})
}

// Table returns the table of what src may send to dst.
func (p *Pairs) Table(src, dst Signature) *verdict.Table {
	key := pair{src.Key(), dst.Key()}
	if t := p.pairs[key]; t != nil {
		return t
	}
	if len(p.pairs) >= PairsMax {
		last := p.tables
		*p = *NewPairs(p.domain)
		p.before = last
	}
	t := p.domain.Table(src, dst)
	digest := t.Digest()
	if same := p.tables[digest]; same != nil {
		t = same
	} else if same := p.before[digest]; same != nil {
		t = same
	}
	p.pairs[key], p.tables[digest] = t, t
	p.signatures[key.src], p.signatures[key.dst] = src, dst
	return t
}
