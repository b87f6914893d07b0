package main

import "testing"

func TestGarbagePercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 10 << 20: 100, 192 << 20: 100, 384 << 20: 50, 768 << 20: 25, 4 << 30: 25} {
		if got := garbagePercent(live); got != want {
			t.Errorf("of %d MiB: %d, want %d", live>>20, got, want)
		}
	}
}
