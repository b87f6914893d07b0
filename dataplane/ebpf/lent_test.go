package ebpf

import (
	"net/netip"
	"testing"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/privtest"
)

func TestLent(t *testing.T) { lent(t, Options{}) }

// lent has a port send over a router from an address that it is but allowed: its
// own MAC says by which way, whether or not a row says that it has the address now.
func lent(t testing.TB, o Options) {
	privtest.Require(t)
	o.Config = dataplane.Config{VTEP: twinVTEPs[0]}
	s, err := OpenForTests(o)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	allowed4, to := netip.MustParseAddr("10.9.0.1"), farAddrs(2)[0]
	row := dataplane.PeerKey{VNI: testVNI, Addr: allowed4}
	ops := []dataplane.Op{
		dataplane.SetNetwork{Network: dataplane.Network{VNI: testVNI, Domain: testDomain, MTU: 1450, Gateways: []dataplane.Gateway{routers[testVNI]}}},
		dataplane.SetVTEP{Addr: twinVTEPs[1]},
		dataplane.SetPort{Port: dataplane.Port{
			ID: 1, UID: 1, VNI: testVNI, MAC: guestMAC(1), Kind: dataplane.Veth,
			Addresses: []dataplane.Address{{Addr: guestAddr4(1), Class: guestClass(1)}},
			Allowed:   []dataplane.Allowed{{Prefix: netip.PrefixFrom(allowed4, 32), Class: guestClass(1)}},
		}},
		dataplane.SetPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: to}, Peer: dataplane.Peer{
			UID: 2, MAC: guestMAC(2), Class: guestClass(2), VTEP: twinVTEPs[1], VNI: farVNI, Gateway: routers[testVNI].MAC, Far: routers[farVNI].MAC,
		}},
		dataplane.SetPair{Key: dataplane.PairKey{Domain: testDomain, Src: guestClass(1), Dst: guestClass(2)}, Table: allowing(allowed("all", 0, 0, 65535))},
	}
	if err := s.Apply(ops); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		op   dataplane.Op
		from netip.Addr
		mac  dove.MAC
	}{
		{"its own", dataplane.DelPeer{Key: row}, guestAddr4(1), routers[farVNI].MAC},
		{"allowed", dataplane.DelPeer{Key: row}, allowed4, guestMAC(1)},
		{"allowed, and it has it", dataplane.SetPeer{Key: row, Peer: dataplane.Peer{UID: 1, MAC: guestMAC(1), Class: guestClass(1), VTEP: twinVTEPs[0]}}, allowed4, guestMAC(1)},
		{"allowed again", dataplane.DelPeer{Key: row}, allowed4, guestMAC(1)},
	} {
		if err := s.Apply([]dataplane.Op{step.op}); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second is of a known flow
			o, frame, err := s.FromGuest(1, packet.UDP(packet.Ends{SrcMAC: guestMAC(1), DstMAC: routers[testVNI].MAC, Src: step.from, Dst: to}, 1000, 80, nil))
			if o.Action != dataplane.Tunneled || err != nil {
				t.Fatalf("%s: %+v, %v", step.name, o, err)
			}
			_, inner, _ := packet.Decap(frame)
			if p, _ := packet.Parse(inner); p.SrcMAC != step.mac {
				t.Errorf("%s: from %v, want %v", step.name, p.SrcMAC, step.mac)
			}
		}
	}
	// What answers is for the port with the MAC, until another one is allowed that too.
	back := func(mac dove.MAC, want dataplane.Outcome) {
		t.Helper()
		frame := packet.UDP(packet.Ends{SrcMAC: guestMAC(2), DstMAC: mac, Src: to, Dst: allowed4}, 80, 1000, nil)
		got, _, err := s.FromWire(packet.Outer{Src: twinVTEPs[1], Dst: twinVTEPs[0], VNI: testVNI, Class: guestClass(2)}.Encap(frame))
		if got != want || err != nil {
			t.Errorf("the answer to %v: %+v, %v, want %+v", mac, got, err, want)
		}
	}
	answer := func(want dataplane.Outcome) {
		t.Helper()
		if o, _, err := s.FromGuest(1, packet.UDP(packet.Ends{SrcMAC: guestMAC(1), DstMAC: routers[testVNI].MAC, Src: allowed4, Dst: to}, 1000, 80, nil)); o.Action != dataplane.Tunneled || err != nil {
			t.Fatalf("%+v, %v", o, err)
		}
		back(guestMAC(1), want)
	}
	other := dataplane.Port{
		ID: 3, UID: 3, VNI: testVNI, MAC: guestMAC(3), Kind: dataplane.Veth,
		Addresses: []dataplane.Address{{Addr: guestAddr4(3), Class: guestClass(3)}},
		Allowed:   []dataplane.Allowed{{Prefix: netip.MustParsePrefix("10.8.0.0/16"), MAC: guestMAC(1), Class: guestClass(3)}},
	}
	answer(dataplane.Outcome{Action: dataplane.Delivered, Port: 1})
	back(guestMAC(3), dataplane.Outcome{Reason: dataplane.NotHere}) // though its flow is known
	answer(dataplane.Outcome{Action: dataplane.Delivered, Port: 1})
	for range 2 {
		if err := s.Apply([]dataplane.Op{dataplane.SetPort{Port: other}}); err != nil {
			t.Fatal(err)
		}
		answer(dataplane.Outcome{Reason: dataplane.NotHere})
		if err := s.Apply([]dataplane.Op{dataplane.DelPort{ID: other.ID}}); err != nil {
			t.Fatal(err)
		}
		answer(dataplane.Outcome{Action: dataplane.Delivered, Port: 1})
	}
	// The network's MTU is that of the port, also where a row says that it has the address.
	err = s.Apply([]dataplane.Op{
		dataplane.SetPeer{Key: row, Peer: dataplane.Peer{UID: 1, MAC: guestMAC(1), Class: guestClass(1), VTEP: twinVTEPs[0]}},
		dataplane.SetNetwork{Network: dataplane.Network{VNI: testVNI, Domain: testDomain, MTU: 100, Gateways: []dataplane.Gateway{routers[testVNI]}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	answer(dataplane.Outcome{Action: dataplane.Delivered, Port: 1})
	big := packet.UDP(packet.Ends{SrcMAC: guestMAC(2), DstMAC: guestMAC(1), Src: to, Dst: allowed4}, 80, 1000, make([]byte, 100))
	got, _, err := s.FromWire(packet.Outer{Src: twinVTEPs[1], Dst: twinVTEPs[0], VNI: testVNI, Class: guestClass(2)}.Encap(big))
	if want := (dataplane.Outcome{Reason: dataplane.TooBig}); got != want || err != nil {
		t.Errorf("over the network's MTU: %+v, %v, want %+v", got, err, want)
	}
}
