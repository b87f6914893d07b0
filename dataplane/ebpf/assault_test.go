package ebpf

import (
	"encoding/binary"
	"flag"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

var assaultSeed = flag.Uint64("assault-seed", uint64(time.Now().UnixNano()), "of the frames that TestAssault makes up")

// The second tenant of the assault, which has an endpoint on each host as the
// first one has.
const (
	otherVNI    dove.VNI = 4712
	otherDomain uint32   = 6
	pacedPort            = 7000
)

// plugOther makes a guest of the second tenant.
func (h *host) plugOther(t *testing.T, number byte) *guest {
	t.Helper()
	g := h.plug(t, number, dataplane.Veth)
	g.port.VNI = otherVNI
	h.apply(t, dataplane.SetPort{Port: g.port})
	h.awaitUp(t, g.port.Device)
	g.awaitUp(t, "eth0")
	return g
}

// twoTenants answers misses: 1 and 2 may talk in the first network, where 3 may
// not, and 11 and 12 in the second.
func twoTenants(where map[byte]netip.Addr) func(dataplane.Miss) []dataplane.Op {
	may, mayNot := allowing(allowed("all", dove.ProtocolUDP, 0, 65535), allowed("ping", dove.ProtocolICMP, 0, 65535)), allowing()
	return func(m dataplane.Miss) []dataplane.Op {
		a := m.Peer.As16()
		n, key := a[15], dataplane.PeerKey{VNI: m.Tuple.VNI, Addr: m.Peer}
		vtep, ok := where[n]
		domain := testDomain
		if key.VNI == otherVNI {
			domain = otherDomain
		}
		if !ok || (m.Peer != guestAddr4(n) && m.Peer != guestAddr6(n)) || (n > 10) != (domain == otherDomain) {
			return []dataplane.Op{dataplane.SetAbsent{Key: key, TTL: time.Minute}}
		}
		local := m.Local.As16()
		table := may
		if n == 3 || local[15] == 3 {
			table = mayNot
		}
		here, there := guestClass(local[15]), guestClass(n)
		return []dataplane.Op{
			dataplane.SetPeer{Key: key, Peer: dataplane.Peer{UID: dove.UID(n), MAC: guestMAC(n), Class: there, VTEP: vtep}},
			dataplane.SetPair{Key: dataplane.PairKey{Domain: domain, Src: here, Dst: there}, Table: table},
			dataplane.SetPair{Key: dataplane.PairKey{Domain: domain, Src: there, Dst: here}, Table: table},
		}
	}
}

// paced sends numbered datagrams from one guest to another, one a millisecond,
// and counts those that arrive.
type paced struct {
	sent, received atomic.Int64
	from, to       net.PacketConn
	stop, ended    chan struct{}
}

func pace(t *testing.T, from, to *guest, port uint16) *paced {
	t.Helper()
	p := &paced{stop: make(chan struct{}), ended: make(chan struct{})}
	open := func(g *guest) (c net.PacketConn) {
		err := g.do(func() (err error) {
			c, err = net.ListenPacket("udp4", netip.AddrPortFrom(guestAddr4(g.number), port).String())
			return err
		})
		if err == nil {
			err = c.(*net.UDPConn).SetReadBuffer(4 << 20)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	p.from, p.to = open(from), open(to)
	at := net.UDPAddrFromAddrPort(netip.AddrPortFrom(guestAddr4(to.number), port))
	go func() {
		buffer := make([]byte, 64)
		for {
			if _, _, err := p.to.ReadFrom(buffer); err != nil {
				return
			}
			p.received.Add(1)
		}
	}()
	// The first one finds its way before the others follow.
	if _, err := p.from.WriteTo(make([]byte, 32), at); err != nil {
		t.Fatal(err)
	}
	p.sent.Add(1)
	if awaitCount(1, func() int { return int(p.received.Load()) }) != 1 {
		t.Fatal("the first datagram did not arrive")
	}
	go func() {
		defer close(p.ended)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				if _, err := p.from.WriteTo(make([]byte, 32), at); err == nil {
					p.sent.Add(1)
				}
			}
		}
	}()
	return p
}

// finish stops the sender and returns how many were sent and how many arrived.
func (p *paced) finish() (sent, received int) {
	close(p.stop)
	<-p.ended
	sent = int(p.sent.Load())
	return sent, awaitCount(sent, func() int { return int(p.received.Load()) })
}

// backlogDrops is how many packets this machine's CPUs had no room for before
// anybody looked at them.
func backlogDrops(t *testing.T) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		dropped, err := strconv.ParseUint(strings.Fields(line)[1], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		n += int(dropped)
	}
	return n
}

