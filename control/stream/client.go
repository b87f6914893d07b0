package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"dove.network/control"
	"dove.network/control/controlpb"
	"dove.network/dove"
)

// DialTimeout bounds how long one address may take to admit a session.
const DialTimeout = 5 * time.Second

// closeGrace is how long Close waits for the member to end the session.
const closeGrace = time.Second

// Dial opens a session with the first of addrs ("host:port") that admits it.
// The session lives until Close, until the member ends it, or until ctx is done.
// If none admits it the error says why for each address; its kind is the last
// one's, so that a host whose certificate is no longer valid can tell
// (dove.Unauthorized or dove.Forbidden).
func Dial(ctx context.Context, addrs []string, config *tls.Config) (control.HostConn, error) {
	if len(addrs) == 0 {
		return nil, dove.Errorf(dove.Invalid, "no address of a DPC member is known")
	}
	var errs []error
	kind := dove.Unavailable
	for _, addr := range addrs {
		c, err := dialOne(ctx, addr, config)
		if err == nil {
			return c, nil
		}
		if e, ok := errors.AsType[*dove.Error](err); ok {
			kind = e.Kind
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, dove.Errorf(kind, "no DPC member admits a session: %v", errors.Join(errs...))
}

func dialOne(ctx context.Context, addr string, config *tls.Config) (*hostConn, error) {
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}),
		grpc.WithAuthority(config.ServerName),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		grpc.WithMaxHeaderListSize(headerMax),
		grpc.WithStaticStreamWindowSize(windowSize),
		grpc.WithStaticConnWindowSize(windowSize),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MessageMax), grpc.MaxCallSendMsgSize(MessageMax)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: KeepaliveTime, Timeout: KeepaliveTimeout, PermitWithoutStream: true}),
	)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	slow := time.AfterFunc(DialTimeout, cancel)
	c := &hostConn{conn: conn, cancel: cancel, ended: make(chan struct{})}
	if err := c.open(ctx); err != nil {
		if !slow.Stop() && status.Code(err) == codes.Canceled {
			err = dove.Errorf(dove.Unavailable, "no answer within %s", DialTimeout)
		}
		cancel()
		return nil, errors.Join(fromStatus(err), conn.Close())
	}
	if !slow.Stop() {
		return nil, errors.Join(dove.Errorf(dove.Unavailable, "no answer within %s", DialTimeout), conn.Close())
	}
	return c, nil
}

// hostConn is a control.HostConn.
type hostConn struct {
	conn   *grpc.ClientConn
	cancel context.CancelFunc
	stream grpc.BidiStreamingClient[controlpb.Envelope, controlpb.Envelope]
	ended  chan struct{} // closed when Recv saw the end
	once   sync.Once
}

// open returns when the member has admitted the session.
func (c *hostConn) open(ctx context.Context) error {
	var err error
	if c.stream, err = controlpb.NewControlClient(c.conn).Conversation(ctx); err != nil {
		return err
	}
	header, err := c.stream.Header()
	if err != nil {
		return err
	}
	if len(header.Get(welcomeHeader)) > 0 {
		return nil
	}
	if _, err = c.stream.Recv(); err == nil || err == io.EOF {
		return dove.Errorf(dove.Unavailable, "what answers is no DPC member")
	}
	return err
}

// Send sends one message; it blocks while the member reads nothing. io.EOF says
// that the session is over: Recv says why.
func (c *hostConn) Send(m control.Up) error {
	return fromStatus(c.stream.Send(control.EncodeUp(m)))
}

// Recv returns the next message, checked, or io.EOF when the member ended the
// session in order.
func (c *hostConn) Recv() (control.Down, error) {
	envelope, err := c.stream.Recv()
	if err != nil {
		c.once.Do(func() { close(c.ended) })
		return nil, fromStatus(err)
	}
	return control.DecodeDown(envelope)
}

// Close ends the session in order if somebody calls Recv meanwhile, otherwise
// after a short while regardless. It may be called twice.
func (c *hostConn) Close() error {
	err := c.stream.CloseSend()
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-c.ended:
	case <-grace.C:
	}
	c.cancel()
	if closeErr := c.conn.Close(); status.Code(closeErr) != codes.Canceled {
		err = errors.Join(err, closeErr)
	}
	return err
}

// toStatus is what the other end may know of an error.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*dove.Error](err); ok {
		return status.Error(codesOf[e.Kind], e.Error())
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	if errors.Is(err, context.Canceled) {
		return status.Error(codes.Canceled, "the session was ended")
	}
	return status.Error(codes.Internal, "the member failed: its log says why")
}

// fromStatus turns gRPC's errors into ours. io.EOF stays.
func fromStatus(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if _, ok := errors.AsType[*dove.Error](err); ok {
		return err
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	if s.Code() == codes.Canceled || s.Code() == codes.DeadlineExceeded {
		return dove.Errorf(dove.Unavailable, "the session was cut: %s", s.Message())
	}
	for kind, code := range codesOf {
		if code == s.Code() {
			return &dove.Error{Kind: kind, Message: s.Message()}
		}
	}
	return &dove.Error{Kind: dove.Internal, Message: s.Message()}
}
