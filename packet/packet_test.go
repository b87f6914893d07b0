package packet

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dove.network/dove"
)

var (
	macA = dove.MAC{2, 0, 0, 0, 0, 0xa}
	macB = dove.MAC{2, 0, 0, 0, 0, 0xb}
	a4   = netip.MustParseAddr("10.0.0.1")
	b4   = netip.MustParseAddr("10.0.0.2")
	a6   = netip.MustParseAddr("fd00::1")
	b6   = netip.MustParseAddr("fd00::2")
	v4   = Ends{macA, macB, a4, b4}
	v6   = Ends{macA, macB, a6, b6}
)

var compareAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestParse(t *testing.T) {
	ip := func(e Ends, p dove.Protocol) Packet {
		return Packet{SrcMAC: e.SrcMAC, DstMAC: e.DstMAC, Sender: e.SrcMAC, Src: e.Src, Dst: e.Dst, Protocol: p, TTL: 64}
	}
	ports := func(p Packet, src, dst uint16) Packet { p.SrcPort, p.DstPort = src, dst; return p }
	icmp := func(p Packet, e Echo, typeCode uint16) Packet { p.Echo, p.TypeCode = e, typeCode; return p }
	tcp := func(p Packet, f TCPFlags) Packet { p.Flags = f; return p }

	tests := []struct {
		name  string
		frame []byte
		want  Packet
	}{
		{"tcp4", TCP(v4, 1000, 80, SYN|ACK, []byte("x")), tcp(ports(ip(v4, 6), 1000, 80), SYN|ACK)},
		{"tcp6", TCP(v6, 1000, 80, FIN, nil), tcp(ports(ip(v6, 6), 1000, 80), FIN)},
		{"udp4", UDP(v4, 53, 4000, []byte("odd")), ports(ip(v4, 17), 53, 4000)},
		{"udp6", UDP(v6, 53, 4000, nil), ports(ip(v6, 17), 53, 4000)},
		{"sctp4", SCTP(v4, 1, 2, []byte{1, 0, 0, 4}), ports(ip(v4, 132), 1, 2)},
		{"sctp6", SCTP(v6, 1, 2, nil), ports(ip(v6, 132), 1, 2)},
		{"padded", append(UDP(v4, 1, 2, nil), make([]byte, 18)...), ports(ip(v4, 17), 1, 2)},
		{"echo request", EchoRequest(v4, 7, 1, nil), icmp(ports(ip(v4, 1), 7, 0x0800), Request, 0x0800)},
		{"echo reply", EchoReply(v4, 7, 1, nil), icmp(ports(ip(v4, 1), 0x0800, 7), Reply, 0)},
		{"echo request 6", EchoRequest(v6, 7, 1, []byte("abc")), icmp(ports(ip(v6, 58), 7, 0x8000), Request, 0x8000)},
		{"echo reply 6", EchoReply(v6, 7, 1, nil), icmp(ports(ip(v6, 58), 0x8000, 7), Reply, 0x8100)},
		{"unreachable", ICMP(v4, 3, 4, 1400, nil), icmp(ports(ip(v4, 1), 0, 0x0304), NoEcho, 0x0304)},
		{"too big 6", ICMP(v6, 2, 0, 1400, nil), icmp(ports(ip(v6, 58), 0, 0x0200), NoEcho, 0x0200)},
		{"gre", Other(v4, 47, []byte{1, 2}), ip(v4, 47)},
		{"no next header", Other(v6, 59, nil), ip(v6, 59)},
		{"arp", ARPRequest(macA, a4, b4), Packet{Kind: ARP, SrcMAC: macA, DstMAC: broadcast, Sender: macA, Src: a4, Dst: b4}},
		{"solicitation", Solicitation(macA, a6, b6), Packet{Kind: Solicit, SrcMAC: macA,
			DstMAC: dove.MAC{0x33, 0x33, 0xff, 0, 0, 2}, Sender: macA, Src: a6, Dst: b6}},
		{"unicast solicitation", neighbor(v6, neighSolicit, 0, b6, nil),
			Packet{Kind: Solicit, SrcMAC: macA, DstMAC: macB, Sender: macA, Src: a6, Dst: b6}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, fault := Parse(tt.frame)
			if fault != OK {
				t.Fatalf("fault %v", fault)
			}
			if d := cmp.Diff(tt.want, got, compareAddrs); d != "" {
				t.Errorf("want -, got +:\n%s", d)
			}
		})
	}
}