// dropped is how many packets of a port were dropped, by reason.
func (g *guest) dropped(t *testing.T) map[dataplane.Reason]int {
	t.Helper()
	counts, err := g.host.sw.Counts()
	if err != nil {
		t.Fatal(err)
	}
	by := map[dataplane.Reason]int{}
	for _, c := range counts {
		if c.Port == g.port.ID {
			by[c.Reason] += int(c.Packets)
		}
	}
	return by
}

// assault is two tenants on two hosts. Guests 3 (of the first) and 11 (of the
// second) are hostile, 1 and 2 talk to each other and must notice nothing, and so
// must 12, to whom only 11 may talk.
type assault struct {
	hosts   []*host
	guests  map[byte]*guest
	sniffed []*sniffer
	wire    *sniffer          // the underlay, where h1 is
	backs   map[byte]*sniffer // what comes back to those who are hostile
}

func newAssault(t *testing.T) *assault {
	a := &assault{hosts: newHosts(t, 2), guests: map[byte]*guest{}, backs: map[byte]*sniffer{}}
	where := map[byte]netip.Addr{}
	for i, numbers := range [][]byte{{1, 3, 11}, {2, 12}} {
		for _, n := range numbers {
			where[n] = a.hosts[i].vtep
		}
	}
	for _, h := range a.hosts {
		h.answers = twoTenants(where)
		h.apply(t, dataplane.SetNetwork{Network: dataplane.Network{VNI: otherVNI, Domain: otherDomain, MTU: 1450}})
		for n, vtep := range where {
			switch {
			case vtep != h.vtep:
			case n > 10:
				a.guests[n] = h.plugOther(t, n)
			default:
				a.guests[n] = h.plug(t, n, dataplane.Veth)
			}
		}
	}
	for _, n := range []byte{3, 11} { // send what they like, and nothing else
		err := a.guests[n].do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", []byte("1"), 0) })
		if err != nil {
			t.Fatal(err)
		}
		a.hosts[0].ip(t, fmt.Sprintf("link set %s mtu 9000", a.guests[n].port.Device))
		a.guests[n].ip(t, "link set eth0 mtu 9000")
	}
	underlay := map[dove.MAC]bool{}
	for _, h := range a.hosts {
		underlay[h.mac(t, "under")] = true
	}
	for i, h := range a.hosts {
		s := h.sniff(t, "under", func(frame []byte, _ bool) (string, bool) { return onUnderlay(frame, underlay, where) })
		a.sniffed = append(a.sniffed, s)
		if i == 0 {
			a.wire = s
		}
	}
	for n, g := range a.guests {
		s := g.sniff(t, "eth0", func(frame []byte, outgoing bool) (string, bool) {
			if outgoing {
				return "own", true
			}
			return atGuest(frame, n)
		})
		a.sniffed = append(a.sniffed, s)
		if n == 3 || n == 11 {
			a.backs[n] = s
		}
	}
	return a
}

// onUnderlay names a frame between hosts. Only overlay packets between guests
// who may talk, each from where it is, may be there.
func onUnderlay(frame []byte, macs map[dove.MAC]bool, where map[byte]netip.Addr) (string, bool) {
	o, inner, fault := packet.Decap(frame)
	switch fault {
	case packet.OK:
	case packet.NotOverlay:
		kind := binary.BigEndian.Uint16(frame[12:])
		// The hosts' own kernels look for each other, and for IPv6 neighbours.
		own := macs[dove.MAC(frame[6:12])]
		return fmt.Sprintf("type %04x", kind), own && (kind == 0x0806 || kind == 0x86dd && frame[0]&1 == 1)
	default:
		return "an overlay packet that is " + fault.String(), false
	}
	p, fault := packet.Parse(inner)
	src, dst := p.Src.As16(), p.Dst.As16()
	from, to := src[15], dst[15]
	kind := fmt.Sprintf("%d to %d on network %d", from, to, o.VNI)
	pair := [2]byte{from, to}
	switch {
	case fault != packet.OK:
		return "an inner frame that is " + fault.String(), false
	case where[from] != o.Src || where[to] != o.Dst || o.Class != guestClass(from):
		return fmt.Sprintf("%s from %v to %v with class %d", kind, o.Src, o.Dst, o.Class), false
	case o.VNI == testVNI:
		return kind, pair == [2]byte{1, 2} || pair == [2]byte{2, 1}
	case o.VNI == otherVNI:
		return kind, pair == [2]byte{11, 12} || pair == [2]byte{12, 11}
	}
	return kind, false
}

