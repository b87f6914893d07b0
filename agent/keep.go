package agent

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// liveSession is the session that Core speaks on now.
type liveSession struct {
	out    chan control.Up
	cancel context.CancelCauseFunc
}

// news is what the goroutine that keeps the session tells the loop: a session
// is open, a message came, or (neither) the session or the attempt is over.
type news struct {
	session *liveSession
	message control.Down
	err     error
}

const (
	sendQueue    = 4096 // messages that wait to be sent
	messageBatch = 64   // messages in one step
)

// keepSession opens a session, again and again, until ctx is done.
func (a *Agent) keepSession(ctx context.Context) {
	route := NewRoute(a.options.Config.Host, a.options.Members, a.options.Restored.Saved.Members, rand.N[time.Duration])
	for ctx.Err() == nil {
		welcomed, sent, err := a.dialAndConverse(ctx, route)
		if ctx.Err() != nil || !a.tell(ctx, news{err: err}) {
			return
		}
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

// dialAndConverse carries one session from its beginning to its end, and says
// whether it got as far as a Welcome, and whether it was sent elsewhere. The session ends in order even if ctx is
// done, so it lives in a context of its own.
func (a *Agent) dialAndConverse(ctx context.Context, route *Route) (welcomed bool, sent *control.Elsewhere, err error) {
	life, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	dialled := context.AfterFunc(ctx, kill)
	conn, err := a.options.Dial(life, route.Next())
	dialled()
	if err != nil {
		return false, nil, err
	}
	return a.converse(ctx, conn, kill, route)
}

// errLeft ends a session that was sent elsewhere.
var errLeft = dove.Errorf(dove.Unavailable, "the DPC member sends the session elsewhere")

// converse carries an open session; kill ends it out of order.
func (a *Agent) converse(parent context.Context, conn control.HostConn, kill func(), route *Route) (welcomed bool, sent *control.Elsewhere, err error) {
	ctx, cancel := context.WithCancelCause(parent)
	s := &liveSession{out: make(chan control.Up, sendQueue), cancel: cancel}
	sender := make(chan struct{})
	go func() {
		defer close(sender)
		cancel(sendAll(ctx, conn, s.out))
	}()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		<-ctx.Done()
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
	if !a.tell(ctx, news{session: s}) {
		return false, nil, context.Cause(ctx)
	}
	for {
		m, err := conn.Recv()
		if err != nil {
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
		if !a.tell(ctx, news{session: s, message: m}) {
			return welcomed, sent, context.Cause(ctx)
		}
		if err != nil {
			return welcomed, sent, err // a Refusal is a session's last message
		}
	}
}

func sendAll(ctx context.Context, conn control.HostConn, out <-chan control.Up) error {
	for {
		select {
		case m := <-out:
			var err error
			if h, ok := m.(*control.Hello); ok {
				err = control.SendHello(conn, *h)
			} else {
				err = conn.Send(m)
			}
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *Agent) tell(ctx context.Context, n news) bool {
	select {
	case a.news <- n:
		return true
	case <-ctx.Done():
		return false
	}
}

// hear is the loop's side of tell. Messages that wait already are one step, so
// that what belongs together is saved and applied together.
func (a *Agent) hear(n news) {
	var messages []Event
	for {
		switch {
		case n.message != nil && n.session == a.session:
			a.measures.heard(n.message, time.Now())
			if w, ok := n.message.(*control.Welcome); ok {
				a.trouble = ""
				a.log.Info("session", "member", w.Member, "revision", w.Revision)
			}
			messages = append(messages, Received{n.message})
		case n.message != nil: // of a session that is over
		case n.session != nil:
			a.session = n.session
			a.step(Connected{})
		default:
			a.step(messages...)
			messages = nil
			a.measures.ended(n.err)
			if n.err != nil && n.err.Error() != a.trouble {
				a.trouble = n.err.Error()
				a.log.Warn("no session with the DPC; what is held stays in force", "err", n.err)
			}
			a.endSession()
		}
		if len(messages) < messageBatch {
			select {
			case n = <-a.news:
				continue
			default:
			}
		}
		a.step(messages...)
		return
	}
}

func (a *Agent) endSession() {
	if a.session != nil {
		a.session.cancel(nil)
		a.session = nil
		a.step(Disconnected{})
	}
}
