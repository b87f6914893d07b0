package ebpf

import (
	"bytes"
	"testing"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/privtest"
)

// TestTrunk has a port under a VLAN ask for what is not known yet.
func TestTrunk(t *testing.T) { trunk(t, Options{}) }

// trunk is TestTrunk with the programs of o.
func trunk(t testing.TB, o Options) {
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
	port := func(n byte, vlan uint16) dataplane.Op {
		return dataplane.SetPort{Port: dataplane.Port{
			ID: dataplane.PortID(n), UID: dove.UID(n), VNI: testVNI, MAC: guestMAC(n), Kind: dataplane.Veth, Ifindex: 11, VLAN: vlan,
			Addresses: []dataplane.Address{{Addr: guestAddr4(n), Class: guestClass(n)}},
		}}
	}
	if err := s.Apply([]dataplane.Op{
		dataplane.SetNetwork{Network: dataplane.Network{VNI: testVNI, Domain: testDomain, MTU: 1450}}, port(1, 0), port(2, 7),
	}); err != nil {
		t.Fatal(err)
	}
	request := packet.ARPRequest(guestMAC(2), guestAddr4(2), guestAddr4(3))
	o1, out, err := s.FromGuest(1, packet.Tag(request, 7))
	miss, ok := s.MissOf(out)
	if err != nil || o1.Action != dataplane.Missed || !ok || miss.Port != 2 || miss.Local != guestAddr4(2) {
		t.Fatalf("%+v (%v), %+v", o1, err, miss)
	}
	if err := s.Apply([]dataplane.Op{dataplane.SetPeer{
		Key:  dataplane.PeerKey{VNI: testVNI, Addr: guestAddr4(3)},
		Peer: dataplane.Peer{UID: 3, MAC: guestMAC(3), Class: guestClass(3), VTEP: twinVTEPs[1]},
	}}); err != nil {
		t.Fatal(err)
	}
	asked, _ := packet.Parse(request)
	o2, out, err := s.ReInject(miss)
	if want := packet.Tag(packet.Answer(asked, guestMAC(3)), 7); err != nil || o2 != (dataplane.Outcome{Action: dataplane.Answered, Port: 2}) || !bytes.Equal(out, want) {
		t.Fatalf("answered %+v (%v)\n%x, want\n%x", o2, err, out, want)
	}
}
