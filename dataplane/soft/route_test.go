package soft

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

// The routed world of these tests: network 200 of the same domain, with carol
// (class 20) here and dave (class 20) beyond the tunnel, is joined to network 100
// by a router, which is 10.0.0.254 there and 10.0.2.254 here. Each on it has 10.0.2.N
// and fd00:2::N.
const (
	carol = 6
	dave  = 7

	vni2 = dove.VNI(200)
)

var (
	near = dataplane.Gateway{MAC: dove.MAC{2, 0xee, 1}, Addrs: []netip.Addr{addr4(254), addr6(254)}}
	far  = dataplane.Gateway{MAC: dove.MAC{2, 0xee, 2}, Addrs: []netip.Addr{addr42(254), addr62(254)}}
)

func addr42(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 2, byte(n)}) }
func addr62(n int) netip.Addr { return netip.AddrFrom16([16]byte{0: 0xfd, 3: 2, 15: byte(n)}) }

// over is from a guest of network 100 to one of 200, as it is sent to the router.
func over(from, to int) packet.Ends {
	return packet.Ends{SrcMAC: mac(from), DstMAC: near.MAC, Src: addr4(from), Dst: addr42(to)}
}
func over6(from, to int) packet.Ends {
	return packet.Ends{SrcMAC: mac(from), DstMAC: near.MAC, Src: addr6(from), Dst: addr62(to)}
}

// ret is the other way.
func ret(from, to int) packet.Ends {
	return packet.Ends{SrcMAC: mac(from), DstMAC: far.MAC, Src: addr42(from), Dst: addr4(to)}
}

// ttl sets a frame's TTL, and leaves its checksum wrong.
func ttl(frame []byte, n byte) []byte {
	if frame[12] == 0x86 {
		return with(frame, 21, n)
	}
	return with(frame, 22, n)
}

func behind(n int, uid dove.UID, class dove.Class, vtep netip.Addr, mtu uint16) []dataplane.Op {
	p := dataplane.Peer{UID: uid, MAC: mac(n), Class: class, VTEP: vtep, VNI: vni2, Gateway: near.MAC, Far: far.MAC, MTU: mtu}
	return []dataplane.Op{dataplane.SetPeer{Key: key(addr42(n)), Peer: p}, dataplane.SetPeer{Key: key(addr62(n)), Peer: p}}
}

func routed(t *testing.T) *world {
	w := newWorld(t)
	port := portOf(carol, 1006, 20)
	port.VNI, port.Addresses = vni2, []dataplane.Address{{Addr: addr42(carol), Class: 20}, {Addr: addr62(carol), Class: 20}}
	back := func(n int, uid dove.UID, class dove.Class, vtep netip.Addr) dataplane.Op {
		return dataplane.SetPeer{Key: dataplane.PeerKey{VNI: vni2, Addr: addr4(n)}, Peer: dataplane.Peer{
			UID: uid, MAC: mac(n), Class: class, VTEP: vtep, VNI: vni, Gateway: far.MAC, Far: near.MAC,
		}}
	}
	w.apply(
		dataplane.SetNetwork{Network: dataplane.Network{VNI: vni, Domain: domain, MTU: 1450, Gateways: []dataplane.Gateway{near}}},
		dataplane.SetNetwork{Network: dataplane.Network{VNI: vni2, Domain: domain, MTU: 1450, Gateways: []dataplane.Gateway{far}}},
		dataplane.SetPort{Port: port},
		back(alice, 1001, 10, here), back(rita, 1003, 20, there),
		dataplane.SetAbsent{Key: key(addr42(absent)), TTL: time.Minute},
		dataplane.SetAbsent{Key: key(addr62(absent)), TTL: time.Minute},
		dataplane.SetAbsent{Key: key(netip.MustParseAddr("8.8.8.8")), TTL: time.Minute, NoRoute: true},
		dataplane.SetAbsent{Key: key(netip.MustParseAddr("2001:db8::8")), TTL: time.Minute, NoRoute: true},
	)
	w.apply(behind(carol, 1006, 20, here, 0)...)
	w.apply(behind(dave, 1007, 20, there, 1000)...)
	return w
}

