package agent

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// moving is an assignment of web-1 in one part of a move.
func moving(epoch dove.Epoch, standby bool) *control.Assign {
	m := assignOf("web-1", 5, "10.0.0.1", 20)
	m.Epoch, m.Standby, m.Other = epoch, standby, control.Tunnel{Host: "h2", VTEP: addr("192.0.2.2")}
	return m
}

func (r *rig) web1() dataplane.Port {
	for key, op := range r.has {
		if key.kind == kindPort {
			return op.(dataplane.SetPort).Port
		}
	}
	return dataplane.Port{}
}

// updates are the EndpointUpdates that were sent, in words, among other kinds of messages.
func (r *rig) updates() (out []string) {
	for _, m := range r.sent {
		switch m := m.(type) {
		case *control.EndpointUpdate:
			out = append(out, fmt.Sprintf("%d %s standby=%v carried=%v %d %s", m.Epoch, stateNames[m.State], m.Standby, m.Carried, m.Flows, m.Detail))
		case *control.Carry:
			out = append(out, fmt.Sprintf("%d carries %d of %d more=%v", m.Epoch, len(m.Flows), m.Lost, m.More))
		}
	}
	r.sent = nil
	return out
}

func flowOf(port uint16) dataplane.FlowState {
	return dataplane.FlowState{Tuple: dataplane.Tuple{VNI: 5, Src: addr("10.0.0.1"), Dst: addr("10.0.0.2"), Protocol: 6, SrcPort: port, DstPort: 80},
		State: dataplane.FlowReplied | dataplane.FlowConfirmed, Idle: time.Duration(port) * time.Second, UIDs: [2]dove.UID{1, 9}}
}

// The host that an endpoint moves from carries its flows when it is asked to,
// in parts, as often as it is asked.
func TestCarriesFlows(t *testing.T) {
	r := web1(t)
	name := assignOf("web-1", 5, "10.0.0.1", 20).Endpoint
	expect := func(want ...string) {
		t.Helper()
		if d := cmp.Diff(want, r.updates()); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
	}
	for n := range control.CarryBatch + 2 {
		r.carried = append(r.carried, flowOf(uint16(n)))
	}
	r.step(Received{&control.CarryRequest{Endpoint: name, Epoch: 1}})
	expect() // it does not move
	r.step(Received{moving(2, false)})
	if p := r.web1(); p.Standby || p.Other != addr("192.0.2.2") || p.ID != 1 {
		t.Fatalf("port %+v", p)
	}
	expect("2 active standby=false carried=false 0 ")
	r.step(Received{&control.CarryRequest{Endpoint: name, Epoch: 3}}) // of what it was not told
	expect()
	r.step(Received{&control.CarryRequest{Endpoint: name, Epoch: 2}})
	expect(fmt.Sprintf("2 carries %d of 0 more=true", control.CarryBatch), "2 carries 2 of 0 more=false")
	r.carried, r.unreadable = nil, errors.New("no memory")
	r.step(Received{&control.CarryRequest{Endpoint: name, Epoch: 2}})
	expect()
	r.unreadable = nil
	r.step(Tick{})
	expect() // not again at once
	r.sleep(time.Second)
	r.step(Tick{})
	expect("2 carries 0 of 0 more=false")
	for n := range control.CarryMax + 5 {
		r.carried = append(r.carried, flowOf(uint16(n)))
	}
	r.step(Received{moving(3, true)}, Received{&control.CarryRequest{Endpoint: name, Epoch: 3}})
	if p := r.web1(); !p.Standby || p.ID != 1 {
		t.Fatalf("port %+v: it must stay open", p)
	}
	if got := r.updates(); len(got) != 1+control.CarryMax/control.CarryBatch || got[1] != "3 carries 1024 of 5 more=true" {
		t.Fatalf("%d: %v", len(got), got)
	}
	// What is asked is forgotten with the session, and so it is with the assignment.
	r.unreadable = errors.New("no memory")
	r.step(Received{&control.CarryRequest{Endpoint: name, Epoch: 3}}, Disconnected{})
	r.open()
	r.unreadable = nil
	r.sent = nil
	r.sleep(time.Second)
	r.step(Tick{}, Received{&control.Unassign{Endpoint: name, Epoch: 4}})
	expect()
	if len(r.core.flowRequests) != 0 || len(r.has) != 0 {
		t.Fatalf("%v %v", r.core.flowRequests, r.has)
	}
}

