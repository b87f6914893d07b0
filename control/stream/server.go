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
	"dove.network/control/controlpb"
	"dove.network/dove"
)

// hostProtocol is what both ends of a host's session agree on in the handshake (ALPN). It
// names the frames; which messages are spoken, Hello says.
const hostProtocol = "dove-host/1"

// Limits of handshakes.
const (
	HandshakesMax    = 64               // at once; more wait for their turn
	HandshakeTimeout = 10 * time.Second // waiting included

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
	// Converse serves one session. It returns when the session is over or ctx is
	// done; the kind and message of a dove.Error it returns reach the host.
	Converse func(ctx context.Context, id control.Identity, conn control.MemberConn) error
	Log      *slog.Logger
}

// Serve accepts sessions on l, which it closes, until ctx is done. It then ends
// all sessions and returns nil once they have ended.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	d := door{tls: s.TLS, protocol: hostProtocol, log: s.Log, serve: s.host}
	if err := d.run(ctx, l); err != nil {
		return fmt.Errorf("serve control sessions on %s: %w", l.Addr(), err)
	}
	return nil
}

// host serves one host.
func (s *Server) host(ctx context.Context, w *wire, cert *x509.Certificate) error {
	from := w.socket.RemoteAddr().String()
	id, err := auth.HostIdentity(cert)
	if err == nil {
		err = s.Admit(ctx, id)
	}
	if err != nil {
		s.Log.Warn("control session refused", "from", from, "host", string(id.Host), "serial", id.Serial, "error", err)
		return err
	}
	if err := w.admit(); err != nil {
		return err
	}
	log := s.Log.With("host", string(id.Host), "from", from)
	log.Debug("control session opened")
	err = s.Converse(ctx, id, &memberConn{w, id})
	log.Debug("control session ended", "reason", err)
	return err
}

// door lets connections in that show a good certificate and speak the protocol.
type door struct {
	tls      *tls.Config
	protocol string
	log      *slog.Logger
	// serve serves one connection until it is over or ctx is done. What it
	// returns is the reason that the other end is told.
	serve func(ctx context.Context, w *wire, cert *x509.Certificate) error
}

// run accepts until ctx is done and all are served. It closes l.
func (d *door) run(ctx context.Context, l net.Listener) error {
	if d.tls.ClientAuth != tls.RequireAndVerifyClientCert {
		panic("stream: the TLS configuration does not require certificates of clients")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	turns := make(chan struct{}, HandshakesMax)
	var all sync.WaitGroup
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			all.Go(func() { d.let(ctx, c, turns) })
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

// let takes one connection through the door.
func (d *door) let(ctx context.Context, c net.Conn, turns chan struct{}) {
	w, err := handshake(ctx, c, d.tls, d.protocol, turns)
	if err != nil {
		d.log.Debug("a handshake failed", "from", c.RemoteAddr().String(), "error", err)
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

// handshake waits for its turn. It closes the connection if it fails.
func handshake(ctx context.Context, c net.Conn, config *tls.Config, protocol string, turns chan struct{}) (*wire, error) {
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	select {
	case turns <- struct{}{}:
		defer func() { <-turns }()
		return shake(ctx, c, config, protocol, tls.Server)
	case <-ctx.Done():
		return nil, errors.Join(errors.New("too many handshakes at once"), c.Close())
	}
}

// memberConn is a control.MemberConn.
type memberConn struct {
	*wire
	id control.Identity
}

// Send sends messages in order; it waits while the peer reads nothing.
func (c *memberConn) Send(messages ...control.Down) error {
	return c.send(envelopes(messages, control.EncodeDown)...)
}

// TrySend is Send if that needs no waiting, and else false.
func (c *memberConn) TrySend(messages ...control.Down) (bool, error) {
	return c.trySend(envelopes(messages, control.EncodeDown)...)
}

// Recv returns the next message, checked. A Hello that names another host or
// underlay address than the certificate is an error of kind dove.Forbidden.
func (c *memberConn) Recv() (control.Up, error) {
	var envelope controlpb.Envelope
	if err := c.recv(&envelope); err != nil {
		return nil, err
	}
	m, err := control.DecodeUp(&envelope)
	if err != nil {
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