// TestRouted sends packets of alice's over the router, and looks what it does to
// them.
func TestRouted(t *testing.T) {
	same := func(t *testing.T, got, want []byte) {
		t.Helper()
		if !bytes.Equal(got, want) {
			t.Errorf("\ngot  % x\nwant % x", got, want)
		}
	}
	hopped := func(frame []byte) []byte {
		frame = bytes.Clone(frame)
		packet.Hop(frame)
		return frame
	}
	arrives := func(e packet.Ends, n int) packet.Ends { e.SrcMAC, e.DstMAC = far.MAC, mac(n); return e }
	for _, ends := range []func(int, int) packet.Ends{over, over6} {
		w := routed(t)
		udp := func(e packet.Ends) []byte { return packet.UDP(e, 1000, 53, []byte("hello")) }
		got, frame := w.FromGuest(alice, udp(ends(alice, carol)))
		w.same(got, delivered(carol, "dns"))
		same(t, frame, hopped(udp(arrives(ends(alice, carol), carol))))

		got, frame = w.FromGuest(alice, udp(ends(alice, dave)))
		want := tunneled(there, "dns")
		want.VNI = vni2
		w.same(got, want)
		outer, inner, _ := packet.Decap(frame)
		same(t, inner, hopped(udp(arrives(ends(alice, dave), dave))))
		if outer.VNI != vni2 || outer.Class != 10 {
			t.Errorf("sent as %+v", outer)
		}

		got, frame = w.FromGuest(alice, ttl(udp(ends(alice, dave)), 1))
		w.same(got, dropped(dataplane.TTLExpired))
		same(t, frame, packet.Refuse(ttl(udp(ends(alice, dave)), 1), packet.Expired, near.MAC, near.Addr(ends(1, 2).Src.Is4()), 0))
		got, frame = w.FromGuest(alice, ttl(udp(ends(alice, 77)), 1)) // who is nobody's business then
		w.same(got, dropped(dataplane.TTLExpired))
		if frame == nil {
			t.Error("a probe of an unknown one's way is not answered")
		}
		got, frame = w.FromGuest(alice, ttl(udp(ends(alice, dave)), 2))
		w.same(got, dataplane.Outcome{Action: dataplane.Tunneled, VTEP: there, VNI: vni2, Class: 10})
		_, inner, _ = packet.Decap(frame)
		if p, _ := packet.Parse(inner); p.TTL != 1 {
			t.Errorf("sent on with TTL %d", p.TTL)
		}

		large := packet.UDP(ends(alice, dave), 1000, 53, make([]byte, 1000))
		got, frame = w.FromGuest(alice, large)
		w.same(got, dropped(dataplane.TooBig))
		same(t, frame, packet.Refuse(large, packet.TooLarge, near.MAC, near.Addr(ends(1, 2).Src.Is4()), 1000))
		w.guest(alice, packet.UDP(ends(alice, carol), 1000, 53, make([]byte, 1000)), delivered(carol, ""))

		got, frame = w.FromGuest(alice, udp(ends(alice, absent)))
		w.same(got, dropped(dataplane.NoEndpoint))
		same(t, frame, packet.Refuse(udp(ends(alice, absent)), packet.NoHost, near.MAC, near.Addr(ends(1, 2).Src.Is4()), 0))
		nowhere := ends(alice, absent)
		if nowhere.Dst = netip.MustParseAddr("8.8.8.8"); nowhere.Src.Is6() {
			nowhere.Dst = netip.MustParseAddr("2001:db8::8")
		}
		got, frame = w.FromGuest(alice, udp(nowhere))
		w.same(got, dropped(dataplane.NoRoute))
		same(t, frame, packet.Refuse(udp(nowhere), packet.NoNetwork, near.MAC, near.Addr(nowhere.Src.Is4()), 0))
		for range DefaultLimits.MissBurst {
			_, frame = w.FromGuest(alice, udp(nowhere))
		}
		if frame != nil {
			t.Error("told without end")
		}

		gateway := ends(alice, 254)
		gateway.Dst = near.Addr(gateway.Src.Is4())
		got, frame = w.FromGuest(alice, packet.EchoRequest(gateway, 1, 2, []byte("ping")))
		w.same(got, answered(alice))
		same(t, frame, packet.EchoReply(gateway.Reverse(), 1, 2, []byte("ping")))
		w.guest(alice, udp(gateway), dropped(dataplane.ToRouter))
		gateway.Src = near.Addr(gateway.Src.Is4())
		gateway.Dst = ends(alice, carol).Dst
		w.guest(alice, udp(gateway), dropped(dataplane.SpoofedAddress))
	}
	w := routed(t)
	w.guest(alice, packet.TCP(over(alice, carol), 1, 81, syn, nil), denied("default-deny"))
	_, frame := w.FromGuest(alice, packet.ARPRequest(mac(alice), addr4(alice), addr4(254)))
	same(t, frame, packet.ARPReply(packet.Ends{SrcMAC: near.MAC, DstMAC: mac(alice), Src: addr4(254), Dst: addr4(alice)}))
	_, frame = w.FromGuest(alice, packet.ARPRequest(mac(alice), addr4(alice), addr42(dave)))
	if p, _ := packet.Parse(frame); p.SrcMAC != near.MAC {
		t.Errorf("one behind the router is said to be at %v", p.SrcMAC)
	}

	// From beyond the tunnel: by the receiver's network.
	fromRita := packet.UDP(packet.Ends{SrcMAC: far.MAC, DstMAC: mac(carol), Src: addr4(rita), Dst: addr42(carol)}, 1, 53, nil)
	wire := func(on dove.VNI, inner []byte, want dataplane.Outcome) []byte {
		t.Helper()
		got, frame := w.FromWire(packet.Outer{Src: there, Dst: here, SrcPort: 1, VNI: on, Class: 20}.Encap(inner))
		w.same(got, want)
		return frame
	}
	w.apply(dataplane.SetPair{Key: pair(20, 20), Table: web()})
	frame = wire(vni2, fromRita, delivered(carol, "dns"))
	if p, _ := packet.Parse(frame); p.SrcMAC != far.MAC || p.DstMAC != mac(carol) || p.TTL != 64 {
		t.Errorf("delivered as %+v", p)
	}
	wire(vni, fromRita, dropped(dataplane.NotHere)) // carol is not on that network
	spoofed := packet.UDP(packet.Ends{SrcMAC: far.MAC, DstMAC: mac(carol), Src: far.Addrs[0], Dst: addr42(carol)}, 1, 53, nil)
	wire(vni2, spoofed, dropped(dataplane.SourceMismatch))
	wire(vni2, packet.EchoRequest(packet.Ends{Src: addr4(rita), Dst: far.Addrs[0]}, 1, 1, nil), dropped(dataplane.NotHere))
}

