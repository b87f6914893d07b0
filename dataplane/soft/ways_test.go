package soft

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

// Behind the router is a prefix with three next hops on network 200: carol (class 20)
// here, dave (20) and erin (21) beyond the tunnel.
const erin = 8

var outsides = []netip.Addr{netip.MustParseAddr("10.9.0.7"), netip.MustParseAddr("fd00:9::7")}

func wayOf(n int, uid dove.UID, class dove.Class, vtep netip.Addr) dataplane.Way {
	return dataplane.Way{UID: uid, MAC: mac(n), Class: class, VTEP: vtep, VNI: vni2, Far: far.MAC}
}

// prefixed has the next hops lead to the prefix, the first by name first.
func prefixed(t *testing.T, ways ...dataplane.Way) *world {
	w := routed(t)
	port := portOf(carol, 1006, 20)
	port.VNI, port.Addresses = vni2, []dataplane.Address{{Addr: addr42(carol), Class: 20}, {Addr: addr62(carol), Class: 20}}
	for _, p := range []string{"10.9.0.0/16", "fd00:9::/64"} {
		port.Allowed = append(port.Allowed, dataplane.Allowed{Prefix: netip.MustParsePrefix(p), Class: 20})
	}
	w.apply(
		dataplane.SetPort{Port: port},
		dataplane.SetPair{Key: pair(10, 21), Table: web()}, dataplane.SetPair{Key: pair(21, 10), Table: web()},
	)
	w.apply(w.by(ways...)...)
	return w
}

func (w *world) by(ways ...dataplane.Way) (ops []dataplane.Op) {
	for _, a := range outsides {
		first := ways[0]
		ops = append(ops, dataplane.SetPeer{Key: key(a), Peer: dataplane.Peer{
			UID: first.UID, MAC: first.MAC, Class: first.Class, VTEP: first.VTEP,
			VNI: first.VNI, Gateway: near.MAC, Far: first.Far, Ways: ways[1:],
		}})
	}
	return ops
}

func three() []dataplane.Way {
	return []dataplane.Way{wayOf(carol, 1006, 20, here), wayOf(dave, 1007, 20, there), wayOf(erin, 1008, 21, third)}
}

// outward is from alice to the prefix, in the family of the address.
func outward(to netip.Addr) packet.Ends {
	e := packet.Ends{SrcMAC: mac(alice), DstMAC: near.MAC, Src: addr4(alice), Dst: to}
	if to.Is6() {
		e.Src = addr6(alice)
	}
	return e
}

// takes sends a datagram of alice's and says which way it takes, 0 for carol's.
func (w *world) takes(to netip.Addr, port, at uint16) int {
	w.t.Helper()
	o, frame := w.FromGuest(alice, packet.UDP(outward(to), port, at, nil))
	if o.Action == dataplane.Delivered && o.Port == carol {
		return 0
	}
	_, inner, fault := packet.Decap(frame)
	p, _ := packet.Parse(inner)
	if fault != packet.OK || o.VNI != vni2 {
		w.t.Fatalf("port %d: %+v", port, o)
	}
	n := map[netip.Addr]int{there: 1, third: 2}[o.VTEP]
	if p.DstMAC != mac(carol+n) || p.SrcMAC != far.MAC {
		w.t.Errorf("port %d goes to %v by the MAC %v, from %v", port, o.VTEP, p.DstMAC, p.SrcMAC)
	}
	return n
}

// TestWaysOfFlows spreads flows over equal ways, and takes one away: its flows go by
// the others, and none else changes its way.
func TestWaysOfFlows(t *testing.T) {
	for _, to := range outsides {
		w := prefixed(t, three()...)
		took, count := map[uint16]int{}, [3]int{}
		for port := uint16(2000); port < 2300; port++ {
			took[port] = w.takes(to, port, 53)
			count[took[port]]++
		}
		if slices.Min(count[:]) < 60 {
			t.Errorf("300 flows took three ways: %v", count)
		}
		w.flows(300)
		again := func(meant func(port uint16, was int) bool, what string) {
			t.Helper()
			for port, was := range took {
				now := w.takes(to, port, 53)
				if !meant(port, was) && now != was || now != w.takes(to, port, 53) {
					t.Errorf("%s: port %d went by %d and now by %d", what, port, was, now)
				}
				took[port] = now
			}
		}
		none := func(uint16, int) bool { return false }
		again(none, "nothing changed")
		ways := three()
		w.apply(w.by(ways[2], ways[0], ways[1])...)
		again(none, "another order")
		w.apply(w.by(ways[0], ways[2])...)
		again(func(_ uint16, was int) bool { return was == 1 }, "dave is gone")
		for port, now := range took {
			if now == 1 {
				t.Errorf("port %d goes by who is gone", port)
			}
		}
		w.apply(w.by(ways...)...)
		again(none, "dave is back")
		if fresh := w.takes(to, 3000, 53) + w.takes(to, 3001, 53) + w.takes(to, 3002, 53) + w.takes(to, 3003, 53); fresh == 0 {
			t.Error("who is back gets no flow")
		}
	}
}

