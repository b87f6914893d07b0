package agent

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

func tupleTo(peer string, sport, port uint16) control.Tuple {
	return control.Tuple{VNI: 5, Src: addr("10.0.0.1"), Dst: addr(peer), Protocol: dove.ProtocolTCP, SrcPort: sport, DstPort: port}
}

func flowTo(peer string, sport, port uint16, packets uint64) dataplane.Flow {
	return dataplane.Flow{Tuple: dataplane.Tuple(tupleTo(peer, sport, port)), Rule: "out", Idle: time.Second, Packets: packets, Bytes: 100 * packets}
}

// reports takes what was sent, all of which must be Reports.
func (r *rig) reports() []*control.Report {
	r.t.Helper()
	var all []*control.Report
	for _, m := range r.take() {
		report, ok := m.(*control.Report)
		if !ok {
			r.t.Fatalf("sent %T %+v, meant: a Report", m, m)
		}
		all = append(all, report)
	}
	return all
}

// probe asks what the switch would do, and checks that asking changes nothing.
func (r *rig) probe(t control.Tuple) *control.Finding {
	r.t.Helper()
	before := maps.Clone(r.has)
	r.step(Received{&control.Inspect{ID: 77, Probe: &t}})
	if r.reading {
		r.step(r.read())
	}
	sent := r.reports()
	if len(sent) != 1 || sent[0].ID != 77 || sent[0].Finding == nil || sent[0].Seen != r.core.seen {
		r.t.Fatalf("sent %+v", sent)
	}
	if len(before) != len(r.has) || len(r.core.questions) != 0 {
		r.t.Fatalf("a probe changed what is held: %v, %v", before, r.has)
	}
	return sent[0].Finding
}

// meet has the switch hold a peer and both tables.
func (r *rig) meet(peer string) {
	r.t.Helper()
	r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", peer))
	sent := r.take()
	r.step(Received{found(sent[len(sent)-1].(*control.PolicyRequest).ID, query(peer), 20, 30)})
	r.take()
}

func TestProbeFindsWhatIsInForce(t *testing.T) {
	r := web1(t)
	standing := func(what string, tuple control.Tuple, want control.Standing, rule, detail string) *control.Finding {
		t.Helper()
		f := r.probe(tuple)
		if f.Standing != want || f.Rule != rule || !strings.Contains(f.Detail, detail) || (detail == "") != (f.Detail == "") {
			t.Fatalf("%s: %s by %q, %q; meant %s by %q, %q", what, f.Standing, f.Rule, f.Detail, want, rule, detail)
		}
		return f
	}
	to := tupleTo("10.0.0.7", 0, 443)
	elsewhere := to
	elsewhere.VNI = 6
	standing("another network", elsewhere, control.StandingUnassigned, "", "")
	standing("nothing held", to, control.StandingAsk, "", "")

	r.meet("10.0.0.7")
	f := standing("held", to, control.StandingAllow, "out", "")
	out, in := pairRow(20, 30, "out"), pairRow(30, 20, "in")
	if f.Forth != out.Digest() || f.Back != in.Digest() || f.Flow != nil {
		t.Fatalf("%+v", f)
	}
	from := to
	from.Src, from.Dst = to.Dst, to.Src
	standing("the other way", from, control.StandingAllow, "in", "")

	denied := control.Pair{Key: out.Key, Table: denial("shop/no")}
	r.manual = true
	r.step(Received{&control.Update{Revision: 3, Pairs: []control.Pair{denied}}})
	f = standing("a change under way", to, control.StandingAllow, "out", "under way")
	if f.Forth != out.Digest() {
		t.Fatal("what is not in force yet is told as if it were")
	}
	r.fail = func(dataplane.Op) error { return errors.New("no room in the map") }
	r.finish()
	r.take()
	standing("a change failed", to, control.StandingAllow, "out", "no room in the map")
	r.fail = nil
	r.sleep(time.Second)
	r.step(Tick{})
	r.finish()
	r.take()
	standing("a change", to, control.StandingDeny, "shop/no", "")
	r.manual = false

	withheld := peerRow(5, "10.0.0.7", 30, 9)
	withheld.Host, withheld.VTEP = "", netip.Addr{}
	r.step(Received{&control.Update{Revision: 4, Peers: []control.Peer{withheld}}})
	standing("withheld and denied", to, control.StandingDeny, "shop/no", "")
	r.step(Received{&control.Update{Revision: 5, Pairs: []control.Pair{out}}})
	standing("withheld", to, control.StandingHidden, "", "")
	standing("withheld, the other way", from, control.StandingHidden, "", "")

	r.step(Received{&control.Update{Revision: 6, Peers: []control.Peer{{Key: withheld.Key, Absent: true, TTL: time.Minute}}}})
	standing("gone", to, control.StandingNoEndpoint, "", "")
	r.step(DeviceGone{"dvweb-1"})
	r.take()
	standing("unplugged", to, control.StandingNotActive, "", "no device")
}

