package ebpf

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"dove.network/dataplane"
	"dove.network/packet"
)

func TestExpireInPieces(t *testing.T) { expireInPieces(t, Options{}) }

// expireInPieces fills several pieces of both flow tables with flows of which every third is
// over: these go, and all others stay.
func expireInPieces(t testing.TB, o Options) {
	s := newLone(t, o)
	if o := sends(t, s, packet.UDP(out, 1, 53, nil)); o.Action != dataplane.Tunneled {
		t.Fatalf("%+v", o)
	}
	var key dswitchFlow4Key
	var f dswitchFlow
	if entries := s.maps.Flows4.Iterate(); !entries.Next(&key, &f) {
		t.Fatal(entries.Err())
	}
	pieces := 5 * int(s.maps.Named.MaxEntries())
	now := uint32(monotonic() / tick)
	for i := range pieces {
		f.Last = now
		if i%3 == 0 {
			f.Last -= uint32(time.Hour / tick)
		}
		key.LoPort = uint16(i + 1)
		if err := s.maps.Flows4.Update(key, f, ebpf.UpdateAny); err != nil {
			t.Fatal(err)
		}
		if err := s.maps.Flows6.Update(key.wide(), f, ebpf.UpdateAny); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := s.Expire(); err != nil {
			t.Fatal(err)
		}
		for _, m := range []*ebpf.Map{s.maps.Flows4, s.maps.Flows6} {
			if n := entries(t, m, now); n != pieces-(pieces+2)/3 {
				t.Errorf("%d flows of %v are left, none of which is over, of %d of which every third was", n, m, pieces)
			}
		}
	}
	// Whatever seems over is looked at again: a packet may have come meanwhile.
	s.sweeper.named = append(s.sweeper.named[:0], key.wide())
	if n, err := s.gc(0, nil); n != 0 || err != nil {
		t.Errorf("a flow that goes on is forgotten: %d, %v", n, err)
	}
}

// entries counts flows, all of which have had a packet in a tick.
func entries(t testing.TB, m *ebpf.Map, last uint32) (n int) {
	t.Helper()
	key := make([]byte, m.KeySize())
	var f dswitchFlow
	all := m.Iterate()
	for all.Next(&key, &f) {
		if n++; f.Last != last {
			t.Errorf("a flow of tick %d is left, in tick %d", f.Last, last)
		}
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}
