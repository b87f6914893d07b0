package soft

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

// moving is a world in which bob's other binding is at third, and rita's at
// third too. standby says that bob is active there.
func moving(t *testing.T, standby bool) *world {
	w := newWorld(t)
	p := portOf(bob, 1002, 20)
	p.Other, p.Standby = third, standby
	w.apply(dataplane.SetPort{Port: p})
	for _, op := range peerOf(rita, 1003, 20, there) {
		set := op.(dataplane.SetPeer)
		set.Peer.Other = third
		w.apply(set)
	}
	return w
}

func toBob(from int) []byte { return packet.UDP(v4(from, bob), 9, 53, nil) }

// TestOther shows what is believed of an endpoint that has two bindings.
func TestOther(t *testing.T) {
	w := moving(t, false)
	w.apply(dataplane.SetPair{Key: pair(20, 10), Table: web()}, dataplane.SetPair{Key: pair(20, 20), Table: web()})
	ask := packet.UDP(v4(rita, alice), 9, 53, nil)
	w.wire(there, 20, ask, delivered(alice, "dns"))
	w.wire(third, 20, ask, delivered(alice, ""))
	w.guest(alice, packet.UDP(v4(alice, rita), 9, 53, nil), tunneled(there, "dns"))
	w.wire(third, 20, packet.UDP(v4(bob, alice), 9, 53, nil), delivered(alice, "dns")) // bob himself, from there
	w.wire(there, 20, packet.UDP(v4(bob, alice), 9, 53, nil), missed(dataplane.WantConfirm))
	w.guest(alice, packet.UDP(v4(alice, bob), 7, 53, nil), delivered(bob, "dns"))
	w.wire(there, 10, toBob(alice), missed(dataplane.WantConfirm)) // alice has no other

	w.apply(peerOf(rita, 1003, 20, third)...) // finished
	w.wire(there, 20, ask, missed(dataplane.WantConfirm))
	w.apply(dataplane.SetPort{Port: portOf(bob, 1002, 20)})
	w.wire(third, 20, packet.UDP(v4(bob, alice), 9, 53, nil), missed(dataplane.WantConfirm))
}

// TestHandedOn shows what a port on standby does with what arrives for it.
func TestHandedOn(t *testing.T) {
	w := moving(t, true)
	w.apply(dataplane.SetPair{Key: pair(20, 20), Table: web()}, dataplane.SetPair{Key: pair(20, 10), Table: web()})
	ritas := func(rule string) dataplane.Outcome {
		o := tunneled(third, rule)
		o.Class = 20
		return o
	}
	in := packet.Outer{Src: there, Dst: here, SrcPort: 0xc000, VNI: vni, Class: 20, TOS: 3}
	frame := toBob(rita)
	frame[15] = 1 // ECT
	for _, rule := range []string{"dns", ""} {
		got, left := w.FromWire(in.Encap(frame))
		w.same(got, ritas(rule))
		o, inner, fault := packet.Decap(left)
		if fault != packet.OK || !o.Applied || o.Src != here || o.Dst != third || o.Class != 20 || o.TOS != 3 {
			t.Errorf("handed on behind %+v (%v)", o, fault)
		}
		if p, _ := packet.Parse(inner); p.SrcMAC != mac(rita) || p.DstMAC != mac(bob) || p.TOS != 3 {
			t.Errorf("handed on as %+v", p)
		}
	}
	w.flows(1)
	w.wire(there, 20, packet.UDP(v4(rita, bob), 9, 54, nil), denied("default-deny"))
	w.wire(third, 20, toBob(rita), ritas("")) // from there, and back, if policy allows
	w.wire(third, 20, packet.UDP(v4(77, bob), 9, 53, nil), missed(dataplane.WantPeer))
	m := w.TakeMisses()[0]
	w.apply(peerOf(77, 1077, 20, third)...)
	if left := w.inject(m, ritas("dns")); left[43] != 8 {
		t.Error("what was asked about is handed on without the A bit")
	}

	// What guests of this host send to it goes there like anything else.
	got, left := w.FromGuest(alice, toBob(alice))
	w.same(got, tunneled(third, "dns"))
	if o, _, _ := packet.Decap(left); o.Applied {
		t.Error("what a guest sends is said to be judged")
	}
	// And what it sends itself is carried.
	w.guest(bob, packet.UDP(v4(bob, alice), 1, 53, nil), delivered(alice, "dns"))
	got, _ = w.FromGuest(bob, packet.UDP(v4(bob, rita), 1, 53, nil))
	w.same(got, dataplane.Outcome{Action: dataplane.Tunneled, VTEP: there, VNI: vni, Class: 20, Rule: "dns"})
	w.guest(bob, packet.UDP(v4(rita, bob), 1, 53, nil), dropped(dataplane.SpoofedMAC))
}

