package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/verdict"
)

// TestMove moves a guest from one host to another and back, under load, and
// expects that nothing is lost: neither with guests of the host that it leaves,
// nor of the one that it goes to, nor of a third.
func TestMove(t *testing.T) {
	for name, kind := range map[string]dataplane.DeviceKind{"veth": dataplane.Veth, "tap": dataplane.Tap} {
		t.Run(name, func(t *testing.T) { move(t, kind) })
	}
}

// mover is a guest with a device at each of two hosts, and which one it sends by
// can change at once: it is a bridge with an entry for each other guest's MAC.
type mover struct {
	*guest
	at    [2]*host
	ports [2]dataplane.Port
}

// plugTwice makes a mover. Only its first port is opened.
func plugTwice(t *testing.T, at [2]*host, number byte, kind dataplane.DeviceKind) *mover {
	t.Helper()
	m := &mover{guest: &guest{namespace: newNamespace(t, fmt.Sprint("g", number)), host: at[0], number: number}, at: at}
	m.ip(t, fmt.Sprintf("link add eth0 address %v type bridge", guestMAC(number)))
	for i, h := range at {
		device, slave := fmt.Sprint("p", number), fmt.Sprint("s", i)
		if kind == dataplane.Veth {
			m.ip(t, fmt.Sprintf("link add %s type veth peer name %s netns %s", slave, device, h.name))
		} else {
			relayTaps(t, h.namespace, device, m.namespace, slave)
		}
		m.ip(t, fmt.Sprintf("link set %s mtu 1450 master eth0 up", slave))
		m.ip(t, fmt.Sprintf("link set %s type bridge_slave learning off flood off mcast_flood off bcast_flood off", slave))
		var l netlink.Link
		if err := h.do(func() (err error) { l, err = netlink.LinkByName(device); return err }); err != nil {
			t.Fatal(err)
		}
		h.ports++
		m.ports[i] = dataplane.Port{
			ID: h.ports, UID: dove.UID(number), VNI: testVNI, MAC: guestMAC(number),
			Device: device, Ifindex: l.Attrs().Index, Kind: kind,
		}
		for _, a := range guestAddrs(number) {
			m.ports[i].Addresses = append(m.ports[i].Addresses, dataplane.Address{Addr: a, Class: guestClass(number)})
		}
	}
	if err := m.do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", []byte("0"), 0) }); err != nil {
		t.Fatal(err)
	}
	m.ip(t, "link set eth0 mtu 1450 up")
	m.ip(t, fmt.Sprintf("addr add %v/24 dev eth0", guestAddr4(number)))
	m.ip(t, fmt.Sprintf("addr add %v/64 dev eth0 nodad", guestAddr6(number)))
	at[0].apply(t, dataplane.SetPort{Port: m.ports[0]})
	at[0].awaitUp(t, m.ports[0].Device)
	return m
}

// knows tells the mover the MACs of others, so that it need not ask for them.
func (m *mover) knows(t *testing.T, others []byte) {
	for _, n := range others {
		for _, a := range guestAddrs(n) {
			m.ip(t, fmt.Sprintf("neigh replace %v lladdr %v dev eth0", a, guestMAC(n)))
		}
	}
	m.sendBy(t, 0, others)
}

// sendBy has the mover send by one of its devices.
func (m *mover) sendBy(t *testing.T, side int, others []byte) {
	t.Helper()
	for _, n := range others {
		run(t, "bridge", "-n", m.name, "fdb", "replace", guestMAC(n).String(), "dev", fmt.Sprint("s", side), "master", "static")
	}
}

// dpc answers the misses of hosts by what it says today, and tells them when
// that changes.
type dpc struct {
	mu    sync.Mutex
	where map[byte]dataplane.Peer // VTEP and Other only
	pairs func(src, dst byte) *verdict.Table
}

func (d *dpc) row(n byte) (dataplane.Peer, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.where[n]
	p.UID, p.MAC, p.Class = dove.UID(n), guestMAC(n), guestClass(n)
	return p, ok
}

func (d *dpc) say(n byte, vtep, other netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.where[n] = dataplane.Peer{VTEP: vtep, Other: other}
}

// rows tell a host of a guest.
func (d *dpc) rows(n byte) (ops []dataplane.Op) {
	p, _ := d.row(n)
	for _, a := range guestAddrs(n) {
		ops = append(ops, dataplane.SetPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: a}, Peer: p})
	}
	return ops
}