// atGuest names a frame that a guest gets. What it asks for is answered, and
// only whom it may talk to reaches it.
func atGuest(frame []byte, n byte) (string, bool) {
	if len(frame) < 14 {
		return "a runt", false
	}
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case dove.MAC(frame[:6]) != guestMAC(n):
		return "a frame for another", false
	case kind == 0x0806 && frame[21] == 2, kind == 0x86dd && frame[20] == 58 && frame[54] == 136:
		return "answer", true
	}
	p, fault := packet.Parse(frame)
	if fault != packet.OK {
		return "a frame that is " + fault.String(), false
	}
	src := p.Src.As16()
	from := src[15]
	kind := fmt.Sprint("from ", from)
	if p.Protocol == dove.ProtocolICMP && frame[34] == 3 || p.Protocol == dove.ProtocolICMPv6 && frame[54] == 2 {
		if n == 3 || n == 11 {
			return "too big", true
		}
	}
	switch n {
	case 1, 2:
		return kind, from == 3-n
	case 12:
		return kind, from == 11
	case 11:
		return kind, from == 12
	}
	return kind, false
}

// settled sends frames from a guest and waits until each is accounted for:
// dropped, carried to the other host, or answered. It returns how many were
// dropped for each reason.
func (a *assault) settled(t *testing.T, name string, from byte, frames [][]byte) map[dataplane.Reason]int {
	t.Helper()
	g, back := a.guests[from], a.backs[from]
	kind := fmt.Sprintf("%d to 12 on network %d", from, otherVNI)
	before, carried, answers := g.dropped(t), a.wire.count(kind), back.count("answer")
	g.sendRaw(t, "eth0", frames...)
	now := map[dataplane.Reason]int{}
	total := awaitCount(len(frames), func() int {
		n := a.wire.count(kind) - carried + back.count("answer") - answers
		for r, count := range g.dropped(t) {
			now[r] = count - before[r]
			n += now[r]
		}
		return n
	})
	if total != len(frames) {
		t.Errorf("%s from %d: %d of %d frames are accounted for: %v", name, from, total, len(frames), now)
	}
	return now
}

// TestAssault lets two guests do whatever a guest can do to others. Nothing may
// reach whom it must not, nobody else may lose a packet, and each frame is
// counted under its reason.
func TestAssault(t *testing.T) {
	a := newAssault(t)
	lost := backlogDrops(t)
	flows := []*paced{pace(t, a.guests[1], a.guests[2], pacedPort), pace(t, a.guests[2], a.guests[1], pacedPort+1)}

	const each = 20
	repeat := func(frame []byte) (frames [][]byte) {
		for range each {
			frames = append(frames, frame)
		}
		return frames
	}
	for _, from := range []byte{3, 11} {
		for name, c := range inOrder(forgeries(from, a.hosts)) {
			got := a.settled(t, name, from, repeat(c.frame))
			n := got[c.reason]
			if c.reason == dataplane.Fragment { // asked about, as its first one may be about to come
				n += got[dataplane.MissLimit]
			}
			if n != each {
				t.Errorf("%s from %d: %v, want %d times %v", name, from, got, each, c.reason)
			}
		}
	}
	r := rand.New(rand.NewPCG(*assaultSeed, 1))
	t.Logf("-assault-seed %d", *assaultSeed)
	for name, flood := range inOrder(floods(r, a.hosts)) {
		began, asked := time.Now(), a.hosts[0].answered.Load()
		a.settled(t, name, 11, flood)
		// Each family's misses come from one port, in one direction.
		most := 64 + 1000*(time.Since(began).Seconds()+0.01)
		if n := a.hosts[0].answered.Load() - asked; float64(n) > most+1 {
			t.Errorf("%s: %d misses in %v, at most %.0f should get through", name, n, time.Since(began), most)
		}
	}
	a.settled(t, "frames that make no sense", 11, mutations(r, 11, 5000))
	a.settled(t, "frames that make no sense", 3, mutations(r, 3, 5000))

	for _, f := range flows {
		sent, received := f.finish()
		t.Logf("%d datagrams beside the assault", sent)
		if lost := backlogDrops(t) - lost; sent-received > lost {
			t.Errorf("the others lost %d of %d datagrams, and the machine dropped %d", sent-received, sent, lost)
		}
	}
	for _, s := range a.sniffed {
		s.check(t)
	}
}

