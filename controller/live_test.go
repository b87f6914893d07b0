package controller

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
)

// hearing takes what askers were told since the last time, in words.
func (r *rig) hearing() []string {
	var words []string
	for _, e := range r.live {
		switch e := e.(type) {
		case Asks:
			words = append(words, fmt.Sprintf("%v asks %v", e.Askers, e.Hosts))
		case Told:
			what := "no session"
			switch {
			case e.Report == nil:
			case e.Report.Refused != "":
				what = "refuses"
			case e.Report.Finding != nil:
				what = e.Report.Finding.Standing.String()
			default:
				what = fmt.Sprintf("%d flows, %d events", len(e.Report.Flows), len(e.Report.Events))
			}
			words = append(words, fmt.Sprintf("%v %s: %s", e.Askers, e.Host, what))
		}
	}
	r.live = nil
	return words
}

// inspects takes the Inspects among what a dSwitch was told.
func (d *dswitch) inspects() []*control.Inspect {
	var all []*control.Inspect
	for _, m := range d.heard {
		if i, ok := m.(*control.Inspect); ok {
			all = append(all, i)
		}
	}
	d.heard = nil
	return all
}

// inspected requires that there is one.
func (r *rig) inspected(d *dswitch) *control.Inspect {
	r.t.Helper()
	all := d.inspects()
	if len(all) != 1 {
		r.t.Fatalf("%s is asked %d times", d.identity.Host, len(all))
	}
	return all[0]
}

func (r *rig) expect(want ...string) {
	r.t.Helper()
	if d := cmp.Diff(want, r.hearing()); d != "" {
		r.t.Fatalf("(-want +got):\n%s", d)
	}
}

func (r *rig) tuple(t dove.Tenant, src, dst string) control.Tuple {
	r.t.Helper()
	return control.Tuple{
		VNI: r.vni(t), Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst),
		Protocol: dove.ProtocolTCP, SrcPort: 40000, DstPort: 8080,
	}
}

func TestCoreAsksAboutAPacket(t *testing.T) {
	r, h1, h2, _ := newShop(t)
	probe := r.tuple("acme", "10.0.0.11", "10.0.0.12")
	r.step(Asked{Asker: 1, Host: "h1", Probe: &probe})
	r.expect("[1] asks [h1]")
	i := r.inspected(h1)
	if *i.Probe != probe || len(h2.inspects()) != 0 {
		t.Fatalf("%+v", i)
	}
	finding := &control.Report{ID: i.ID, Finding: &control.Finding{Standing: control.StandingAllow}}
	r.say(h2, &control.Report{ID: i.ID, Finding: &control.Finding{Standing: control.StandingDeny}}) // who was not asked
	r.say(h1, &control.Report{ID: i.ID + 1})                                                        // what was not asked
	r.say(h1, finding)                                                                              // the answer
	r.say(h1, finding)                                                                              // once more
	r.step(Ceased{1})                                                                               // and again to nobody
	r.expect("[1] h1: allow")

	r.step(Asked{Asker: 2, Host: "h9", Probe: &probe})
	r.expect("[2] asks [h9]", "[2] h9: no session")
	r.step(Asked{Asker: 3, Host: "h1", Probe: &probe})
	r.step(Closed{h1.id})
	r.expect("[3] asks [h1]", "[3] h1: no session")
	r.step(Asked{Asker: 4, Host: "h2", Probe: &probe})
	i = r.inspected(h2)
	r.step(Ceased{4})
	r.say(h2, &control.Report{ID: i.ID, Finding: finding.Finding})
	r.expect("[4] asks [h2]")
	if n := len(r.core.live.routes); n != 0 {
		t.Errorf("%d ways back are kept", n)
	}
}

func TestCoreListsFlows(t *testing.T) {
	r, h1, h2, h3 := newShop(t)
	r.step(Closed{h3.id})
	r.step(Asked{Asker: 1, FlowsOf: "acme"})
	r.expect("[1] asks [h1 h2 h3]", "[1] h3: no session")
	one, two := r.inspected(h1), r.inspected(h2)
	if one.FlowsOf != "acme" || one.ID == two.ID {
		t.Fatalf("%+v, %+v", one, two)
	}
	flow := control.FlowReport{Tuple: r.tuple("acme", "10.0.0.11", "10.0.0.12")}
	r.say(h1, &control.Report{ID: one.ID, Flows: []control.FlowReport{flow}, More: true})
	r.say(h2, &control.Report{ID: two.ID})
	r.say(h1, &control.Report{ID: one.ID})
	r.say(h1, &control.Report{ID: one.ID})
	r.expect("[1] h1: 1 flows, 0 events", "[1] h2: 0 flows, 0 events", "[1] h1: 0 flows, 0 events")
	r.step(Asked{Asker: 2, FlowsOf: "nobody"})
	r.expect("[2] asks []")
}

