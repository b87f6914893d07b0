package resolver

import (
	"maps"
	"slices"

	"dove.network/dove"
	"dove.network/policy"
	"dove.network/verdict"
	"dove.network/world"
)

// forget drops the tables of some pairs of class ids.
func (t *tables) forget(some func(classes) bool) {
	maps.DeleteFunc(t.byClass, func(c classes, _ *verdict.Table) bool { return some(c) })
}

// ids are class ids of one domain.
type ids map[dove.Class]bool

// in reports whether one of a pair is among them.
func (x ids) in(c classes) bool { return x[c.src] || x[c.dst] }

// reassigned returns the class ids that do not stand any more for what they did.
func reassigned(changes []world.Change[world.ClassAlloc]) map[dove.Domain]ids {
	all := map[dove.Domain]ids{}
	for _, c := range changes {
		if c.Old == nil || c.New != nil && c.Old.Class == c.New.Class {
			continue
		}
		domain := c.Old.DomainOf()
		if all[domain] == nil {
			all[domain] = ids{}
		}
		all[domain][c.Old.Class] = true
	}
	return all
}

// shift is what changed of a domain, by class id. Of nil, which is that of a domain
// without tables, everything did.
type shift struct {
	*policy.Shift
	world  *world.World
	domain dove.Domain
	sides  map[dove.Class]policy.Side
}

// renew goes on with the domain as it is in the next world, and returns what changed.
func (t *tables) renew(next *world.World, name dove.Domain) *shift {
	after := next.Domain(name)
	if !after.Classifies(t.domain) {
		clear(t.members)
	}
	t.domain = after
	s := &shift{t.pairs.Renew(after), next, name, map[dove.Class]policy.Side{}}
	if !s.None() {
		t.forget(func(c classes) bool { return s.differs(c.src, c.dst) })
	}
	return s
}

// side is what the shift knows of a class; nothing of one that does not exist.
func (s *shift) side(c dove.Class) policy.Side {
	side, known := s.sides[c]
	if !known {
		if signature, ok := s.world.SignatureOf(s.domain, c); ok {
			side = s.Side(signature)
		}
		s.sides[c] = side
	}
	return side
}

// none reports whether all pairs have the tables that they had.
func (s *shift) none() bool { return s != nil && s.None() }

// differs reports whether the pair may have another table than before.
func (s *shift) differs(src, dst dove.Class) bool {
	return s == nil || s.side(src).Differs(s.side(dst))
}

// concerns reports whether a pair of a class with one of some others, either way,
// may have another table than before.
func (s *shift) concerns(others []dove.Class, class dove.Class) bool {
	if s == nil {
		return true
	}
	if s.none() || s.side(class).None() {
		return false
	}
	return slices.ContainsFunc(others, func(c dove.Class) bool { return s.differs(c, class) || s.differs(class, c) })
}
