package soft

import (
	"cmp"
	"slices"

	"dove.network/dataplane"
	"dove.network/verdict"
)

// shade names a rule in shadow that tables of a domain have.
type shade struct {
	domain uint32
	rule   string
}

// shadow is its counts, and how many pairs have a table with it.
type shadow struct {
	dataplane.Shadow
	pairs int
}

// setPair gives a pair a table, or takes it away. It may be that answers to flows of the
// pair back are held against it.
func (s *Switch) setPair(k dataplane.PairKey, t *verdict.Table) {
	held := s.pairs[k]
	if t.Equal(held) {
		return
	}
	delete(s.denied, k)
	back := dataplane.PairKey{Domain: k.Domain, Src: k.Dst, Dst: k.Src}
	if t := s.pairs[back]; t != nil && !t.Stateful() {
		delete(s.denied, back)
	}
	if t != nil {
		s.pairs[k] = t
		for _, rule := range t.Shadows() {
			at := shade{k.Domain, rule}
			if s.shadows[at] == nil {
				s.shadows[at] = &shadow{Shadow: dataplane.Shadow{Domain: k.Domain, Rule: rule, Since: s.clock()}}
			}
			s.shadows[at].pairs++
		}
	} else {
		delete(s.pairs, k)
	}
	if held == nil {
		return
	}
	for _, rule := range held.Shadows() {
		at := shade{k.Domain, rule}
		if s.shadows[at].pairs--; s.shadows[at].pairs == 0 {
			delete(s.shadows, at)
		}
	}
}

// Shadows implements dataplane.Switch, in order of domain and rule.
func (s *Switch) Shadows() ([]dataplane.Shadow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []dataplane.Shadow
	for _, held := range s.shadows {
		all = append(all, held.Shadow)
	}
	slices.SortFunc(all, func(a, b dataplane.Shadow) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Rule, b.Rule))
	})
	return all, nil
}

// TakeNotes returns the sampled notes since the last call, oldest first.
func (s *Switch) TakeNotes() []dataplane.Note {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.ledger.notes
	s.ledger.notes = nil
	return taken
}
