package edit_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
	"github.com/google/go-cmp/cmp"
)

// TestRandomBatches makes batches of random edits, some decided on the world
// before, and checks that committing each leaves what its edits would one after another.
func TestRandomBatches(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	added, full, stale := 0, 0, 0
	for run := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, run))
		b := newBook(t)
		at := now
		for step := range 150 {
			at = at.Add(time.Duration(random.IntN(90)) * time.Minute)
			batch := edit.NewBatch(b.w)
			want := map[string]string{}
			for key, doc := range b.docs {
				want[key] = string(doc.Value)
			}
			for range random.IntN(9) {
				on := b.w
				if random.IntN(3) > 0 {
					var err error
					if on, err = batch.World(); err != nil {
						t.Fatalf("seed %d run %d step %d: %v", seed, run, step, err)
					}
				}
				txn, err := randomEdit(random, on, at)
				if err != nil || txn.Empty() {
					continue
				}
				if on == b.w && !batch.Holds(txn) {
					stale++
					continue
				}
				if !batch.Add(txn) {
					full++
					continue
				}
				added++
				for _, p := range txn.Puts {
					want[p.Key] = string(p.Value)
				}
				for _, key := range txn.Deletes {
					delete(want, key)
				}
			}
			if !b.commit(batch.Txn()) {
				t.Fatalf("seed %d run %d step %d: a batch of the newest world lost its compare: %v", seed, run, step, batch.Txn().Reads)
			}
			is := map[string]string{}
			for key, doc := range b.docs {
				is[key] = string(doc.Value)
			}
			if !maps.Equal(is, want) {
				t.Fatalf("seed %d run %d step %d: %s", seed, run, step, cmp.Diff(want, is))
			}
			checkSound(t, b.w)
			if step%20 == 0 {
				checkRebuilt(t, b)
			}
			if t.Failed() {
				t.Fatalf("seed %d run %d step %d", seed, run, step)
			}
		}
	}
	if added < 400 || full == 0 || stale == 0 {
		t.Errorf("%d edits in batches, %d did not fit, %d were stale", added, full, stale)
	}
}

func TestBatch(t *testing.T) {
	b := stocked(t)
	batch := edit.NewBatch(b.w)
	n, last := 0, world.Endpoint{}
	put := func(id string, addresses ...string) (dove.Txn, world.Endpoint, error) {
		w, err := batch.World()
		if err != nil {
			t.Fatal(err)
		}
		return edit.PutEndpoint(w, edit.EndpointRequest{Tenant: "acme", ID: dove.EndpointID(id), Groups: []string{"shop/web"}, Addresses: addresses}, edit.Chance{UID: dove.UID(1000 + n), Now: now}, nil)
	}
	for {
		txn, doc, err := put(fmt.Sprintf("e%d", n))
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 && doc.Addresses[0] != last.Addresses[0].Next() {
			t.Errorf("the second has %v, the first %v", doc.Addresses, last.Addresses)
		}
		if !batch.Add(txn) {
			break
		}
		n, last = n+1, doc
	}
	// Each endpoint is one document; the choice in the domain and the class are once.
	if n < dove.TxnOperationsMax-8 || batch.Txn().Check() != nil {
		t.Errorf("a batch has room for %d endpoints: %v", n, batch.Txn().Check())
	}
	if _, _, err := put("other", last.Addresses[0].String()); dove.KindOf(err) != dove.Conflict {
		t.Errorf("an address of this batch: %v", err)
	}
	if txn, _, err := put("e0", "10.0.1.250"); err != nil || batch.Add(txn) {
		t.Errorf("a document twice (%v)", err)
	}
	if !b.commit(batch.Txn()) {
		t.Error("the batch lost its compare")
	}
	if e, ok := b.w.Endpoint(last.Full()); !ok || b.w.DocRevision(e.Key()) != b.w.Revision() {
		t.Errorf("%+v", e)
	}
}

// TestKeepInABatch: a write with an id that changes nothing says since when that
// is so, which is not decided yet if it follows from a change of the same batch.
func TestKeepInABatch(t *testing.T) {
	b := stocked(t)
	batch := edit.NewBatch(b.w)
	txn, _, err := edit.PutTenant(b.w, "gamma", nil)
	if err != nil || !batch.Add(txn) {
		t.Fatal(err)
	}
	w, err := batch.World()
	if err != nil {
		t.Fatal(err)
	}
	r := edit.Request{Token: "tok", ID: "again", Fingerprint: []byte("print"), Now: now}
	if txn, err = r.Keep(w, dove.Txn{}, "result", w.DocRevision(world.TenantKey("gamma"))); err != nil || !batch.Add(txn) {
		t.Fatal(err)
	}
	b.commit(batch.Txn())
	if _, since, found, err := r.Replay(b.w); !found || err != nil || since != b.w.DocRevision(world.TenantKey("gamma")) {
		t.Errorf("since %d, %v, %v", since, found, err)
	}
}
