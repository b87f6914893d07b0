package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/control/controlpb"
	"dove.network/dove"
)

// Limits and times of every session.
const (
	MessageMax       = 8 << 20          // bytes of one message, either way
	KeepaliveTime    = 10 * time.Second // of silence, then a ping
	KeepaliveTimeout = 20 * time.Second // without an answer to the ping, then the end
	HandshakesMax    = 64               // at once; more wait for their turn
	HandshakeTimeout = 10 * time.Second // waiting included

	headerMax = 16 << 10 // bytes of request headers
	// Bytes that one end may send and the other has not read yet. Were it left to gRPC, it
	// would measure what is best, by a ping for each message, and wake both ends for it.
	windowSize = 1 << 20
	stopGrace  = 3 * time.Second // for sessions to end in order when Serve stops
)

// welcomeHeader says that a session was admitted. Its value is control.Version.
const welcomeHeader = "dove-version"

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
	if s.TLS.ClientAuth != tls.RequireAndVerifyClientCert {
		panic("stream: the TLS configuration does not require certificates of clients")
	}
	server := grpc.NewServer(
		grpc.Creds(handshakes{credentials.NewTLS(s.TLS), make(chan struct{}, HandshakesMax)}),
		grpc.ConnectionTimeout(HandshakeTimeout),
		grpc.MaxRecvMsgSize(MessageMax),
		grpc.MaxSendMsgSize(MessageMax),
		grpc.MaxHeaderListSize(headerMax),
		grpc.StaticStreamWindowSize(windowSize),
		grpc.StaticConnWindowSize(windowSize),
		grpc.MaxConcurrentStreams(1),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: KeepaliveTime, Timeout: KeepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: KeepaliveTime / 2, PermitWithoutStream: true}),
	)
	controlpb.RegisterControlServer(server, &service{server: s, serving: ctx})
	stopped := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(stopped)
		force := time.AfterFunc(stopGrace, server.Stop)
		defer force.Stop()
		server.GracefulStop()
	})
	err := server.Serve(l)
	if !unhook() {
		<-stopped
		return nil
	}
	server.Stop()
	return fmt.Errorf("serve control sessions on %s: %w", l.Addr(), err)
}

type service struct {
	controlpb.UnimplementedControlServer
	server  *Server
	serving context.Context // done when Serve stops: ends every session
}

// Conversation serves one session (generated interface).
func (s *service) Conversation(stream grpc.BidiStreamingServer[controlpb.Envelope, controlpb.Envelope]) error {
	from := "unknown"
	id, err := identify(stream.Context(), &from)
	if err == nil {
		err = s.server.Admit(stream.Context(), id)
	}
	if err != nil {
		s.server.Log.Warn("control session refused", "from", from, "host", string(id.Host), "serial", id.Serial, "error", err)
		return toStatus(err)
	}
	if err := stream.SendHeader(metadata.Pairs(welcomeHeader, fmt.Sprint(control.Version))); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.serving, cancel)()
	log := s.server.Log.With("host", string(id.Host), "from", from)
	log.Debug("control session opened")
	err = s.server.Converse(ctx, id, &memberConn{stream, id})
	if s.serving.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = dove.Errorf(dove.Unavailable, "this DPC member is stopping: ask another one")
	}
	log.Debug("control session ended", "reason", err)
	return toStatus(err)
}

// identify reads who the peer is from its verified certificate.
func identify(ctx context.Context, from *string) (control.Identity, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return control.Identity{}, dove.Errorf(dove.Unauthorized, "the session has no peer")
	}
	*from = p.Addr.String()
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return control.Identity{}, dove.Errorf(dove.Unauthorized, "the session has no verified certificate")
	}
	return auth.HostIdentity(info.State.VerifiedChains[0][0])
}

// memberConn is a control.MemberConn.
type memberConn struct {
	stream grpc.BidiStreamingServer[controlpb.Envelope, controlpb.Envelope]
	id     control.Identity
}

// Send sends one message; it blocks while the peer reads nothing.
func (c *memberConn) Send(m control.Down) error {
	return fromStatus(c.stream.Send(control.EncodeDown(m)))
}

// Recv returns the next message, checked. A Hello that names another host or
// underlay address than the certificate is an error of kind dove.Forbidden.
func (c *memberConn) Recv() (control.Up, error) {
	envelope, err := c.stream.Recv()
	if err == io.EOF {
		return nil, io.EOF
	}
	if err != nil {
		return nil, fromStatus(err)
	}
	m, err := control.DecodeUp(envelope)
	if err != nil {
		return nil, err
	}
	if hello, ok := m.(*control.Hello); ok && (hello.Host != c.id.Host || hello.VTEP != c.id.VTEP) {
		return nil, dove.Errorf(dove.Forbidden, "hello from host %s at %s, but the certificate is host %s's at %s",
			hello.Host, hello.VTEP, c.id.Host, c.id.VTEP)
	}
	return m, nil
}

// handshakes bounds how many handshakes run at once.
type handshakes struct {
	credentials.TransportCredentials
	slots chan struct{}
}

// ServerHandshake waits for its turn; gRPC has set the connection's deadline.
func (h handshakes) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	timeout := time.NewTimer(HandshakeTimeout)
	defer timeout.Stop()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
		return h.TransportCredentials.ServerHandshake(c)
	case <-timeout.C:
		return nil, nil, errors.New("too many handshakes at once")
	}
}

// Clone is for gRPC, which copies what it is given; the bound stays common.
func (h handshakes) Clone() credentials.TransportCredentials {
	return handshakes{h.TransportCredentials.Clone(), h.slots}
}

// codesOf gives each kind of error its gRPC code and back.
var codesOf = map[dove.Kind]codes.Code{
	dove.Internal:     codes.Internal,
	dove.Invalid:      codes.InvalidArgument,
	dove.NotFound:     codes.NotFound,
	dove.Exists:       codes.AlreadyExists,
	dove.Conflict:     codes.Aborted,
	dove.Forbidden:    codes.PermissionDenied,
	dove.Unauthorized: codes.Unauthenticated,
	dove.TooLarge:     codes.ResourceExhausted,
	dove.Unsupported:  codes.Unimplemented,
	dove.Unavailable:  codes.Unavailable,
}