// inOrder yields what has a name, the same way every time.
func inOrder[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if !yield(name, m[name]) {
				return
			}
		}
	}
}

// forgery is a frame that a guest sends, and why it gets nowhere.
type forgery struct {
	frame  []byte
	reason dataplane.Reason
}

// forgeries are what guest n can send that it must not.
func forgeries(n byte, hosts []*host) map[string]forgery {
	own4 := packet.Ends{SrcMAC: guestMAC(n), DstMAC: guestMAC(1), Src: guestAddr4(n), Dst: guestAddr4(1)}
	own6 := packet.Ends{SrcMAC: guestMAC(n), DstMAC: guestMAC(1), Src: guestAddr6(n), Dst: guestAddr6(1)}
	bend := func(e packet.Ends, change func(*packet.Ends)) packet.Ends { change(&e); return e }
	with := func(frame []byte, offset int, set ...byte) []byte {
		frame = append([]byte(nil), frame...)
		copy(frame[offset:], set)
		return frame
	}
	tag := func(frame []byte, tags ...byte) []byte {
		return append(append(append([]byte(nil), frame[:12]...), tags...), frame[12:]...)
	}
	udp := packet.UDP(own4, 5000, 53, []byte("hostile"))
	all := netip.MustParseAddr("ff02::1")
	toAll := bend(own6, func(e *packet.Ends) { e.Dst, e.DstMAC = all, dove.MAC{0x33, 0x33, 0, 0, 0, 1} })
	// Whom the others' policy would let pass: an overlay packet within a datagram.
	within := packet.Outer{Src: hosts[1].vtep, Dst: hosts[0].vtep, SrcPort: 0xc123, VNI: testVNI, Class: guestClass(2)}.
		Encap(packet.UDP(packet.Ends{SrcMAC: guestMAC(2), DstMAC: guestMAC(1), Src: guestAddr4(2), Dst: guestAddr4(1)}, pacedPort, pacedPort, nil))[14:]
	toOther := dataplane.Policy // in its own network guest 1 is somebody, who refuses
	if n > 10 {
		toOther = dataplane.NoEndpoint
	}
	options := with(packet.UDP(own4, 5000, 53, make([]byte, 12)), 14, 0x48)
	return map[string]forgery{
		"another's MAC":                   {packet.UDP(bend(own4, func(e *packet.Ends) { e.SrcMAC = guestMAC(2) }), 1, 2, nil), dataplane.SpoofedMAC},
		"another's address":               {packet.UDP(bend(own4, func(e *packet.Ends) { e.Src = guestAddr4(2) }), pacedPort, pacedPort, nil), dataplane.SpoofedAddress},
		"another's IPv6 address":          {packet.UDP(bend(own6, func(e *packet.Ends) { e.Src = guestAddr6(2) }), 1, 2, nil), dataplane.SpoofedAddress},
		"an address of nobody":            {packet.UDP(bend(own4, func(e *packet.Ends) { e.Src = netip.MustParseAddr("203.0.113.1") }), 1, 2, nil), dataplane.SpoofedAddress},
		"a host's address":                {packet.UDP(bend(own4, func(e *packet.Ends) { e.Src = hosts[0].vtep }), 1, packet.OverlayPort, within), dataplane.SpoofedAddress},
		"an answer that nobody asked for": {packet.ARPReply(packet.Ends{SrcMAC: guestMAC(n), DstMAC: guestMAC(1), Src: guestAddr4(2), Dst: guestAddr4(1)}), dataplane.NotUnicast},
		"a claim of another's address":    {packet.ARPRequest(guestMAC(n), guestAddr4(2), guestAddr4(1)), dataplane.SpoofedAddress},
		"a claim of its own address":      {packet.ARPRequest(guestMAC(n), guestAddr4(n), guestAddr4(n)), dataplane.NotUnicast},
		"a claim by another's MAC":        {with(packet.ARPRequest(guestMAC(n), guestAddr4(n), guestAddr4(1)), 22, 2, 0, 0, 0, 1, 2), dataplane.SpoofedMAC},
		"an advertisement":                {packet.Advertisement(own6, guestAddr6(2)), dataplane.NotUnicast},
		"an advertisement to all":         {packet.Advertisement(toAll, guestAddr6(2)), dataplane.NotUnicast},
		"another's solicitation":          {packet.Solicitation(guestMAC(n), guestAddr6(2), guestAddr6(1)), dataplane.SpoofedAddress},
		"a router's advertisement":        {packet.ICMP(toAll, 134, 0, 64<<24|1800, make([]byte, 8)), dataplane.NotUnicast},
		"a router's advertisement to one": {packet.ICMP(own6, 134, 0, 64<<24|1800, make([]byte, 8)), dataplane.NotUnicast},
		"a redirect":                      {packet.ICMP(own6, 137, 0, 0, make([]byte, 32)), dataplane.NotUnicast},
		"a DHCP server's answer":          {packet.UDP(own4, 67, 68, make([]byte, 300)), toOther},
		"a DHCP server's answer to all": {packet.UDP(bend(own4, func(e *packet.Ends) {
			e.Dst, e.DstMAC = netip.MustParseAddr("255.255.255.255"), dove.MAC{255, 255, 255, 255, 255, 255}
		}), 67, 68, make([]byte, 300)), dataplane.NotUnicast},
		"a DHCPv6 server's answer":      {packet.UDP(own6, 547, 546, make([]byte, 100)), toOther},
		"an overlay packet to a host":   {packet.UDP(bend(own4, func(e *packet.Ends) { e.Dst = hosts[1].vtep }), 0xc123, packet.OverlayPort, within[28:]), dataplane.NoEndpoint},
		"an overlay packet to its host": {packet.UDP(bend(own4, func(e *packet.Ends) { e.Dst = hosts[0].vtep }), 0xc123, packet.OverlayPort, within[28:]), dataplane.NoEndpoint},
		"an overlay packet to a guest":  {packet.UDP(own4, 0xc123, packet.OverlayPort, within[28:]), toOther},
		"to the other network's guest":  {packet.UDP(bend(own4, func(e *packet.Ends) { e.Dst = guestAddr4(map[byte]byte{3: 12, 11: 2}[n]) }), 1, 2, nil), dataplane.NoEndpoint},
		"a frame as long as the wire":   {packet.UDP(own4, 1, 2, make([]byte, 1472)), dataplane.TooBig},
		"a jumbo frame":                 {packet.UDP(own4, 1, 2, make([]byte, 8900)), dataplane.TooBig},
		"a header and no more":          {udp[:14], dataplane.Malformed},
		"half a header":                 {udp[:30], dataplane.Malformed},
		"half a transport header":       {udp[:38], dataplane.Malformed},
		"less than it says":             {with(udp, 16, 5, 0), dataplane.Malformed},
		"a transport that is not there": {with(udp, 14, 0x4f), dataplane.Malformed},
		"options":                       {options, toOther},
		"a VLAN tag":                    {tag(udp, 0x81, 0, 0, 5), dataplane.UnknownTag},
		"two VLAN tags":                 {tag(udp, 0x88, 0xa8, 0, 5, 0x81, 0, 0, 5), dataplane.UnknownTag},
		"LLDP":                          {with(udp, 12, 0x88, 0xcc), dataplane.NotIP},
		"a bridge's own protocol":       {with(udp, 0, 1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 1, n, 0, 38), dataplane.NotIP},
		"IPv4 within IPv6":              {with(packet.UDP(own6, 1, 2, nil), 38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1), dataplane.Malformed},
		"multicast":                     {packet.UDP(bend(own4, func(e *packet.Ends) { e.Dst = netip.MustParseAddr("224.0.0.251") }), 5353, 5353, nil), dataplane.NotUnicast},
		"multicast of IPv6":             {packet.UDP(toAll, 5353, 5353, nil), dataplane.NotUnicast},
		"a broadcast frame to one":      {packet.UDP(bend(own4, func(e *packet.Ends) { e.DstMAC = dove.MAC{255, 255, 255, 255, 255, 255} }), 1, 2, nil), dataplane.NotUnicast},
		"from itself to itself":         {packet.UDP(bend(own4, func(e *packet.Ends) { e.Dst = e.Src }), 1, 2, nil), dataplane.Malformed},
		"a piece without its first":     {packet.Fragments(packet.UDP(own4, 1, 2, make([]byte, 600)), 400, 7)[1], map[bool]dataplane.Reason{true: dataplane.NoEndpoint, false: dataplane.Fragment}[n > 10]},
		"an old routing header":         {routed(own6), dataplane.ExtensionHeader},
	}
}