func (d *dpc) between(a, b byte) (ops []dataplane.Op) {
	for _, k := range [][2]byte{{a, b}, {b, a}} {
		key := dataplane.PairKey{Domain: testDomain, Src: guestClass(k[0]), Dst: guestClass(k[1])}
		ops = append(ops, dataplane.SetPair{Key: key, Table: d.pairs(k[0], k[1])})
	}
	return ops
}

func (d *dpc) answer(m dataplane.Miss) []dataplane.Op {
	number := func(a netip.Addr) byte { b := a.As16(); return b[15] }
	n := number(m.Peer)
	if _, ok := d.row(n); !ok {
		return []dataplane.Op{dataplane.SetAbsent{Key: dataplane.PeerKey{VNI: testVNI, Addr: m.Peer}, TTL: time.Minute}}
	}
	return append(d.rows(n), d.between(number(m.Local), n)...)
}

func move(t *testing.T, kind dataplane.DeviceKind) {
	const moving = 1
	hosts := newHosts(t, 3)
	from, to, third := hosts[0], hosts[1], hosts[2]
	others := map[byte]*host{2: from, 3: to, 4: third}
	// The mover may begin with anybody on ports 53 and 80, and nobody with it but on 54.
	begins := allowing(allowed("ask", dove.ProtocolUDP, 53, 53), allowed("web", dove.ProtocolTCP, 80, 80))
	begun := allowing(allowed("tell", dove.ProtocolUDP, 54, 54))
	d := &dpc{where: map[byte]dataplane.Peer{moving: {VTEP: from.vtep}}, pairs: func(src, dst byte) *verdict.Table {
		if src == moving {
			return begins
		}
		return begun
	}}
	for n, h := range others {
		d.where[n] = dataplane.Peer{VTEP: h.vtep}
	}
	for _, h := range hosts {
		h.answers = d.answer
	}
	m := plugTwice(t, [2]*host{from, to}, moving, kind)
	numbers := slices.Sorted(maps.Keys(others))
	m.knows(t, numbers)

	for _, a := range guestAddrs(moving) {
		m.echo(t, netip.AddrPortFrom(a, 54))
	}
	var streams []*stream
	stop := make(chan struct{})
	for _, n := range numbers {
		g := others[n].plug(t, n, kind)
		for i, a := range guestAddrs(n) {
			g.echo(t, netip.AddrPortFrom(a, 53))
			g.listen(t, netip.AddrPortFrom(a, 80))
			mine := guestAddrs(moving)[i]
			streams = append(streams,
				m.stream(t, netip.AddrPortFrom(a, 53), stop),
				g.stream(t, netip.AddrPortFrom(mine, 54), stop))
			streams = append(streams, m.connection(t, netip.AddrPortFrom(a, 80), stop))
		}
	}
	flowing := func(what string) {
		t.Helper()
		for _, s := range streams {
			s.goesOn(t, what)
		}
	}
	flowing("before the move")

	there := [2]*host{from, to}
	for i := range 3 {
		a, c := i%2, 1-i%2
		active, other := there[a], there[c]
		// What the host that it goes to will need.
		for n, h := range others {
			if h != other {
				other.apply(t, d.rows(n)...)
			}
			other.apply(t, d.between(moving, n)...)
		}

		// Prepare.
		d.say(moving, active.vtep, other.vtep)
		port := m.ports[c]
		port.Other, port.Standby = active.vtep, true
		other.apply(t, dataplane.SetPort{Port: port})
		third.apply(t, d.rows(moving)...)
		other.awaitUp(t, port.Device)
		flowing("while it is prepared")
		held := m.ports[a]
		held.Other = other.vtep
		active.apply(t, dataplane.SetPort{Port: held})
		carry(t, active, m.ports[a].ID, other, port.ID)
		flowing("when it is prepared")

		// Activate. Nothing says which host hears of it first.
		d.say(moving, other.vtep, active.vtep)
		port.Standby, held.Standby = false, true
		steps := []func(){
			func() { other.apply(t, dataplane.SetPort{Port: port}) },
			func() { active.apply(t, dataplane.SetPort{Port: held}) },
			func() { third.apply(t, d.rows(moving)...) },
		}
		for j := range steps {
			steps[(j+i)%len(steps)]()
			flowing(fmt.Sprintf("after step %d of its activation, in order %d", j, i))
		}
		carry(t, active, m.ports[a].ID, other, port.ID)
		m.sendBy(t, c, numbers)
		flowing("when it has gone on there")

		// Finish.
		d.say(moving, other.vtep, netip.Addr{})
		third.apply(t, d.rows(moving)...)
		port.Other = netip.Addr{}
		other.apply(t, dataplane.SetPort{Port: port})
		active.apply(t, append(d.rows(moving), dataplane.DelPort{ID: held.ID})...)
		flowing("when it has moved")
	}
	close(stop)
	for _, s := range streams {
		s.ended(t)
	}
	for _, h := range hosts {
		counts, err := h.sw.Counts()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts {
			if c.Reason != dataplane.NotUnicast { // what guests' own IPv6 says to its link
				t.Errorf("%s refused what is allowed: %+v", h.name, c)
			}
		}
	}
}

