package controller

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/store/memory"
)

// lostStore answers nobody while it is lost.
type lostStore struct {
	*memory.Store
	lost atomic.Bool
}

func (s *lostStore) Current(ctx context.Context) (dove.Revision, error) {
	for s.lost.Load() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return s.Store.Current(ctx)
}

// TestAdmitsOnceItIsInTouch has a host come to a member that has lost touch with its store: it is
// let in at the moment when the member is well again, and sent away if that takes too long.
func TestAdmitsOnceItIsInTouch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lostStore{}
		f := newFleet(t, func(m *memory.Store) Store { store.Store = m; return store })
		time.Sleep(2 * StaleAfter) // it has heard of the store
		store.lost.Store(true)
		time.Sleep(2 * StaleAfter)
		tired := f.open(1, 0, 10)
		began := time.Now()
		if err := <-tired.ended; dove.KindOf(err) != dove.Unavailable || time.Since(began) != withholdMost || len(tired.down) > 0 {
			t.Errorf("after %s: %v; it was told %d messages", time.Since(began), err, len(tired.down))
		}
		var counted dto.Metric
		if err := f.member.measures.unopened.WithLabelValues(unopenedLost).Write(&counted); err != nil || counted.GetCounter().GetValue() != 1 {
			t.Errorf("%v hosts are counted that were sent away, %v", counted.GetCounter().GetValue(), err)
		}
		first := f.open(1, 0, 10)
		time.Sleep(time.Second)
		again := f.open(1, 0, 10) // in its place
		if err := <-first.ended; dove.KindOf(err) != dove.Conflict {
			t.Errorf("the first of two of one host ended with %v", err)
		}
		time.Sleep(time.Second)
		if len(again.down) > 0 {
			t.Fatal("a member that has lost touch with its store lets a host in")
		}
		store.lost.Store(false)
		began = time.Now()
		if next[*control.Welcome](t, again); time.Since(began) > 100*time.Millisecond {
			t.Errorf("let in %s after the store was back", time.Since(began))
		}
	})
}

// TestLosesTouchAtOnce loses a store right after the world was loaded, before it was heard of again.
func TestLosesTouchAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lostStore{}
		store.lost.Store(true)
		f := newFleet(t, func(m *memory.Store) Store { store.Store = m; return store })
		time.Sleep(StaleAfter + 2*tickEvery)
		s := f.open(1, 0, 10)
		select {
		case err := <-s.ended:
			if dove.KindOf(err) != dove.Unavailable || len(s.down) > 0 {
				t.Errorf("the session ended with %v; it was told %d messages", err, len(s.down))
			}
		case <-time.After(time.Minute):
			t.Errorf("a member that never heard of its store lets a host in: %d messages", len(s.down))
		}
		store.lost.Store(false)
	})
}
