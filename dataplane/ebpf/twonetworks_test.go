package ebpf

import (
	"net/netip"
	"testing"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/privtest"
)

// TestTwoNetworks has two ports of one host on different networks talk.
func TestTwoNetworks(t *testing.T) { twoNetworks(t, Options{}) }

// twoNetworks is TestTwoNetworks with the programs of o.
func twoNetworks(t testing.TB, o Options) {
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
	port := func(n byte, vni dove.VNI, addrs []netip.Addr) dataplane.Op {
		p := dataplane.Port{ID: dataplane.PortID(n), UID: dove.UID(n), VNI: vni, MAC: guestMAC(n), Kind: dataplane.Veth}
		for _, a := range addrs {
			p.Addresses = append(p.Addresses, dataplane.Address{Addr: a, Class: guestClass(n)})
		}
		return dataplane.SetPort{Port: p}
	}
	row := func(on dove.VNI, addr netip.Addr, n byte, is dove.VNI, vtep netip.Addr) dataplane.Op {
		return dataplane.SetPeer{Key: dataplane.PeerKey{VNI: on, Addr: addr}, Peer: dataplane.Peer{
			UID: dove.UID(n), MAC: guestMAC(n), Class: guestClass(n), VTEP: vtep, VNI: is, Gateway: routers[on].MAC, Far: routers[is].MAC,
		}}
	}
	ops := []dataplane.Op{
		dataplane.SetNetwork{Network: dataplane.Network{VNI: testVNI, Domain: testDomain, MTU: 1450, Gateways: []dataplane.Gateway{routers[testVNI]}}},
		dataplane.SetNetwork{Network: dataplane.Network{VNI: farVNI, Domain: testDomain, MTU: 1450, Gateways: []dataplane.Gateway{routers[farVNI]}}},
		dataplane.SetVTEP{Addr: twinVTEPs[1]},
		port(1, testVNI, guestAddrs(1)), port(2, farVNI, farAddrs(2)),
		dataplane.SetPair{Key: dataplane.PairKey{Domain: testDomain, Src: guestClass(1), Dst: guestClass(2)}, Table: allowing(allowed("all", 0, 0, 65535))},
		dataplane.SetPair{Key: dataplane.PairKey{Domain: testDomain, Src: guestClass(2), Dst: guestClass(1)}, Table: allowing()},
	}
	for i := range 2 {
		ops = append(ops, row(testVNI, farAddrs(2)[i], 2, farVNI, twinVTEPs[0]), row(farVNI, guestAddrs(1)[i], 1, testVNI, twinVTEPs[0]))
	}
	if err := s.Apply(ops); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		send := func(from byte, flags packet.TCPFlags, want dataplane.Outcome) {
			t.Helper()
			e := packet.Ends{SrcMAC: guestMAC(1), DstMAC: routers[testVNI].MAC, Src: guestAddrs(1)[i], Dst: farAddrs(2)[i]}
			frame := packet.TCP(e, 1000, 80, flags, nil)
			if from == 2 {
				e = packet.Ends{SrcMAC: guestMAC(2), DstMAC: routers[farVNI].MAC, Src: e.Dst, Dst: e.Src}
				frame = packet.TCP(e, 80, 1000, flags, nil)
			}
			if got, _, err := s.FromGuest(dataplane.PortID(from), frame); err != nil || got != want {
				t.Fatalf("port %d sends with flags %#x: %+v (%v), want %+v", from, flags, got, err, want)
			}
		}
		entries := func(n int, packets uint64) {
			t.Helper()
			flows, err := s.Flows()
			if err != nil || len(flows) != n {
				t.Fatalf("%d entries (%v), want %d: %+v", len(flows), err, n, flows)
			}
			for _, f := range flows {
				if f.Packets != packets || f.Tuple.Src != guestAddrs(1)[i] {
					t.Errorf("entry %+v, want %d packets", f, packets)
				}
			}
		}
		to := func(port dataplane.PortID, rule string) dataplane.Outcome {
			return dataplane.Outcome{Action: dataplane.Delivered, Port: port, Rule: rule}
		}
		denied := dataplane.Outcome{Reason: dataplane.Policy, Rule: "default-deny"}
		send(2, packet.SYN, denied)
		send(1, packet.SYN, to(2, "all"))
		send(2, packet.SYN|packet.ACK, to(1, ""))
		send(1, packet.ACK, to(2, ""))
		send(2, packet.ACK, to(1, ""))
		entries(2, 4)
		straight := dataplane.SetPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: farAddrs(2)[i]}, Peer: dataplane.Peer{
			UID: 2, MAC: guestMAC(2), Class: guestClass(2), VTEP: twinVTEPs[1],
		}}
		if err := s.Apply([]dataplane.Op{straight}); err != nil {
			t.Fatal(err)
		}
		away := dataplane.Outcome{Action: dataplane.Tunneled, VTEP: twinVTEPs[1], VNI: testVNI, Class: guestClass(1)}
		send(1, packet.ACK, away)
		send(1, packet.ACK, away)
		entries(2, 6) // no router is between them any more
		if err := s.Apply([]dataplane.Op{row(testVNI, farAddrs(2)[i], 2, farVNI, twinVTEPs[0])}); err != nil {
			t.Fatal(err)
		}
		send(1, packet.RST, to(2, ""))
		send(2, packet.SYN, denied)
		send(1, packet.SYN, to(2, "all"))
		entries(1, 1)
		send(2, packet.SYN|packet.ACK, to(1, ""))
		if sizes, err := s.Sizes(); err != nil || sizes.Flows != 2 {
			t.Errorf("budgets have %d flows (%v), want 2", sizes.Flows, err)
		}
		if err := s.Apply([]dataplane.Op{dataplane.DelPort{ID: 2}}); err != nil {
			t.Fatal(err)
		}
		entries(0, 0)
		if err := s.Apply([]dataplane.Op{port(2, farVNI, farAddrs(2))}); err != nil {
			t.Fatal(err)
		}
		spoofed := packet.UDP(packet.Ends{Src: routers[farVNI].Addrs[i], Dst: farAddrs(2)[i]}, 1, 2, nil)
		o, _, err := s.FromWire(packet.Outer{Src: twinVTEPs[1], Dst: twinVTEPs[0], VNI: farVNI, Class: 1}.Encap(spoofed))
		if o.Reason != dataplane.SourceMismatch || err != nil {
			t.Errorf("somebody speaks as the router: %+v (%v)", o, err)
		}
	}
}
