package ebpf

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"dove.network/dataplane"
	"dove.network/dove"
)

const (
	farVNI dove.VNI = 4712
	farMTU uint16   = 1280
)

// routers are the interfaces of the router between the networks, by network.
var routers = map[dove.VNI]dataplane.Gateway{
	testVNI: {MAC: dove.MAC{2, 0xee, 0, 0, 0, 1}, Addrs: guestAddrs(254)},
	farVNI:  {MAC: dove.MAC{2, 0xee, 0, 0, 0, 2}, Addrs: farAddrs(254)},
}

func farAddrs(n byte) []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 2, n}), netip.AddrFrom16([16]byte{0: 0xfd, 3: 2, 15: n})}
}

// onFar puts a guest on the other network.
func (g *guest) onFar(t testing.TB) {
	g.ip(t, "addr flush dev eth0")
	g.port.VNI, g.port.Addresses = farVNI, nil
	for _, a := range farAddrs(g.number) {
		g.ip(t, fmt.Sprintf("addr add %v/%d dev eth0 nodad", a, map[int]int{32: 24, 128: 64}[a.BitLen()]))
		g.port.Addresses = append(g.port.Addresses, dataplane.Address{Addr: a, Class: guestClass(g.number)})
	}
	g.host.apply(t, dataplane.SetPort{Port: g.port})
	g.host.awaitUp(t, g.port.Device)
	g.awaitUp(t, "eth0")
}

// routedWorld answers misses as the DPC would.
func routedWorld(where map[byte]netip.Addr, mtu uint16, ask func(dataplane.PairKey) dataplane.Op) func(dataplane.Miss) []dataplane.Op {
	return func(m dataplane.Miss) []dataplane.Op {
		b := m.Peer.As16()
		n, on := b[15], testVNI
		if m.Peer.Is4() && b[14] == 2 || m.Peer.Is6() && b[3] == 2 {
			on = farVNI
		}
		key := dataplane.PeerKey{VNI: m.Tuple.VNI, Addr: m.Peer}
		vtep, ok := where[n]
		if !ok {
			return []dataplane.Op{dataplane.SetAbsent{Key: key, TTL: time.Minute, NoRoute: n == 99}}
		}
		p := dataplane.Peer{UID: dove.UID(n), MAC: guestMAC(n), Class: guestClass(n), VTEP: vtep}
		if on != key.VNI {
			p.VNI, p.Gateway, p.Far, p.MTU = on, routers[key.VNI].MAC, routers[on].MAC, mtu
			if on == farVNI {
				p.MTU = farMTU
			}
		}
		l := m.Local.As16()
		local := guestClass(l[15])
		return []dataplane.Op{
			dataplane.SetPeer{Key: key, Peer: p},
			ask(dataplane.PairKey{Domain: testDomain, Src: local, Dst: p.Class}), ask(dataplane.PairKey{Domain: testDomain, Src: p.Class, Dst: local}),
		}
	}
}

// TestRouted has guests of two networks talk, over two hosts and on one.
func TestRouted(t *testing.T) { overEach(t, routedTraffic) }

func routedTraffic(t *testing.T, hosts []*host) {
	where := map[byte]netip.Addr{1: hosts[0].vtep, 4: hosts[0].vtep, 2: hosts[1].vtep, 3: hosts[1].vtep, 5: hosts[0].vtep}
	forth := allowing(allowed("tcp", dove.ProtocolTCP, 80, 80), allowed("ping", dove.ProtocolICMP, 0x800, 0x800), allowed("ping6", dove.ProtocolICMPv6, 0x8000, 0x8000))
	back := allowing() // what comes back is of a flow
	near := uint16(hosts[0].mtu)
	ask := func(k dataplane.PairKey) dataplane.Op {
		if k.Src == guestClass(1) || k.Src == guestClass(4) {
			return dataplane.SetPair{Key: k, Table: forth}
		}
		return dataplane.SetPair{Key: k, Table: back}
	}
	for _, h := range hosts {
		h.answers = routedWorld(where, near, ask)
		h.apply(t,
			dataplane.SetNetwork{Network: dataplane.Network{VNI: testVNI, Domain: testDomain, MTU: near, Gateways: []dataplane.Gateway{routers[testVNI]}}},
			dataplane.SetNetwork{Network: dataplane.Network{VNI: farVNI, Domain: testDomain, MTU: farMTU, Gateways: []dataplane.Gateway{routers[farVNI]}}})
	}
	guests := map[byte]*guest{}
	for n, kind := range map[byte]dataplane.DeviceKind{1: dataplane.Veth, 4: dataplane.Tap, 2: dataplane.Veth, 3: dataplane.Tap, 5: dataplane.Veth} {
		h := hosts[0]
		if where[n] != h.vtep {
			h = hosts[1]
		}
		g := h.plug(t, n, kind)
		guests[n] = g
		if n == 1 || n == 4 {
			g.ip(t, "route add 10.0.2.0/24 via 10.0.0.254")
			g.ip(t, "-6 route add fd00:2::/64 via fd00::fe")
			continue
		}
		g.onFar(t)
		g.ip(t, "route add 10.0.0.0/24 via 10.0.2.254")
		g.ip(t, "-6 route add fd00::/64 via fd00:2::fe")
		for _, a := range farAddrs(n) {
			g.listen(t, netip.AddrPortFrom(a, 80))
		}
	}
	for _, from := range []byte{1, 4} {
		for _, to := range []byte{2, 3, 5} {
			for _, a := range farAddrs(to) {
				c, err := guests[from].dial(t, netip.AddrPortFrom(a, 80), 5*time.Second)
				if err != nil {
					t.Fatalf("guest %d to %v: %v", from, a, err)
				}
				exchange(t, c, 1<<20) // longer than the far network's MTU at first
				if err := guests[from].ping(a, 1000); err != nil {
					t.Errorf("guest %d pings %v: %v", from, a, err)
				}
			}
		}
		for i, a := range guestAddrs(254) {
			if err := guests[from].ping(a, 56); err != nil {
				t.Errorf("guest %d pings its router at %v: %v", from, a, err)
			}
			guests[from].complaint(t, farAddrs(2)[i], 1, a, [2]uint16{0x0b00, 0x0300}[i])
			guests[from].complaint(t, farAddrs(77)[i], 64, a, [2]uint16{0x0301, 0x0103}[i])
			guests[from].complaint(t, farAddrs(99)[i], 64, a, [2]uint16{0x0300, 0x0100}[i])
		}
	}
	if _, err := guests[2].dial(t, netip.AddrPortFrom(guestAddr4(1), 80), 300*time.Millisecond); err == nil {
		t.Error("who may not begin has begun")
	}
	if n := hosts[0].count(t, dataplane.TooBig, ""); n == 0 {
		t.Error("nothing was longer than the far network's MTU")
	}
	restartRouted(t, hosts[0], guests[1], guests[5])
}