func TestCoreObservesOnceForAll(t *testing.T) {
	r, h1, h2, h3 := newShop(t)
	h4 := r.open(r.host(4))
	h4.hear()
	r.step(Closed{h3.id})
	r.step(Asked{Asker: 1, Observe: "acme"})
	r.expect("[1] asks [h1 h2 h3]", "[1] h3: no session")
	one, two := r.inspected(h1), r.inspected(h2)
	if one.Observe != "acme" || len(h4.inspects()) != 0 {
		t.Fatalf("%+v", one)
	}
	r.say(h1, &control.Report{ID: one.ID})
	r.expect("[1] h1: 0 flows, 0 events")

	// Another one hears at once of whom it is known.
	r.step(Asked{Asker: 2, Observe: "acme"})
	r.expect("[2] asks [h1 h2 h3]", "[2] h1: 0 flows, 0 events", "[2] h3: no session")
	r.say(h2, &control.Report{ID: two.ID, Events: make([]control.FlowEvent, 3)})
	r.expect("[1 2] h2: 0 flows, 3 events")
	if len(h1.inspects())+len(h2.inspects()) != 0 {
		t.Fatal("a tenant is observed twice on one host")
	}

	// A host comes back, and one that refuses is asked again later.
	id := h3.identity
	h3 = r.open(id)
	three := r.inspected(h3)
	r.say(h3, &control.Report{ID: three.ID, Refused: "no"})
	r.say(h3, &control.Report{ID: three.ID})
	r.step(Tick{})
	r.expect("[1 2] h3: refuses")
	if len(h3.inspects()) != 0 {
		t.Fatal("asked again at once")
	}
	r.now = r.now.Add(reobserveEvery)
	r.step(Tick{})
	if again := r.inspected(h3); again.ID == three.ID || again.Observe != "acme" {
		t.Fatalf("%+v", again)
	}
	if more := h1.inspects(); len(more) != 0 {
		t.Fatalf("h1 has not refused, and is asked %+v", more)
	}

	// An endpoint moves: so does who is asked.
	r.bind("acme", "app-1", "h4")
	if stop, start := r.inspected(h2), r.inspected(h4); !stop.Stop || stop.ID != two.ID || start.Observe != "acme" {
		t.Fatalf("%+v, %+v", stop, start)
	}
	r.say(h2, &control.Report{ID: two.ID}) // crossed the Stop
	r.expect("[1 2] asks [h1 h3 h4]")
	r.bind("bolt", "app-1", "h4") // of no concern
	r.expect()

	// The last one out.
	r.step(Ceased{1})
	if more := h1.inspects(); len(more) != 0 {
		t.Fatalf("somebody still observes, and h1 is asked %+v", more)
	}
	r.step(Ceased{2})
	r.step(Ceased{2})
	for _, d := range []*dswitch{h1, h3, h4} {
		if i := r.inspected(d); !i.Stop {
			t.Fatalf("%+v", i)
		}
	}
	if l := r.core.live; len(l.routes)+len(l.watched)+len(l.askers) != 0 {
		t.Errorf("%+v is kept", l)
	}
}

