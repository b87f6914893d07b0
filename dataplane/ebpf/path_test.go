package ebpf

import (
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dove.network/dataplane"
	"dove.network/dove"
)

// BenchmarkPath measures the CPU time of one thread, bound to one CPU, that
// sends a datagram from one guest to another and receives it there: the kernel
// goes through the whole path within the sending call. Over a switch on each of
// two hosts, and over one wire between the guests. The two take turns, so that
// others on the machine disturb both alike: what counts is the ratio.
func BenchmarkPath(b *testing.B) {
	paths := benchPaths(b)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one1 unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		b.Fatal(err)
	}
	one1.Set(runtime.NumCPU() - 1)
	if err := unix.SchedSetaffinity(0, &one1); err != nil {
		b.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, &before)
	for b.Loop() {
		for _, p := range paths {
			p.run(b, 2000)
		}
	}
	for _, p := range paths {
		b.ReportMetric(median(p.took), "ns-"+p.unit())
	}
	for _, p := range paths[1:] {
		ratios := make([]float64, len(p.took))
		for i := range ratios {
			ratios[i] = p.took[i] / paths[0].took[i]
		}
		b.ReportMetric(median(ratios), "x-"+p.unit())
	}
}

// benchPaths builds one wire, and two guests' paths over two hosts and over one.
func benchPaths(b *testing.B) []*path {
	hosts := newHosts(b, 2)
	where := map[byte]netip.Addr{1: hosts[0].vtep, 2: hosts[1].vtep, 3: hosts[0].vtep}
	table := allowing(allowed("all", dove.ProtocolUDP, 0, 65535))
	for _, h := range hosts {
		h.answers = everyone(where, table)
	}
	one, two, three := hosts[0].plug(b, 1, dataplane.Veth), hosts[1].plug(b, 2, dataplane.Veth), hosts[0].plug(b, 3, dataplane.Veth)
	wireA, wireB := newNamespace(b, "a"), newNamespace(b, "b")
	wireA.ip(b, "link add eth0 type veth peer name eth0 netns "+wireB.name)
	for i, n := range []*namespace{wireA, wireB} {
		n.ip(b, "link set eth0 mtu 1450 up")
		n.ip(b, "addr add "+netip.PrefixFrom(guestAddr4(byte(i+1)), 24).String()+" dev eth0")
	}
	wireB.awaitUp(b, "eth0")

	return []*path{
		newPath(b, "bare", wireA, wireB, guestAddr4(2)),
		newPath(b, "two hosts", one.namespace, two.namespace, guestAddr4(2)),
		newPath(b, "one host", one.namespace, three.namespace, guestAddr4(3)),
	}
}

// path is a socket in each of two namespaces.
type path struct {
	name     string
	from, to int
	took     []float64 // ns of CPU time a datagram, by run
}

func (p *path) unit() string {
	return map[string]string{"bare": "bare", "two hosts": "two", "one host": "local"}[p.name]
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func newPath(b *testing.B, name string, from, to *namespace, addr netip.Addr) *path {
	p := &path{name: name}
	open := func(n *namespace, fd *int) {
		err := n.do(func() (err error) {
			*fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			return err
		})
		if err == nil {
			err = unix.SetsockoptTimeval(*fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
		}
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { unix.Close(*fd) })
	}
	open(from, &p.from)
	open(to, &p.to)
	at := &unix.SockaddrInet4{Port: 5000, Addr: addr.As4()}
	if err := unix.Bind(p.to, at); err != nil {
		b.Fatal(err)
	}
	if err := unix.Connect(p.from, at); err != nil {
		b.Fatal(err)
	}
	p.run(b, 100)
	p.took = nil
	return p
}

func (p *path) run(b *testing.B, n int) {
	payload, buffer := make([]byte, 64), make([]byte, 128)
	began := cpuTime(b)
	for range n {
		if _, err := unix.Write(p.from, payload); err != nil {
			b.Fatalf("%s: send: %v", p.name, err)
		}
		if _, err := unix.Read(p.to, buffer); err != nil {
			b.Fatalf("%s: receive: %v", p.name, err)
		}
	}
	p.took = append(p.took, float64(cpuTime(b)-began)/float64(n))
}

func cpuTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}
