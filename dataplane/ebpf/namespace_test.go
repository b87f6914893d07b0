package ebpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/privtest"
)

var namespaces atomic.Int32

// namespace is a network namespace with a thread of its own.
type namespace struct {
	name string
	work chan func()
}

// newNamespace makes one that ends with the test.
func newNamespace(t testing.TB, what string) *namespace {
	t.Helper()
	n := &namespace{fmt.Sprintf("dswtest-%d-%d-%s", os.Getpid(), namespaces.Add(1), what), make(chan func())}
	run(t, "ip", "netns", "add", n.name)
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		f, err := os.Open("/run/netns/" + n.name)
		if err == nil {
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
			f.Close()
		}
		ready <- err
		for fn := range n.work {
			fn()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(n.work)
		run(t, "ip", "netns", "del", n.name)
	})
	n.ip(t, "link set lo up")
	return n
}

// do runs fn in the namespace and returns what it returns.
func (n *namespace) do(fn func() error) error {
	done := make(chan error)
	n.work <- func() { done <- fn() }
	return <-done
}

// allowIPv6 lets a device have IPv6 addresses, also where new ones are not.
func (n *namespace) allowIPv6(t testing.TB, device string) {
	t.Helper()
	err := n.do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/"+device+"/disable_ipv6", []byte("0"), 0) })
	if err != nil {
		t.Fatal(err)
	}
}

