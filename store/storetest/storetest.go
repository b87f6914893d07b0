package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"dove.network/dove"
)

// Store is what a store must do.
type Store interface {
	Load(ctx context.Context, prefix string, page func([]dove.Doc) error) (dove.Revision, error)
	Watch(ctx context.Context, prefix string, after dove.Revision, each func(dove.Revision, []dove.Doc) error) error
	Commit(ctx context.Context, txn dove.Txn) (dove.Revision, error)
	Current(ctx context.Context) (dove.Revision, error)
	Compact(ctx context.Context, upTo dove.Revision) error
	Close() error
}

// Run tests a store that open gives. Each test uses keys of its own; the last closes the store.
func Run(t *testing.T, s Store) {
	t.Run("commit", func(t *testing.T) { commit(t, s) })
	t.Run("conflict", func(t *testing.T) { conflict(t, s) })
	t.Run("refusals", func(t *testing.T) { refusals(t, s) })
	t.Run("pages", func(t *testing.T) { pages(t, s) })
	t.Run("watch", func(t *testing.T) { watch(t, s) })
	t.Run("elsewhere", func(t *testing.T) { elsewhere(t, s) })
	t.Run("counter", func(t *testing.T) { counter(t, s) })
	t.Run("compact", func(t *testing.T) { compact(t, s) })
	t.Run("cancel", func(t *testing.T) { cancelled(t, s) })
	t.Run("close", func(t *testing.T) { closing(t, s) })
}