// routed is a packet with a routing header of type 0 (RFC 5095).
func routed(e packet.Ends) []byte {
	frame := packet.Other(e, 43, append([]byte{17, 2, 0, 1, 0, 0, 0, 0}, make([]byte, 24)...))
	return frame
}

// floods are what guest 11 can send much of: for each name, frames.
func floods(r *rand.Rand, hosts []*host) map[string][][]byte {
	own := packet.Ends{SrcMAC: guestMAC(11), DstMAC: guestMAC(12), Src: guestAddr4(11), Dst: guestAddr4(12)}
	many := func(n int, one func(i int) []byte) (frames [][]byte) {
		for i := range n {
			frames = append(frames, one(i))
		}
		return frames
	}
	nobody := func() netip.Addr {
		b := [4]byte{10, 99}
		binary.BigEndian.PutUint16(b[2:], uint16(r.Uint32()))
		return netip.AddrFrom4(b)
	}
	// What is an overlay packet to a host is a datagram as any to a guest.
	within := packet.Outer{Src: hosts[1].vtep, Dst: hosts[0].vtep, SrcPort: 0xc123, VNI: testVNI, Class: guestClass(2)}.
		Encap(packet.UDP(packet.Ends{SrcMAC: guestMAC(2), DstMAC: guestMAC(1), Src: guestAddr4(2), Dst: guestAddr4(1)}, pacedPort, pacedPort, nil))[42:]
	return map[string][][]byte{
		"overlay packets": many(100, func(int) []byte { return packet.UDP(own, 0xc123, packet.OverlayPort, within) }),
		"new flows":       many(30_000, func(i int) []byte { return packet.UDP(own, uint16(i), uint16(i>>8), nil) }),
		"misses": many(10_000, func(int) []byte {
			e := own
			e.Dst = nobody()
			return packet.UDP(e, 1, 2, nil)
		}),
		"ARP requests":     many(10_000, func(int) []byte { return packet.ARPRequest(guestMAC(11), guestAddr4(11), nobody()) }),
		"requests for one": many(5_000, func(int) []byte { return packet.ARPRequest(guestMAC(11), guestAddr4(11), guestAddr4(12)) }),
		"broadcasts": many(10_000, func(int) []byte {
			return packet.ARPReply(packet.Ends{SrcMAC: guestMAC(11), DstMAC: dove.MAC{255, 255, 255, 255, 255, 255}, Src: guestAddr4(11), Dst: guestAddr4(11)})
		}),
		"TCP that goes nowhere": many(10_000, func(i int) []byte { return packet.TCP(own, uint16(i), 80, packet.SYN, nil) }),
	}
}

