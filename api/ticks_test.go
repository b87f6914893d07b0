package api

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// TestWatchTicks: a watch in which nothing happens says every ten seconds where
// it is, also past revisions that do not concern it, until its token is deleted.
func TestWatchTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{w: world.New(), history: world.NewHistory(0), later: make(chan struct{})}
		put := func(decide func(*world.World) (dove.Txn, error)) dove.Revision {
			revision, err := b.Edit(t.Context(), decide)
			if err != nil {
				t.Fatal(err)
			}
			return revision
		}
		token := func(id string) {
			put(func(w *world.World) (dove.Txn, error) {
				return edit.CreateAPIToken(w, world.APIToken{ID: id, Digest: make([]byte, 32)})
			})
		}
		tenant := func(name dove.Tenant) dove.Revision {
			return put(func(w *world.World) (dove.Txn, error) {
				txn, _, err := edit.PutTenant(w, name, nil)
				return txn, err
			})
		}
		token("mine")
		token("other")
		first := tenant("acme")
		s := &server{Config: Config{Backend: b}}
		ctx := context.WithValue(t.Context(), callerKey{}, &caller{token: "mine"})
		begin, n := time.Now(), 0
		var second dove.Revision
		for line := range s.watchLines(ctx, "acme", first) {
			after := time.Since(begin)
			switch n++; n {
			case 1, 2:
				if line.Revision != first || line.Changes != nil || after != time.Duration(n-1)*watchEvery {
					t.Errorf("line %d after %s: %+v", n, after, line)
				}
				if n == 2 {
					second = tenant("bolt") // not acme's
				}
			case 3:
				if line.Revision != second || line.Changes != nil || after != 2*watchEvery {
					t.Errorf("line %d after %s: %+v", n, after, line)
				}
				put(func(w *world.World) (dove.Txn, error) { return edit.DeleteAPIToken(w, "mine", nil) })
				put(func(w *world.World) (dove.Txn, error) { // not for who may ask no longer
					txn, _, err := edit.PutBlueprint(w, "acme", "shop", []byte(shop), begin, nil)
					return txn, err
				})
			default:
				if line.Error == nil || line.Error.Status != 401 || line.Changes != nil || after != 2*watchEvery {
					t.Errorf("line %d after %s: %+v", n, after, line)
				}
			}
		}
		if n != 4 {
			t.Errorf("%d lines", n)
		}
	})
}
