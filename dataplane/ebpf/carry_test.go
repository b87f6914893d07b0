package ebpf

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/verdict"
)

// byOther has a packet come from the host of an endpoint's other binding: of its
// sender, if that has a port here, or of its receiver, which has judged it.
func (w *twins) byOther(o *packet.Outer, src, dst netip.Addr) {
	of := func(a netip.Addr) netip.Addr {
		for _, p := range w.ports {
			if p.VNI == o.VNI && slices.ContainsFunc(p.Addresses, func(own dataplane.Address) bool { return own.Addr == a }) {
				return p.Other
			}
		}
		for _, id := range slices.Sorted(maps.Keys(w.ports)) {
			if p := w.ports[id]; p.VNI == o.VNI {
				if _, allowed := p.Permits(a); allowed {
					return p.Other
				}
			}
		}
		return netip.Addr{}
	}
	if other := of(src); other.IsValid() && w.chance(80) {
		o.Src = other
	}
	if other := of(dst); w.chance(10) || other.IsValid() && w.chance(30) {
		o.Applied = true
		if other.IsValid() && w.chance(80) {
			o.Src = other
		}
	}
}

// carry compares what the flows of a port are, and has it adopt some that it or
// another one had before, changed or not.
func (w *twins) carry() {
	id := dataplane.PortID(1 + w.r.IntN(5))
	kernel, err := w.kernel.Carried(id)
	memory, softErr := w.soft.Carried(id)
	if (err == nil) != (softErr == nil) {
		w.Fatalf("after %d ops, carried of port %d: in memory %v, in the kernel %v", w.ops, id, softErr, err)
	}
	byTuple := cmpopts.SortSlices(func(a, b dataplane.FlowState) bool { return fmt.Sprint(a.Tuple) < fmt.Sprint(b.Tuple) })
	if diff := gocmp.Diff(memory, kernel, compareAddrs, byTuple, cmpopts.IgnoreFields(dataplane.FlowState{}, "Idle"), cmpopts.EquateEmpty()); diff != "" {
		w.Fatalf("after %d ops, carried of port %d (-in memory +in the kernel):\n%s", w.ops, id, diff)
	}
	w.carried = append(w.carried, memory...)
	w.carried = w.carried[max(0, len(w.carried)-60):]

	var flows []dataplane.FlowState
	for range w.r.IntN(10) {
		if len(w.carried) == 0 {
			break
		}
		f := one(w.r, w.carried...)
		if w.chance(30) {
			f.Tuple.SrcPort = one[uint16](w.r, 80, 81, 1000, 1001, f.Tuple.SrcPort)
		}
		if w.chance(20) {
			f.State ^= 1 << w.r.IntN(7)
		}
		if w.chance(10) {
			f.UIDs[w.r.IntN(2)] = w.uid()
		}
		f.Idle = one(w.r, 0, 0, 0, time.Hour, 3*time.Hour, -1)
		flows = append(flows, f)
	}
	kernelErr, softErr := w.kernel.Adopt(id, flows), w.soft.Adopt(id, flows)
	if diff := gocmp.Diff(fmt.Sprint(softErr), fmt.Sprint(kernelErr)); diff != "" {
		w.Fatalf("after %d ops, port %d adopts %+v: (-in memory +in the kernel)\n%s", w.ops, id, flows, diff)
	}
}

func TestHandedOn(t *testing.T) { handedOn(t, Options{}) }

// handedOn asks about what arrives at a port on standby, and hands it on.
func handedOn(t testing.TB, o Options) {
	s := newLone(t, o)
	p := s.ports[1].Port
	p.Other, p.Standby = twinVTEPs[2], true
	k := dataplane.PairKey{Domain: testDomain, Src: guestClass(2), Dst: guestClass(1)}
	if err := s.Apply([]dataplane.Op{dataplane.SetVTEP{Addr: twinVTEPs[2]}, dataplane.SetPort{Port: p}}); err != nil {
		t.Fatal(err)
	}
	in := packet.Outer{Src: twinVTEPs[1], Dst: twinVTEPs[0], SrcPort: 0xc000, VNI: testVNI, Class: guestClass(2)}
	got, frame, err := s.FromWire(in.Encap(packet.UDP(back, 1, 2, nil)))
	m, ok := s.MissOf(frame)
	if err != nil || !ok || got != (dataplane.Outcome{Action: dataplane.Missed, Want: dataplane.WantPair}) {
		t.Fatalf("%+v, %v", got, err)
	}
	table := allowing(allowed("udp", dove.ProtocolUDP, 0, 65535))
	if err := s.Apply([]dataplane.Op{dataplane.SetPair{Key: k, Table: table}}); err != nil {
		t.Fatal(err)
	}
	got, frame, err = s.ReInject(m)
	want := packet.Outer{Src: twinVTEPs[0], Dst: twinVTEPs[2], VNI: testVNI, Class: guestClass(2), Applied: true}
	outer, inner, fault := packet.Decap(frame)
	outer.SrcMAC, outer.DstMAC, outer.SrcPort = dove.MAC{}, dove.MAC{}, 0
	if err != nil || got.Action != dataplane.Tunneled || fault != packet.OK || outer != want || !bytes.Equal(inner, packet.UDP(back, 1, 2, nil)) {
		t.Errorf("%+v, %v: %+v (%v), %x", got, err, outer, fault, inner)
	}
}

