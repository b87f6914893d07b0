package controller

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/store/memory"
	"dove.network/world"
)

// lateStore takes a second to say how far it is, and counts who waits for that.
type lateStore struct {
	*memory.Store
	waiting, most atomic.Int32
}

func (s *lateStore) Current(ctx context.Context) (dove.Revision, error) {
	n := s.waiting.Add(1)
	defer s.waiting.Add(-1)
	if n > s.most.Load() {
		s.most.Store(n)
	}
	select {
	case <-time.After(time.Second):
		return s.Store.Current(ctx)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// A host that asks for what it holds, again and again, has the store asked once at a
// time, and no more of it waits than has to.
func TestManyDoubts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lateStore{}
		f := newFleet(t, func(m *memory.Store) Store { store.Store = m; return store })
		f.edit(func(*world.World) (dove.Txn, error) {
			return dove.Txn{Puts: []dove.Put{
				world.Put(world.Member{Name: "dpc-1", UID: 1, Serial: "a1"}), world.Put(world.Member{Name: "dpc-2", UID: 2, Serial: "a2"}),
			}}, nil
		})
		s := f.open(2, 0, 4096)
		s.up <- &control.Ack{Revision: next[*control.Frontier](t, s).Revision}
		if reply := s.ask(t, f.member.World(), "10.0.0.12", "10.0.0.11"); reply.Answers[0].Status != control.Found {
			t.Fatalf("%+v", reply.Answers)
		}
		n, _ := f.member.World().Network(dove.Network{Tenant: "acme", Name: "front"})
		const asked = 500
		for i := range asked {
			s.up <- &control.PolicyRequest{ID: uint64(2 + i), Questions: []control.Question{
				{VNI: n.VNI, Local: netip.MustParseAddr("10.0.0.12"), Peer: netip.MustParseAddr("10.0.0.11")},
			}}
		}
		answers := map[control.Status]int{}
		for range asked {
			answers[next[*control.PolicyReply](t, s).Answers[0].Status]++
		}
		if answers[control.Found] != doubtsMax || answers[control.Retry] != asked-doubtsMax {
			t.Errorf("%v", answers)
		}
		if most := store.most.Load(); most > 2 { // one of them is of the member itself
			t.Errorf("the store was asked by %d at once", most)
		}
		if reply := s.ask(t, f.member.World(), "10.0.0.12", "10.0.0.11"); reply.Answers[0].Status != control.Found {
			t.Errorf("later %+v", reply.Answers)
		}
	})
}

// Many requests wait for the store: once it has confirmed what is known each has its turn, and
// others have theirs between.
func TestConfirmedInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lateStore{}
		f := newFleet(t, func(m *memory.Store) Store { store.Store = m; return store })
		s := f.open(2, 0, 4096)
		next[*control.Frontier](t, s)
		n, _ := f.member.World().Network(dove.Network{Tenant: "acme", Name: "front"})
		question := control.Question{VNI: n.VNI, Local: netip.MustParseAddr("10.0.0.12"), Peer: netip.MustParseAddr("10.0.0.11")}
		f.member.inTurn(laneOwn, func() {
			for id, s := range f.member.core.sessions {
				for range doubtsMax {
					s.doubts++
					f.member.confirm(Confirm{id, &control.PolicyRequest{ID: 1, Questions: []control.Question{question}}})
				}
			}
		})
		synctest.Wait() // the store is asked
		release := make(chan struct{})
		go f.member.inTurn(laneOwn, func() { <-release })
		time.Sleep(2 * time.Second) // the store has answered
		const others = 10
		doubts := make(chan int, others)
		for range others {
			go f.member.inTurn(laneAsked, func() {
				for _, s := range f.member.core.sessions {
					doubts <- s.doubts
				}
			})
		}
		synctest.Wait()
		close(release)
		before := doubtsMax
		for range others {
			now := <-doubts
			if before-now > 1 {
				t.Errorf("%d requests were answered while another waited for its turn", before-now)
			}
			before = now
		}
		for range doubtsMax {
			if a := next[*control.PolicyReply](t, s).Answers[0]; a.Status != control.Found {
				t.Errorf("%+v", a)
			}
		}
		s.cancel()
	})
}
