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
// what takes long, or finds little, comes seldom.
func TestExpiryKeepsNobodyWaiting(t *testing.T) {
	for _, c := range []struct {
		took, pause time.Duration
		much        bool
		least, most int // in a minute
	}{
		{500 * time.Millisecond, expireRest * 500 * time.Millisecond, true, 4, 7},
		{2 * time.Millisecond, expireEvery / 2, true, 59, 62},
		{2 * time.Millisecond, expireSeldom - expireEvery/2, false, 11, 13},
	} {
		testExpiry(t, c.took, c.pause, c.much, c.least, c.most)
	}
}

func testExpiry(t *testing.T, took, least time.Duration, much bool, fewest, most int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		devices := make(chan Event)
		began := make(chan time.Time, 100)
		a := New(Options{
			Config:  Config{Host: "h1", VTEP: addr("192.0.2.1")},
			Switch:  soft.New(dataplane.Config{VTEP: addr("192.0.2.1"), Underlay: "u0"}, time.Now),
			Devices: devices,
			Dial:    func(ctx context.Context, _ string) (control.HostConn, error) { <-ctx.Done(); return nil, ctx.Err() },
			Expire: func() (bool, error) {
				began <- time.Now()
				time.Sleep(took)
				return much, nil
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
		if n := len(began); n < fewest || n > most {
			t.Errorf("%d expiries in a minute that take %v each", n, took)
		}
		close(began)
		last := <-began
		for next := range began {
			if pause := next.Sub(last.Add(took)); pause < least {
				t.Errorf("an expiry came %v after the one before had ended, which took %v", pause, took)
			}
			last = next
		}
	})
}
