package soft

import (
	"bytes"
	"slices"
	"testing"

	"dove.network/dataplane"
	"dove.network/packet"
)

// trunk makes bob a port on alice's device, under VLAN 7.
func trunk(t *testing.T) *world {
	w := newWorld(t)
	p := portOf(bob, 1002, 20)
	p.Ifindex, p.VLAN = 100+alice, 7
	w.apply(dataplane.SetPort{Port: p})
	return w
}

func TestTrunk(t *testing.T) {
	w := trunk(t)
	toBob := packet.UDP(v4(alice, bob), 1, 53, nil)
	w.guest(alice, toBob, delivered(bob, "dns"))
	_, frame := w.FromGuest(alice, toBob)
	if want := packet.Tag(toBob, 7); !bytes.Equal(frame, want) {
		t.Errorf("bob gets %x, want %x", frame, want)
	}
	back := packet.UDP(v4(bob, alice), 53, 1, nil)
	w.guest(alice, packet.Tag(back, 7), delivered(alice, ""))
	w.guest(bob, packet.Tag(back, 7), delivered(alice, ""))
	w.guest(alice, back, dropped(dataplane.SpoofedMAC)) // alice's own, without tag
	if _, frame = w.FromGuest(alice, packet.Tag(back, 7)); !bytes.Equal(frame, back) {
		t.Errorf("alice gets %x, want %x", frame, back)
	}

	request := packet.Tag(packet.ARPRequest(mac(bob), addr4(bob), addr4(alice)), 7)
	w.guest(alice, request, answered(bob))
	if _, frame = w.FromGuest(alice, request); !bytes.Equal(frame[12:16], []byte{0x81, 0, 0, 7}) {
		t.Errorf("the answer to bob is %x", frame)
	}
	large := packet.Tag(packet.UDP(v4(bob, alice), 53, 1, make([]byte, 1500)), 7)
	w.guest(alice, large, dropped(dataplane.TooBig))
	if _, frame = w.FromGuest(alice, large); !bytes.Equal(frame[12:18], []byte{0x81, 0, 0, 7, 8, 0}) {
		t.Errorf("bob is told %x", frame)
	}

	w.apply(dataplane.DelPort{ID: alice})
	w.guest(bob, toBob, dropped(dataplane.NoPort))
	w.guest(bob, packet.Tag(toBob, 8), dropped(dataplane.NoPort))
	w.guest(bob, packet.Tag(back, 7), missed(dataplane.WantPeer))
}

func TestStrayTags(t *testing.T) {
	for _, tag := range [][]byte{{0x81, 0, 0, 8}, {0x88, 0xa8, 0, 7}, {0x81, 0, 0, 7, 0x81, 0, 0, 7}, {0x81, 0, 0, 7, 0x88, 0xa8, 0, 7}} {
		w := trunk(t)
		frame := packet.UDP(v4(alice, bob), 1, 53, nil)
		w.guest(bob, slices.Concat(frame[:12], tag, frame[12:]), dropped(dataplane.UnknownTag))
		w.accounted(dropped(dataplane.UnknownTag), alice)
	}
}

func TestTrunkRefused(t *testing.T) {
	w := trunk(t)
	p := portOf(9, 1009, 10)
	p.Ifindex = 100 + alice
	for _, vlan := range []uint16{0, 7, 4095} {
		p.VLAN = vlan
		if w.Apply([]dataplane.Op{dataplane.SetPort{Port: p}}) == nil {
			t.Errorf("VLAN %d was taken", vlan)
		}
	}
}