// TestApplied shows who is believed that a packet has been judged already.
func TestApplied(t *testing.T) {
	applied := func(vtep netip.Addr, class dove.Class, inner []byte) []byte {
		return packet.Outer{Src: vtep, Dst: here, SrcPort: 0xc000, VNI: vni, Class: class, Applied: true}.Encap(inner)
	}
	for _, standby := range []bool{false, true} {
		w := moving(t, standby)
		give := func(frame []byte, want dataplane.Outcome) []byte {
			t.Helper()
			got, left := w.FromWire(frame)
			w.same(got, want)
			return left
		}
		stranger := packet.UDP(v4(88, 99), 1, 2, nil) // nobody here knows 88, and no rule would allow it
		copy(stranger[30:34], addr4(bob).AsSlice())
		left := give(applied(third, 99, stranger), delivered(bob, ""))
		if p, _ := packet.Parse(left); p.SrcMAC != mac(88) || p.DstMAC != mac(bob) {
			t.Errorf("delivered as % x", left)
		}
		give(applied(there, 20, toBob(rita)), dropped(dataplane.BadOverlay))
		give(applied(third, 20, packet.UDP(v4(rita, alice), 9, 53, nil)), dropped(dataplane.BadOverlay))
		give(applied(third, 20, packet.UDP(v4(rita, 88), 9, 53, nil)), dropped(dataplane.BadOverlay))
		give(applied(netip.MustParseAddr("192.0.2.99"), 20, toBob(rita)), dropped(dataplane.UnknownVTEP))
		give(applied(third, 20, packet.UDP(v4(rita, bob), 9, 53, make([]byte, 1500))), dropped(dataplane.TooBig))
		give(applied(third, 20, packet.ARPRequest(mac(rita), addr4(rita), addr4(bob))), dropped(dataplane.NotUnicast))
		w.apply(dataplane.SetPort{Port: portOf(bob, 1002, 20)})
		give(applied(third, 20, toBob(rita)), dropped(dataplane.BadOverlay))
		w.flows(0)
	}
}

