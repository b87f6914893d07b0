package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"dove.network/dove"
)

// OverlayPort is the UDP port of VXLAN (RFC 7348).
const OverlayPort = 4789

// OverlaySize is how many bytes Encap puts before the inner frame on the way to a
// VTEP: Ethernet, IP, UDP and VXLAN. So much, the inner Ethernet header in place
// of the outer one, an MTU loses: 50 bytes over IPv4, 70 over IPv6.
func OverlaySize(vtep netip.Addr) int {
	if vtep.Is4() {
		return ethernetSize + ipv4Size + udpSize + vxlanSize
	}
	return ethernetSize + ipv6Size + udpSize + vxlanSize
}

const (
	udpSize   = 8
	vxlanSize = 8
	vxlanI    = 0x08 // VNI present
	vxlanGBP  = 0x88 // G (group policy id present) and I
	vxlanA    = 0x08 // A (policy applied), of the second byte
)

// NoClass is no group policy id.
const NoClass dove.Class = 0xffff

// Outer is what an overlay packet's outer headers say. Both VTEPs are IPv4 or
// both IPv6.
type Outer struct {
	SrcMAC, DstMAC dove.MAC // zero until a neighbour is known
	Src, Dst       netip.Addr
	SrcPort        uint16 // of IPv6 also the flow label
	TOS            uint8  // DSCP<<2 | ECN
	VNI            dove.VNI
	Class          dove.Class // the sender's, as the group policy id; NoClass without one
	Applied        bool       // the A bit: another host has judged it
}

// Encap returns inner behind the outer headers of o: don't-fragment, TTL 64, no
// UDP checksum (RFC 6935), VXLAN with the group policy extension. It panics when
// the VTEPs are not of one family, the VNI has more than 24 bits, or the result
// exceeds 64 KiB.
func (o Outer) Encap(inner []byte) []byte {
	size := OverlaySize(o.Dst)
	length := size - ethernetSize + len(inner)
	if o.Src.Is4() != o.Dst.Is4() || !o.Src.IsValid() || !o.Dst.IsValid() || o.VNI > dove.VNIMax || length > 0xffff {
		panic(fmt.Sprintf("packet: cannot encapsulate %d bytes from %v to %v in VNI %d", len(inner), o.Src, o.Dst, o.VNI))
	}
	b := make([]byte, size, size+len(inner))
	udp, ip := b[size-udpSize-vxlanSize:], b[ethernetSize:]
	datagram := udpSize + vxlanSize + len(inner)
	if o.Dst.Is4() {
		putEthernet(b, o.SrcMAC, o.DstMAC, etherTypeIPv4)
		putIPv4(ip, o.Src, o.Dst, dove.ProtocolUDP, length)
		setTOS(ip, o.TOS)
	} else {
		putEthernet(b, o.SrcMAC, o.DstMAC, etherTypeIPv6)
		putIPv6(ip, o.Src, o.Dst, dove.ProtocolUDP, datagram, 64)
		binary.BigEndian.PutUint32(ip, 6<<28|uint32(o.TOS)<<20|uint32(o.SrcPort)) // RFC 6438
	}
	binary.BigEndian.PutUint16(udp[0:], o.SrcPort)
	binary.BigEndian.PutUint16(udp[2:], OverlayPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(datagram))

	vxlan := udp[udpSize:]
	if vxlan[0] = vxlanI; o.Class != NoClass {
		vxlan[0] = vxlanGBP
		binary.BigEndian.PutUint16(vxlan[2:], uint16(o.Class))
	}
	if o.Applied {
		vxlan[1] = vxlanA
	}
	binary.BigEndian.PutUint32(vxlan[4:], uint32(o.VNI)<<8)
	return append(b, inner...)
}

// Decap reads an overlay packet and returns its outer headers and the inner
// frame, a part of frame. NotOverlay means that it is no whole UDP packet
// to port 4789 (an outer fragment included, and IPv6 with extension headers);
// Malformed that it is cut short; BadOverlay that a flag other than G, I and A
// is set, or I is not, or G is not and anything but the VNI is there. With
// Malformed and BadOverlay the addresses are there.
func Decap(frame []byte) (Outer, []byte, Fault) {
	var o Outer
	if len(frame) < ethernetSize+ipv4Size {
		return o, nil, NotOverlay
	}
	o.DstMAC, o.SrcMAC = dove.MAC(frame[0:6]), dove.MAC(frame[6:12])
	var udp []byte
	switch binary.BigEndian.Uint16(frame[12:14]) {
	case etherTypeIPv4:
		udp = o.decapIPv4(frame[ethernetSize:])
	case etherTypeIPv6:
		udp = o.decapIPv6(frame[ethernetSize:])
	}
	if len(udp) < udpSize || binary.BigEndian.Uint16(udp[2:4]) != OverlayPort {
		return o, nil, NotOverlay
	}
	o.SrcPort = binary.BigEndian.Uint16(udp[0:2])
	if len(udp) < udpSize+vxlanSize+ethernetSize {
		return o, nil, Malformed
	}
	vxlan := udp[udpSize:]
	o.VNI = dove.VNI(binary.BigEndian.Uint32(vxlan[4:8]) >> 8)
	o.Class = dove.Class(binary.BigEndian.Uint16(vxlan[2:4]))
	o.Applied = vxlan[1] == vxlanA
	switch {
	case vxlan[0] == vxlanI && o.Class == 0 && vxlan[1] == 0 && vxlan[7] == 0:
		o.Class = NoClass
	case vxlan[0] != vxlanGBP || vxlan[1]&^vxlanA != 0 || vxlan[7] != 0 || o.Class == NoClass:
		return o, nil, BadOverlay
	}
	return o, vxlan[vxlanSize:], OK
}

// decapIPv4 reads the outer IP header and returns what it carries, nil if that
// is no whole UDP packet.
func (o *Outer) decapIPv4(b []byte) []byte {
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:4]))
	if b[0]>>4 != 4 || header < ipv4Size || total > len(b) || total < header ||
		dove.Protocol(b[9]) != dove.ProtocolUDP || binary.BigEndian.Uint16(b[6:8])&0x3fff != 0 {
		return nil
	}
	o.Src, o.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	o.TOS = b[1]
	return b[header:total]
}

// decapIPv6 is decapIPv4 for IPv6.
func (o *Outer) decapIPv6(b []byte) []byte {
	if len(b) < ipv6Size || b[0]>>4 != 6 || dove.Protocol(b[6]) != dove.ProtocolUDP {
		return nil
	}
	end := ipv6Size + int(binary.BigEndian.Uint16(b[4:6]))
	if end > len(b) {
		return nil
	}
	o.Src, o.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	o.TOS = b[0]<<4 | b[1]>>4
	return b[ipv6Size:end]
}

// SourcePort spreads flows over the underlay's paths: the outer source port for
// a flow, the same in both directions, 0xc000 to 0xffff.
func (p Packet) SourcePort() uint16 {
	words := func(a netip.Addr) (high, low uint32) {
		b := a.As16()
		return binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	}
	srcHigh, srcLow := words(p.Src)
	dstHigh, dstLow := words(p.Dst)
	h := srcLow ^ dstLow // what both directions share
	if p.Src.Is6() {
		h ^= (srcHigh ^ dstHigh) * 31
	}
	if p.Piece == Whole { // only the first piece has ports
		h ^= uint32(p.SrcPort^p.DstPort) << 8
	}
	return 0xc000 | uint16((h^uint32(p.Protocol))*0x9e3779b1>>18)
}
