package daemon

import "testing"

func TestGarbagePercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 800, 4: 800, 10: 320, 32: 100, 192: 100, 384: 50, 768: 25, 1536: 37, 4 << 10: 45} {
		if got := garbagePercent(live << 20); got != want {
			t.Errorf("of %d MiB: %d, want %d", live, got, want)
		}
	}
}