// TestTwoEntries shows that two ports on different networks share a flow.
func TestTwoEntries(t *testing.T) {
	out := func(f packet.TCPFlags) []byte { return packet.TCP(over(alice, carol), 1000, 80, f, nil) }
	back := func(f packet.TCPFlags) []byte { return packet.TCP(ret(carol, alice), 80, 1000, f, nil) }
	open := func() *world {
		w := routed(t)
		w.guest(carol, back(ack), denied("default-deny")) // carol's class may not begin
		w.guest(alice, out(syn), delivered(carol, "web"))
		w.guest(carol, back(syn|ack), delivered(alice, ""))
		w.guest(alice, out(ack), delivered(carol, ""))
		return w
	}
	w := open()
	flows, _ := w.Flows()
	if len(flows) != 2 || flows[0].Tuple.VNI != vni || flows[1].Tuple.VNI != vni2 || w.unconfirmed != 0 {
		t.Errorf("%d unconfirmed of flows %+v", w.unconfirmed, flows)
	}
	for _, f := range flows {
		if f.Tuple.Src != addr4(alice) || f.Packets != 3 {
			t.Errorf("flow %+v", f)
		}
	}
	if n := w.ports[alice].flows + w.ports[carol].flows; n != 2 {
		t.Errorf("budgets count %d flows", n)
	}
	w.pass(time.Hour)
	w.guest(carol, back(ack), delivered(alice, ""))

	complaint := packet.ICMP(ret(carol, alice), 3, 3, 0, out(ack)[14:42])
	w.guest(carol, complaint, delivered(alice, ""))
	w = routed(t)
	w.guest(alice, packet.UDP(over(alice, carol), 9, 53, nil), delivered(carol, "dns"))
	w.guest(carol, packet.ICMP(ret(carol, alice), 3, 3, 0, packet.UDP(over(alice, carol), 9, 53, nil)[14:]), delivered(alice, ""))
	w.flows(1)

	w = open()
	w.guest(alice, out(rst), delivered(carol, ""))
	w.guest(carol, back(syn), denied("default-deny"))
	w.guest(alice, out(syn), delivered(carol, "web"))
	w.flows(1) // the old one is gone under both
	w.apply(dataplane.DelPort{ID: carol})
	w.flows(0)
	w.guest(alice, out(ack), dropped(dataplane.NotHere))

	w = open()
	w.apply(dataplane.SetPair{Key: pair(10, 20), Table: nothing()})
	w.guest(carol, back(ack), denied("default-deny"))
	w = open()
	w.apply(dataplane.DelPort{ID: alice})
	w.flows(0)
	if n := w.ports[carol].flows; n != 0 {
		t.Errorf("carol's budget has %d flows", n)
	}
	w = open()
	w.SetLimits(Limits{Flows: 3, FlowsPerPort: 1, MissBurst: 1, MissRate: 1})
	w.guest(alice, packet.UDP(over(alice, carol), 9, 53, nil), dropped(dataplane.FlowBudget))
}

