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
)

// While a full flow table is searched for what is old, nobody else waits; and
// what takes long comes seldom.
func TestExpiryKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const took = 500 * time.Millisecond
		devices := make(chan Event)
		began := make(chan time.Time, 100)
		a := New(Options{
			Config:  Config{Host: "h1", VTEP: addr("192.0.2.1")},
			Switch:  soft.New(dataplane.Config{VTEP: addr("192.0.2.1"), Underlay: "u0"}, time.Now),
			Devices: devices,
			Dial:    func(ctx context.Context, _ string) (control.HostConn, error) { <-ctx.Done(); return nil, ctx.Err() },
			Expire: func() error {
				began <- time.Now()
				time.Sleep(took)
				return nil
			},
			Log: slog.New(slog.DiscardHandler),
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- a.Run(ctx) }()
		time.Sleep(expireEvery + took/2)
		if len(began) != 1 {
			t.Fatalf("%d expiries after %v", len(began), expireEvery+took/2)
		}
		asked := time.Now()
		devices <- deviceOf("tap1", 7)
		if waited := time.Since(asked); waited > 0 {
			t.Errorf("a device waited %v", waited)
		}
		time.Sleep(time.Minute)
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if n := len(began); n < 4 || n > 7 {
			t.Errorf("%d expiries in a minute", n)
		}
		close(began)
		last := <-began
		for next := range began {
			if pause := next.Sub(last.Add(took)); pause < expireRest*took {
				t.Errorf("an expiry came %v after the one before had ended, which took %v", pause, took)
			}
			last = next
		}
	})
}
