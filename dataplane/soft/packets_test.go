package soft

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

const (
	syn = packet.SYN
	ack = packet.ACK
	fin = packet.FIN
	rst = packet.RST
)

// with returns a copy of frame with bytes set from offset on.
func with(frame []byte, offset int, set ...byte) []byte {
	b := bytes.Clone(frame)
	copy(b[offset:], set)
	return b
}

// TestFromGuest sends one packet of alice's into a fresh world.
func TestFromGuest(t *testing.T) {
	from := func(e packet.Ends, src netip.Addr) packet.Ends { e.Src = src; return e }
	to := func(e packet.Ends, dst string) packet.Ends { e.Dst = netip.MustParseAddr(dst); return e }
	big := func(n int) []byte { return make([]byte, n) }

	tests := []struct {
		name  string
		frame []byte
		want  dataplane.Outcome
	}{
		{"tcp to a neighbour", packet.TCP(v4(alice, bob), 1000, 80, syn, nil), delivered(bob, "web")},
		{"tcp6 to a neighbour", packet.TCP(v6(alice, bob), 1000, 80, syn, nil), delivered(bob, "web")},
		{"tcp to a peer", packet.TCP(v4(alice, rita), 1000, 80, syn, nil), tunneled(there, "web")},
		{"tcp6 to a peer", packet.TCP(v6(alice, rita), 1000, 80, syn, nil), tunneled(there, "web")},
		{"tcp in the middle", packet.TCP(v4(alice, rita), 1000, 80, ack, nil), tunneled(there, "web")},
		{"udp", packet.UDP(v4(alice, rita), 1000, 53, nil), tunneled(there, "dns")},
		{"sctp", packet.SCTP(v6(alice, rita), 1000, 7, nil), tunneled(there, "sctp")},
		{"esp", packet.Other(v4(alice, rita), 50, big(40)), tunneled(there, "esp")},
		{"ping", packet.EchoRequest(v4(alice, rita), 1, 1, nil), tunneled(there, "ping")},
		{"ping6", packet.EchoRequest(v6(alice, bob), 1, 1, nil), delivered(bob, "ping")},
		{"to any MAC", packet.UDP(packet.Ends{SrcMAC: mac(alice), DstMAC: mac(77), Src: addr4(alice), Dst: addr4(bob)}, 1, 53, nil), delivered(bob, "dns")},
		{"other port", packet.TCP(v4(alice, rita), 1000, 81, syn, nil), denied("default-deny")},
		{"other protocol", packet.Other(v4(alice, rita), 47, nil), denied("default-deny")},
		{"unreachable", packet.ICMP(v4(alice, rita), 3, 4, 0, nil), tunneled(there, "unreachable")},
		{"too big 6", packet.ICMP(v6(alice, rita), 2, 0, 0, nil), tunneled(there, "too-big")},
		{"timestamp", packet.ICMP(v4(alice, rita), 13, 0, 0, nil), denied("default-deny")},
		{"pong to no ping", packet.EchoReply(v4(alice, rita), 1, 1, nil), denied("default-deny")},
		{"hidden, allowed", packet.TCP(v4(alice, hugo), 1000, 80, syn, nil), dropped(dataplane.Hidden)},
		{"hidden, denied", packet.TCP(v4(alice, hugo), 1000, 81, syn, nil), denied("default-deny")},
		{"unplugged, allowed", packet.TCP(v4(alice, ulla), 1000, 80, syn, nil), dropped(dataplane.NotHere)},
		{"unplugged, denied", packet.TCP(v4(alice, ulla), 1000, 81, syn, nil), denied("default-deny")},
		{"absent", packet.UDP(v4(alice, absent), 1000, 53, nil), dropped(dataplane.NoEndpoint)},
		{"unknown", packet.UDP(v6(alice, 77), 1000, 53, nil), missed(dataplane.WantPeer)},
		{"as large as may be", packet.UDP(v4(alice, bob), 1, 53, big(1450-28)), delivered(bob, "dns")},
		{"one byte more", packet.UDP(v4(alice, bob), 1, 53, big(1450-27)), dropped(dataplane.TooBig)},
		{"too big for nobody", packet.UDP(v6(alice, 77), 1, 53, big(1450-47)), dropped(dataplane.TooBig)},

		{"spoofed MAC", with(packet.UDP(v4(alice, rita), 1, 53, nil), 6, 2, 9), dropped(dataplane.SpoofedMAC)},
		{"neighbour's address", packet.UDP(from(v4(alice, rita), addr4(bob)), 1, 53, nil), dropped(dataplane.SpoofedAddress)},
		{"peer's address", packet.UDP(from(v6(alice, bob), addr6(rita)), 1, 53, nil), dropped(dataplane.SpoofedAddress)},
		{"nobody's address", packet.UDP(from(v4(alice, rita), addr4(77)), 1, 53, nil), dropped(dataplane.SpoofedAddress)},
		{"link-local address", packet.UDP(from(v6(alice, rita), netip.MustParseAddr("fe80::1")), 1, 53, nil), dropped(dataplane.SpoofedAddress)},

		{"cut short", []byte{1, 2, 3}, dropped(dataplane.Malformed)},
		{"vlan", with(packet.UDP(v4(alice, rita), 1, 53, nil), 12, 0x81, 0), dropped(dataplane.UnknownTag)},
		{"fragment", with(packet.UDP(v4(alice, rita), 1, 53, nil), 20, 0x20), tunneled(there, "dns")},
		{"later fragment", with(packet.UDP(v4(alice, rita), 1, 53, nil), 20, 0, 9), missed(dataplane.WantFirst)},
		{"fragment, spoofed", with(packet.UDP(v4(bob, rita), 1, 53, nil), 20, 0x20), dropped(dataplane.SpoofedMAC)},
		{"extension header", packet.Other(v6(alice, rita), 135, big(8)), dropped(dataplane.ExtensionHeader)},
		{"dhcp", packet.UDP(to(from(v4(alice, rita), netip.IPv4Unspecified()), "255.255.255.255"), 68, 67, nil), dropped(dataplane.NotUnicast)},
		{"router solicitation", packet.ICMP(to(v6(alice, rita), "ff02::2"), 133, 0, 0, nil), dropped(dataplane.NotUnicast)},

		{"arp for a neighbour", packet.ARPRequest(mac(alice), addr4(alice), addr4(bob)), answered(alice)},
		{"arp for a peer", packet.ARPRequest(mac(alice), addr4(alice), addr4(rita)), answered(alice)},
		{"arp for a hidden peer", packet.ARPRequest(mac(alice), addr4(alice), addr4(hugo)), answered(alice)},
		{"arp for an unplugged peer", packet.ARPRequest(mac(alice), addr4(alice), addr4(ulla)), answered(alice)},
		{"arp for nobody", packet.ARPRequest(mac(alice), addr4(alice), addr4(absent)), dropped(dataplane.NoEndpoint)},
		{"arp for the unknown", packet.ARPRequest(mac(alice), addr4(alice), addr4(77)), missed(dataplane.WantPeer)},
		{"arp for itself", packet.ARPRequest(mac(alice), addr4(alice), addr4(alice)), dropped(dataplane.NotUnicast)},
		{"arp as a neighbour", packet.ARPRequest(mac(alice), addr4(bob), addr4(rita)), dropped(dataplane.SpoofedAddress)},
		{"arp with another sender", with(packet.ARPRequest(mac(alice), addr4(alice), addr4(bob)), 22, 2, 9), dropped(dataplane.SpoofedMAC)},
		{"arp from another MAC", with(packet.ARPRequest(mac(alice), addr4(alice), addr4(bob)), 6, 2, 9), dropped(dataplane.SpoofedMAC)},
		{"arp reply", packet.ARPReply(v4(alice, bob)), dropped(dataplane.NotUnicast)},
		{"solicitation of a neighbour", packet.Solicitation(mac(alice), addr6(alice), addr6(bob)), answered(alice)},
		{"solicitation of a peer", packet.Solicitation(mac(alice), addr6(alice), addr6(rita)), answered(alice)},
		{"solicitation of nobody", packet.Solicitation(mac(alice), addr6(alice), addr6(absent)), dropped(dataplane.NoEndpoint)},
		{"solicitation of the unknown", packet.Solicitation(mac(alice), addr6(alice), addr6(77)), missed(dataplane.WantPeer)},
		{"solicitation as a neighbour", packet.Solicitation(mac(alice), addr6(bob), addr6(rita)), dropped(dataplane.SpoofedAddress)},
		{"duplicate detection", packet.Solicitation(mac(alice), netip.IPv6Unspecified(), addr6(alice)), dropped(dataplane.NotUnicast)},
		{"advertisement", packet.Advertisement(v6(alice, bob), addr6(alice)), dropped(dataplane.NotUnicast)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			got, out := w.FromGuest(alice, tt.frame)
			w.same(got, tt.want)
			leaves := got.Action == dataplane.Delivered || got.Action == dataplane.Tunneled || got.Action == dataplane.Answered || got.Reason == dataplane.TooBig
			if leaves != (out != nil) {
				t.Errorf("%v with a frame of %d bytes", got.Action, len(out))
			}
			w.accounted(got, alice)
		})
	}
	t.Run("no port", func(t *testing.T) {
		w := newWorld(t)
		w.guest(7, packet.UDP(v4(alice, rita), 1, 53, nil), dropped(dataplane.NoPort))
		w.accounted(dropped(dataplane.NoPort), 0)
	})
}

