package stream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"dove.network/control"
	"dove.network/control/controlpb"
	"dove.network/dove"
	"dove.network/lobby"
)

// Limits and times of every session.
const (
	SilenceMax = 30 * time.Second // without a byte from the peer, then the end

	reasonMax  = 4 << 10 // bytes of the reason for an end; who logs it does not choose it
	headerSize = 4
	readBuffer = 4 << 10
	endGrace   = time.Second // for the end of a session to reach the peer
)

// What a frame is: the first of its four bytes. The others are the length of what follows.
const (
	frameMessage  = iota // an envelope
	frameAdmitted        // nothing: the first from who was dialled
	frameEnd             // a Refusal, empty if the session ends in order; the last
)

// wire carries protobuf messages over one TLS connection. One may read and any
// number may write at a time.
type wire struct {
	tls    *tls.Conn
	socket *socket
	silent atomic.Bool // no more messages go out
	deaf   atomic.Bool // no more are read

	reading sync.Mutex
	in      *bufio.Reader

	writing sync.Mutex
}

// buffers are those that messages are written to before they are sent: who sends has one meanwhile.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// giveBack keeps a buffer for the next who sends, unless it is large.
func giveBack(buffer *[]byte, out []byte) {
	if cap(out) <= 2*chunkSize {
		*buffer = out[:0]
		buffers.Put(buffer)
	}
}

// shake returns the wire of a connection once TLS is done and both ends speak
// the protocol. It closes the connection if that fails. What it computes takes turns, unless
// they are nil.
func shake(ctx context.Context, c net.Conn, config *tls.Config, protocol string, side func(net.Conn, *tls.Config) *tls.Conn, turns *lobby.Turns) (*wire, error) {
	config = config.Clone()
	config.NextProtos = []string{protocol}
	config.DynamicRecordSizingDisabled = true // a message is of use when all of it is there
	s := newSocket(c)
	if turns != nil {
		s.turns, s.give = turns, turns.Take(lobby.SourceOf(c.RemoteAddr()))
		defer func() { s.give() }()
	}
	t := side(s, config)
	err := t.HandshakeContext(ctx)
	s.turns = nil
	if err == nil && t.ConnectionState().NegotiatedProtocol != protocol {
		err = dove.Errorf(dove.Unavailable, "the other end does not speak %s", protocol)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	w := &wire{tls: t, socket: s}
	w.in = bufio.NewReaderSize(patient{w}, readBuffer)
	return w, nil
}

// patient reads for as long as the peer is not silent for too long.
type patient struct{ *wire }

func (p patient) Read(b []byte) (int, error) {
	err := p.tls.SetReadDeadline(time.Now().Add(SilenceMax))
	if p.deaf.Load() { // end may have set another one before
		return 0, errEnded
	}
	n := 0
	if err == nil {
		n, err = p.tls.Read(b)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = dove.Errorf(dove.Unavailable, "the session was cut: the other end said nothing for %s", SilenceMax)
	}
	return n, err
}

// recv reads one message. It returns io.EOF when the peer ended the session in order.
func (w *wire) recv(m proto.Message) error {
	return w.receive(func(body []byte) error {
		if err := proto.Unmarshal(body, m); err != nil {
			return dove.Errorf(dove.Invalid, "what came is no message: %v", err)
		}
		return nil
	})
}

// receive is recv of bytes, which are good until read returns.
func (w *wire) receive(read func([]byte) error) error {
	w.reading.Lock()
	defer w.reading.Unlock()
	kind, body, err := w.next()
	switch {
	case err != nil:
		return cut(err)
	case kind == frameMessage:
		return read(body)
	case kind == frameEnd:
		return ending(body)
	}
	return dove.Errorf(dove.Invalid, "a frame is of kind %d", kind)
}

// next reads a frame. Its body is good until the next call.
func (w *wire) next() (kind byte, body []byte, err error) {
	header, err := w.in.Peek(headerSize)
	if err != nil {
		return 0, nil, err
	}
	kind = header[0]
	size := int(binary.BigEndian.Uint32(header) & 0xffffff)
	if size > control.MessageMax {
		return 0, nil, dove.Errorf(dove.TooLarge, "a message has %d bytes, at most %d are allowed", size, control.MessageMax)
	}
	if headerSize+size <= w.in.Size() {
		if body, err = w.in.Peek(headerSize + size); err != nil {
			return 0, nil, err
		}
		_, err = w.in.Discard(len(body))
		return kind, body[headerSize:], err
	}
	_, _ = w.in.Discard(headerSize) // they are there
	var all bytes.Buffer            // grows with what comes, not with what was announced
	_, err = io.CopyN(&all, w.in, int64(size))
	return kind, all.Bytes(), err
}

// Waiting reports whether a whole frame is there.
func (w *wire) Waiting() bool {
	if w.in.Buffered() < headerSize {
		return false
	}
	header, _ := w.in.Peek(headerSize) // it is there
	return w.in.Buffered() >= headerSize+int(binary.BigEndian.Uint32(header)&0xffffff)
}

// ending is what the peer's last frame says.
func ending(body []byte) error {
	if len(body) == 0 {
		return io.EOF
	}
	var refusal controlpb.Refusal
	if err := proto.Unmarshal(body, &refusal); err != nil || len(refusal.GetMessage()) > reasonMax || refusal.GetKind() > uint32(dove.Unavailable) {
		return dove.Errorf(dove.Invalid, "the session ends without a reason that can be read")
	}
	return &dove.Error{Kind: dove.Kind(refusal.GetKind()), Message: refusal.GetMessage()}
}

// encoder adds the bytes of a message.
type encoder[M any] func([]byte, M) ([]byte, error)

// send writes messages, and waits until the kernel has taken them.
func send[M any](w *wire, encode encoder[M], messages ...M) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	if w.silent.Load() {
		return errEnded
	}
	buffer := buffers.Get().(*[]byte)
	out := *buffer
	for i, m := range messages {
		var err error
		if out, err = appendFrame(out, frameMessage, encode, m); err != nil {
			return err
		}
		if len(out) < chunkSize && i < len(messages)-1 {
			continue
		}
		for chunk := range slices.Chunk(out, chunkSize) {
			if _, err := w.tls.Write(chunk); err != nil {
				return cut(err)
			}
			if err := w.socket.drain(); err != nil {
				return cut(err)
			}
		}
		out = out[:0]
	}
	giveBack(buffer, out)
	return nil
}

