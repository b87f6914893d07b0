package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Sizes of what traffic is made of.
const (
	stampBytes   = 16                    // a number and when it was sent
	datagramSize = 64                    // bytes, of a numbered datagram
	chunkSize    = 4096                  // bytes, of a checked TCP stream
	chunkEvery   = 10 * time.Millisecond // of a checked TCP stream
	bufferSize   = 64 << 20              // bytes, of a receiver's socket: seconds of packets
)

// flow is traffic one way of which nothing may be lost: its sender numbers what
// it sends, its receiver accounts for each number.
type flow struct {
	name   string
	epoch  time.Time             // what all times count from
	size   int                   // bytes of a message
	every  time.Duration         // between two messages, at least
	source *rand.ChaCha8         // of a message's content; nil: it has none
	expect *rand.ChaCha8         // the same again, for the receiver
	conn   [2]net.Conn           // the sender's and the receiver's end
	drops  func() (int64, error) // what the receiver's socket dropped
	stop   chan struct{}

	sent    atomic.Int64
	overdue atomic.Int64 // how late a message was sent at worst, ns
	sending sync.WaitGroup
	reading sync.WaitGroup
	mu      sync.Mutex
	book    ledger
	faults  []error
	stalls  []stall

	dropped int64 // of drops, in the end
	resent  int   // TCP segments, in the end
}

// stall is a message that was long under way.
type stall struct{ sent, took time.Duration }

// pauses are the times when this process did not run, as the machine was busy
// with other work: what was under way then waited for us, not for the network.
type pauses struct {
	stop   chan struct{}
	once   sync.Once
	done   sync.WaitGroup
	pauses []stall // when a pause began, and how long it was
}

const (
	pulse     = 10 * time.Millisecond // between two looks at the clock
	pauseFrom = 5 * pulse             // between two looks, from which on it is a pause
)

func watchPauses(epoch time.Time) *pauses {
	p := &pauses{stop: make(chan struct{})}
	p.done.Go(func() {
		tick := time.NewTicker(pulse)
		defer tick.Stop()
		for last := time.Since(epoch); ; {
			select {
			case <-p.stop:
				return
			case <-tick.C:
			}
			now := time.Since(epoch)
			if now-last > pauseFrom {
				p.pauses = append(p.pauses, stall{last, now - last})
			}
			last = now
		}
	})
	return p
}

// end ends the watch; only then the pauses can be read.
func (p *pauses) end() {
	p.once.Do(func() { close(p.stop) })
	p.done.Wait()
}

// within is how much of a stall fell into pauses.
func (p *pauses) within(s stall) (all time.Duration) {
	for _, pause := range p.pauses {
		if both := min(pause.sent+pause.took, s.sent+s.took) - max(pause.sent, s.sent); both > 0 {
			all += both
		}
	}
	return all
}

// stallLimit is how long a message may be under way.
const stallLimit = time.Second

// begin starts the sender and the receiver.
func (f *flow) begin() {
	f.sending.Go(f.send)
	f.reading.Go(f.read)
}

// send sends at absolute times: who was kept from it catches up.
func (f *flow) send() {
	message := make([]byte, f.size)
	began := time.Now()
	for n := int64(0); ; n++ {
		due := began.Add(time.Duration(n) * f.every)
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		select {
		case <-f.stop:
			return
		default:
		}
		now := time.Now()
		f.overdue.Store(max(f.overdue.Load(), int64(now.Sub(due))))
		binary.BigEndian.PutUint64(message, uint64(n))
		binary.BigEndian.PutUint64(message[8:], uint64(now.Sub(f.epoch)))
		if f.source != nil {
			_, _ = f.source.Read(message[stampBytes:]) // never fails
		}
		f.sent.Store(n + 1)
		if err := f.write(message); err != nil {
			f.failed(fmt.Errorf("send number %d: %w", n, err))
			return
		}
	}
}

// write sends a message. An error that an earlier one met (an ICMP error came
// back) is a fault, and says nothing of this one: it is sent again.
func (f *flow) write(message []byte) error {
	for try := 0; ; try++ {
		_, err := f.conn[0].Write(message)
		if err == nil || f.source != nil || try == 10 || errors.Is(err, net.ErrClosed) {
			return err
		}
		f.failed(err)
	}
}

// read accounts for what arrives until the connection is closed.
func (f *flow) read() {
	want := make([]byte, f.size-stampBytes)
	for message := make([]byte, f.size); ; {
		var got int
		var err error
		if f.source != nil {
			got, err = io.ReadFull(f.conn[1], message)
		} else {
			got, err = f.conn[1].Read(message)
		}
		if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			f.failed(err)
			if f.source != nil {
				return
			}
			continue
		}
		if got != f.size { // a greeting that was long under way
			continue
		}
		now := time.Since(f.epoch)
		n, sent := int64(binary.BigEndian.Uint64(message)), time.Duration(binary.BigEndian.Uint64(message[8:]))
		if f.expect != nil {
			_, _ = f.expect.Read(want)
			if received := f.received(); n != received || !bytes.Equal(message[stampBytes:], want) {
				f.failed(fmt.Errorf("message %d arrived with another content than was sent (its number: %d)", received, n))
				return
			}
		}
		f.mu.Lock()
		f.book.take(n, sent, now)
		if now-sent > stallLimit {
			f.stalls = append(f.stalls, stall{sent, now - sent})
		}
		f.mu.Unlock()
	}
}