// The host that an endpoint moves to takes over what comes, and says so when
// all of it is in force, in every session.
func TestTakesFlowsOver(t *testing.T) {
	r := newRig(t)
	r.open()
	name := assignOf("web-1", 5, "10.0.0.1", 20).Endpoint
	expect := func(want ...string) {
		t.Helper()
		if d := cmp.Diff(want, r.updates()); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
	}
	carry := func(epoch dove.Epoch, more bool, ports ...uint16) Event {
		m := &control.Carry{Endpoint: name, Epoch: epoch, More: more}
		for _, p := range ports {
			f := flowOf(p)
			m.Flows = append(m.Flows, control.FlowState{Tuple: control.Tuple(f.Tuple), State: uint8(f.State), Idle: f.Idle, UIDs: f.UIDs})
		}
		return Received{m}
	}
	r.step(Received{moving(2, true)})
	expect("2 waiting standby=true carried=false 0 there is no device tapweb-1 or dvweb-1")
	r.step(carry(2, false, 1)) // before its port is open
	r.step(deviceOf("dvweb-1", 3))
	expect("2 active standby=true carried=false 0 ")
	if p := r.web1(); !p.Standby || p.Other != addr("192.0.2.2") {
		t.Fatalf("port %+v", p)
	}
	r.step(carry(1, false, 1), carry(3, false, 1)) // of other bindings
	r.step(carry(2, true, 1, 2))
	expect()
	r.step(carry(2, false, 3))
	expect("2 active standby=true carried=true 3 ")
	r.step(carry(2, false, 3, 4)) // what began meanwhile
	expect("2 active standby=true carried=true 2 ")
	if d := cmp.Diff([]dataplane.FlowState{flowOf(1), flowOf(2)}, r.adopts[0].Flows, addrs); d != "" || len(r.adopts) != 3 {
		t.Fatalf("%d adoptions: %s", len(r.adopts), d)
	}
	// A later session hears of it at once.
	r.step(Disconnected{})
	r.step(Connected{})
	if h := r.sent[len(r.sent)-1].(*control.Hello); !h.Attached[0].Carried || h.Attached[0].Flows != 2 {
		t.Fatalf("%+v", h.Attached)
	}
	r.step(Received{&control.Welcome{Version: control.Version, Member: "m1", Incarnation: 7, Revision: 1}})
	r.sent = nil
	// Under the next bindings nothing counts that came before.
	r.step(Received{moving(3, false)})
	expect("3 active standby=false carried=false 0 ")
	r.refuses = errors.Join(errors.New("flow 1 is strange"))
	r.step(carry(3, false, 1, 2, 3))
	expect("3 active standby=false carried=true 2 1 flows were not taken over: flow 1 is strange")
	// One error may be of many flows, of each part, and of what was never sent.
	r.step(Received{moving(4, false)})
	r.sent = nil
	r.refuses = errors.Join(&dataplane.FlowsError{Flows: 2, Err: errors.New("no room for 2 of 3")}, errors.New("flow 9 is strange"))
	r.step(carry(4, true, 1, 2, 3))
	lossy := carry(4, false, 1, 2, 3, 4).(Received)
	lossy.Message.(*control.Carry).Lost = 5
	r.step(lossy)
	expect("4 active standby=false carried=true 1 11 flows were not taken over: no room for 2 of 3")
	r.refuses = nil
	r.step(carry(4, false, 1, 2)) // once more: that one counts
	expect("4 active standby=false carried=true 2 ")
	// With the port goes what it took over.
	r.step(DeviceGone{"dvweb-1"})
	expect("4 waiting standby=false carried=false 0 there is no device tapweb-1 or dvweb-1")
	r.step(deviceOf("dvweb-1", 4))
	expect("4 active standby=false carried=false 0 ")
	r.refuses = dataplane.ErrNoPort
	r.step(carry(4, false, 1))
	expect()
	// Nobody can be on standby for a host that nobody reaches.
	last := moving(5, true)
	last.Other = control.Tunnel{}
	r.step(Received{last})
	expect("5 failed standby=true carried=false 0 the host on which it is active cannot be reached: let that join the fleet")
	if len(r.has) != 0 {
		t.Fatalf("left in the switch: %v", r.has)
	}
}

// What a switch was told of both bindings is told again after a restart.
func TestAMoveOutlivesTheAgent(t *testing.T) {
	r := web1(t)
	r.step(Received{moving(2, true)})
	r.restart()
	r.open()
	r.step(deviceOf("dvweb-1", 3), DevicesListed{})
	if p := r.web1(); !p.Standby || p.Other != addr("192.0.2.2") {
		t.Fatalf("port %+v", p)
	}
}

// Who stays and talks to what moved away finds it at every moment: its row is in
// the switch before its port goes, also if the agent hears of both at once.
func TestRowsComeBeforeThePortGoes(t *testing.T) {
	r := newRig(t)
	r.open()
	stays := assignOf("web-2", 5, "10.0.0.2", 20)
	stays.UID = 2
	r.step(Received{stays}, deviceOf("dvweb-2", 4), Received{moving(2, true)}, deviceOf("dvweb-1", 3))
	r.manual = true
	row := peerRow(5, "10.0.0.1", 20, 1)
	r.step(Received{&control.Expect{Revision: 3, Number: 1, Peers: []control.Peer{row}}}, Received{&control.Unassign{Endpoint: moving(2, true).Endpoint, Epoch: 3}})
	var order []string
	for _, op := range r.pending.Ops {
		order = append(order, fmt.Sprintf("%T", op))
	}
	if want := "[dataplane.SetPeer dataplane.DelPort]"; fmt.Sprint(order) != want {
		t.Errorf("the switch is told %v, meant: %s", order, want)
	}
}
