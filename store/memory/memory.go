package memory

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"dove.network/dove"
)

// Limits of a store.
const (
	HistoryMax = 10000 // revisions that a watch can begin at
	pageMax    = 1000  // documents that Load gives at once
)

// Store is a store in memory. All methods may be called from any goroutine.
type Store struct {
	mu       sync.Mutex
	docs     map[string]dove.Doc
	revision dove.Revision
	history  []change      // the last revisions in order, without a gap
	changed  chan struct{} // closed by the next change
	closed   bool
}

// change is one revision. A nil value is a deletion.
type change struct {
	revision dove.Revision
	docs     []dove.Doc
}

// New returns an empty store at revision 1, like etcd's.
func New() *Store {
	return &Store{docs: map[string]dove.Doc{}, revision: 1, changed: make(chan struct{})}
}

var errClosed = dove.Errorf(dove.Unavailable, "the store is closed")

// Load gives page all documents whose keys start with prefix, in order of keys,
// as they stand at the revision that it returns.
func (s *Store) Load(ctx context.Context, prefix string, page func([]dove.Doc) error) (dove.Revision, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return 0, errClosed
	}
	var docs []dove.Doc
	for _, key := range slices.Sorted(maps.Keys(s.docs)) {
		if strings.HasPrefix(key, prefix) {
			docs = append(docs, copied(s.docs[key]))
		}
	}
	revision := s.revision
	s.mu.Unlock()
	for p := range slices.Chunk(docs, pageMax) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := page(p); err != nil {
			return 0, err
		}
	}
	return revision, nil
}

// Watch gives each all changes after a revision under a prefix: those of one
// revision in one call, in order of revisions. A revision that changed nothing
// under the prefix comes without documents. Watch returns what each returns, the error of ctx, or Unavailable if
// revisions after the given one are forgotten or the store closes.
func (s *Store) Watch(ctx context.Context, prefix string, after dove.Revision, each func(dove.Revision, []dove.Doc) error) error {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return errClosed
		}
		oldest := s.revision + 1
		if len(s.history) > 0 {
			oldest = s.history[0].revision
		}
		if after+1 < oldest {
			s.mu.Unlock()
			return dove.Errorf(dove.Unavailable, "revisions from %d to %d are forgotten: load again", after+1, oldest-1)
		}
		news := s.history[min(len(s.history), int(after+1-oldest)):]
		changed := s.changed
		s.mu.Unlock()

		for _, c := range news {
			if err := ctx.Err(); err != nil {
				return err
			}
			var docs []dove.Doc
			for _, d := range c.docs {
				if strings.HasPrefix(d.Key, prefix) {
					docs = append(docs, copied(d))
				}
			}
			if err := each(c.revision, docs); err != nil {
				return err
			}
			after = c.revision
		}
		if len(news) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Commit carries out a transaction and returns its revision. The error is
// Conflict, and nothing happened, if one of the reads does not hold.
func (s *Store) Commit(ctx context.Context, txn dove.Txn) (dove.Revision, error) {
	if err := txn.Check(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errClosed
	}
	for _, r := range txn.Reads {
		if is := s.docs[r.Key].Revision; is != r.Revision {
			return 0, dove.Errorf(dove.Conflict, "document %s is at revision %d, not %d", r.Key, is, r.Revision)
		}
	}
	c := change{revision: s.revision + 1}
	for _, p := range txn.Puts {
		d := copied(dove.Doc{Key: p.Key, Value: p.Value, Revision: c.revision})
		s.docs[p.Key] = d
		c.docs = append(c.docs, d)
	}
	for _, key := range txn.Deletes {
		if _, exists := s.docs[key]; exists {
			delete(s.docs, key)
			c.docs = append(c.docs, dove.Doc{Key: key, Revision: c.revision})
		}
	}
	if len(c.docs) == 0 {
		return s.revision, nil
	}
	s.revision = c.revision
	s.history = append(s.history, c)
	if len(s.history) > HistoryMax {
		s.history = slices.Clone(s.history[len(s.history)-HistoryMax/2:])
	}
	s.wake()
	return s.revision, nil
}

// Current returns the revision of the last change.
func (s *Store) Current(ctx context.Context) (dove.Revision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errClosed
	}
	return s.revision, ctx.Err()
}

// Compact forgets the changes up to a revision; documents stay.
func (s *Store) Compact(ctx context.Context, upTo dove.Revision) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.history = slices.DeleteFunc(slices.Clone(s.history), func(c change) bool { return c.revision <= upTo })
	return ctx.Err()
}

// Close ends every Watch and refuses all that comes after.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.wake()
	}
	return nil
}

// wake lets waiting watches look again.
func (s *Store) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// copied returns a document with bytes of its own.
func copied(d dove.Doc) dove.Doc {
	d.Value = slices.Clone(d.Value)
	return d
}
