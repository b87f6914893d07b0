package packet

import (
	"encoding/binary"
	"net/netip"

	"dove.network/dove"
)

// Fault says why a frame is not carried. It is the zero value when nothing is wrong.
type Fault uint8

// Faults, of Parse and, from NotOverlay on, of Decap alone.
const (
	OK              Fault = iota
	Malformed             // headers cut short or contradictory
	NotIP                 // neither IPv4, IPv6 nor ARP
	NotUnicast            // broadcast, multicast, or link-local chatter that no switch answers
	Fragment              // a fragment that would lie over its packet's transport header
	ExtensionHeader       // IPv6 with extension headers that are not walked: too many, or not carried
	NotOverlay            // not a whole VXLAN packet over IPv4
	BadOverlay            // VXLAN without group policy, or with reserved bits
)

var faultNames = [...]string{
	"ok", "malformed", "not-ip", "not-unicast", "fragment", "extension-header", "not-overlay", "bad-overlay",
}

func (f Fault) String() string { return faultNames[f] }

// Kind tells the packets that policy judges from those that ask for an address.
type Kind uint8

// Kinds.
const (
	IP      Kind = iota // IPv4 or IPv6, to be carried
	ARP                 // an ARP request
	Solicit             // an IPv6 neighbour solicitation
)

// TCPFlags are the flag bits of a TCP header (RFC 9293, CWR and ECE included).
type TCPFlags uint8

// Flags of TCP.
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// Echo says which part of an ICMP or ICMPv6 echo a packet is.
type Echo uint8

// Parts of an echo.
const (
	NoEcho Echo = iota
	Request
	Reply
)

// Packet is what Parse finds in a frame.
type Packet struct {
	Kind   Kind
	SrcMAC dove.MAC // of the Ethernet header
	DstMAC dove.MAC
	Sender dove.MAC   // ARP: the sender hardware address; else SrcMAC
	Src    netip.Addr // ARP: the sender's address
	Dst    netip.Addr // ARP and Solicit: the address asked for

	// Announces says that an ARP packet is gratuitous, or that a Solicit is no
	// solicitation but an unsolicited advertisement: Dst is Src, which its sender has.
	Announces bool

	// The rest is zero unless Kind is IP.

	Protocol dove.Protocol
	// SrcPort and DstPort of TCP, UDP and SCTP. An echo request has its
	// identifier as SrcPort and type<<8|code as DstPort, an echo reply has
	// type<<8|code of the request as SrcPort and the identifier as DstPort.
	// Other ICMP has 0 and type<<8|code, other protocols 0 and 0.
	SrcPort, DstPort uint16
	TypeCode         uint16   // ICMP and ICMPv6: type<<8|code of this very packet
	Echo             Echo     // ICMP and ICMPv6
	Flags            TCPFlags // TCP
	TOS              uint8    // DSCP<<2 | ECN, IPv6: the traffic class
	TTL              uint8    // IPv6: the hop limit

	Piece   Piece  // of a fragmented packet; a Later one has no ports and no flags
	PieceID uint32 // what a packet's pieces have in common
	About   Quote  // an ICMP error's
}

// Piece says which part of a fragmented packet a packet is.
type Piece uint8

// Pieces.
const (
	Whole Piece = iota
	First
	Later
)

// Quote is the flow of the packet that an ICMP error is about, in the direction
// of the error: Src and Dst are the error's own. It is there if the error goes
// to whom the quoted packet came from, and comes from whom that was for.
type Quote struct {
	Valid            bool
	Protocol         dove.Protocol
	SrcPort, DstPort uint16 // as in Packet
}