// trySend writes messages if that waits for nobody: neither for others who write, nor for
// the peer. It says whether it did.
func trySend[M any](w *wire, encode encoder[M], messages ...M) (bool, error) {
	if !w.writing.TryLock() {
		return false, nil
	}
	defer w.writing.Unlock()
	if w.silent.Load() {
		return false, errEnded
	}
	if !w.socket.idle() {
		return false, nil
	}
	buffer := buffers.Get().(*[]byte)
	out := *buffer
	for _, m := range messages {
		var err error
		if out, err = appendFrame(out, frameMessage, encode, m); err != nil || len(out) > chunkSize {
			return false, err
		}
	}
	_, err := w.tls.Write(out) // which takes a copy
	giveBack(buffer, out)
	if err != nil {
		return false, cut(err)
	}
	return true, nil
}

func appendFrame[M any](out []byte, kind byte, encode encoder[M], m M) ([]byte, error) {
	at := len(out)
	out, err := encode(append(out, 0, 0, 0, 0), m)
	if err != nil {
		return nil, fmt.Errorf("encode a message: %w", err)
	}
	size := len(out) - at - headerSize
	if size > control.MessageMax {
		return nil, dove.Errorf(dove.TooLarge, "a message has %d bytes, at most %d are allowed", size, control.MessageMax)
	}
	binary.BigEndian.PutUint32(out[at:], uint32(kind)<<24|uint32(size))
	return out, nil
}

func appendProto(b []byte, m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend(b, m)
}

// admit tells who dialled that the session is open.
func (w *wire) admit() error {
	_, err := w.tls.Write([]byte{frameAdmitted, 0, 0, 0})
	return err
}

// admitted waits for that.
func (w *wire) admitted() error {
	kind, body, err := w.next()
	switch {
	case err != nil:
		return cut(err)
	case kind == frameEnd:
		if err := ending(body); err != io.EOF {
			return err
		}
		return errEnded
	case kind != frameAdmitted:
		return dove.Errorf(dove.Unavailable, "what answers is no DPC member")
	}
	return nil
}

// farewell tells the peer why there will be no more messages, nil for an end in
// order. Who reads goes on.
func (w *wire) farewell(reason error) error {
	w.silent.Store(true)
	w.writing.Lock()
	defer w.writing.Unlock()
	refusal := &controlpb.Refusal{}
	if reason != nil {
		e := told(reason)
		refusal.Kind, refusal.Message = uint32(e.Kind), strings.ToValidUTF8(e.Message[:min(len(e.Message), reasonMax)], "")
	}
	out, err := appendFrame(nil, frameEnd, appendProto, proto.Message(refusal))
	if err != nil {
		return err
	}
	if _, err := w.tls.Write(out); err != nil {
		return err
	}
	return errors.Join(w.tls.CloseWrite(), w.socket.drain())
}

// stop has recv fail, now and later.
func (w *wire) stop() {
	w.deaf.Store(true)
	_ = w.socket.SetReadDeadline(time.Unix(1, 0))
}

// end ends the session for a reason and closes the connection, within endGrace.
func (w *wire) end(reason error) {
	late := time.AfterFunc(endGrace, func() { _ = w.socket.Close() })
	defer late.Stop()
	defer w.socket.Close()
	w.stop() // who reads leaves
	if w.farewell(reason) != nil {
		return
	}
	// What the peer has sent and nobody will read must be read, or the kernel
	// tells it of that rather than why.
	w.reading.Lock()
	defer w.reading.Unlock()
	if half, ok := w.socket.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = w.socket.SetReadDeadline(time.Time{})
		_, _ = io.Copy(io.Discard, w.socket.Conn)
	}
}

var errEnded = dove.Errorf(dove.Unavailable, "the session is over")

// cut is the error of a connection that broke.
func cut(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // its last frame is missing
	}
	if _, ok := errors.AsType[*dove.Error](err); ok {
		return err
	}
	return dove.Errorf(dove.Unavailable, "the session was cut: %v", err)
}

// told is what the peer may know of an error.
func told(err error) *dove.Error {
	if e, ok := errors.AsType[*dove.Error](err); ok {
		return &dove.Error{Kind: e.Kind, Message: e.Error()}
	}
	if errors.Is(err, context.Canceled) {
		return dove.Errorf(dove.Unavailable, "the session was ended")
	}
	return dove.Errorf(dove.Internal, "the member failed: its log says why")
}
