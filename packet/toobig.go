package packet

import (
	"encoding/binary"
	"net/netip"

	"dove.network/dove"
)

// What an answer quotes of an IPv6 packet, and of an IPv4 packet beyond its header.
const (
	quoted6 = ipv6Size + 8
	quoted4 = 8
)

// Refusal is why a packet goes no further, as ICMP tells its sender.
type Refusal uint8

// Refusals.
const (
	TooLarge  Refusal = iota // exceeds an MTU (RFC 1191, RFC 8201)
	Expired                  // its TTL or hop limit is used up
	NoHost                   // nobody has the address that it is for
	NoNetwork                // nothing leads to that address
)

// TooBig answers a frame that exceeds an MTU, from whom the frame was for.
func TooBig(frame []byte, mtu uint16) []byte {
	p, fault := Parse(frame)
	if fault != OK {
		return nil
	}
	return Refuse(frame, TooLarge, p.DstMAC, p.Dst, mtu)
}

// Refuse tells a frame's sender by ICMP why it goes no further, from the given
// addresses. The MTU counts for TooLarge alone. It returns nil where no answer is
// due: IPv4 that is too large but may be fragmented, later fragments, ICMP that is no echo,
// and what is too short to be quoted.
func Refuse(frame []byte, why Refusal, mac dove.MAC, from netip.Addr, mtu uint16) []byte {
	p, fault := Parse(frame)
	if fault != OK || p.Kind != IP || p.Piece == Later || p.Protocol.IsICMP() && p.Echo == NoEcho {
		return nil
	}
	e := Ends{SrcMAC: mac, DstMAC: p.SrcMAC, Src: from, Dst: p.Src}
	ip := frame[ethernetSize:]
	rest := uint32(0)
	if why == TooLarge {
		rest = uint32(mtu)
	}
	switch binary.BigEndian.Uint16(frame[12:14]) {
	case etherTypeIPv4:
		n := int(ip[0]&0xf)*4 + quoted4
		if len(ip) < n || why == TooLarge && ip[6]&0x40 == 0 {
			return nil
		}
		say := [...][2]uint8{
			TooLarge: {icmpUnreachable, icmpFragmentationNeeded}, Expired: {icmpTimeExceeded, 0},
			NoHost: {icmpUnreachable, icmpNoHost}, NoNetwork: {icmpUnreachable, icmpNoNetwork},
		}[why]
		return ICMP(e, say[0], say[1], rest, ip[:n])
	case etherTypeIPv6:
		if len(ip) < quoted6 {
			return nil
		}
		say := [...][2]uint8{
			TooLarge: {icmp6TooBig, 0}, Expired: {icmp6TimeExceeded, 0},
			NoHost: {icmp6Unreachable, icmp6NoAddress}, NoNetwork: {icmp6Unreachable, icmp6NoRoute},
		}[why]
		return ICMP(e, say[0], say[1], rest, ip[:quoted6])
	}
	return nil
}
