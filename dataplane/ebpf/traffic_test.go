package ebpf

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/verdict"
)

// allowing makes a table of allow rules.
func allowing(rules ...verdict.Rule) *verdict.Table {
	for i := range rules {
		rules[i].Action = verdict.Allow
	}
	h := verdict.Half{Rules: rules, DefaultName: verdict.DefaultDeny, Stateful: true}
	return verdict.Product(h, h)
}

func allowed(name string, p dove.Protocol, first, last uint16) verdict.Rule {
	return verdict.Rule{Match: verdict.Match{Protocol: p, First: first, Last: last}, Name: name}
}

// everyone answers misses for guests whose host is known: all pairs have the
// same table.
func everyone(where map[byte]netip.Addr, table *verdict.Table) func(dataplane.Miss) []dataplane.Op {
	number := func(a netip.Addr) byte { b := a.As16(); return b[15] }
	return func(m dataplane.Miss) []dataplane.Op {
		if m.Want == dataplane.WantDenial {
			return []dataplane.Op{} // it is as the switch was told last
		}
		n := number(m.Peer)
		vtep, ok := where[n]
		if !ok {
			return []dataplane.Op{dataplane.SetAbsent{Key: dataplane.PeerKey{VNI: testVNI, Addr: m.Peer}, TTL: time.Minute}}
		}
		local, peer := guestClass(number(m.Local)), guestClass(n)
		return []dataplane.Op{
			dataplane.SetPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: m.Peer}, Peer: dataplane.Peer{
				UID: dove.UID(n), MAC: guestMAC(n), Class: peer, VTEP: vtep,
			}},
			dataplane.SetPair{Key: dataplane.PairKey{Domain: testDomain, Src: local, Dst: peer}, Table: table},
			dataplane.SetPair{Key: dataplane.PairKey{Domain: testDomain, Src: peer, Dst: local}, Table: table},
		}
	}
}

// fourGuests are 1 behind a veth and 4 behind a tap of the first of two hosts, 2
// and 3 of the second. All may send to each other what a table allows. Watch, if
// given, is shown each miss.
func fourGuests(t testing.TB, hosts []*host, table *verdict.Table, watch ...func(dataplane.Miss)) map[byte]*guest {
	t.Helper()
	known := everyone(map[byte]netip.Addr{1: hosts[0].vtep, 2: hosts[1].vtep, 3: hosts[1].vtep, 4: hosts[0].vtep}, table)
	for _, h := range hosts {
		h.answers = func(m dataplane.Miss) []dataplane.Op {
			for _, see := range watch {
				see(m)
			}
			return known(m)
		}
	}
	return map[byte]*guest{
		1: hosts[0].plug(t, 1, dataplane.Veth),
		2: hosts[1].plug(t, 2, dataplane.Veth),
		3: hosts[1].plug(t, 3, dataplane.Tap),
		4: hosts[0].plug(t, 4, dataplane.Tap),
	}
}

func (g *guest) dial(t *testing.T, address netip.AddrPort, patience time.Duration) (net.Conn, error) {
	t.Helper()
	var c net.Conn
	err := g.do(func() (err error) { c, err = net.DialTimeout("tcp", address.String(), patience); return err })
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// exchange sends n bytes and expects them back.
func exchange(t *testing.T, c net.Conn, n int) {
	t.Helper()
	want := bytes.Repeat([]byte("dove"), n/4)
	c.SetDeadline(time.Now().Add(20 * time.Second))
	sent := make(chan error, 1)
	go func() { _, err := c.Write(want); sent <- err }()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("read the echo: %v", err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("the echo differs")
	}
}

// ping sends one echo request with size bytes of payload and waits for the reply.
func (g *guest) ping(to netip.Addr, size int) error {
	network, request, reply := "ip4:icmp", byte(8), byte(0)
	if to.Is6() {
		network, request, reply = "ip6:ipv6-icmp", 128, 129
	}
	var c net.Conn
	if err := g.do(func() (err error) { c, err = net.Dial(network, to.String()); return err }); err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	b := make([]byte, 8+size)
	b[0], b[5], b[7] = request, g.number, 1
	binary.BigEndian.PutUint16(b[2:], checksum(b)) // the kernel fills ICMPv6's in
	if _, err := c.Write(b); err != nil {
		return err
	}
	got := make([]byte, 1<<16)
	for {
		n, err := c.Read(got)
		if err != nil {
			return err
		}
		message := got[:n]
		if to.Is4() {
			message = message[min(20, n):] // a raw IPv4 socket shows the header
		}
		if len(message) >= 8 && message[0] == reply && message[5] == g.number {
			return nil
		}
	}
}

func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum>>16 + sum)
}

func TestTraffic(t *testing.T) { overEach(t, traffic) }

func traffic(t *testing.T, hosts []*host) {
	table := allowing(allowed("web", dove.ProtocolTCP, 80, 80), allowed("ping", dove.ProtocolICMP, 0x800, 0x800),
		allowed("ping6", dove.ProtocolICMPv6, 0x8000, 0x8000), allowed("dns", dove.ProtocolUDP, 53, 53))
	guests := fourGuests(t, hosts, table)
	for n, g := range guests {
		for _, a := range guestAddrs(n) {
			g.listen(t, netip.AddrPortFrom(a, 80))
			g.listen(t, netip.AddrPortFrom(a, 81))
		}
	}
	for from, g := range guests {
		for to := range guests {
			if from == to {
				continue
			}
			for _, a := range guestAddrs(to) {
				c, err := g.dial(t, netip.AddrPortFrom(a, 80), 5*time.Second)
				if err != nil {
					t.Fatalf("guest %d to %v: %v", from, a, err)
				}
				exchange(t, c, 1<<20)
				if err := g.ping(a, 1400); err != nil {
					t.Errorf("guest %d pings %v: %v", from, a, err)
				}
				if err := g.ping(a, 8); err != nil {
					t.Errorf("guest %d pings %v again: %v", from, a, err)
				}
			}
		}
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
	before := hosts[0].count(t, dataplane.Policy, verdict.DefaultDeny)
	if _, err := guests[1].dial(t, netip.AddrPortFrom(guestAddr4(2), 81), 500*time.Millisecond); err == nil {
		t.Error("a forbidden connection was opened")
	}
	if after := hosts[0].count(t, dataplane.Policy, verdict.DefaultDeny); after == before {
		t.Error("a forbidden connection was not counted under its rule")
	}
}
