package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

var addrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// web1 is a rig with one open port on network 5, address 10.0.0.1, class 20.
func web1(t *testing.T) *rig {
	r := newRig(t)
	r.open()
	r.step(Received{assignOf("web-1", 5, "10.0.0.1", 20)}, deviceOf("dvweb-1", 3))
	r.step(Received{&control.Frontier{Revision: 1}})
	r.take()
	return r
}

func query(peer string) control.Question {
	return control.Question{VNI: 5, Local: addr("10.0.0.1"), Peer: addr(peer), Outgoing: true, Class: 20}
}

func TestPortFollowsAssignmentAndDevice(t *testing.T) {
	r := newRig(t)
	r.open()
	expect := func(want ...string) {
		t.Helper()
		if d := cmp.Diff(want, r.states()); d != "" {
			t.Fatalf("states (-want +got):\n%s", d)
		}
	}
	r.step(Received{assignOf("web-1", 5, "10.0.0.1", 20)})
	expect("red/web-1 1 waiting there is no device tapweb-1 or dvweb-1")
	r.step(deviceOf("tapweb-1", 3))
	expect("red/web-1 1 active tapweb-1")
	r.step(deviceOf("tapweb-1", 4)) // made anew
	expect()                        // active before and after
	if len(r.core.ports) != 1 || r.core.ports[2].device.Ifindex != 4 {
		t.Fatalf("ports are %v", r.core.ports)
	}
	old := assignOf("web-1", 6, "10.0.0.9", 20)
	old.Epoch = 0
	r.step(Received{old}, Received{&control.Unassign{Endpoint: old.Endpoint, Epoch: 0}})
	expect()
	next := assignOf("web-1", 5, "10.0.0.2", 21)
	next.Epoch = 2
	r.step(Received{next})
	expect("red/web-1 2 active tapweb-1")
	if got := r.has[target{kind: kindPort, port: 2}].(dataplane.SetPort).Port.Addresses; got[0].Class != 21 {
		t.Fatalf("the switch has addresses %v", got)
	}
	r.step(DeviceGone{"tapweb-1"})
	expect("red/web-1 2 waiting there is no device tapweb-1 or dvweb-1")
	if len(r.has) != 0 {
		t.Fatalf("the switch still holds %v", r.has)
	}
	r.step(deviceOf("dvweb-1", 5))
	expect("red/web-1 2 active dvweb-1")
	r.step(Received{&control.Unassign{Endpoint: next.Endpoint, Epoch: 2}})
	expect()
	if len(r.has) != 0 || len(r.core.assignments) != 0 {
		t.Fatalf("the switch still holds %v", r.has)
	}
}