// mutations are frames of guest n that were right before bytes of theirs were
// changed, cut off or added.
func mutations(r *rand.Rand, n byte, count int) (frames [][]byte) {
	own4 := packet.Ends{SrcMAC: guestMAC(n), DstMAC: guestMAC(12), Src: guestAddr4(n), Dst: guestAddr4(12)}
	own6 := packet.Ends{SrcMAC: guestMAC(n), DstMAC: guestMAC(12), Src: guestAddr6(n), Dst: guestAddr6(12)}
	right := [][]byte{
		packet.UDP(own4, 1, 53, make([]byte, 40)), packet.UDP(own6, 1, 53, make([]byte, 40)),
		packet.TCP(own4, 2, 80, packet.SYN, nil), packet.TCP(own6, 2, 80, packet.ACK, make([]byte, 8)),
		packet.EchoRequest(own4, 1, 1, make([]byte, 16)), packet.EchoRequest(own6, 1, 1, make([]byte, 16)),
		packet.ICMP(own4, 3, 4, 1300, packet.UDP(own4.Reverse(), 53, 1, nil)[14:]),
		packet.ARPRequest(guestMAC(n), guestAddr4(n), guestAddr4(12)), packet.Solicitation(guestMAC(n), guestAddr6(n), guestAddr6(12)),
		routed(own6),
	}
	right = append(right, packet.Fragments(packet.UDP(own4, 3, 4, make([]byte, 600)), 400, 9)...)
	right = append(right, packet.Fragments(packet.UDP(own6, 3, 4, make([]byte, 600)), 400, 9)...)
	for range count {
		frame := append([]byte(nil), right[r.IntN(len(right))]...)
		for range r.IntN(6) {
			frame[r.IntN(len(frame))] ^= byte(1 << r.IntN(8))
		}
		switch r.IntN(4) {
		case 0:
			frame = frame[:14+r.IntN(len(frame)-14)]
		case 1:
			frame = append(frame, make([]byte, r.IntN(40))...)
		}
		frames = append(frames, frame)
	}
	return frames
}