// restartRouted closes a switch with routed rows and ports that are allowed more than
// their addresses, and opens it again.
func restartRouted(t *testing.T, h *host, permitted, open *guest) {
	permitted.port.Allowed = []dataplane.Allowed{
		{Prefix: netip.MustParsePrefix("10.9.0.0/16"), MAC: dove.MAC{2, 9}, Class: 7},
		{Prefix: netip.MustParsePrefix("::/0"), MAC: permitted.port.MAC, Class: 8}, {Prefix: netip.MustParsePrefix("fd00::77/128"), MAC: dove.MAC{2, 9}, Class: 9},
	}
	open.port.Open, open.port.Class = true, 6
	h.apply(t, dataplane.SetPort{Port: permitted.port}, dataplane.SetPort{Port: open.port})
	c, err := permitted.dial(t, netip.AddrPortFrom(farAddrs(2)[0], 80), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	local, err := permitted.dial(t, netip.AddrPortFrom(farAddrs(5)[1], 80), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c, 1<<16)
	exchange(t, local, 1<<16)
	type content struct {
		Networks map[dove.VNI]dataplane.Network
		Peers    map[dataplane.PeerKey]dataplane.Peer
		Ports    map[dataplane.PortID]dataplane.Port
		Places   map[dataplane.PeerKey]place
		Here     map[dataplane.PeerKey]map[dataplane.PeerKey]bool
	}
	holds := func() content {
		s := content{Networks: h.sw.networks, Peers: h.sw.peers, Ports: map[dataplane.PortID]dataplane.Port{}, Places: map[dataplane.PeerKey]place{}, Here: h.sw.here}
		for id, p := range h.sw.ports {
			s.Ports[id] = p.Port
		}
		for k, p := range h.sw.places {
			s.Places[k] = *p
		}
		return s
	}
	before := holds()
	if err := h.sw.Close(); err != nil {
		t.Fatal(err)
	}
	<-h.ended
	h.open(t)
	exchange(t, c, 1<<16)
	exchange(t, local, 1<<16)
	byPrefix := cmpopts.SortSlices(func(a, b dataplane.Allowed) bool { return a.Prefix.String() < b.Prefix.String() })
	if diff := cmp.Diff(before, holds(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmp.AllowUnexported(place{}), byPrefix); diff != "" {
		t.Errorf("what is held after the restart differs:\n%s", diff)
	}
}

// complaint sends datagrams until the guest's kernel is told that they go no
// further, and checks by whom and why: type<<8 | code.
func (g *guest) complaint(t *testing.T, to netip.Addr, ttl int, by netip.Addr, want uint16) {
	t.Helper()
	domain, level, receive, hops := unix.AF_INET, unix.IPPROTO_IP, unix.IP_RECVERR, unix.IP_TTL
	var at unix.Sockaddr = &unix.SockaddrInet4{Port: 33434, Addr: as4(to)}
	if to.Is6() {
		domain, level, receive, hops = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, unix.IPV6_UNICAST_HOPS
		at = &unix.SockaddrInet6{Port: 33434, Addr: to.As16()}
	}
	err := g.do(func() error {
		fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, level, receive, 1); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, level, hops, ttl); err != nil {
			return err
		}
		oob := make([]byte, 512)
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			_ = unix.Sendto(fd, []byte("whither"), 0, at) // may fail with what was told of the one before
			_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 64), oob, unix.MSG_ERRQUEUE)
			if err != nil {
				continue
			}
			messages, err := unix.ParseSocketControlMessage(oob[:n])
			if err != nil || len(messages) == 0 {
				return fmt.Errorf("an error without its message: %v", err)
			}
			// struct sock_extended_err, and behind it who said so.
			b := messages[0].Data
			offender := netip.AddrFrom4([4]byte(b[20:24]))
			if to.Is6() {
				offender = netip.AddrFrom16([16]byte(b[24:40]))
			}
			if got := binary.BigEndian.Uint16(b[5:7]); got != want || offender != by {
				return fmt.Errorf("%v says %#04x, want %v to say %#04x", offender, got, by, want)
			}
			return nil
		}
		return fmt.Errorf("nothing is told, want %v to say %#04x", by, want)
	})
	if err != nil {
		t.Errorf("guest %d sends to %v with TTL %d: %v", g.number, to, ttl, err)
	}
}