// TestRouterFaults refuses what no router can be.
func TestRouterFaults(t *testing.T) {
	w := routed(t)
	peer := func(change func(*dataplane.Peer)) dataplane.Op {
		op := behind(dave, 1007, 20, there, 0)[0].(dataplane.SetPeer)
		change(&op.Peer)
		return op
	}
	network := func(g ...dataplane.Gateway) dataplane.Op {
		return dataplane.SetNetwork{Network: dataplane.Network{VNI: vni, Domain: domain, MTU: 1450, Gateways: g}}
	}
	for i, op := range []dataplane.Op{
		peer(func(p *dataplane.Peer) { p.Gateway = dove.MAC{} }),
		peer(func(p *dataplane.Peer) { p.Gateway = dove.MAC{1} }),
		peer(func(p *dataplane.Peer) { p.Far = dove.MAC{} }),
		peer(func(p *dataplane.Peer) { p.VNI = 1 << 24 }),
		network(near, near),
		network(dataplane.Gateway{MAC: dove.MAC{1}}),
		network(dataplane.Gateway{MAC: mac(9), Addrs: []netip.Addr{netip.MustParseAddr("224.0.0.1")}}),
		network(dataplane.Gateway{MAC: mac(9), Addrs: slices.Repeat(near.Addrs, 2)}),
	} {
		if err := w.Apply([]dataplane.Op{op}); err == nil {
			t.Errorf("op %d is accepted: %+v", i, op)
		}
	}
	w.apply(network())
	w.guest(alice, packet.EchoRequest(packet.Ends{SrcMAC: mac(alice), Src: addr4(alice), Dst: addr4(254)}, 1, 1, nil), missed(dataplane.WantPeer))
}
