package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"dove.network/lab/bench"
)

const (
	coldBatch = 15                   // addresses that the guests get at once: an endpoint has at most 16
	firstPort = 7000                 // of the server for first packets
	firstWait = time.Second          // for an answer; a try without one took so long
	firstGap  = 2 * time.Millisecond // between tries: a port's misses are limited, and this is not about that
)

// firstPackets returns the median and the 99th percentile of the time, us, from
// the first packet ever between two addresses to the answer, and the same of a second packet
// a moment later. Each try has two
// addresses of its own, so both guests ask for the other's MAC address, and where there are
// dswitches both hosts ask the DPC about the other's address. The guests sleep until a
// packet comes, as guests do.
func firstPackets(ctx context.Context, s *subject, n length) ([]float64, error) {
	// Both guests keep a processor of Go's to themselves, which nothing is to stop.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 2))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	stop, err := s.guests[1].echo(firstPort)
	if err != nil {
		return nil, err
	}
	defer stop()
	var cold, known []float64
	for range n.batches {
		if err := s.renumber(ctx); err != nil {
			return nil, err
		}
		before, err := s.known(ctx)
		if err != nil {
			return nil, err
		}
		if cold, known, err = s.trips(cold, known); err != nil {
			return nil, err
		}
		after, err := s.known(ctx)
		if err := errors.Join(err, ctx.Err()); err != nil {
			return nil, err
		}
		for i := range after {
			if s.held != nil && after[i]-before[i] != coldBatch {
				return nil, fmt.Errorf("host %d held %d addresses before %d first packets and %d after: they were not cold", i+1, before[i], coldBatch, after[i])
			}
		}
	}
	return []float64{bench.Percentile(cold, 50), bench.Percentile(cold, 99), bench.Percentile(known, 50), bench.Percentile(known, 99)}, nil
}

// trips sends two packets from each of the first guest's addresses, and adds how long they took.
func (s *subject) trips(cold, known []float64) (_, _ []float64, err error) {
	var sockets []int
	defer func() {
		for _, fd := range sockets {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	for i := range coldBatch {
		fd, err := s.guests[0].udpSocket(netip.AddrPortFrom(s.addrs[0][i], 0), firstWait)
		if err != nil {
			return nil, nil, err
		}
		sockets = append(sockets, fd)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: s.addrs[1][i].As4(), Port: firstPort}); err != nil {
			return nil, nil, err
		}
	}
	for _, fd := range sockets {
		for _, took := range []*[]float64{&cold, &known} {
			pause(firstGap)
			d, err := trip(fd)
			if err != nil {
				return nil, nil, err
			}
			*took = append(*took, us(d))
		}
	}
	return cold, known, nil
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

// trip sends one datagram on a connected socket and returns when its answer came.
func trip(fd int) (time.Duration, error) {
	packet := []byte("first")
	began := time.Now()
	if _, err := unheard(unix.SYS_WRITE, fd, unsafe.Pointer(&packet[0]), uintptr(len(packet))); err != nil {
		return 0, err
	}
	for {
		_, err := unheard(unix.SYS_READ, fd, unsafe.Pointer(&packet[0]), uintptr(len(packet)))
		took := time.Since(began)
		switch {
		case err == nil, took >= firstWait:
			return took, nil
		case err != unix.EINTR && err != unix.EAGAIN:
			return 0, err
		}
	}
}

// unheard makes a system call, which may wait, of which Go's scheduler hears nothing. Else it would wake a
// thread every 50 us to watch over the call, on a CPU that is another's while it is measured.
func unheard(trap uintptr, fd int, p unsafe.Pointer, more uintptr) (int, error) {
	n, _, errno := unix.RawSyscall(trap, uintptr(fd), uintptr(p), more)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// pause waits for so long, or until a signal comes.
func pause(d time.Duration) {
	t := unix.NsecToTimespec(d.Nanoseconds())
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}

// echo answers every datagram to a port of the namespace, from the address that
// was asked, until the returned function is called. It has a processor of Go's to itself.
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
		var from unix.RawSockaddrInet4
		data, control := make([]byte, 2048), make([]byte, 128)
		for !stopped.Load() {
			part := unix.Iovec{Base: &data[0], Len: uint64(len(data))}
			m := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&from)), Namelen: unix.SizeofSockaddrInet4, Iov: &part, Iovlen: 1, Control: &control[0], Controllen: uint64(len(control))}
			size, err := unheard(unix.SYS_RECVMSG, fd, unsafe.Pointer(&m), 0)
			if err != nil {
				continue // nobody asked for a while, or an ICMP error about an earlier answer
			}
			part.Len = uint64(size)
			// What says by which address it came says by which it goes.
			_, _ = unheard(unix.SYS_SENDMSG, fd, unsafe.Pointer(&m), 0)
		}
	}()
	return func() {
		stopped.Store(true)
		<-done
		_ = unix.Close(fd)
	}, nil
}