// Numbers of the formats read here.
const (
	ethernetSize  = 14
	arpSize       = 28
	ipv4Size      = 20
	ipv6Size      = 40
	neighborSize  = 24 // ICMPv6 neighbour solicitation and advertisement without options
	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd
	icmpEchoReply = 0

	icmpUnreachable         = 3
	icmpNoNetwork           = 0 // codes
	icmpNoHost              = 1
	icmpFragmentationNeeded = 4
	icmpTimeExceeded        = 11
	icmp6Unreachable        = 1
	icmp6NoRoute            = 0 // codes
	icmp6NoAddress          = 3
	icmp6TooBig             = 2
	icmp6TimeExceeded       = 3

	icmpEcho       = 8
	icmp6Echo      = 128
	icmp6EchoReply = 129
	routerSolicit  = 133
	neighSolicit   = 135
	neighAdvertise = 136
	redirect       = 137
)

// Parse reads a whole Ethernet frame, padding allowed. On a Fault the Packet has
// the fields that were read before it was found; the MACs are there unless the
// frame is shorter than 14 bytes. Checksums are not checked.
func Parse(frame []byte) (Packet, Fault) {
	var p Packet
	if len(frame) < ethernetSize {
		return p, Malformed
	}
	p.DstMAC, p.SrcMAC = dove.MAC(frame[0:6]), dove.MAC(frame[6:12])
	p.Sender = p.SrcMAC
	body := frame[ethernetSize:]
	switch binary.BigEndian.Uint16(frame[12:14]) {
	case etherTypeARP:
		return p, p.parseARP(body)
	case etherTypeIPv4:
		return p, p.parseIPv4(body)
	case etherTypeIPv6:
		return p, p.parseIPv6(body)
	}
	return p, NotIP
}

func (p *Packet) parseARP(b []byte) Fault {
	if len(b) < arpSize || [6]byte(b[:6]) != [6]byte{0, 1, 8, 0, 6, 4} {
		return Malformed
	}
	p.Kind = ARP
	p.Sender = dove.MAC(b[8:14])
	p.Src, p.Dst = netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
	p.Announces = p.Src == p.Dst
	if op := binary.BigEndian.Uint16(b[6:8]); op != 1 && !(op == 2 && p.Announces) || p.Src.IsUnspecified() {
		return NotUnicast // an answer nobody asked for, or a probe for a duplicate
	}
	return OK
}

func (p *Packet) parseIPv4(b []byte) Fault {
	if len(b) < ipv4Size || b[0]>>4 != 4 {
		return Malformed
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:4]))
	if header < ipv4Size || total < header || total > len(b) {
		return Malformed
	}
	p.Src, p.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	p.Protocol, p.TOS, p.TTL = dove.Protocol(b[9]), b[1], b[8]
	switch {
	case p.Src == p.Dst:
		return Malformed
	case p.DstMAC[0]&1 != 0 || b[16] >= 224:
		return NotUnicast
	case p.Protocol == dove.ProtocolICMPv6:
		return Malformed
	}
	if field := binary.BigEndian.Uint16(b[6:8]); field&0x3fff != 0 {
		fault := p.piece(field&0x2000 != 0, int(field&0x1fff)*8, total-header, uint32(binary.BigEndian.Uint16(b[4:6])))
		if fault != OK || p.Piece == Later {
			return fault
		}
	}
	return p.parseTransport(b[header:total])
}

// piece takes down a fragment: offset and size are of its payload, in bytes.
func (p *Packet) piece(more bool, offset, size int, id uint32) Fault {
	switch {
	case offset+size > 0xffff:
		return Malformed
	case offset == 0 && !more:
		return OK
	case offset == 0:
		p.Piece, p.PieceID = First, id
		return OK
	}
	p.Piece, p.PieceID = Later, id
	least := transportSize(p.Protocol)
	switch p.Protocol {
	case hopByHop, routing, fragment, authentication, destination: // in the first, before the transport's
		if !p.Src.Is4() {
			least = extensionBytes + transportSize(dove.ProtocolTCP)
		}
	}
	if offset < least {
		return Fragment // RFC 1858, RFC 7112
	}
	return OK
}

