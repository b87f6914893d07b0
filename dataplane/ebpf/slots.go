package ebpf

import "errors"

// slots hands out the places of an array map and counts their generations.
// Slot 0 is never handed out: it stands for none.
type slots struct {
	gens    []uint32 // by slot, for the slots that were ever in use
	limit   int
	free    []uint32
	resting []uint32 // given up, perhaps still looked at
}

func newSlots(limit uint32) *slots {
	return &slots{gens: make([]uint32, 1), limit: int(limit)}
}

// take finds a slot that nobody uses.
func (s *slots) take() (uint32, error) {
	if n := len(s.free); n > 0 {
		slot := s.free[n-1]
		s.free = s.free[:n-1]
		return slot, nil
	}
	if len(s.gens) >= s.limit {
		return 0, errors.New("the map is full: remove something, or start the switch with a larger one")
	}
	s.gens = append(s.gens, 0)
	return uint32(len(s.gens) - 1), nil
}

// next is the generation that follows a slot's present one.
func (s *slots) next(slot uint32) uint32 {
	s.gens[slot]++
	return s.gens[slot]
}

// release gives a slot up. It is handed out again after rested.
func (s *slots) release(slot uint32) { s.resting = append(s.resting, slot) }

// rested says that no program looks at a released slot any more.
func (s *slots) rested() {
	s.free = append(s.free, s.resting...)
	s.resting = s.resting[:0]
}

// adopt takes over the generation of a slot that an earlier run may have used.
func (s *slots) adopt(slot, gen uint32) {
	for len(s.gens) <= int(slot) {
		s.gens = append(s.gens, 0)
	}
	s.gens[slot] = gen
}

// adopted says which of the adopted slots are in use; the others are free.
func (s *slots) adopted(used map[uint32]bool) {
	for slot := 1; slot < len(s.gens); slot++ {
		if !used[uint32(slot)] {
			s.free = append(s.free, uint32(slot))
		}
	}
}
