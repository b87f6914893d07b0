package ebpf

import (
	"fmt"
	"net/netip"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/verdict"
)

func (w *twins) half() verdict.Half {
	h := verdict.Half{Default: w.chance(50), DefaultName: one(w.r, "default-a", "default-b"), Stateful: w.chance(75)}
	for i := range w.r.IntN(8) {
		m := verdict.Match{Protocol: one(w.r, dove.ProtocolAny, dove.ProtocolTCP, dove.ProtocolUDP, dove.ProtocolSCTP, dove.ProtocolICMP, dove.ProtocolICMPv6, 47), Last: 65535}
		switch {
		case m.Protocol.HasPorts():
			m.First = one[uint16](w.r, 0, 79, 80, 1000)
			m.Last = max(m.First, one[uint16](w.r, 80, 81, 1001, 65535))
		case m.Protocol.IsICMP() && w.chance(70):
			m.First = one[uint16](w.r, 0x0800, 0x8000, 0x0000, 0x0301)
			m.Last = m.First + one[uint16](w.r, 0, 0xff, 0x4ff)
		}
		h.Rules = append(h.Rules, verdict.Rule{Match: m, Action: one(w.r, verdict.Deny, verdict.Allow, verdict.Allow, verdict.Allow), Name: fmt.Sprint("rule-", i), Log: w.chance(30), Shadow: w.chance(25)})
	}
	return h
}

func (w *twins) address(n int) netip.Addr {
	if w.chance(60) {
		return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(n)})
}

func (w *twins) key() dataplane.PeerKey {
	return dataplane.PeerKey{VNI: one(w.r, twinVNIs...), Addr: w.address(w.number())}
}

func (w *twins) class() dove.Class { return one[dove.Class](w.r, 10, 11, 12) }
func (w *twins) uid() dove.UID     { return one[dove.UID](w.r, 1, 1, 1, 2) }
func twinMAC(n int) dove.MAC       { return dove.MAC{2, 0, 0, 0, 0, byte(n)} }

// op draws one after which the world is one that can be.
func (w *twins) op() dataplane.Op {
	for {
		if op := w.anyOp(); w.canBe(op) {
			return op
		}
	}
}

func (w *twins) anyOp() dataplane.Op {
	switch n := w.r.IntN(100); {
	case n < 3:
		return dataplane.SetNetwork{Network: w.network(one(w.r, twinVNIs...), one[uint32](w.r, 1, 1, 1, 2), one[uint16](w.r, 1450, 1450, 1450, 100))}
	case n < 4:
		return dataplane.DelNetwork{VNI: one(w.r, twinVNIs...)}
	case n < 9:
		foreign := w.chance(40)
		return dataplane.SetVTEP{Addr: one(w.r, w.vteps[1:]...), Foreign: foreign, Plain: foreign && w.chance(50)}
	case n < 11:
		return dataplane.DelVTEP{Addr: one(w.r, w.vteps...)}
	case n < 26:
		return dataplane.SetPort{Port: w.port(dataplane.PortID(1 + w.r.IntN(4)))}
	case n < 28:
		return dataplane.DelPort{ID: dataplane.PortID(1 + w.r.IntN(4))}
	case n < 31:
		return dataplane.DelAbsent{Key: w.key()}
	case n < 36:
		return dataplane.DelPeer{Key: w.key()}
	case n < 40:
		return dataplane.SetAbsent{Key: w.key(), TTL: one(w.r, time.Hour, 0), NoRoute: w.chance(30)}
	case n < 43:
		return dataplane.DelPair{Key: w.pair()}
	case n < 65:
		return dataplane.SetPair{Key: w.pair(), Table: one(w.r, w.tables...)}
	}
	k := w.key()
	p := dataplane.Peer{UID: w.uid(), MAC: twinMAC(int(k.Addr.As16()[15])), Class: w.class(), VTEP: one(w.r, w.vteps[1:]...)}
	switch w.r.IntN(12) {
	case 0, 1:
		p.VTEP = netip.Addr{}
	case 2:
		p.VTEP = w.vteps[0]
	}
	if w.chance(25) {
		p.Other = one(w.r, w.vteps...)
	}
	if w.split || w.chance(40) {
		w.route(k, &p)
	}
	return dataplane.SetPeer{Key: k, Peer: p}
}

func (w *twins) port(id dataplane.PortID) dataplane.Port {
	p := dataplane.Port{
		ID: id, UID: w.uid(), VNI: one(w.r, twinVNIs[0], twinVNIs[0], twinVNIs[1]), MAC: twinMAC(int(id)),
		Kind: one(w.r, dataplane.Veth, dataplane.Tap),
	}
	if w.split { // its life is that of some ways, and of no other port
		p.UID = dove.UID(id) + 8*dove.UID(w.r.IntN(5)/4)
	}
	if w.chance(40) {
		p.Other, p.Standby = one(w.r, w.vteps[1:]...), w.chance(50)
	}
	w.allow(&p)
	w.trunk(&p)
	seen := map[netip.Addr]bool{}
	for range 1 + w.r.IntN(3) {
		a := w.address(int(id))
		if w.chance(5) {
			a = w.address(1 + w.r.IntN(6))
		}
		if !seen[a] {
			seen[a] = true
			p.Addresses = append(p.Addresses, dataplane.Address{Addr: a, Class: w.class()})
		}
	}
	return p
}

func (w *twins) pair() dataplane.PairKey {
	return dataplane.PairKey{Domain: one[uint32](w.r, 1, 1, 1, 2), Src: w.class(), Dst: w.class()}
}