// must returns the revision of a commit that succeeds.
func must(t *testing.T, s Store, txn dove.Txn) dove.Revision {
	t.Helper()
	r, err := s.Commit(t.Context(), txn)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func put(key, value string) dove.Txn {
	return dove.Txn{Puts: []dove.Put{{Key: key, Value: []byte(value)}}}
}

// load returns what is under a prefix as text, and at which revision.
func load(t *testing.T, s Store, prefix string) (string, dove.Revision) {
	t.Helper()
	var docs []dove.Doc
	r, err := s.Load(t.Context(), prefix, func(page []dove.Doc) error {
		docs = append(docs, page...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text(docs), r
}

func text(docs []dove.Doc) string {
	var lines []string
	for _, d := range docs {
		if d.Value == nil {
			lines = append(lines, fmt.Sprintf("%s gone", d.Key))
		} else {
			lines = append(lines, fmt.Sprintf("%s=%s@%d", d.Key, d.Value, d.Revision))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, " ")
}

func wantKind(t *testing.T, err error, kind dove.Kind) {
	t.Helper()
	if err == nil || dove.KindOf(err) != kind {
		t.Errorf("error %v of kind %v, want kind %v", err, dove.KindOf(err), kind)
	}
}

func commit(t *testing.T, s Store) {
	if docs, r := load(t, s, "/commit/"); docs != "" || r < 1 {
		t.Errorf("empty store has %q at %d", docs, r)
	}
	one := must(t, s, put("/commit/a", "1"))
	two := must(t, s, dove.Txn{
		Reads:   []dove.Read{{Key: "/commit/a", Revision: one}, {Key: "/commit/b", Revision: 0}},
		Puts:    []dove.Put{{Key: "/commit/b", Value: []byte{}}, {Key: "/commit/c", Value: []byte("3")}},
		Deletes: []string{"/commit/a"},
	})
	if two <= one {
		t.Errorf("revision %d after %d", two, one)
	}
	want := fmt.Sprintf("/commit/b=@%d /commit/c=3@%d", two, two)
	if docs, r := load(t, s, "/commit/"); docs != want || r != two {
		t.Errorf("store has %q at %d, want %q at %d", docs, r, want, two)
	}
	if r, err := s.Current(t.Context()); err != nil || r != two {
		t.Errorf("current is %d %v, want %d", r, err, two)
	}
	// What changes nothing makes no revision.
	for _, txn := range []dove.Txn{{}, {Deletes: []string{"/commit/nothing"}}, {Reads: []dove.Read{{Key: "/commit/b", Revision: two}}}} {
		if r := must(t, s, txn); r != two {
			t.Errorf("%v made revision %d", txn, r)
		}
	}
	// Equal content written again is a new revision of the document.
	if r := must(t, s, put("/commit/c", "3")); r != two+1 {
		t.Errorf("written again at %d, want %d", r, two+1)
	}
}

func conflict(t *testing.T, s Store) {
	one := must(t, s, put("/conflict/a", "1"))
	two := must(t, s, put("/conflict/a", "2"))
	for _, read := range []dove.Read{{Key: "/conflict/a", Revision: one}, {Key: "/conflict/a", Revision: 0}, {Key: "/conflict/b", Revision: two}} {
		txn := put("/conflict/c", "3")
		txn.Reads = []dove.Read{{Key: "/conflict/a", Revision: two}, read}
		if read.Key == "/conflict/a" {
			txn.Reads = txn.Reads[1:]
		}
		_, err := s.Commit(t.Context(), txn)
		wantKind(t, err, dove.Conflict)
		if err != nil && !strings.Contains(err.Error(), read.Key) {
			t.Errorf("error does not name %s: %v", read.Key, err)
		}
	}
	if docs, _ := load(t, s, "/conflict/"); docs != fmt.Sprintf("/conflict/a=2@%d", two) {
		t.Errorf("a lost transaction left %q", docs)
	}
}

func refusals(t *testing.T, s Store) {
	before, _ := s.Current(t.Context())
	twice := dove.Txn{Puts: put("/refuse/a", "1").Puts, Deletes: []string{"/refuse/a"}}
	_, err := s.Commit(t.Context(), twice)
	wantKind(t, err, dove.Internal)
	var many dove.Txn
	for i := range dove.TxnOperationsMax + 1 {
		many.Puts = append(many.Puts, dove.Put{Key: fmt.Sprintf("/refuse/%d", i), Value: []byte("1")})
	}
	_, err = s.Commit(t.Context(), many)
	wantKind(t, err, dove.TooLarge)
	many.Puts = many.Puts[1:]
	for _, p := range many.Puts {
		many.Reads = append(many.Reads, dove.Read{Key: p.Key})
	}
	if r := must(t, s, many); r != before+1 {
		t.Errorf("the largest transaction made revision %d, want %d", r, before+1)
	}
	_, err = s.Commit(t.Context(), put("/refuse/big", strings.Repeat("x", dove.TxnBytesMax)))
	wantKind(t, err, dove.TooLarge)
	must(t, s, put("/refuse/big", strings.Repeat("x", dove.TxnBytesMax-len("/refuse/big"))))
}

// pages loads more than one page while others write: all of one revision.
func pages(t *testing.T, s Store) {
	const n = 2500
	for from := 0; from < n; from += 100 {
		var txn dove.Txn
		for i := range 100 {
			txn.Puts = append(txn.Puts, dove.Put{Key: fmt.Sprintf("/pages/%05d", from+i), Value: []byte("old")})
		}
		must(t, s, txn)
	}
	before, _ := s.Current(t.Context())
	last, calls := "", 0
	r, err := s.Load(t.Context(), "/pages/", func(page []dove.Doc) error {
		if calls++; calls == 1 {
			must(t, s, put("/pages/02400", "new"))
			must(t, s, put("/pages/99999", "new"))
			must(t, s, dove.Txn{Deletes: []string{"/pages/02499"}})
		}
		for _, d := range page {
			if d.Key <= last || string(d.Value) != "old" || d.Revision > before {
				return fmt.Errorf("%s=%s@%d after %s", d.Key, d.Value, d.Revision, last)
			}
			last = d.Key
		}
		return nil
	})
	if err != nil || r != before || last != "/pages/02499" || calls < 2 {
		t.Errorf("loaded to %s in %d pages at %d, want %d: %v", last, calls, r, before, err)
	}
	stop := errors.New("enough")
	if _, err := s.Load(t.Context(), "/pages/", func([]dove.Doc) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("load returned %v", err)
	}
}

// watch compares what a watch sees from every revision on with what was committed.
func watch(t *testing.T, s Store) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	start, _ := s.Current(t.Context())
	want := map[dove.Revision]string{}
	exists := map[string]bool{}
	end := start
	for i := range 60 {
		var txn dove.Txn
		var docs []dove.Doc
		for k := range 5 {
			key := fmt.Sprintf("/watch/%d", k)
			switch {
			case random.IntN(3) == 0:
				txn.Puts = append(txn.Puts, dove.Put{Key: key, Value: fmt.Appendf(nil, "%d", i)})
				docs = append(docs, dove.Doc{Key: key, Value: fmt.Appendf(nil, "%d", i), Revision: end + 1})
				exists[key] = true
			case random.IntN(3) == 0 && exists[key]:
				txn.Deletes = append(txn.Deletes, key)
				docs = append(docs, dove.Doc{Key: key, Revision: end + 1})
				delete(exists, key)
			}
		}
		txn.Puts = append(txn.Puts, dove.Put{Key: "/other", Value: []byte("x")})
		if r := must(t, s, txn); r != end+1 {
			t.Fatalf("revision %d after %d", r, end)
		}
		end++
		want[end] = text(docs)
	}
	end = must(t, s, put("/watch/end", "1"))
	done := errors.New("done")
	for _, after := range []dove.Revision{start, start + 1, start + 30, end - 1} {
		seen := after
		err := s.Watch(t.Context(), "/watch/", after, func(r dove.Revision, docs []dove.Doc) error {
			for seen++; seen < r; seen++ {
				if want[seen] != "" {
					t.Errorf("watch from %d left out revision %d: %s", after, seen, want[seen])
				}
			}
			if r == end {
				return done
			}
			for _, d := range docs {
				if d.Revision != r {
					t.Errorf("%s@%d came with revision %d", d.Key, d.Revision, r)
				}
			}
			if got := text(docs); got != want[r] {
				t.Errorf("watch from %d at %d: %q, want %q", after, r, got, want[r])
			}
			return nil
		})
		if !errors.Is(err, done) {
			t.Errorf("watch from %d ended with %v", after, err)
		}
	}
}

// elsewhere writes outside the watched prefix: a watch must still come to the
// revision that Current names.
func elsewhere(t *testing.T, s Store) {
	start, _ := s.Current(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reached := make(chan dove.Revision, 1000)
	var wait sync.WaitGroup
	wait.Go(func() {
		_ = s.Watch(ctx, "/elsewhere/", start, func(r dove.Revision, docs []dove.Doc) error {
			if len(docs) > 0 && docs[0].Key != "/elsewhere/a" {
				t.Errorf("watch saw %s", text(docs))
			}
			reached <- r
			return nil
		})
	})
	must(t, s, put("/elsewhere/a", "1"))
	<-reached // the watch is there
	want := must(t, s, put("/not-there", "1"))
	if r, err := s.Current(t.Context()); err != nil || r != want {
		t.Errorf("current is %d %v, want %d", r, err, want)
	}
	for r := range reached {
		if r >= want {
			break
		}
	}
	cancel()
	wait.Wait()
}

// counter lets many add to one document at once: none may be lost.
func counter(t *testing.T, s Store) {
	const workers, each = 4, 15
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for range each {
				for {
					var doc dove.Doc
					if _, err := s.Load(t.Context(), "/counter", func(page []dove.Doc) error { doc = page[0]; return nil }); err != nil {
						t.Error(err)
						return
					}
					txn := put("/counter", string(doc.Value)+"x")
					txn.Reads = []dove.Read{{Key: "/counter", Revision: doc.Revision}}
					_, err := s.Commit(t.Context(), txn)
					if err == nil {
						break
					}
					if dove.KindOf(err) != dove.Conflict {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wait.Wait()
	if docs, _ := load(t, s, "/counter"); strings.Count(docs, "x") != workers*each {
		t.Errorf("counted %d, want %d", strings.Count(docs, "x"), workers*each)
	}
}

func compact(t *testing.T, s Store) {
	start, _ := s.Current(t.Context())
	must(t, s, put("/compact/a", "1"))
	last := must(t, s, put("/compact/a", "2"))
	if err := s.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	err := s.Watch(t.Context(), "/compact/", start, func(r dove.Revision, docs []dove.Doc) error {
		return fmt.Errorf("watch saw %s at %d", text(docs), r)
	})
	wantKind(t, err, dove.Unavailable)
	if docs, r := load(t, s, "/compact/"); docs != fmt.Sprintf("/compact/a=2@%d", last) || r != last {
		t.Errorf("after compaction: %q at %d", docs, r)
	}
	next := must(t, s, put("/compact/a", "3"))
	done := errors.New("done")
	err = s.Watch(t.Context(), "/compact/", last, func(r dove.Revision, docs []dove.Doc) error {
		if r != next || text(docs) != fmt.Sprintf("/compact/a=3@%d", next) {
			t.Errorf("watch saw %s at %d", text(docs), r)
		}
		return done
	})
	if !errors.Is(err, done) {
		t.Error(err)
	}
}

func cancelled(t *testing.T, s Store) {
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := s.Current(ctx)
	var wait sync.WaitGroup
	wait.Go(func() {
		err := s.Watch(ctx, "/cancel/", r, func(dove.Revision, []dove.Doc) error { cancel(); return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended with %v", err)
		}
	})
	must(t, s, put("/cancel/a", "1"))
	wait.Wait()
	if _, err := s.Commit(ctx, put("/cancel/b", "1")); !errors.Is(err, context.Canceled) {
		t.Errorf("commit returned %v", err)
	}
	if docs, _ := load(t, s, "/cancel/b"); docs != "" {
		t.Errorf("a cancelled commit left %s", docs)
	}
}

func closing(t *testing.T, s Store) {
	r, _ := s.Current(t.Context())
	ended := make(chan error, 1)
	saw := make(chan struct{}, 10)
	go func() {
		ended <- s.Watch(t.Context(), "/close/", r, func(dove.Revision, []dove.Doc) error { saw <- struct{}{}; return nil })
	}()
	must(t, s, put("/close/a", "1"))
	<-saw
	if err := s.Close(); err != nil {
		t.Errorf("close returned %v", err)
	}
	wantKind(t, <-ended, dove.Unavailable)
	_, err := s.Commit(t.Context(), put("/close/b", "1"))
	wantKind(t, err, dove.Unavailable)
	_, err = s.Current(t.Context())
	wantKind(t, err, dove.Unavailable)
}
