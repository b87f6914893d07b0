package edit

import (
	"math"
	"slices"
	"strings"

	"dove.network/dove"
	"dove.network/world"
)

// Undecided is the revision of what a Batch has changed: nobody knows its real one
// before it is committed, and no condition of a writer can name it.
const Undecided dove.Revision = math.MaxInt64

// Batch is several changes that are committed as one: each is decided on what those
// before it leave behind, so that they do not have to happen one after another to
// take the next free address each. It has one owner.
//
// No two of its changes write one document, except those that exist to make choices
// collide (package comment): every writer gets a revision of its document that is
// of its own content.
type Batch struct {
	base    *world.World
	next    *world.Draft // nil: nothing has been asked about since base
	reads   map[string]bool
	written map[string]int // key to its place in txn.Puts; -1: it is deleted
	pending []dove.Doc     // not in next yet
	luck    int            // how much more often base was enough to decide on than not
	bytes   int
	txn     dove.Txn
}

// NewBatch returns a batch of no changes of a world.
func NewBatch(w *world.World) *Batch {
	return &Batch{base: w, reads: map[string]bool{}, written: map[string]int{}}
}

// World returns the world as the changes so far leave it, at the revision that they
// are decided on. The documents that they write have the revision Undecided. It is what it
// is until the next call.
func (b *Batch) World() (*world.World, error) {
	switch {
	case len(b.pending) > 0 && b.next == nil:
		b.next = b.base.Draft()
	case b.next == nil:
		return b.base, nil
	}
	err := b.next.Apply(b.pending)
	b.pending = b.pending[:0]
	return b.next.World(), err
}

// Decide has a change decided on what the changes so far leave behind: on the world of the
// batch where they concern nothing that it relies on, which spares making theirs. Where
// that was in vain more often than not, it is not tried any more.
func (b *Batch) Decide(decide func(*world.World) (dove.Txn, error)) (dove.Txn, error) {
	if !b.Empty() && b.luck >= 0 {
		if txn, err := decide(b.base); err == nil && !txn.Empty() && b.Holds(txn) {
			b.luck++
			return txn, nil
		}
		b.luck--
	}
	w, err := b.World()
	if err != nil {
		return dove.Txn{}, err
	}
	return decide(w)
}

// Holds reports whether all that a transaction read is so after the changes so far.
func (b *Batch) Holds(t dove.Txn) bool {
	return !slices.ContainsFunc(t.Reads, func(r dove.Read) bool {
		_, written := b.written[r.Key]
		return written || b.base.DocRevision(r.Key) != r.Revision
	})
}

// Add adds a transaction that was decided on World or by Decide, or that Holds. It reports
// whether it could: a batch has the limits of a transaction, and one write for each document.
func (b *Batch) Add(t dove.Txn) bool {
	bytes, fits := b.fits(t)
	if fits {
		b.bytes = bytes
		b.take(t)
	}
	return fits
}

// Left returns how many reads, and writes, the batch can still take.
func (b *Batch) Left() int {
	return dove.TxnOperationsMax - max(len(b.txn.Reads), len(b.written))
}

// Fits reports whether Add would add a transaction.
func (b *Batch) Fits(t dove.Txn) bool {
	_, fits := b.fits(t)
	return fits
}

// fits returns how many bytes would be written.
func (b *Batch) fits(t dove.Txn) (bytes int, fits bool) {
	reads, writes, bytes := len(b.txn.Reads), len(b.written), b.bytes
	for _, r := range t.Reads {
		if _, written := b.written[r.Key]; !written && !b.reads[r.Key] {
			reads++
		}
	}
	write := func(key string, size int) bool {
		at, again := b.written[key]
		if again && !strings.HasPrefix(key, allocations) {
			return false
		}
		if again && at >= 0 {
			bytes -= len(b.txn.Puts[at].Value)
		}
		if !again {
			writes++
			bytes += len(key)
		}
		bytes += size
		return true
	}
	for _, p := range t.Puts {
		if !write(p.Key, len(p.Value)) {
			return bytes, false
		}
	}
	for _, key := range t.Deletes {
		if !write(key, 0) {
			return bytes, false
		}
	}
	return bytes, len(b.written) == 0 || max(reads, writes) <= dove.TxnOperationsMax && bytes <= dove.TxnBytesMax
}

// twice returns a document that a transaction writes and the batch has written,
// and that only one may, "" for none.
func (b *Batch) twice(t dove.Txn) string {
	keys := slices.Clone(t.Deletes)
	for _, p := range t.Puts {
		keys = append(keys, p.Key)
	}
	for _, key := range keys {
		if _, again := b.written[key]; again && !strings.HasPrefix(key, allocations) {
			return key
		}
	}
	return ""
}

// allocations is the folder of the documents that several changes may write.
const allocations = world.Prefix + "alloc/"

func (b *Batch) take(t dove.Txn) {
	for _, r := range t.Reads {
		if _, written := b.written[r.Key]; !written && !b.reads[r.Key] {
			b.reads[r.Key] = true
			b.txn.Reads = append(b.txn.Reads, r)
		}
	}
	for _, p := range t.Puts {
		b.pending = append(b.pending, dove.Doc{Key: p.Key, Value: p.Value, Revision: Undecided})
		if at, again := b.written[p.Key]; again && at >= 0 {
			b.txn.Puts[at] = p
			continue
		}
		b.txn.Deletes = slices.DeleteFunc(b.txn.Deletes, func(key string) bool { return key == p.Key })
		b.written[p.Key] = len(b.txn.Puts)
		b.txn.Puts = append(b.txn.Puts, p)
	}
	for _, key := range t.Deletes {
		b.pending = append(b.pending, dove.Doc{Key: key, Revision: Undecided})
		if at, again := b.written[key]; again && at >= 0 {
			b.txn.Puts = slices.Delete(b.txn.Puts, at, at+1)
			for k, n := range b.written {
				if n > at {
					b.written[k] = n - 1
				}
			}
		}
		b.written[key] = -1
		b.txn.Deletes = append(b.txn.Deletes, key)
	}
}

// Empty reports whether there is nothing to commit.
func (b *Batch) Empty() bool { return b.txn.Empty() }

// Txn returns the changes as one transaction.
func (b *Batch) Txn() dove.Txn { return b.txn }