// inner makes a frame between two numbers, now and then a broken one.
func (w *twins) inner(from, to int, fromMAC dove.MAC, src, dst netip.Addr) []byte {
	e := packet.Ends{SrcMAC: fromMAC, DstMAC: twinMAC(to), Src: src, Dst: dst}
	switch w.r.IntN(6) {
	case 0, 1, 2:
		e.DstMAC = twinGateway(one(w.r, twinVNIs...)).MAC
	case 3:
		e.DstMAC = twinMAC(1 + w.r.IntN(6))
	}
	payload := make([]byte, w.r.IntN(60))
	port := func() uint16 { return one[uint16](w.r, 80, 81, 1000, 1001) }
	var b []byte
	switch w.r.IntN(12) {
	case 0, 1, 2, 3:
		flags := one(w.r, packet.SYN, packet.SYN, packet.SYN|packet.ACK, packet.ACK, packet.ACK, packet.FIN|packet.ACK, packet.RST)
		b = packet.TCP(e, port(), port(), flags, payload)
	case 4, 5:
		b = packet.UDP(e, port(), port(), payload)
	case 6:
		b = packet.EchoRequest(e, one[uint16](w.r, 5, 6, 0x800, 0x8000), 1, payload)
	case 7:
		b = packet.EchoReply(e, one[uint16](w.r, 5, 6, 0x800, 0x8000), 1, payload)
	case 8:
		b = packet.ICMP(e, one[uint8](w.r, 3, 11, 0, 8, 128, 129, 1, 133, 134, 136, 137), one[uint8](w.r, 0, 1), w.r.Uint32(), payload)
	case 9:
		b = packet.SCTP(e, port(), port(), payload)
	case 10:
		b = packet.Other(e, one[dove.Protocol](w.r, 47, 2, 1, 58, 0, 43, 44, 51, 60, 135, 139, 140, 50), payload)
	case 11:
		if w.chance(20) {
			return announcement(fromMAC, src, w.chance(50))
		}
		if src.Is4() {
			b = packet.ARPRequest(fromMAC, src, dst)
			if w.chance(10) {
				b[14+8] ^= 4 // another sender than Ethernet's
			}
		} else {
			b = packet.Solicitation(fromMAC, src, dst)
		}
	}
	if b[12] == 8 && b[13] == 0 && w.chance(50) {
		b[15] = one[uint8](w.r, 1, 2, 3, 0x2e, 0xb8) // the checksum need not be right
	} else if b[12] == 0x86 && w.chance(50) {
		b[14], b[15] = 0x60|byte(w.r.IntN(16)), byte(w.r.IntN(256))
	}
	if b[12] == 0x86 && w.chance(15) {
		for range 1 + w.r.IntN(2) {
			body := make([]byte, one(w.r, 6, 6, 14, 22, 126))
			body[0] = byte(w.r.IntN(2)) // a routing header's type
			b = packet.Extend(b, one[dove.Protocol](w.r, 60, 60, 0, 43, 51), body)
		}
	}
	if at := map[byte]int{8: 22, 0x86: 21}[b[12]]; b[13] != 6 && w.chance(15) {
		b[at] = one[byte](w.r, 0, 1, 1, 2, 255)
	}
	return w.broken(b)
}

// pieces cuts a frame into fragments, now and then.
func (w *twins) pieces(b []byte) [][]byte {
	if kind := b[12]; kind == 8 && b[13] != 0 || !w.chance(8) || len(b) < 82 || kind == 8 && b[14]&0xf < 5 { // a header cut short cannot be cut
		return [][]byte{b}
	}
	cut := packet.Fragments(b, one(w.r, 8, 16, 24, 48), w.r.Uint32())
	if len(cut) > 1 && w.chance(20) {
		cut = cut[1:] // the first is late
	}
	return cut
}

// complaint is an ICMP error about a frame, from whom it was for.
func (w *twins) complaint(frame []byte) []byte {
	p, _ := packet.Parse(frame)
	e := packet.Ends{SrcMAC: p.DstMAC, DstMAC: p.SrcMAC, Src: p.Dst, Dst: p.Src}
	quote := frame[14:min(len(frame), 14+one(w.r, 28, 48, 64))]
	if e.Src.Is4() {
		return packet.ICMP(e, one[uint8](w.r, 3, 11, 12), one[uint8](w.r, 0, 4), 1400, quote)
	}
	return packet.ICMP(e, one[uint8](w.r, 1, 2, 3, 4), 0, 1400, quote)
}

func (w *twins) broken(b []byte) []byte {
	switch w.r.IntN(40) {
	case 0:
		b[w.r.IntN(len(b))] ^= 1 << w.r.IntN(8)
	case 1:
		least := 34 // the kernel does not run a frame without a whole IP header
		if b[12] == 0x86 {
			least = 54
		}
		b = b[:least+w.r.IntN(len(b)-least+1)]
	case 2:
		b = append(b, make([]byte, 1+w.r.IntN(40))...) // padding
	case 3:
		b[14+w.r.IntN(min(48, len(b)-14))] = byte(w.r.Uint32())
	}
	return b
}

func transportAt(frame []byte) int {
	if frame[12] == 0x86 {
		return 54
	}
	return 34
}

// turn makes the answer to a frame of it: the other way, echo requests replied to.
func turn(b []byte) {
	swap := func(a, b []byte) {
		for i := range a {
			a[i], b[i] = b[i], a[i]
		}
	}
	at := transportAt(b)
	swap(b[0:6], b[6:12])
	protocol := b[23]
	if at == 54 {
		swap(b[22:38], b[38:54])
		protocol = b[20]
	} else {
		swap(b[26:30], b[30:34])
	}
	switch {
	case protocol == 1 && len(b) > at:
		b[at] ^= 8
	case protocol == 58 && len(b) > at:
		b[at] ^= 1
	case len(b) >= at+4:
		swap(b[at:at+2], b[at+2:at+4])
	}
}