// What a host tells counts if it is about an endpoint of its own and of the
// tenant, whatever else it says.
func TestHostsTellOfTheirOwnOnly(t *testing.T) {
	r, _, _, _ := newShop(t)
	w := r.core.World()
	acme, bolt := r.tuple("acme", "10.0.0.11", "10.0.0.12"), r.tuple("bolt", "10.0.0.11", "10.0.0.12")
	nowhere := acme
	nowhere.VNI = 4000
	tests := []struct {
		what  string
		host  dove.HostName
		tuple control.Tuple
		ok    bool
		names string
	}{
		{"its own sender", "h1", acme, true, "acme/front acme/web-1 acme/app-1"},
		{"its own receiver", "h2", acme, true, "acme/front acme/web-1 acme/app-1"},
		{"neither end its own", "h3", acme, false, ""},
		{"a host that is not there", "h9", acme, false, ""},
		{"no host", "", r.tuple("acme", "10.0.0.99", "10.0.0.98"), false, ""},
		{"another tenant's network", "h1", bolt, false, ""},
		{"no network", "h1", nowhere, false, ""},
		{"nobody's address to its own", "h1", r.tuple("acme", "10.0.0.99", "10.0.0.11"), true, "acme/front / acme/web-1"},
		{"nobody's addresses", "h1", r.tuple("acme", "10.0.0.99", "10.0.0.98"), false, ""},
	}
	for _, test := range tests {
		list, watch := newFlowList("acme"), newFlowWatch("acme")
		hosts := []dove.HostName{test.host}
		list.ask(hosts)
		list.take(Told{Host: test.host, World: w, Report: &control.Report{Flows: []control.FlowReport{{Tuple: test.tuple}}}})
		watch.ask(start, hosts)
		news := watch.take(start, Told{Host: test.host, World: w, Report: &control.Report{
			Events: []control.FlowEvent{{What: control.FlowBegun, Tuple: test.tuple}, {What: control.FlowDenied, Tuple: test.tuple, Reason: "policy"}},
		}})[1:] // after "it answers"
		flows := list.list().Flows
		if (len(flows) == 1) != test.ok || (len(news) == 2) != test.ok || list.denied[test.host] == 0 != test.ok || watch.denied[test.host] == 0 != test.ok {
			t.Errorf("%s: listed %+v, news %+v", test.what, flows, news)
			continue
		}
		if !test.ok {
			continue
		}
		if got := fmt.Sprint(flows[0].Network, flows[0].From, flows[0].To); got != test.names {
			t.Errorf("%s: listed as %s", test.what, got)
		}
		if got := fmt.Sprint(news[1].Network, news[1].From, news[1].To); got != test.names || news[1].Host != test.host {
			t.Errorf("%s: told as %s by %s", test.what, got, news[1].Host)
		}
	}
}

// A flow that ends because its end left the host is not told by that host, which
// claims nothing by it.
func TestEndpointsLeaveTheirFlows(t *testing.T) {
	r, _, _, _ := newShop(t)
	flow := r.tuple("acme", "10.0.0.11", "10.0.0.12") // h1 to h2
	r.bind("acme", "web-1", "h3")
	w := newFlowWatch("acme")
	w.ask(start, []dove.HostName{"h1", "h2", "h3"})
	for what, claims := range map[control.What]int{control.FlowEnded: 0, control.FlowBegun: 1, control.FlowDenied: 1} {
		clear(w.denied)
		news := w.take(start, Told{Host: "h1", World: r.core.World(), Report: &control.Report{
			Events: []control.FlowEvent{{What: what, Tuple: flow, Reason: "policy"}},
		}})
		if slices.ContainsFunc(news, func(n control.FlowNews) bool { return n.Event != nil }) || w.denied["h1"] != claims {
			t.Errorf("%s: told %+v, %d claims", what, news, w.denied["h1"])
		}
	}
}

