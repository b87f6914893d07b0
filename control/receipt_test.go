package control

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"dove.network/dove"
)

func at(s int) time.Time { return time.Unix(int64(s), 0) }

func TestReceiptNamesWhoHasNotAcknowledged(t *testing.T) {
	l := NewLedger(10, []dove.HostName{"h1", "h3"})
	if r := l.Receipt(9, []dove.HostName{"h1", "h3"}); r.Complete || !slices.Equal(r.Pending, r.Unconfirmed) {
		t.Fatalf("a receipt of what another member told: %+v", r)
	}
	l.Open(1, "h1", 1, 10)
	if r := l.Receipt(9, []dove.HostName{"h3"}); len(r.Pending) != 2 {
		t.Fatalf("h1 opens and h3 is away: %+v", r)
	}
	l.Open(2, "h2", 2, 10)
	ack := func(id SessionID, rev dove.Revision, now int) {
		t.Helper()
		if err := l.Ack(id, rev, nil, at(now)); err != nil {
			t.Fatal(err)
		}
	}
	ack(1, 10, 1)
	l.Commit(11, nil, at(2))
	check := func(rev dove.Revision, want Receipt, unconfirmed ...dove.HostName) {
		t.Helper()
		want.Revision, want.Unconfirmed = rev, unconfirmed
		if diff := cmp.Diff(want, l.Receipt(rev, unconfirmed)); diff != "" {
			t.Fatal(diff)
		}
	}
	// h2 still opens, so nobody knows what it enforces: who asks names it, and waits for what it is told.
	check(11, Receipt{Complete: true, Committed: at(2), Completed: at(2)})
	if got := l.Opening(); !slices.Equal(got, []dove.HostName{"h2"}) {
		t.Errorf("%v open", got)
	}
	ack(2, 10, 3)

	l.Commit(12, []SessionID{1, 2}, at(4))
	l.Commit(13, nil, at(5))
	ack(1, 12, 6)
	check(12, Receipt{Committed: at(4), Told: 2, Pending: []dove.HostName{"h2"}})
	check(13, Receipt{Committed: at(5), Pending: []dove.HostName{"h2"}})
	check(14, Receipt{})

	// The session of h2 ends: what it was told of stays open, what came later does not.
	l.Close(2, at(7))
	l.Commit(14, []SessionID{1}, at(8))
	ack(1, 14, 9)
	check(12, Receipt{Committed: at(4), Told: 2, Pending: []dove.HostName{"h2"}}, "h2")
	check(14, Receipt{Complete: true, Committed: at(8), Completed: at(9), Told: 1, Took: time.Second}, "h2")

	// It comes back: until it acknowledges it is pending for what it left open, and for what it is told.
	l.Open(3, "h2", 3, 14)
	l.Commit(15, []SessionID{3}, at(10))
	l.Commit(16, nil, at(10))
	ack(3, 14, 11)
	check(12, Receipt{Complete: true, Committed: at(4), Completed: at(11), Told: 2, Took: 7 * time.Second})
	check(15, Receipt{Committed: at(10), Told: 1, Pending: []dove.HostName{"h2"}})
	check(16, Receipt{Committed: at(10), Pending: []dove.HostName{"h2"}})
	ack(3, 15, 12)
	check(16, Receipt{Complete: true, Committed: at(10), Completed: at(12), Took: 2 * time.Second})
	if err := l.Ack(3, 16, nil, at(12)); dove.KindOf(err) != dove.Invalid {
		t.Errorf("an acknowledgement of what was never sent gave %v", err)
	}
}

