package soft

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

func TestMisses(t *testing.T) {
	unknown := func(proto dove.Protocol, src, dst uint16) dataplane.Tuple {
		return dataplane.Tuple{VNI: vni, Src: addr4(alice), Dst: addr4(77), Protocol: proto, SrcPort: src, DstPort: dst}
	}
	confirm := overlay(third, 20, packet.UDP(v4(rita, alice), 5, 6, nil))
	arp := packet.ARPRequest(mac(alice), addr4(alice), addr4(77))
	tcp := packet.TCP(v4(alice, 77), 1, 80, syn, nil)

	w := newWorld(t)
	w.guest(alice, tcp, missed(dataplane.WantPeer))
	w.guest(alice, arp, missed(dataplane.WantPeer))
	got, _ := w.FromWire(confirm)
	w.same(got, missed(dataplane.WantConfirm))
	want := []dataplane.Miss{
		{Port: alice, Want: dataplane.WantPeer, Tuple: unknown(6, 1, 80), Local: addr4(alice), Peer: addr4(77), Frame: tcp},
		{Port: alice, Want: dataplane.WantPeer, Tuple: unknown(0, 0, 0), Local: addr4(alice), Peer: addr4(77), Frame: arp},
		{
			Port: alice, Want: dataplane.WantConfirm, Direction: dataplane.FromOverlay,
			Tuple: dataplane.Tuple{VNI: vni, Src: addr4(rita), Dst: addr4(alice), Protocol: 17, SrcPort: 5, DstPort: 6},
			Local: addr4(alice), Peer: addr4(rita), Frame: confirm,
		},
	}
	misses := w.TakeMisses()
	if d := cmp.Diff(want, misses, compareAddrs); d != "" {
		t.Fatalf("misses, want -, got +:\n%s", d)
	}
	if again := w.TakeMisses(); len(again) != 0 {
		t.Errorf("taken twice: %+v", again)
	}

	// Without an answer each ends with what it lacked.
	w.inject(misses[0], dropped(dataplane.NoEndpoint))
	w.inject(misses[1], dropped(dataplane.NoEndpoint))
	w.inject(misses[2], dropped(dataplane.SourceMismatch))

	// With one, it may lack something else.
	w.apply(peerOf(77, 1077, 40, third)...)
	if frame := w.inject(misses[1], answered(alice)); string(frame) != string(packet.ARPReply(v4(77, alice))) {
		t.Errorf("answer % x", frame)
	}
	w.inject(misses[0], missed(dataplane.WantPair))
	second := w.take()
	w.inject(second, denied("default-deny"))
	w.apply(dataplane.SetPair{Key: pair(10, 40), Table: web()})
	w.inject(second, tunneled(third, "web"))

	// From the overlay it comes back with its outer source and class.
	w.apply(peerOf(rita, 1003, 20, third)...)
	w.apply(dataplane.SetPair{Key: pair(20, 10), Table: allow(rule("six", 17, 6, 6))})
	frame := w.inject(misses[2], delivered(alice, "six"))
	if p, _ := packet.Parse(frame); p.SrcMAC != mac(rita) || p.DstMAC != mac(alice) {
		t.Errorf("delivered with MACs %v to %v", p.SrcMAC, p.DstMAC)
	}
	w.apply(dataplane.DelVTEP{Addr: third})
	w.inject(misses[2], dropped(dataplane.UnknownVTEP))
	w.apply(dataplane.DelPort{ID: alice})
	w.inject(misses[2], dropped(dataplane.NoPort))
	w.inject(misses[0], dropped(dataplane.NoPort))
}

