package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"

	"google.golang.org/protobuf/proto"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/control/controlpb"
	"dove.network/dove"
)

// peerProtocol is hostProtocol's counterpart for streams between members.
const peerProtocol = "dove-member/1"

// PeerServer is the end of streams that other members open. Set all fields before Serve.
type PeerServer struct {
	// TLS must be as auth.PeerTLS makes it.
	TLS *tls.Config
	// Admit says whether the identity is a member's present one.
	Admit func(context.Context, control.PeerIdentity) error
	// Converse serves one stream, as Server.Converse serves a session.
	Converse func(context.Context, control.PeerIdentity, control.PeerConn) error
	// Refused hears of each connection that is not let in; it may be nil.
	Refused func(Reason)
	Log     *slog.Logger
}

// Serve is Server.Serve for streams of members.
func (s *PeerServer) Serve(ctx context.Context, l net.Listener) error {
	d := newDoor(s.TLS, peerProtocol, s.Log, s.Refused)
	d.serve = func(ctx context.Context, w *wire, cert *x509.Certificate) error {
		return s.member(ctx, w, cert, d.refused)
	}
	if err := d.run(ctx, l); err != nil {
		return fmt.Errorf("serve streams of members on %s: %w", l.Addr(), err)
	}
	return nil
}

// member serves one member.
func (s *PeerServer) member(ctx context.Context, w *wire, cert *x509.Certificate, refused func(Reason)) error {
	id, err := peerIdentity(cert)
	if err == nil {
		err = s.Admit(ctx, id)
	}
	if err != nil {
		refused(NotAdmitted)
		s.Log.Warn("stream of a member refused", "from", w.socket.RemoteAddr().String(), "member", id.Member, "serial", id.Serial, "error", err)
		return err
	}
	if err := w.admit(); err != nil {
		return err
	}
	return s.Converse(ctx, id, &peerConn{hostConn{wire: w, ended: make(chan struct{})}})
}

func peerIdentity(cert *x509.Certificate) (control.PeerIdentity, error) {
	name, serial, err := auth.MemberIdentity(cert)
	return control.PeerIdentity{Member: name, Serial: serial}, err
}

// DialPeer opens a stream with the member that has an identity, at an address
// ("host:port"). It lives until Close, until the member ends it, or until ctx is done.
func DialPeer(ctx context.Context, address string, id control.PeerIdentity, config *tls.Config) (control.PeerConn, error) {
	w, err := dial(ctx, address, config, peerProtocol, DialTimeout)
	if err != nil {
		return nil, err
	}
	is, err := peerIdentity(w.tls.ConnectionState().VerifiedChains[0][0])
	if err == nil && is != id {
		err = dove.Errorf(dove.Forbidden, "at %s answers member %s with certificate %s, not %s with %s", address, is.Member, is.Serial, id.Member, id.Serial)
	}
	if err != nil {
		w.end(err)
		return nil, err
	}
	return &peerConn{hostConn{wire: w, ended: make(chan struct{})}}, nil
}

// peerConn is a control.PeerConn.
type peerConn struct{ hostConn }

// Send sends messages in order; it waits while the other member reads nothing.
func (c *peerConn) Send(messages ...control.Across) error {
	return send(c.wire, appendAcross, messages...)
}

func appendAcross(b []byte, m control.Across) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend(b, control.EncodeAcross(m))
}

// Recv returns the next message, checked, or io.EOF when the other member ended
// the stream in order.
func (c *peerConn) Recv() (control.Across, error) {
	var envelope controlpb.Across
	if err := c.recv(&envelope); err != nil {
		c.once.Do(func() { close(c.ended) })
		return nil, err
	}
	return control.DecodeAcross(&envelope)
}