func TestProbeBetweenTwoPorts(t *testing.T) {
	r := web1(t)
	r.step(Received{assignOf("web-2", 5, "10.0.0.2", 21)}, deviceOf("dvweb-2", 4))
	r.take()
	to := tupleTo("10.0.0.2", 0, 80)
	if f := r.probe(to); f.Standing != control.StandingAsk {
		t.Fatalf("no tables: %s", f.Standing)
	}
	r.step(r.miss(1, dataplane.WantPair, "10.0.0.1", "10.0.0.2"))
	id := r.take()[0].(*control.PolicyRequest).ID
	r.step(Received{&control.PolicyReply{ID: id, Revision: 2,
		Answers: []control.Answer{{Question: query("10.0.0.2"), Status: control.Found, Local: 20, Peer: 21, Domain: shop}},
		Pairs:   []control.Pair{pairRow(20, 21, "out"), {Key: control.PairKey{Domain: shop, Src: 21, Dst: 20}, Table: denial("no")}}}})
	r.take()
	if f := r.probe(to); f.Standing != control.StandingAllow || f.Rule != "out" || f.Back != control.Digest(denial("no").Digest()) {
		t.Fatalf("%+v", f)
	}
	r.step(Unplug{dove.Endpoint{Tenant: "red", ID: "web-2"}})
	r.take()
	if f := r.probe(to); f.Standing != control.StandingNotActive || f.Detail != "unplugged" {
		t.Fatalf("%+v", f)
	}
}

// A restarted agent holds rows without their content: it does not make them up.
func TestProbeAfterRestart(t *testing.T) {
	r := web1(t)
	r.meet("10.0.0.7")
	r.restart()
	r.open()
	r.take()
	f := r.probe(tupleTo("10.0.0.7", 0, 80))
	if f.Standing != control.StandingAsk || !strings.Contains(f.Detail, "before the restart") {
		t.Fatalf("%+v", f)
	}
}

func TestProbeFindsTheNewestFlow(t *testing.T) {
	r := web1(t)
	r.meet("10.0.0.7")
	old, young, other := flowTo("10.0.0.7", 1000, 443, 5), flowTo("10.0.0.7", 2000, 443, 7), flowTo("10.0.0.7", 3000, 80, 9)
	young.Idle, other.Idle = 0, 0
	r.flows = []dataplane.Flow{old, young, other}
	if f := r.probe(tupleTo("10.0.0.7", 0, 443)).Flow; f == nil || f.Tuple.SrcPort != 2000 || f.Packets != 7 || f.Rule != "out" {
		t.Fatalf("any: %+v", f)
	}
	if f := r.probe(tupleTo("10.0.0.7", 1000, 443)).Flow; f == nil || f.Packets != 5 {
		t.Fatalf("one: %+v", f)
	}
	if f := r.probe(tupleTo("10.0.0.7", 4000, 443)).Flow; f != nil {
		t.Fatalf("none: %+v", f)
	}
	r.unreadable = errors.New("bpf: no")
	if f := r.probe(tupleTo("10.0.0.7", 0, 443)); f.Standing != control.StandingAllow || f.Flow != nil || !strings.Contains(f.Detail, "bpf: no") {
		t.Fatalf("unreadable: %+v", f)
	}
	r.step(Received{&control.Inspect{ID: 1, FlowsOf: "red"}})
	if got := r.reports(); len(got) != 1 || !strings.Contains(got[0].Refused, "bpf: no") {
		t.Fatalf("unreadable list: %+v", got)
	}
}

