package ebpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"dove.network/dataplane"
	"dove.network/dataplane/soft"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/privtest"
)

// both are a kernel's switch and one in memory that must agree.
type both struct {
	t *testing.T
	k *Switch
	s *soft.Switch
}

func (b both) apply(ops ...dataplane.Op) {
	b.t.Helper()
	for _, op := range ops {
		if err := b.k.Apply([]dataplane.Op{op}); err != nil {
			b.t.Fatal("kernel", err)
		}
		if err := b.s.Apply([]dataplane.Op{op}); err != nil {
			b.t.Fatal("soft", err)
		}
	}
}

func (b both) guest(id dataplane.PortID, f []byte) {
	b.t.Helper()
	ko, _, err := b.k.FromGuest(id, f)
	so, _ := b.s.FromGuest(id, f)
	if err != nil || ko != so {
		b.t.Errorf("kernel %+v, soft %+v (%v)", ko, so, err)
	}
}

func (b both) wire(f []byte, reason dataplane.Reason) {
	b.t.Helper()
	ko, _, err := b.k.FromWire(f)
	so, _ := b.s.FromWire(f)
	if err != nil || ko != so || ko.Reason != reason {
		b.t.Errorf("kernel %+v, soft %+v, want %v (%v)", ko, so, reason, err)
	}
}

