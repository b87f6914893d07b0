package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"dove.network/atonce"
	"dove.network/lobby"
)

// Bounds of what waits for the kernel to take it.
const (
	chunkSize  = 64 << 10 // bytes written at once
	pendingMax = 1 << 20  // bytes; who writes by turns never has as many
)

// errSlow ends a session whose peer has us answer and does not read.
var errSlow = errors.New("the peer reads too slowly")

// socket is a connection whose Write never waits: what the kernel does not take
// at once is kept, and sent by a goroutine that lives as long as there is some.
type socket struct {
	net.Conn
	raw syscall.RawConn // nil if there is none: all is left to the goroutine

	// While others dial in: who reads here has a turn, and not while it waits.
	turns *lobby.Turns
	give  func() // its turn, while it has one

	mu       sync.Mutex
	moved    sync.Cond // when flushing ends
	flushing bool
	pending  []byte // what the goroutine has not taken up
	err      error  // of a write; the last one
	leave    func() bool
}

func newSocket(c net.Conn) *socket {
	s := &socket{Conn: c}
	s.moved.L = &s.mu
	if sc, ok := c.(syscall.Conn); ok {
		s.raw, _ = sc.SyscallConn() // nil with an error
	}
	return s
}

// Read reads as net.Conn does.
func (s *socket) Read(p []byte) (int, error) {
	if s.turns == nil {
		return s.wait(p)
	}
	s.give()
	defer func() { s.give = s.turns.Take(lobby.SourceOf(s.RemoteAddr())) }()
	return s.wait(p)
}

// wait reads what is there, and waits while nothing is.
func (s *socket) wait(p []byte) (n int, err error) {
	if s.raw == nil || len(p) == 0 {
		return s.Conn.Read(p)
	}
	failed := s.raw.Read(func(fd uintptr) bool {
		n, err = atonce.Read(fd, p)
		return err != syscall.EAGAIN
	})
	switch {
	case failed != nil:
		return 0, failed
	case n == 0 && err == nil:
		return 0, io.EOF
	}
	return n, err
}

// Write takes all of p, or fails for good.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := p
	if !s.flushing && s.err == nil {
		n, err := s.try(p)
		rest, s.err = p[n:], err
	}
	if s.err == nil && len(s.pending)+len(rest) > pendingMax {
		s.err = errSlow
	}
	switch {
	case s.err != nil:
		return 0, s.err
	case len(rest) > 0:
		s.pending = append(s.pending, rest...)
		if !s.flushing {
			s.flushing = true
			go s.flush()
		}
	}
	return len(p), nil
}

// try writes what the kernel takes now.
func (s *socket) try(p []byte) (n int, err error) {
	if s.raw == nil {
		return 0, nil
	}
	failed := s.raw.Write(func(fd uintptr) bool {
		for n < len(p) {
			var more int
			if more, err = atonce.Write(fd, p[n:]); err != nil {
				break
			}
			n += more
		}
		return true
	})
	if err == syscall.EAGAIN {
		err = nil
	}
	return n, errors.Join(failed, err)
}

// flush writes what waits, as fast as the peer reads.
func (s *socket) flush() {
	var err error
	for {
		s.mu.Lock()
		p := s.pending
		if s.pending = nil; len(p) == 0 || err != nil {
			s.flushing = false
			s.err = errors.Join(s.err, err, s.Conn.SetWriteDeadline(time.Time{}))
			s.moved.Broadcast()
			s.mu.Unlock()
			break
		}
		s.mu.Unlock()
		for len(p) > 0 && err == nil {
			var n int
			if err = s.Conn.SetWriteDeadline(time.Now().Add(SilenceMax)); err == nil {
				n, err = s.Conn.Write(p[:min(len(p), chunkSize)])
			}
			p = p[n:]
		}
	}
	if err != nil {
		_ = s.Close() // whoever reads must hear of it
	}
}

// within closes the connection when ctx is done. One that is closed before leaves nothing
// of itself with ctx, which may go on for long.
func (s *socket) within(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave = context.AfterFunc(ctx, func() { _ = s.Close() })
}

// Close closes the connection.
func (s *socket) Close() error {
	s.mu.Lock()
	leave := s.leave
	s.mu.Unlock()
	if leave != nil {
		leave()
	}
	return s.Conn.Close()
}

// idle reports whether the kernel has taken everything.
func (s *socket) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.flushing
}

// drain waits until the kernel has taken everything.
func (s *socket) drain() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.flushing {
		s.moved.Wait()
	}
	return s.err
}

// SetWriteDeadline does nothing (net.Conn): Write does not wait, and TLS would put an end to
// what flush has not sent yet.
func (s *socket) SetWriteDeadline(time.Time) error { return nil }