func TestFlowsAreListedInParts(t *testing.T) {
	r := web1(t)
	blue := assignOf("web-1", 6, "10.0.0.1", 20)
	blue.Endpoint.Tenant, blue.Network.Tenant, blue.Device = "blue", "blue", "b0"
	r.step(Received{blue}, deviceOf("b0", 7))
	r.take()
	foreign := flowTo("10.0.0.7", 9, 80, 1)
	foreign.Tuple.VNI = 6
	r.flows = []dataplane.Flow{foreign}
	const more = 3
	for i := range control.HostFlowsMax + more {
		f := flowTo("10.0.0.7", uint16(i), 80, 1)
		f.Idle = time.Duration(i) * time.Millisecond
		r.flows = append(r.flows, f)
	}
	r.step(Received{&control.Inspect{ID: 4, FlowsOf: "red"}})
	parts := r.reports()
	var all []control.FlowReport
	for i, p := range parts {
		if last := i == len(parts)-1; p.ID != 4 || p.More == last || len(p.Flows) > flowsReport || (p.Lost == more) != last {
			t.Fatalf("part %d of %d: id %d, %d flows, more %v, lost %d", i, len(parts), p.ID, len(p.Flows), p.More, p.Lost)
		}
		all = append(all, p.Flows...)
	}
	if len(all) != control.HostFlowsMax {
		t.Fatalf("%d flows", len(all))
	}
	for _, f := range all {
		if f.Tuple.VNI != 5 || f.Tuple.SrcPort >= control.HostFlowsMax {
			t.Fatalf("listed %+v: another tenant's, or idle for longer than one that is not", f)
		}
	}
	r.step(Received{&control.Inspect{ID: 5, FlowsOf: "green"}})
	if got := r.reports(); len(got) != 1 || len(got[0].Flows) != 0 || got[0].More {
		t.Fatalf("a tenant without a network: %+v", got)
	}
}

