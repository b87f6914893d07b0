package sim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/controller"
	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/scenario"
)

// tuple is a packet's, from any port.
func (w *walk) tuple(p Packet) control.Tuple {
	e, _ := w.World().Endpoint(p.From)
	n, _ := w.World().Network(e.NetworkOf())
	t := control.Tuple{VNI: n.VNI, Src: p.Src, Dst: p.Dst}
	t.Protocol, t.DstPort, _ = p.Probe.Over(p.Dst)
	return t
}

// TestSwitchesSayWhatTheyDo sends packets through random worlds, and holds what
// becomes of each against what the switches said that they would do with it, and
// say afterwards.
func TestSwitchesSayWhatTheyDo(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	foretold, flows := 0, 0
	for n := range *count {
		w, err := newWalk(*seed+uint64(n), 0)
		for round := 0; round < 4 && err == nil; round++ {
			for _, tenant := range tenants {
				all := w.packets(tenant)
				w.r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				for _, p := range all[:min(12, len(all))] {
					f, g, fault := w.foretell(p)
					if fault != nil {
						t.Logf("world %d", n)
						w.explain(t, fault)
					}
					foretold, flows = foretold+f, flows+g
				}
			}
			err = w.editPolicy()
		}
		if err != nil {
			w.explain(t, err)
		}
	}
	t.Logf("%d packets were foretold, %d flows found", foretold, flows)
	if foretold == 0 || flows == 0 {
		t.Error("the worlds are dull")
	}
}

// foretell asks the sender's switch before and after a packet, and the
// receiver's after, and says what there was to compare.
func (w *walk) foretell(p Packet) (foretold, flows int, err error) {
	from, _ := w.World().Endpoint(p.From)
	to, exists := w.owner(p)
	if exists && !w.Plugged(to.Full()) {
		return 0, 0, nil
	}
	tuple := w.tuple(p)
	before := w.Inspect(from.Host, tuple)
	seen, err := w.Ask(p)
	if seen.Outcome == scenario.NoReply && seen == judgeWhole(w.World(), byOracle, w.Plugged, p, w.port) {
		seen = judge(w.World(), byOracle, w.Plugged, p) // a switch says what becomes of the packet, not of its answer
	}
	after := w.Inspect(from.Host, tuple)
	w.note("%s: %s, foretold %+v, then %+v", p, seen, before, after)
	if err != nil || before == nil || after == nil {
		return 0, 0, fmt.Errorf("%s: no answer: %w", p, err)
	}
	if before.Standing != control.StandingAsk {
		foretold++
		if !fits(before, seen) {
			return 0, 0, fmt.Errorf("%s: %s, the switch of %s foretold %+v", p, seen, from.Host, before)
		}
	}
	if !fits(after, seen) || after.Detail != "" {
		return 0, 0, fmt.Errorf("%s: %s, the switch of %s says %+v", p, seen, from.Host, after)
	}
	if !allowed(seen) {
		return foretold, flows, nil
	}
	far := w.Inspect(to.Host, tuple)
	if far == nil || !fits(far, seen) || far.Forth != after.Forth || far.Back != after.Back {
		return 0, 0, fmt.Errorf("%s: %s, the switch of %s says %+v, that of %s %+v", p, seen, from.Host, after, to.Host, far)
	}
	if tuple.Protocol.IsICMP() && !answerable(tuple.Protocol, tuple.DstPort) {
		return foretold, flows, nil // begins no flow
	}
	for _, f := range []*control.Finding{after, far} {
		if f.Flow == nil || f.Flow.Rule != seen.Rule || f.Flow.Packets == 0 {
			return 0, 0, fmt.Errorf("%s: %s, but the flow is %+v", p, seen, f.Flow)
		}
		flows++
	}
	return foretold, flows, nil
}

// fits reports whether a switch says what a packet came to.
func fits(f *control.Finding, seen Finding) bool {
	switch f.Standing {
	case control.StandingAllow:
		return allowed(seen) && f.Rule == seen.Rule
	case control.StandingDeny:
		return seen.Instead == "" && seen.Outcome == scenario.Deny && f.Rule == seen.Rule
	case control.StandingNoEndpoint:
		return seen.Instead == "" && seen.Outcome == scenario.NoEndpoint
	}
	return false
}

