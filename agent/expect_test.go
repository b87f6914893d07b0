package agent

import (
	"fmt"
	"testing"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// talking is a host whose endpoint e1 talks with 10.0.0.100.
func talking(t *testing.T) *rig {
	r := newRig(t)
	r.open()
	r.step(Received{assignOf("e1", 1, "10.0.0.1", 20)}, deviceOf("tape1", 1))
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.100"))
	r.answerAll(30)
	r.take()
	return r
}

// answerAll answers what was asked last with peers of a class.
func (r *rig) answerAll(class dove.Class) {
	r.t.Helper()
	for _, m := range r.take() {
		if request, ok := m.(*control.PolicyRequest); ok {
			for _, q := range request.Questions {
				r.step(Received{found(request.ID, q, 20, class)})
			}
		}
	}
}

// What a new class needs comes before it, within one change of the switch too,
// and what it replaces goes last.
func TestPairsComeBeforeTheirClasses(t *testing.T) {
	r := talking(t)
	r.manual = true
	changed := assignOf("e1", 1, "10.0.0.1", 21)
	r.step(
		Received{&control.Update{Revision: 3, Peers: []control.Peer{peerRow(1, "10.0.0.100", 31, 9)},
			Pairs: []control.Pair{pairRow(20, 30, "changed"), {Key: control.PairKey{Domain: shop, Src: 30, Dst: 20}}}}},
		Received{changed},
		Received{&control.Expect{Revision: 3, Number: 1, Pairs: []control.Pair{pairRow(21, 31, "out"), pairRow(31, 21, "in")}}},
	)
	var order []string
	for _, op := range r.pending.Ops {
		switch op := op.(type) {
		case dataplane.SetPair:
			order = append(order, fmt.Sprintf("pair %d-%d", op.Key.Src, op.Key.Dst))
		case dataplane.DelPair:
			order = append(order, fmt.Sprintf("no pair %d-%d", op.Key.Src, op.Key.Dst))
		default:
			order = append(order, fmt.Sprintf("%T", op))
		}
	}
	want := "[pair 21-31 pair 31-21 dataplane.SetPeer dataplane.SetPort pair 20-30 no pair 30-20]"
	if fmt.Sprint(order) != want {
		t.Errorf("the switch is told %v, meant: %s", order, want)
	}
}

// Who has an address now is there before who had it goes.
func TestAnAddressIsNeverNobodys(t *testing.T) {
	r := talking(t)
	r.manual = true
	r.step(Received{assignOf("e2", 1, "10.0.0.100", 30)}, deviceOf("tape2", 2))
	if _, ok := r.pending.Ops[0].(dataplane.SetPort); !ok || len(r.pending.Ops) != 2 {
		t.Errorf("the switch is told %+v", r.pending.Ops)
	}
}

func TestAHintAsksAnewAndHoldsNothing(t *testing.T) {
	r := talking(t)
	hint := Hinted{dataplane.Hint{Port: 1, Tuple: dataplane.Tuple{VNI: 1, Src: addr("10.0.0.100"), Dst: addr("10.0.0.1")}}}
	r.step(hint, hint)
	r.step(hint)
	sent := r.take()
	if len(sent) != 1 {
		t.Fatalf("three hints make the agent say %v", sent)
	}
	q := control.Question{VNI: 1, Local: addr("10.0.0.1"), Peer: addr("10.0.0.100"), Class: 20}
	request, ok := sent[0].(*control.PolicyRequest)
	if !ok || len(request.Questions) != 1 || request.Questions[0] != q {
		t.Fatalf("a hint makes the agent say %+v", sent[0])
	}
	r.step(Received{found(request.ID, q, 20, 31)})
	if p := r.has[target{kind: kindPeer, vni: 1, addr: q.Peer}].(dataplane.SetPeer).Peer; p.Class != 31 || len(r.core.questions) != 0 {
		t.Errorf("after the answer the peer is of class %d, %d questions wait", p.Class, len(r.core.questions))
	}
	r.step(hint)
	if sent := r.take(); len(sent) != 0 {
		t.Errorf("within a second, the agent asks again: %v", sent)
	}
	// A packet that contradicts what is held has it confirmed still, and once.
	moved := func() Missed { return r.miss(1, dataplane.WantConfirm, "10.0.0.1", "10.0.0.100") }
	injected := r.injected
	r.step(moved())
	if sent := r.take(); len(sent) != 1 || r.injected != injected {
		t.Errorf("after a hint, a packet from elsewhere makes the agent say %v", sent)
	} else {
		again := sent[0].(*control.PolicyRequest)
		r.step(Received{found(again.ID, again.Questions[0], 20, 31)})
	}
	r.step(moved(), hint)
	if sent := r.take(); len(sent) != 0 || r.injected != injected+2 {
		t.Errorf("after a confirmation, the agent says %v", sent)
	}
	r.sleep(confirmEvery)
	other := hint
	other.Hint.Tuple.Src = addr("10.0.0.101") // not held: the switch cannot have judged by it
	gone := hint
	gone.Hint.Port = 7
	r.step(other, gone)
	if sent := r.take(); len(sent) != 0 {
		t.Errorf("hints about nothing make the agent say %v", sent)
	}
	r.step(hint)
	if sent := r.take(); len(sent) != 1 {
		t.Errorf("after a second, a hint makes the agent say %v", sent)
	}
}

// What is expected is held, as far as there is room that nobody here has asked for.
func TestWhatIsExpectedIsHeld(t *testing.T) {
	r := talking(t)
	r.core.config.Rows = 10
	e := &control.Expect{Revision: 3, Number: 1, Pairs: []control.Pair{pairRow(20, 32, "a"), pairRow(32, 20, "b")}}
	for i := range 4 {
		e.Peers = append(e.Peers, peerRow(1, fmt.Sprintf("10.0.0.%d", 101+i), 32, dove.UID(20+i)))
	}
	e.Peers = append(e.Peers, peerRow(1, "10.0.0.1", 20, 1), peerRow(5, "10.0.0.1", 20, 1)) // its own, and another network's
	r.step(Received{e})
	var kept []string
	for key := range r.has {
		if key.kind == kindPeer && key.addr != addr("10.0.0.100") {
			kept = append(kept, key.addr.String())
		}
	}
	if fmt.Sprint(kept) != "[]" {
		t.Errorf("%d rows of %d are held, and of those that nobody asked about %v", r.core.rows, r.core.config.Rows, kept)
	}
	sent := r.take()
	if len(sent) != 1 {
		t.Fatalf("the agent says %v", sent)
	}
	if release, ok := sent[0].(*control.Release); !ok || release.Expected != 1 || len(release.Peers) != 6 || len(release.Pairs) != 0 {
		t.Errorf("the agent says %+v", sent[0])
	}
	r.core.config.Rows = 14
	e.Number++
	r.step(Received{e})
	if r.core.rows != 7 || len(r.take()[0].(*control.Release).Peers) != 4 {
		t.Errorf("with more room, %d rows are held", r.core.rows)
	}
	m := r.miss(1, dataplane.WantPair, "10.0.0.1", "10.0.0.101")
	injected := r.injected
	r.step(m)
	if r.injected != injected+1 || len(r.take()) != 0 {
		t.Error("about a peer that was expected, the agent asks")
	}
}

// What one domain is told to expect leaves room for what guests ask about, and
// for what others are told to expect.
func TestExpectedPairsLeaveRoom(t *testing.T) {
	r := web1(t)
	r.core.config.Rows = 64
	other := assignOf("e2", 6, "10.0.0.1", 20)
	other.Domain.Tenant, other.Endpoint.Tenant = "blue", "blue"
	r.step(Received{other}, deviceOf("tape2", 2))
	for i := range 64 {
		r.step(Received{&control.Expect{Number: uint64(i + 1), Revision: 2, Pairs: []control.Pair{pairRow(20, dove.Class(100+i), "x")}}})
	}
	const most = 64 / ExpectedPart * ExpectedShare / (ExpectedShare + 1)
	released := 0
	for _, m := range r.take() {
		released += len(m.(*control.Release).Pairs)
	}
	if r.core.rows > most+1 || released != 64-r.core.rows {
		t.Errorf("%d rows are held, and %d pairs released", r.core.rows, released)
	}
	row := pairRow(20, 30, "y")
	row.Key.Domain = other.Domain
	r.step(Received{&control.Expect{Number: 65, Revision: 2, Pairs: []control.Pair{row}}})
	if len(r.core.domains[other.Domain].pairs) != 1 {
		t.Error("one domain's pairs leave no room for another's")
	}
	r.take()
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	if len(r.take()) != 1 || r.dropped[dataplane.MissLimit] > 0 {
		t.Error("guests of this host can ask for nothing any more")
	}
}

// TestAPacketIsFasterThanWhatIsExpected has the packet wait for that and no longer, and for the answer where
// only the answer will do.
func TestAPacketIsFasterThanWhatIsExpected(t *testing.T) {
	for want, waits := range map[dataplane.Want]bool{
		dataplane.WantPeer: false, dataplane.WantPair: false, dataplane.WantTurn: false, dataplane.WantConfirm: true, dataplane.WantDenial: true,
	} {
		r := talking(t)
		r.step(r.miss(1, want, "10.0.0.1", "10.0.0.101"))
		sent := r.take()
		if len(sent) != 1 {
			t.Fatalf("want %d: the agent says %v", want, sent)
		}
		injected := r.injected
		r.step(Received{&control.Expect{Revision: 2, Number: 1, Peers: []control.Peer{peerRow(1, "10.0.0.101", 30, 9)}}})
		if r.injected == injected+1 == waits {
			t.Errorf("want %d: %d packets went back by what was expected", want, r.injected-injected)
		}
		request := sent[0].(*control.PolicyRequest)
		r.step(Received{found(request.ID, request.Questions[0], 20, 30)})
		if r.injected != injected+1 || len(r.core.questions)+len(r.core.asked)+len(r.core.heldFor) != 0 || len(r.take()) != 0 {
			t.Errorf("want %d: after the answer %d packets went back, %d questions wait", want, r.injected-injected, len(r.core.questions))
		}
	}
}
