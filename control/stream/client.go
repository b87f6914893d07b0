package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"dove.network/control"
	"dove.network/control/controlpb"
	"dove.network/dove"
)

// Bounds of how long one address may take: until TLS is done, which a busy member
// does in turn, of that to accept the connection, which its kernel does, and then to admit a
// session, for which a member waits that has lost touch with its store.
const (
	DialTimeout    = 5 * time.Second
	connectTimeout = 1500 * time.Millisecond // one lost packet is sent again after one second
	AdmitTimeout   = 15 * time.Second
)

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
		w, err := dial(ctx, addr, config, hostProtocol, AdmitTimeout)
		if err == nil {
			return &hostConn{wire: w, ended: make(chan struct{})}, nil
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

// dial returns a wire that the other end has admitted, and that lives no longer than ctx.
func dial(ctx context.Context, addr string, config *tls.Config, protocol string, admit time.Duration) (*wire, error) {
	var w *wire
	err := within(ctx, DialTimeout, func(ctx context.Context) error {
		c, err := (&net.Dialer{Timeout: connectTimeout}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return dove.Errorf(dove.Unavailable, "%v", err)
		}
		if w, err = shake(ctx, c, config, protocol, tls.Client, nil); err != nil {
			return cut(err)
		}
		return nil
	})
	if err == nil {
		err = within(ctx, admit, func(ctx context.Context) error {
			defer context.AfterFunc(ctx, func() { _ = w.socket.Close() })()
			return w.admitted()
		})
	}
	if err != nil {
		if w != nil {
			err = errors.Join(err, w.socket.Close())
		}
		return nil, err
	}
	w.socket.within(ctx)
	return w, nil
}

// within does something for as long as ctx allows, and no longer than a time.
func within(ctx context.Context, most time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, dove.Errorf(dove.Unavailable, "no answer within %s", most))
	defer cancel()
	err := do(ctx)
	if ctx.Err() != nil { // also if it was just too late
		return errors.Join(context.Cause(ctx), err)
	}
	return err
}

// hostConn is a control.HostConn.
type hostConn struct {
	*wire
	ended chan struct{} // closed when Recv saw the end
	once  sync.Once
	bye   sync.Once
}

// Send sends messages in order; it waits while the member reads nothing.
func (c *hostConn) Send(messages ...control.Up) error {
	return send(c.wire, appendUp, messages...)
}

// TrySend is Send if that needs no waiting, and else false.
func (c *hostConn) TrySend(messages ...control.Up) (bool, error) {
	return trySend(c.wire, appendUp, messages...)
}

func appendUp(b []byte, m control.Up) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend(b, control.EncodeUp(m))
}

// Recv returns the next message, checked, or io.EOF when the member ended the
// session in order.
func (c *hostConn) Recv() (control.Down, error) {
	var envelope controlpb.Envelope
	if err := c.recv(&envelope); err != nil {
		c.once.Do(func() { close(c.ended) })
		return nil, err
	}
	return control.DecodeDown(&envelope)
}

// Close ends the session in order if somebody calls Recv meanwhile, otherwise
// after a short while regardless. It may be called twice.
func (c *hostConn) Close() error {
	c.bye.Do(func() {
		grace := time.AfterFunc(closeGrace, func() { _ = c.socket.Close() })
		defer grace.Stop()
		if c.farewell(nil) == nil {
			select {
			case <-c.ended:
			case <-time.After(closeGrace):
			}
		}
		_ = c.socket.Close() // what it could say, Recv has said
	})
	return nil
}