func (f *flow) received() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.book.received
}

// missing is how many messages did not come though later ones did.
func (f *flow) missing() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.book.missing)
}

// failed keeps the first faults; one fault tends to be told a thousand times.
func (f *flow) failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.faults) < 5 {
		f.faults = append(f.faults, err)
	}
}

// retransmits is how many segments the sender had to send again, 0 of datagrams.
func (f *flow) retransmits() int {
	conn, ok := f.conn[0].(*net.TCPConn)
	if !ok {
		return 0
	}
	n, err := retransmits(conn)
	if err != nil {
		f.failed(err)
	}
	return n
}

// finish waits for the sender, which was told to stop, and for what is under way.
func (f *flow) finish(end time.Time) {
	if err := f.conn[0].SetWriteDeadline(end); err != nil { // one that stands still
		f.failed(err)
	}
	f.sending.Wait()
	for time.Now().Before(end) && f.received() < f.sent.Load() {
		time.Sleep(5 * time.Millisecond)
	}
}

// close ends a flow that may still run.
func (f *flow) close() error {
	select {
	case <-f.stop:
	default:
		close(f.stop)
	}
	var err error
	for _, c := range f.conn {
		if e := c.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	f.sending.Wait()
	f.reading.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.book.skip(f.sent.Load(), time.Since(f.epoch))
	return err
}

// numbered makes flows of numbered datagrams both ways on one pair of sockets:
// the way back is open only because the way forth is.
func numbered(ctx context.Context, from, to *Guest, port uint16, v6 bool, rate int) ([]*flow, error) {
	return numberedFrom(ctx, from, to, from.Addr(v6), port, rate)
}

// numberedFrom is numbered from another address of a guest.
func numberedFrom(ctx context.Context, from, to *Guest, addr netip.Addr, port uint16, rate int) ([]*flow, error) {
	v6 := addr.Is6()
	a, b := netip.AddrPortFrom(addr, port), netip.AddrPortFrom(to.Addr(v6), port)
	left, err := from.peer(a, b)
	if err != nil {
		return nil, err
	}
	right, err := to.peer(b, a)
	if err != nil {
		return nil, errors.Join(err, left.Close())
	}
	if err := greet(ctx, left, right); err != nil {
		return nil, errors.Join(err, left.Close(), right.Close())
	}
	var flows []*flow
	for _, way := range []struct {
		arrow    string
		from, to *net.UDPConn
		at       *Guest
	}{{"forth", left, right, to}, {"back", right, left, from}} {
		flows = append(flows, &flow{name: "udp " + family(v6) + " " + way.arrow, size: datagramSize, every: time.Second / time.Duration(rate),
			stop: make(chan struct{}), conn: [2]net.Conn{way.from, way.to}, drops: func() (int64, error) { return way.at.dropped(port) }})
	}
	return flows, nil
}

func family(v6 bool) string {
	if v6 {
		return "v6"
	}
	return "v4"
}

// peer opens a UDP socket from one address to another with a large receive buffer.
func (g *Guest) peer(from, to netip.AddrPort) (conn *net.UDPConn, err error) {
	err = g.ns.Do(func() error {
		conn, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(to))
		return err
	})
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		var refused error
		err = raw.Control(func(fd uintptr) {
			refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize)
		})
		err = errors.Join(err, refused)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// greet sends datagrams both ways until both ends have heard each other and
// nothing is under way, so that the flow is known to both hosts.
func greet(ctx context.Context, left, right *net.UDPConn) error {
	var n uint64
	once := func(from, to *net.UDPConn) error {
		n++
		message := binary.BigEndian.AppendUint64(nil, n)
		if _, err := from.Write(message); err != nil {
			return err
		}
		if err := to.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		for got := make([]byte, datagramSize); ; {
			m, err := to.Read(got)
			if err != nil || bytes.Equal(got[:m], message) {
				return err
			}
		}
	}
	err := eventually(ctx, startTimeout, func() error { return errors.Join(once(left, right), once(right, left)) })
	return errors.Join(err, left.SetReadDeadline(time.Time{}), right.SetReadDeadline(time.Time{}))
}

// checked makes a TCP flow with known content, along the connection or against it.
func checked(ctx context.Context, from, to *Guest, port uint16, v6, back bool) (*flow, error) {
	var listener *net.TCPListener
	err := to.ns.Do(func() (err error) {
		listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(to.Addr(v6), port)))
		return err
	})
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	there, err := from.ns.DialContext(ctx, "tcp", listener.Addr().String())
	if err != nil {
		return nil, err
	}
	if err := listener.SetDeadline(time.Now().Add(startTimeout)); err != nil {
		return nil, errors.Join(err, there.Close())
	}
	here, err := listener.Accept()
	if err != nil {
		return nil, errors.Join(err, there.Close())
	}
	f := &flow{name: "tcp " + family(v6) + " forth", size: chunkSize, every: chunkEvery, stop: make(chan struct{}), conn: [2]net.Conn{there, here}}
	if back {
		f.name, f.conn = "tcp "+family(v6)+" back", [2]net.Conn{here, there}
	}
	var seed [32]byte
	copy(seed[:], f.name)
	f.source, f.expect = rand.NewChaCha8(seed), rand.NewChaCha8(seed)
	f.drops = func() (int64, error) { return 0, nil } // TCP sends again
	return f, nil
}