func TestLimits(t *testing.T) {
	t.Run("misses", func(t *testing.T) {
		w := newWorld(t)
		ask := packet.ARPRequest(mac(alice), addr4(alice), addr4(77))
		for range DefaultLimits.MissBurst {
			w.guest(alice, ask, missed(dataplane.WantPeer))
		}
		w.guest(alice, ask, dropped(dataplane.MissLimit))
		w.guest(bob, packet.ARPRequest(mac(bob), addr4(bob), addr4(77)), missed(dataplane.WantPeer))
		w.pass(2 * time.Millisecond)
		w.guest(alice, ask, missed(dataplane.WantPeer))
		w.guest(alice, ask, missed(dataplane.WantPeer))
		w.wire(third, 20, packet.UDP(v4(rita, alice), 1, 2, nil), dropped(dataplane.MissLimit))
	})
	t.Run("flows", func(t *testing.T) {
		w := newWorld(t)
		w.SetLimits(Limits{Flows: 8, FlowsPerPort: 4, MissBurst: 1, MissRate: 1})
		w.apply(dataplane.SetPair{Key: pair(20, 20), Table: web()})
		udp := func(port uint16) []byte { return packet.UDP(v4(alice, rita), port, 53, nil) }
		bobs := func(port uint16) []byte { return packet.UDP(v4(bob, rita), port, 53, nil) }
		allowed := tunneled(there, "dns")
		bobMay := allowed
		bobMay.Class = 20
		w.guest(alice, udp(1), allowed)
		w.guest(alice, udp(2), allowed)
		w.guest(alice, udp(3), dropped(dataplane.FlowBudget))
		w.guest(alice, udp(1), known)
		w.guest(alice, packet.UDP(v4(alice, rita), 3, 54, nil), denied("default-deny"))
		w.guest(bob, bobs(1), bobMay)
		w.guest(bob, bobs(2), dropped(dataplane.FlowTableFull))

		w.pass(3 * time.Minute)
		w.guest(alice, udp(3), dropped(dataplane.FlowBudget)) // the expired count until Expire
		w.guest(alice, udp(2), allowed)                       // or until they begin again
		w.Expire()
		w.guest(alice, udp(3), allowed)
		w.apply(dataplane.DelPort{ID: alice}, dataplane.SetPort{Port: portOf(alice, 1001, 10)})
		w.guest(alice, udp(1), allowed)
		w.guest(alice, udp(2), allowed)
		w.guest(alice, udp(3), dropped(dataplane.FlowBudget))
	})
	t.Run("samples", func(t *testing.T) {
		w := newWorld(t)
		for range 3 {
			w.guest(alice, packet.UDP(v4(alice, rita), 1, 99, nil), denied("default-deny"))
			w.guest(alice, packet.UDP(v4(alice, rita), 2, 99, nil), denied("default-deny"))
			w.pass(400 * time.Millisecond)
		}
		w.pass(time.Second)
		w.Expire()
		w.guest(alice, packet.UDP(v4(alice, rita), 1, 99, nil), denied("default-deny"))
		w.Discard(dataplane.Miss{Port: alice, Frame: make([]byte, 60)}, dataplane.HoldLimit)
		var ports []uint16
		for _, d := range w.TakeDrops() {
			ports = append(ports, d.Tuple.SrcPort)
		}
		if d := cmp.Diff([]uint16{1, 2, 1, 0}, ports); d != "" {
			t.Errorf("source ports of the samples, want -, got +:\n%s", d)
		}
		size := uint64(len(packet.UDP(v4(alice, rita), 1, 99, nil)))
		counts, err := w.Counts()
		want := []dataplane.Count{
			{Port: alice, Reason: dataplane.Policy, Rule: "default-deny", Packets: 7, Bytes: 7 * size},
			{Port: alice, Reason: dataplane.HoldLimit, Packets: 1, Bytes: 60},
		}
		if d := cmp.Diff(want, counts); d != "" || err != nil {
			t.Errorf("counts (%v), want -, got +:\n%s", err, d)
		}
	})
}

