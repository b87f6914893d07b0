package soft

import (
	"net/netip"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
)

// turnKey is what packets between two addresses have in common, lo the lesser one.
type turnKey struct {
	vni    dove.VNI
	lo, hi netip.Addr
}

// turn counts the missed packets of a turnKey that are still out, by whether lo
// sent them, and says since when some are.
type turn struct {
	waiting [2]int
	since   time.Time
}

// turnOf returns the key of a packet, and who of its sides has sent it.
func turnOf(t dataplane.Tuple) (turnKey, int) {
	if t.Src.Less(t.Dst) {
		return turnKey{t.VNI, t.Src, t.Dst}, 0
	}
	return turnKey{t.VNI, t.Dst, t.Src}, 1
}

// lost reports whether what is out has been so for so long that nobody can have
// it any more.
func (s *Switch) lost(held turn) bool {
	return s.limits.Turn > 0 && s.clock().Sub(held.since) > s.limits.Turn
}

// behind reports whether a packet that goes the same way as another one waits for
// the agent, and whether any between the same addresses does.
func (s *Switch) behind(t dataplane.Tuple) (waits, any bool) {
	key, side := turnOf(t)
	held := s.turns[key]
	if s.lost(held) {
		return false, false
	}
	return held.waiting[side] > 0, held.waiting != [2]int{}
}

// queue counts a packet that missed.
func (s *Switch) queue(m dataplane.Miss) {
	if !m.Queues() {
		return
	}
	key, side := turnOf(m.Tuple)
	held := s.turns[key]
	if held.waiting == [2]int{} || s.lost(held) {
		held = turn{since: s.clock()}
	}
	held.waiting[side]++
	s.turns[key] = held
	if flow, _, _ := keyOf(m.Tuple); s.flows[flow] != nil {
		s.flows[flow].entry(flow).open = true
	}
}

// yield says that a missed packet has gone its way, or nowhere.
func (s *Switch) yield(m dataplane.Miss) {
	if !m.Queues() {
		return
	}
	key, side := turnOf(m.Tuple)
	held := s.turns[key]
	held.waiting[side] = max(held.waiting[side]-1, 0)
	if s.turns[key] = held; held.waiting == [2]int{} {
		delete(s.turns, key)
	}
}
