package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	connectPort    = 5202
	connectWorkers = 8
	connectWait    = time.Second // for one connection and its byte
	connectQuick   = 200 * time.Millisecond
)

// connections returns how many TCP connections a second can be opened, used for
// a byte each way and reset, by eight workers at once. Both ends wait in system
// calls, on threads of their own: with the runtime's sockets, two thirds of the time
// were the runtime's.
func connections(ctx context.Context, s *subject, n length) ([]float64, error) {
	at := netip.AddrPortFrom(benchGuests[1], connectPort)
	listener, err := listenTCP(s.guests[1], at)
	if err != nil {
		return nil, err
	}
	// Who comes back from a system call needs one of these, as in newRelay.
	before := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(before + 2*connectWorkers)
	defer runtime.GOMAXPROCS(before)
	var serving, working sync.WaitGroup
	for range connectWorkers {
		serving.Go(func() { serveBytes(listener) })
	}
	lasts := time.Duration(n.seconds) * time.Second
	if n.seconds == 0 {
		lasts = connectQuick
	}
	var opened, failed atomic.Int64
	var last atomic.Pointer[error]
	end := time.Now().Add(lasts)
	for range connectWorkers {
		working.Go(func() {
			err := s.guests[0].Do(func() error { // sockets are made on this thread, in the namespace
				for time.Now().Before(end) && ctx.Err() == nil {
					if err := openOnce(at); err != nil {
						failed.Add(1)
						last.Store(&err)
						continue
					}
					opened.Add(1)
				}
				return nil
			})
			if err != nil {
				last.Store(&err)
			}
		})
	}
	working.Wait()
	err = unix.Shutdown(listener, unix.SHUT_RDWR) // ends those who serve
	serving.Wait()
	err = errors.Join(err, unix.Close(listener))
	if opened.Load() == 0 || failed.Load() > opened.Load()/100 {
		cause := error(nil)
		if p := last.Load(); p != nil {
			cause = *p
		}
		return nil, errors.Join(err, fmt.Errorf("%d connections opened, %d failed: %w", opened.Load(), failed.Load(), cause))
	}
	return []float64{float64(opened.Load()) / lasts.Seconds()}, err
}

// listenTCP returns a listening socket in a namespace.
func listenTCP(ns *Namespace, at netip.AddrPort) (fd int, err error) {
	err = ns.Do(func() error {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
		}
		if err == nil {
			err = unix.Listen(fd, unix.SOMAXCONN)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("listen on %s: %w", at, err), unix.Close(fd))
		}
		return nil
	})
	return fd, err
}

// serveBytes gives each connection's bytes back until its client resets it, one
// connection after the other, until the listener is shut down.
func serveBytes(listener int) {
	b := make([]byte, 16)
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED):
			continue
		case err != nil:
			return
		}
		for {
			n, err := unix.Read(fd, b)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || n == 0 {
				break
			}
			if _, err := unix.Write(fd, b[:n]); err != nil {
				break
			}
		}
		_ = unix.Close(fd)
	}
}

// openOnce opens a connection, sends a byte, waits for it to come back, and
// resets the connection.
func openOnce(at netip.AddrPort) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	wait := unix.NsecToTimeval(connectWait.Nanoseconds())
	err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
	}
	b := []byte{1}
	if err == nil {
		_, err = unix.Write(fd, b)
	}
	if err == nil {
		var n int
		if n, err = unix.Read(fd, b); err == nil && n != 1 {
			err = errors.New("the connection ended before its byte came back")
		}
	}
	return errors.Join(err, unix.Close(fd))
}
