package soft

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/verdict"
)

// The world of these tests: network 100 of domain 1 with two ports here, alice
// (class 10) and bob (class 20), and beyond the tunnel rita (class 20), the
// hidden hugo (class 30), and ulla (class 20), whose port is not plugged yet.
// Nobody has address 9. Each has 10.0.0.N and fd00::N, and MAC 02::N.
const (
	alice  = 1
	bob    = 2
	rita   = 3
	hugo   = 4
	ulla   = 5
	absent = 9

	vni    = dove.VNI(100)
	domain = 1
)

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("192.0.2.2")
	third = netip.MustParseAddr("192.0.2.3")
)

func mac(n int) dove.MAC     { return dove.MAC{2, 0, 0, 0, 0, byte(n)} }
func addr4(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }
func addr6(n int) netip.Addr { return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(n)}) }

func v4(from, to int) packet.Ends {
	return packet.Ends{SrcMAC: mac(from), DstMAC: mac(to), Src: addr4(from), Dst: addr4(to)}
}
func v6(from, to int) packet.Ends {
	return packet.Ends{SrcMAC: mac(from), DstMAC: mac(to), Src: addr6(from), Dst: addr6(to)}
}

func key(a netip.Addr) dataplane.PeerKey { return dataplane.PeerKey{VNI: vni, Addr: a} }

func pair(src, dst dove.Class) dataplane.PairKey {
	return dataplane.PairKey{Domain: domain, Src: src, Dst: dst}
}

// allow makes a table that allows the matches, each under its own name.
func allow(matches ...verdict.Rule) *verdict.Table {
	for i := range matches {
		matches[i].Action = verdict.Allow
	}
	half := verdict.Half{Rules: matches, DefaultName: verdict.DefaultDeny, Stateful: true}
	return verdict.Product(half, half)
}

func rule(name string, p dove.Protocol, first, last uint16) verdict.Rule {
	return verdict.Rule{Match: verdict.Match{Protocol: p, First: first, Last: last}, Name: name}
}

// web is what class 10 may send to class 20.
func web() *verdict.Table {
	return allow(
		rule("web", dove.ProtocolTCP, 80, 80), rule("dns", dove.ProtocolUDP, 53, 53),
		rule("sctp", dove.ProtocolSCTP, 0, 65535), rule("esp", 50, 0, 65535),
		rule("ping", dove.ProtocolICMP, 0x0800, 0x0800), rule("ping", dove.ProtocolICMPv6, 0x8000, 0x8000),
		rule("unreachable", dove.ProtocolICMP, 0x0300, 0x03ff), rule("too-big", dove.ProtocolICMPv6, 0x0200, 0x0200),
	)
}

func nothing() *verdict.Table { return allow() }

func portOf(n int, uid dove.UID, class dove.Class) dataplane.Port {
	return dataplane.Port{
		ID: dataplane.PortID(n), UID: uid, VNI: vni, MAC: mac(n), Device: "tap", Ifindex: 100 + n, Kind: dataplane.Veth,
		Addresses: []dataplane.Address{{Addr: addr4(n), Class: class}, {Addr: addr6(n), Class: class}},
	}
}

func peerOf(n int, uid dove.UID, class dove.Class, vtep netip.Addr) []dataplane.Op {
	p := dataplane.Peer{UID: uid, MAC: mac(n), Class: class, VTEP: vtep}
	return []dataplane.Op{dataplane.SetPeer{Key: key(addr4(n)), Peer: p}, dataplane.SetPeer{Key: key(addr6(n)), Peer: p}}
}

// world is a switch, its clock, and the test that drives them.
type world struct {
	*Switch
	t   *testing.T
	now time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)}
	w.Switch = New(dataplane.Config{VTEP: here}, func() time.Time { return w.now })
	w.apply(
		dataplane.SetNetwork{Network: dataplane.Network{VNI: vni, Domain: domain, MTU: 1450}},
		dataplane.SetVTEP{Addr: there}, dataplane.SetVTEP{Addr: third},
		dataplane.SetPort{Port: portOf(alice, 1001, 10)},
		dataplane.SetPort{Port: portOf(bob, 1002, 20)},
		dataplane.SetAbsent{Key: key(addr4(absent)), TTL: 10 * time.Second},
		dataplane.SetAbsent{Key: key(addr6(absent)), TTL: 10 * time.Second},
		dataplane.SetPair{Key: pair(10, 20), Table: web()},
		dataplane.SetPair{Key: pair(20, 10), Table: nothing()},
		dataplane.SetPair{Key: pair(10, 30), Table: web()},
		dataplane.SetPair{Key: pair(30, 10), Table: web()},
	)
	w.apply(peerOf(rita, 1003, 20, there)...)
	w.apply(peerOf(hugo, 1004, 30, netip.Addr{})...)
	w.apply(peerOf(ulla, 1005, 20, here)...)
	return w
}

