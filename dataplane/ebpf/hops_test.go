package ebpf

import (
	"net/netip"
	"testing"
	"time"

	"dove.network/dataplane"
)

// TestNextHop changes the route to a VTEP and expects the peer behind it to follow.
func TestNextHop(t *testing.T) {
	h := newHosts(t, 2)[0]
	h.answers = func(dataplane.Miss) []dataplane.Op { return nil }
	key := dataplane.PeerKey{VNI: testVNI, Addr: guestAddr4(9)}
	far := netip.MustParseAddr("198.51.100.7")
	h.apply(t, dataplane.SetPeer{Key: key, Peer: dataplane.Peer{UID: 9, MAC: guestMAC(9), Class: guestClass(9), VTEP: far}})
	gen := h.place(t, key).Gen
	for _, step := range []struct {
		change string
		hop    string
	}{
		{"", "0.0.0.0"},
		{"route add 198.51.100.0/24 via 192.0.2.9", "192.0.2.9"},
		{"route replace 198.51.100.0/24 via 192.0.2.10", "192.0.2.10"},
		{"route add 198.51.100.7/32 dev under", "198.51.100.7"},
		{"route del 198.51.100.7/32", "192.0.2.10"},
		{"route replace 198.51.100.0/24 nexthop via 192.0.2.9 nexthop via 192.0.2.10", "0.0.0.0"},
		{"route del 198.51.100.0/24", "0.0.0.0"},
		{"route add default via 192.0.2.11", "192.0.2.11"},
		{"link set under down", "0.0.0.0"},
	} {
		if step.change != "" {
			h.ip(t, step.change)
		}
		want, end := vtepKey(netip.MustParseAddr(step.hop)), time.Now().Add(10*time.Second)
		for h.place(t, key).Hop != want {
			if time.Now().After(end) {
				t.Fatalf("after %q the next hop is %v, not %s", step.change, vtepAddr(h.place(t, key).Hop), step.hop)
			}
			time.Sleep(time.Millisecond)
		}
	}
	if now := h.place(t, key).Gen; now != gen {
		t.Errorf("a route's change had flows judged again: generation %d, was %d", now, gen)
	}
}

// place returns what the kernel holds of an address.
func (h *host) place(t *testing.T, k dataplane.PeerKey) (d dswitchDest) {
	t.Helper()
	var slot uint32
	if err := h.sw.maps.Endpoints.Lookup(endpointKey(k), &slot); err != nil {
		t.Fatal(err)
	}
	if err := h.sw.maps.Dests.Lookup(slot, &d); err != nil {
		t.Fatal(err)
	}
	return d
}