func TestHandedAllowed(t *testing.T) { handedAllowed(t, Options{}) }

// handedAllowed moves a port along with an address that it is allowed: while it is on
// standby what is for that goes to the other host, and what that one hands on is
// delivered, whether a row leads to the port or its MAC alone.
func handedAllowed(t testing.TB, o Options) {
	s := newLone(t, o)
	shared := netip.MustParseAddr("10.0.0.100")
	p := s.ports[1].Port
	p.Other, p.Standby = twinVTEPs[2], true
	p.Allowed = []dataplane.Allowed{{Prefix: netip.PrefixFrom(shared, 32), Class: guestClass(1)}}
	k := dataplane.PairKey{Domain: testDomain, Src: guestClass(2), Dst: guestClass(1)}
	row := dataplane.SetPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: shared}, Peer: dataplane.Peer{
		UID: p.UID, MAC: p.MAC, Class: guestClass(1), VTEP: twinVTEPs[2], Other: twinVTEPs[0]}}
	if err := s.Apply([]dataplane.Op{dataplane.SetVTEP{Addr: twinVTEPs[2]}, dataplane.SetPort{Port: p},
		dataplane.SetPair{Key: k, Table: allowing(allowed("udp", dove.ProtocolUDP, 0, 65535))}}); err != nil {
		t.Fatal(err)
	}
	to := back
	to.Dst = shared
	frame := packet.UDP(to, 1, 2, nil)
	in := packet.Outer{Src: twinVTEPs[1], Dst: twinVTEPs[0], SrcPort: 0xc000, VNI: testVNI, Class: guestClass(2)}
	handed := in
	handed.Src, handed.Applied = twinVTEPs[2], true
	from := out
	from.Src = shared
	for _, known := range []bool{false, true} {
		if known {
			if err := s.Apply([]dataplane.Op{row}); err != nil {
				t.Fatal(err)
			}
		}
		got, left, err := s.FromWire(in.Encap(frame))
		if outer, _, _ := packet.Decap(left); err != nil || got.Action != dataplane.Tunneled || got.VTEP != twinVTEPs[2] || !outer.Applied {
			t.Errorf("known %v, for a port on standby: %+v, %v", known, got, err)
		}
		if got, left, err = s.FromWire(handed.Encap(frame)); err != nil || got != (dataplane.Outcome{Action: dataplane.Delivered, Port: 1}) || !bytes.Equal(left, frame) {
			t.Errorf("known %v, handed on: %+v, %v", known, got, err)
		}
		if got := sends(t, s, packet.UDP(from, 2, 1, nil)); got.Action != dataplane.Tunneled || got.VTEP != twinVTEPs[1] {
			t.Errorf("known %v, from the port on standby: %+v", known, got)
		}
		wrong := handed
		wrong.Src = twinVTEPs[1]
		if got, _, err := s.FromWire(wrong.Encap(frame)); err != nil || got.Reason != dataplane.BadOverlay {
			t.Errorf("known %v, handed on by another host: %+v, %v", known, got, err)
		}
	}
	flows, err := s.Carried(1)
	if err != nil || len(flows) != 1 || flows[0].Tuple.Src != guestAddr4(2) || flows[0].Tuple.Dst != shared {
		t.Errorf("carried %+v, %v", flows, err)
	}
}

func TestCarried(t *testing.T) { carriedFlow(t, Options{}) }