func TestTwoEndpointsWantOneDevice(t *testing.T) {
	r := newRig(t)
	r.open()
	blue := assignOf("web-1", 6, "10.0.0.1", 20)
	blue.Endpoint.Tenant = "blue"
	r.step(deviceOf("dvweb-1", 3), Received{assignOf("web-1", 5, "10.0.0.1", 20)}, Received{blue})
	want := []string{"red/web-1 1 active dvweb-1",
		"blue/web-1 1 failed device dvweb-1 is the port of endpoint red/web-1; name another device with dswitch plug"}
	got := r.states()
	if d := cmp.Diff(want, got, cmpopts.SortSlices(func(a, b string) bool { return a > b })); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	if err := r.core.CheckPlug(blue.Endpoint, "dvweb-1"); dove.KindOf(err) != dove.Conflict {
		t.Fatalf("plugging a device in use gives %v", err)
	}
	r.step(Plug{blue.Endpoint, "eth7"}, deviceOf("eth7", 9))
	if d := cmp.Diff([]string{"blue/web-1 1 active eth7"}, r.states()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	r.step(Unplug{assignOf("web-1", 5, "10.0.0.1", 20).Endpoint}) // frees the default name
	r.step(Plug{blue.Endpoint, ""})
	if d := cmp.Diff([]string{"red/web-1 1 waiting unplugged", "blue/web-1 1 active dvweb-1"}, r.states()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	if got := r.core.Status().Ports[1].Detail; got != "unplugged" {
		t.Fatalf("detail %q", got)
	}
}

func TestUnderlayIsTooSmall(t *testing.T) {
	r := newRig(t)
	r.core.config.MTU = 1400
	r.open()
	r.step(deviceOf("dvweb-1", 3), Received{assignOf("web-1", 5, "10.0.0.1", 20)})
	want := []string{"red/web-1 1 failed network red/net5 has MTU 1450, the underlay of this host carries 1400: raise the MTU of the underlay device and restart the dswitch"}
	if d := cmp.Diff(want, r.states()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
}

func TestFailedPortIsClosedAndTriedAgain(t *testing.T) {
	r := newRig(t)
	r.open()
	r.fail = func(op dataplane.Op) error {
		if _, ok := op.(dataplane.SetPort); ok {
			return errors.New("its peer is in this namespace")
		}
		return nil
	}
	r.step(deviceOf("dvweb-1", 3), Received{assignOf("web-1", 5, "10.0.0.1", 20)}, Received{&control.Frontier{Revision: 4}})
	want := []string{"red/web-1 1 failed its peer is in this namespace"}
	sent := r.sent
	if d := cmp.Diff(want, r.states()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	// A closed port enforces everything: the frontier is acknowledged.
	if a, ok := sent[len(sent)-1].(*control.Ack); !ok || a.Revision != 4 {
		t.Fatalf("sent %v", sent)
	}
	r.fail = nil
	r.step(Tick{})
	if got := r.states(); got != nil {
		t.Fatalf("tried again at once: %v", got)
	}
	r.sleep(retryFirst)
	r.step(Tick{})
	if d := cmp.Diff([]string{"red/web-1 1 active dvweb-1"}, r.states()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
}

func TestOneQuestionForAllThatWait(t *testing.T) {
	r := web1(t)
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"), r.miss(1, dataplane.WantPair, "10.0.0.1", "10.0.0.7"),
		r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.8"))
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	want := []control.Up{&control.PolicyRequest{ID: 1, Questions: []control.Question{query("10.0.0.7"), query("10.0.0.8")}}}
	if d := cmp.Diff(want, r.take(), addrs); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	r.manual = true
	r.step(Received{found(1, query("10.0.0.7"), 20, 30)})
	if r.injected != 0 {
		t.Fatal("injected before the switch has the answer")
	}
	var kinds []string
	for _, op := range r.pending.Ops {
		kinds = append(kinds, fmt.Sprintf("%T", op))
	}
	if d := cmp.Diff([]string{"dataplane.SetPair", "dataplane.SetPair", "dataplane.SetPeer"}, kinds); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	// What misses meanwhile needs no question, but the same Apply.
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	r.finish()
	if r.injected != 4 || len(r.waiting) != 1 || r.take() != nil {
		t.Fatalf("%d injected, %d wait", r.injected, len(r.waiting))
	}
}

func TestNegativeAnswer(t *testing.T) {
	r := web1(t)
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	r.step(Received{&control.PolicyReply{ID: 1, Answers: []control.Answer{{Question: query("10.0.0.7"), Status: control.NoEndpoint}},
		Peers: []control.Peer{{Key: control.PeerKey{VNI: 5, Addr: addr("10.0.0.7")}, Absent: true, TTL: 5 * time.Second}}}})
	key := dataplane.PeerKey{VNI: 5, Addr: addr("10.0.0.7")}
	absent := target{kind: kindAbsent, vni: 5, addr: key.Addr}
	if r.has[absent] != (dataplane.SetAbsent{Key: key, TTL: 5 * time.Second}) || r.injected != 1 {
		t.Fatalf("the switch holds %v", r.has)
	}
	r.take()
	// It appears: told, because it is held.
	r.step(Received{&control.Update{Revision: 3, Peers: []control.Peer{peerRow(5, "10.0.0.7", 30, 9)}}})
	if r.has[absent] != nil || r.has[target{kind: kindPeer, vni: 5, addr: key.Addr}] == nil {
		t.Fatalf("the switch holds %v", r.has)
	}
	// It goes, and the answer about that grows old.
	r.step(Received{&control.Update{Revision: 4, Peers: []control.Peer{{Key: control.PeerKey(key), Absent: true, TTL: time.Hour}}}})
	r.sleep(negativeMax)
	r.step(Tick{})
	want := []control.Up{&control.Heartbeat{}}
	got := r.take()
	if d := cmp.Diff(append([]control.Up{&control.Release{Peers: []control.PeerKey{control.PeerKey(key)}}}, want...), got,
		addrs, cmpopts.EquateEmpty(), cmpopts.SortSlices(func(a, b control.Up) bool { return fmt.Sprintf("%T", a) > fmt.Sprintf("%T", b) })); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	if r.has[absent] != nil || r.core.rows != 0 {
		t.Fatalf("%d rows, the switch holds %v", r.core.rows, r.has)
	}
}

// Neighbours on one host need their pairs, but no rows about each other.
func TestNeighboursOnOneHost(t *testing.T) {
	r := web1(t)
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.2"))
	r.step(Received{found(1, query("10.0.0.2"), 20, 30)}) // it is elsewhere
	r.step(Received{assignOf("web-2", 5, "10.0.0.2", 21)}, deviceOf("dvweb-2", 4))
	r.take()
	if len(r.core.networks[5].peers) != 0 {
		t.Fatal("a row is held about an address of this host")
	}
	r.step(r.miss(1, dataplane.WantPair, "10.0.0.1", "10.0.0.2"))
	r.step(Received{found(2, query("10.0.0.2"), 20, 21)})
	if len(r.core.networks[5].peers) != 0 || r.core.Status().Held.Pairs != 4 || r.injected != 2 {
		t.Fatalf("status %+v, injected %d", r.core.Status(), r.injected)
	}
	r.step(r.miss(1, dataplane.WantConfirm, "10.0.0.1", "10.0.0.2")) // somebody elsewhere claims to be the neighbour
	got := r.take()
	if _, ok := got[len(got)-1].(*control.Release); !ok || r.injected != 3 {
		t.Fatalf("sent %v, injected %d", got, r.injected)
	}
}

func TestHoldLimits(t *testing.T) {
	r := web1(t)
	for range HeldPerPeer + 2 {
		r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	}
	for i := range HeldPerPort {
		r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", fmt.Sprintf("10.0.1.%d", i)))
	}
	if got := r.dropped[dataplane.HoldLimit]; got != 2+HeldPerPeer {
		t.Fatalf("%d over the limits", got)
	}
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.4", "10.0.0.7"), r.miss(77, dataplane.WantPeer, "10.0.0.4", "10.0.0.7"))
	if r.dropped[dataplane.SpoofedAddress] != 1 || r.dropped[dataplane.NoPort] != 1 {
		t.Fatalf("dropped %v", r.dropped)
	}
	r.sleep(HoldFor)
	r.step(Tick{})
	if len(r.waiting) != 0 {
		t.Fatalf("%d packets are held for longer than %s", len(r.waiting), HoldFor)
	}
	// The late answer is still of use.
	r.step(Received{found(1, query("10.0.0.7"), 20, 30)})
	r.step(r.miss(1, dataplane.WantPair, "10.0.0.1", "10.0.0.7"))
	if r.injected != 1 {
		t.Fatal("not injected")
	}
}

func TestConfirmAsksOncePerSecond(t *testing.T) {
	r := web1(t)
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	r.step(Received{found(1, query("10.0.0.7"), 20, 30)})
	r.take()
	confirm := func() { r.step(r.miss(1, dataplane.WantConfirm, "10.0.0.1", "10.0.0.7")) }
	confirm()
	confirm()
	if got := r.take(); len(got) != 1 || r.injected != 1 {
		t.Fatalf("sent %v, injected %d", got, r.injected)
	}
	r.step(Received{found(2, query("10.0.0.7"), 20, 30)})
	confirm()
	if got := r.take(); got != nil || r.injected != 4 {
		t.Fatalf("sent %v, injected %d", got, r.injected)
	}
	r.sleep(confirmEvery)
	confirm()
	if got := r.take(); len(got) != 1 {
		t.Fatalf("sent %v", got)
	}
}

func TestAnswersOfOtherKinds(t *testing.T) {
	r := web1(t)
	answer := func(id uint64, a control.Answer) {
		a.Question = query("10.0.0.7")
		r.step(Received{&control.PolicyReply{ID: id, Answers: []control.Answer{a}}})
	}
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	r.take()
	answer(1, control.Answer{Status: control.Retry, After: 100 * time.Millisecond})
	r.step(Tick{})
	if got := r.take(); got != nil {
		t.Fatalf("asked again at once: %v", got)
	}
	r.sleep(100 * time.Millisecond)
	r.step(Tick{})
	if got := r.take(); len(got) != 1 {
		t.Fatalf("sent %v", got)
	}
	answer(2, control.Answer{Status: control.Refused, Detail: "not bound to you"})
	if r.dropped[dataplane.NoPort] != 1 {
		t.Fatalf("dropped %v", r.dropped)
	}
	// Found without the rows, because they were released meanwhile: asked again, then given up.
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	for i := range uint64(triesMax) {
		answer(3+i, control.Answer{Status: control.Found})
	}
	if got := r.take(); len(got) != triesMax || r.injected != 1 {
		t.Fatalf("sent %d requests, injected %d", len(got), r.injected)
	}
}

func TestFailStaticAndResume(t *testing.T) {
	r := web1(t)
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	r.step(Received{found(1, query("10.0.0.7"), 20, 30)})
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.8"))
	before := len(r.has)
	r.step(Disconnected{})
	r.take()
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.9"))
	if len(r.has) != before {
		t.Fatal("something was given up")
	}
	r.step(Connected{})
	row := peerRow(5, "10.0.0.7", 30, 9)
	in, out := pairRow(30, 20, "in"), pairRow(20, 30, "out")
	want := []control.Up{&control.Hello{
		Version: control.Version, Number: uint64(r.now.UnixNano()) + 1, Host: "h1", VTEP: addr("192.0.2.1"), Software: "test", Incarnation: 7, Seen: 2,
		Peers: []control.HeldPeer{{Key: row.Key, Digest: row.Digest()}},
		Pairs: []control.HeldPair{{Key: out.Key, Digest: out.Digest()}, {Key: in.Key, Digest: in.Digest()}},
		Attached: []control.EndpointUpdate{{Endpoint: dove.Endpoint{Tenant: "red", ID: "web-1"}, Epoch: 1,
			State: control.EndpointActive, Device: "dvweb-1"}},
	}}
	if d := cmp.Diff(want, r.take(), addrs); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	r.step(Received{&control.Welcome{Member: "m2", Incarnation: 7, Revision: 2}})
	got := r.take()
	if len(got) != 1 || len(got[0].(*control.PolicyRequest).Questions) != 2 {
		t.Fatalf("what was held is not asked again: %v", got)
	}
	// A row that nobody asked for is ignored.
	r.step(Received{&control.Update{Revision: 3, Peers: []control.Peer{peerRow(5, "10.0.0.77", 30, 9)}}})
	if got := r.take(); got != nil || r.core.rows != 3 {
		t.Fatalf("sent %v, %d rows", got, r.core.rows)
	}
	// It was not assigned again: with the first frontier it is gone, and all with it.
	r.step(Received{&control.Frontier{Revision: 3}})
	if len(r.has) != 0 || r.core.rows != 0 || r.dropped[dataplane.NoPort] != 2 {
		t.Fatalf("the switch holds %v, %d rows, dropped %v", r.has, r.core.rows, r.dropped)
	}
}

// TestAckSaysWhatFailed: what the switch refuses and keeps closed holds nobody
// else's receipt up, and is said with the revision that asked for it until it is done.
func TestAckSaysWhatFailed(t *testing.T) {
	r := web1(t)
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	r.step(Received{found(1, query("10.0.0.7"), 20, 30)})
	r.step(Received{&control.Frontier{Revision: 8}})
	r.take()
	r.fail = func(op dataplane.Op) error {
		if _, ok := op.(dataplane.SetPair); ok {
			return &dataplane.OpError{Op: op, Err: errors.New("no room"), Closed: true}
		}
		return nil
	}
	expect := func(what string, want ...control.Up) {
		t.Helper()
		if d := cmp.Diff(want, r.take()); d != "" {
			t.Fatalf("%s (-want +got):\n%s", what, d)
		}
	}
	full := []control.Failure{{Revision: 9, Text: "domain red/shop, packets from class 20 to 30: no room"}}
	r.step(Received{&control.Update{Revision: 9, Pairs: []control.Pair{pairRow(20, 30, "other")}}}, Received{&control.Frontier{Revision: 9}})
	expect("refused", &control.Ack{Revision: 9, Failed: full})
	r.step(Received{&control.Frontier{Revision: 10}})
	expect("another revision", &control.Ack{Revision: 10, Failed: full})
	r.sleep(retryFirst)
	r.step(Tick{})
	expect("tried again, and refused again")
	// Another session begins: the failure is said again.
	r.step(Disconnected{}, Connected{}, Received{&control.Welcome{Member: "m", Incarnation: r.core.incarnation, Revision: 10}},
		Received{assignOf("web-1", 5, "10.0.0.1", 20)}, Received{&control.Frontier{Revision: 10}})
	sent := r.take()
	if d := cmp.Diff(control.Up(&control.Ack{Revision: 10, Failed: full}), sent[len(sent)-1]); d != "" {
		t.Fatalf("in another session (-want +got):\n%s", d)
	}
	r.fail = nil
	r.sleep(retryMax)
	r.step(Tick{})
	sent = r.take()
	if d := cmp.Diff(control.Up(&control.Ack{Revision: 10}), sent[len(sent)-1]); d != "" {
		t.Fatalf("done (-want +got):\n%s", d)
	}
	// What an answer brings is of no revision's receipt.
	r.fail = func(op dataplane.Op) error {
		return &dataplane.OpError{Op: op, Err: errors.New("no room"), Closed: true}
	}
	r.step(r.miss(1, dataplane.WantPair, "10.0.0.1", "10.0.0.7"))
	r.step(Received{found(2, query("10.0.0.7"), 20, 31)})
	r.step(Received{&control.Frontier{Revision: 11}})
	sent = r.take()
	if d := cmp.Diff(control.Up(&control.Ack{Revision: 11}), sent[len(sent)-1]); d != "" {
		t.Fatalf("an answer (-want +got):\n%s", d)
	}
}

// TestAckWaitsForTheSwitch: what it refuses without a word on what it left open is
// named like the rest, and holds nobody else's receipt up.
func TestAckWaitsForTheSwitch(t *testing.T) {
	r := web1(t)
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	r.step(Received{found(1, query("10.0.0.7"), 20, 30)})
	r.take()
	r.step(Received{&control.Frontier{Revision: 8}}) // touches nothing
	if d := cmp.Diff([]control.Up{&control.Ack{Revision: 8}}, r.take()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	r.fail = func(op dataplane.Op) error {
		if _, ok := op.(dataplane.SetPair); ok {
			return errors.New("map is full")
		}
		return nil
	}
	r.manual = true
	r.step(Received{&control.Update{Revision: 9, Pairs: []control.Pair{pairRow(20, 30, "other")}}}, Received{&control.Frontier{Revision: 9}})
	if got := r.take(); got != nil {
		t.Fatalf("sent %v before Applied", got)
	}
	r.finish()
	open := []control.Failure{{Revision: 9, Text: "what was before may still be in force: domain red/shop, packets from class 20 to 30: map is full"}}
	if d := cmp.Diff([]control.Up{&control.Ack{Revision: 9, Failed: open}}, r.take()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	r.step(Received{&control.Frontier{Revision: 10}})
	if d := cmp.Diff([]control.Up{&control.Ack{Revision: 10, Failed: open}}, r.take()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"domain red/shop, packets from class 20 to 30: map is full"}, r.core.Status().Faults); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	r.fail = nil
	r.sleep(time.Second)
	r.step(Tick{})
	r.finish()
	if d := cmp.Diff([]control.Up{&control.Ack{Revision: 10}}, r.take()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
}

func TestRowsAreBounded(t *testing.T) {
	r := web1(t)
	r.core.config.Rows = 3
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	r.step(Received{found(1, query("10.0.0.7"), 20, 30)})
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.8"))
	if r.dropped[dataplane.MissLimit] != 1 {
		t.Fatalf("dropped %v", r.dropped)
	}
}

func TestTunnels(t *testing.T) {
	r := newRig(t)
	r.open()
	r.step(Received{&control.Tunnels{Full: true, Add: []control.Tunnel{{Host: "h1", VTEP: addr("192.0.2.1")}, {Host: "h2", VTEP: addr("192.0.2.2")}, {Host: "h3", VTEP: addr("192.0.2.3")}}}})
	vteps := func() (out []string) {
		for _, n := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"} {
			if r.has[target{kind: kindVTEP, addr: addr(n)}] != nil {
				out = append(out, n)
			}
		}
		return out
	}
	if d := cmp.Diff([]string{"192.0.2.2", "192.0.2.3"}, vteps()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	r.step(Received{&control.Tunnels{Add: []control.Tunnel{{Host: "h4", VTEP: addr("192.0.2.4")}}, Del: []netip.Addr{addr("192.0.2.3")}}})
	r.step(Received{&control.Tunnels{Full: true, Add: []control.Tunnel{{Host: "h4", VTEP: addr("192.0.2.4")}}}})
	if d := cmp.Diff([]string{"192.0.2.4"}, vteps()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
}

// TestAVTEPBecomesAnother: the switch is told what runs at an address of the fleet whenever that
// changes, also while the agent does not run, and before the revision is acknowledged.
func TestAVTEPBecomesAnother(t *testing.T) {
	r := newRig(t)
	r.open()
	vtep := addr("192.0.2.2")
	said := dove.Revision(100)
	for i, c := range []struct {
		del  bool // it is no longer the former one's
		down bool
		is   control.Tunnel
	}{
		{is: control.Tunnel{Host: "f1", Foreign: true}},
		{is: control.Tunnel{Host: "f1", Foreign: true, Plain: true}},
		{is: control.Tunnel{Host: "h2"}, del: true},
		{is: control.Tunnel{Host: "f1", Foreign: true}, del: true},
		{is: control.Tunnel{Host: "h2"}, down: true},
		{is: control.Tunnel{Host: "f1", Foreign: true, Plain: true}, down: true},
	} {
		c.is.VTEP = vtep
		m := &control.Tunnels{Full: c.down, Add: []control.Tunnel{c.is}}
		if c.del {
			m.Del = []netip.Addr{vtep}
		}
		if c.down {
			r.restart()
			r.open()
		}
		said++
		m.Revision = said
		r.step(Received{m}, Received{&control.Frontier{Revision: said}})
		want := dataplane.SetVTEP{Addr: vtep, Foreign: c.is.Foreign, Plain: c.is.Plain}
		if got := r.has[target{kind: kindVTEP, addr: vtep}]; got != want {
			t.Errorf("step %d: the switch was told %+v, want %+v", i, got, want)
		}
	}
}

func TestRestartGoesOn(t *testing.T) {
	r := web1(t)
	r.step(Received{&control.Tunnels{Full: true, Add: []control.Tunnel{{Host: "h2", VTEP: addr("192.0.2.2")}}}})
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
	r.step(Received{found(1, query("10.0.0.7"), 20, 30)})
	before := len(r.has)
	r.has[target{kind: kindPeer, vni: 9, addr: addr("10.9.9.9")}] = dataplane.SetPeer{} // of a network that is gone
	r.restart()
	r.step(deviceOf("dvweb-1", 3), DevicesListed{})
	if len(r.has) != before || len(r.core.ports) != 1 {
		t.Fatalf("the switch holds %v", r.has)
	}
	r.open()
	hello := r.take()[0].(*control.Hello)
	if len(hello.Peers) != 1 || hello.Peers[0].Digest != (control.Digest{}) || len(hello.Pairs) != 2 ||
		hello.Attached[0].State != control.EndpointActive || hello.Incarnation != 7 {
		t.Fatalf("hello %+v", hello)
	}
	r.step(Received{assignOf("web-1", 5, "10.0.0.1", 20)},
		Received{&control.Update{Peers: []control.Peer{peerRow(5, "10.0.0.7", 30, 9)}, Pairs: []control.Pair{pairRow(20, 30, "out"), pairRow(30, 20, "in")}}},
		Received{&control.Frontier{Revision: 2}})
	if r.core.Name(5, addr("10.0.0.7")) != "red/p9" || r.core.Name(5, addr("10.0.0.1")) != "red/web-1" || r.core.PortName(1) != "red/web-1" {
		t.Fatal("names are not known again")
	}
	// A device that went away while nobody looked.
	r.restart()
	r.step(DevicesListed{})
	if len(r.core.ports) != 0 || len(r.has) != 1 { // the VTEP
		t.Fatalf("the switch holds %v", r.has)
	}
	// What is only written down opens no port: the endpoint may be elsewhere by now.
	r.restart()
	r.step(deviceOf("dvweb-1", 3), DevicesListed{})
	if len(r.core.ports) != 0 {
		t.Fatal("a port is open that nobody assigned")
	}
	r.open()
	r.step(Received{assignOf("web-1", 5, "10.0.0.1", 20)})
	if len(r.core.ports) != 1 {
		t.Fatal("no port is open")
	}
}

// TestStopping lets go of what is held in the order in which it came: discards it, or
// has it miss once more where the next run gets it.
func TestStopping(t *testing.T) {
	for _, kept := range []bool{false, true} {
		r := web1(t)
		r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.7"))
		r.manual = true
		r.step(Received{found(1, query("10.0.0.7"), 20, 30)}) // it waits for the switch
		for _, want := range []dataplane.Want{dataplane.WantTurn, dataplane.WantDenial, dataplane.WantFirst} {
			r.step(r.miss(1, want, "10.0.0.1", "10.0.0.7"))
		}
		r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.8"))
		if len(r.waiting) != 5 || r.injected != 0 {
			t.Fatalf("%d packets are held, %d went back", len(r.waiting), r.injected)
		}
		r.step(Stopping{Kept: kept})
		switch {
		case len(r.waiting) != 0:
			t.Errorf("%d packets are held by nobody", len(r.waiting))
		case !kept && (r.injected != 0 || r.dropped[dataplane.HoldLimit] != 5):
			t.Errorf("%d went back, dropped %v", r.injected, r.dropped)
		case kept && (r.injected != 5 || len(r.dropped) != 0 || r.last.Want != dataplane.WantTurn):
			t.Errorf("%d went back, dropped %v, the last wants %d", r.injected, r.dropped, r.last.Want)
		}
	}
}
