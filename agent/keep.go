package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// liveSession is the session that Core speaks on now.
type liveSession struct {
	conn    control.HostConn
	out     chan control.Up // what could not be sent at once
	waiting atomic.Int64    // how much of it is not sent
	cancel  context.CancelCauseFunc
}

// send sends a message after those before it, without waiting for the member: what
// would have to is left to sendAll. Who calls it has the turn.
func (s *liveSession) send(m control.Up) error {
	if _, long := m.(*control.Hello); !long && s.waiting.Load() == 0 {
		if sent, err := s.conn.TrySend(m); sent || err != nil {
			return err
		}
	}
	s.waiting.Add(1)
	select {
	case s.out <- m:
		return nil
	default:
		return fmt.Errorf("the DPC reads too slowly: %d messages wait to be sent", sendQueue)
	}
}

const (
	sendQueue    = 4096 // messages that wait to be sent
	messageBatch = 64   // messages in one step
)

// keepSession opens a session, again and again, until ctx is done.
func (a *Agent) keepSession(ctx context.Context) {
	route := NewRoute(a.options.Config.Host, a.options.Members, a.options.Restored.Saved.Members, rand.N[time.Duration])
	for ctx.Err() == nil {
		conn, kill, err := a.reach(ctx, route)
		if err != nil {
			return // ctx is done
		}
		welcomed, sent, err := a.converse(ctx, conn, kill, route)
		kill()
		if ctx.Err() != nil {
			return
		}
		a.failed(err)
		var pause time.Duration
		switch {
		case sent != nil:
			pause = route.Sent(sent)
		case welcomed:
			pause = route.Ended()
		default:
			pause = route.Failed(dove.KindOf(err))
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
	}
}

// closeGrace is how long a message that is being sent may hold up the end of a session.
const closeGrace = time.Second

// errLeft ends a session that was sent elsewhere.
var errLeft = dove.Errorf(dove.Unavailable, "the DPC member sends the session elsewhere")

// errSilent ends a session whose member says nothing: there is nobody to end it with
// in order.
var errSilent = dove.Errorf(dove.Unavailable, "the DPC member says nothing: it is stopped or cut off")

// converse carries an open session from its beginning to its end, and says whether it got
// as far as a Welcome, and whether it was sent elsewhere. The session ends in order even if parent is
// done; kill ends it out of order.
func (a *Agent) converse(parent context.Context, conn control.HostConn, kill func(), route *Route) (welcomed bool, sent *control.Elsewhere, err error) {
	ctx, cancel := context.WithCancelCause(parent)
	s := &liveSession{conn: conn, out: make(chan control.Up, sendQueue), cancel: cancel}
	sender := make(chan struct{})
	go func() {
		defer close(sender)
		cancel(s.sendAll(ctx))
	}()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		<-ctx.Done()
		if context.Cause(ctx) == errSilent {
			kill()
		}
		// Close must not meet Send.
		grace := time.AfterFunc(closeGrace, kill)
		<-sender
		grace.Stop()
		_ = conn.Close() // unblocks Recv; why the session ended is known already
	}()
	defer func() {
		cancel(nil)
		<-sender
		<-closed
	}()
	if !a.opened(s) {
		return false, nil, dove.Errorf(dove.Unavailable, "the dswitch is stopping")
	}
	var messages []control.Down
	for {
		m, err := conn.Recv()
		if err != nil {
			a.hear(s, messages)
			if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, io.EOF) {
				err = cause
			}
			if errors.Is(err, io.EOF) {
				err = dove.Errorf(dove.Unavailable, "the DPC member ended the session")
			}
			return welcomed, sent, err
		}
		switch m := m.(type) {
		case *control.Welcome:
			welcomed = true
		case *control.Refusal:
			err = &dove.Error{Kind: m.Kind, Message: m.Message}
		case *control.Members:
			route.Learn(m.Addresses)
		case *control.Elsewhere:
			if !welcomed {
				err = dove.Errorf(dove.Unavailable, "the DPC member sends the session elsewhere: %s", m.Reason)
			} else if sent == nil {
				leave := time.AfterFunc(m.After, func() { cancel(errLeft) })
				defer leave.Stop()
			}
			sent = m
		}
		messages = append(messages, m)
		if err == nil && len(messages) < messageBatch && conn.Waiting() {
			continue // what belongs together is saved and applied together
		}
		a.hear(s, messages)
		messages = nil
		if err != nil {
			return welcomed, sent, err // a Refusal is a session's last message
		}
	}
}

// sendAll sends what could not be sent at once.
func (s *liveSession) sendAll(ctx context.Context) error {
	for {
		select {
		case m := <-s.out:
			var err error
			if h, ok := m.(*control.Hello); ok {
				err = control.SendHello(s.conn, *h)
			} else {
				err = s.conn.Send(m)
			}
			if err != nil {
				return err
			}
			s.waiting.Add(-1)
		case <-ctx.Done():
			return nil
		}
	}
}

// opened has Core speak on a session, unless nothing is stepped any more.
func (a *Agent) opened(s *liveSession) bool {
	a.turn.Lock()
	defer a.turn.Unlock()
	if a.over() {
		return false
	}
	a.session = s
	a.step(Connected{})
	a.once.Do(func() { close(a.heard) })
	return true
}

// hear takes what came in a session, in one step.
func (a *Agent) hear(s *liveSession, messages []control.Down) {
	a.turn.Lock()
	defer a.turn.Unlock()
	if s != a.session || len(messages) == 0 {
		return
	}
	events := make([]Event, len(messages))
	for i, m := range messages {
		a.measures.heard(m, time.Now())
		if w, ok := m.(*control.Welcome); ok {
			a.trouble = ""
			a.log.Info("session", "member", w.Member, "revision", w.Revision)
		}
		events[i] = Received{m}
	}
	a.step(events...)
}

// failed takes note that a session, or the attempt to open one, is over.
func (a *Agent) failed(err error) {
	a.turn.Lock()
	defer a.turn.Unlock()
	if a.over() {
		return
	}
	a.measures.ended(err)
	if err != nil && err.Error() != a.trouble {
		a.trouble = err.Error()
		a.log.Warn("no session with the DPC; what is held stays in force", "err", err)
	}
	a.endSession()
	a.once.Do(func() { close(a.heard) })
}

func (a *Agent) endSession() {
	if a.session != nil {
		a.session.cancel(nil)
		a.session = nil
		a.step(Disconnected{})
	}
}