// accounted checks that one drop, and only a drop, was counted and sampled.
func (w *world) accounted(o dataplane.Outcome, port dataplane.PortID) {
	w.t.Helper()
	counts, err := w.Counts()
	if err != nil {
		w.t.Fatal(err)
	}
	drops := w.TakeDrops()
	if o.Action != dataplane.Dropped {
		if len(counts) != 0 || len(drops) != 0 {
			w.t.Errorf("%v, but counted %+v and sampled %+v", o.Action, counts, drops)
		}
		return
	}
	if len(counts) != 1 || counts[0].Port != port || counts[0].Reason != o.Reason || counts[0].Rule != o.Rule || counts[0].Packets != 1 {
		w.t.Errorf("%+v at port %d was counted as %+v", o, port, counts)
	}
	if len(drops) != 1 || drops[0].Port != port || drops[0].Reason != o.Reason || drops[0].Rule != o.Rule || drops[0].At != w.now {
		w.t.Errorf("%+v at port %d was sampled as %+v", o, port, drops)
	}
}

// TestFromWire receives one packet for alice in a fresh world where class 20 may
// send to class 10 what class 10 may send to class 20.
func TestFromWire(t *testing.T) {
	in := func(e packet.Ends) []byte { return packet.UDP(e, 1000, 53, nil) }
	ritas := overlay(there, 20, in(v4(rita, alice)))
	outer := packet.Outer{Src: there, Dst: here, SrcPort: 1, VNI: vni, Class: 20}
	onVNI := func(n dove.VNI) []byte { o := outer; o.VNI = n; return o.Encap(in(v4(rita, alice))) }
	elsewhere := outer
	elsewhere.Dst = third

	tests := []struct {
		name  string
		frame []byte
		want  dataplane.Outcome
		port  dataplane.PortID // that a drop counts for
	}{
		{"from a peer", ritas, delivered(alice, "dns"), 0},
		{"from a peer, v6", overlay(there, 20, in(v6(rita, alice))), delivered(alice, "dns"), 0},
		{"unreachable", overlay(there, 20, packet.ICMP(v4(rita, alice), 3, 1, 0, nil)), delivered(alice, "unreachable"), 0},
		{"denied", overlay(there, 20, packet.UDP(v4(rita, alice), 1, 54, nil)), denied("default-deny"), alice},
		{"pair unknown", overlay(there, 20, in(v4(rita, bob))), missed(dataplane.WantPair), 0},
		{"source unknown", overlay(there, 20, in(v4(77, alice))), missed(dataplane.WantPeer), 0},
		{"source absent", overlay(there, 20, in(v4(absent, alice))), dropped(dataplane.NoEndpoint), alice},
		{"wrong class", overlay(there, 10, in(v4(rita, alice))), hinted(delivered(alice, "dns")), 0},
		{"wrong class, denied", overlay(there, 10, packet.UDP(v4(rita, alice), 1, 54, nil)), hinted(denied("default-deny")), alice},
		{"wrong class, pair unknown", overlay(there, 10, in(v4(rita, bob))), hinted(missed(dataplane.WantPair)), 0},
		{"wrong VTEP", overlay(third, 20, in(v4(rita, alice))), missed(dataplane.WantConfirm), 0},
		{"source is a port here", overlay(there, 20, in(v4(bob, alice))), missed(dataplane.WantConfirm), 0},
		{"source is bound here", overlay(there, 20, in(v4(ulla, alice))), missed(dataplane.WantConfirm), 0},
		{"hidden source, allowed", overlay(there, 30, in(v4(hugo, alice))), dropped(dataplane.Hidden), alice},
		{"hidden source, denied", overlay(there, 30, packet.UDP(v4(hugo, alice), 1, 54, nil)), denied("default-deny"), alice},
		{"hidden source, wrong class", overlay(there, 20, in(v4(hugo, alice))), hinted(dropped(dataplane.Hidden)), alice},
		{"destination elsewhere", overlay(there, 20, in(v4(rita, hugo))), dropped(dataplane.NotHere), 0},
		{"destination unplugged", overlay(there, 20, in(v4(rita, ulla))), dropped(dataplane.NotHere), 0},
		{"destination unknown", overlay(there, 20, in(v4(rita, 77))), dropped(dataplane.NotHere), 0},
		{"too big", overlay(there, 20, packet.UDP(v4(rita, alice), 1, 53, make([]byte, 1450))), dropped(dataplane.TooBig), alice},
		{"too big from the unknown", overlay(there, 20, packet.UDP(v4(77, alice), 1, 53, make([]byte, 1450))), dropped(dataplane.TooBig), alice},
		{"arp", overlay(there, 20, packet.ARPRequest(mac(rita), addr4(rita), addr4(alice))), dropped(dataplane.NotUnicast), 0},
		{"solicitation", overlay(there, 20, packet.Solicitation(mac(rita), addr6(rita), addr6(alice))), dropped(dataplane.NotUnicast), 0},
		{"inner fragment", overlay(there, 20, with(in(v4(rita, alice)), 20, 0, 9)), missed(dataplane.WantFirst), alice},
		{"inner cut", overlay(there, 20, in(v4(rita, alice))[:20]), dropped(dataplane.Malformed), 0},

		{"unknown VTEP", overlay(netip.MustParseAddr("192.0.2.66"), 20, in(v4(rita, alice))), dropped(dataplane.UnknownVTEP), 0},
		{"unknown VTEP, no group policy", with(overlay(netip.MustParseAddr("192.0.2.66"), 20, nil), 42, 8), dropped(dataplane.UnknownVTEP), 0},
		{"unknown network", onVNI(101), dropped(dataplane.UnknownNetwork), 0},
		{"no group policy", with(ritas, 42, 0x08), dropped(dataplane.BadOverlay), 0},
		{"reserved bits", with(ritas, 49, 1), dropped(dataplane.BadOverlay), 0},
		{"no inner frame", overlay(there, 20, nil), dropped(dataplane.Malformed), 0},
		{"another VTEP's", elsewhere.Encap(in(v4(rita, alice))), dataplane.Outcome{Action: dataplane.Passed}, 0},
		{"another port", with(ritas, 36, 0, 53), dataplane.Outcome{Action: dataplane.Passed}, 0},
		{"outer fragment", with(ritas, 20, 0x20), dataplane.Outcome{Action: dataplane.Passed}, 0},
		{"not overlay", packet.ARPRequest(mac(1), there, here), dataplane.Outcome{Action: dataplane.Passed}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(dataplane.SetPair{Key: pair(20, 10), Table: web()})
			got, out := w.FromWire(tt.frame)
			got = w.settled(got, tt.want)
			w.same(got, tt.want)
			if (got.Action == dataplane.Delivered) != (out != nil) {
				t.Errorf("%v with a frame of %d bytes", got.Action, len(out))
			}
			w.accounted(got, tt.port)
		})
	}
}

