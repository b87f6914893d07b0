package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"dove.network/lab/bench"
	"golang.org/x/sys/unix"
)

const (
	coldBatch = 15                   // addresses that the guests get at once: an endpoint has at most 16
	firstPort = 7000                 // of the server for first packets
	firstWait = time.Second          // for an answer; a try without one took so long
	firstGap  = 2 * time.Millisecond // between tries: a port's misses are limited, and this is not about that
)

// firstPackets returns the median and the 99th percentile of the time, us, from
// the first packet ever between two addresses to the answer. Each try has two
// addresses of its own, so both guests ask for the other's MAC address, and where there are
// dswitches both hosts ask the DPC about the other's address. The guests sleep until a
// packet comes, as guests do.
func firstPackets(ctx context.Context, s *subject, n length) ([]float64, error) {
	stop, err := s.guests[1].echo(firstPort)
	if err != nil {
		return nil, err
	}
	defer stop()
	var took []float64
	for range n.batches {
		if err := s.renumber(ctx); err != nil {
			return nil, err
		}
		before, err := s.known(ctx)
		if err != nil {
			return nil, err
		}
		for i := range coldBatch {
			d, err := s.guests[0].first(s.addrs[0][i], netip.AddrPortFrom(s.addrs[1][i], firstPort))
			if err := errors.Join(err, ctx.Err()); err != nil {
				return nil, err
			}
			took = append(took, float64(d.Nanoseconds())/1000)
			time.Sleep(firstGap)
		}
		after, err := s.known(ctx)
		if err != nil {
			return nil, err
		}
		for i := range after {
			if s.held != nil && after[i]-before[i] != coldBatch {
				return nil, fmt.Errorf("host %d held %d addresses before %d first packets and %d after: they were not cold", i+1, before[i], coldBatch, after[i])
			}
		}
	}
	return []float64{bench.Percentile(took, 50), bench.Percentile(took, 99)}, nil
}

func (s *subject) known(ctx context.Context) ([2]int, error) {
	if s.held == nil {
		return [2]int{}, nil
	}
	return s.held(ctx)
}

// renumber gives both guests addresses that nobody has used, in place of those
// of the last time.
func (s *subject) renumber(ctx context.Context) error {
	var next [2][]netip.Addr
	for i := range next {
		for j := range coldBatch {
			n := s.cold + j
			next[i] = append(next[i], netip.AddrFrom4([4]byte{10, 0, byte(1 + 2*(n/250) + i), byte(1 + n%250)}))
		}
	}
	s.cold += coldBatch
	for i, g := range s.guests {
		var lines []string
		for _, a := range s.addrs[i] {
			lines = append(lines, fmt.Sprintf("addr del %s/%d dev eth0", a, guestBits))
		}
		if err := g.IP(append(lines, "neigh flush dev eth0")...); err != nil {
			return err
		}
	}
	if s.entitle != nil {
		if err := s.entitle(ctx, next); err != nil {
			return err
		}
	}
	for i, g := range s.guests {
		var lines []string
		for _, a := range next[i] {
			lines = append(lines, fmt.Sprintf("addr add %s/%d dev eth0", a, guestBits))
		}
		if err := g.IP(lines...); err != nil {
			return err
		}
	}
	s.addrs = next
	return nil
}

// udpSocket makes a socket of the namespace that waits at most for wait.
func (n *Namespace) udpSocket(bound netip.AddrPort, wait time.Duration) (fd int, err error) {
	err = n.Do(func() error {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		limit := unix.NsecToTimeval(wait.Nanoseconds())
		return errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
			unix.Bind(fd, &unix.SockaddrInet4{Addr: bound.Addr().As4(), Port: int(bound.Port())}))
	})
	return fd, err
}

// first sends one datagram and returns when its answer came, by system calls
// alone: Go's poller would add its own waking.
func (n *Namespace) first(from netip.Addr, to netip.AddrPort) (time.Duration, error) {
	fd, err := n.udpSocket(netip.AddrPortFrom(from, 0), firstWait)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	buffer := make([]byte, 64)
	began := time.Now()
	if err := unix.Sendto(fd, []byte("first"), 0, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
		return 0, err
	}
	for {
		_, _, err := unix.Recvfrom(fd, buffer, 0)
		took := time.Since(began)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN) && took < firstWait:
		case err == nil, errors.Is(err, unix.EAGAIN):
			return took, nil
		default:
			return 0, err
		}
	}
}

// echo answers every datagram to a port of the namespace, from the address that
// was asked, until the returned function is called.
func (n *Namespace) echo(port uint16) (stop func(), err error) {
	fd, err := n.udpSocket(netip.AddrPortFrom(netip.IPv4Unspecified(), port), 50*time.Millisecond)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	var stopped atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		data, control := make([]byte, 2048), make([]byte, 128)
		for !stopped.Load() {
			size, more, _, from, err := unix.Recvmsg(fd, data, control, 0)
			if err != nil {
				continue // nobody asked for a while, or an ICMP error about an earlier answer
			}
			// What says by which address it came says by which it goes.
			_ = unix.Sendmsg(fd, slices.Clone(data[:size]), control[:more], from, 0)
		}
	}()
	return func() {
		stopped.Store(true)
		<-done
		_ = unix.Close(fd)
	}, nil
}
