package packet

import "encoding/binary"

// What an answer quotes of an IPv6 packet, and of an IPv4 packet beyond its header.
const (
	quoted6 = ipv6Size + 8
	quoted4 = 8
)

// TooBig answers a frame that exceeds an MTU: ICMP destination unreachable,
// fragmentation needed (RFC 1191) or ICMPv6 packet too big (RFC 8201), from whom
// the frame was for. It returns nil where no answer is due: IPv4 that may be
// fragmented, later fragments, ICMP that is no echo, and what is too short to be
// quoted.
func TooBig(frame []byte, mtu uint16) []byte {
	p, fault := Parse(frame)
	if fault != OK || p.Kind != IP || p.Piece == Later || p.Protocol.IsICMP() && p.Echo == NoEcho {
		return nil
	}
	e := Ends{SrcMAC: p.DstMAC, DstMAC: p.SrcMAC, Src: p.Dst, Dst: p.Src}
	ip := frame[ethernetSize:]
	switch binary.BigEndian.Uint16(frame[12:14]) {
	case etherTypeIPv4:
		n := int(ip[0]&0xf)*4 + quoted4
		if len(ip) < n || ip[6]&0x40 == 0 {
			return nil
		}
		return ICMP(e, icmpUnreachable, icmpFragmentationNeeded, uint32(mtu), ip[:n])
	case etherTypeIPv6:
		if len(ip) < quoted6 {
			return nil
		}
		return ICMP(e, icmp6TooBig, 0, uint32(mtu), ip[:quoted6])
	}
	return nil
}