func (w *world) apply(ops ...dataplane.Op) {
	w.t.Helper()
	if err := w.Apply(ops); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pass(d time.Duration) { w.now = w.now.Add(d) }

// guest sends a frame from a port and checks what became of it.
func (w *world) guest(port int, frame []byte, want dataplane.Outcome) {
	w.t.Helper()
	got, _ := w.FromGuest(dataplane.PortID(port), frame)
	w.same(got, want)
}

// wire receives a frame from a VTEP and checks what became of it.
func (w *world) wire(vtep netip.Addr, class dove.Class, frame []byte, want dataplane.Outcome) {
	w.t.Helper()
	got, _ := w.FromWire(overlay(vtep, class, frame))
	w.same(w.settled(got, want), want)
}

// settled answers for the DPC that what denies a packet is the latest, if that is
// what it waits for and is meant to be refused by.
func (w *world) settled(got, want dataplane.Outcome) dataplane.Outcome {
	w.t.Helper()
	if got.Want != dataplane.WantDenial || want.Reason != dataplane.Policy {
		return got
	}
	last := len(w.misses) - 1
	m := w.misses[last]
	w.misses = w.misses[:last]
	if err := w.Inject(m); err != nil {
		w.t.Fatal(err)
	}
	return w.TakeInjected()[0].Outcome
}

func overlay(vtep netip.Addr, class dove.Class, frame []byte) []byte {
	return packet.Outer{Src: vtep, Dst: here, SrcPort: 0xc000, VNI: vni, Class: class}.Encap(frame)
}

func (w *world) same(got, want dataplane.Outcome) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func (w *world) flows(want int) {
	w.t.Helper()
	flows, err := w.Flows()
	if err != nil || len(flows) != want {
		w.t.Errorf("%d flows (%v), want %d: %+v", len(flows), err, want, flows)
	}
}

// take returns the one miss that there is.
func (w *world) take() dataplane.Miss {
	w.t.Helper()
	misses := w.TakeMisses()
	if len(misses) != 1 {
		w.t.Fatalf("%d misses, want 1: %+v", len(misses), misses)
	}
	return misses[0]
}

// discard gives up all misses.
func (w *world) discard() {
	for _, m := range w.TakeMisses() {
		w.Discard(m, dataplane.HoldLimit)
	}
}

// inject gives a miss back and checks what became of it.
func (w *world) inject(m dataplane.Miss, want dataplane.Outcome) []byte {
	w.t.Helper()
	if err := w.Inject(m); err != nil {
		w.t.Fatal(err)
	}
	sent := w.TakeInjected()
	if len(sent) != 1 {
		w.t.Fatalf("%d injected packets, want 1", len(sent))
	}
	w.same(sent[0].Outcome, want)
	return sent[0].Frame
}

func dropped(r dataplane.Reason) dataplane.Outcome { return dataplane.Outcome{Reason: r} }

func denied(name string) dataplane.Outcome {
	return dataplane.Outcome{Reason: dataplane.Policy, Rule: name}
}

func missed(want dataplane.Want) dataplane.Outcome {
	return dataplane.Outcome{Action: dataplane.Missed, Want: want}
}

// hinted is an outcome of a packet whose group id is not its source's class.
func hinted(o dataplane.Outcome) dataplane.Outcome {
	o.Hinted = true
	return o
}

func delivered(port int, rule string) dataplane.Outcome {
	return dataplane.Outcome{Action: dataplane.Delivered, Port: dataplane.PortID(port), Rule: rule}
}

// tunneled is a packet of alice's that leaves for a VTEP.
func tunneled(vtep netip.Addr, rule string) dataplane.Outcome {
	return dataplane.Outcome{Action: dataplane.Tunneled, VTEP: vtep, VNI: vni, Class: 10, Rule: rule}
}

func answered(port int) dataplane.Outcome {
	return dataplane.Outcome{Action: dataplane.Answered, Port: dataplane.PortID(port)}
}

var compareAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
