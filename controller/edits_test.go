package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/store/memory"
	"dove.network/world"
)

// slowStore takes a while for each commit, as a disk does, and counts them.
type slowStore struct {
	*memory.Store
	commits atomic.Int32
	fail    atomic.Pointer[dove.Error]
}

func (s *slowStore) Commit(ctx context.Context, txn dove.Txn) (dove.Revision, error) {
	s.commits.Add(1)
	time.Sleep(10 * time.Millisecond)
	if err := s.fail.Load(); err != nil {
		return 0, err
	}
	return s.Store.Commit(ctx, txn)
}

// TestEditsTogether: what waits for a commit is committed at once, each decided on
// what the others leave, and one that fails hinders none.
func TestEditsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store *slowStore
		f := newFleet(t, func(m *memory.Store) Store { store = &slowStore{Store: m}; return store })
		put := func(ctx context.Context, id int, address string) (dove.Revision, world.Endpoint, error) {
			var doc world.Endpoint
			r := edit.EndpointRequest{Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", id)), Groups: []string{"shop/web"}}
			if address != "" {
				r.Addresses = []string{address}
			}
			revision, err := f.member.Edit(ctx, func(w *world.World) (txn dove.Txn, err error) {
				txn, doc, err = edit.PutEndpoint(w, r, edit.Chance{UID: dove.UID(100 + id), Now: time.Now()}, nil)
				return txn, err
			})
			return revision, doc, err
		}
		const n = 60
		before := store.commits.Load()
		var all sync.WaitGroup
		var mu sync.Mutex
		owners, refused := map[string]dove.EndpointID{}, 0
		for i := range n {
			all.Go(func() {
				address := ""
				if i%20 == 19 { // three want one address
					address = "10.0.0.200"
				}
				revision, doc, err := put(t.Context(), i, address)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case address != "" && dove.KindOf(err) == dove.Conflict:
					refused++
				case err != nil:
					t.Errorf("endpoint %d: %v", i, err)
				case owners[doc.Addresses[0].String()] != "":
					t.Errorf("%s has the address %s of %s", doc.ID, doc.Addresses[0], owners[doc.Addresses[0].String()])
				case f.member.World().DocRevision(doc.Key()) != revision:
					t.Errorf("%s is at %d, its edit said %d", doc.ID, f.member.World().DocRevision(doc.Key()), revision)
				default:
					owners[doc.Addresses[0].String()] = doc.ID
				}
			})
		}
		all.Wait()
		if commits := store.commits.Load() - before; commits > 6 {
			t.Errorf("%d edits at once took %d commits", n, commits)
		}
		if refused != 2 || len(owners) != n-2 {
			t.Errorf("%d refused, %d made", refused, len(owners))
		}

		// An edit whose reads never hold does not keep the others from theirs.
		all.Go(func() {
			_, err := f.member.Edit(t.Context(), func(*world.World) (dove.Txn, error) {
				return dove.Txn{Reads: []dove.Read{{Key: world.TenantKey("x"), Revision: 77}}, Deletes: []string{world.TenantKey("x")}}, nil
			})
			if dove.KindOf(err) != dove.Conflict {
				t.Errorf("an edit that never holds: %v", err)
			}
		})
		for i := range 20 {
			all.Go(func() {
				if _, _, err := put(t.Context(), n+i, ""); err != nil {
					t.Errorf("beside an edit that never holds: %v", err)
				}
			})
		}
		all.Wait()

		// Who does not wait is not asked any more.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, _, err := put(ctx, 200, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an edit that had no time: %v", err)
		}
		synctest.Wait()
		store.fail.Store(dove.Errorf(dove.Unavailable, "the disk is full"))
		for i := range 3 {
			all.Go(func() {
				if _, _, err := put(t.Context(), 300+i, ""); dove.KindOf(err) != dove.Unavailable {
					t.Errorf("without a disk: %v", err)
				}
			})
		}
		all.Wait()
		store.fail.Store(nil)
		if _, _, err := put(t.Context(), 400, ""); err != nil {
			t.Error(err)
		}
	})
}