// carriedFlow has an answer arrive where nobody asked: it passes once the flow
// is adopted, as long as policy allows the question.
func carriedFlow(t testing.TB, o Options) {
	from, to := newLone(t, o), newLone(t, o)
	for _, s := range []*Switch{from, to} {
		if err := s.Apply([]dataplane.Op{dataplane.SetPair{
			Key: dataplane.PairKey{Domain: testDomain, Src: guestClass(2), Dst: guestClass(1)}, Table: allowing(),
		}}); err != nil {
			t.Fatal(err)
		}
	}
	answer := packet.TCP(back, 80, 1000, packet.ACK, nil)
	for _, frame := range [][]byte{packet.TCP(out, 1000, 80, packet.SYN, nil), packet.TCP(back, 80, 1000, packet.SYN|packet.ACK, nil), packet.TCP(out, 1000, 80, packet.ACK, nil)} {
		if o := sends(t, from, frame); o.Action != dataplane.Tunneled && o.Action != dataplane.Delivered {
			t.Fatalf("%+v", o)
		}
	}
	flows, err := from.Carried(1)
	if err != nil || len(flows) != 1 || flows[0].State != dataplane.FlowReplied|dataplane.FlowSYN|dataplane.FlowConfirmed {
		t.Fatalf("carried %+v, %v", flows, err)
	}
	denied := dataplane.Outcome{Action: dataplane.Dropped, Reason: dataplane.Policy, Rule: verdict.DefaultDeny}
	if o := sends(t, to, answer); o != denied {
		t.Errorf("without its flow: %+v", o)
	}
	if err := to.Adopt(1, flows); err != nil {
		t.Fatal(err)
	}
	if o := sends(t, to, answer); o != (dataplane.Outcome{Action: dataplane.Delivered, Port: 1}) {
		t.Errorf("with its flow: %+v", o)
	}
	if err := to.Apply([]dataplane.Op{dataplane.SetPair{
		Key: dataplane.PairKey{Domain: testDomain, Src: guestClass(1), Dst: guestClass(2)}, Table: allowing(),
	}}); err != nil {
		t.Fatal(err)
	}
	if o := sends(t, to, answer); o != denied {
		t.Errorf("with its flow, but against policy: %+v", o)
	}
}

func TestInherit(t *testing.T) { inherit(t, Options{}) }

// inherit moves an endpoint away from another one on its host: the flow that only
// its state lets through goes on, and takes room of who stays.
func inherit(t testing.TB, o Options) {
	o.FlowsPerPort = 2
	s := newLone(t, o)
	stays := dataplane.Port{
		ID: 2, UID: 3, VNI: testVNI, MAC: guestMAC(3), Kind: dataplane.Veth,
		Addresses: []dataplane.Address{{Addr: guestAddr4(3), Class: guestClass(2)}},
	}
	if err := s.Apply([]dataplane.Op{dataplane.SetVTEP{Addr: twinVTEPs[2]}, dataplane.SetPort{Port: stays},
		dataplane.SetPair{Key: dataplane.PairKey{Domain: testDomain, Src: guestClass(2), Dst: guestClass(1)}, Table: allowing()}}); err != nil {
		t.Fatal(err)
	}
	ends := packet.Ends{SrcMAC: guestMAC(1), DstMAC: guestMAC(3), Src: guestAddr4(1), Dst: guestAddr4(3)}
	answers := func(want dataplane.Outcome) {
		t.Helper()
		if got, _, err := s.FromGuest(2, packet.UDP(ends.Reverse(), 53, 1, nil)); err != nil || got != want {
			t.Errorf("an answer: %+v, %v, want %+v", got, err, want)
		}
	}
	for _, frame := range [][]byte{packet.UDP(ends, 1, 53, nil), packet.UDP(out, 1, 53, nil)} {
		if got, _, err := s.FromGuest(1, frame); err != nil || got.Rule != "udp" {
			t.Fatalf("a first packet: %+v, %v", got, err)
		}
		answers(dataplane.Outcome{Action: dataplane.Delivered, Port: 1})
	}
	moved := s.ports[1].Port
	moved.Other, moved.Standby = twinVTEPs[2], true
	if err := s.Apply([]dataplane.Op{
		dataplane.SetPort{Port: moved},
		dataplane.SetPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: guestAddr4(1)}, Peer: dataplane.Peer{
			UID: 1, MAC: guestMAC(1), Class: guestClass(1), VTEP: twinVTEPs[2],
		}},
		dataplane.DelPort{ID: 1},
	}); err != nil {
		t.Fatal(err)
	}
	answers(dataplane.Outcome{Action: dataplane.Tunneled, VTEP: twinVTEPs[2], VNI: testVNI, Class: guestClass(2)})
	states := func(id uint32) (state dswitchPortState) {
		if err := s.maps.PortStates.Lookup(id, &state); err != nil {
			t.Fatal(err)
		}
		return state
	}
	if gone, heir := states(1), states(2); gone.Flows != 0 || gone.Unconfirmed != 0 || heir.Flows != 1 || heir.Unconfirmed != 0 {
		t.Errorf("the moved port has %+v, who stays %+v", gone, heir)
	}
}

func TestInheritAllowed(t *testing.T) { inheritAllowed(t, Options{}) }

