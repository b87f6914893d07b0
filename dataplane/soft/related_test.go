package soft

import (
	"testing"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

// TestFragments lets pieces pass by what their first one was let through by.
func TestFragments(t *testing.T) {
	for name, e := range map[string]packet.Ends{"IPv4": v4(alice, rita), "IPv6": v6(alice, rita)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			pieces := packet.Fragments(packet.UDP(e, 1, 53, make([]byte, 100)), 40, 7)
			w.guest(alice, pieces[1], missed(dataplane.WantFirst))
			early := w.take()
			w.inject(early, dropped(dataplane.Fragment))
			w.guest(alice, pieces[0], tunneled(there, "dns"))
			w.inject(early, known)
			w.guest(alice, pieces[2], known)
			w.guest(alice, pieces[1], known)
			w.guest(alice, packet.Fragments(packet.UDP(e, 1, 53, make([]byte, 100)), 40, 8)[1], missed(dataplane.WantFirst))
			w.pass(1100 * time.Millisecond)
			w.guest(alice, pieces[1], missed(dataplane.WantFirst)) // too late

			answer := packet.Fragments(packet.UDP(e.Reverse(), 53, 1, make([]byte, 100)), 40, 9)
			w.apply(dataplane.DelPair{Key: pair(20, 10)})
			w.wire(there, 20, answer[1], missed(dataplane.WantPair))
			w.wire(there, 20, answer[0], reply)
			w.wire(there, 20, answer[1], reply)
			w.apply(dataplane.SetPair{Key: pair(10, 20), Table: allow(rule("web", dove.ProtocolTCP, 80, 80))})
			w.wire(there, 20, answer[2], denied("default-deny")) // in the flow's direction

			denies := packet.Fragments(packet.UDP(e, 1, 54, make([]byte, 100)), 40, 10)
			w.guest(alice, denies[0], denied("default-deny"))
			w.guest(alice, denies[1], missed(dataplane.WantFirst))
		})
	}
}

// TestErrors lets ICMP errors pass by the flow that they are about.
func TestErrors(t *testing.T) {
	w := newWorld(t)
	nothing := allow(rule("web", dove.ProtocolTCP, 80, 80))
	w.apply(dataplane.SetPair{Key: pair(20, 10), Table: nothing})
	sent := packet.UDP(v4(alice, rita), 1, 53, nil)
	unreachable := packet.ICMP(v4(rita, alice), 3, 3, 0, sent[14:])
	w.wire(there, 20, unreachable, denied("default-deny"))
	w.guest(alice, sent, tunneled(there, "dns"))
	for range 10 {
		w.wire(there, 20, unreachable, reply)
	}
	w.wire(there, 20, unreachable, dropped(dataplane.ErrorLimit))
	w.pass(100 * time.Millisecond)
	w.wire(there, 20, unreachable, reply)

	other := packet.UDP(v4(alice, rita), 2, 53, nil)
	w.wire(there, 20, packet.ICMP(v4(rita, alice), 3, 3, 0, other[14:]), denied("default-deny"))
	w.pass(29 * time.Second)
	w.wire(there, 20, unreachable, reply) // which is no answer,
	w.pass(2 * time.Second)
	w.wire(there, 20, unreachable, denied("default-deny")) // and keeps no flow alive

	w.guest(alice, sent, tunneled(there, "dns"))
	w.apply(dataplane.SetPair{Key: pair(10, 20), Table: nothing})
	w.wire(there, 20, unreachable, denied("default-deny"))
	w.apply(dataplane.DelPair{Key: pair(10, 20)})
	w.wire(there, 20, unreachable, missed(dataplane.WantPair))
}

// TestPiecesLeaveMisses shows that fragments without a first one take only a part
// of what a port may miss: whoever sends them need not be allowed to.
func TestPiecesLeaveMisses(t *testing.T) {
	w := newWorld(t)
	part := DefaultLimits.MissBurst / 4
	later := packet.Fragments(packet.UDP(v4(rita, alice), 1, 53, make([]byte, 100)), 40, 7)[1]
	for i := range DefaultLimits.MissBurst {
		if i < part {
			w.wire(there, 20, later, missed(dataplane.WantFirst))
		} else {
			w.wire(there, 20, later, dropped(dataplane.MissLimit))
		}
	}
	for range DefaultLimits.MissBurst - part {
		w.wire(there, 20, packet.UDP(v4(77, alice), 1, 53, nil), missed(dataplane.WantPeer))
	}
	w.wire(there, 20, packet.UDP(v4(77, alice), 1, 53, nil), dropped(dataplane.MissLimit))
}