func (p *Packet) parseIPv6(b []byte) Fault {
	if len(b) < ipv6Size || b[0]>>4 != 6 {
		return Malformed
	}
	payload := int(binary.BigEndian.Uint16(b[4:6]))
	if payload > len(b)-ipv6Size {
		return Malformed
	}
	p.Src, p.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	p.Protocol, p.TOS, p.TTL = dove.Protocol(b[6]), b[0]<<4|b[1]>>4, b[7]
	if p.Src == p.Dst || p.Src.Is4In6() || p.Dst.Is4In6() {
		return Malformed
	}
	l4 := b[ipv6Size : ipv6Size+payload]
	direct := p.Protocol == dove.ProtocolICMPv6
	if direct && payload > 0 && l4[0] >= routerSolicit && l4[0] <= redirect {
		return p.parseNeighbor(l4, b[7])
	}
	if p.DstMAC[0]&1 != 0 || b[24] == 0xff {
		return NotUnicast
	}
	l4, fault := p.extensions(l4)
	switch {
	case fault != OK || p.Piece == Later:
		return fault
	case p.Protocol == dove.ProtocolICMP:
		return Malformed
	case !direct && p.Protocol == dove.ProtocolICMPv6 && len(l4) > 0 && l4[0] >= routerSolicit && l4[0] <= redirect:
		return NotUnicast // no neighbour speaks behind an extension header (RFC 6980)
	}
	return p.parseTransport(l4)
}

// Extension headers of IPv6 (RFC 8200), and how far they are walked.
const (
	hopByHop       = 0
	routing        = 43
	fragment       = 44
	authentication = 51
	destination    = 60
	mobility       = 135
	identity       = 139 // HIP
	shim           = 140
	extensionsMost = 6
	extensionBytes = 256
)

// extensions walks the headers between IPv6 and the transport's. It sets the
// protocol, and returns what follows.
func (p *Packet) extensions(b []byte) ([]byte, Fault) {
	walked := 0
	for i := range extensionsMost {
		next := p.Protocol
		switch next {
		case hopByHop, routing, fragment, authentication, destination:
		case mobility, identity, shim:
			return b, ExtensionHeader
		default:
			return b, OK
		}
		if len(b) < 8 {
			return b, Malformed
		}
		size := (int(b[1]) + 1) * 8
		switch next {
		case fragment:
			size = 8
		case authentication:
			size = (int(b[1]) + 2) * 4
		}
		walked += size
		switch {
		case size > len(b), next == hopByHop && i > 0:
			return b, Malformed
		case walked > extensionBytes, next == routing && b[2] == 0: // RFC 5095
			return b, ExtensionHeader
		}
		p.Protocol = dove.Protocol(b[0])
		if next == fragment {
			field := binary.BigEndian.Uint16(b[2:4])
			fault := p.piece(field&1 != 0, int(field&0xfff8), len(b)-size, binary.BigEndian.Uint32(b[4:8]))
			if fault != OK || p.Piece == Later {
				return b, fault
			}
		}
		b = b[size:]
	}
	return b, ExtensionHeader
}

// parseNeighbor reads ICMPv6 of types 133 to 137 (RFC 4861). Only a
// solicitation is answered; the others never leave their link.
func (p *Packet) parseNeighbor(l4 []byte, hopLimit byte) Fault {
	if p.announces(l4, hopLimit) {
		p.Kind, p.Announces, p.Dst, p.Protocol, p.TOS, p.TTL = Solicit, true, p.Src, 0, 0, 0
		return OK
	}
	if l4[0] != neighSolicit || p.Src.IsUnspecified() {
		return NotUnicast
	}
	if len(l4) < neighborSize || l4[1] != 0 || hopLimit != 255 {
		return Malformed
	}
	target := netip.AddrFrom16([16]byte(l4[8:24]))
	if target.IsMulticast() || target.Is4In6() {
		return Malformed
	}
	p.Kind, p.Dst, p.Protocol, p.TOS, p.TTL = Solicit, target, 0, 0, 0
	return OK
}

