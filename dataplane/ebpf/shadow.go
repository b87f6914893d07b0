package ebpf

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"dove.network/dataplane"
	"dove.network/verdict"
)

// The counts of rules in shadow are the programs', by domain, table and rule. They
// begin when the first pair of a domain has a table with the rule, outlive tables,
// and are forgotten with the last pair.

// shade names a rule in shadow.
type shade struct {
	domain uint32
	rule   string
}

// shadow is such a rule of pairs that are held.
type shadow struct {
	pairs int              // that have a table with it
	sum   dataplane.Shadow // of tables that are erased
}

// shade notes that one more pair of a domain has a table.
func (s *Switch) shade(domain uint32, t *table) {
	for _, rule := range t.shade {
		k := shade{domain, rule}
		if s.shadows[k] == nil {
			s.shadows[k] = &shadow{sum: dataplane.Shadow{Domain: domain, Rule: rule, Since: time.Now()}}
		}
		s.shadows[k].pairs++
	}
}

// unshade notes that one pair less has a table.
func (s *Switch) unshade(domain uint32, t *table) {
	for _, rule := range t.shade {
		k := shade{domain, rule}
		if s.shadows[k].pairs--; s.shadows[k].pairs == 0 {
			delete(s.shadows, k)
			s.stale = true
		}
	}
}

// keepShadow moves what the programs counted for an erased table.
func (s *Switch) keepShadow(k dswitchCounterKey, c dataplane.Count) {
	if held := s.shadows[shade{k.Port, c.Rule}]; held != nil {
		held.sum.Count(k.Would&wouldNow != 0, k.Would&wouldAllow != 0, c.Packets)
	}
}

// What struct counter_key says of rules in shadow.
const (
	wouldAllow = 2 // WOULD_ALLOW
	wouldNow   = 4 // WOULD_NOW
)

// forgetShadows deletes what the programs counted for rules that no pair has, or of
// all: another run does not know since when.
func (s *Switch) forgetShadows(all bool) error {
	var gone []dswitchCounterKey
	err := s.eachCounter(func(k dswitchCounterKey, c dataplane.Count) error {
		if k.Would != 0 && (all || s.shadows[shade{k.Port, c.Rule}] == nil) {
			gone = append(gone, k)
		}
		return nil
	})
	for _, k := range gone {
		err = errors.Join(err, remove(s.maps.Counters, k))
	}
	return err
}

// Shadows implements dataplane.Switch. They are sorted.
func (s *Switch) Shadows() ([]dataplane.Shadow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sums := map[shade]dataplane.Shadow{}
	for k, held := range s.shadows {
		sums[k] = held.sum
	}
	if len(sums) == 0 {
		return nil, nil
	}
	err := s.eachCounter(func(k dswitchCounterKey, c dataplane.Count) error {
		at := shade{k.Port, c.Rule}
		if sum, held := sums[at]; held && k.Would != 0 {
			sum.Count(k.Would&wouldNow != 0, k.Would&wouldAllow != 0, c.Packets)
			sums[at] = sum
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("counts of rules in shadow: %w", err)
	}
	return slices.SortedFunc(maps.Values(sums), func(a, b dataplane.Shadow) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Rule, b.Rule))
	}), nil
}

// Notes yields a sample of what verdicts want told. It is closed by Close.
func (s *Switch) Notes() <-chan dataplane.Note { return s.notes }

// note passes on what an event tells of a verdict, unless nobody keeps up with them.
func (s *Switch) note(e *dswitchEvent, d dataplane.Drop) {
	n := dataplane.Note{At: d.At, Port: d.Port, Tuple: d.Tuple, Allow: d.Reason == dataplane.NotDropped}
	if e.Backwards != 0 {
		n.Tuple.Src, n.Tuple.Dst, n.Tuple.SrcPort, n.Tuple.DstPort = n.Tuple.Dst, n.Tuple.Src, n.Tuple.DstPort, n.Tuple.SrcPort
	}
	n.Log = d.Log && n.Allow
	if !n.Log && e.Said&ruleWould == 0 {
		return
	}
	s.mu.Lock()
	n.Rule = s.ruleName(e.Table, e.Rule)
	if e.Said&ruleWould != 0 {
		n.Would, n.WouldAllow = s.ruleName(e.Table, e.Would), e.Said&ruleWouldAllow != 0
	}
	s.mu.Unlock()
	select {
	case s.notes <- n:
	default:
	}
}

// describe says of a held table what its content says beside verdicts. Of one that
// an earlier run left the kernel has but the beginnings of the names.
func (s *Switch) describe(digest verdict.Digest, held *table, t *verdict.Table) {
	held.names, s.tableNames[held.id] = t.Names, t.Names
	held.alone = !t.Stateful()
	shade := t.Shadows()
	if slices.Equal(held.shade, shade) {
		return
	}
	was := table{shade: held.shade}
	held.shade = shade
	for k, p := range s.pairs {
		if p.digest == digest {
			s.shade(k.Domain, held)
			s.unshade(k.Domain, &was)
		}
	}
}
