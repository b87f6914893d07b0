package ebpf

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dove.network/dataplane"
	"dove.network/dove"
)

// TestRestart closes a switch while a connection is open, goes on without it,
// and opens it again.
func TestRestart(t *testing.T) {
	hosts := newHosts(t, 2)
	where := map[byte]netip.Addr{1: hosts[0].vtep, 2: hosts[1].vtep}
	table := allowing(allowed("web", dove.ProtocolTCP, 80, 81))
	for _, h := range hosts {
		h.answers = everyone(where, table)
	}
	client, server := hosts[0].plug(t, 1, dataplane.Veth), hosts[1].plug(t, 2, dataplane.Veth)
	for _, port := range []uint16{80, 81} {
		server.listen(t, netip.AddrPortFrom(guestAddr4(2), port))
	}
	c, err := client.dial(t, netip.AddrPortFrom(guestAddr4(2), 80), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c, 1<<16)

	h := hosts[0]
	h.apply(t, dataplane.SetAbsent{Key: dataplane.PeerKey{VNI: testVNI, Addr: guestAddr4(99)}, TTL: time.Hour})
	outside := netip.MustParseAddr("198.51.100.7")
	ways := dataplane.Peer{
		UID: 71, MAC: dove.MAC{2, 7, 1}, Class: 7, VTEP: hosts[1].vtep, VNI: testVNI, Gateway: dove.MAC{2, 0xee}, Far: dove.MAC{2, 0xef}, MTU: 1400,
		Ways: []dataplane.Way{
			{UID: 72, MAC: dove.MAC{2, 7, 2}, Class: 8, VNI: testVNI, Far: dove.MAC{2, 0xef}},
			{UID: 73, MAC: dove.MAC{2, 7, 3}, Class: 9, VTEP: h.vtep, VNI: testVNI + 1, Far: dove.MAC{2, 0xed}},
		},
	}
	h.apply(t, dataplane.SetPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: outside}, Peer: ways})
	held := h.sw.Held()
	flows, err := h.sw.Flows()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.sw.Close(); err != nil {
		t.Fatal(err)
	}
	<-h.ended
	exchange(t, c, 1<<16)
	h.open(t)
	exchange(t, c, 1<<16)
	if diff := cmp.Diff(held, h.sw.Held(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("what is held after the restart differs:\n%s", diff)
	}
	if got := h.sw.peers[dataplane.PeerKey{VNI: testVNI, Addr: outside}]; !got.Equal(ways) {
		t.Errorf("the ways after the restart are %+v", got)
	}
	after, err := h.sw.Flows()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(flows, after, cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreFields(dataplane.Flow{}, "Idle", "Packets", "Bytes")); diff != "" {
		t.Errorf("the flows after the restart differ:\n%s", diff)
	}
	// The same answers again change nothing: no new generation, no new miss.
	place := *h.sw.places[dataplane.PeerKey{VNI: testVNI, Addr: guestAddr4(2)}]
	pair := *h.sw.pairs[dataplane.PairKey{Domain: testDomain, Src: guestClass(1), Dst: guestClass(2)}]
	h.apply(t, dataplane.SetPort{Port: client.port})
	h.apply(t, h.answers(dataplane.Miss{Local: guestAddr4(1), Peer: guestAddr4(2)})...)
	if got := *h.sw.places[dataplane.PeerKey{VNI: testVNI, Addr: guestAddr4(2)}]; !reflect.DeepEqual(got, place) {
		t.Errorf("the peer's slot changed from %v to %v", place, got)
	}
	if got := *h.sw.pairs[dataplane.PairKey{Domain: testDomain, Src: guestClass(1), Dst: guestClass(2)}]; got != pair {
		t.Errorf("the pair's slot changed from %v to %v", pair, got)
	}
	misses := h.answered.Load()
	if _, err := client.dial(t, netip.AddrPortFrom(guestAddr4(2), 81), 5*time.Second); err != nil {
		t.Errorf("open a connection after the restart: %v", err)
	}
	if got := h.answered.Load(); got != misses {
		t.Errorf("known things missed %d times after the restart", got-misses)
	}
	exchange(t, c, 1<<16)
	// A policy that no longer allows it ends the connection that lived through all this.
	h.apply(t, dataplane.SetPair{
		Key:   dataplane.PairKey{Domain: testDomain, Src: guestClass(1), Dst: guestClass(2)},
		Table: allowing(allowed("other", dove.ProtocolTCP, 81, 81)),
	})
	c.SetDeadline(time.Now().Add(300 * time.Millisecond))
	if _, err := c.Write([]byte("anyone there?")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a revoked connection goes on")
	}
}

func TestDeletedPortForgets(t *testing.T) {
	h := newHosts(t, 1)[0]
	h.answers = everyone(nil, nil)
	a, b := h.plug(t, 1, dataplane.Veth), h.plug(t, 2, dataplane.Veth)
	table := allowing(allowed("web", dove.ProtocolTCP, 80, 80))
	h.apply(t, dataplane.SetPair{Key: dataplane.PairKey{Domain: testDomain, Src: guestClass(1), Dst: guestClass(2)}, Table: table})
	b.listen(t, netip.AddrPortFrom(guestAddr4(2), 80))
	c, err := a.dial(t, netip.AddrPortFrom(guestAddr4(2), 80), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c, 1<<20)
	h.apply(t, dataplane.DelPort{ID: b.port.ID})
	if sizes, err := h.sw.Sizes(); err != nil || sizes.Flows != 0 || sizes.Ports != 1 {
		t.Errorf("after its port was deleted: %+v, %v", sizes, err)
	}
	if flows, err := h.sw.Flows(); err != nil || len(flows) != 0 {
		t.Errorf("flows of a deleted port: %v, %v", flows, err)
	}
}
