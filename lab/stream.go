package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Stream is numbered traffic that a guest sends and another echoes.
type Stream struct {
	From, To *Guest
	Name     string

	sent   atomic.Int64
	echoed atomic.Int64
	last   atomic.Int64 // when the last echo came, Unix nanoseconds
	gap    atomic.Int64 // longest time between two echoes, ns
	stop   context.CancelFunc
	sender chan struct{} // closed when nothing more is sent
	conn   net.Conn
	tcp    *net.TCPConn
	wg     sync.WaitGroup
	mu     sync.Mutex
	fault  error
}

// Tally is what became of a stream.
type Tally struct {
	Sent, Echoed int64
	LastEcho     time.Time
	Gap          time.Duration // longest time between two echoes
	Retransmits  int
	Err          error
}

// StreamTCP opens a connection and sends a numbered line every interval.
func (g *Guest) StreamTCP(ctx context.Context, to *Guest, addr netip.AddrPort, every time.Duration) (*Stream, error) {
	open, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	conn, who, err := g.ConnectTCP(open, addr)
	if err != nil {
		return nil, err
	}
	if who != to.Name() {
		return nil, errors.Join(fmt.Errorf("%s answered instead of %s", who, to.Name()), conn.Close())
	}
	s := newStream(g, to, fmt.Sprintf("tcp/%d", addr.Port()), conn)
	s.tcp = conn
	r := bufio.NewScanner(conn)
	s.wg.Go(func() {
		for want := int64(0); r.Scan(); want++ {
			if r.Text() != fmt.Sprint(want) {
				s.fail(fmt.Errorf("expected number %d, got %q", want, r.Text()))
				return
			}
			s.heard()
		}
	})
	s.run(ctx, every, "%d\n")
	return s, nil
}

// StreamUDP sends a numbered datagram every interval.
func (g *Guest) StreamUDP(ctx context.Context, to *Guest, addr netip.AddrPort, every time.Duration) (*Stream, error) {
	conn, err := g.ns.DialContext(ctx, "udp", addr.String())
	if err != nil {
		return nil, err
	}
	s := newStream(g, to, fmt.Sprintf("udp/%d", addr.Port()), conn)
	s.wg.Go(func() {
		seen := map[string]bool{}
		for buf := make([]byte, 2048); ; {
			n, err := conn.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && !seen[string(buf[:n])] {
				seen[string(buf[:n])] = true
				s.heard()
			}
		}
	})
	s.run(ctx, every, g.Name()+" %d")
	return s, nil
}

func newStream(from, to *Guest, name string, conn net.Conn) *Stream {
	return &Stream{From: from, To: to, Name: name, conn: conn}
}

func (s *Stream) run(ctx context.Context, every time.Duration, format string) {
	ctx, s.stop = context.WithCancel(ctx)
	s.sender = make(chan struct{})
	s.wg.Go(func() {
		defer close(s.sender)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			// Counted before it is sent: its echo may be back before the write returns.
			if _, err := fmt.Fprintf(s.conn, format, s.sent.Add(1)-1); err != nil {
				s.fail(err)
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

func (s *Stream) heard() {
	now := time.Now().UnixNano()
	if last := s.last.Swap(now); s.echoed.Add(1) > 1 {
		s.gap.Store(max(s.gap.Load(), now-last))
	}
}

func (s *Stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = errors.Join(s.fault, err)
}

// Tally reads the counts.
func (s *Stream) Tally() Tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := Tally{Sent: s.sent.Load(), Echoed: s.echoed.Load(), LastEcho: time.Unix(0, s.last.Load()),
		Gap: time.Duration(s.gap.Load()), Err: s.fault}
	if s.tcp != nil {
		t.Retransmits, _ = retransmits(s.tcp)
	}
	return t
}

// Finish stops sending, gives echoes under way up to a second to arrive, and
// closes the stream.
func (s *Stream) Finish() Tally {
	s.stop()
	<-s.sender
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline) && s.echoed.Load() < s.sent.Load(); {
		time.Sleep(5 * time.Millisecond)
	}
	t := s.Tally()
	_ = s.conn.Close()
	s.wg.Wait()
	return t
}

// Abort ends the stream at once, whatever is still under way.
func (s *Stream) Abort() {
	s.stop()
	_ = s.conn.Close()
	s.wg.Wait()
}
