package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/lobby"
)

// hostProtocol is what both ends of a host's session agree on in the handshake (ALPN). It
// names the frames; which messages are spoken, Hello says.
const hostProtocol = "dove-host/1"

// Limits of handshakes.
const (
	HandshakesMax    = 2048             // under way; who opens more of them than others loses some
	HandshakeTimeout = 10 * time.Second // waiting for a turn included

	stopGrace   = 3 * time.Second // for sessions to end in order when Serve stops
	acceptAgain = 100 * time.Millisecond
)

// Server is a DPC member's end of all sessions. Set all fields before Serve.
type Server struct {
	// TLS must require certificates of clients, as auth.ControlTLS does.
	TLS *tls.Config
	// Admit says whether the identity is valid now: the host exists and the
	// certificate is its present one. An error of kind dove.Unauthorized or
	// dove.Forbidden sends the host away, dove.Unavailable to another member.
	Admit func(context.Context, control.Identity) error
	// Converse serves one session, which is open to the host once conn is used: until then
	// the host is free to open one elsewhere. It returns when the session is over or ctx is
	// done; the kind and message of a dove.Error it returns reach the host.
	Converse func(ctx context.Context, id control.Identity, conn control.MemberConn) error
	// Refused hears of each connection that is not let in; it may be nil.
	Refused func(Reason)
	// Turns are those in which handshakes compute; nil: lobby.Half of them, for them alone.
	Turns *lobby.Turns
	Log   *slog.Logger
}

// Reason is why a connection is not let in.
type Reason string

// Reasons.
const (
	Crowded     Reason = "crowded"     // too many handshakes, most of them from its source
	TooLate     Reason = "late"        // the handshake took longer than HandshakeTimeout
	NoHandshake Reason = "handshake"   // no certificate, one that is not good, or no TLS at all
	NotAdmitted Reason = "certificate" // it is good, and not that of who may come in now
)

// Reasons lists all.
func Reasons() []Reason { return []Reason{Crowded, TooLate, NoHandshake, NotAdmitted} }

// Serve accepts sessions on l, which it closes, until ctx is done. It then ends
// all sessions and returns nil once they have ended.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	d := newDoor(s.TLS, hostProtocol, s.Log, s.Refused)
	if s.Turns != nil {
		d.turns = s.Turns
	}
	d.serve = func(ctx context.Context, w *wire, cert *x509.Certificate) error {
		return s.host(ctx, w, cert, d.refused)
	}
	if err := d.run(ctx, l); err != nil {
		return fmt.Errorf("serve control sessions on %s: %w", l.Addr(), err)
	}
	return nil
}

// host serves one host.
func (s *Server) host(ctx context.Context, w *wire, cert *x509.Certificate, refused func(Reason)) error {
	from := w.socket.RemoteAddr().String()
	id, err := auth.HostIdentity(cert)
	if err == nil {
		err = s.Admit(ctx, id)
	}
	if err != nil {
		refused(NotAdmitted)
		s.Log.Warn("control session refused", "from", from, "host", string(id.Host), "serial", id.Serial, "error", err)
		return err
	}
	log := s.Log.With("host", string(id.Host), "from", from)
	log.Debug("control session opened")
	err = s.Converse(ctx, id, &memberConn{wire: w, id: id, admit: sync.OnceValue(w.admit)})
	log.Debug("control session ended", "reason", err)
	return err
}

// door lets connections in that show a good certificate and speak the protocol.
type door struct {
	tls      *tls.Config
	protocol string
	log      *slog.Logger
	refused  func(Reason)
	lobby    *lobby.Lobby // of handshakes
	turns    *lobby.Turns // to compute them
	// serve serves one connection until it is over or ctx is done. What it
	// returns is the reason that the other end is told.
	serve func(ctx context.Context, w *wire, cert *x509.Certificate) error
}

// newDoor returns a door that serves nobody yet. Handshakes compute on half of the
// processors, so that sessions have the others.
func newDoor(tls *tls.Config, protocol string, log *slog.Logger, refused func(Reason)) *door {
	if refused == nil {
		refused = func(Reason) {}
	}
	return &door{
		tls: tls, protocol: protocol, log: log, refused: refused,
		lobby: lobby.New(HandshakesMax), turns: lobby.NewTurns(lobby.Half()),
	}
}

