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
	known  [1 << 16]role // by class
	sides  map[dove.Class]policy.Side
}

// role says as what a class may be an end of pairs that differ.
type role uint8

const (
	found  role = 1 << iota // it is known
	source                  // as the source
	target                  // as the target
)

// renew goes on with the domain as it is in the next world, and returns what changed.
func (t *tables) renew(next *world.World, name dove.Domain) *shift {
	after := next.Domain(name)
	if !after.Classifies(t.domain) {
		clear(t.members)
	}
	t.domain = after
	s := &shift{Shift: t.pairs.Renew(after), world: next, domain: name, sides: map[dove.Class]policy.Side{}}
	if !s.None() {
		t.forget(func(c classes) bool { return s.differs(c.src, c.dst) })
	}
	return s
}

// role finds out the role of a class; that of one which does not exist is none.
func (s *shift) role(c dove.Class) role {
	if s.known[c] != 0 {
		return s.known[c]
	}
	s.known[c] = found
	if signature, ok := s.world.SignatureOf(s.domain, c); ok {
		side := s.Side(signature)
		if side.From() {
			s.known[c] |= source
		}
		if side.To() {
			s.known[c] |= target
		}
		if s.known[c] != found {
			s.sides[c] = side
		}
	}
	return s.known[c]
}

// none reports whether all pairs have the tables that they had.
func (s *shift) none() bool { return s != nil && s.None() }

// differs reports whether the pair may have another table than before.
func (s *shift) differs(src, dst dove.Class) bool {
	return s == nil || s.role(src)&source != 0 && s.role(dst)&target != 0 && s.sides[src].Differs(s.sides[dst])
}

// concerns reports whether a pair of a class with one of some others, either way,
// may have another table than before.
func (s *shift) concerns(others []dove.Class, class dove.Class) bool {
	if s == nil {
		return true
	}
	if s.none() || s.role(class) == found {
		return false
	}
	return slices.ContainsFunc(others, func(c dove.Class) bool { return s.differs(c, class) || s.differs(class, c) })
}
