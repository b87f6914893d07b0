package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/control/stream"
	"dove.network/dove"
)

// host is one host of the fleet.
type host struct {
	name dove.HostName
	vtep netip.Addr

	credentials *auth.HostCredentials

	mu       sync.Mutex
	conn     control.HostConn
	sessions uint64 // that it opened
	seen     dove.Revision
	store    uint64 // the incarnation
	assigned map[dove.Endpoint]control.Assign
	fleet    control.Digest                     // of the tunnels held; with changes, none
	peers    map[control.PeerKey]control.Digest // held; nil: it remembers none
	pairs    map[control.PairKey]control.Digest
	sent     *control.Elsewhere // why the session ended, nil if not for that
	asked    map[uint64]*asking
	lastAsk  uint64
	left     chan struct{} // closed when the session ended
	err      error         // why
}

// asking is a request on its way.
type asking struct {
	missing int // questions without an answer
	found   int
	err     error // why some have none
	done    chan struct{}
}

// remember has the host keep what rows it holds, as a dSwitch does: it opens its next
// session with them.
func (h *host) remember() {
	h.peers, h.pairs = map[control.PeerKey]control.Digest{}, map[control.PairKey]control.Digest{}
}

// open opens a session with what the host holds, and returns once its first frontier is
// acknowledged: all that the dpc had to tell was told.
func (h *host) open(ctx context.Context, addr string) error {
	h.mu.Lock()
	h.sent = nil
	h.mu.Unlock()
	conn, err := stream.Dial(ctx, []string{addr}, h.credentials.TLS())
	if err != nil {
		return fmt.Errorf("%s: %w", h.name, err)
	}
	h.mu.Lock()
	h.conn, h.left, h.err = conn, make(chan struct{}), nil
	h.sessions++
	hello := control.Hello{Version: control.Version, Number: h.sessions, Host: h.name, VTEP: h.vtep, Software: "fleet", Incarnation: h.store, Seen: h.seen, Fleet: h.fleet}
	for key, digest := range h.peers {
		hello.Peers = append(hello.Peers, control.HeldPeer{Key: key, Digest: digest})
	}
	for key, digest := range h.pairs {
		hello.Pairs = append(hello.Pairs, control.HeldPair{Key: key, Digest: digest})
	}
	for _, a := range h.assigned {
		hello.Attached = append(hello.Attached, active(&a))
	}
	h.asked = map[uint64]*asking{}
	if h.assigned == nil {
		h.assigned = map[dove.Endpoint]control.Assign{}
	}
	h.mu.Unlock()
	if err := control.SendHello(conn, hello); err != nil {
		_ = conn.Close() // what failed is said
		h.mu.Lock()
		h.conn = nil // nobody listens, so nobody will say that it is over
		h.mu.Unlock()
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

// active is how a host says that it has an endpoint.
func active(a *control.Assign) control.EndpointUpdate {
	return control.EndpointUpdate{Endpoint: a.Endpoint, Epoch: a.Epoch, State: control.EndpointActive, Device: "dv", Standby: a.Standby}
}

// close ends the session, and forgets all that the host holds.
func (h *host) close() {
	h.mu.Lock()
	conn := h.conn
	h.conn = nil
	h.mu.Unlock()
	if conn != nil {
		_ = conn.Close() // it may be over already
		<-h.left
	}
	h.assigned, h.peers, h.pairs, h.seen, h.fleet = nil, nil, nil, 0, control.Digest{}
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
	var say []control.Up
	for {
		m, err := conn.Recv()
		if err == nil {
			say, err = h.take(m, say)
		}
		if err == nil && len(say) > 0 && (!conn.Waiting() || len(say) >= saidAtOnce) {
			said := slices.ContainsFunc(say, func(m control.Up) bool { _, ack := m.(*control.Ack); return ack })
			err = conn.Send(say...)
			say = nil
			if err == nil && said && ready != nil {
				close(ready)
				ready = nil
			}
		}
		if err != nil {
			h.mu.Lock()
			h.err = err
			for _, a := range h.asked {
				a.err = err
				close(a.done)
			}
			h.asked = nil
			h.mu.Unlock()
			return
		}
	}
}

// saidAtOnce is how many messages a host answers together, if as many came at once.
const saidAtOnce = 64

// take does what one message says, as if a switch had done it at once, and adds what is to be
// said to it.
func (h *host) take(m control.Down, say []control.Up) ([]control.Up, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch m := m.(type) {
	case *control.Assign:
		h.assigned[m.Endpoint] = *m
		return append(say, new(active(m))), nil
	case *control.Welcome:
		h.store = m.Incarnation
	case *control.Tunnels:
		h.tunnels(m)
	case *control.Update:
		h.hold(m.Peers, m.Pairs)
	case *control.Expect:
		h.hold(m.Peers, m.Pairs)
	case *control.Elsewhere:
		h.sent = m
		return nil, errors.New("the dpc sends the session elsewhere")
	case *control.Unassign:
		delete(h.assigned, m.Endpoint)
	case *control.Frontier:
		h.seen = m.Revision
		return append(say, &control.Ack{Revision: m.Revision}), nil
	case *control.PolicyReply:
		h.hold(m.Peers, m.Pairs)
		a := h.asked[m.ID]
		if a == nil {
			break
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
		return nil, dove.Errorf(m.Kind, "%s", m.Message)
	}
	return say, nil
}

// tunnels notes what the fleet is, if the host remembers anything; h.mu is held.
func (h *host) tunnels(m *control.Tunnels) {
	if h.fleet = (control.Digest{}); h.peers != nil && m.Full && len(m.Add) < control.TunnelsMax {
		h.fleet = control.FleetDigest(slices.Values(m.Add))
	}
}

// hold notes rows, if the host remembers any; h.mu is held.
func (h *host) hold(peers []control.Peer, pairs []control.Pair) {
	if h.peers == nil {
		return
	}
	for _, p := range peers {
		if delete(h.peers, p.Key); !p.Absent {
			h.peers[p.Key] = p.Digest()
		}
	}
	for _, p := range pairs {
		if delete(h.pairs, p.Key); p.Table != nil {
			h.pairs[p.Key] = p.Digest()
		}
	}
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
		defer h.mu.Unlock()
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
		return 0, fmt.Errorf("%s: the session ended: %w", h.name, a.err)
	}
	return a.found, nil
}

// askAgain is ask by whatever session the host has, or will have.
func (h *host) askAgain(ctx context.Context, questions []control.Question) error {
	for {
		if _, err := h.ask(ctx, questions); err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
		}
	}
}
