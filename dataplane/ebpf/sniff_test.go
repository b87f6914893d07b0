package ebpf

import (
	"fmt"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sniffer sees every frame of a device, those that come and those that go.
type sniffer struct {
	where string
	fd    int
	ended chan struct{}

	mu     sync.Mutex
	counts map[string]int    // by what seen calls them
	odd    map[string]string // a frame of each kind that may not be
}

// sniff watches a device until the test ends. seen names the kind of each frame,
// and says whether such a one may be there.
func (n *namespace) sniff(t *testing.T, device string, seen func(frame []byte, outgoing bool) (kind string, may bool)) *sniffer {
	t.Helper()
	s := &sniffer{where: n.name + " " + device, ended: make(chan struct{}), counts: map[string]int{}, odd: map[string]string{}}
	const all = 0x0300 // ETH_P_ALL in network order
	err := n.do(func() error {
		d, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); err != nil { // bound, it begins to see
			return err
		}
		return unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: d.Index, Protocol: all})
	})
	if err == nil {
		err = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	}
	if err == nil {
		err = unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
	}
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); <-s.ended; unix.Close(s.fd) })
	go func() {
		defer close(s.ended)
		frame := make([]byte, 1<<16)
		for {
			select {
			case <-stop:
				return
			default:
			}
			size, from, err := unix.Recvfrom(s.fd, frame, 0)
			if err != nil {
				continue // nothing came; the test ends this
			}
			kind, may := seen(frame[:size], from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING)
			s.mu.Lock()
			s.counts[kind]++
			if !may && len(s.odd) < 8 {
				s.odd[kind] = fmt.Sprintf("%x", frame[:min(size, 128)])
			}
			s.mu.Unlock()
		}
	}()
	return s
}

// count is how many frames of a kind were seen.
func (s *sniffer) count(kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[kind]
}

// check fails the test if a frame was seen that may not be, or if one may have
// been missed.
func (s *sniffer) check(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for kind, frame := range s.odd {
		t.Errorf("%s: %d times %s, such as %s", s.where, s.counts[kind], kind, frame)
	}
	if stats, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err != nil || stats.Drops > 0 {
		t.Errorf("%s: %d frames went by unseen, %v", s.where, stats.Drops, err)
	}
	t.Logf("%s: %v", s.where, maps.Clone(s.counts))
}

// awaitCount waits until as many are counted as should be, and returns how many
// there were after ten seconds at the latest.
func awaitCount(want int, count func() int) int {
	n := count()
	for end := time.Now().Add(10 * time.Second); n < want && time.Now().Before(end); n = count() {
		time.Sleep(2 * time.Millisecond)
	}
	return n
}
