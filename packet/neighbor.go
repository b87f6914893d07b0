package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"dove.network/dove"
)

var broadcast = dove.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ARPRequest asks everyone who has target (RFC 826).
func ARPRequest(mac dove.MAC, sender, target netip.Addr) []byte {
	return arp(1, Ends{mac, broadcast, sender, target}, dove.MAC{})
}

// ARPReply tells e.DstMAC that e.Src is at e.SrcMAC.
func ARPReply(e Ends) []byte { return arp(2, e, e.DstMAC) }

func arp(op uint16, e Ends, target dove.MAC) []byte {
	if !e.Src.Is4() || !e.Dst.Is4() {
		panic(fmt.Sprintf("packet: ARP between %v and %v, which are not both IPv4", e.Src, e.Dst))
	}
	b := make([]byte, ethernetSize+arpSize)
	putEthernet(b, e.SrcMAC, e.DstMAC, etherTypeARP)
	a := b[ethernetSize:]
	copy(a, []byte{0, 1, 8, 0, 6, 4})
	binary.BigEndian.PutUint16(a[6:], op)
	copy(a[8:], e.SrcMAC[:])
	copy(a[14:], e.Src.AsSlice())
	copy(a[18:], target[:])
	copy(a[24:], e.Dst.AsSlice())
	return b
}

// Solicitation asks the target's solicited-node group for its MAC (RFC 4861),
// with the sender's MAC as option unless src is the unspecified address.
func Solicitation(mac dove.MAC, src, target netip.Addr) []byte {
	t := target.As16()
	group := netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: t[13], 14: t[14], 15: t[15]})
	e := Ends{mac, dove.MAC{0x33, 0x33, 0xff, t[13], t[14], t[15]}, src, group}
	if src.IsUnspecified() {
		return neighbor(e, neighSolicit, 0, target, nil)
	}
	return neighbor(e, neighSolicit, 0, target, append([]byte{1, 1}, mac[:]...))
}

// Advertisement tells e.Dst that target is at e.SrcMAC: solicited, override,
// with the target link-layer address option.
func Advertisement(e Ends, target netip.Addr) []byte {
	return neighbor(e, neighAdvertise, 0x60, target, append([]byte{2, 1}, e.SrcMAC[:]...))
}

// Announcement tells everyone on the link that addr is at mac: an ARP request for
// it from itself (RFC 5227), or an unsolicited advertisement (RFC 4861, 7.2.6).
func Announcement(mac dove.MAC, addr netip.Addr) []byte {
	if addr.Is4() {
		return ARPRequest(mac, addr, addr)
	}
	all := netip.IPv6LinkLocalAllNodes()
	return neighbor(Ends{mac, dove.MAC{0x33, 0x33, 5: 1}, addr, all}, neighAdvertise, 0x20, addr, append([]byte{2, 1}, mac[:]...))
}

// neighbor builds a message of RFC 4861 with hop limit 255.
func neighbor(e Ends, typ, flags byte, target netip.Addr, options []byte) []byte {
	if !e.Src.Is6() || !e.Dst.Is6() || !target.Is6() {
		panic(fmt.Sprintf("packet: neighbour discovery of %v by %v, which are not both IPv6", target, e.Src))
	}
	l4 := make([]byte, neighborSize, neighborSize+len(options))
	l4[0], l4[4] = typ, flags
	copy(l4[8:], target.AsSlice())
	l4 = append(l4, options...)
	putChecksum(l4, dove.ProtocolICMPv6, e)
	b := make([]byte, ethernetSize+ipv6Size, ethernetSize+ipv6Size+len(l4))
	putEthernet(b, e.SrcMAC, e.DstMAC, etherTypeIPv6)
	putIPv6(b[ethernetSize:], e.Src, e.Dst, dove.ProtocolICMPv6, len(l4), 255)
	return append(b, l4...)
}

// Answer builds what tells the asker of p, an ARP request or neighbour
// solicitation, that the address it asks for is at mac.
func Answer(p Packet, mac dove.MAC) []byte {
	e := Ends{mac, p.SrcMAC, p.Dst, p.Src}
	switch p.Kind {
	case ARP:
		return ARPReply(e)
	case Solicit:
		return Advertisement(e, p.Dst)
	}
	panic("packet: nothing to answer in a packet that asks for no address")
}