// announces reports whether ICMPv6 is an advertisement that nobody solicited, to
// all nodes, of its sender's own address.
func (p *Packet) announces(l4 []byte, hopLimit byte) bool {
	return l4[0] == neighAdvertise && len(l4) >= neighborSize && l4[1] == 0 && hopLimit == 255 && p.DstMAC[0]&1 != 0 &&
		netip.AddrFrom16([16]byte(l4[8:24])) == p.Src && !p.Src.IsMulticast() && !p.Src.IsUnspecified()
}

func (p *Packet) parseTransport(b []byte) Fault {
	if len(b) < transportSize(p.Protocol) {
		return Malformed
	}
	switch {
	case p.Protocol.HasPorts():
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b[0:2]), binary.BigEndian.Uint16(b[2:4])
		if p.Protocol == dove.ProtocolTCP {
			p.Flags = TCPFlags(b[13])
		}
	case p.Protocol.IsICMP():
		p.parseICMP(b)
	}
	return OK
}

// transportSize is the least size of a protocol's header, 0 where nothing is read.
func transportSize(p dove.Protocol) int {
	switch p {
	case dove.ProtocolTCP:
		return 20
	case dove.ProtocolSCTP:
		return 12
	case dove.ProtocolUDP, dove.ProtocolICMP, dove.ProtocolICMPv6:
		return 8
	}
	return 0
}

func (p *Packet) parseICMP(b []byte) {
	request, reply := byte(icmpEcho), byte(icmpEchoReply)
	if p.Protocol == dove.ProtocolICMPv6 {
		request, reply = icmp6Echo, icmp6EchoReply
	}
	p.TypeCode = uint16(b[0])<<8 | uint16(b[1])
	id := binary.BigEndian.Uint16(b[4:6])
	switch b[0] {
	case request:
		p.Echo, p.SrcPort, p.DstPort = Request, id, p.TypeCode
	case reply:
		p.Echo, p.SrcPort, p.DstPort = Reply, uint16(request)<<8|uint16(b[1]), id
	default:
		p.DstPort = p.TypeCode
		if p.Piece == Whole && p.isError(b[0]) {
			p.quote(b[8:])
		}
	}
}

// isError reports whether an ICMP type is that of an error: it is about another packet.
func (p *Packet) isError(typ byte) bool {
	if p.Protocol == dove.ProtocolICMPv6 {
		return typ >= 1 && typ <= 4
	}
	return typ == 3 || typ == 11 || typ == 12
}

// quote reads the packet that an ICMP error is about.
func (p *Packet) quote(b []byte) {
	var q Quote
	size := ipv6Size
	var src, dst netip.Addr
	if p.Protocol == dove.ProtocolICMP {
		if len(b) < ipv4Size || b[0]>>4 != 4 {
			return
		}
		size = int(b[0]&0xf) * 4
		if size < ipv4Size || binary.BigEndian.Uint16(b[6:8])&0x1fff != 0 {
			return
		}
		src, dst, q.Protocol = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), dove.Protocol(b[9])
	} else {
		if len(b) < ipv6Size || b[0]>>4 != 6 {
			return
		}
		src, dst, q.Protocol = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), dove.Protocol(b[6])
	}
	if len(b) < size+8 || src != p.Dst || dst != p.Src {
		return
	}
	switch b = b[size:]; {
	case q.Protocol.HasPorts():
		q.SrcPort, q.DstPort = binary.BigEndian.Uint16(b[2:4]), binary.BigEndian.Uint16(b[0:2])
	case q.Protocol.IsICMP():
		request, reply := byte(icmpEcho), byte(icmpEchoReply)
		if q.Protocol == dove.ProtocolICMPv6 {
			request, reply = icmp6Echo, icmp6EchoReply
		}
		id, asked := binary.BigEndian.Uint16(b[4:6]), uint16(request)<<8|uint16(b[1])
		switch b[0] {
		case request:
			q.SrcPort, q.DstPort = asked, id
		case reply:
			q.SrcPort, q.DstPort = id, asked
		default:
			return
		}
	}
	q.Valid = true
	p.About = q
}
