package packet

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"

	"dove.network/dove"
)

// Ends says between whom a frame travels. The addresses are both IPv4 or both
// IPv6, or the builders panic.
type Ends struct {
	SrcMAC, DstMAC dove.MAC
	Src, Dst       netip.Addr
}

// Reverse returns the ends of the answer.
func (e Ends) Reverse() Ends { return Ends{e.DstMAC, e.SrcMAC, e.Dst, e.Src} }

// TCP builds a segment with sequence and acknowledgement number 0.
func TCP(e Ends, srcPort, dstPort uint16, flags TCPFlags, payload []byte) []byte {
	l4 := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(l4[0:], srcPort)
	binary.BigEndian.PutUint16(l4[2:], dstPort)
	l4[12] = 5 << 4
	l4[13] = byte(flags)
	binary.BigEndian.PutUint16(l4[14:], 0xffff) // window
	return e.frame(dove.ProtocolTCP, append(l4, payload...))
}

// UDP builds a datagram.
func UDP(e Ends, srcPort, dstPort uint16, payload []byte) []byte {
	l4 := make([]byte, udpSize, udpSize+len(payload))
	binary.BigEndian.PutUint16(l4[0:], srcPort)
	binary.BigEndian.PutUint16(l4[2:], dstPort)
	binary.BigEndian.PutUint16(l4[4:], uint16(udpSize+len(payload)))
	return e.frame(dove.ProtocolUDP, append(l4, payload...))
}

// SCTP builds a packet with verification tag 0 and the given chunks.
func SCTP(e Ends, srcPort, dstPort uint16, chunks []byte) []byte {
	l4 := make([]byte, 12, 12+len(chunks))
	binary.BigEndian.PutUint16(l4[0:], srcPort)
	binary.BigEndian.PutUint16(l4[2:], dstPort)
	return e.frame(dove.ProtocolSCTP, append(l4, chunks...))
}

// EchoRequest builds an ICMP or ICMPv6 echo request, as the ends' family asks.
func EchoRequest(e Ends, id, sequence uint16, payload []byte) []byte {
	if e.Src.Is4() {
		return ICMP(e, icmpEcho, 0, uint32(id)<<16|uint32(sequence), payload)
	}
	return ICMP(e, icmp6Echo, 0, uint32(id)<<16|uint32(sequence), payload)
}

// EchoReply builds the reply to EchoRequest; e is in the reply's direction.
func EchoReply(e Ends, id, sequence uint16, payload []byte) []byte {
	if e.Src.Is4() {
		return ICMP(e, icmpEchoReply, 0, uint32(id)<<16|uint32(sequence), payload)
	}
	return ICMP(e, icmp6EchoReply, 0, uint32(id)<<16|uint32(sequence), payload)
}

// ICMP builds any ICMP or ICMPv6 message, as the ends' family asks. Rest is the
// second word of the header: an echo's identifier and sequence number, or the
// MTU of a too-big message.
func ICMP(e Ends, typ, code uint8, rest uint32, payload []byte) []byte {
	l4 := make([]byte, 8, 8+len(payload))
	l4[0], l4[1] = typ, code
	binary.BigEndian.PutUint32(l4[4:], rest)
	if e.Src.Is4() {
		return e.frame(dove.ProtocolICMP, append(l4, payload...))
	}
	return e.frame(dove.ProtocolICMPv6, append(l4, payload...))
}

// frame fills in the checksum of l4 and puts Ethernet and IP headers before it.
func (e Ends) frame(p dove.Protocol, l4 []byte) []byte {
	putChecksum(l4, p, e)
	return Other(e, p, l4)
}

// Other builds a packet of any protocol around l4 as it is.
func Other(e Ends, p dove.Protocol, l4 []byte) []byte {
	if e.Src.Is4() != e.Dst.Is4() || !e.Src.IsValid() || !e.Dst.IsValid() {
		panic(fmt.Sprintf("packet: ends %v and %v are not of one family", e.Src, e.Dst))
	}
	if len(l4) > 0xffff-ipv4Size {
		panic(fmt.Sprintf("packet: %d bytes do not fit into one IP packet", len(l4)))
	}
	size, etherType := ipv4Size, uint16(etherTypeIPv4)
	if !e.Src.Is4() {
		size, etherType = ipv6Size, etherTypeIPv6
	}
	b := make([]byte, ethernetSize+size, ethernetSize+size+len(l4))
	putEthernet(b, e.SrcMAC, e.DstMAC, etherType)
	if e.Src.Is4() {
		putIPv4(b[ethernetSize:], e.Src, e.Dst, p, size+len(l4))
	} else {
		putIPv6(b[ethernetSize:], e.Src, e.Dst, p, len(l4), 64)
	}
	return append(b, l4...)
}

func putEthernet(b []byte, src, dst dove.MAC, etherType uint16) {
	copy(b[0:6], dst[:])
	copy(b[6:12], src[:])
	binary.BigEndian.PutUint16(b[12:], etherType)
}

// putIPv4 writes a header with don't-fragment and TTL 64; total counts itself.
func putIPv4(b []byte, src, dst netip.Addr, p dove.Protocol, total int) {
	b[0] = 4<<4 | ipv4Size/4
	binary.BigEndian.PutUint16(b[2:], uint16(total))
	b[6] = 0x40
	b[8] = 64
	b[9] = byte(p)
	copy(b[12:16], src.AsSlice())
	copy(b[16:20], dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^fold(sum(0, b[:ipv4Size])))
}

func putIPv6(b []byte, src, dst netip.Addr, p dove.Protocol, payload int, hopLimit byte) {
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(payload))
	b[6] = byte(p)
	b[7] = hopLimit
	copy(b[8:24], src.AsSlice())
	copy(b[24:40], dst.AsSlice())
}

// putChecksum fills in the checksum of a transport header whose field is zero.
func putChecksum(l4 []byte, p dove.Protocol, e Ends) {
	switch p {
	case dove.ProtocolTCP:
		binary.BigEndian.PutUint16(l4[16:], pseudoSum(l4, p, e))
	case dove.ProtocolUDP:
		c := pseudoSum(l4, p, e)
		if c == 0 {
			c = 0xffff // 0 means none
		}
		binary.BigEndian.PutUint16(l4[6:], c)
	case dove.ProtocolICMPv6:
		binary.BigEndian.PutUint16(l4[2:], pseudoSum(l4, p, e))
	case dove.ProtocolICMP:
		binary.BigEndian.PutUint16(l4[2:], ^fold(sum(0, l4)))
	case dove.ProtocolSCTP:
		binary.LittleEndian.PutUint32(l4[8:], crc32.Checksum(l4, crc32.MakeTable(crc32.Castagnoli)))
	}
}

// pseudoSum is the Internet checksum over the pseudo-header and l4.
func pseudoSum(l4 []byte, p dove.Protocol, e Ends) uint16 {
	s := sum(uint32(p)+uint32(len(l4)), e.Src.AsSlice())
	return ^fold(sum(sum(s, e.Dst.AsSlice()), l4))
}

// sum adds b as big-endian 16-bit words (RFC 1071).
func sum(s uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
