package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
	"github.com/google/go-cmp/cmp"
)

// refusePairs has the switch refuse pairs to one class, and those to all if it is 0.
func (r *rig) refusePairs(dst dove.Class) {
	r.fail = func(op dataplane.Op) error {
		if p, ok := op.(dataplane.SetPair); ok && (dst == 0 || p.Key.Dst == dst) {
			return &dataplane.OpError{Op: op, Err: errors.New("no room"), Closed: true}
		}
		return nil
	}
}

// acked returns the last Ack among what was sent.
func (r *rig) acked() control.Ack {
	r.t.Helper()
	sent := r.take()
	for i := len(sent) - 1; i >= 0; i-- {
		if a, ok := sent[i].(*control.Ack); ok {
			return *a
		}
	}
	r.t.Fatalf("nothing is acknowledged")
	return control.Ack{}
}

// TestFailuresOfManyRevisions: more revisions of one tenant that the switch
// refuses than can be named hold nobody else's receipt up.
func TestFailuresOfManyRevisions(t *testing.T) {
	r := web1(t)
	n := control.FailuresMax + 6
	for i := range n {
		r.step(Received{&control.Expect{Number: uint64(i + 1), Revision: 2, Pairs: []control.Pair{pairRow(20, dove.Class(100+i), "x")}}})
	}
	r.refusePairs(0)
	for i := range n {
		rev := dove.Revision(3 + i)
		r.step(Received{&control.Update{Revision: rev, Pairs: []control.Pair{pairRow(20, dove.Class(100+i), "y")}}}, Received{&control.Frontier{Revision: rev}})
		a := r.acked()
		if a.Revision != rev || len(a.Failed) != min(i+1, control.FailuresMax) || a.Failed[len(a.Failed)-1].Revision != rev {
			t.Fatalf("revision %d: %+v", rev, a)
		}
		if first := a.Failed[0]; i+1 > control.FailuresMax && (first.Revision != 0 || !strings.Contains(first.Text, "changes, the first: domain red/shop, packets from class 20 to 100: no room")) {
			t.Fatalf("revision %d: the first is %+v", rev, first)
		}
		if _, err := control.DecodeUp(control.EncodeUp(&a)); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(map[string]int{"red/shop": n}, r.core.Status().Closed); d != "" {
		t.Errorf("closed pairs (-want +got):\n%s", d)
	}
	r.fail = nil
	r.sleep(retryMax)
	r.step(Tick{})
	if a := r.acked(); len(a.Failed) > 0 || len(r.core.Status().Closed) > 0 {
		t.Fatalf("done: %+v", a)
	}
}

// TestRestartBlamesNoRevision: what a restarted agent is told again and the
// switch refuses is of no revision that it knows, whatever the DPC is at.
func TestRestartBlamesNoRevision(t *testing.T) {
	r := web1(t)
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	r.step(Received{found(1, query("10.0.0.7"), 20, 30)})
	r.refusePairs(30)
	r.restart()
	r.step(Connected{}, Received{&control.Welcome{Version: control.Version, Member: "m1", Incarnation: 7, Revision: 50}},
		Received{assignOf("web-1", 5, "10.0.0.1", 20)},
		Received{&control.Update{Revision: 50, Pairs: []control.Pair{pairRow(20, 30, "out"), pairRow(30, 20, "in")}}},
		Received{&control.Frontier{Revision: 50}})
	if a := r.acked(); a.Revision != 50 || len(a.Failed) != 1 || a.Failed[0].Revision != 0 {
		t.Fatalf("%+v", a)
	}
	// What changes from then on is of its revision, beside.
	r.step(Received{&control.Update{Revision: 51, Pairs: []control.Pair{pairRow(20, 30, "other")}}}, Received{&control.Frontier{Revision: 51}})
	if a := r.acked(); a.Revision != 51 || len(a.Failed) != 2 || a.Failed[1].Revision != 51 {
		t.Fatalf("%+v", a)
	}
}

// TestRefusedOpsAreNamed: what a switch refuses altogether, and of a change of
// what was taken away too, is named with each revision that asked for it.
func TestRefusedOpsAreNamed(t *testing.T) {
	r := web1(t)
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	r.step(Received{found(1, query("10.0.0.7"), 20, 30)})
	r.take()
	r.fail = func(op dataplane.Op) error {
		switch op := op.(type) {
		case dataplane.SetPeer:
			if len(op.Peer.Ways) > 0 {
				return errors.New("the map is full")
			}
		case dataplane.DelPair:
			return errors.New("the map does not answer")
		}
		return nil
	}
	row := peerRow(5, "10.0.0.7", 30, 9)
	row.Gateway, row.Far, row.VNI, row.MTU = dove.MAC{2, 1}, dove.MAC{2, 2}, 6, 1450
	row.Ways = []control.Way{{UID: 5, MAC: dove.MAC{2, 3}, Class: 30, VNI: 6, Far: dove.MAC{2, 2}}}
	gone := control.Pair{Key: pairRow(20, 30, "gone").Key}
	r.step(Received{&control.Update{Revision: 8, Peers: []control.Peer{row}, Pairs: []control.Pair{gone}}}, Received{&control.Frontier{Revision: 8}})
	a := r.acked()
	if a.Revision != 8 || len(a.Failed) != 1 || a.Failed[0].Revision != 8 || !strings.HasPrefix(a.Failed[0].Text, "2 changes, the first: what was before may still be in force: ") {
		t.Fatalf("%+v", a)
	}
	row.MTU = 1400
	r.step(Received{&control.Update{Revision: 9, Peers: []control.Peer{row}}}, Received{&control.Frontier{Revision: 9}})
	if a := r.acked(); a.Revision != 9 || len(a.Failed) != 2 || a.Failed[0].Revision != 8 || a.Failed[1].Revision != 9 {
		t.Fatalf("changed again: %+v", a)
	}
	r.fail = nil
	r.sleep(retryMax)
	r.step(Tick{})
	if a := r.acked(); len(a.Failed) > 0 || len(r.core.Status().Closed) > 0 {
		t.Fatalf("done: %+v", a)
	}
}

// TestLeftoverPairs: a pair that the switch does not let go is told, also if it was
// on its way there when the last port closed and no revision asked for either; and the
// domain, opened again, does not find it.
func TestLeftoverPairs(t *testing.T) {
	r := web1(t)
	r.manual = true
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	r.step(Received{found(1, query("10.0.0.7"), 20, 30)})
	was := r.core.domains[shop].handle
	r.step(DeviceGone{"dvweb-1"}) // before the pairs are in the switch
	r.fail = func(op dataplane.Op) error {
		if _, ok := op.(dataplane.DelPair); ok {
			return errors.New("the map does not answer")
		}
		return nil
	}
	r.finish()
	r.step(Received{&control.Frontier{Revision: 9}})
	a := r.acked()
	if a.Revision != 9 || len(a.Failed) != 1 || a.Failed[0].Revision != 0 || !strings.Contains(a.Failed[0].Text, "may still be in force") {
		t.Fatalf("%+v", a)
	}
	restarted := false
	for range 2 {
		r.step(deviceOf("dvweb-1", 4))
		r.finish()
		if d := r.core.domains[shop]; d == nil || d.handle == was || r.core.knows(questionKey{5, 20, addr("10.0.0.7")}) {
			t.Fatalf("restarted %t: the domain finds pairs that should have gone: %+v, handle was %d", restarted, d, was)
		}
		if op := r.has[target{kind: kindNetwork, vni: 5}].(dataplane.SetNetwork); op.Network.Domain != r.core.domains[shop].handle {
			t.Fatalf("restarted %t: the network is of domain %d", restarted, op.Network.Domain)
		}
		r.step(DeviceGone{"dvweb-1"})
		r.finish()
		r.restart()
		restarted = true
		r.step(Connected{}, Received{&control.Welcome{Version: control.Version, Member: "m1", Incarnation: 7, Revision: 9}},
			Received{assignOf("web-1", 5, "10.0.0.1", 20)}, Received{&control.Frontier{Revision: 9}})
		r.finish()
		if a := r.acked(); len(a.Failed) != 1 || a.Failed[0].Revision != 0 {
			t.Fatalf("a restarted agent tells nothing of what it did not bring away: %+v", a)
		}
	}
	r.fail = nil
	r.sleep(retryMax)
	r.step(Tick{})
	r.finish()
	if a := r.acked(); len(a.Failed) > 0 || slices.ContainsFunc(slices.Collect(maps.Keys(r.has)), func(k target) bool { return k.kind == kindPair }) {
		t.Fatalf("done: %+v", a)
	}
}

// TestFailuresOfWhatCameMeanwhile: two revisions that came while a third was on its
// way are both named if the switch refuses the last, by whatever else it is replaced.
func TestFailuresOfWhatCameMeanwhile(t *testing.T) {
	r := web1(t)
	r.step(Received{&control.Expect{Number: 1, Revision: 2, Pairs: []control.Pair{pairRow(20, 30, "first")}}})
	r.manual = true
	for rev := range dove.Revision(3) {
		r.step(Received{&control.Update{Revision: 3 + rev, Pairs: []control.Pair{pairRow(20, 30, "r"+fmt.Sprint(rev))}}}, Received{&control.Frontier{Revision: 3 + rev}})
	}
	r.step(*r.carryOut())
	if a := r.acked(); a.Revision != 3 || len(a.Failed) != 0 {
		t.Fatalf("the first: %+v", a)
	}
	r.fail = func(dataplane.Op) error { return errors.New("the map does not answer") }
	r.finish()
	if a := r.acked(); a.Revision != 5 || len(a.Failed) != 2 || a.Failed[0].Revision != 4 || a.Failed[1].Revision != 5 {
		t.Fatalf("the others: %+v", a)
	}
	// A restored store counts anew: what failed is not told as of its revisions, but told.
	r.step(Disconnected{}, Connected{}, Received{&control.Welcome{Version: control.Version, Member: "m1", Incarnation: 8, Revision: 2}},
		Received{assignOf("web-1", 5, "10.0.0.1", 20)}, Received{&control.Frontier{Revision: 2}})
	r.finish()
	if a := r.acked(); a.Revision != 2 || len(a.Failed) != 1 || a.Failed[0].Revision != 0 {
		t.Fatalf("another incarnation: %+v", a)
	}
}
