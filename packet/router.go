package packet

import (
	"encoding/binary"

	"dove.network/dove"
)

// hops is the TTL or hop limit of what a router says by itself.
const hops = 64

// Hop takes one from a frame's TTL, and keeps the IPv4 checksum as right or wrong
// as it was, or from its hop limit. The frame is one that Parse finds no fault in.
func Hop(frame []byte) {
	switch ip := frame[ethernetSize:]; binary.BigEndian.Uint16(frame[12:14]) {
	case etherTypeIPv4:
		setWord(ip, 8, uint16(ip[8]-1)<<8|uint16(ip[9]), 10)
	case etherTypeIPv6:
		ip[7]--
	}
}

// Pong returns the reply of whom an echo request is for, at mac, or nil if the
// frame is none: no fragment, and behind no extension header.
func Pong(frame []byte, mac dove.MAC) []byte {
	p, fault := Parse(frame)
	if fault != OK || p.Kind != IP || p.Echo != Request || p.Piece != Whole {
		return nil
	}
	b := append([]byte(nil), frame...)
	putEthernet(b, mac, p.SrcMAC, binary.BigEndian.Uint16(frame[12:14]))
	ip := b[ethernetSize:]
	if p.Src.Is4() {
		copy(ip[12:16], frame[ethernetSize+16:ethernetSize+20])
		copy(ip[16:20], frame[ethernetSize+12:ethernetSize+16])
		setWord(ip, 8, hops<<8|uint16(ip[9]), 10)
		setWord(ip[int(ip[0]&0xf)*4:], 0, icmpEchoReply<<8|p.TypeCode&0xff, 2)
		return b
	}
	if dove.Protocol(ip[6]) != dove.ProtocolICMPv6 {
		return nil
	}
	copy(ip[8:24], frame[ethernetSize+24:ethernetSize+40])
	copy(ip[24:40], frame[ethernetSize+8:ethernetSize+24])
	ip[7] = hops
	setWord(ip[ipv6Size:], 0, icmp6EchoReply<<8|p.TypeCode&0xff, 2)
	return b
}