// TestWaysBack has the prefix begin flows: what answers them goes back by which they
// came, also where two next hops are behind one VTEP.
func TestWaysBack(t *testing.T) {
	same := []dataplane.Way{wayOf(carol, 1006, 20, here), wayOf(dave, 1007, 20, there), wayOf(erin, 1008, 21, there)}
	for _, to := range outsides {
		for _, ways := range [][]dataplane.Way{three(), same} {
			for n, class := range map[int]dove.Class{dave: 20, erin: 21} {
				w := prefixed(t, ways...)
				w.apply(dataplane.SetPair{Key: pair(20, 10), Table: web()})
				for port := uint16(2000); port < 2020; port++ {
					vtep := ways[n-carol].VTEP
					back := packet.Ends{SrcMAC: mac(n), DstMAC: mac(alice), Src: to, Dst: outward(to).Src}
					w.wire(vtep, class, packet.UDP(back, port, 53, nil), delivered(alice, "dns"))
					o, frame := w.FromGuest(alice, packet.UDP(outward(to), 53, port, nil))
					_, inner, _ := packet.Decap(frame)
					if p, _ := packet.Parse(inner); o.VTEP != vtep || p.DstMAC != mac(n) {
						t.Errorf("port %d: the answer to %d goes by %+v to %v", port, n, o, p.DstMAC)
					}
				}
			}
		}
	}
}

// TestWaysFromWhom believes no host that none of the ways is at, and says that one is
// hidden only where none is seen.
func TestWaysFromWhom(t *testing.T) {
	w := prefixed(t, three()...)
	back := packet.Ends{SrcMAC: mac(dave), DstMAC: mac(alice), Src: outsides[0], Dst: addr4(alice)}
	w.apply(dataplane.SetVTEP{Addr: netip.MustParseAddr("192.0.2.9")}, dataplane.SetPair{Key: pair(20, 10), Table: web()})
	w.wire(netip.MustParseAddr("192.0.2.9"), 20, packet.UDP(back, 1, 53, nil), missed(dataplane.WantConfirm))
	ways := three()
	ways[2].VTEP = netip.Addr{}
	w.apply(w.by(ways...)...)
	w.wire(netip.MustParseAddr("192.0.2.9"), 21, packet.UDP(back, 2, 53, nil), dropped(dataplane.Hidden))
	w.wire(there, 20, packet.UDP(back, 3, 53, nil), delivered(alice, "dns"))

	// What missed has lost all but the end of its MAC, and its way is known all the same.
	w.apply(dataplane.DelPeer{Key: key(outsides[0])})
	w.wire(there, 21, packet.UDP(packet.Ends{SrcMAC: mac(erin), DstMAC: mac(alice), Src: outsides[0], Dst: addr4(alice)}, 4, 53, nil), missed(dataplane.WantPeer))
	misses := w.TakeMisses()
	ways[2].VTEP = there
	w.apply(w.by(ways...)...)
	w.inject(misses[len(misses)-1], delivered(alice, "dns"))
	_, frame := w.FromGuest(alice, packet.UDP(outward(outsides[0]), 53, 4, nil))
	_, inner, _ := packet.Decap(frame)
	if p, _ := packet.Parse(inner); p.DstMAC != mac(erin) {
		t.Errorf("the answer goes to %v", p.DstMAC)
	}
}

