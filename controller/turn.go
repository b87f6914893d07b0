package controller

import (
	"context"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// Bounds of questions that wait for the turn.
const (
	// QuestionsAtOnce is how many questions of one session are answered in one turn.
	QuestionsAtOnce = 64
	// QuestionsWaiting is how many questions of one session wait; more are to be asked
	// again.
	QuestionsWaiting = 1024
)

// inTurn does something as the owner of the Core, once it is its turn. Act must not block.
func (m *Member) inTurn(in lane, act func()) {
	m.turn.Lock()
	if m.taken {
		done := make(chan struct{})
		m.line.add(in, work{act, done})
		m.turn.Unlock()
		<-done
		return
	}
	m.taken = true
	m.turn.Unlock()
	act()
	few, n := m.said()
	m.leave()
	push(few[:n])
}

// leave ends the turn of who took it: others have theirs from a goroutine, so that
// nobody is kept for them.
func (m *Member) leave() {
	m.turn.Lock()
	defer m.turn.Unlock()
	if w, ok := m.line.next(); ok {
		go m.takeTurns(w)
	} else {
		m.taken = false
	}
}

// takeTurns does what waits, one after the other, until nothing does.
func (m *Member) takeTurns(w work) {
	for more := true; more; {
		w.act()
		few, n := m.said()
		if w.done != nil {
			close(w.done)
		}
		if n > 0 {
			go push(few[:n])
		}
		m.turn.Lock()
		w, more = m.line.next()
		m.taken = more
		m.turn.Unlock()
	}
}

// said ends a turn's work: it wakes who waits for a receipt, and returns to whom
// something is to be sent. To many sessions others send it, all at once.
func (m *Member) said() (few [directMax]*outbox, n int) {
	if m.began == nil {
		m.wake()
	}
	for _, out := range m.touched {
		out.touched = false
		if len(m.touched) <= directMax {
			few[n] = out
			n++
		} else {
			go func() { out.send(out.begin()) }()
		}
	}
	clear(m.touched)
	m.touched = m.touched[:0]
	return few, n
}

func push(few []*outbox) {
	for _, out := range few {
		out.push()
	}
}

// post does something as the owner of the Core, once it is its turn and there is a
// Core that reacts. Act must not block.
func (m *Member) post(ctx context.Context, act func()) error { return m.postIn(ctx, laneOwn, act) }

// postIn is post for who waits in a lane.
func (m *Member) postIn(ctx context.Context, in lane, act func()) error {
	return m.postBy(ctx, func(act func()) { m.inTurn(in, act) }, act)
}

// postBy is post for who has his own way to the turn.
func (m *Member) postBy(ctx context.Context, take func(act func()), act func()) error {
	for {
		var began chan struct{}
		take(func() {
			if began = m.began; began == nil {
				act()
			}
		})
		if began == nil {
			return nil
		}
		select {
		case <-began:
		case <-ctx.Done():
			return ctx.Err()
		case <-m.stopped:
			return errStopped
		}
	}
}

// ask is post for who does not wait for a turn any longer than ctx lasts.
func (m *Member) ask(ctx context.Context, act func()) error {
	done := make(chan error, 1)
	go func() { done <- m.postIn(ctx, laneAsked, act) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// question has a request of a session answered when its turn comes, in parts: those of
// one tenant hold up others of the session no more than those of other sessions. It waits
// only if too many of the session wait already.
func (m *Member) question(ctx context.Context, session control.SessionID, r *control.PolicyRequest, arrived time.Time) error {
	for t, part := range byTenant(m, r) {
		count := max(1, len(part.Questions)) // to ask nothing takes a turn, too
		answer := func() {
			if m.began == nil { // else the session is over
				m.mustStep(Received{session, part})
				m.measures.answer.Observe(time.Since(arrived).Seconds())
			}
		}
		m.turn.Lock()
		switch {
		case !m.taken:
			m.taken = true
			m.turn.Unlock()
			answer()
			few, n := m.said()
			m.leave()
			push(few[:n])
		case m.line.waiting[session]+count > QuestionsWaiting:
			m.turn.Unlock()
			if err := m.postIn(ctx, laneSaid, func() { m.mustStep(Flooded{session, part}) }); err != nil {
				return err
			}
		default:
			m.line.ask(t, asking{session, count, answer})
			m.turn.Unlock()
		}
	}
	return nil
}

// byTenant yields the parts of a request: in each, questions about networks of one tenant, at
// most QuestionsAtOnce.
func byTenant(m *Member, r *control.PolicyRequest) func(yield func(dove.Tenant, *control.PolicyRequest) bool) {
	return func(yield func(dove.Tenant, *control.PolicyRequest) bool) {
		w := m.World()
		var vni dove.VNI
		var tenant dove.Tenant
		of := func(q control.Question) dove.Tenant {
			if q.VNI != vni {
				n, _ := w.NetworkByVNI(q.VNI)
				vni, tenant = q.VNI, n.Tenant
			}
			return tenant
		}
		parts := rotation[dove.Tenant, []control.Question]{}
		one := len(r.Questions) <= QuestionsAtOnce
		for i := range r.Questions {
			if one = one && of(r.Questions[i]) == of(r.Questions[0]); !one {
				break
			}
		}
		if one {
			if len(r.Questions) > 0 {
				yield(of(r.Questions[0]), r)
			} else {
				yield("", r)
			}
			return
		}
		for _, q := range r.Questions {
			t := of(q)
			parts.put(t, append(parts.of[t], q))
		}
		for t, all, ok := parts.take(); ok; t, all, ok = parts.take() {
			for len(all) > 0 {
				n := min(len(all), QuestionsAtOnce)
				if !yield(t, &control.PolicyRequest{ID: r.ID, Questions: all[:n:n]}) {
					return
				}
				all = all[n:]
			}
		}
	}
}
