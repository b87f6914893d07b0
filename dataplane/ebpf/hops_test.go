package ebpf

import (
	"net/netip"
	"testing"
	"time"

	"dove.network/dataplane"
)

// TestNextHop changes the route to a VTEP and expects the peer behind it to follow.
func TestNextHop(t *testing.T) {
	overEach(t, func(t *testing.T, hosts []*host) {
		far, gateway := "198.51.100", "192.0.2."
		prefix, single := far+".0/24", far+".7"
		if hosts[0].vtep.Is6() {
			far, gateway = "2001:db8:1:", "2001:db8::"
			prefix, single = far+":/64", far+":7"
		}
		nextHop(t, hosts[0], prefix, single, gateway)
	})
}

func nextHop(t *testing.T, h *host, prefix, far, gateway string) {
	h.answers = func(dataplane.Miss) []dataplane.Op { return nil }
	key := dataplane.PeerKey{VNI: testVNI, Addr: guestAddr4(9)}
	h.apply(t, dataplane.SetPeer{Key: key, Peer: dataplane.Peer{UID: 9, MAC: guestMAC(9), Class: guestClass(9), VTEP: netip.MustParseAddr(far)}})
	gen := h.place(t, key).Gen
	for _, step := range []struct {
		change string
		hop    string
	}{
		{"", ""},
		{"route add " + prefix + " via " + gateway + "9", gateway + "9"},
		{"route replace " + prefix + " via " + gateway + "10", gateway + "10"},
		{"route add " + far + " dev under", far},
		{"route del " + far, gateway + "10"},
		{"route replace " + prefix + " nexthop via " + gateway + "9 nexthop via " + gateway + "10", ""},
		{"route del " + prefix, ""},
		{"route add default via " + gateway + "11", gateway + "11"},
		{"link set under down", ""},
	} {
		if step.change != "" {
			if h.vtep.Is6() {
				step.change = "-6 " + step.change
			}
			h.ip(t, step.change)
		}
		var want [4]uint32
		if step.hop != "" {
			want = addrWords(netip.MustParseAddr(step.hop))
		}
		for end := time.Now().Add(10 * time.Second); h.place(t, key).Hop != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("after %q the next hop is %v, not %q", step.change, mappedAddr(h.place(t, key).Hop), step.hop)
			}
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