// TestNextHopHere has carol send from the prefix although a row of her own network
// says that the router leads there: to herself, among others. Nobody else may.
func TestNextHopHere(t *testing.T) {
	for _, to := range outsides {
		w := prefixed(t, three()...)
		own := func(ways ...dataplane.Way) {
			p := dataplane.Peer{UID: ways[0].UID, MAC: ways[0].MAC, Class: ways[0].Class, VTEP: ways[0].VTEP, VNI: vni2, Gateway: far.MAC, Far: far.MAC, Ways: ways[1:]}
			w.apply(dataplane.SetPeer{Key: dataplane.PeerKey{VNI: vni2, Addr: to}, Peer: p})
		}
		back := packet.Ends{SrcMAC: mac(carol), DstMAC: far.MAC, Src: to, Dst: addr4(alice)}
		ended := addr42(dave)
		if to.Is6() {
			back.Dst, ended = addr6(alice), addr62(dave)
		}
		w.apply(dataplane.SetPeer{Key: dataplane.PeerKey{VNI: vni2, Addr: back.Dst}, Peer: dataplane.Peer{
			UID: 1001, MAC: mac(alice), Class: 10, VTEP: here, VNI: vni, Gateway: far.MAC, Far: near.MAC,
		}})
		w.apply(dataplane.SetPair{Key: pair(20, 10), Table: web()}, dataplane.SetPair{Key: pair(20, 20), Table: web()})
		w.apply(dataplane.SetPeer{Key: dataplane.PeerKey{VNI: vni2, Addr: ended}, Peer: dataplane.Peer{UID: 1007, MAC: mac(dave), Class: 20, VTEP: there}})
		ways := three()
		own(ways[1], ways[2], ways[0])
		w.guest(carol, packet.UDP(back, 1000, 53, nil), delivered(alice, "dns"))
		if n := w.takes(to, 53, 1000); n != 0 {
			t.Errorf("the answer takes way %d", n)
		}
		w.guest(carol, packet.UDP(packet.Ends{SrcMAC: mac(carol), DstMAC: mac(dave), Src: to, Dst: ended}, 1000, 53, nil),
			dataplane.Outcome{Action: dataplane.Tunneled, VTEP: there, VNI: vni2, Class: 20, Rule: "dns"})
		own(ways[1], ways[2])
		w.guest(carol, packet.UDP(back, 1001, 53, nil), dropped(dataplane.SpoofedAddress))
	}
}

// TestNextHopTells has a next hop's packets over a router say by their MAC which one
// it is of those behind this VTEP.
func TestNextHopTells(t *testing.T) {
	w := prefixed(t, three()...)
	w.apply(dataplane.SetPair{Key: pair(20, 20), Table: web()})
	ends := packet.Ends{SrcMAC: mac(carol), DstMAC: far.MAC, Src: outsides[0], Dst: addr4(rita)}
	_, frame := w.FromGuest(carol, packet.UDP(ends, 1000, 53, nil))
	_, inner, _ := packet.Decap(frame)
	if p, _ := packet.Parse(inner); p.SrcMAC != mac(carol) || p.TTL != 63 {
		t.Errorf("sent from %v with TTL %d", p.SrcMAC, p.TTL)
	}
	ends.Src = addr42(carol)
	_, frame = w.FromGuest(carol, packet.UDP(ends, 1000, 53, nil))
	_, inner, _ = packet.Decap(frame)
	if p, _ := packet.Parse(inner); p.SrcMAC != near.MAC {
		t.Errorf("from an own address sent from %v", p.SrcMAC)
	}
}

// TestFragmentsKeepTheirWay has the pieces of a packet take the way of the first.
func TestFragmentsKeepTheirWay(t *testing.T) {
	w := prefixed(t, three()...)
	for port := uint16(2000); port < 2030; port++ {
		way := w.takes(outsides[0], port, 53)
		w.pass(100 * time.Millisecond)
		for i, piece := range packet.Fragments(packet.UDP(outward(outsides[0]), port, 53, make([]byte, 200)), 104, uint32(port)) {
			o, _ := w.FromGuest(alice, piece)
			if n := map[netip.Addr]int{there: 1, third: 2}[o.VTEP]; n != way || o.Action == dataplane.Dropped {
				t.Errorf("port %d goes by %d, and its piece %d by %d: %+v", port, way, i, n, o)
			}
		}
	}
}