// inheritAllowed is inherit for an address that who moves is but allowed: the row of it
// says where it is before the port goes.
func inheritAllowed(t testing.TB, o Options) {
	o.FlowsPerPort = 1
	s := newLone(t, o)
	shared := netip.MustParseAddr("10.0.0.100")
	row := func(vtep netip.Addr) dataplane.Op {
		return dataplane.SetPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: shared}, Peer: dataplane.Peer{UID: 1, MAC: guestMAC(1), Class: guestClass(1), VTEP: vtep}}
	}
	stays := dataplane.Port{
		ID: 2, UID: 3, VNI: testVNI, MAC: guestMAC(3), Kind: dataplane.Veth,
		Addresses: []dataplane.Address{{Addr: guestAddr4(3), Class: guestClass(2)}},
	}
	goes := s.ports[1].Port
	goes.Allowed = []dataplane.Allowed{{Prefix: netip.PrefixFrom(shared, 32), Class: guestClass(1)}}
	moved := goes
	moved.Other, moved.Standby = twinVTEPs[2], true
	apply := func(ops ...dataplane.Op) {
		t.Helper()
		if err := s.Apply(ops); err != nil {
			t.Fatal(err)
		}
	}
	apply(dataplane.SetVTEP{Addr: twinVTEPs[2]}, dataplane.SetPort{Port: goes}, dataplane.SetPort{Port: stays}, row(twinVTEPs[0]),
		dataplane.SetPair{Key: dataplane.PairKey{Domain: testDomain, Src: guestClass(2), Dst: guestClass(1)}, Table: allowing()})
	ends := packet.Ends{SrcMAC: guestMAC(1), DstMAC: guestMAC(3), Src: shared, Dst: guestAddr4(3)}
	if got, _, err := s.FromGuest(1, packet.UDP(ends, 1, 53, nil)); err != nil || got.Rule != "udp" {
		t.Fatalf("a first packet: %+v, %v", got, err)
	}
	answers := func(want dataplane.Outcome) {
		t.Helper()
		if got, _, err := s.FromGuest(2, packet.UDP(ends.Reverse(), 53, 1, nil)); err != nil || got != want {
			t.Errorf("an answer: %+v, %v, want %+v", got, err, want)
		}
	}
	answers(dataplane.Outcome{Action: dataplane.Delivered, Port: 1})
	apply(dataplane.SetPort{Port: moved})
	there := dataplane.Outcome{Action: dataplane.Tunneled, VTEP: twinVTEPs[2], VNI: testVNI, Class: guestClass(2)}
	answers(there)
	apply(row(twinVTEPs[2]))
	answers(there)
	apply(dataplane.DelPort{ID: 1})
	answers(there)
	flows, err := s.Flows()
	if err != nil || len(flows) != 1 {
		t.Errorf("flows %+v, %v", flows, err)
	}
}

func TestJoined(t *testing.T) { joinedFlow(t, Options{}) }

// joinedFlow has programs of an older layout note a flow between two guests of this
// host: its answer passes here. As another host's word of one of them it would not.
func joinedFlow(t testing.TB, o Options) {
	s := newLone(t, o)
	if err := s.Apply([]dataplane.Op{
		dataplane.SetPort{Port: dataplane.Port{
			ID: 2, UID: 2, VNI: testVNI, MAC: guestMAC(2), Kind: dataplane.Veth,
			Addresses: []dataplane.Address{{Addr: guestAddr4(2), Class: guestClass(2)}},
		}},
		dataplane.SetPair{Key: dataplane.PairKey{Domain: testDomain, Src: guestClass(2), Dst: guestClass(1)}, Table: allowing()},
	}); err != nil {
		t.Fatal(err)
	}
	answer := packet.UDP(back, 53, 1, nil)
	flow := dswitchAdoptArgs{
		Vni: uint32(testVNI), Src: addrWords(guestAddr4(1)), Dst: addrWords(guestAddr4(2)), SrcPort: 1, DstPort: 53,
		Port: 2, Proto: uint8(dove.ProtocolUDP), Uid: [2]uint64{1, 2},
	}
	for join, want := range []dataplane.Outcome{
		{Action: dataplane.Dropped, Reason: dataplane.Policy, Rule: verdict.DefaultDeny},
		{Action: dataplane.Delivered, Port: 1},
	} {
		flow.Join = uint32(join)
		if full, err := s.adoptRaw(flow); err != nil || full != dataplane.NotDropped {
			t.Fatal(full, err)
		}
		if o, _, err := s.FromGuest(2, answer); err != nil || o != want {
			t.Errorf("joined %d: %+v, %v", join, o, err)
		}
	}
}
