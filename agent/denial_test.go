package agent

import (
	"testing"

	"dove.network/dataplane"
)

// TestDenials asks about what another host has let out and a table here denies,
// though all of it is held; without an answer it is denied.
func TestDenials(t *testing.T) {
	r := web1(t)
	deny := func() { r.step(r.miss(1, dataplane.WantDenial, "10.0.0.1", "10.0.0.7")) }
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	r.step(Received{found(1, query("10.0.0.7"), 20, 30)})
	r.take()
	deny()
	if r.injected != 1 || len(r.take()) != 1 {
		t.Fatalf("%d injected: nobody was asked", r.injected)
	}
	deny()
	if len(r.take()) != 0 {
		t.Fatal("asked for each packet")
	}
	r.step(Received{found(2, query("10.0.0.7"), 20, 30)})
	if r.injected != 3 {
		t.Fatalf("%d injected after the answer", r.injected)
	}

	deny()
	r.sleep(HoldFor)
	r.step(Tick{})
	if r.injected != 4 || len(r.dropped) != 0 {
		t.Fatalf("%d injected without an answer, dropped %v", r.injected, r.dropped)
	}
	r.step(Disconnected{})
	deny()
	if r.injected != 5 {
		t.Fatalf("%d injected without a session", r.injected)
	}
}
