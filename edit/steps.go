package edit

import (
	"errors"
	"fmt"

	"dove.network/dove"
	"dove.network/world"
)

// newClassesMax is how many class ids one transaction may decide: what else it
// changes must fit beside them.
const newClassesMax = 100

// lacking is the error of a decision that needs more class ids than one
// transaction can decide. Steps decides them before.
type lacking struct {
	needs []need
	last  dove.Txn // what the decision comes to, but for the ids
}

// need is a signature, by key, that has no class id in a domain.
type need struct {
	domain dove.Domain
	key    string
}

func (l *lacking) Error() string {
	return fmt.Sprintf("%d classes must be decided first, and %d fit one transaction: use edit.Steps", len(l.needs), newClassesMax)
}

func (c *change) lacks(last dove.Txn) *lacking {
	l := &lacking{make([]need, len(c.classes)), last}
	for i, a := range c.classes {
		l.needs[i] = need{a.DomainOf(), a.Signature}
	}
	return l
}

// Steps is an edit that may need several transactions. All but the last only
// decide class ids, which change nothing by themselves: where it is interrupted, the
// next attempt finds them, or they come to rest.
type Steps struct {
	decide func(*world.World) (dove.Txn, error)
	needs  []need
}

// InSteps returns the steps of an edit, none of them made.
func InSteps(decide func(*world.World) (dove.Txn, error)) *Steps { return &Steps{decide: decide} }

// Next returns the next transaction, as the world demands it, and whether it is
// the last. It is asked again with a later world when the transaction is committed and was
// not the last, and when it could not be committed.
func (s *Steps) Next(w *world.World) (txn dove.Txn, last bool, err error) {
	for {
		if txn, err = s.prepare(w); err != nil || !txn.Empty() {
			return txn, false, err
		}
		txn, err = s.decide(w)
		l, lacks := errors.AsType[*lacking](err)
		if !lacks {
			return txn, true, err
		}
		s.needs = l.needs
	}
}

// prepare decides the first of the needed class ids that the world lacks.
func (s *Steps) prepare(w *world.World) (dove.Txn, error) {
	lacks := func(n need) bool {
		_, exists := w.ClassAlloc(n.domain, n.key)
		return !exists
	}
	for len(s.needs) > 0 && !lacks(s.needs[0]) {
		s.needs = s.needs[1:]
	}
	if len(s.needs) == 0 {
		return dove.Txn{}, nil
	}
	domain, keys := s.needs[0].domain, []string(nil)
	for _, n := range s.needs {
		if len(keys) == newClassesMax || n.domain != domain {
			break
		}
		if lacks(n) {
			keys = append(keys, n.key)
		}
	}
	c := begin(w)
	if err := c.allocate(domain, keys); err != nil {
		return dove.Txn{}, err
	}
	return c.done()
}
