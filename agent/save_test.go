package agent

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dataplane/soft"
	"dove.network/dove"
)

// TestNothingIsSaidBeforeItIsWritten changes an endpoint while the disk is slow: the switch has it
// at once and first packets go on, but the DPC hears of it when it would outlive the agent. What
// changes while one Save is under way goes into the next.
func TestNothingIsSaidBeforeItIsWritten(t *testing.T) {
	r := web1(t)
	r.slowDisk = true
	class := func() dove.Class {
		return r.has[target{kind: kindPort, port: 1}].(dataplane.SetPort).Port.Addresses[0].Class
	}
	change := func(n int) {
		t.Helper()
		m := assignOf("web-1", 5, "10.0.0.1", dove.Class(20+n))
		m.Revision, m.Epoch = dove.Revision(n), dove.Epoch(n)
		r.step(Received{m}, Received{&control.Frontier{Revision: dove.Revision(n)}})
		if class() != dove.Class(20+n) {
			t.Fatalf("the switch has class %d of change %d", class(), n)
		}
	}
	said := func(acked dove.Revision, epoch dove.Epoch) {
		t.Helper()
		var gotAck dove.Revision
		var gotEpoch dove.Epoch
		for _, m := range r.sent {
			switch m := m.(type) {
			case *control.Ack:
				gotAck = m.Revision
			case *control.EndpointUpdate:
				gotEpoch = m.Epoch
			}
		}
		if r.sent = nil; gotAck != acked || gotEpoch != epoch {
			t.Fatalf("acknowledged is %d and announced %d, want %d and %d", gotAck, gotEpoch, acked, epoch)
		}
	}
	r.sent = nil
	for n := range 3 {
		change(n + 2)
		said(0, 0)
	}
	if got := r.unwritten.Saved.Assignments[0].Assign.Epoch; got != 2 {
		t.Fatalf("epoch %d is written while another Save is under way", got)
	}
	before := r.injected
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	q := query("10.0.0.7")
	q.Class = 24
	r.step(Received{found(1, q, 24, 30)})
	if r.injected != before+1 {
		t.Fatal("a first packet waits for the disk")
	}
	r.sent = nil
	r.step(r.write())
	said(2, 0) // what is announced is newer
	if got := r.unwritten.Saved.Assignments[0].Assign.Epoch; got != 4 {
		t.Fatalf("epoch %d is written next", got)
	}
	r.step(r.write())
	said(4, 4)
	if r.unwritten != nil || r.core.Saving() {
		t.Fatal("what is written is written again")
	}
}

// TestSaveKeepsNobodyWaiting stops an agent whose disk takes two seconds: others go on
// meanwhile, and it ends when the last that changed is written.
func TestSaveKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var saved []Saved
		a := New(Options{
			Config: Config{Host: "h1", VTEP: addr("192.0.2.1")},
			Switch: soft.New(dataplane.Config{VTEP: addr("192.0.2.1"), Underlay: "u0"}, time.Now),
			Dial:   func(ctx context.Context, _ string) (control.HostConn, error) { <-ctx.Done(); return nil, ctx.Err() },
			Save: func(s Saved) error {
				time.Sleep(2 * time.Second)
				saved = append(saved, s)
				return nil
			},
			Log: slog.New(slog.DiscardHandler),
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- a.Run(ctx) }()
		began := time.Now()
		for _, device := range []string{"tap1", "tap2", "tap3"} {
			a.take(Plug{Endpoint: dove.Endpoint{Tenant: "red", ID: "web-1"}, Device: device})
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("the turn took %v", waited)
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if len(saved) != 2 || saved[1].Plugs[0].Device != "tap3" {
			t.Errorf("%+v was written", saved)
		}
	})
}
