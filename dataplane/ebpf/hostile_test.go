package ebpf

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"dove.network/dataplane"
	"dove.network/packet"
)

// limitMisses gives a switch of OpenForTests, which has none, a limit: so many
// misses of one port in one direction, and then hardly any.
func limitMisses(t *testing.T, s *Switch, burst uint64) {
	t.Helper()
	var settings dswitchSettings
	if err := s.maps.Config.Lookup(uint32(0), &settings); err != nil {
		t.Fatal(err)
	}
	settings.MissInterval = uint64(time.Hour)
	settings.MissBurst = burst * settings.MissInterval
	if err := s.maps.Config.Update(uint32(0), settings, ebpf.UpdateAny); err != nil {
		t.Fatal(err)
	}
}

// Whoever forges overlay packets to a guest uses up how often the guest may be
// asked for from outside, but not how often it may ask.
func TestForgedFramesLeaveTheGuestItsMisses(t *testing.T) {
	s := newLone(t, Options{})
	const burst = 8
	limitMisses(t, s, burst)
	forged := packet.Ends{SrcMAC: guestMAC(2), DstMAC: guestMAC(1), Src: netip.MustParseAddr("10.0.77.1"), Dst: guestAddr4(1)}
	o, frame, err := s.FromWire(packet.Outer{Src: twinVTEPs[1], Dst: twinVTEPs[0], VNI: testVNI, Class: guestClass(2)}.Encap(packet.UDP(forged, 1, 2, nil)))
	if err != nil || o.Action != dataplane.Missed {
		t.Fatalf("%+v, %v", o, err)
	}
	refused := 0
	for range 2 * burst {
		// As if a pair had been asked for: it misses once more, for its peer.
		m, _ := s.MissOf(frame)
		m.Frame[vnetSize+4] = byte(dataplane.WantPair)
		o, _, err := s.ReInject(m)
		if err != nil {
			t.Fatal(err)
		}
		if o.Action == dataplane.Dropped && o.Reason == dataplane.MissLimit {
			refused++
		}
	}
	if refused == 0 {
		t.Fatal("the forged frames were not limited")
	}
	asks := out
	asks.Dst = guestAddr4(9)
	if o := sends(t, s, packet.UDP(asks, 1, 53, nil)); o.Action != dataplane.Missed {
		t.Errorf("after %d refused frames from the overlay the guest's own first packet is %+v", refused, o)
	}
}

// A count of flows that is wrong by one must not close a port for good.
func TestFlowCountStaysAboveZero(t *testing.T) {
	s := newLone(t, Options{})
	if o := sends(t, s, packet.UDP(out, 1, 53, nil)); o.Action != dataplane.Tunneled {
		t.Fatalf("%+v", o)
	}
	var state dswitchPortState
	if err := s.maps.PortStates.Lookup(uint32(1), &state); err != nil || state.Flows != 1 {
		t.Fatalf("%d flows, %v", state.Flows, err)
	}
	state.Flows = 0
	if err := s.maps.PortStates.Update(uint32(1), state, ebpf.UpdateAny); err != nil {
		t.Fatal(err)
	}
	age(t, s, time.Hour)
	if _, err := s.Expire(); err != nil {
		t.Fatal(err)
	}
	if o := sends(t, s, packet.UDP(out, 2, 53, nil)); o.Action != dataplane.Tunneled {
		t.Errorf("%+v", o)
	}
}

// A frame with a VLAN tag is of another network than the underlay's, though it
// comes by the same cable.
func TestTaggedFramesAreNotOverlay(t *testing.T) {
	hosts := newHosts(t, 2)
	h, attacker := hosts[0], hosts[1]
	outer := packet.Outer{
		SrcMAC: attacker.mac(t, "under"), DstMAC: h.mac(t, "under"), Src: netip.MustParseAddr("192.0.2.99"), Dst: h.vtep,
		SrcPort: 0xc123, VNI: testVNI, Class: guestClass(2),
	}
	plain := outer.Encap(packet.UDP(back, 1, 2, nil))
	tagged := append(append(append([]byte(nil), plain[:12]...), 0x81, 0, 0, 5), plain[12:]...)
	before := h.count(t, dataplane.UnknownVTEP, "")
	attacker.sendRaw(t, "under", tagged, tagged, plain)
	if !h.counted(t, dataplane.UnknownVTEP, "", before) {
		t.Fatal("the plain frame was not counted")
	}
	if n := h.count(t, dataplane.UnknownVTEP, "") - before; n != 1 {
		t.Errorf("%d frames were judged, 1 was of the underlay", n)
	}
}
