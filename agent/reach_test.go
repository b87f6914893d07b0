package agent

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// TestReach opens a session as soon as any member admits one, however long others
// say nothing, and asks none of them twice at a time.
func TestReach(t *testing.T) {
	const well = 47 * time.Second
	type member func(ctx context.Context, began time.Time) error
	wait := func(ctx context.Context, d time.Duration, err error) error {
		select {
		case <-time.After(d):
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	down := dove.Errorf(dove.Unavailable, "it is not there")
	refuses := func(context.Context, time.Time) error { return down }
	cutOff := func(ctx context.Context, _ time.Time) error { return wait(ctx, 1500*time.Millisecond, down) }
	stopped := func(ctx context.Context, _ time.Time) error { return wait(ctx, 5*time.Second, down) }
	lost := func(ctx context.Context, began time.Time) error { // its store, until then
		if left := well - time.Since(began); left < 10*time.Second {
			return wait(ctx, left, nil)
		}
		return wait(ctx, 10*time.Second, down)
	}
	for _, c := range []struct {
		name    string
		members map[string]member
		want    time.Duration // at most, after it is well
	}{
		{"one lost its store, one is stopped, one cut off", map[string]member{"a": stopped, "b": cutOff, "c": lost}, 0},
		{"one lost its store, the others are down", map[string]member{"a": refuses, "b": refuses, "c": lost}, 0},
		{"all lost their store", map[string]member{"a": lost, "b": lost, "c": lost}, 0},
		{"one is well, the others are stopped", map[string]member{"a": stopped, "b": stopped, "c": func(context.Context, time.Time) error { return nil }}, 2*beside + time.Second - well},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var turn sync.Mutex
				under := map[string]int{}
				var addresses []string
				for a := range c.members {
					addresses = append(addresses, a)
				}
				agent := New(Options{Config: Config{Host: "h1"}, Log: slog.New(slog.DiscardHandler), Dial: func(ctx context.Context, address string) (control.HostConn, error) {
					turn.Lock()
					if under[address]++; under[address] > 1 {
						t.Errorf("%s is asked %d times at once", address, under[address])
					}
					turn.Unlock()
					defer func() { turn.Lock(); under[address]--; turn.Unlock() }()
					if err := c.members[address](ctx, began); err != nil {
						return nil, err
					}
					return newPipe(), nil
				}})
				conn, kill, err := agent.reach(t.Context(), NewRoute("h1", addresses, nil, half))
				if took := time.Since(began); err != nil || conn == nil || took > well+c.want {
					t.Errorf("after %s: %v, want a session after %s at most", took, err, well+c.want)
				}
				kill()
			})
		})
	}
}
