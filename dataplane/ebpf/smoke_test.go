package ebpf

import (
	"net/netip"
	"testing"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/verdict"
)

func TestSmoke(t *testing.T) {
	s, err := OpenForTests(Options{Config: dataplane.Config{VTEP: netip.MustParseAddr("192.0.2.1")}})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer s.Close()
	a := netip.MustParseAddr
	h := verdict.Half{Rules: []verdict.Rule{{Match: verdict.Match{Protocol: 6, First: 80, Last: 80}, Allow: true, Name: "web"}}, DefaultName: "none", Stateful: true}
	table := verdict.Product(h, h)
	m1, m2 := dove.MAC{2, 0, 0, 0, 0, 1}, dove.MAC{2, 0, 0, 0, 0, 2}
	err = s.Apply([]dataplane.Op{
		dataplane.SetNetwork{Network: dataplane.Network{VNI: 7, Domain: 1, MTU: 1450}},
		dataplane.SetVTEP{Addr: a("192.0.2.2")},
		dataplane.SetPort{Port: dataplane.Port{ID: 1, UID: 1, VNI: 7, MAC: m1, Addresses: []dataplane.Address{{Addr: a("10.0.0.1"), Class: 10}}, Kind: dataplane.Veth}},
	})
	if err != nil {
		t.Fatal(err)
	}
	e := packet.Ends{SrcMAC: m1, DstMAC: m2, Src: a("10.0.0.1"), Dst: a("10.0.0.2")}
	frame := packet.TCP(e, 1000, 80, packet.SYN, nil)
	o, out, err := s.FromGuest(1, frame)
	t.Logf("%+v %x %v", o, out, err)
	miss, ok := s.MissOf(out)
	t.Logf("%+v %v", miss, ok)
	if err := s.Apply([]dataplane.Op{
		dataplane.SetPeer{Key: dataplane.PeerKey{VNI: 7, Addr: a("10.0.0.2")}, Peer: dataplane.Peer{UID: 2, MAC: m2, Class: 11, VTEP: a("192.0.2.2")}},
		dataplane.SetPair{Key: dataplane.PairKey{Domain: 1, Src: 10, Dst: 11}, Table: table},
	}); err != nil {
		t.Fatal(err)
	}
	o, out, err = s.ReInject(miss)
	t.Logf("%+v %x %v", o, out, err)
	o, out, err = s.FromGuest(1, frame)
	t.Logf("%+v %x %v", o, out, err)
	outer, inner, fault := packet.Decap(out)
	t.Logf("%+v %x %v", outer, inner, fault)
	reply := packet.TCP(e.Reverse(), 80, 1000, packet.SYN|packet.ACK, nil)
	o, out, err = s.FromWire(packet.Outer{Src: a("192.0.2.2"), Dst: a("192.0.2.1"), VNI: 7, Class: 11}.Encap(reply))
	t.Logf("%+v %x %v", o, out, err)
	o, out, err = s.FromGuest(1, packet.TCP(e, 1000, 81, packet.SYN, nil))
	t.Logf("%+v %x %v", o, out, err)
	o, out, err = s.FromGuest(1, packet.ARPRequest(m1, e.Src, e.Dst))
	t.Logf("%+v %x %v", o, out, err)
	c, err := s.Counts()
	t.Logf("%+v %v", c, err)
	f, err := s.Flows()
	t.Logf("%+v %v", f, err)
	z, err := s.Sizes()
	t.Logf("%+v %v", z, err)
}
