package packet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"dove.network/dove"
)

func routerEnds(v6 bool) Ends {
	e := Ends{SrcMAC: dove.MAC{2, 1}, DstMAC: dove.MAC{2, 2}, Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.1.1")}
	if v6 {
		e.Src, e.Dst = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00:1::1")
	}
	return e
}

// right reports whether a frame's checksums are.
func right(frame []byte) bool {
	p, fault := Parse(frame)
	if fault != OK {
		return false
	}
	ip := frame[ethernetSize:]
	e := Ends{Src: p.Src, Dst: p.Dst}
	if !p.Src.Is4() {
		return pseudoSum(ip[ipv6Size:], p.Protocol, e) == 0
	}
	l4 := ip[ipv4Size:binary.BigEndian.Uint16(ip[2:])]
	if fold(sum(0, ip[:ipv4Size])) != 0xffff {
		return false
	}
	if p.Protocol == dove.ProtocolICMP {
		return fold(sum(0, l4)) == 0xffff
	}
	return pseudoSum(l4, p.Protocol, e) == 0
}

// TestHop takes frames over as many routers as they may go.
func TestHop(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		frame := TCP(routerEnds(v6), 1, 2, ACK, []byte("hello"))
		for want := uint8(63); want > 0; want-- {
			Hop(frame)
			if p, _ := Parse(frame); p.TTL != want || !right(frame) {
				t.Fatalf("v6 %v: TTL %d, want %d; checksums right: %v", v6, p.TTL, want, right(frame))
			}
		}
	}
}

func TestPong(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		e := routerEnds(v6)
		mac := dove.MAC{2, 9}
		payload := []byte("abcdefg")
		want := e.Reverse()
		want.SrcMAC = mac
		if got := Pong(EchoRequest(e, 7, 9, payload), mac); !bytes.Equal(got, EchoReply(want, 7, 9, payload)) {
			t.Errorf("v6 %v: % x", v6, got)
		}
		for what, frame := range map[string][]byte{
			"a reply":    EchoReply(e, 7, 9, payload),
			"a datagram": UDP(e, 1, 2, nil),
			"a fragment": Fragments(EchoRequest(e, 7, 9, make([]byte, 40)), 16, 1)[0],
		} {
			if got := Pong(frame, mac); got != nil {
				t.Errorf("v6 %v: %s is answered with % x", v6, what, got)
			}
		}
	}
	if got := Pong(Extend(EchoRequest(routerEnds(true), 7, 9, nil), 60, make([]byte, 6)), dove.MAC{2}); got != nil {
		t.Errorf("an echo behind a header is answered with % x", got)
	}
}

// TestRefuse says why a packet goes no further, and to whom.
func TestRefuse(t *testing.T) {
	from := map[bool]netip.Addr{false: netip.MustParseAddr("10.0.0.254"), true: netip.MustParseAddr("fd00::ff")}
	says := map[Refusal][2]uint16{Expired: {0x0b00, 0x0300}, NoHost: {0x0301, 0x0103}, NoNetwork: {0x0300, 0x0100}, TooLarge: {0x0304, 0x0200}}
	for why, typeCode := range says {
		for v6, addr := range from {
			frame := UDP(routerEnds(v6), 1, 2, []byte("hello"))
			got := Refuse(frame, why, dove.MAC{2, 9}, addr, 99)
			p, fault := Parse(got)
			want := typeCode[0]
			if v6 {
				want = typeCode[1]
			}
			if fault != OK || p.TypeCode != want || p.Src != addr || p.Dst != routerEnds(v6).Src || p.DstMAC != (dove.MAC{2, 1}) || p.SrcMAC != (dove.MAC{2, 9}) || !right(got) {
				t.Errorf("%d, v6 %v: %+v (%v), checksums right: %v", why, v6, p, fault, right(got))
			}
			if Refuse(got, why, dove.MAC{2, 9}, addr, 99) != nil {
				t.Errorf("%d, v6 %v: an error about an error", why, v6)
			}
		}
	}
}
