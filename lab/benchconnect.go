package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	connectPort    = 5202
	connectWorkers = 8
	connectWait    = time.Second // for one connection and its byte
	connectQuick   = 200 * time.Millisecond
)

// connections returns how many TCP connections a second can be opened, used for
// a byte each way and reset, by eight workers at once.
func connections(ctx context.Context, s *subject, n length) ([]float64, error) {
	at := netip.AddrPortFrom(benchGuests[1], connectPort).String()
	var server net.Listener
	if err := s.guests[1].Do(func() (err error) { server, err = net.Listen("tcp", at); return err }); err != nil {
		return nil, err
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return // closed
			}
			serving.Go(func() {
				_, _ = io.Copy(c, c) // until the client resets it
				_ = c.Close()
			})
		}
	})
	lasts := time.Duration(n.seconds) * time.Second
	if n.seconds == 0 {
		lasts = connectQuick
	}
	var opened, failed atomic.Int64
	var last atomic.Pointer[error]
	var working sync.WaitGroup
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
	err := server.Close()
	serving.Wait()
	if opened.Load() == 0 || failed.Load() > opened.Load()/100 {
		cause := error(nil)
		if p := last.Load(); p != nil {
			cause = *p
		}
		return nil, errors.Join(err, fmt.Errorf("%d connections opened, %d failed: %w", opened.Load(), failed.Load(), cause))
	}
	return []float64{float64(opened.Load()) / lasts.Seconds()}, err
}

// openOnce opens a connection, sends a byte, waits for it to come back, and
// resets the connection.
func openOnce(at string) error {
	c, err := net.DialTimeout("tcp", at, connectWait)
	if err != nil {
		return err
	}
	b := []byte{1}
	err = c.SetDeadline(time.Now().Add(connectWait))
	if err == nil {
		_, err = c.Write(b)
	}
	if err == nil {
		_, err = c.Read(b)
	}
	return errors.Join(err, c.(*net.TCPConn).SetLinger(0), c.Close())
}
