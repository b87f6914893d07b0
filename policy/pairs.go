package policy

import "dove.network/verdict"

// PairsMax is how many pairs Pairs remembers before it forgets them all.
const PairsMax = 1 << 17

// Pairs remembers the tables of one domain, so that equal tables are one
// pointer, also across a change of the domain. It has one owner: it is not
// safe for several goroutines. The tables are.
type Pairs struct {
	domain *Domain
	pairs  map[pair]*verdict.Table
	tables map[verdict.Digest]*verdict.Table
	before map[verdict.Digest]*verdict.Table // tables of the domain before
}

type pair struct{ src, dst string } // keys of signatures

// NewPairs returns a memory of the domain's tables that is empty.
func NewPairs(d *Domain) *Pairs {
	return &Pairs{domain: d, pairs: map[pair]*verdict.Table{}, tables: map[verdict.Digest]*verdict.Table{}}
}

// Renew goes on with a changed domain. A table that stays equal keeps its
// pointer if it is asked for before the next Renew.
func (p *Pairs) Renew(d *Domain) {
	before := p.tables
	*p = *NewPairs(d)
	p.before = before
}

// Table returns the table of what src may send to dst.
func (p *Pairs) Table(src, dst Signature) *verdict.Table {
	key := pair{src.Key(), dst.Key()}
	if t := p.pairs[key]; t != nil {
		return t
	}
	if len(p.pairs) >= PairsMax {
		p.Renew(p.domain)
	}
	t := p.domain.Table(src, dst)
	digest := t.Digest()
	if same := p.tables[digest]; same != nil {
		t = same
	} else if same := p.before[digest]; same != nil {
		t = same
	}
	p.pairs[key], p.tables[digest] = t, t
	return t
}