// with returns a copy of frame with bytes set from offset on.
func with(frame []byte, offset int, set ...byte) []byte {
	b := bytes.Clone(frame)
	copy(b[offset:], set)
	return b
}

func TestParseFaults(t *testing.T) {
	addr := netip.MustParseAddr
	to := func(e Ends, dst string) Ends { e.Dst = addr(dst); return e }
	from := func(e Ends, src string) Ends { e.Src = addr(src); return e }
	udp4, udp6, tcp4, tcp6 := UDP(v4, 1, 2, nil), UDP(v6, 1, 2, nil), TCP(v4, 1, 2, 0, nil), TCP(v6, 1, 2, 0, nil)
	request, solicit := ARPRequest(macA, a4, b4), Solicitation(macA, a6, b6)

	tests := []struct {
		name  string
		frame []byte
		want  Fault
	}{
		{"empty", nil, Malformed},
		{"runt", udp4[:13], Malformed},
		{"vlan", with(udp4, 12, 0x81, 0), NotIP},
		{"lldp", with(udp4, 12, 0x88, 0xcc), NotIP},
		{"802.3 length", with(udp4, 12, 0, 60), NotIP},

		{"arp cut", request[:41], Malformed},
		{"arp of 802.5", with(request, 14, 0, 6), Malformed},
		{"arp for IPX", with(request, 16, 0x81, 0x37), Malformed},
		{"arp reply", ARPReply(v4), NotUnicast},
		{"arp probe", ARPRequest(macA, addr("0.0.0.0"), b4), NotUnicast},

		{"ipv4 cut", udp4[:33], Malformed},
		{"ipv4 version", with(udp4, 14, 0x65), Malformed},
		{"ipv4 header length 4 words", with(udp4, 14, 0x44), Malformed},
		{"ipv4 options beyond total", with(udp4, 14, 0x4f), Malformed},
		{"ipv4 total below header", with(udp4, 16, 0, 19), Malformed},
		{"ipv4 total beyond frame", with(udp4, 16, 0, 29), Malformed},
		{"ipv4 to itself", UDP(to(v4, "10.0.0.1"), 1, 2, nil), Malformed},
		{"ipv4 multicast", UDP(to(v4, "224.0.0.251"), 5353, 5353, nil), NotUnicast},
		{"ipv4 broadcast", UDP(to(v4, "255.255.255.255"), 68, 67, nil), NotUnicast},
		{"ipv4 by Ethernet broadcast", with(udp4, 0, 0xff), NotUnicast},
		{"ipv4 first fragment", with(udp4, 20, 0x20, 0), OK},
		{"ipv4 first fragment without a whole header", with(TCP(v4, 1, 2, 0, nil), 16, 0, 36, 0, 0, 0x20, 0), Malformed},
		{"ipv4 last fragment", with(udp4, 20, 0, 1), OK},
		{"ipv4 fragment over the ports", with(TCP(v4, 1, 2, 0, nil), 20, 0, 2), Fragment},
		{"ipv4 fragment beyond 64 KiB", with(udp4, 20, 0x1f, 0xff), Malformed},
		{"ipv4 multicast fragment", with(UDP(to(v4, "224.0.0.1"), 1, 2, nil), 20, 0x20), NotUnicast},
		{"icmpv6 in ipv4", Other(v4, 58, make([]byte, 8)), Malformed},
		{"udp4 cut", with(udp4, 16, 0, 27)[:41], Malformed},
		{"tcp4 cut", with(tcp4, 16, 0, 39), Malformed},
		{"icmp cut", Other(v4, 1, nil), Malformed},
		{"sctp cut", with(SCTP(v4, 1, 2, nil), 16, 0, 31), Malformed},

		{"ipv6 cut", udp6[:53], Malformed},
		{"ipv6 version", with(udp6, 14, 0x40), Malformed},
		{"ipv6 payload beyond frame", with(udp6, 18, 0, 9), Malformed},
		{"ipv6 to itself", UDP(to(v6, "fd00::1"), 1, 2, nil), Malformed},
		{"ipv6 to mapped", UDP(to(v6, "::ffff:10.0.0.1"), 1, 2, nil), Malformed},
		{"ipv6 from mapped", UDP(from(v6, "::ffff:10.0.0.1"), 1, 2, nil), Malformed},
		{"ipv6 multicast", UDP(to(v6, "ff02::fb"), 5353, 5353, nil), NotUnicast},
		{"ipv6 by Ethernet multicast", with(udp6, 0, 0x33, 0x33), NotUnicast},
		{"mld", Other(to(v6, "ff02::16"), 0, make([]byte, 16)), NotUnicast},
		{"hop-by-hop", Extend(udp6, 0, make([]byte, 6)), OK},
		{"hop-by-hop, second", Extend(Extend(udp6, 0, make([]byte, 6)), 60, make([]byte, 6)), Malformed},
		{"routing", Extend(udp6, 43, []byte{2, 0, 0, 0, 0, 0}), OK},
		{"routing of the old kind", Extend(udp6, 43, make([]byte, 6)), ExtensionHeader},
		{"fragment header cut", Other(v6, 44, nil), Malformed},
		{"fragment of all", Extend(udp6, 44, make([]byte, 6)), OK},
		{"fragment, first", Extend(udp6, 44, []byte{0, 1, 0, 0, 0, 7}), OK},
		{"fragment, later", Extend(udp6, 44, []byte{0, 8, 0, 0, 0, 7}), OK},
		{"fragment over the ports", Extend(tcp6, 44, []byte{0, 8, 0, 0, 0, 7}), Fragment},
		{"fragment over options", Extend(extended(udp6, 1), 44, []byte{1, 0, 0, 0, 0, 7}), Fragment},
		{"fragment after options", Extend(extended(udp6, 1), 44, []byte{1, 0x18, 0, 0, 0, 7}), OK},
		{"authentication", Extend(udp6, 51, make([]byte, 10)), OK},
		{"authentication cut", Other(v6, 51, nil), Malformed},
		{"destination options", Extend(udp6, 60, make([]byte, 14)), OK},
		{"destination options beyond the packet", with(Extend(udp6, 60, make([]byte, 6)), 55, 9), Malformed},
		{"options of 264 bytes", Extend(udp6, 60, make([]byte, 262)), ExtensionHeader},
		{"six options", extended(udp6, 6), ExtensionHeader},
		{"five options", extended(udp6, 5), OK},
		{"solicitation behind options", Extend(solicit, 60, make([]byte, 6)), NotUnicast},
		{"mobility", Other(v6, 135, nil), ExtensionHeader},
		{"icmp in ipv6", Other(v6, 1, make([]byte, 8)), Malformed},
		{"tcp6 cut", with(tcp6, 18, 0, 19), Malformed},
		{"icmpv6 cut", with(EchoRequest(v6, 1, 1, nil), 18, 0, 7), Malformed},
		{"icmpv6 empty", with(EchoRequest(v6, 1, 1, nil), 18, 0, 0), Malformed},

		{"router solicitation", ICMP(to(v6, "ff02::2"), 133, 0, 0, nil), NotUnicast},
		{"router advertisement to one", ICMP(v6, 134, 0, 0, nil), NotUnicast},
		{"advertisement", Advertisement(v6, a6), NotUnicast},
		{"redirect", ICMP(v6, 137, 0, 0, nil), NotUnicast},
		{"duplicate detection", Solicitation(macA, addr("::"), a6), NotUnicast},
		{"solicitation forwarded", with(solicit, 21, 254), Malformed},
		{"solicitation with code", with(solicit, 55, 1), Malformed},
		{"solicitation cut", with(solicit, 18, 0, 23), Malformed},
		{"solicitation of a group", with(solicit, 62, 0xff), Malformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, got := Parse(tt.frame); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func extended(b []byte, n int) []byte {
	for range n {
		b = Extend(b, 60, make([]byte, 6))
	}
	return b
}

// TestPieces reads what Fragments cuts.
func TestPieces(t *testing.T) {
	for _, frame := range [][]byte{UDP(v4, 1, 2, make([]byte, 100)), UDP(v6, 1, 2, make([]byte, 100))} {
		for i, piece := range Fragments(frame, 48, 7) {
			p, fault := Parse(piece)
			if fault != OK || p.PieceID != 7 || p.Protocol != dove.ProtocolUDP {
				t.Fatalf("piece %d: %+v, %v", i, p, fault)
			}
			if first := i == 0; (p.Piece == First) != first || (p.Piece == Later) == first || (p.DstPort == 2) != first {
				t.Errorf("piece %d: %+v", i, p)
			}
		}
	}
}

// TestQuote reads the flow that an ICMP error is about.
func TestQuote(t *testing.T) {
	ip := func(frame []byte) []byte { return frame[14:] }
	fragment := Fragments(UDP(v4, 1, 2, make([]byte, 16)), 8, 7)
	for _, tt := range []struct {
		name  string
		frame []byte
		want  Quote
	}{
		{"tcp", ICMP(v4.Reverse(), 3, 1, 0, ip(TCP(v4, 1, 2, SYN, nil))), Quote{true, dove.ProtocolTCP, 2, 1}},
		{"tcp6", ICMP(v6.Reverse(), 2, 0, 1400, ip(TCP(v6, 1, 2, SYN, nil))), Quote{true, dove.ProtocolTCP, 2, 1}},
		{"ping", ICMP(v4.Reverse(), 11, 0, 0, ip(EchoRequest(v4, 5, 1, nil))), Quote{true, dove.ProtocolICMP, 0x800, 5}},
		{"pong6", ICMP(v6.Reverse(), 1, 0, 0, ip(EchoReply(v6, 5, 1, nil))), Quote{true, dove.ProtocolICMPv6, 5, 0x8000}},
		{"first fragment", ICMP(v4.Reverse(), 3, 4, 1400, ip(fragment[0])), Quote{true, dove.ProtocolUDP, 2, 1}},
		{"later fragment", ICMP(v4.Reverse(), 3, 4, 1400, ip(fragment[1])), Quote{}},
		{"of somebody else", ICMP(v4, 3, 1, 0, ip(TCP(v4, 1, 2, SYN, nil))), Quote{}},
		{"about an error", ICMP(v4.Reverse(), 3, 1, 0, ip(ICMP(v4, 3, 1, 0, nil))), Quote{}},
		{"cut", ICMP(v4.Reverse(), 3, 1, 0, ip(TCP(v4, 1, 2, SYN, nil))[:27]), Quote{}},
		{"no error", ICMP(v4.Reverse(), 8, 0, 0, ip(TCP(v4, 1, 2, SYN, nil))), Quote{}},
		{"itself a fragment", with(ICMP(v4.Reverse(), 3, 1, 0, ip(TCP(v4, 1, 2, SYN, nil))), 20, 0x20), Quote{}},
	} {
		if p, fault := Parse(tt.frame); fault != OK || p.About != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, p.About, fault, tt.want)
		}
	}
}

// TestCongestion hands an outer header's mark on.
func TestCongestion(t *testing.T) {
	for _, e := range []Ends{v4, v6} {
		for outer := range uint8(4) {
			for inner := range uint8(4) {
				frame := UDP(e, 1, 2, nil)
				if e == v4 {
					setTOS(frame[14:], 0xb8|inner)
				} else {
					frame[14], frame[15] = 0x6b, 0x80|inner<<4
				}
				if Unmarkable(inner, outer) != (inner == 0 && outer == 3) {
					t.Errorf("inner %d, outer %d: unmarkable", inner, outer)
				}
				MarkCongested(frame, 0x28|outer)
				want := 0xb8 | inner
				if outer == 3 {
					want = 0xbb
				}
				if p, fault := Parse(frame); fault != OK || p.TOS != want {
					t.Errorf("inner %d, outer %d: %#x, %v, want %#x", inner, outer, p.TOS, fault, want)
				}
				if e == v4 && fold(sum(0, frame[14:34])) != 0xffff {
					t.Errorf("inner %d, outer %d: the checksum is wrong", inner, outer)
				}
			}
		}
	}
}

// TestTooBig answers what exceeds an MTU.
func TestTooBig(t *testing.T) {
	may := UDP(v4, 1, 2, make([]byte, 100))
	may[20] = 0 // be fragmented
	for _, tt := range []struct {
		name  string
		frame []byte
		about Quote
	}{
		{"udp", UDP(v4, 1, 2, make([]byte, 100)), Quote{true, dove.ProtocolUDP, 2, 1}},
		{"udp6", UDP(v6, 1, 2, make([]byte, 100)), Quote{true, dove.ProtocolUDP, 2, 1}},
		{"ping6", EchoRequest(v6, 5, 1, make([]byte, 100)), Quote{true, dove.ProtocolICMPv6, 0x8000, 5}},
		{"may be fragmented", may, Quote{}},
		{"error", ICMP(v6, 1, 0, 0, make([]byte, 100)), Quote{}},
		{"later fragment", Fragments(UDP(v6, 1, 2, make([]byte, 100)), 64, 1)[1], Quote{}},
	} {
		answer := TooBig(tt.frame, 90)
		p, fault := Parse(answer)
		switch {
		case (answer != nil) != tt.about.Valid:
			t.Errorf("%s: an answer of %d bytes", tt.name, len(answer))
		case answer != nil && (fault != OK || p.About != tt.about || binary.BigEndian.Uint16(answer[transportOf(p)+6:]) != 90):
			t.Errorf("%s: %x", tt.name, answer)
		}
	}
}

func transportOf(p Packet) int {
	if p.Src.Is4() {
		return 34
	}
	return 54
}

// TestChecksums checks what the builders wrote by adding everything up again.
func TestChecksums(t *testing.T) {
	frames := map[string][]byte{
		"tcp4": TCP(v4, 1, 2, SYN, []byte("abc")), "tcp6": TCP(v6, 1, 2, SYN, []byte("abc")),
		"udp4": UDP(v4, 1, 2, []byte("abc")), "udp6": UDP(v6, 1, 2, []byte("abc")),
		"ping4": EchoRequest(v4, 1, 2, []byte("abc")), "pong4": EchoReply(v4, 1, 2, nil),
		"ping6": EchoRequest(v6, 1, 2, []byte("abc")), "pong6": EchoReply(v6, 1, 2, nil),
		"solicitation": Solicitation(macA, a6, b6), "advertisement": Advertisement(v6, a6),
	}
	add := func(b []byte) (s uint32) {
		for i, c := range b {
			s += uint32(c) << (8 * (1 - i%2))
		}
		return s
	}
	for name, f := range frames {
		ip := f[14:]
		var s uint32
		switch ip[0] >> 4 {
		case 4:
			if got := fold(add(ip[:20])); got != 0xffff {
				t.Errorf("%s: IPv4 header adds up to %#x", name, got)
			}
			if s = add(ip[20:]); ip[9] != 1 {
				s += add(ip[12:20]) + uint32(ip[9]) + uint32(len(ip)-20)
			}
		case 6:
			s = add(ip[40:]) + add(ip[8:40]) + uint32(ip[6]) + uint32(len(ip)-40)
		}
		if got := fold(s); got != 0xffff {
			t.Errorf("%s: transport adds up to %#x", name, got)
		}
	}
	sctp := SCTP(v4, 1, 2, []byte{1, 0, 0, 4})[34:]
	got := binary.LittleEndian.Uint32(sctp[8:])
	if want := crc32.Checksum(with(sctp, 8, 0, 0, 0, 0), crc32.MakeTable(crc32.Castagnoli)); got != want {
		t.Errorf("sctp: checksum %#x, want %#x", got, want)
	}
}

func TestOverlay(t *testing.T) {
	for name, ends := range map[string]Ends{"ipv4": v4, "ipv6": v6} {
		t.Run(name, func(t *testing.T) { testOverlay(t, ends) })
	}
}

func testOverlay(t *testing.T, ends Ends) {
	outer := Outer{SrcMAC: macA, DstMAC: macB, Src: ends.Src, Dst: ends.Dst, SrcPort: 0xc123, TOS: 0xb9, VNI: 0xabcdef, Class: 0x1234}
	inner := UDP(v6, 1, 2, []byte("payload"))
	frame := outer.Encap(inner)
	size := OverlaySize(ends.Dst)
	vxlan := size - 8
	wantHeader := []byte{0x88, 0, 0x12, 0x34, 0xab, 0xcd, 0xef, 0}
	if got := frame[vxlan:size]; !bytes.Equal(got, wantHeader) {
		t.Errorf("VXLAN header % x, want % x", got, wantHeader)
	}
	got, body, fault := Decap(append(frame, 0, 0)) // with padding
	if got != outer || !bytes.Equal(body, inner) || fault != OK {
		t.Errorf("got %+v, % x, %v", got, body, fault)
	}
	if p, fault := Parse(frame); fault != OK || p.Src != ends.Src || p.Dst != ends.Dst || p.SrcPort != 0xc123 || p.DstPort != OverlayPort || p.TOS != 0xb9 {
		t.Errorf("the outer packet is %+v, %v", p, fault)
	}

	cut := bytes.Clone(frame[:size+13])
	type test struct {
		name  string
		frame []byte
		want  Fault
	}
	tests := []test{
		{"empty", nil, NotOverlay},
		{"tcp", TCP(ends, 1, OverlayPort, 0, make([]byte, 40)), NotOverlay},
		{"other port", with(frame, vxlan-6, 0, 53), NotOverlay},
		{"longer than the frame", frame[:len(frame)-1], NotOverlay},
		{"of the other family", with(frame, 14, frame[14]^2<<4), NotOverlay},
		{"no inner Ethernet", cut, Malformed},
		{"no group policy", with(frame, vxlan, 0x08, 0, 0, 0), OK},
		{"no group policy, but an id", with(frame, vxlan, 0x08), BadOverlay},
		{"no group policy, but applied", with(frame, vxlan, 0x08, 8, 0, 0), BadOverlay},
		{"the id that is none", with(frame, vxlan+2, 0xff, 0xff), BadOverlay},
		{"no VNI", with(frame, vxlan, 0x80), BadOverlay},
		{"reserved flag", with(frame, vxlan, 0x8c), BadOverlay},
		{"policy applied", with(frame, vxlan+1, 0x08), OK},
		{"do not learn", with(frame, vxlan+1, 0x40), BadOverlay},
		{"reserved byte", with(frame, size-1, 1), BadOverlay},
	}
	if ends.Src.Is4() {
		binary.BigEndian.PutUint16(cut[16:], uint16(len(cut)-14))
		tests = append(tests, test{"first fragment", with(frame, 20, 0x20), NotOverlay}, test{"later fragment", with(frame, 21, 1), NotOverlay},
			test{"shorter than UDP", with(frame, 16, 0, 27), NotOverlay})
	} else {
		binary.BigEndian.PutUint16(cut[18:], uint16(len(cut)-54))
		tests = append(tests, test{"fragment", with(frame, 20, 44), NotOverlay}, test{"hop-by-hop options", with(frame, 20, 0), NotOverlay},
			test{"shorter than UDP", with(frame, 18, 0, 7), NotOverlay})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, got := Decap(tt.frame); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	request, _ := Parse(ARPRequest(macA, a4, b4))
	if got, want := Answer(request, macB), ARPReply(v4.Reverse()); !bytes.Equal(got, want) {
		t.Errorf("ARP: got % x, want % x", got, want)
	}
	solicit, _ := Parse(Solicitation(macA, a6, b6))
	if got, want := Answer(solicit, macB), Advertisement(v6.Reverse(), b6); !bytes.Equal(got, want) {
		t.Errorf("ND: got % x, want % x", got, want)
	}
}

func TestSourcePort(t *testing.T) {
	there, _ := Parse(TCP(v6, 1000, 80, SYN, nil))
	back, _ := Parse(TCP(v6.Reverse(), 80, 1000, ACK, nil))
	if there.SourcePort() != back.SourcePort() || there.SourcePort() < 0xc000 {
		t.Errorf("source ports %#x there and %#x back", there.SourcePort(), back.SourcePort())
	}
	seen := map[uint16]bool{}
	for port := range uint16(1000) {
		p, _ := Parse(TCP(v4, port, 80, SYN, nil))
		seen[p.SourcePort()] = true
	}
	if len(seen) < 900 {
		t.Errorf("1000 flows share %d source ports", len(seen))
	}
}

func TestNoAllocation(t *testing.T) {
	inner := TCP(v6, 1, 2, SYN, nil)
	frame := Outer{Src: a4, Dst: b4, VNI: 1}.Encap(inner)
	if n := testing.AllocsPerRun(100, func() {
		_, body, _ := Decap(frame)
		if p, fault := Parse(body); fault != OK || p.DstPort != 2 {
			t.Error(fault)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}

// FuzzParse looks for panics, and for well-formed packets whose addresses or
// kind contradict what Parse promises. Its corpus is in testdata/fuzz.
func FuzzParse(f *testing.F) {
	f.Add(TCP(v4, 1, 2, SYN, nil))
	f.Add(ICMP(v4.Reverse(), 3, 4, 1400, TCP(v4, 1, 2, SYN, nil)[14:]))
	f.Add(Extend(Extend(UDP(v6, 1, 2, make([]byte, 40)), 60, make([]byte, 6)), 44, []byte{0, 1, 0, 0, 0, 7}))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if _, inner, fault := Decap(frame); fault == OK {
			Parse(inner)
		}
		p, fault := Parse(frame)
		if fault != OK {
			return
		}
		if !p.Src.IsValid() || p.Src.Is4() != p.Dst.Is4() || p.Src.Is4In6() || p.Dst.Is4In6() {
			t.Errorf("addresses %v and %v", p.Src, p.Dst)
		}
		if p.Dst.IsMulticast() && p.Kind != ARP {
			t.Errorf("carries to group %v", p.Dst)
		}
		if p.Piece == Later && (p.SrcPort != 0 || p.DstPort != 0 || p.Flags != 0 || p.About.Valid) {
			t.Errorf("a later piece with a transport header: %+v", p)
		}
		if answer := TooBig(frame, 1400); answer != nil {
			if a, fault := Parse(answer); fault == Malformed || a.Src != p.Dst || a.Dst != p.Src {
				t.Errorf("answer %+v, %v to a packet that is too big", a, fault)
			}
		}
		MarkCongested(frame, 3)
		if q, fault := Parse(frame); p.Kind == IP && (fault != OK || q.TOS != p.TOS|3) {
			t.Errorf("marked %+v, %v", q, fault)
		}
		if p.Kind != IP && p.Src != p.Dst {
			if answer, fault := Parse(Answer(p, macB)); fault != NotUnicast {
				t.Errorf("answer %+v parses as %v", answer, fault)
			}
		}
	})
}