// TestCarry moves a flow that only its state lets through.
func TestCarry(t *testing.T) {
	from, to := newWorld(t), newWorld(t)
	from.guest(alice, out(syn), first)
	from.wire(there, 20, back(syn|ack), reply)
	from.guest(alice, out(ack), known)
	from.guest(bob, packet.UDP(v4(bob, rita), 1, 53, nil), missed(dataplane.WantPair))
	from.pass(time.Minute)
	flows, err := from.Carried(alice)
	want := []dataplane.FlowState{{
		Tuple: dataplane.Tuple{VNI: vni, Protocol: 6, Src: addr4(alice), SrcPort: 1000, Dst: addr4(rita), DstPort: 80},
		State: dataplane.FlowReplied | dataplane.FlowSYN | dataplane.FlowConfirmed, Idle: time.Minute, UIDs: [2]dove.UID{1001, 1003},
	}}
	if d := cmp.Diff(want, flows, compareAddrs); d != "" || err != nil {
		t.Fatalf("%v\n%s", err, d)
	}

	to.wire(there, 20, back(ack), denied("default-deny")) // without it
	if err := to.Adopt(alice, flows); err != nil {
		t.Fatal(err)
	}
	to.wire(there, 20, back(ack), reply)
	again, _ := to.Carried(alice)
	want[0].Idle = 0
	if d := cmp.Diff(want, again, compareAddrs); d != "" {
		t.Error(d)
	}

	// What has had a packet here is not set back, what has not is brought up to date.
	to.guest(alice, out(packet.FIN|ack), known)
	if err := to.Adopt(alice, flows); err != nil {
		t.Fatal(err)
	}
	if f, _ := to.Carried(alice); f[0].State&dataplane.FlowFinInitiator == 0 {
		t.Errorf("set back to %+v", f)
	}
	to = newWorld(t)
	opening := flows[0]
	opening.State = dataplane.FlowSYN
	if err := to.Adopt(alice, []dataplane.FlowState{opening, flows[0]}); err != nil {
		t.Fatal(err)
	}
	if f, _ := to.Carried(alice); len(f) != 1 || f[0].State != flows[0].State || to.unconfirmed != 0 {
		t.Errorf("not brought up to date: %+v", f)
	}

	// Policy of today stands, and so does the life of the other end.
	to.apply(dataplane.SetPair{Key: pair(10, 20), Table: nothing()})
	to.wire(there, 20, back(ack), denied("default-deny"))
	to = newWorld(t)
	to.apply(peerOf(rita, 2003, 20, there)...)
	if err := to.Adopt(alice, flows); err != nil {
		t.Fatal(err)
	}
	to.wire(there, 20, back(ack), denied("default-deny"))
	to.flows(0)
}

// TestAdoptRefuses shows that nothing is taken that is no flow of the port.
func TestAdoptRefuses(t *testing.T) {
	w := newWorld(t)
	good := dataplane.FlowState{
		Tuple: dataplane.Tuple{VNI: vni, Protocol: 17, Src: addr4(rita), SrcPort: 1, Dst: addr4(alice), DstPort: 2},
		State: dataplane.FlowReplied | dataplane.FlowConfirmed, UIDs: [2]dove.UID{1003, 1001},
	}
	change := func(f func(*dataplane.FlowState)) dataplane.FlowState { c := good; f(&c); return c }
	bad := []dataplane.FlowState{
		change(func(f *dataplane.FlowState) { f.Tuple.VNI++ }),
		change(func(f *dataplane.FlowState) { f.Tuple.Dst = addr4(bob) }),
		change(func(f *dataplane.FlowState) { f.Tuple.Dst = addr6(alice) }),
		change(func(f *dataplane.FlowState) { f.Tuple.Src = netip.Addr{} }),
		change(func(f *dataplane.FlowState) { f.Tuple.Src = addr4(alice) }),
		change(func(f *dataplane.FlowState) { f.UIDs[1] = 1002 }),
		change(func(f *dataplane.FlowState) { f.State = 64 }),
		change(func(f *dataplane.FlowState) { f.Idle = -1 }),
	}
	err := w.Adopt(alice, append(bad, good))
	if err == nil || len(strings.Split(err.Error(), "\n")) != len(bad) {
		t.Errorf("%d faults, told: %v", len(bad), err)
	}
	w.flows(1)
	if err := w.Adopt(77, nil); err == nil {
		t.Error("adopted at no port")
	}
	if _, err := w.Carried(77); err == nil {
		t.Error("carried from no port")
	}
	over := change(func(f *dataplane.FlowState) { f.Tuple.SrcPort, f.Idle = 7, time.Hour })
	if err := w.Adopt(alice, []dataplane.FlowState{over}); err != nil {
		t.Error(err)
	}
	w.flows(1)

	w.SetLimits(Limits{Flows: 10, FlowsPerPort: 4})
	var many []dataplane.FlowState
	for n := range uint16(5) {
		many = append(many, change(func(f *dataplane.FlowState) { f.Tuple.SrcPort, f.State = 100+n, 0 }))
	}
	if err := w.Adopt(alice, many); err == nil || !strings.Contains(err.Error(), "no room for 3 of 5 carried flows: flow-budget") {
		t.Errorf("over the budget: %v", err)
	}
	w.flows(3)

	for _, p := range []func(*dataplane.Port){
		func(p *dataplane.Port) { p.Standby = true },
		func(p *dataplane.Port) { p.Other = here },
		func(p *dataplane.Port) { p.Other = addr6(1) },
	} {
		port := portOf(alice, 1001, 10)
		p(&port)
		if err := w.Apply([]dataplane.Op{dataplane.SetPort{Port: port}}); err == nil {
			t.Errorf("accepted %+v", port)
		}
	}
	if err := w.Apply([]dataplane.Op{dataplane.SetPeer{Key: key(addr4(rita)), Peer: dataplane.Peer{MAC: mac(rita), Other: third}}}); err == nil {
		t.Error("accepted a hidden peer whose other VTEP is told")
	}
}