func (n *namespace) ip(t testing.TB, args string) {
	t.Helper()
	run(t, "ip", append([]string{"-n", n.name}, strings.Fields(args)...)...)
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// host is a namespace with a switch and an agent that answers misses from a
// fixed world.
type host struct {
	*namespace
	vtep     netip.Addr
	mtu      int        // of guests
	fabric   *namespace // with a bridge of that name, nil between two
	options  Options    // of its switch, beside where it works
	sw       *Switch
	pins     string
	answers  func(dataplane.Miss) []dataplane.Op
	ports    dataplane.PortID
	answered atomic.Int32
	held     chan dataplane.Miss // what misses goes here
	keeps    bool                // the tap's descriptor outlives the switch
	tap      *os.File            // of it
	ended    chan struct{}
}

const (
	testVNI    dove.VNI = 4711
	testDomain uint32   = 5
)

func testPinDir(t testing.TB, name string) string {
	t.Helper()
	const root = "/sys/fs/bpf"
	if ok, err := onBPFFS(root); err != nil || !ok {
		run(t, "mount", "-t", "bpf", "bpf", root)
	}
	dir := filepath.Join(root, name)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// newHosts makes n hosts on one underlay: a wire between two, and for more a
// bridge in a namespace of its own.
func newHosts(t testing.TB, n int) []*host {
	t.Helper()
	return newHostsOver(t, underlays["IPv4"], n, Options{})
}

// underlays are the networks that hosts may be on.
var underlays = map[string]netip.Prefix{"IPv4": netip.MustParsePrefix("192.0.2.0/24"), "IPv6": netip.MustParsePrefix("2001:db8::/64")}

// overEach runs a test on two hosts over each underlay.
func overEach(t *testing.T, run func(t *testing.T, hosts []*host)) {
	privtest.Require(t)
	for name, prefix := range underlays {
		t.Run(name, func(t *testing.T) { run(t, newHostsOver(t, prefix, 2, Options{})) })
	}
}

// numbered is an address of a prefix by its last byte.
func numbered(p netip.Prefix, last byte) netip.Addr {
	a := p.Addr().AsSlice()
	a[len(a)-1] = last
	addr, _ := netip.AddrFromSlice(a)
	return addr
}

func newHostsOver(t testing.TB, underlay netip.Prefix, n int, o Options) []*host {
	t.Helper()
	privtest.Require(t)
	var hosts []*host
	for i := range n {
		h := &host{namespace: newNamespace(t, fmt.Sprint("h", i+1)), vtep: numbered(underlay, byte(i+1)), options: o}
		h.mtu = 1500 - packet.OverlaySize(h.vtep)
		h.pins = testPinDir(t, h.name)
		hosts = append(hosts, h)
	}
	if n == 2 {
		hosts[0].ip(t, fmt.Sprintf("link add under type veth peer name under netns %s", hosts[1].name))
	} else {
		fabric := newNamespace(t, "fabric")
		fabric.ip(t, "link add name fabric type bridge")
		fabric.ip(t, "link set dev fabric up")
		for i, h := range hosts {
			h.fabric = fabric
			h.ip(t, fmt.Sprintf("link add under type veth peer name u%d netns %s", i, fabric.name))
			fabric.ip(t, fmt.Sprintf("link set u%d master fabric up", i))
		}
	}
	for _, h := range hosts {
		nodad := ""
		if h.vtep.Is6() {
			nodad = " nodad"
			h.allowIPv6(t, "under")
		}
		h.ip(t, fmt.Sprintf("addr add %v/%d dev under%s", h.vtep, underlay.Bits(), nodad))
		h.ip(t, "link set under up")
	}
	for _, h := range hosts {
		h.open(t)
		t.Cleanup(func() {
			if err := h.do(h.sw.Remove); err != nil {
				t.Errorf("remove the switch of %s: %v", h.name, err)
			}
			<-h.ended
		})
		ops := []dataplane.Op{dataplane.SetNetwork{Network: dataplane.Network{VNI: testVNI, Domain: testDomain, MTU: uint16(h.mtu)}}}
		for _, o := range hosts {
			if o != h {
				ops = append(ops, dataplane.SetVTEP{Addr: o.vtep})
			}
		}
		h.apply(t, ops...)
	}
	return hosts
}

func (h *host) open(t testing.TB) {
	t.Helper()
	err := h.do(func() (err error) {
		o := h.options
		o.Config, o.PinDir, o.Kept = dataplane.Config{VTEP: h.vtep, Underlay: "under"}, h.pins, h.tap
		if h.keeps {
			h.tap, o.Keep = nil, func(f *os.File) { h.tap = duplicate(t, f) }
		}
		h.sw, err = Open(o)
		return err
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	h.ended = make(chan struct{})
	go func(sw *Switch) {
		defer close(h.ended)
		var late sync.WaitGroup
		defer late.Wait()
		misses := make(chan dataplane.Miss, 1024)
		late.Go(func() {
			defer close(misses)
			sw.Misses(func(batch []dataplane.Miss) {
				for _, m := range batch {
					misses <- m
				}
			})
		})
		for m := range misses {
			h.answered.Add(1)
			if m.Want == dataplane.WantFirst {
				late.Go(func() {
					time.Sleep(50 * time.Millisecond) // as the agent does, which nothing tells of it either
					if err := sw.Inject(m); err != nil && !errors.Is(err, os.ErrClosed) {
						t.Errorf("%s: %v", h.name, err)
					}
				})
				continue
			}
			if h.held != nil {
				h.held <- m
				continue
			}
			ops := h.answers(m)
			if ops == nil {
				sw.Discard(m, dataplane.HoldLimit)
				continue
			}
			if err := h.do(func() error { return sw.Apply(ops) }); err != nil {
				t.Errorf("%s: answer a miss: %v", h.name, err)
			}
			if err := sw.Inject(m); err != nil && !errors.Is(err, os.ErrClosed) { // a packet held by who is closed is lost
				t.Errorf("%s: %v", h.name, err)
			}
		}
	}(h.sw)
}

// duplicate makes a second descriptor of a tap, as a service manager keeps one.
func duplicate(t testing.TB, f *os.File) *os.File {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var twin int
	err = errors.Join(raw.Control(func(fd uintptr) { twin, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }), err)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(twin), f.Name())
}

func (h *host) apply(t testing.TB, ops ...dataplane.Op) {
	t.Helper()
	if err := h.do(func() error { return h.sw.Apply(ops) }); err != nil {
		t.Fatalf("%s: %v", h.name, err)
	}
}

// count returns how many packets a reason and rule dropped, at any port.
func (h *host) count(t testing.TB, r dataplane.Reason, rule string) (packets uint64) {
	t.Helper()
	counts, err := h.sw.Counts()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		if c.Reason == r && c.Rule == rule {
			packets += c.Packets
		}
	}
	return packets
}

// guest is an endpoint in a namespace of its own.
type guest struct {
	*namespace
	host   *host
	number byte
	port   dataplane.Port
}

func guestMAC(n byte) dove.MAC       { return dove.MAC{2, 0, 0, 0, 1, n} }
func guestAddr4(n byte) netip.Addr   { return netip.AddrFrom4([4]byte{10, 0, 0, n}) }
func guestAddr6(n byte) netip.Addr   { return netip.AddrFrom16([16]byte{0: 0xfd, 15: n}) }
func guestClass(n byte) dove.Class   { return dove.Class(100 + uint16(n)) }
func guestAddrs(n byte) []netip.Addr { return []netip.Addr{guestAddr4(n), guestAddr6(n)} }

// plug makes a guest and opens its port.
func (h *host) plug(t testing.TB, number byte, kind dataplane.DeviceKind) *guest {
	t.Helper()
	g := &guest{namespace: newNamespace(t, fmt.Sprint("g", number)), host: h, number: number}
	device := fmt.Sprint("p", number)
	if kind == dataplane.Veth {
		g.ip(t, fmt.Sprintf("link add eth0 type veth peer name %s netns %s", device, h.name))
	} else {
		relayTaps(t, h.namespace, device, g.namespace, "eth0")
	}
	g.configure(t)
	h.openPort(t, g, device, kind, 0)
	h.awaitUp(t, device)
	g.awaitUp(t, "eth0")
	return g
}

// configure brings the guest's device up with its addresses.
func (g *guest) configure(t testing.TB) {
	t.Helper()
	g.allowIPv6(t, "eth0")
	g.ip(t, fmt.Sprintf("link set eth0 address %v", guestMAC(g.number)))
	g.ip(t, fmt.Sprintf("link set eth0 mtu %d up", g.host.mtu))
	g.ip(t, fmt.Sprintf("addr add %v/24 dev eth0", guestAddr4(g.number)))
	g.ip(t, fmt.Sprintf("addr add %v/64 dev eth0 nodad", guestAddr6(g.number)))
}

// openPort opens the guest's port on a device of the host.
func (h *host) openPort(t testing.TB, g *guest, device string, kind dataplane.DeviceKind, vlan uint16) {
	t.Helper()
	var l netlink.Link
	if err := h.do(func() (err error) { l, err = netlink.LinkByName(device); return err }); err != nil {
		t.Fatal(err)
	}
	h.ports++
	g.port = dataplane.Port{
		ID: h.ports, UID: dove.UID(g.number), VNI: testVNI, MAC: guestMAC(g.number),
		Device: device, Ifindex: l.Attrs().Index, Kind: kind, VLAN: vlan,
	}
	for _, a := range guestAddrs(g.number) {
		g.port.Addresses = append(g.port.Addresses, dataplane.Address{Addr: a, Class: guestClass(g.number)})
	}
	h.apply(t, dataplane.SetPort{Port: g.port})
}

// awaitUp waits until the kernel has noticed that a device is up: before, it
// drops what is sent.
func (n *namespace) awaitUp(t testing.TB, device string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var l netlink.Link
		if err := n.do(func() (err error) { l, err = netlink.LinkByName(device); return err }); err != nil {
			t.Fatal(err)
		}
		if state := l.Attrs().OperState; state == netlink.OperUp || state == netlink.OperUnknown {
			return
		}
	}
	t.Fatalf("device %s of %s does not come up", device, n.name)
}

// relayTaps joins two taps as a virtual machine's monitor would: whole frames
// with their virtio_net_hdr, both ways.
func relayTaps(t testing.TB, a *namespace, nameA string, b *namespace, nameB string) {
	t.Helper()
	open := func(n *namespace, name string) *os.File {
		var f *os.File
		err := n.do(func() (err error) { f, _, err = openUp(name); return err })
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	fa, fb := open(a, nameA), open(b, nameB)
	pump := func(from, to *os.File) {
		buffer := make([]byte, 1<<17)
		for {
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			to.Write(buffer[:n]) // a guest that is down loses packets
		}
	}
	go pump(fa, fb)
	go pump(fb, fa)
	t.Cleanup(func() { fa.Close(); fb.Close() })
}

// listen serves TCP echo in the guest until the test ends.
func (g *guest) listen(t testing.TB, addr netip.AddrPort) {
	t.Helper()
	var l net.Listener
	if err := g.do(func() (err error) { l, err = net.Listen("tcp", addr.String()); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buffer := make([]byte, 1<<16)
				for {
					n, err := c.Read(buffer)
					if err != nil {
						return
					}
					if _, err := c.Write(buffer[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
}