func newBoth(t *testing.T) both {
	privtest.Require(t)
	c := dataplane.Config{VTEP: twinVTEPs[0]}
	k, err := OpenForTests(Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	start := time.Now()
	return both{t, k, soft.New(c, func() time.Time { return start })}
}

// TestOtherOfRouted has guests of two networks of this host talk, and the hosts of
// their other bindings claim to speak for them: over the tunnel nothing comes in for
// an address behind a router, known flow or not.
func TestOtherOfRouted(t *testing.T) {
	b := newBoth(t)
	g1, g2 := dove.MAC{2, 0xee, 0, 0, 0, 1}, dove.MAC{2, 0xee, 0, 0, 0, 2}
	a, c := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1")
	table := allowing(allowed("udp", dove.ProtocolUDP, 0, 65535))
	portA := dataplane.Port{ID: 1, UID: 1, VNI: 1, MAC: guestMAC(1), Kind: dataplane.Veth, Other: twinVTEPs[1], Addresses: []dataplane.Address{{Addr: a, Class: 1}}}
	portB := dataplane.Port{ID: 2, UID: 2, VNI: 2, MAC: guestMAC(2), Kind: dataplane.Veth, Other: twinVTEPs[2], Addresses: []dataplane.Address{{Addr: c, Class: 1}}}
	b.apply(
		dataplane.SetVTEP{Addr: twinVTEPs[1]}, dataplane.SetVTEP{Addr: twinVTEPs[2]},
		dataplane.SetNetwork{Network: dataplane.Network{VNI: 1, Domain: 1, MTU: 1450, Gateways: []dataplane.Gateway{{MAC: g1}}}},
		dataplane.SetNetwork{Network: dataplane.Network{VNI: 2, Domain: 1, MTU: 1450, Gateways: []dataplane.Gateway{{MAC: g2}}}},
		dataplane.SetPair{Key: dataplane.PairKey{Domain: 1, Src: 1, Dst: 1}, Table: table},
		dataplane.SetPort{Port: portA}, dataplane.SetPort{Port: portB},
		dataplane.SetPeer{Key: dataplane.PeerKey{VNI: 1, Addr: c}, Peer: dataplane.Peer{UID: 2, MAC: guestMAC(2), Class: 1, VTEP: twinVTEPs[0], VNI: 2, Gateway: g1, Far: g2}},
		dataplane.SetPeer{Key: dataplane.PeerKey{VNI: 2, Addr: a}, Peer: dataplane.Peer{UID: 1, MAC: guestMAC(1), Class: 1, VTEP: twinVTEPs[0], VNI: 1, Gateway: g2, Far: g1}},
	)
	f := packet.UDP(packet.Ends{SrcMAC: guestMAC(1), DstMAC: g1, Src: a, Dst: c}, 1000, 53, nil)
	lie := packet.Outer{Src: twinVTEPs[1], Dst: twinVTEPs[0], SrcPort: 0xc000, VNI: 1, Class: 1}.Encap(f)
	b.wire(lie, dataplane.NotHere)
	b.guest(1, f)
	b.wire(lie, dataplane.NotHere)
	o := packet.Outer{Src: twinVTEPs[2], Dst: twinVTEPs[0], SrcPort: 0xc000, VNI: 1, Class: 1, Applied: true}
	b.wire(o.Encap(f), dataplane.BadOverlay)
}

// TestAdoptKnowsItsOwn has the lying host of x carry that y, a guest of the host
// that x moves to, has begun a conversation: x gains nothing by it.
func TestAdoptKnowsItsOwn(t *testing.T) {
	b := newBoth(t)
	x, y := guestAddr4(1), guestAddr4(2)
	b.apply(
		dataplane.SetVTEP{Addr: twinVTEPs[1]},
		dataplane.SetNetwork{Network: dataplane.Network{VNI: 1, Domain: 1, MTU: 1450}},
		dataplane.SetPair{Key: dataplane.PairKey{Domain: 1, Src: 2, Dst: 1}, Table: allowing(allowed("web", dove.ProtocolTCP, 80, 80))},
		dataplane.SetPair{Key: dataplane.PairKey{Domain: 1, Src: 1, Dst: 2}, Table: allowing()},
		dataplane.SetPort{Port: dataplane.Port{ID: 1, UID: 1, VNI: 1, MAC: guestMAC(1), Kind: dataplane.Veth, Other: twinVTEPs[1], Standby: true, Addresses: []dataplane.Address{{Addr: x, Class: 1}}}},
		dataplane.SetPort{Port: dataplane.Port{ID: 2, UID: 2, VNI: 1, MAC: guestMAC(2), Kind: dataplane.Veth, Addresses: []dataplane.Address{{Addr: y, Class: 2}}}},
	)
	f := packet.TCP(packet.Ends{SrcMAC: guestMAC(1), DstMAC: guestMAC(2), Src: x, Dst: y}, 80, 22, packet.ACK, nil)
	b.guest(1, f)
	lie := []dataplane.FlowState{{Tuple: dataplane.Tuple{VNI: 1, Protocol: dove.ProtocolTCP, Src: y, SrcPort: 22, Dst: x, DstPort: 80}, State: dataplane.FlowReplied | dataplane.FlowConfirmed, UIDs: [2]dove.UID{2, 1}}}
	if err := errors.Join(b.k.Adopt(1, lie), b.s.Adopt(1, lie)); err != nil {
		t.Fatal(err)
	}
	b.guest(1, f)
	if o, _, _ := b.k.FromGuest(1, f); o.Reason != dataplane.Policy {
		t.Errorf("x reaches port 22 of y, which never spoke to it: %+v", o)
	}
}

// TestRejoin has what join said of the other entry be lost, as when another CPU
// stores a copy of the entry from before: the next answer says it again.
func TestRejoin(t *testing.T) { rejoin(t, Options{}) }

func rejoin(t testing.TB, o Options) {
	s := newLone(t, o)
	g1, g2 := dove.MAC{2, 0xee, 0, 0, 0, 1}, dove.MAC{2, 0xee, 0, 0, 0, 2}
	a, c := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1")
	const domain, one, two = 5, 101, 102
	if err := s.Apply([]dataplane.Op{
		dataplane.SetNetwork{Network: dataplane.Network{VNI: one, Domain: domain, MTU: 1450, Gateways: []dataplane.Gateway{{MAC: g1}}}},
		dataplane.SetNetwork{Network: dataplane.Network{VNI: two, Domain: domain, MTU: 1450, Gateways: []dataplane.Gateway{{MAC: g2}}}},
		dataplane.SetPair{Key: dataplane.PairKey{Domain: domain, Src: 1, Dst: 1}, Table: allowing(allowed("udp", dove.ProtocolUDP, 0, 65535))},
		dataplane.SetPort{Port: dataplane.Port{ID: 11, UID: 11, VNI: one, MAC: guestMAC(11), Kind: dataplane.Veth, Addresses: []dataplane.Address{{Addr: a, Class: 1}}}},
		dataplane.SetPort{Port: dataplane.Port{ID: 12, UID: 12, VNI: two, MAC: guestMAC(12), Kind: dataplane.Veth, Addresses: []dataplane.Address{{Addr: c, Class: 1}}}},
		dataplane.SetPeer{Key: dataplane.PeerKey{VNI: one, Addr: c}, Peer: dataplane.Peer{UID: 12, MAC: guestMAC(12), Class: 1, VTEP: twinVTEPs[0], VNI: two, Gateway: g1, Far: g2}},
		dataplane.SetPeer{Key: dataplane.PeerKey{VNI: two, Addr: a}, Peer: dataplane.Peer{UID: 11, MAC: guestMAC(11), Class: 1, VTEP: twinVTEPs[0], VNI: one, Gateway: g2, Far: g1}},
	}); err != nil {
		t.Fatal(err)
	}
	sends := func(id dataplane.PortID, frame []byte) {
		t.Helper()
		if o, _, err := s.FromGuest(id, frame); err != nil || o.Action != dataplane.Delivered {
			t.Fatalf("%+v, %v", o, err)
		}
	}
	ask := packet.UDP(packet.Ends{SrcMAC: guestMAC(11), DstMAC: g1, Src: a, Dst: c}, 1000, 53, nil)
	sends(11, ask)
	answer := packet.UDP(packet.Ends{SrcMAC: guestMAC(12), DstMAC: g2, Src: c, Dst: a}, 53, 1000, nil)
	sends(12, answer)
	first := func() (key dswitchFlow4Key, f dswitchFlow) {
		for entries := s.maps.Flows4.Iterate(); entries.Next(&key, &f); {
			if key.Vni == one {
				return key, f
			}
		}
		t.Fatal("there is no flow")
		return key, f
	}
	key, f := first()
	if f.Twin != two {
		t.Fatalf("joined: %+v", f)
	}
	f.Twin = 0
	if err := s.maps.Flows4.Update(key, f, ebpf.UpdateExist); err != nil {
		t.Fatal(err)
	}
	sends(12, answer)
	if _, f := first(); f.Twin != two || f.Packets[0]+f.Packets[1] != 3 {
		t.Errorf("after an answer: %+v", f)
	}
}

// TestHintsLeaveDropsRoom has a peer say another class with each of many
// conversations: what the port is refused at the same time is told all the same.
func TestHintsLeaveDropsRoom(t *testing.T) { hintsBesideDrops(t, Options{}) }

func hintsBesideDrops(t testing.TB, o Options) {
	s := newLone(t, o)
	if err := s.Apply([]dataplane.Op{dataplane.SetPair{
		Key: dataplane.PairKey{Domain: testDomain, Src: guestClass(2), Dst: guestClass(1)}, Table: allowing(allowed("dns", dove.ProtocolUDP, 53, 53)),
	}}); err != nil {
		t.Fatal(err)
	}
	var settings dswitchSettings
	if err := s.maps.Config.Lookup(uint32(0), &settings); err != nil {
		t.Fatal(err)
	}
	settings.EventInterval, settings.EventBurst = uint64(time.Minute), eventBurst*uint64(time.Minute) // no more than the burst
	if err := s.maps.Config.Update(uint32(0), settings, ebpf.UpdateAny); err != nil {
		t.Fatal(err)
	}
	events, err := ringbuf.NewReader(s.maps.Events)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	send := func(class dove.Class, frame []byte) {
		t.Helper()
		if _, _, err := s.FromWire(packet.Outer{Src: twinVTEPs[1], Dst: twinVTEPs[0], SrcPort: 0xc000, VNI: testVNI, Class: class}.Encap(frame)); err != nil {
			t.Fatal(err)
		}
	}
	sends(t, s, packet.UDP(back, 999, 54, nil)) // from then on nobody asks about this denial
	const drops = eventBurst
	for n := range uint16(2 * eventBurst) {
		send(guestClass(9), packet.UDP(back, 1000+n, 53, nil))
	}
	for n := range uint16(drops) {
		send(guestClass(2), packet.UDP(back, 1000+n, 54, nil))
	}
	events.SetDeadline(time.Now())
	told := map[bool]int{}
	for {
		record, err := events.Read()
		if err != nil {
			break
		}
		var e dswitchEvent
		if err := binary.Read(bytes.NewReader(record.RawSample), binary.NativeEndian, &e); err != nil {
			t.Fatal(err)
		}
		told[e.Reason == uint8(dataplane.NotDropped)]++
	}
	if told[false] != drops || told[true] != eventBurst {
		t.Errorf("%d of %d drops are told, and %d hints", told[false], drops, told[true])
	}
}

// TestNobodyAsksFromAfar has a foreign VTEP, behind which is nobody of the network,
// look for who is there by the address that needs no row.
func TestNobodyAsksFromAfar(t *testing.T) {
	b := newBoth(t)
	b.apply(
		dataplane.SetVTEP{Addr: twinVTEPs[1], Foreign: true, Plain: true},
		dataplane.SetNetwork{Network: dataplane.Network{VNI: 1, Domain: 1, MTU: 1450}},
		dataplane.SetPort{Port: dataplane.Port{ID: 1, UID: 1, VNI: 1, MAC: guestMAC(1), Kind: dataplane.Veth, Addresses: []dataplane.Address{{Addr: guestAddr6(1), Class: 1}}}},
	)
	scan := packet.Solicitation(guestMAC(9), netip.MustParseAddr("fe80::9"), guestAddr6(1))
	b.wire(packet.Outer{Src: twinVTEPs[1], Dst: twinVTEPs[0], SrcPort: 0xc000, VNI: 1, Class: packet.NoClass}.Encap(scan), dataplane.SourceMismatch)
}
