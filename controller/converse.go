package controller

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// Converse serves one session until either end or ctx ends it. Conn's Send must
// fail once Converse has returned. The error says why the session ended; it is nil if the
// dSwitch ended it in order.
func (m *Member) Converse(ctx context.Context, id control.Identity, conn control.MemberConn) error {
	wanted, overtake := context.WithCancel(ctx)
	defer overtake()
	defer context.AfterFunc(wanted, conn.Stop)()
	done, err := m.openings.begin(id.Host, time.Now(), overtake)
	if err != nil {
		m.measures.unopened.WithLabelValues(unopenedOften).Inc()
		return errors.Join(err, conn.Send(&control.Refusal{Kind: dove.KindOf(err), Message: err.Error()}))
	}
	err = m.inTouch(wanted)
	unopened := unopenedLost
	var hello *control.Hello
	if err == nil {
		unopened = unopenedHello
		hello, err = m.openings.receiveHello(wanted, conn)
	}
	rows := 0
	if err == nil {
		rows = len(hello.Peers) + len(hello.Pairs) + len(hello.Attached)
	}
	if done(rows) {
		m.measures.unopened.WithLabelValues(unopenedOvertaken).Inc()
		return dove.Errorf(dove.Conflict, "host %s opened another session", id.Host)
	}
	if err != nil {
		m.measures.unopened.WithLabelValues(unopened).Inc()
		if kind := dove.KindOf(err); kind != dove.Internal && kind != dove.Unavailable {
			return errors.Join(err, conn.Send(&control.Refusal{Kind: kind, Message: err.Error()}))
		}
		return cmp.Or(ctx.Err(), err)
	}
	m.catchUp(ctx, hello)

	session := control.SessionID(m.ids.Add(1))
	out := &outbox{host: id.Host, conn: conn}
	if err := m.postBy(ctx, m.comesIn(id), func() {
		m.outbox[session] = out
		m.measures.opened.Inc()
		m.mustStep(Opened{session, id, hello})
	}); err != nil {
		return err
	}
	m.log.Info("a session opens", "host", id.Host, "session", session, "software", hello.Software,
		"peers", len(hello.Peers), "pairs", len(hello.Pairs))

	err = m.read(ctx, id.Host, session, conn)
	err = out.ended(cmp.Or(ctx.Err(), err))
	// Whoever ended it, the Core forgets it. If the member stopped, it has.
	if m.postIn(context.WithoutCancel(ctx), laneSaid, func() {
		if m.outbox[session] == out {
			delete(m.outbox, session)
			m.measures.ended.WithLabelValues(endedBecause(err)).Inc()
			m.mustStep(Closed{session})
		}
	}) == nil {
		m.log.Info("a session ended", "host", id.Host, "session", session, "error", err)
	}
	return err
}

// comesIn returns the way to the turn of a host that comes in: the others that do, and those whose
// handshakes compute, have theirs in rotation with it.
func (m *Member) comesIn(id control.Identity) func(act func()) {
	from := netip.PrefixFrom(id.VTEP, id.VTEP.BitLen())
	return func(act func()) {
		defer m.comers.Take(from)()
		m.inTurn(laneOpening, act)
	}
}

// withholdMost is how long a member that has lost touch with its store keeps a host
// waiting that wants to open a session.
const withholdMost = 10 * time.Second

// inTouch waits until the member is in touch with its store. Before that it admits
// nobody: who waits tries other members meanwhile, and whichever is well first has the session. In
// the end the Core says where else to go, if another member is known to be well.
func (m *Member) inTouch(ctx context.Context) error {
	late := time.NewTimer(withholdMost)
	defer late.Stop()
	for tired := false; ; {
		var lost chan struct{}
		refuge := false
		if err := m.postIn(ctx, laneOpening, func() { lost, refuge = m.lost, len(m.core.refuge()) > 0 }); err != nil {
			return err
		}
		switch {
		case lost == nil, tired && refuge:
			return nil
		case tired:
			return dove.Errorf(dove.Unavailable, "member %s has lost touch with its store: try another one", m.name)
		}
		select {
		case <-lost:
		case <-late.C:
			tired = true
		case <-ctx.Done():
			return ctx.Err()
		case <-m.stopped:
			return errStopped
		}
	}
}

// feel has those who wait for it hear that the Core is in touch with the store, or wait
// from now on.
func (m *Member) feel() {
	switch {
	case m.core.stale && m.lost == nil:
		m.lost = make(chan struct{})
	case !m.core.stale && m.lost != nil:
		close(m.lost)
		m.lost = nil
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

// saidAtOnce is how many messages of a session have one turn together.
const saidAtOnce = 64

// read hands on what the dSwitch says, messages that cost little together: if the Core is
// busy, the dSwitch waits, but for answers. It waits also if it says more than it may.
func (m *Member) read(ctx context.Context, host dove.HostName, session control.SessionID, conn control.MemberConn) error {
	var said []control.Up
	for {
		message, err := conn.Recv()
		var pause time.Duration
		if err == nil {
			pause = m.openings.said(host, time.Now(), message)
		}
		request, asks := message.(*control.PolicyRequest)
		if err == nil && !asks {
			said = append(said, message)
			if len(said) < saidAtOnce && brief(message) && pause == 0 && conn.Waiting() {
				continue
			}
		}
		if len(said) > 0 {
			lost := m.postIn(ctx, laneSaid, func() {
				for _, message := range said {
					m.mustStep(Received{session, message})
				}
			})
			clear(said)
			said, err = said[:0], cmp.Or(lost, err)
		}
		if err == nil && asks {
			m.comers.Asked()
			err = m.question(ctx, session, request, time.Now())
		}
		if err == nil && pause > 0 {
			err = m.pauseReading(ctx, session, message, pause)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// pauseReading has a session wait that says more than it may: it has until the connection is
// full, and the processors are free for others.
func (m *Member) pauseReading(ctx context.Context, session control.SessionID, after control.Up, pause time.Duration) error {
	m.measures.pauses.WithLabelValues(saidWhat(after)).Inc()
	if err := m.postIn(ctx, laneSaid, func() { m.mustStep(Paused{session, pause}) }); err != nil {
		return err
	}
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// brief reports whether a message never takes long.
func brief(m control.Up) bool {
	switch m.(type) {
	case *control.EndpointUpdate, *control.Ack, *control.Heartbeat, *control.Claim:
		return true
	}
	return false
}