func TestFlowsAreObserved(t *testing.T) {
	r := web1(t)
	r.meet("10.0.0.7")
	r.flows = []dataplane.Flow{flowTo("10.0.0.7", 1, 443, 10)}
	r.step(Received{&control.Inspect{ID: 3, Observe: "red"}})
	expect := func(events ...control.FlowEvent) {
		t.Helper()
		got := r.reports()
		if len(got) != 1 || got[0].ID != 3 || got[0].Lost != 0 {
			t.Fatalf("sent %+v", got)
		}
		if d := cmp.Diff(events, got[0].Events, addrs, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
	}
	pass := func(d time.Duration) {
		t.Helper()
		for range int(d / (100 * time.Millisecond)) {
			r.sleep(100 * time.Millisecond)
			r.step(Tick{})
		}
	}
	expect() // it begins; what is there is no news
	pass(900 * time.Millisecond)
	if sent := r.take(); len(sent) > 0 {
		t.Fatalf("there is no news, and is sent %+v", sent)
	}

	r.flows = []dataplane.Flow{flowTo("10.0.0.7", 2, 443, 1), flowTo("10.0.0.7", 1, 443, 11)}
	pass(time.Second)
	expect(control.FlowEvent{What: control.FlowBegun, Tuple: tupleTo("10.0.0.7", 2, 443), Rule: "out"})
	// One ends; of the other's tuple there is a new one.
	r.flows = []dataplane.Flow{flowTo("10.0.0.7", 1, 443, 2)}
	pass(time.Second)
	expect(
		control.FlowEvent{What: control.FlowEnded, Tuple: tupleTo("10.0.0.7", 1, 443), Rule: "out", Packets: 11, Bytes: 1100},
		control.FlowEvent{What: control.FlowEnded, Tuple: tupleTo("10.0.0.7", 2, 443), Rule: "out", Packets: 1, Bytes: 100},
		control.FlowEvent{What: control.FlowBegun, Tuple: tupleTo("10.0.0.7", 1, 443), Rule: "out"},
	)

	drop := dataplane.Drop{Port: 1, Reason: dataplane.Policy, Rule: "no", Tuple: dataplane.Tuple(tupleTo("10.0.0.7", 9, 22))}
	foreign, spoofed, none := drop, drop, drop
	foreign.Tuple.VNI = 6
	spoofed.Tuple.Src = addr("10.0.0.99")
	none.Tuple = dataplane.Tuple{VNI: 5}
	pass(time.Second)
	r.step(Dropped{drop}, Dropped{foreign}, Dropped{spoofed}, Dropped{none})
	expect(control.FlowEvent{What: control.FlowDenied, Tuple: tupleTo("10.0.0.7", 9, 22), Rule: "no", Reason: "policy"})
	pass(control.ReportAtLeast - 100*time.Millisecond)
	if sent := r.take(); len(sent) > 0 {
		t.Fatalf("sent %+v", sent)
	}
	pass(100 * time.Millisecond)
	expect() // still here

	r.unreadable = errors.New("bpf: no")
	pass(time.Second)
	if got := r.reports(); len(got) != 1 || got[0].ID != 3 || got[0].Refused == "" || r.core.Observes() {
		t.Fatalf("unreadable: %+v, observes: %v", got, r.core.Observes())
	}
}

func TestObserversAreBounded(t *testing.T) {
	r := web1(t)
	for id := range uint64(control.ObserversMax) {
		r.step(Received{&control.Inspect{ID: id + 1, Observe: "red"}})
	}
	r.step(Received{&control.Inspect{ID: 99, Observe: "red"}})
	got := r.reports()
	if last := got[len(got)-1]; last.ID != 99 || last.Refused == "" {
		t.Fatalf("one too many: %+v", last)
	}
	r.step(Received{&control.Inspect{ID: 1, Stop: true}}, Received{&control.Inspect{ID: 100, Stop: true}})
	r.sleep(observeEvery)
	r.step(Received{&control.Inspect{ID: 99, Observe: "red"}})
	if got := r.reports(); len(got) != 1 || got[0].ID != 99 || got[0].Refused != "" {
		t.Fatalf("after one has stopped: %+v", got)
	}

	// Nobody hears of more than fits; the rest is counted.
	r.sleep(observeEvery)
	const many = 3 * control.EventsMax
	for i := range many {
		r.flows = append(r.flows, flowTo("10.0.0.7", uint16(i), 80, 1))
	}
	r.step(Tick{})
	for _, report := range r.reports() {
		if len(report.Events) != control.EventsMax || report.Lost != many-control.EventsMax {
			t.Fatalf("%d events, lost %d", len(report.Events), report.Lost)
		}
	}

	// All of it ends with the session.
	r.manual = true
	r.sleep(observeEvery)
	r.step(Tick{})
	r.step(Received{&control.Inspect{ID: 200, FlowsOf: "red"}})
	r.step(Disconnected{})
	r.take()
	r.open()
	r.take()
	r.step(r.read())
	r.sleep(time.Minute)
	r.step(Tick{})
	if sent := r.take(); len(sent) != 1 || r.reading || r.core.Observes() { // a Heartbeat
		t.Fatalf("a new session hears of what an old one asked: %+v", sent)
	}
}

// However much is asked, little waits.
func TestQuestionsAboutTheHostAreBounded(t *testing.T) {
	r := web1(t)
	r.manual = true
	refused := 0
	for id := range uint64(3 * inspectsMax) {
		r.step(Received{&control.Inspect{ID: id, FlowsOf: "red"}})
		for _, report := range r.reports() {
			if report.ID != id || report.Refused == "" {
				t.Fatalf("%+v", report)
			}
			refused++
		}
	}
	if waiting := len(r.core.live.asks) + len(r.core.live.later); waiting > inspectsMax || refused != 3*inspectsMax-waiting {
		t.Fatalf("%d wait, %d were refused", waiting, refused)
	}
	r.step(r.read())
	r.step(r.read())
	answered := map[uint64]bool{}
	for _, report := range r.reports() {
		answered[report.ID] = true
	}
	if len(answered) != inspectsMax || r.reading {
		t.Fatalf("%d were answered, reading: %v", len(answered), r.reading)
	}
}

func TestStandingsHaveNames(t *testing.T) {
	var names []string
	for s := control.StandingAllow; s <= control.StandingNotActive; s++ {
		names = append(names, s.String())
	}
	want := "allow deny would-ask no-endpoint hidden unassigned not-active"
	if got := strings.Join(names, " "); got != want || slices.Contains(names, "") {
		t.Error(got)
	}
	if got := fmt.Sprint(control.FlowBegun, control.FlowEnded, control.FlowDenied, control.What(9)); got != "new ended denied what 9" {
		t.Error(got)
	}
}
