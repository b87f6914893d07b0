package sim

import (
	"testing"
	"time"
)

// TestHostsLeaveAnIsland cuts a member from the store and from all others, but not from its
// hosts: those find the others. If there is nobody else, they are back once the member is well.
func TestHostsLeaveAnIsland(t *testing.T) {
	for _, alone := range []bool{false, true} {
		s := fleetOf(t, 9)
		s.Sleep(time.Second)
		for other := range 2 {
			s.CutMembers(2, other)
			s.CutMembers(other, 2)
		}
		s.DeafenMember(2)
		if alone {
			for n := range 2 {
				s.must(s.KillMember(n, false))
			}
		}
		s.Sleep(20 * time.Second)
		if n := s.homes(); n["dpc-3"] != 0 || n["dpc-1"]+n["dpc-2"] != 9 && !alone {
			t.Errorf("alone: %v, sessions are with %v", alone, n)
		}
		s.HealMember(2)
		s.Sleep(5 * time.Second)
		if n := s.homes(); n["dpc-1"]+n["dpc-2"]+n["dpc-3"] != 9 {
			t.Errorf("alone: %v, sessions are with %v once the member is well", alone, n)
		}
	}
}
