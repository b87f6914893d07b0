package controller

import (
	"cmp"

	"dove.network/control"
	"dove.network/dove"
)

// lane is a kind of work that waits for the turn. Lanes go in rotation, whatever waits in each.
type lane int

const (
	laneOwn     lane = iota // the store, time, other members
	laneSaid                // what sessions say beside questions; each has one message there
	laneAsked               // the API
	laneOpening             // sessions that open
	laneQuestions
	lanes
)

// work is what is to be done in a turn.
type work struct {
	act  func()
	done chan<- struct{} // closed afterwards; nil if nobody waits
}

// line is what waits for the turn. Of questions it takes those of each tenant in rotation,
// and of a tenant those of each session. It has one owner.
type line struct {
	last      lane // that had its turn
	lanes     [laneQuestions][]work
	questions rotation[dove.Tenant, *rotation[control.SessionID, []asking]]
	waiting   map[control.SessionID]int // questions
}

// asking is a request, or a part of one, that waits.
type asking struct {
	session control.SessionID
	count   int // its questions
	act     func()
}

// add has work wait.
func (l *line) add(in lane, w work) { l.lanes[in] = append(l.lanes[in], w) }

// ask has a request wait that is about a tenant's networks.
func (l *line) ask(t dove.Tenant, a asking) {
	if l.waiting == nil {
		l.waiting = map[control.SessionID]int{}
	}
	l.waiting[a.session] += a.count
	of := l.questions.of[t]
	if of == nil {
		of = &rotation[control.SessionID, []asking]{}
	}
	of.put(a.session, append(of.of[a.session], a))
	l.questions.put(t, of)
}

// next takes out what is to be done now; false if nothing waits.
func (l *line) next() (work, bool) {
	for range lanes {
		l.last = (l.last + 1) % lanes
		if l.last == laneQuestions {
			if a, ok := l.question(); ok {
				return work{act: a.act}, true
			}
		} else if waits := l.lanes[l.last]; len(waits) > 0 {
			w := waits[0]
			waits[0] = work{}
			l.lanes[l.last] = waits[1:]
			if len(waits) == 1 {
				l.lanes[l.last] = nil
			}
			return w, true
		}
	}
	return work{}, false
}

func (l *line) question() (asking, bool) {
	t, sessions, ok := l.questions.take()
	if !ok {
		return asking{}, false
	}
	id, waits, _ := sessions.take()
	a := waits[0]
	if len(waits) > 1 {
		sessions.put(id, waits[1:])
	}
	if len(sessions.of) > 0 {
		l.questions.put(t, sessions)
	}
	if l.waiting[id] -= a.count; l.waiting[id] == 0 {
		delete(l.waiting, id)
	}
	return a, true
}

// rotation is a queue with one place for each key.
type rotation[K cmp.Ordered, V any] struct {
	of    map[K]V
	order []K
}

// put sets what a key has; one that had nothing is last.
func (r *rotation[K, V]) put(k K, v V) {
	if r.of == nil {
		r.of = map[K]V{}
	}
	if _, waits := r.of[k]; !waits {
		r.order = append(r.order, k)
	}
	r.of[k] = v
}

// take takes out who is first.
func (r *rotation[K, V]) take() (k K, v V, ok bool) {
	if len(r.order) == 0 {
		return k, v, false
	}
	k = r.order[0]
	r.order = r.order[1:]
	v = r.of[k]
	delete(r.of, k)
	return k, v, true
}
