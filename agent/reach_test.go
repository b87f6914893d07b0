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

// TestReachHurriesNobody: a member that said nothing for a while, and then refuses at once, is
// asked at the pace of the route; so is one that takes its time to say that the host may not.
func TestReachHurriesNobody(t *testing.T) {
	for _, c := range []struct {
		name  string
		takes time.Duration // later attempts
		kind  dove.Kind
	}{
		{"stopped, then down", 0, dove.Unavailable},
		{"busy, and the host may not", beside + time.Second, dove.Forbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var asked []time.Time
				agent := New(Options{Config: Config{Host: "h1"}, Log: slog.New(slog.DiscardHandler), Dial: func(ctx context.Context, _ string) (control.HostConn, error) {
					asked = append(asked, time.Now())
					takes := c.takes
					if len(asked) == 1 {
						takes = 5 * time.Second
					}
					if len(asked) > 100 {
						cancel()
					}
					time.Sleep(takes)
					return nil, dove.Errorf(c.kind, "refused")
				}})
				if _, _, err := agent.reach(ctx, NewRoute("h1", []string{"a"}, nil, half)); err == nil {
					t.Error("nobody admits a session, and there is one")
				}
				synctest.Wait()
				for i := 1; i < len(asked); i++ {
					if left := asked[i].Sub(asked[i-1]) - c.takes; left <= 0 {
						t.Fatalf("attempt %d came %s after the one before had ended", i, left)
					}
				}
			})
		})
	}
}
