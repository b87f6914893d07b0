package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"dove.network/lab/bench"
)

var (
	flowsAnswered = bench.Kind{Name: "flows_answered", Unit: "flows", Higher: true}
	oneFlowRate   = bench.Kind{Name: "udp_one_flow_pps", Unit: "packets/s", Higher: true}
	allFlowsRate  = bench.Kind{Name: "udp_all_flows_pps", Unit: "packets/s", Higher: true}
	flowsShare    = bench.Kind{Name: "udp_all_flows_share", Unit: "of one flow", Higher: true}
)

const (
	// FlowsMost is as many flows as a bench can make: so many have the two ends
	// that it gives each.
	FlowsMost      = flowsListeners * flowsSenders
	flowsListeners = 64
	flowsSenders   = 60_000 // ports that datagrams come from
	flowsPort      = 2048   // the first of either

	flowsWindow   = 512 // begun and not yet answered
	flowsPatience = 2 * time.Second
	flowsQuick    = 2000
)

// manyFlows begins as many flows as the shape says, waits for an answer in each,
// and then sends small datagrams for some time in one of them, and for as long in
// all of them at random. It returns how many were answered, the packets/s that
// arrived in one and in all, and the part that the latter is of the former.
func manyFlows(ctx context.Context, s *subject, n length) ([]float64, error) {
	f, err := s.newFlood()
	if err != nil {
		return nil, err
	}
	defer f.close()
	flows := s.flows
	if n.seconds == 0 {
		flows = flowsQuick
	}
	answered, err := f.begin(ctx, flows)
	if err != nil {
		return nil, err
	}
	lasts := max(time.Duration(n.seconds)*time.Second, 200*time.Millisecond)
	r := rand.New(rand.NewPCG(1, uint64(flows)))
	one, err := f.rate(ctx, lasts, func() int { return 0 })
	if err != nil {
		return nil, err
	}
	all, err := f.rate(ctx, lasts, func() int { return r.IntN(flows) })
	if err != nil {
		return nil, err
	}
	return []float64{float64(answered), one, all, all / one}, nil
}

// unanswered has a guest's kernel say nothing of datagrams that no socket wants.
const unanswered = `table ip quiet {
	chain out {
		type filter hook output priority 0;
		icmp type destination-unreachable drop
	}
}
`

// flood sends the datagrams of any number of flows from one raw socket to a few
// listeners.
type flood struct {
	raw       int // in the first guest
	listeners []*net.UDPConn
	listening sync.WaitGroup
	arrived   atomic.Int64 // of those that want no answer
}

// datagram is what flow i sends: a UDP header and 64 bytes, of which the first
// says whether an answer is wanted.
func datagram(b []byte, i int, answer bool) []byte {
	binary.BigEndian.PutUint16(b[0:], uint16(flowsPort+i/flowsListeners))
	binary.BigEndian.PutUint16(b[2:], uint16(flowsPort+i%flowsListeners))
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	b[8] = 0
	if answer {
		b[8] = 1
	}
	return b
}

// newFlood opens the sockets. The first guest has none for the answers but the
// raw one, and must not refuse them.
func (s *subject) newFlood() (_ *flood, err error) {
	f := &flood{raw: -1}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	quiet := s.guests[0].Command(context.Background(), "nft", "-f", "-")
	quiet.Stdin = strings.NewReader(unanswered)
	if err := runCmd(quiet); err != nil {
		return nil, err
	}
	err = s.guests[0].Do(func() (err error) {
		if f.raw, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(f.raw, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
			unix.SetsockoptTimeval(f.raw, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
			unix.Connect(f.raw, &unix.SockaddrInet4{Addr: benchGuests[1].As4()}))
	})
	if err != nil {
		return nil, fmt.Errorf("open a raw socket: %w", err)
	}
	err = s.guests[1].Do(func() error {
		for i := range flowsListeners {
			c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(benchGuests[1], uint16(flowsPort+i))))
			if err != nil {
				return err
			}
			f.listeners = append(f.listeners, c)
		}
		return nil
	})
	for _, c := range f.listeners {
		f.listening.Go(func() { f.listen(c) })
	}
	return f, err
}

func (f *flood) close() {
	for _, c := range f.listeners {
		_ = c.Close()
	}
	f.listening.Wait()
	if f.raw >= 0 {
		_ = unix.Close(f.raw)
	}
}

// listen answers what wants an answer, and counts the others.
func (f *flood) listen(c *net.UDPConn) {
	b := make([]byte, 128)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil || n == 0:
		case b[0] == 1:
			_, _ = c.WriteToUDPAddrPort(b[:n], from)
		default:
			f.arrived.Add(1)
		}
	}
}

// begin begins flows, a window of them at a time, and returns in how many an
// answer came. None gets a second datagram. The very first one finds the way.
func (f *flood) begin(ctx context.Context, flows int) (answered int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, in := make([]byte, 72), make([]byte, 128)
	seen := make([]bool, flows)
	lost, heard := 0, time.Now()
	for sent := 0; answered+lost < flows && ctx.Err() == nil; {
		window := flowsWindow
		if answered == 0 {
			window = 1
		}
		for sent < flows && sent-answered-lost < window {
			if _, err := unix.Write(f.raw, datagram(out, sent, true)); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return 0, fmt.Errorf("begin flow %d: %w", sent, err)
			}
			sent++
		}
		n, err := unix.Read(f.raw, in)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			if time.Since(heard) > flowsPatience {
				lost = sent - answered
			}
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("read an answer: %w", err)
		}
		if n < 20+8 { // it comes with its IP header
			continue
		}
		udp := in[20:]
		i := (int(binary.BigEndian.Uint16(udp[2:]))-flowsPort)*flowsListeners + int(binary.BigEndian.Uint16(udp[0:])) - flowsPort
		if i >= 0 && i < flows && !seen[i] {
			seen[i] = true
			answered++
			heard = time.Now()
		}
	}
	return answered, ctx.Err()
}

// rate returns how many datagrams a second arrive that are sent as fast as can
// be, each of the flow that next says.
func (f *flood) rate(ctx context.Context, lasts time.Duration, next func() int) (float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out := make([]byte, 72)
	before, began := f.arrived.Load(), time.Now()
	for n := 0; n%64 != 0 || time.Since(began) < lasts && ctx.Err() == nil; n++ {
		if _, err := unix.Write(f.raw, datagram(out, next(), false)); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return 0, fmt.Errorf("send in a flow: %w", err)
		}
	}
	arrived, took := f.arrived.Load()-before, time.Since(began)
	if arrived == 0 {
		return 0, errors.Join(ctx.Err(), errors.New("no datagram arrived"))
	}
	return float64(arrived) / took.Seconds(), ctx.Err()
}