// TestAdoptBetweenMoving has alice and bob, to whom she talks at one host, both on their
// way to another, which takes the flow along with either of them, whatever came first:
// with bob unless alice is active there already, who brings hers.
func TestAdoptBetweenMoving(t *testing.T) {
	from := newWorld(t)
	answer := packet.UDP(v4(bob, alice), 53, 1, nil)
	from.guest(alice, packet.UDP(v4(alice, bob), 1, 53, nil), delivered(bob, "dns"))
	from.guest(bob, answer, delivered(alice, ""))
	for _, c := range []struct {
		with, other dataplane.PortID
		standby     bool // the other one
		want        dataplane.Outcome
	}{
		{bob, alice, true, dataplane.Outcome{Action: dataplane.Tunneled, VTEP: third, VNI: vni, Class: 20}},
		{bob, alice, false, denied("default-deny")},
		{alice, bob, true, delivered(alice, "")},
		{alice, bob, false, delivered(alice, "")},
	} {
		flows, err := from.Carried(c.with)
		if err != nil || len(flows) != 1 {
			t.Fatalf("%+v, %v", flows, err)
		}
		to := newWorld(t)
		p := to.ports[c.other].Port
		p.Other, p.Standby = third, c.standby
		to.apply(dataplane.SetPort{Port: p})
		if err := to.Adopt(c.with, flows); err != nil {
			t.Fatal(err)
		}
		to.guest(bob, answer, c.want)
		to.flows(map[bool]int{true: 1}[c.want.Action != dataplane.Dropped])
	}
}

// TestInherit moves alice away from bob: her flow with him goes on, and takes
// room of his.
func TestInherit(t *testing.T) {
	for _, standby := range []bool{true, false} {
		w := newWorld(t)
		w.guest(alice, packet.UDP(v4(alice, bob), 1, 53, nil), delivered(bob, "dns"))
		w.guest(alice, packet.UDP(v4(alice, rita), 1, 53, nil), tunneled(there, "dns"))
		p := portOf(alice, 1001, 10)
		p.Other, p.Standby = third, standby
		w.apply(dataplane.SetPort{Port: p})
		w.apply(peerOf(alice, 1001, 10, third)...)
		w.apply(dataplane.DelPort{ID: alice})
		answer := packet.UDP(v4(bob, alice), 53, 1, nil)
		if !standby {
			w.guest(bob, answer, denied("default-deny"))
			w.flows(0)
			continue
		}
		if w.ports[bob].flows != 1 || w.ports[bob].unconfirmed != 1 || w.unconfirmed != 1 {
			t.Errorf("bob has %+v", w.ports[bob])
		}
		w.guest(bob, answer, dataplane.Outcome{Action: dataplane.Tunneled, VTEP: third, VNI: vni, Class: 20})
		w.flows(1)
	}
}