// carry gives the flows of a port to another host's.
func carry(t *testing.T, a *host, from dataplane.PortID, c *host, to dataplane.PortID) {
	t.Helper()
	flows, err := a.sw.Carried(from)
	if err != nil || len(flows) == 0 {
		t.Fatalf("carry %d flows: %v", len(flows), err)
	}
	if err := c.sw.Adopt(to, flows); err != nil {
		t.Fatal(err)
	}
}

// stream is numbered messages one way and their echoes back.
type stream struct {
	name           string
	sent, received atomic.Uint64
	err            chan error
}

// goesOn waits until messages that were sent later have come back.
func (s *stream) goesOn(t *testing.T, what string) {
	t.Helper()
	for want, end := s.sent.Load()+5, time.Now().Add(20*time.Second); s.received.Load() < want; time.Sleep(time.Millisecond) {
		if len(s.err) > 0 || time.Now().After(end) {
			t.Fatalf("%s %s: %d of %d came back", s.name, what, s.received.Load(), s.sent.Load())
		}
	}
}

func (s *stream) ended(t *testing.T) {
	t.Helper()
	if err := <-s.err; err != nil {
		t.Errorf("%s: %v", s.name, err)
	} else if s.sent.Load() != s.received.Load() {
		t.Errorf("%s: %d of %d came back", s.name, s.received.Load(), s.sent.Load())
	} else {
		t.Logf("%s: all of %d", s.name, s.sent.Load())
	}
}

// echo sends back what comes by UDP.
func (g *guest) echo(t *testing.T, at netip.AddrPort) {
	t.Helper()
	c := g.packets(t, "udp", at.String())
	go func() {
		buffer := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buffer)
			if err != nil {
				return
			}
			c.WriteTo(buffer[:n], from) // what is lost is noticed
		}
	}()
}

// stream sends numbered datagrams to who sends them back.
func (g *guest) stream(t *testing.T, at netip.AddrPort, stop chan struct{}) *stream {
	t.Helper()
	var c net.Conn
	if err := g.do(func() (err error) { c, err = net.Dial("udp", at.String()); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return g.talk(fmt.Sprintf("datagrams from %d to %v", g.number, at), c, stop)
}

// packets opens a socket in the guest.
func (g *guest) packets(t *testing.T, network, at string) (c net.PacketConn) {
	t.Helper()
	if err := g.do(func() (err error) { c, err = net.ListenPacket(network, at); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// connection sends numbers over TCP to what sends them back.
func (g *guest) connection(t *testing.T, at netip.AddrPort, stop chan struct{}) *stream {
	t.Helper()
	c, err := g.dial(t, at, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return g.talk(fmt.Sprintf("TCP from %d to %v", g.number, at), c, stop)
}

// talk sends a number every 4 ms, and counts those that come back.
func (g *guest) talk(name string, c net.Conn, stop chan struct{}) *stream {
	s := &stream{name: name, err: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		pace := time.NewTicker(4 * time.Millisecond)
		defer pace.Stop()
		for b := make([]byte, 8); ; {
			select {
			case <-stop:
				return
			case <-pace.C:
			}
			s.sent.Add(1)
			binary.BigEndian.PutUint64(b, s.sent.Load())
			if _, err := c.Write(b); err != nil {
				s.err <- err
				return
			}
		}
	}()
	go func() {
		var wrong error
		seen := map[uint64]bool{}
		for b := make([]byte, 8); wrong == nil; {
			c.SetReadDeadline(time.Now().Add(3 * time.Second))
			if _, err := io.ReadFull(c, b); errors.Is(err, os.ErrDeadlineExceeded) {
				break
			} else if err != nil {
				wrong = err
				break
			}
			n := binary.BigEndian.Uint64(b)
			if seen[n] || n > s.sent.Load() {
				wrong = fmt.Errorf("number %d came back twice, or was never sent", n)
			}
			seen[n] = true
			s.received.Add(1)
		}
		<-done
		s.err <- wrong
	}()
	return s
}