// TestFlowsAreToldAsTheyAre lists the flows of random worlds and watches what
// happens to them, from session to session.
func TestFlowsAreToldAsTheyAre(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	var passing, refused Packet
	var w *walk
	for n := uint64(0); passing.From.ID == "" || refused.From.ID == ""; n++ {
		var err error
		if w, err = newWalk(*seed+n, 0); err != nil {
			w.explain(t, err)
		}
		passing, refused = Packet{}, Packet{}
		for _, p := range w.packets("acme") {
			from, _ := w.World().Endpoint(p.From)
			to, exists := w.owner(p)
			protocol, _, _ := p.Probe.Over(p.Dst)
			switch meant := judge(w.World(), byTable, w.Plugged, p); {
			case !exists || from.Host == to.Host || protocol != dove.ProtocolUDP || w.stateless(p): // its answer may be denied, and told
			case allowed(meant):
				passing = p
			case meant.Instead == "" && meant.Outcome == scenario.Deny:
				refused = p
			}
		}
	}
	from, _ := w.World().Endpoint(passing.From)
	to, _ := w.owner(passing)
	asker := w.observe(controller.Asked{Observe: "acme"})
	other := w.observe(controller.Asked{Observe: "globex"})
	w.Sleep(3 * time.Second)
	begun := map[dove.HostName]bool{}
	for _, told := range w.hearing(asker) {
		begun[told.Host] = told.Report != nil
	}
	if !begun[from.Host] || !begun[to.Host] {
		t.Fatalf("%v report, not %s and %s", begun, from.Host, to.Host)
	}
	w.hearing(other)

	for _, p := range []Packet{passing, refused} {
		if _, err := w.Ask(p); err != nil {
			w.explain(t, err)
		}
	}
	w.Sleep(3 * time.Second)
	events := func() []string {
		var all []string
		for _, told := range w.hearing(asker) {
			for _, e := range told.Report.Events {
				all = append(all, fmt.Sprintf("%s %s %s-%s", told.Host, e.What, e.Tuple.Src, e.Tuple.Dst))
				if (e.What == control.FlowDenied) != (e.Reason == dataplane.Policy.String()) || e.Rule == "" {
					t.Errorf("%+v", e)
				}
			}
		}
		slices.Sort(all)
		return all
	}
	denier, _ := w.World().Endpoint(refused.From)
	want := []string{
		fmt.Sprintf("%s new %s-%s", from.Host, passing.Src, passing.Dst),
		fmt.Sprintf("%s new %s-%s", to.Host, passing.Src, passing.Dst),
		fmt.Sprintf("%s denied %s-%s", denier.Host, refused.Src, refused.Dst),
	}
	protocol, port, _ := passing.Probe.Over(passing.Dst)
	if byOracle(w.World(), passing, from, to, protocol, port).Log {
		want = append(want, fmt.Sprintf("%s logged %s-%s", from.Host, passing.Src, passing.Dst))
	}
	slices.Sort(want)
	if got := events(); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	for host, flows := range w.Flows("acme") {
		if has := slices.ContainsFunc(flows, func(f control.FlowReport) bool { return f.Tuple.Src == passing.Src && f.Packets == 2 }); has != (host == from.Host || host == to.Host) {
			t.Errorf("%s lists %+v", host, flows)
		}
	}
	w.Sleep(idle)
	w.Sleep(3 * time.Second)
	want = []string{
		fmt.Sprintf("%s ended %s-%s", from.Host, passing.Src, passing.Dst),
		fmt.Sprintf("%s ended %s-%s", to.Host, passing.Src, passing.Dst),
	}
	slices.Sort(want)
	if got := events(); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	for _, told := range w.hearing(other) {
		if len(told.Report.Events) > 0 {
			t.Errorf("another tenant hears %+v of %s", told.Report.Events, told.Host)
		}
	}

	w.Cut(from.Host)
	if err := w.Settle(); err != nil {
		t.Fatal(err)
	}
	if told := w.hearing(asker); len(told) != 1 || told[0].Host != from.Host || told[0].Report != nil {
		t.Errorf("a cut host: %+v", told)
	}
	if f := w.Inspect(from.Host, w.tuple(passing)); f != nil {
		t.Errorf("a cut host finds %+v", f)
	}
	w.Connect(from.Host)
	w.Sleep(3 * time.Second)
	if told := w.hearing(asker); !slices.ContainsFunc(told, func(t controller.Told) bool { return t.Host == from.Host && t.Report != nil }) {
		t.Errorf("a host that is back: %+v", told)
	}
}