// run accepts until ctx is done and all are served. It closes l.
func (d *door) run(ctx context.Context, l net.Listener) error {
	if d.tls.ClientAuth != tls.RequireAndVerifyClientCert {
		panic("stream: the TLS configuration does not require certificates of clients")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var all sync.WaitGroup
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			if guest := d.lobby.Enter(lobby.SourceOf(c.RemoteAddr()), c); guest != nil {
				all.Go(func() { d.let(ctx, c, guest) })
			} else {
				d.refuse(c, errors.Join(errCrowded, c.Close()))
			}
			continue
		case ctx.Err() != nil:
			err = nil
		case !errors.Is(err, net.ErrClosed):
			d.log.Error("a connection cannot be accepted; trying again", "error", err)
			select { // too many files are open, for instance
			case <-time.After(acceptAgain):
			case <-ctx.Done():
			}
			continue
		}
		cancel(err)
		all.Wait()
		return err
	}
}

var errCrowded = errors.New("too many handshakes are under way")

// refuse notes that a connection is not let in.
func (d *door) refuse(c net.Conn, err error) {
	reason := NoHandshake
	switch {
	case errors.Is(err, errCrowded):
		reason = Crowded
	case errors.Is(err, context.DeadlineExceeded):
		reason = TooLate
	case errors.Is(err, context.Canceled):
		return // the member stops
	}
	d.refused(reason)
	d.log.Debug("a handshake failed", "from", c.RemoteAddr().String(), "reason", string(reason), "error", err)
}

// let takes one connection through the door.
func (d *door) let(ctx context.Context, c net.Conn, guest *lobby.Guest) {
	w, err := d.handshake(ctx, c, guest)
	if err != nil {
		d.refuse(c, err)
		return
	}
	// Who does not take leave is cut off.
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(stopGrace, func() { _ = w.socket.Close() })
	})()
	err = d.serve(ctx, w, w.tls.ConnectionState().VerifiedChains[0][0])
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = dove.Errorf(dove.Unavailable, "this DPC member is stopping: ask another one")
	}
	w.end(err)
}

// handshake closes the connection if it fails.
func (d *door) handshake(ctx context.Context, c net.Conn, guest *lobby.Guest) (*wire, error) {
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	w, err := shake(ctx, c, d.tls, d.protocol, tls.Server, d.turns)
	if !guest.Leave() {
		return nil, errors.Join(errCrowded, c.Close())
	}
	if err != nil && ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	return w, err
}

// memberConn is a control.MemberConn.
type memberConn struct {
	*wire
	id    control.Identity
	admit func() error // once
}

// Send sends messages in order; it waits while the peer reads nothing.
func (c *memberConn) Send(messages ...control.Down) error {
	if err := c.admit(); err != nil {
		return err
	}
	return send(c.wire, control.AppendDown, messages...)
}

// TrySend is Send if that needs no waiting, and else false.
func (c *memberConn) TrySend(messages ...control.Down) (bool, error) {
	if err := c.admit(); err != nil {
		return false, err
	}
	return trySend(c.wire, control.AppendDown, messages...)
}

// Recv returns the next message, checked. A Hello that names another host or
// underlay address than the certificate is an error of kind dove.Forbidden.
func (c *memberConn) Recv() (control.Up, error) {
	if err := c.admit(); err != nil {
		return nil, err
	}
	var m control.Up
	if err := c.receive(func(body []byte) (err error) {
		m, err = control.ReadUp(body)
		return err
	}); err != nil {
		return nil, err
	}
	if hello, ok := m.(*control.Hello); ok && (hello.Host != c.id.Host || hello.VTEP != c.id.VTEP) {
		return nil, dove.Errorf(dove.Forbidden, "hello from host %s at %s, but the certificate is host %s's at %s",
			hello.Host, hello.VTEP, c.id.Host, c.id.VTEP)
	}
	return m, nil
}

// Stop has Recv fail, now and later.
func (c *memberConn) Stop() { c.stop() }
