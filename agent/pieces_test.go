package agent

import (
	"testing"

	"dove.network/dataplane"
)

// TestPiecesFollowTheirFirst gives fragments back after what they wait for.
func TestPiecesFollowTheirFirst(t *testing.T) {
	r := web1(t)
	later := r.miss(1, dataplane.WantFirst, "10.0.0.1", "10.0.0.7")
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"), later, r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	r.step(Received{found(1, query("10.0.0.7"), 20, 30)})
	if len(r.waiting) != 0 || r.injected != 3 || r.last.Want != dataplane.WantFirst {
		t.Fatalf("%d injected, the last was %+v", r.injected, r.last)
	}

	// Without a question it is a while that it may be late by.
	r.step(r.miss(1, dataplane.WantFirst, "10.0.0.1", "10.0.0.7"))
	r.sleep(PieceFor / 2)
	r.step(Tick{})
	if r.injected != 3 {
		t.Fatal("given back at once")
	}
	r.sleep(PieceFor / 2)
	r.step(Tick{})
	if r.injected != 4 {
		t.Fatal("not given back in time")
	}
	for range PiecesPerPort + 2 {
		r.step(r.miss(1, dataplane.WantFirst, "10.0.0.1", "10.0.0.7"))
	}
	if r.dropped[dataplane.HoldLimit] != 2 {
		t.Errorf("dropped %v", r.dropped)
	}
	r.step(DeviceGone{"dvweb-1"})
	if r.dropped[dataplane.NoPort] != PiecesPerPort {
		t.Errorf("dropped %v", r.dropped)
	}
}
