package sim

import (
	"encoding/binary"

	"dove.network/dove"
	"dove.network/packet"
	"dove.network/world"
)

// Where the headers of a guest's frames are: Ethernet's, then those of IPv4, or of
// IPv6 and of its fragments.
const (
	ip4At = 14
	ip4   = 20
	ip6   = 40
	tcp   = 20
	ip6At = 14 + ip6
)

// network is the one that the guest is on.
func (g *guest) network() world.Network {
	e, _ := g.sim.World().Endpoint(g.endpoint)
	n, _ := g.sim.World().Network(e.NetworkOf())
	return n
}

// toldMTU is what an ICMP error says that may be sent, 0 if it is none that does
// (RFC 1191, RFC 4443).
func toldMTU(frame []byte, p packet.Packet) int {
	switch {
	case p.Protocol == dove.ProtocolICMP && p.TypeCode == 3<<8|4:
		return int(binary.BigEndian.Uint16(frame[ip4At+ip4+6:]))
	case p.Protocol == dove.ProtocolICMPv6 && p.TypeCode == 2<<8:
		return int(binary.BigEndian.Uint32(frame[ip6At+4:]))
	}
	return 0
}

// cut returns a frame, in pieces if it is larger than its network's MTU. The first
// piece ends with a whole mark, which lies behind 8 bytes of UDP's or ICMP's header.
func (g *guest) cut(frame []byte) [][]byte {
	n := g.network()
	if g.whole || n.MTU == 0 || len(frame)-ip4At <= int(n.MTU) {
		return [][]byte{frame}
	}
	room := int(n.MTU) - ip4
	if p, _ := packet.Parse(frame); p.Src.Is6() {
		room = int(n.MTU) - ip6 - 8
	}
	g.sent++
	return packet.Fragments(frame, (room-8)/markSize*markSize+8, g.sent)
}

// join keeps a piece, and returns the packet once it is whole. Pieces come in the
// order in which they were sent, as they do between two switches in memory;
// those that do not are as good as lost.
func (g *guest) join(frame []byte, p packet.Packet) []byte {
	var headers, offset int
	var more bool
	if p.Src.Is6() {
		field := binary.BigEndian.Uint16(frame[ip6At+2:])
		headers, offset, more = ip6At+8, int(field&^7), field&1 != 0
	} else {
		field := binary.BigEndian.Uint16(frame[ip4At+6:])
		headers, offset, more = ip4At+ip4, int(field&0x1fff)*8, field&0x2000 != 0
	}
	if g.pieces == nil {
		g.pieces = map[uint32][]byte{}
	}
	if offset == 0 {
		g.pieces[p.PieceID] = nil
	}
	if len(g.pieces[p.PieceID]) != offset {
		return nil
	}
	g.pieces[p.PieceID] = append(g.pieces[p.PieceID], frame[headers:]...)
	if more {
		return nil
	}
	body := g.pieces[p.PieceID]
	delete(g.pieces, p.PieceID)
	ends := packet.Ends{SrcMAC: p.SrcMAC, DstMAC: p.DstMAC, Src: p.Src, Dst: p.Dst}
	return packet.Other(ends, p.Protocol, body)
}