// TestReceiptsAgreeWithTheirDefinition compares the ledger with sets of
// revisions that were told and not acknowledged.
func TestReceiptsAgreeWithTheirDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := NewLedger(0, nil)
		owes := map[SessionID][]dove.Revision{}
		done := map[dove.Revision]bool{0: true}
		next, rev := SessionID(0), dove.Revision(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			live := slices.Sorted(func(yield func(SessionID) bool) {
				for id := range owes {
					if !yield(id) {
						return
					}
				}
			})
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				next++
				l.Open(next, dove.HostName(rune('a'+next)), uint64(next), rev)
				owes[next] = nil
			case 1, 2:
				rev++
				var told []SessionID
				for _, id := range live {
					if rapid.Bool().Draw(t, "told") {
						told = append(told, id)
						owes[id] = append(owes[id], rev)
					}
				}
				l.Commit(rev, told, at(int(rev)))
			case 3:
				if len(live) > 0 {
					id := rapid.SampledFrom(live).Draw(t, "acks")
					told, _ := l.Frontiers(id)
					if err := l.Ack(id, told, nil, at(int(rev))); err != nil {
						t.Fatal(err)
					}
					owes[id] = nil
				}
			case 4:
				if len(live) > 0 {
					id := rapid.SampledFrom(live).Draw(t, "ends")
					l.Close(id, at(int(rev)))
					delete(owes, id)
				}
			}
			for r := range rev + 1 {
				complete := true
				for _, list := range owes {
					complete = complete && (len(list) == 0 || list[0] > r)
				}
				done[r] = done[r] || complete
				if got := l.Receipt(r, nil); got.Complete != done[r] {
					t.Fatalf("receipt of %d at %d: complete %v, want %v (owed %v)", r, rev, got.Complete, done[r], owes)
				}
			}
		}
	})
}

// TestReceiptSaysWhatFailed: what a host could not do holds up the receipt of
// its own revision, by name, and of no other; until it is done, also over sessions.
func TestReceiptSaysWhatFailed(t *testing.T) {
	l := NewLedger(10, nil)
	l.Open(1, "h1", 1, 10)
	l.Open(2, "h2", 2, 10)
	ack := func(id SessionID, rev dove.Revision, now int, failed ...Failure) {
		t.Helper()
		if err := l.Ack(id, rev, failed, at(now)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(rev dove.Revision, want Receipt, unconfirmed ...dove.HostName) {
		t.Helper()
		want.Revision, want.Unconfirmed = rev, unconfirmed
		if diff := cmp.Diff(want, l.Receipt(rev, unconfirmed)); diff != "" {
			t.Fatal(diff)
		}
	}
	ack(1, 10, 1)
	ack(2, 10, 1)
	l.Commit(11, []SessionID{1, 2}, at(2))
	l.Commit(12, []SessionID{1}, at(3))
	full := Failure{11, "no room"}
	ack(2, 11, 4)
	ack(1, 11, 5, full)
	failed := []HostFailure{{"h1", "no room"}}
	check(11, Receipt{Committed: at(2), Told: 2, Failed: failed})
	ack(1, 12, 6, full)
	check(11, Receipt{Committed: at(2), Told: 2, Failed: failed})
	check(12, Receipt{Complete: true, Committed: at(3), Completed: at(6), Took: 3 * time.Second, Told: 1})
	if !l.Settled(11) {
		t.Error("what failed holds others up")
	}
	// Its session ends and another begins: nothing has become better.
	l.Close(1, at(7))
	check(11, Receipt{Committed: at(2), Told: 2, Failed: failed}, "h1")
	check(11, Receipt{Complete: true, Committed: at(2), Completed: at(5), Took: 3 * time.Second, Told: 2}) // it has nothing to enforce
	l.Open(3, "h1", 3, 12)
	check(11, Receipt{Committed: at(2), Told: 2, Failed: failed})
	ack(3, 12, 8, full)
	check(11, Receipt{Committed: at(2), Told: 2, Failed: failed})
	ack(3, 12, 9)
	check(11, Receipt{Complete: true, Committed: at(2), Completed: at(9), Took: 7 * time.Second, Told: 2})
	// What it no longer names stays failed while it says that there is such a thing.
	earlier := Failure{0, "2 changes, the first: no room"}
	l.Commit(13, []SessionID{3}, at(10))
	ack(3, 13, 11, Failure{11, "no room"})
	ack(3, 13, 12, earlier, Failure{13, "no room"})
	check(11, Receipt{Committed: at(2), Told: 2, Failed: failed})
	check(12, Receipt{Complete: true, Committed: at(3), Completed: at(6), Took: 3 * time.Second, Told: 1})
	ack(3, 13, 13, earlier)
	check(13, Receipt{Committed: at(10), Told: 1, Failed: failed})
	ack(3, 13, 14)
	check(11, Receipt{Complete: true, Committed: at(2), Completed: at(14), Took: 12 * time.Second, Told: 2})
	check(13, Receipt{Complete: true, Committed: at(10), Completed: at(14), Took: 4 * time.Second, Told: 1})
	if err := l.Ack(3, 13, []Failure{{14, "later"}}, at(10)); dove.KindOf(err) != dove.Invalid {
		t.Errorf("a failure of a revision that it was not told: %v", err)
	}
}
