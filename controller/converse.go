package controller

import (
	"context"
	"errors"
	"io"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// Converse serves one session until either end or ctx ends it. Conn's Recv and
// Send must fail once Converse has returned. The error says why the session
// ended; it is nil if the dSwitch ended it in order.
func (m *Member) Converse(ctx context.Context, id control.Identity, conn control.MemberConn) error {
	hello, err := receiveHello(ctx, conn)
	if err != nil {
		if kind := dove.KindOf(err); kind != dove.Internal && kind != dove.Unavailable {
			return errors.Join(err, conn.Send(&control.Refusal{Kind: kind, Message: err.Error()}))
		}
		return err
	}
	m.catchUp(ctx, hello)

	session := control.SessionID(m.ids.Add(1))
	out := &outbox{
		host:     id.Host,
		batches:  make(chan []control.Down, QueueMax),
		overflow: make(chan struct{}),
	}
	opened := make(chan struct{})
	if err := m.post(ctx, func() {
		close(opened)
		m.outbox[session] = out
		m.measures.opened.Inc()
		m.mustStep(Opened{session, id, hello})
	}); err != nil {
		return err
	}
	m.log.Info("a session opens", "host", id.Host, "session", session, "software", hello.Software,
		"peers", len(hello.Peers), "pairs", len(hello.Pairs))

	sent := make(chan error, 1)
	go func() { sent <- write(conn, out.batches) }()
	received := make(chan error, 1)
	go func() { received <- m.read(ctx, session, conn) }()
	select {
	case err = <-sent: // refused, or the connection broke
	case err = <-received:
	case <-out.overflow:
		err = dove.Errorf(dove.Unavailable, "the session of host %s is too slow", id.Host)
	case <-ctx.Done():
		err = ctx.Err()
	case <-m.stopped:
		select {
		case <-opened: // what is queued, the refusal last, still goes out
		default: // nobody else will send anything
			out.batches <- []control.Down{&control.Refusal{Kind: dove.Unavailable, Message: errStopped.Message}}
			close(out.batches)
		}
		select {
		case err = <-sent:
		case <-out.overflow:
		case <-ctx.Done():
		}
	}
	// Whoever ended it, the owner of the Core forgets it. If the member
	// stopped, it has.
	if m.post(context.WithoutCancel(ctx), func() {
		if m.outbox[session] == out {
			delete(m.outbox, session)
			close(out.batches)
			m.measures.ended.WithLabelValues(endedClosed).Inc()
			m.mustStep(Closed{session})
		}
	}) == nil {
		m.log.Info("a session ended", "host", id.Host, "session", session, "error", err)
	}
	return err
}

// receiveHello waits HelloTimeout for all of a Hello: until a session opens,
// nothing else ends one that says no more.
func receiveHello(ctx context.Context, conn control.MemberConn) (*control.Hello, error) {
	type result struct {
		hello *control.Hello
		err   error
	}
	received := make(chan result, 1)
	go func() {
		hello, err := control.ReceiveHello(conn)
		received <- result{hello, err}
	}()
	timeout := time.NewTimer(HelloTimeout)
	defer timeout.Stop()
	select {
	case r := <-received:
		return r.hello, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout.C:
		return nil, dove.Errorf(dove.Unavailable, "the Hello was not complete after %s", HelloTimeout)
	}
}

// catchUp gives the member a moment to reach what the dSwitch has seen.
func (m *Member) catchUp(ctx context.Context, h *control.Hello) {
	if h.Incarnation != m.World().Incarnation() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, elsewhere)
	defer cancel()
	// If it does not, the Core refuses the session.
	_, _ = m.applied(ctx, h.Seen)
}

// write sends batches until there are no more: the last message was a refusal
// or the session is over.
func write(conn control.MemberConn, batches <-chan []control.Down) error {
	for batch := range batches {
		if err := conn.Send(batch...); err != nil {
			return err
		}
		for _, message := range batch {
			if r, ok := message.(*control.Refusal); ok {
				return dove.Errorf(r.Kind, "%s", r.Message)
			}
		}
	}
	return nil
}

// read hands on what the dSwitch says, one message at a time: if the Core is
// busy, the dSwitch waits.
func (m *Member) read(ctx context.Context, session control.SessionID, conn control.MemberConn) error {
	for {
		message, err := conn.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		arrived := time.Now()
		if err := m.post(ctx, func() {
			m.mustStep(Received{session, message})
			if _, asks := message.(*control.PolicyRequest); asks {
				m.measures.answer.Observe(time.Since(arrived).Seconds())
			}
		}); err != nil {
			return err
		}
	}
}