// TestFrames compares the bytes that leave.
func TestFrames(t *testing.T) {
	w := newWorld(t)
	w.apply(dataplane.SetPair{Key: pair(20, 10), Table: web()})
	gateway := func(e packet.Ends) packet.Ends { e.DstMAC = mac(99); return e }
	same := func(what string, got, want []byte) {
		t.Helper()
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\ngot  % x\nwant % x", what, got, want)
		}
	}

	_, out := w.FromGuest(alice, packet.UDP(gateway(v4(alice, bob)), 1, 53, []byte("hello")))
	same("delivered", out, packet.UDP(v4(alice, bob), 1, 53, []byte("hello")))

	_, out = w.FromGuest(alice, packet.UDP(gateway(v6(alice, rita)), 1, 53, []byte("hello")))
	outer, inner, fault := packet.Decap(out)
	same("tunneled", inner, packet.UDP(v6(alice, rita), 1, 53, []byte("hello")))
	want := packet.Outer{Src: here, Dst: there, SrcPort: outer.SrcPort, VNI: vni, Class: 10}
	if d := cmp.Diff(want, outer, compareAddrs); d != "" || fault != packet.OK || outer.SrcPort < 0xc000 {
		t.Errorf("outer headers (%v, source port %#x), want -, got +:\n%s", fault, outer.SrcPort, d)
	}

	fromWire := v4(rita, alice)
	fromWire.SrcMAC = mac(98)
	_, out = w.FromWire(overlay(there, 20, packet.UDP(gateway(fromWire), 1, 53, nil)))
	same("from the overlay", out, packet.UDP(v4(rita, alice), 1, 53, nil)) // not the MAC that the tunnel says

	_, out = w.FromGuest(alice, packet.ARPRequest(mac(alice), addr4(alice), addr4(hugo)))
	same("arp", out, packet.ARPReply(v4(hugo, alice)))
	_, out = w.FromGuest(alice, packet.Solicitation(mac(alice), addr6(alice), addr6(rita)))
	same("nd", out, packet.Advertisement(v6(rita, alice), addr6(rita)))

	given := packet.UDP(gateway(v4(alice, bob)), 1, 53, nil)
	kept := bytes.Clone(given)
	w.FromGuest(alice, given)
	same("the caller's frame", given, kept)
}