func TestApplyFaults(t *testing.T) {
	port := func(change func(p *dataplane.Port)) dataplane.Op {
		p := portOf(8, 1, 10)
		change(&p)
		return dataplane.SetPort{Port: p}
	}
	peer := func(addr string, p dataplane.Peer) dataplane.Op {
		return dataplane.SetPeer{Key: key(netip.MustParseAddr(addr)), Peer: p}
	}
	tests := []struct {
		name string
		op   dataplane.Op
		want string // within the error
	}{
		{"network 0", dataplane.SetNetwork{Network: dataplane.Network{Domain: 1, MTU: 1450}}, "VNI 0"},
		{"network of 25 bits", dataplane.SetNetwork{Network: dataplane.Network{VNI: 1 << 24, Domain: 1, MTU: 1450}}, "24 bits"},
		{"network without MTU", dataplane.SetNetwork{Network: dataplane.Network{VNI: 1, Domain: 1}}, "MTU 0"},
		{"network in use", dataplane.DelNetwork{VNI: vni}, "delete them first"},
		{"v6 VTEP", dataplane.SetVTEP{Addr: addr6(1)}, "do not reach it"},
		{"port 0", port(func(p *dataplane.Port) { p.ID = 0 }), "id from 1 to 65535"},
		{"port 65536", port(func(p *dataplane.Port) { p.ID = 65536 }), "id from 1 to 65535"},
		{"port with group MAC", port(func(p *dataplane.Port) { p.MAC[0] = 1 }), "unicast MAC"},
		{"port on no network", port(func(p *dataplane.Port) { p.VNI, p.Addresses = 7, nil }), "set the network first"},
		{"port's address on no network", port(func(p *dataplane.Port) { p.VNI = 7 }), "set the network first"},
		{"port with group address", port(func(p *dataplane.Port) { p.Addresses[0].Addr = netip.MustParseAddr("224.0.0.1") }), "unicast"},
		{"port with mapped address", port(func(p *dataplane.Port) { p.Addresses[0].Addr = netip.MustParseAddr("::ffff:10.0.0.8") }), "unicast"},
		{"port with alice's address", port(func(p *dataplane.Port) { p.Addresses[0].Addr = addr4(alice) }), "port 1 has address 10.0.0.1 already"},
		{"port with alice's device", port(func(p *dataplane.Port) { p.Ifindex = 100 + alice }), "port 1 has device tap already"},
		{"peer on no network", dataplane.SetPeer{Key: dataplane.PeerKey{VNI: 7, Addr: addr4(8)}, Peer: dataplane.Peer{MAC: mac(8)}}, "set the network first"},
		{"peer without MAC", peer("10.0.0.8", dataplane.Peer{VTEP: there}), "unicast MAC"},
		{"peer behind v6", peer("10.0.0.8", dataplane.Peer{MAC: mac(8), VTEP: addr6(1)}), "do not reach it"},
		{"absent on no network", dataplane.SetAbsent{Key: dataplane.PeerKey{VNI: 7, Addr: addr4(8)}, TTL: time.Second}, "set the network first"},
		{"pair without table", dataplane.SetPair{Key: pair(1, 2)}, "a table"},
		{"pair without domain", dataplane.SetPair{Key: dataplane.PairKey{Src: 1, Dst: 2}, Table: web()}, "a domain"},
		{"nothing", nil, "unknown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			before, _ := w.Sizes()
			err := w.Apply([]dataplane.Op{tt.op})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if fault, ok := errors.AsType[*dataplane.OpError](err); !ok || fault.Err == nil {
				t.Errorf("%T is no OpError", err)
			}
			if after, _ := w.Sizes(); after != before {
				t.Errorf("sizes %+v, were %+v", after, before)
			}
		})
	}
}

// TestApplyGoesOn shows that a fault does not keep the other ops from being in
// force, and that removing what is not there is none.
func TestApplyGoesOn(t *testing.T) {
	w := newWorld(t)
	err := w.Apply([]dataplane.Op{
		dataplane.DelNetwork{VNI: 7}, dataplane.DelVTEP{Addr: addr4(7)}, dataplane.DelPort{ID: 7}, dataplane.DelPeer{Key: key(addr4(7))},
		dataplane.DelAbsent{Key: key(addr4(7))}, dataplane.DelPair{Key: pair(7, 7)},
		dataplane.SetVTEP{Addr: addr6(7)}, dataplane.SetVTEP{Addr: addr4(7)}, dataplane.SetPort{},
	})
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 2 {
		t.Fatalf("error %v, want two joined", err)
	}
	got, err := w.Sizes()
	want := dataplane.Sizes{Ports: 2, Peers: 6, Absent: 2, Pairs: 4, Tables: 2, VTEPs: 3}
	if got != want || err != nil {
		t.Errorf("sizes %+v (%v), want %+v", got, err, want)
	}

	w.apply(dataplane.DelPort{ID: alice}, dataplane.DelPort{ID: bob})
	for _, n := range []int{rita, hugo, ulla} {
		w.apply(dataplane.DelPeer{Key: key(addr4(n))}, dataplane.DelPeer{Key: key(addr6(n))})
	}
	w.apply(dataplane.DelNetwork{VNI: vni})
	got, _ = w.Sizes()
	if want = (dataplane.Sizes{Pairs: 4, Tables: 2, VTEPs: 3}); got != want {
		t.Errorf("sizes %+v, want %+v", got, want)
	}
	w.wire(there, 20, packet.UDP(v4(rita, alice), 1, 2, nil), dropped(dataplane.UnknownNetwork))
}

// TestWhoHasAnAddress shows that a port beats a peer, and both an absent mark.
func TestWhoHasAnAddress(t *testing.T) {
	w := newWorld(t)
	udp := packet.UDP(v4(alice, absent), 1, 53, nil)
	w.apply(peerOf(absent, 1009, 20, there)...)
	w.guest(alice, udp, tunneled(there, "dns"))
	w.apply(dataplane.SetPort{Port: portOf(absent, 1009, 20)})
	w.guest(alice, udp, delivered(absent, ""))
	w.apply(dataplane.DelPort{ID: absent})
	w.guest(alice, udp, tunneled(there, "dns"))
	w.apply(dataplane.DelPeer{Key: key(addr4(absent))})
	w.guest(alice, udp, dropped(dataplane.NoEndpoint))
	w.apply(dataplane.DelAbsent{Key: key(addr4(absent))})
	w.guest(alice, udp, missed(dataplane.WantPeer))
}
