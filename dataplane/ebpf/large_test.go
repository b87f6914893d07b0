package ebpf

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
)

// TestLargeFirstPacket has hosts forget each other in the midst of a
// connection, so that packets far longer than the MTU, which the kernel cuts
// only on the wire, wait for an answer and come back whole.
func TestLargeFirstPacket(t *testing.T) { overEach(t, largeFirstPacket) }

func largeFirstPacket(t *testing.T, hosts []*host) {
	var longest atomic.Int64
	table := allowing(allowed("web", dove.ProtocolTCP, 80, 80))
	guests := fourGuests(t, hosts, table, func(m dataplane.Miss) {
		if n := int64(len(m.Frame)); n > longest.Load() {
			longest.Store(n)
		}
	})
	for _, pair := range [][2]byte{{1, 2}, {4, 3}} {
		from, to := pair[0], pair[1]
		for i, a := range guestAddrs(to) {
			guests[to].listen(t, netip.AddrPortFrom(a, 80))
			c, err := guests[from].dial(t, netip.AddrPortFrom(a, 80), 5*time.Second)
			if err != nil {
				t.Fatalf("guest %d to %v: %v", from, a, err)
			}
			exchange(t, c, 1<<20)
			longest.Store(0)
			for try := 0; longest.Load() < 10000; try++ {
				if try == 50 {
					t.Fatalf("guest %d to %v: the longest packet that waited has %d bytes", from, a, longest.Load())
				}
				hosts[0].apply(t, dataplane.DelPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: a}})
				hosts[1].apply(t, dataplane.DelPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: guestAddrs(from)[i]}})
				exchange(t, c, 1<<20)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	for _, h := range hosts {
		for _, r := range []dataplane.Reason{dataplane.TooBig, dataplane.Malformed, dataplane.EncapFailed} {
			if n := h.count(t, r, ""); n != 0 {
				t.Errorf("%s dropped %d packets as %v", h.name, n, r)
			}
		}
	}
}
