package soft

import (
	"net/netip"
	"testing"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

// vip is the address that alice and bob are allowed both.
const vip = 50

var vmac = dove.MAC{0, 0, 0x5e, 0, 1, 1}

// permitting is a world in which alice may send from all of 10.1.0.0/16 (class 20)
// and from vip with another MAC too (class 21), and bob from vip.
func permitting(t *testing.T, change ...func(*dataplane.Port)) *world {
	w := newWorld(t)
	p := portOf(alice, 1001, 10)
	p.Allowed = []dataplane.Allowed{
		{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Class: 20},
		{Prefix: netip.PrefixFrom(addr4(vip), 32), MAC: vmac, Class: 21},
		{Prefix: netip.PrefixFrom(addr6(vip), 128), MAC: vmac, Class: 21},
	}
	for _, c := range change {
		c(&p)
	}
	q := portOf(bob, 1002, 20)
	q.Allowed = []dataplane.Allowed{{Prefix: netip.PrefixFrom(addr4(vip), 32), Class: 21}}
	w.apply(dataplane.SetPort{Port: p}, dataplane.SetPort{Port: q})
	for _, src := range []dove.Class{20, 21} {
		w.apply(dataplane.SetPair{Key: pair(src, 20), Table: web()}, dataplane.SetPair{Key: pair(20, src), Table: web()})
	}
	return w
}

// from is what alice sends rita as somebody else.
func from(mac dove.MAC, src netip.Addr) []byte {
	return packet.UDP(packet.Ends{SrcMAC: mac, Src: src, Dst: addr4(rita)}, 1, 53, nil)
}

func TestAllowed(t *testing.T) {
	inside := netip.MustParseAddr("10.1.2.3")
	sent := func(class dove.Class) dataplane.Outcome {
		o := tunneled(there, "dns")
		o.Class = class
		return o
	}
	w := permitting(t)
	w.guest(alice, from(mac(alice), inside), sent(20))
	w.guest(alice, from(mac(alice), addr4(vip)), sent(21))
	w.guest(alice, from(vmac, inside), dropped(dataplane.SpoofedMAC))
	w.guest(alice, from(vmac, addr4(alice)), dropped(dataplane.SpoofedMAC))
	w.guest(alice, from(mac(bob), addr4(vip)), dropped(dataplane.SpoofedMAC))
	w.guest(alice, from(mac(alice), netip.MustParseAddr("10.2.0.1")), dropped(dataplane.SpoofedAddress))
	w.guest(alice, from(mac(alice), addr4(bob)), dropped(dataplane.SpoofedAddress))
	w.guest(bob, from(mac(bob), inside), dropped(dataplane.SpoofedAddress))
	got, frame := w.FromGuest(alice, packet.UDP(packet.Ends{SrcMAC: vmac, Src: addr4(vip), Dst: addr4(rita)}, 2, 53, nil))
	w.same(got, sent(21))
	_, inner, _ := packet.Decap(frame)
	if p, _ := packet.Parse(inner); p.SrcMAC != vmac {
		t.Errorf("sent from %v", p.SrcMAC)
	}

	// What it is allowed is delivered to it by the MAC that it came to.
	in := func(to dove.MAC, dst netip.Addr) []byte {
		return packet.UDP(packet.Ends{SrcMAC: mac(rita), DstMAC: to, Src: addr4(rita), Dst: dst}, 7, 53, nil)
	}
	w.wire(there, 20, in(mac(alice), inside), delivered(alice, "dns"))
	w.wire(there, 20, in(mac(alice), inside), delivered(alice, ""))
	w.wire(there, 20, in(mac(bob), inside), dropped(dataplane.NotHere))
	w.wire(there, 20, in(vmac, addr4(vip)), delivered(alice, "dns"))
	w.wire(there, 20, in(mac(9), addr4(vip)), dropped(dataplane.NotHere))
	w.wire(there, 20, in(mac(alice), netip.MustParseAddr("10.2.0.1")), dropped(dataplane.NotHere))

	// Guests here are led to who has it, by the row.
	w.guest(alice, packet.UDP(v4(alice, vip), 7, 53, nil), missed(dataplane.WantPeer))
	w.apply(peerOf(vip, 1002, 21, here)...)
	w.apply(dataplane.SetPair{Key: pair(10, 21), Table: web()})
	w.discard()
	w.guest(alice, packet.UDP(v4(alice, vip), 8, 53, nil), delivered(bob, "dns"))
	w.guest(alice, from(mac(alice), addr4(vip)), dropped(dataplane.SpoofedAddress)) // it is bob's now
	w.guest(bob, from(mac(bob), addr4(vip)), sent(21))
	w.apply(peerOf(vip, 1003, 21, there)...)
	w.guest(bob, from(mac(bob), addr4(vip)), dropped(dataplane.SpoofedAddress))
	w.apply(dataplane.SetPort{Port: portOf(alice, 1001, 10)})
	w.guest(alice, from(mac(alice), inside), dropped(dataplane.SpoofedAddress))
	w.wire(there, 20, in(mac(alice), inside), dropped(dataplane.NotHere))
}

func TestOpenPort(t *testing.T) {
	w := permitting(t, func(p *dataplane.Port) { p.Open, p.Class, p.Allowed = true, 20, nil })
	anybody := netip.MustParseAddr("203.0.113.9")
	o := tunneled(there, "dns")
	o.Class = 20
	w.guest(alice, from(mac(77), anybody), o)
	w.guest(alice, from(mac(alice), addr4(bob)), dropped(dataplane.SpoofedAddress)) // whom the switch knows
	w.guest(alice, from(mac(alice), addr4(rita)), dropped(dataplane.Malformed))
	w.wire(there, 20, packet.UDP(packet.Ends{DstMAC: mac(alice), Src: addr4(rita), Dst: netip.MustParseAddr("198.51.100.1")}, 1, 53, nil), delivered(alice, "dns"))
	w.wire(there, 20, packet.UDP(packet.Ends{DstMAC: mac(bob), Src: addr4(rita), Dst: anybody}, 1, 53, nil), dropped(dataplane.NotHere))
}

func TestClaims(t *testing.T) {
	claimed := missed(dataplane.WantClaim)
	w := permitting(t)
	unsolicited := func(m dove.MAC, a netip.Addr) []byte {
		return packet.Advertisement(packet.Ends{SrcMAC: m, DstMAC: dove.MAC{0x33, 0x33, 0, 0, 0, 1}, Src: a, Dst: netip.MustParseAddr("ff02::1")}, a)
	}
	gratuitous := packet.Ends{SrcMAC: mac(alice), DstMAC: dove.MAC{255, 255, 255, 255, 255, 255}, Src: addr4(vip), Dst: addr4(vip)}
	w.guest(alice, packet.ARPRequest(mac(alice), addr4(vip), addr4(vip)), claimed)
	w.guest(alice, packet.ARPReply(gratuitous), claimed)
	w.guest(alice, unsolicited(vmac, addr6(vip)), claimed)
	w.guest(bob, packet.ARPRequest(mac(bob), addr4(vip), addr4(vip)), claimed)
	inside := netip.MustParseAddr("10.1.2.3")
	w.guest(alice, packet.ARPRequest(mac(alice), inside, inside), dropped(dataplane.NotUnicast)) // no single address
	w.guest(alice, packet.ARPRequest(mac(alice), addr4(alice), addr4(alice)), dropped(dataplane.NotUnicast))
	w.guest(bob, packet.ARPRequest(mac(bob), inside, inside), dropped(dataplane.SpoofedAddress))
	w.guest(bob, packet.ARPRequest(mac(alice), addr4(vip), addr4(vip)), dropped(dataplane.SpoofedMAC))
	w.guest(bob, unsolicited(mac(bob), addr6(vip)), dropped(dataplane.SpoofedAddress))
	w.apply(dataplane.SetPeer{Key: key(addr4(vip)), Peer: dataplane.Peer{MAC: mac(rita), VTEP: there, Class: 20}})
	w.guest(alice, packet.ARPRequest(mac(alice), addr4(vip), addr4(vip)), claimed) // who had it told of it last
	w.guest(alice, from(mac(alice), addr4(vip)), dropped(dataplane.SpoofedAddress))
	w.guest(alice, packet.ARPRequest(mac(alice), addr4(vip), addr4(rita)), dropped(dataplane.SpoofedAddress))
	w.wire(there, 20, packet.ARPRequest(mac(rita), addr4(vip), addr4(vip)), dropped(dataplane.NotUnicast))
	want := []dataplane.Claim{{Port: alice, Addr: addr4(vip)}, {Port: alice, Addr: addr4(vip)}, {Port: alice, Addr: addr6(vip)}, {Port: bob, Addr: addr4(vip)}, {Port: alice, Addr: addr4(vip)}}
	got := w.TakeClaims()
	if len(got) != len(want) {
		t.Fatalf("claims %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("claim %+v, want %+v", got[i], want[i])
		}
	}
	if len(w.TakeMisses()) != 0 {
		t.Error("a claim is a miss too")
	}
	for range DefaultLimits.MissBurst - 4 {
		w.guest(alice, packet.ARPReply(gratuitous), claimed)
	}
	w.guest(alice, packet.ARPReply(gratuitous), dropped(dataplane.MissLimit))
	for _, a := range []dataplane.Allowed{
		{}, {Prefix: netip.MustParsePrefix("10.1.2.3/16")}, {Prefix: netip.MustParsePrefix("224.0.0.0/8")},
		{Prefix: netip.MustParsePrefix("10.1.0.0/16"), MAC: dove.MAC{1}},
	} {
		p := portOf(alice, 1001, 10)
		p.Allowed = []dataplane.Allowed{a}
		if w.Apply([]dataplane.Op{dataplane.SetPort{Port: p}}) == nil {
			t.Errorf("allowed %+v", a)
		}
	}
}
