package sim

import (
	"errors"
	"fmt"
	"testing"

	"dove.network/dataplane"
	"dove.network/explain"
	"dove.network/scenario"
	"dove.network/verdict"
)

// TestWhySaysWhatSwitchesDo sends packets through random worlds of the whole
// language, which change meanwhile, and holds every drop that a
// switch reports against what explain says of it: the rule if policy dropped it,
// and otherwise that nobody is there.
func TestWhySaysWhatSwitchesDo(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	seen := map[string]int{}
	for n := range *count {
		w, err := newWalk(*seed+uint64(n), 0)
		for round := 0; round < 4 && err == nil; round++ {
			for _, tenant := range tenants {
				all := w.packets(tenant)
				w.r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				for _, p := range all[:min(25, len(all))] {
					what, fault := w.explained(p)
					if fault != nil {
						t.Logf("world %d", n)
						w.explain(t, fault)
					}
					seen[what]++
				}
			}
			for _, change := range []func() error{w.editPolicy, w.regroup, w.move, w.unbind, w.unplugSome} {
				err = errors.Join(err, change())
			}
		}
		if err != nil {
			w.explain(t, err)
		}
	}
	t.Logf("packets: %v", seen)
	for _, what := range []string{"reached", "policy", "default", "nobody"} {
		if seen[what] == 0 {
			t.Errorf("the worlds are dull: no packet is %q", what)
		}
	}
}

// explained asks why, sends a packet, and says what there was to compare.
func (w *walk) explained(p Packet) (what string, err error) {
	protocol, port, _ := p.Probe.Over(p.Dst)
	from, _ := w.World().Endpoint(p.From)
	to, findErr := explain.Find(w.World(), p.From.Tenant, fmt.Sprintf("%s/%s", from.Network, p.Dst))
	var why explain.Answer
	if findErr != nil { // nobody has it, and why says so
		to = explain.End{Addr: p.Dst, Network: from.NetworkOf()}
		why, err = explain.Why(w.World(), explain.Question{From: explain.End{Endpoint: p.From, Addr: p.Src}, To: to, Protocol: protocol, Port: port})
		if err != nil || why.Reaches() || len(why.Obstacles) == 0 {
			return "", fmt.Errorf("%s: nobody has it, but why says %+v, %w", p, why, err)
		}
	} else {
		if why, err = explain.Why(w.World(), explain.Question{From: explain.End{Endpoint: p.From, Addr: p.Src}, To: to, Protocol: protocol, Port: port}); err != nil {
			return "", fmt.Errorf("%s: %w", p, err)
		}
	}
	seen, x, err := w.ask(p)
	w.note("%s: %s; why: %+v, %v", p, seen, why, findErr)
	if err != nil {
		return "", err
	}
	fail := func() (string, error) {
		return "", fmt.Errorf("%s: %s, drops %v, but why says %+v, %v", p, seen, x.drops, why, findErr)
	}
	if (allowed(seen) || seen.Outcome == scenario.NoReply) && seen.Instead == "" && answerable(protocol, port) {
		meant := ""
		if seen.Outcome == scenario.NoReply {
			meant = seen.Rule
		}
		if why.Silenced(w.port) != meant {
			return fail()
		}
	}
	if seen.Outcome == scenario.NoReply && seen == judgeWhole(w.World(), byOracle, w.Plugged, p, w.port) {
		seen, x.drops = judge(w.World(), byOracle, w.Plugged, p), nil // why is asked about the packet, not about its answer
	}
	if len(x.drops) == 0 {
		if !allowed(seen) || findErr != nil || !why.Reaches() || why.Rule != seen.Rule || why.Near.Rule != "" {
			return fail()
		}
		return "reached", nil
	}
	for _, d := range x.drops {
		byDefault := d.rule == verdict.DefaultDeny || why.Near.Rule != ""
		switch {
		case d.reason == dataplane.Policy && (findErr != nil || why.Allowed || why.Rule != d.rule):
			return fail()
		case d.reason == dataplane.Policy && byDefault:
			what = "default"
		case d.reason == dataplane.Policy:
			what = "policy"
		case seen.Outcome == scenario.NoEndpoint && seen.Instead == "":
			if findErr == nil && why.Reaches() {
				return fail()
			}
			what = "nobody"
		default: // it is somewhere, and has no device there
			if findErr != nil || !why.Allowed || w.Plugged(to.Endpoint) {
				return fail()
			}
			what = "unplugged"
		}
	}
	return what, nil
}