func TestListMergesWhatBothHostsSay(t *testing.T) {
	r, _, _, _ := newShop(t)
	w := r.core.World()
	flow := control.FlowReport{Tuple: r.tuple("acme", "10.0.0.11", "10.0.0.12"), Rule: "shop/web-app", Packets: 10}
	lie := flow
	lie.Rule, lie.Packets = "anything", 1<<60
	for _, order := range [][]dove.HostName{{"h1", "h2", "h3"}, {"h2", "h1", "h3"}} {
		l := newFlowList("acme")
		l.ask([]dove.HostName{"h1", "h2", "h3"})
		for _, host := range order {
			report := &control.Report{Flows: []control.FlowReport{lie}, Lost: 2}
			if host == "h1" {
				report.Flows = []control.FlowReport{flow, flow} // twice is once
			}
			l.take(Told{Host: host, World: w, Report: report})
		}
		want := control.FlowList{
			Revision: w.Revision(), Lost: 6, Unanswered: nil,
			Flows: []control.LiveFlow{{
				FlowReport: flow, Network: dove.Network{Tenant: "acme", Name: "front"},
				From: dove.Endpoint{Tenant: "acme", ID: "web-1"}, To: dove.Endpoint{Tenant: "acme", ID: "app-1"},
				Hosts: []dove.HostName{"h1", "h2"},
			}},
		}
		if d := cmp.Diff(want, l.list(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" || !l.complete() {
			t.Errorf("%v: complete %v (-want +got):\n%s", order, l.complete(), d)
		}
	}
}

// A host that goes on for ever, or says nothing, ends as one that did not answer.
func TestListsAreBounded(t *testing.T) {
	r, _, _, _ := newShop(t)
	w := r.core.World()
	l := newFlowList("acme")
	l.ask([]dove.HostName{"h1", "h2", "h3"})
	l.take(Told{Host: "h2", World: w, Report: &control.Report{More: true}})
	l.take(Told{Host: "h9", World: w, Report: &control.Report{}})
	base := r.tuple("acme", "10.0.0.11", "10.0.0.12")
	for n := range 100 {
		report := &control.Report{More: true, Lost: 1 << 63}
		for port := range 4096 {
			t := base
			t.SrcPort, t.DstPort = uint16(port), uint16(n)
			report.Flows = append(report.Flows, control.FlowReport{Tuple: t})
		}
		l.take(Told{Host: "h1", World: w, Report: report})
	}
	got := l.list()
	if len(got.Flows) > control.HostFlowsMax+4096 || got.Lost == 0 || got.Lost > 1<<53 {
		t.Errorf("%d flows, lost %d", len(got.Flows), got.Lost)
	}
	if want := []dove.HostName{"h2", "h3"}; !slices.Equal(got.Unanswered, want) || l.complete() {
		t.Errorf("unanswered %v", got.Unanswered)
	}
}

func TestWatchTellsEachFlowOnce(t *testing.T) {
	r, _, _, _ := newShop(t)
	world := r.core.World()
	flow := r.tuple("acme", "10.0.0.11", "10.0.0.12") // h1 to h2
	w, now := newFlowWatch("acme"), start
	words := func(news []control.FlowNews) (all []string) {
		for _, n := range news {
			switch {
			case n.Event != nil:
				all = append(all, fmt.Sprintf("%s %s-%s by %s", n.Event.What, n.From.ID, n.To.ID, n.Host))
			case n.Host != "":
				all = append(all, fmt.Sprintf("%s answers %v", n.Host, n.Answers))
			default:
				all = append(all, fmt.Sprintf("lost %d", n.Lost))
			}
		}
		return all
	}
	expect := func(news []control.FlowNews, want ...string) {
		t.Helper()
		if d := cmp.Diff(want, words(news)); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
	}
	say := func(host dove.HostName, lost uint64, what ...control.What) []control.FlowNews {
		report := &control.Report{Lost: lost}
		for _, x := range what {
			report.Events = append(report.Events, control.FlowEvent{What: x, Tuple: flow, Reason: "policy"})
		}
		return w.take(now, Told{Host: host, World: world, Report: report})
	}
	none := func(host dove.HostName) []control.FlowNews { return w.take(now, Told{Host: host, World: world}) }

	w.ask(now, []dove.HostName{"h1", "h2", "h3"})
	expect(none("h3"), "h3 answers false")
	expect(none("h3"))
	expect(say("h2", 0, control.FlowBegun), "h2 answers true", "new web-1-app-1 by h2") // h1 has not said a word
	expect(say("h1", 0, control.FlowBegun, control.FlowDenied), "h1 answers true", "new web-1-app-1 by h1", "denied web-1-app-1 by h1")
	expect(say("h2", 5, control.FlowBegun, control.FlowDenied, control.FlowEnded), "denied web-1-app-1 by h2", "lost 5")
	expect(none("h1"), "h1 answers false")
	expect(say("h2", 0, control.FlowEnded), "ended web-1-app-1 by h2")

	// Whom nothing is heard of does not answer; who is not asked says nothing.
	now = now.Add(answerWithin)
	expect(w.look(now))
	now = now.Add(silentAfter - answerWithin)
	expect(w.look(now), "h2 answers false")
	expect(w.look(now))
	expect(say("h2", 0), "h2 answers true")
	w.ask(now, []dove.HostName{"h1", "h4"})
	expect(say("h2", 0, control.FlowDenied))
	now = now.Add(answerWithin)
	expect(w.look(now), "h4 answers false")
}

func TestFloodsAreLeftOut(t *testing.T) {
	b := newMailbox(Asked{Asker: 1})
	flood := &control.Report{Events: make([]control.FlowEvent, control.EventsMax)}
	const many = 1000
	for range many {
		b.put(Told{Host: "h1", Report: flood})
	}
	b.put(Told{Host: "h2", Report: &control.Report{Events: make([]control.FlowEvent, 1)}})
	b.put(Told{Host: "h1"})
	effects, lost := b.take()
	if len(effects) != boxHost+2 || lost != (many-boxHost)*control.EventsMax {
		t.Errorf("%d things wait, lost %d", len(effects), lost)
	}
	if again, lost := b.take(); len(again) != 0 || lost != 0 {
		t.Errorf("%d things wait, lost %d", len(again), lost)
	}
	for n := range many {
		b.put(Told{Host: dove.HostName(fmt.Sprint("h", n)), Report: flood})
	}
	if effects, lost = b.take(); len(effects) != boxEvents/control.EventsMax || lost == 0 {
		t.Errorf("%d things of many hosts wait, lost %d", len(effects), lost)
	}
}

// A flow over a router is on another network at each end. It is told once, on the
// network of who sent first, with the counts of that end, so that sums are right.
func TestRoutedFlowsAreToldOnce(t *testing.T) {
	r, _, _, _ := newShop(t)
	r.blueprint("acme", `{apiVersion: dove/v1, kind: Blueprint, name: shop,
networks: {front: {subnets: [10.0.0.0/24]}, back: {subnets: [10.0.1.0/24]}}, routers: {core: {networks: [front, back]}},
groups: {web: {network: front}, app: {network: front}, db: {network: back}}, policies: [{name: web-db, from: web, to: db, allow: [tcp/8080]}]}`)
	for id, host := range map[dove.EndpointID]dove.HostName{"db-1": "h2", "db-2": "h1"} {
		w := r.core.World()
		txn, _, err := edit.PutEndpoint(w, edit.EndpointRequest{Tenant: "acme", ID: id, Host: host, Groups: []string{"shop/db"}},
			edit.Chance{UID: dove.UID(w.Revision()) + 5000, Now: r.now}, nil)
		r.edit(txn, err)
	}
	w := r.core.World()
	back, _ := w.Network(dove.Network{Tenant: "acme", Name: "back"})
	for id, hosts := range map[dove.EndpointID][]dove.HostName{"db-1": {"h1", "h2"}, "db-2": {"h1"}} {
		to, _ := w.Endpoint(dove.Endpoint{Tenant: "acme", ID: id})
		near := control.FlowReport{Tuple: r.tuple("acme", "10.0.0.11", to.Addresses[0].String()), Packets: 10, Bytes: 1000}
		far := near
		far.Tuple.VNI, far.Packets = back.VNI, 9
		reports := map[dove.HostName][]control.FlowReport{hosts[0]: {near}}
		reports[hosts[len(hosts)-1]] = append(reports[hosts[len(hosts)-1]], far)
		for _, order := range [][]dove.HostName{{"h1", "h2"}, {"h2", "h1"}} {
			list, watch := newFlowList("acme"), newFlowWatch("acme")
			list.ask(order)
			watch.ask(start, order)
			for _, h := range order { // all answer
				watch.take(start, Told{Host: h, World: w, Report: &control.Report{}})
			}
			var news []control.FlowNews
			for _, h := range order {
				flows := slices.Clone(reports[h])
				slices.Reverse(flows)
				list.take(Told{Host: h, World: w, Report: &control.Report{Flows: flows}})
				report := &control.Report{}
				for _, f := range flows {
					report.Events = append(report.Events, control.FlowEvent{What: control.FlowBegun, Tuple: f.Tuple})
				}
				news = append(news, watch.take(start, Told{Host: h, World: w, Report: report})...)
			}
			want := []control.LiveFlow{{
				FlowReport: near, Network: dove.Network{Tenant: "acme", Name: "front"},
				From: dove.Endpoint{Tenant: "acme", ID: "web-1"}, To: to.Full(), Hosts: hosts,
			}}
			if d := cmp.Diff(want, list.list().Flows, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("to %s, %v (-want +got):\n%s", id, order, d)
			}
			if len(news) != 1 || news[0].Host != "h1" || news[0].Event.Tuple != near.Tuple {
				t.Errorf("to %s, %v: news %+v", id, order, news)
			}
		}
	}
}

// TestWhoIsNotAskedAnyMoreForgetsIt: a host that never answers what another member asks it leaves
// nothing behind once nobody waits for that.
func TestWhoIsNotAskedAnyMoreForgetsIt(t *testing.T) {
	r, h1 := newPair(t)
	const asker = 7
	probe := r.flow(1).Tuple
	r.across = nil
	r.step(Asked{Asker: asker, Host: "h3", Probe: &probe})
	r.step(Ceased{asker})
	var said []control.Relay
	for _, m := range r.across {
		if m, ok := m.(*control.Relay); ok {
			said = append(said, *m)
		}
	}
	if len(said) != 2 || said[0].Inspect.Stop || !said[1].Inspect.Stop || said[1].ID != said[0].ID || said[1].Host != "h3" {
		t.Fatalf("the member of h3 is told %+v", said)
	}
	for _, m := range said { // as that one would have it
		m.Host = h1.identity.Host
		r.step(PeerReceived{"dpc-2", &m})
	}
	if n := len(r.core.live.routes); n != 0 {
		t.Errorf("%d ways back are kept", n)
	}
}
