package ebpf

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/privtest"
	"dove.network/verdict"
)

// TestReasons compares the numbers of the programs with dataplane's.
func TestReasons(t *testing.T) {
	spec, err := loadDswitch()
	if err != nil {
		t.Fatal(err)
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName("reason", &enum); err != nil {
		t.Fatal(err)
	}
	if len(enum.Values) != dataplane.Reasons {
		t.Errorf("the programs know %d reasons, dataplane %d", len(enum.Values), dataplane.Reasons)
	}
	for _, v := range enum.Values {
		want := dataplane.Reason(v.Value).String()
		if got := strings.ReplaceAll(strings.ToLower(v.Name), "_", "-"); got != want {
			t.Errorf("reason %d is %s in the programs and %s in dataplane", v.Value, got, want)
		}
	}
}

// TestSizes compares what the maps have room for with what dataplane says, and what a table takes of it.
func TestSizes(t *testing.T) {
	spec, err := loadDswitch()
	if err != nil {
		t.Fatal(err)
	}
	for name, most := range map[string]uint32{"ports": dataplane.PortsMax, "permits": dataplane.PermitsMax, "rules": dataplane.EntriesMax, "rule_names": dataplane.EntriesMax} {
		if is := spec.Maps[name].MaxEntries; is != most {
			t.Errorf("map %s has %d entries, dataplane says %d", name, is, most)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		var rules []verdict.Rule
		for i := range r.IntN(20) {
			first := uint16(r.IntN(1 << 16))
			last := first
			if r.IntN(2) == 0 {
				last = max(first, uint16(r.IntN(1<<16)))
			}
			rules = append(rules, verdict.Rule{
				Match:  verdict.Match{Protocol: []dove.Protocol{dove.ProtocolTCP, dove.ProtocolUDP}[r.IntN(2)], First: first, Last: last},
				Action: []verdict.Action{verdict.Allow, verdict.Deny}[r.IntN(2)], Name: fmt.Sprint(i),
			})
		}
		held, table := &table{}, allowing(rules...)
		if is, want := dataplane.Entries(table), max(len(held.rules(table)), len(table.Names)); is != want {
			t.Fatalf("%v takes %d entries, dataplane says %d", table, want, is)
		} else if most := 2 + dataplane.EntriesOf(len(rules)); is > most {
			t.Fatalf("%v takes %d entries, at most %d are foretold", table, is, most)
		}
	}
}

// newLone makes a switch without devices, with port 1 and the remote peer 2,
// all of TCP, UDP and echo allowed from one to the other.
func newLone(t testing.TB, o Options) *Switch {
	t.Helper()
	privtest.Require(t)
	o.Config.VTEP = twinVTEPs[0]
	s, err := OpenForTests(o)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	table := allowing(allowed("tcp", dove.ProtocolTCP, 0, 65535), allowed("udp", dove.ProtocolUDP, 0, 65535),
		allowed("ping", dove.ProtocolICMP, 0x800, 0x800))
	err = s.Apply([]dataplane.Op{
		dataplane.SetNetwork{Network: dataplane.Network{VNI: testVNI, Domain: testDomain, MTU: 1450}},
		dataplane.SetVTEP{Addr: twinVTEPs[1]},
		dataplane.SetPort{Port: dataplane.Port{
			ID: 1, UID: 1, VNI: testVNI, MAC: guestMAC(1), Kind: dataplane.Veth,
			Addresses: []dataplane.Address{{Addr: guestAddr4(1), Class: guestClass(1)}},
		}},
		dataplane.SetPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: guestAddr4(2)}, Peer: dataplane.Peer{
			UID: 2, MAC: guestMAC(2), Class: guestClass(2), VTEP: twinVTEPs[1],
		}},
		dataplane.SetPair{Key: dataplane.PairKey{Domain: testDomain, Src: guestClass(1), Dst: guestClass(2)}, Table: table},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	out  = packet.Ends{SrcMAC: guestMAC(1), DstMAC: guestMAC(2), Src: guestAddr4(1), Dst: guestAddr4(2)}
	back = out.Reverse()
)

// sends gives a frame of the guest or of its peer to the switch, again if it
// asks about a denial.
func sends(t testing.TB, s *Switch, frame []byte) dataplane.Outcome {
	t.Helper()
	var o dataplane.Outcome
	var held []byte
	var err error
	if dove.MAC(frame[6:12]) == guestMAC(1) {
		o, _, err = s.FromGuest(1, frame)
	} else {
		o, held, err = s.FromWire(packet.Outer{Src: twinVTEPs[1], Dst: twinVTEPs[0], VNI: testVNI, Class: guestClass(2)}.Encap(frame))
	}
	if err == nil && o.Want == dataplane.WantDenial {
		m, _ := s.MissOf(held)
		o, _, err = s.ReInject(m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestMissLimit(t *testing.T) {
	s := newLone(t, Options{MissBurst: 3, MissRate: 1})
	if err := s.configure(1, 1, 1); err != nil {
		t.Fatal(err)
	}
	stranger := out
	stranger.Dst = guestAddr4(99)
	for i := range 5 {
		want := dataplane.Outcome{Action: dataplane.Missed, Want: dataplane.WantPeer}
		if i >= 3 {
			want = dataplane.Outcome{Action: dataplane.Dropped, Reason: dataplane.MissLimit}
		}
		if got := sends(t, s, packet.UDP(stranger, 1, 53, nil)); got != want {
			t.Errorf("miss %d: %+v, want %+v", i+1, got, want)
		}
	}
}

func TestFlowLimits(t *testing.T) { flowLimits(t, Options{}) }

// flowLimits leaves half of each limit to flows that are answered.
func flowLimits(t testing.TB, o Options) {
	s := newLone(t, Options{FlowsPerPort: 4, read: o.read})
	asks := func(what string, port uint16, want dataplane.Reason) {
		t.Helper()
		if o := sends(t, s, packet.UDP(out, port, 53, nil)); o.Reason != want {
			t.Errorf("%s: %+v, want %v", what, o, want)
		}
	}
	answers := func(port uint16) {
		t.Helper()
		if o := sends(t, s, packet.UDP(back, 53, port, nil)); o.Action != dataplane.Delivered {
			t.Errorf("an answer: %+v", o)
		}
	}
	asks("the first flow", 1, 0)
	asks("the second", 2, 0)
	asks("a flow beyond the half", 3, dataplane.FlowBudget)
	answers(1)
	answers(1)
	asks("a flow after one was answered", 3, 0)
	asks("a flow beyond the half again", 4, dataplane.FlowBudget)
	answers(2)
	answers(3)
	asks("the last flow", 4, 0)
	asks("a flow beyond the budget", 5, dataplane.FlowBudget)
	asks("a known flow when the budget is spent", 1, 0)
	age(t, s, time.Hour)
	if _, err := s.Expire(); err != nil {
		t.Fatal(err)
	}
	for port := range uint32(2) {
		var state dswitchPortState
		if err := s.maps.PortStates.Lookup(port, &state); err != nil || state.Flows != 0 || state.Unconfirmed != 0 {
			t.Errorf("port %d when all flows are forgotten: %+v, %v", port, state, err)
		}
	}

	// One domain may have four times as many as are then left, of all and of the half.
	s = newLone(t, Options{Flows: 20, read: o.read})
	for port := range uint16(8) {
		asks("one of eight flows", 1+port, 0)
	}
	asks("a flow beyond the domain's share of the half", 9, dataplane.FlowTableFull)
	answers(1)
	asks("a flow after one was answered", 9, 0)
	asks("a flow beyond the share of the half again", 10, dataplane.FlowTableFull)
	for port := range uint16(9) {
		answers(1 + port)
	}
	for port := range uint16(7) {
		asks("one of sixteen flows", 10+port, 0)
		answers(10 + port)
	}
	asks("a flow beyond the domain's share", 17, dataplane.FlowTableFull)

	// Another domain begins flows all the same.
	other, its := packet.Ends{SrcMAC: guestMAC(7), DstMAC: guestMAC(8), Src: guestAddr4(7), Dst: guestAddr4(8)}, dataplane.PeerKey{VNI: otherVNI, Addr: guestAddr4(8)}
	err := s.Apply([]dataplane.Op{
		dataplane.SetNetwork{Network: dataplane.Network{VNI: otherVNI, Domain: otherDomain, MTU: 1450}},
		dataplane.SetPort{Port: dataplane.Port{
			ID: 7, UID: 7, VNI: otherVNI, MAC: guestMAC(7), Kind: dataplane.Veth,
			Addresses: []dataplane.Address{{Addr: guestAddr4(7), Class: guestClass(7)}},
		}},
		dataplane.SetPeer{Key: its, Peer: dataplane.Peer{UID: 8, MAC: guestMAC(8), Class: guestClass(8), VTEP: twinVTEPs[1]}},
		dataplane.SetPair{Key: dataplane.PairKey{Domain: otherDomain, Src: guestClass(7), Dst: guestClass(8)}, Table: allowing(allowed("dns", dove.ProtocolUDP, 53, 53))},
	})
	if err != nil {
		t.Fatal(err)
	}
	first, _, err := s.FromGuest(7, packet.UDP(other, 1, 53, nil))
	if err != nil || first.Action != dataplane.Tunneled {
		t.Errorf("another domain's first flow: %+v, %v", first, err)
	}
	for id, domain := range map[dataplane.PortID]uint32{1: testDomain, 7: otherDomain} {
		var state dswitchDomainState
		var port dswitchPortState
		err := errors.Join(s.maps.DomainStates.Lookup(domain, &state), s.maps.PortStates.Lookup(uint32(id), &port))
		if err != nil || state.Flows != port.Flows || state.Unconfirmed != port.Unconfirmed {
			t.Errorf("domain %d has %+v, its only port %+v, %v", domain, state, port, err)
		}
	}
}

func TestLeftFleet(t *testing.T) { leftFleet(t, Options{}) }

// leftFleet takes a VTEP out of the fleet in the midst of a flow, and lets it in again.
func leftFleet(t testing.TB, o Options) {
	s := newLone(t, o)
	answers := func(want dataplane.Outcome) {
		t.Helper()
		if got := sends(t, s, answer); got != want {
			t.Errorf("an answer: %+v, want %+v", got, want)
		}
	}
	if o := sends(t, s, syn); o.Action != dataplane.Tunneled {
		t.Fatalf("a first packet: %+v", o)
	}
	delivered := dataplane.Outcome{Action: dataplane.Delivered, Port: 1}
	answers(delivered)
	if err := s.Apply([]dataplane.Op{dataplane.DelVTEP{Addr: twinVTEPs[1]}}); err != nil {
		t.Fatal(err)
	}
	answers(dataplane.Outcome{Action: dataplane.Dropped, Reason: dataplane.UnknownVTEP})
	if err := s.Apply([]dataplane.Op{dataplane.SetVTEP{Addr: twinVTEPs[1]}}); err != nil {
		t.Fatal(err)
	}
	answers(delivered)

	// The host of another binding may leave, too.
	peer := dataplane.Peer{UID: 2, MAC: guestMAC(2), Class: guestClass(2), VTEP: twinVTEPs[2], Other: twinVTEPs[1]}
	move := dataplane.SetPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: guestAddr4(2)}, Peer: peer}
	if err := s.Apply([]dataplane.Op{dataplane.SetVTEP{Addr: twinVTEPs[2]}, move}); err != nil {
		t.Fatal(err)
	}
	answers(delivered)
	if err := s.Apply([]dataplane.Op{dataplane.DelVTEP{Addr: twinVTEPs[1]}}); err != nil {
		t.Fatal(err)
	}
	answers(dataplane.Outcome{Action: dataplane.Dropped, Reason: dataplane.UnknownVTEP})
}

// TestNoClass gives a live flow's answers no group policy id: how large they are
// does not matter then.
func TestNoClass(t *testing.T) {
	s := newLone(t, Options{})
	if o := sends(t, s, packet.UDP(out, 1, 53, nil)); o.Action != dataplane.Tunneled {
		t.Fatalf("a first packet: %+v", o)
	}
	for _, size := range []int{10, 1450} {
		outer := packet.Outer{Src: twinVTEPs[1], Dst: twinVTEPs[0], VNI: testVNI, Class: packet.NoClass}
		o, _, err := s.FromWire(outer.Encap(packet.UDP(back, 53, 1, make([]byte, size))))
		if want := (dataplane.Outcome{Action: dataplane.Dropped, Reason: dataplane.BadOverlay}); err != nil || o != want {
			t.Errorf("%d bytes: %+v, %v, want %+v", size, o, err, want)
		}
	}
}

func TestForeignAsks(t *testing.T) { foreignAsks(t, Options{}) }

// foreignAsks has who is behind a foreign VTEP ask for the port in its own name,
// in that of a peer elsewhere, of the port, and of nobody known.
func foreignAsks(t testing.TB, o Options) {
	s := newLone(t, o)
	elsewhere := dataplane.Peer{UID: 3, MAC: guestMAC(3), Class: guestClass(2), VTEP: twinVTEPs[2]}
	port := s.ports[1].Port
	port.Addresses = append(slices.Clone(port.Addresses), dataplane.Address{Addr: guestAddr6(1), Class: guestClass(1)})
	err := s.Apply([]dataplane.Op{
		dataplane.SetPort{Port: port},
		dataplane.SetVTEP{Addr: twinVTEPs[1], Foreign: true},
		dataplane.SetVTEP{Addr: twinVTEPs[2]},
		dataplane.SetPeer{Key: dataplane.PeerKey{VNI: testVNI, Addr: guestAddr4(3)}, Peer: elsewhere},
	})
	if err != nil {
		t.Fatal(err)
	}
	confirm := dataplane.Outcome{Action: dataplane.Missed, Want: dataplane.WantConfirm}
	for _, c := range []struct {
		as   byte
		want dataplane.Outcome
	}{
		{2, dataplane.Outcome{Action: dataplane.Answered}},
		{3, confirm},
		{1, dataplane.Outcome{Action: dataplane.Dropped, Reason: dataplane.NotUnicast}}, // an announcement
		{4, dataplane.Outcome{Action: dataplane.Missed, Want: dataplane.WantPeer}},
	} {
		got := sends(t, s, packet.ARPRequest(guestMAC(2), guestAddr4(c.as), guestAddr4(1)))
		if got.Action != c.want.Action || got.Reason != c.want.Reason || got.Want != c.want.Want {
			t.Errorf("who asks in the name of guest %d: %+v, want %+v", c.as, got, c.want)
		}
	}
	nobody := packet.Solicitation(guestMAC(2), netip.MustParseAddr("fe80::2"), guestAddr6(1))
	if got := sends(t, s, nobody); got.Action != dataplane.Dropped || got.Reason != dataplane.SourceMismatch {
		t.Errorf("who asks in nobody's name: %+v", got)
	}
}

// TestErasedTable keeps what a table has counted, by the names of its rules.
func TestErasedTable(t *testing.T) {
	s := newLone(t, Options{})
	for range 3 {
		if o := sends(t, s, packet.SCTP(out, 1, 2, nil)); o.Rule != verdict.DefaultDeny {
			t.Fatalf("%+v", o)
		}
	}
	key := dataplane.PairKey{Domain: testDomain, Src: guestClass(1), Dst: guestClass(2)}
	if err := s.Apply([]dataplane.Op{dataplane.DelPair{Key: key}}); err != nil {
		t.Fatal(err)
	}
	if len(s.tables) != 0 {
		t.Errorf("%d tables are held for no pair", len(s.tables))
	}
	var rule dswitchRule
	var ruleKey dswitchRuleKey
	for entries := s.maps.Rules.Iterate(); entries.Next(&ruleKey, &rule); {
		t.Errorf("rule %+v is left", ruleKey)
	}
	counts, err := s.Counts()
	want := dataplane.Count{Port: 1, Reason: dataplane.Policy, Rule: verdict.DefaultDeny, Packets: 3, Bytes: 3 * 46}
	if err != nil || len(counts) != 1 || counts[0] != want {
		t.Errorf("%+v, %v, want %+v", counts, err, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	privtest.Require(t)
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{PinDir: t.TempDir()}, "no VTEP address"},
		{Options{Config: dataplane.Config{VTEP: twinVTEPs[0]}, PinDir: t.TempDir()}, "mount -t bpf"},
		{Options{Config: dataplane.Config{VTEP: twinVTEPs[0], Underlay: "no-such-device"}, PinDir: testPinDir(t, "dswtest-refuse")}, "no-such-device"},
	} {
		if _, err := Open(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Open(%+v) says %v, want %q", c.o, err, c.want)
		}
	}
}

func TestSlots(t *testing.T) {
	s := newSlots(3)
	a, _ := s.take()
	b, _ := s.take()
	if _, err := s.take(); err == nil || a == b || a == 0 || b == 0 {
		t.Errorf("slots %d and %d, then %v", a, b, err)
	}
	old := s.next(a)
	s.release(a)
	if _, err := s.take(); err == nil {
		t.Error("a slot is handed out before it has rested")
	}
	s.rested()
	if again, err := s.take(); again != a || err != nil || s.next(again) <= old {
		t.Errorf("slot %d, %v, its generation does not grow", again, err)
	}
}

// TestFlowsAreReadInParts lets others at the switch while a long flow table is
// read: first packets wait for them.
func TestFlowsAreReadInParts(t *testing.T) {
	s := newLone(t, Options{})
	if o := sends(t, s, packet.UDP(out, 1, 53, nil)); o.Action != dataplane.Tunneled {
		t.Fatalf("%+v", o)
	}
	var key dswitchFlow4Key
	var f dswitchFlow
	if entries := s.maps.Flows4.Iterate(); !entries.Next(&key, &f) {
		t.Fatal(entries.Err())
	}
	const many = 8000
	for i := range many {
		key.LoPort = uint16(i + 1)
		if err := s.maps.Flows4.Update(key, f, ebpf.UpdateAny); err != nil {
			t.Fatal(err)
		}
	}
	if flows, err := s.Flows(); err != nil || len(flows) < many {
		t.Fatalf("%d flows, %v", len(flows), err)
	}
	var reading, between, done bool // under the lock
	var other sync.WaitGroup
	other.Go(func() {
		for ended := false; !ended; {
			s.mu.Lock()
			between = between || reading
			ended = done
			s.mu.Unlock()
		}
	})
	for range 1000 {
		n := 0
		if err := eachFlow(s, s.maps.Flows4, func(*dswitchFlow4Key, *dswitchFlow) { n++; reading = n < many }); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		done = between
		s.mu.Unlock()
		if done {
			break
		}
	}
	s.mu.Lock()
	done = true
	s.mu.Unlock()
	other.Wait()
	if !between {
		t.Error("nobody comes in between")
	}
}
