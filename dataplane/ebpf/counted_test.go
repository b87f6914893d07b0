package ebpf

import (
	"testing"

	"github.com/cilium/ebpf"

	"dove.network/dataplane"
	"dove.network/packet"
)

// TestCountsOfManyPorts opens and closes more ports, one after the other, than there is room for
// what is counted of them: what each has refused is counted.
func TestCountsOfManyPorts(t *testing.T) {
	const room = 64
	s := newLone(t, Options{Flows: 64, read: func() (*ebpf.CollectionSpec, error) {
		spec, err := loadDswitch()
		if err == nil {
			spec.Maps[dswitchMapCounters].MaxEntries = room
		}
		return spec, err
	}})
	frame := packet.UDP(packet.Ends{SrcMAC: guestMAC(9), DstMAC: guestMAC(2), Src: guestAddr4(3), Dst: guestAddr4(2)}, 1, 53, nil)
	const first, last = 2, 3 * room
	for id := dataplane.PortID(first); id <= last; id++ {
		if err := s.Apply([]dataplane.Op{dataplane.SetPort{Port: dataplane.Port{
			ID: id, UID: 3, VNI: testVNI, MAC: guestMAC(3), Kind: dataplane.Veth,
			Addresses: []dataplane.Address{{Addr: guestAddr4(3), Class: guestClass(3)}},
		}}}); err != nil {
			t.Fatal(err)
		}
		if o, _, err := s.FromGuest(id, frame); o.Reason != dataplane.SpoofedMAC || err != nil {
			t.Fatalf("%+v, %v", o, err)
		}
		if err := s.Apply([]dataplane.Op{dataplane.DelPort{ID: id}}); err != nil {
			t.Fatal(err)
		}
	}
	counts, err := s.Counts()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[dataplane.PortID]uint64{}
	for _, c := range counts {
		if c.Reason == dataplane.SpoofedMAC {
			counted[c.Port] += c.Packets
		}
	}
	for id := dataplane.PortID(first); id <= last; id++ {
		if counted[id] != 1 {
			t.Fatalf("%d packets of port %d are counted, and one was refused", counted[id], id)
		}
	}
}
