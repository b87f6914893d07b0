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

// TooBig answers a frame that exceeds an MTU: ICMP destination unreachable,
// fragmentation needed (RFC 1191) or ICMPv6 packet too big (RFC 8201), from whom
// the frame was for. It returns nil where no answer is due: IPv4 that may be
// fragmented, later fragments, errors, and what is too short to be quoted.
func TooBig(frame []byte, mtu uint16) []byte {
	if len(frame) < ethernetSize+ipv4Size {
		return nil
	}
	e := Ends{SrcMAC: dove.MAC(frame[0:6]), DstMAC: dove.MAC(frame[6:12])}
	ip := frame[ethernetSize:]
	switch binary.BigEndian.Uint16(frame[12:14]) {
	case etherTypeIPv4:
		n := int(ip[0]&0xf)*4 + quoted4
		if len(ip) < n || ip[6]&0x40 == 0 || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
			return nil
		}
		if typ := ip[n-quoted4]; dove.Protocol(ip[9]) == dove.ProtocolICMP && typ != icmpEcho && typ != icmpEchoReply {
			return nil
		}
		e.Src, e.Dst = netip.AddrFrom4([4]byte(ip[16:20])), netip.AddrFrom4([4]byte(ip[12:16]))
		return ICMP(e, icmpUnreachable, icmpFragmentationNeeded, uint32(mtu), ip[:n])
	case etherTypeIPv6:
		if len(ip) < quoted6 || dove.Protocol(ip[6]) == dove.ProtocolICMPv6 && ip[ipv6Size] < icmp6Echo {
			return nil
		}
		e.Src, e.Dst = netip.AddrFrom16([16]byte(ip[24:40])), netip.AddrFrom16([16]byte(ip[8:24]))
		return ICMP(e, icmp6TooBig, 0, uint32(mtu), ip[:quoted6])
	}
	return nil
}
