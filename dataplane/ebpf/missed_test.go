package ebpf

import (
	"net/netip"
	"testing"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/verdict"
)

// TestWaysOfMissed has two next hops behind one VTEP begin flows before their host knows
// of either.
func TestWaysOfMissed(t *testing.T) { waysOfMissed(t, Options{}) }

// waysOfMissed holds what comes from two next hops until both are known. Each may send to
// a port of its own alone, so what comes back must have kept by which of them it came.
func waysOfMissed(t testing.TB, o Options) {
	hosts := newHostsOver(t, underlays["IPv4"], 2, o)
	h, other := hosts[0], hosts[1]
	const flows = 16
	h.held = make(chan dataplane.Miss, flows)
	h.plug(t, 1, dataplane.Veth)
	outside := netip.MustParseAddr("10.9.0.7")

	var ways []dataplane.Way
	var ops []dataplane.Op
	for _, n := range []byte{2, 3} {
		ways = append(ways, dataplane.Way{UID: dove.UID(n), MAC: guestMAC(n), Class: guestClass(n), VTEP: other.vtep, VNI: farVNI, Far: routers[farVNI].MAC})
		ops = append(ops, dataplane.SetPair{
			Key:   dataplane.PairKey{Domain: testDomain, Src: guestClass(n), Dst: guestClass(1)},
			Table: allowing(allowed("one", dove.ProtocolUDP, uint16(n), uint16(n))),
		})
	}
	first := ways[0]
	ops = append(ops, dataplane.SetPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: outside}, Peer: dataplane.Peer{
		UID: first.UID, MAC: first.MAC, Class: first.Class, VTEP: first.VTEP, VNI: first.VNI, Gateway: routers[testVNI].MAC, Far: first.Far, Ways: ways[1:],
	}})

	outer := packet.Outer{SrcMAC: other.mac(t, "under"), DstMAC: h.mac(t, "under"), Src: other.vtep, Dst: h.vtep, SrcPort: 0xc000, VNI: testVNI}
	for i := range uint16(flows) {
		n := byte(2 + i%2)
		outer.Class = guestClass(n)
		ends := packet.Ends{SrcMAC: guestMAC(n), DstMAC: guestMAC(1), Src: outside, Dst: guestAddr4(1)}
		other.sendRaw(t, "under", outer.Encap(packet.UDP(ends, 1000+i, uint16(n), nil)))
	}
	var misses []dataplane.Miss
	for range flows {
		select {
		case m := <-h.held:
			misses = append(misses, m)
		case <-time.After(10 * time.Second):
			t.Fatalf("%d of %d packets were asked about", len(misses), flows)
		}
	}
	h.apply(t, ops...)
	for _, m := range misses {
		if err := h.sw.Inject(m); err != nil {
			t.Fatal(err)
		}
	}
	passed, err := h.sw.Flows()
	if err != nil {
		t.Fatal(err)
	}
	if refused := h.count(t, dataplane.Policy, verdict.DefaultDeny); len(passed) != flows || refused != 0 {
		t.Errorf("of %d flows %d passed and %d were taken for another next hop's", flows, len(passed), refused)
	}
}
