package fleet

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"dove.network/control"
	"dove.network/control/stream"
	"dove.network/dove"
)

// host is one host of the fleet.
type host struct {
	name dove.HostName
	vtep netip.Addr
	tls  *tls.Config

	mu       sync.Mutex
	conn     control.HostConn
	assigned map[dove.Endpoint]control.Assign
	asked    map[uint64]*asking
	lastAsk  uint64
	left     chan struct{} // closed when the session ended
	err      error         // why
}

// asking is a request on its way.
type asking struct {
	missing int // questions without an answer
	found   int
	done    chan struct{}
}

// open opens a session and returns once its first frontier is acknowledged: all that
// the dpc had to tell was told.
func (h *host) open(ctx context.Context, addr string) error {
	conn, err := stream.Dial(ctx, []string{addr}, h.tls)
	if err != nil {
		return fmt.Errorf("%s: %w", h.name, err)
	}
	h.mu.Lock()
	h.conn, h.left, h.err = conn, make(chan struct{}), nil
	h.assigned, h.asked = map[dove.Endpoint]control.Assign{}, map[uint64]*asking{}
	h.mu.Unlock()
	if err := control.SendHello(conn, control.Hello{Version: control.Version, Host: h.name, VTEP: h.vtep, Software: "fleet"}); err != nil {
		return fmt.Errorf("%s: %w", h.name, err)
	}
	ready := make(chan struct{})
	go h.listen(conn, ready)
	select {
	case <-ready:
		return nil
	case <-h.left:
		return fmt.Errorf("%s: the session ended: %w", h.name, h.err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the session.
func (h *host) close() {
	h.mu.Lock()
	conn := h.conn
	h.conn = nil
	h.mu.Unlock()
	if conn != nil {
		_ = conn.Close() // it may be over already
		<-h.left
	}
}

// beatEvery is how often a host says that it is there, also while it says other things.
const beatEvery = 5 * time.Second

// listen does what the dpc says until the session ends.
func (h *host) listen(conn control.HostConn, ready chan struct{}) {
	defer close(h.left)
	over := make(chan struct{})
	defer close(over)
	go func() {
		beat := time.NewTicker(beatEvery)
		defer beat.Stop()
		for {
			select {
			case <-beat.C:
				_ = conn.Send(&control.Heartbeat{}) // if the session is over, Recv says why
			case <-over:
				return
			}
		}
	}()
	for {
		m, err := conn.Recv()
		if err == nil {
			err = h.take(conn, m, &ready)
		}
		if err != nil {
			h.mu.Lock()
			h.err = err
			for _, a := range h.asked {
				close(a.done)
			}
			h.asked = nil
			h.mu.Unlock()
			return
		}
	}
}

// take does what one message says, as if a switch had done it at once.
func (h *host) take(conn control.HostConn, m control.Down, ready *chan struct{}) error {
	switch m := m.(type) {
	case *control.Assign:
		h.mu.Lock()
		h.assigned[m.Endpoint] = *m
		h.mu.Unlock()
		return conn.Send(&control.EndpointUpdate{Endpoint: m.Endpoint, Epoch: m.Epoch, State: control.EndpointActive, Device: "dv", Standby: m.Standby})
	case *control.Unassign:
		h.mu.Lock()
		delete(h.assigned, m.Endpoint)
		h.mu.Unlock()
	case *control.Frontier:
		if err := conn.Send(&control.Ack{Revision: m.Revision}); err != nil {
			return err
		}
		if *ready != nil {
			close(*ready)
			*ready = nil
		}
	case *control.PolicyReply:
		h.mu.Lock()
		defer h.mu.Unlock()
		a := h.asked[m.ID]
		if a == nil {
			return nil
		}
		for _, answer := range m.Answers {
			if answer.Status == control.Found {
				a.found++
			}
		}
		if a.missing -= len(m.Answers); a.missing <= 0 {
			delete(h.asked, m.ID)
			close(a.done)
		}
	case *control.Refusal:
		return dove.Errorf(m.Kind, "%s", m.Message)
	}
	return nil
}

// answerWithin bounds how long an answer may take.
const answerWithin = time.Minute

// ask asks questions in one request and returns, once all are answered, to how many there
// is such a peer.
func (h *host) ask(ctx context.Context, questions []control.Question) (int, error) {
	a := &asking{missing: len(questions), done: make(chan struct{})}
	h.mu.Lock()
	conn := h.conn
	if conn == nil || h.asked == nil {
		h.mu.Unlock()
		return 0, fmt.Errorf("%s has no session: %w", h.name, h.err)
	}
	h.lastAsk++
	id := h.lastAsk
	h.asked[id] = a
	h.mu.Unlock()
	if err := conn.Send(&control.PolicyRequest{ID: id, Questions: questions}); err != nil {
		return 0, fmt.Errorf("%s: %w", h.name, err)
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(answerWithin):
		return 0, fmt.Errorf("%s: no answer within %s", h.name, answerWithin)
	}
	if a.missing > 0 {
		return 0, fmt.Errorf("%s: the session ended: %w", h.name, h.err)
	}
	return a.found, nil
}
