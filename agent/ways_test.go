package agent

import (
	"slices"
	"testing"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// TestWays holds a packet until the pairs of all next hops are there, follows their
// coming and going, and gives all up when the last is gone.
func TestWays(t *testing.T) {
	r := web1(t)
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.9.0.7"))
	if len(r.take()) != 1 {
		t.Fatal("nobody is asked")
	}
	reply := found(1, query("10.9.0.7"), 20, 30)
	row := &reply.Peers[0]
	row.Gateway, row.Far, row.VNI, row.MTU = dove.MAC{2, 1}, dove.MAC{2, 2}, 6, 1450
	row.Ways = []control.Way{
		{Endpoint: dove.Endpoint{Tenant: "red", ID: "nat-2"}, UID: 10, MAC: dove.MAC{2, 3}, Class: 31, Host: "h3", VTEP: addr("192.0.2.3"), VNI: 6, Far: dove.MAC{2, 2}},
		{Endpoint: dove.Endpoint{Tenant: "red", ID: "nat-3"}, UID: 11, MAC: dove.MAC{2, 4}, Class: 30, VNI: 6, Far: dove.MAC{2, 2}},
	}
	key := target{kind: kindPeer, vni: 5, addr: addr("10.9.0.7")}
	ways := func() int {
		op, ok := r.has[key].(dataplane.SetPeer)
		if !ok {
			return 0
		}
		return 1 + len(op.Peer.Ways)
	}
	r.step(Received{reply})
	if r.core.knows(questionKey{5, 20, addr("10.9.0.7")}) || ways() != 3 {
		t.Errorf("without the pairs of a way all is known, or the switch has %d ways", ways())
	}
	again := *reply
	sent := r.take()
	if i := slices.IndexFunc(sent, func(m control.Up) bool { _, asks := m.(*control.PolicyRequest); return asks }); i < 0 {
		t.Fatalf("nobody is asked again: %v", sent)
	} else {
		again.ID = sent[i].(*control.PolicyRequest).ID
	}
	again.Pairs = append(slices.Clone(reply.Pairs), pairRow(20, 31, "out"), pairRow(31, 20, "in"))
	r.step(Received{&again})
	if !r.core.knows(questionKey{5, 20, addr("10.9.0.7")}) || len(r.core.questions) != 0 {
		t.Errorf("with the pairs of all ways %d questions are open", len(r.core.questions))
	}
	if held := r.core.Held().Peers[0]; len(held.Ways) != 2 || held.Ways[0] != (HeldWay{"red/nat-2", 31, "h3", "192.0.2.3"}) || held.Ways[1].VTEP != "" {
		t.Errorf("held: %+v", held)
	}

	if name := r.core.Name(5, addr("10.9.0.7")); name != "red/p9 or red/nat-2 or red/nat-3" {
		t.Errorf("who has the address is told as %q", name)
	}

	fewer := *row
	fewer.Ways = row.Ways[:1]
	r.step(Received{&control.Update{Revision: 3, Peers: []control.Peer{fewer}}}, Received{&control.Frontier{Revision: 3}})
	if a := r.acked(); a.Revision != 3 || ways() != 2 {
		t.Errorf("one is gone: %d ways, acknowledged %+v", ways(), a)
	}
	r.step(Received{&control.Update{Revision: 4, Peers: []control.Peer{{Key: row.Key, Absent: true, TTL: negativeMax}}}}, Received{&control.Frontier{Revision: 4}})
	if a := r.acked(); a.Revision != 4 || ways() != 0 || r.has[target{kind: kindAbsent, vni: 5, addr: addr("10.9.0.7")}] == nil {
		t.Errorf("all are gone: %d ways, acknowledged %+v", ways(), a)
	}
}
