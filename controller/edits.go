package controller

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// slowEdit is what an edit takes to decide so that others do not wait while it is
// decided again, until it was so triesAlone times.
const (
	slowEdit   = 50 * time.Millisecond
	triesAlone = 3
)

// edits are those that wait to be committed. Whoever finds nobody committing
// begins to: what waits when one commit ends goes into the next as a whole.
type edits struct {
	mu      sync.Mutex
	waiting []*editing
	writing bool
}

// editing is one edit on its way.
type editing struct {
	steps *edit.Steps
	txn   dove.Txn      // empty: not decided yet
	last  bool          // of its transactions
	took  time.Duration // to decide
	tries int
	done  chan struct{} // closed once the rest is there

	revision dove.Revision
	err      error
	again    bool // it must be decided on a later world

	mu   sync.Mutex // is held while others than its owner decide
	gone bool       // its owner waits no more
}

// Edit changes documents: decide says how, given a world; it may be asked again, one
// call at a time. If what it read was changed meanwhile, it is asked again at the later
// world; a refusal at a world that is as late as the call ends the matter. Edit
// returns once the change is applied here, with its revision; with the present one if
// there was nothing to change. Edits that wait at the same time are
// committed together (edit.Batch), and one that needs many class ids takes several
// revisions (edit.Steps), of which the last is told.
func (m *Member) Edit(ctx context.Context, decide func(*world.World) (dove.Txn, error)) (dove.Revision, error) {
	w, late := m.World(), false
	steps := edit.InSteps(decide)
	for try := 0; try < editsMax; try++ {
		begun := time.Now()
		e := &editing{steps: steps, tries: try, done: make(chan struct{})}
		if late || !m.committing() { // else what is decided now would be overtaken
			var err error
			e.txn, e.last, err = steps.Next(w)
			for (err != nil || e.txn.Empty()) && !late {
				now, failed := m.Read(ctx)
				if failed != nil {
					return 0, failed
				}
				if late = true; now != w {
					w = now
					e.txn, e.last, err = steps.Next(w)
				}
			}
			if err != nil {
				return 0, err
			}
			if e.txn.Empty() {
				return w.Revision(), nil
			}
			e.took = time.Since(begun)
		}
		m.queue(e)
		select {
		case <-e.done:
		case <-ctx.Done():
			e.mu.Lock() // decide is not called once Edit has returned
			e.gone = true
			e.mu.Unlock()
			return 0, ctx.Err()
		}
		var pause time.Duration
		switch {
		case !e.again && (e.last || e.err != nil):
			return e.revision, e.err
		case !e.again: // others choose ids of the domain, too
			try, pause = -1, time.Since(begun)
		case try > 0: // writers that met twice should not meet again
			pause = rand.N(editPause << min(try, 6))
		}
		if pause > 0 {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		var err error
		if w, err = m.Read(ctx); err != nil {
			return 0, err
		}
		late = true
	}
	return 0, dove.Errorf(dove.Conflict, "others kept changing the same documents %d times: try again", editsMax)
}

// committing reports whether edits are being committed.
func (m *Member) committing() bool {
	m.edits.mu.Lock()
	defer m.edits.mu.Unlock()
	return m.edits.writing
}

// queue has an edit committed, by who does so already or somebody new.
func (m *Member) queue(e *editing) {
	m.edits.mu.Lock()
	defer m.edits.mu.Unlock()
	m.edits.waiting = append(m.edits.waiting, e)
	if !m.edits.writing {
		m.edits.writing = true
		go m.commitAll()
	}
}

// commitAll commits what waits until nothing does. After a conflict fewer edits
// go together, so that one which cannot succeed spoils no others.
func (m *Member) commitAll() {
	var left []*editing
	most := dove.TxnOperationsMax
	for {
		m.edits.mu.Lock()
		waiting := append(left, m.edits.waiting...)
		m.edits.waiting = nil
		if len(waiting) == 0 {
			m.edits.writing = false
			m.edits.mu.Unlock()
			return
		}
		m.edits.mu.Unlock()
		batch, together, rest := m.together(waiting, most)
		left = rest
		if len(together) == 0 {
			continue
		}
		revision, err := m.commit(batch.Txn())
		conflict := dove.KindOf(err) == dove.Conflict
		if most = dove.TxnOperationsMax; conflict {
			most = max(1, len(together)/2)
		}
		for _, e := range together {
			e.revision, e.err, e.again = revision, err, conflict
			close(e.done)
		}
	}
}

// commit commits and waits until the change is applied here.
func (m *Member) commit(txn dove.Txn) (dove.Revision, error) {
	ctx := context.Background() // the store bounds it, and the end of the member
	revision, err := m.store.Commit(ctx, txn)
	if err != nil {
		return 0, err
	}
	_, err = m.applied(ctx, revision)
	return revision, err
}

// together makes one batch of edits, as far as that goes. Those that are neither
// in it nor left are done, or must be decided again by their owner.
func (m *Member) together(waiting []*editing, most int) (batch *edit.Batch, together, left []*editing) {
	batch = edit.NewBatch(m.World())
	largest := 0
	for i, e := range waiting {
		if len(together) == most {
			return batch, together, append(left, waiting[i:]...)
		}
		before := batch.Left()
		// One that does not fit would not either if it were decided again, and one that was not
		// decided yet is as large as others are.
		if !batch.Fits(e.txn) || e.txn.Empty() && before < largest {
			left = append(left, e)
			continue
		}
		if e.txn.Empty() || !batch.Holds(e.txn) {
			if e.took > slowEdit && e.tries < triesAlone && len(waiting) > 1 || !e.redecide(batch) {
				e.again = true
				close(e.done)
				continue
			}
		}
		if !batch.Add(e.txn) {
			left = append(left, e)
			continue
		}
		together = append(together, e)
		largest = max(largest, before-batch.Left())
	}
	return batch, together, left
}

// redecide decides an edit again on what a batch leaves behind, and reports whether there
// is something to commit: whatever else it decides there counts only at a world that is real.
func (e *editing) redecide(batch *edit.Batch) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return false
	}
	txn, err := batch.Decide(func(w *world.World) (txn dove.Txn, err error) {
		txn, e.last, err = e.steps.Next(w)
		return txn, err
	})
	if err != nil || txn.Empty() {
		return false
	}
	e.txn = txn
	return true
}
