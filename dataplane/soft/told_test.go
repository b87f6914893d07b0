package soft

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/verdict"
)

// told has a want that is told of.
func told(o dataplane.Outcome, log bool, would string, allow bool) dataplane.Outcome {
	o.Log, o.Would, o.WouldAllow = log, would, allow
	return o
}

// logged is a half with a policy that is logged, one that denies and is, and two in
// shadow.
func logged() verdict.Half {
	half := verdict.Half{DefaultName: verdict.DefaultDeny, Stateful: true, Rules: []verdict.Rule{
		rule("web", dove.ProtocolTCP, 80, 89), rule("no-81", dove.ProtocolTCP, 81, 81),
		rule("trial", dove.ProtocolTCP, 88, 90), rule("shut", dove.ProtocolTCP, 83, 83),
	}}
	for i := range half.Rules {
		r := &half.Rules[i]
		r.Action, r.Log, r.Shadow = verdict.Allow, r.Name == "web" || r.Name == "no-81", r.Name == "trial" || r.Name == "shut"
		if r.Name == "no-81" || r.Name == "shut" {
			r.Action = verdict.Deny
		}
	}
	return half
}

func TestTold(t *testing.T) {
	w := newWorld(t)
	w.apply(dataplane.SetPair{Key: pair(10, 20), Table: verdict.Product(logged(), logged())})
	send := func(port uint16, flags packet.TCPFlags, want dataplane.Outcome) {
		t.Helper()
		w.guest(alice, packet.TCP(v4(alice, rita), 1000, port, flags, nil), want)
	}
	syn, ack := packet.SYN, packet.ACK
	send(80, syn, told(tunneled(there, "web"), true, "", false))
	send(80, ack, tunneled(there, "")) // once
	send(81, syn, told(denied("no-81"), true, "", false))
	send(83, syn, told(tunneled(there, "web"), true, "shut", false))
	send(90, syn, told(denied("default-deny"), false, "trial", true))
	send(90, syn, told(denied("default-deny"), false, "trial", true)) // each
	send(91, syn, denied("default-deny"))

	var notes []dataplane.Note
	for _, n := range w.TakeNotes() {
		n.At, n.Tuple = time.Time{}, dataplane.Tuple{DstPort: n.Tuple.DstPort}
		notes = append(notes, n)
	}
	to := func(port uint16) dataplane.Tuple { return dataplane.Tuple{DstPort: port} }
	want := []dataplane.Note{
		{Port: alice, Tuple: to(80), Allow: true, Rule: "web", Log: true},
		{Port: alice, Tuple: to(83), Allow: true, Rule: "web", Log: true, Would: "shut"},
		{Port: alice, Tuple: to(90), Rule: "default-deny", Would: "trial", WouldAllow: true},
	}
	if diff := cmp.Diff(want, notes, cmp.Comparer(func(a, b dataplane.Tuple) bool { return a == b })); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	if drops := w.TakeDrops(); len(drops) == 0 || drops[0].Rule != "no-81" || !drops[0].Log || slices.ContainsFunc(drops[1:], func(d dataplane.Drop) bool { return d.Log }) {
		t.Errorf("drops: %+v", drops)
	}
	counted := func(want ...dataplane.Shadow) {
		t.Helper()
		got, _ := w.Shadows()
		for i := range got {
			got[i].Since = time.Time{}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("counts of rules in shadow (-want +got):\n%s", diff)
		}
	}
	counted(dataplane.Shadow{Domain: domain, Rule: "shut", Deny: 1}, dataplane.Shadow{Domain: domain, Rule: "trial", Allow: 2})

	// A table that says the same of a flow tells nothing new; one that says another thing does.
	half := logged()
	half.Rules = half.Rules[:3]
	w.apply(dataplane.SetPair{Key: pair(10, 20), Table: verdict.Product(half, half)})
	send(80, ack, tunneled(there, ""))
	send(83, ack, told(tunneled(there, ""), true, "", false))
	counted(dataplane.Shadow{Domain: domain, Rule: "trial", Allow: 2})
	w.apply(dataplane.DelPair{Key: pair(10, 20)})
	counted()
}

// What the receiver's host judges, the sender's has told.
func TestToldOnce(t *testing.T) {
	w := newWorld(t)
	w.apply(dataplane.SetPair{Key: pair(20, 10), Table: verdict.Product(logged(), logged())})
	frame := packet.TCP(v4(rita, alice), 1000, 80, packet.SYN, nil)
	w.wire(there, 20, frame, delivered(alice, "web"))
	w.apply(dataplane.SetVTEP{Addr: there, Foreign: true})
	w.wire(there, 20, packet.TCP(v4(rita, alice), 1001, 80, packet.SYN, nil), told(delivered(alice, "web"), true, "", false))
}

// ends makes the tables of a pair, of which one end keeps no state: class 10 may begin
// what forth allows, and back is what class 20 may send by itself.
func ends(ten, twenty bool, forth, back []verdict.Rule) []dataplane.Op {
	half := func(rules []verdict.Rule, stateful bool) verdict.Half {
		h := verdict.Half{DefaultName: verdict.DefaultDeny, Stateful: stateful, Rules: slices.Clone(rules)}
		for i := range h.Rules {
			h.Rules[i].Action = verdict.Allow
		}
		return h
	}
	return []dataplane.Op{
		dataplane.SetPair{Key: pair(10, 20), Table: verdict.Product(half(forth, ten), half(forth, twenty))},
		dataplane.SetPair{Key: pair(20, 10), Table: verdict.Product(half(back, twenty), half(back, ten))},
	}
}

func TestEndsWithoutState(t *testing.T) {
	web, high := rule("web", dove.ProtocolTCP, 80, 80), rule("high", dove.ProtocolTCP, 1024, 65535)
	for name, c := range map[string]struct {
		ten, twenty bool
		back        []verdict.Rule
		want        dataplane.Outcome
	}{
		"both keep state":                 {true, true, nil, delivered(alice, "")},
		"neither, and nothing answers":    {false, false, nil, denied("default-deny")},
		"neither, and answers may":        {false, false, []verdict.Rule{high}, delivered(alice, "")},
		"the sender's only, nothing does": {false, true, nil, denied("default-deny")},
		"the sender's only, answers may":  {false, true, []verdict.Rule{high}, delivered(alice, "")},
		"the target's only, nothing does": {true, false, nil, denied("default-deny")},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(ends(c.ten, c.twenty, []verdict.Rule{web}, c.back)...)
			w.guest(alice, packet.TCP(v4(alice, rita), 2000, 80, packet.SYN, nil), tunneled(there, "web"))
			w.wire(there, 20, packet.TCP(v4(rita, alice), 80, 2000, packet.SYN|packet.ACK, nil), c.want)
			w.guest(alice, packet.TCP(v4(alice, rita), 2000, 80, packet.ACK, nil), tunneled(there, ""))
		})
	}
}

// A change of what answers are held against counts at once; and what an end without
// state allows by itself passes when its flow may not go on.
func TestEndsWithoutStateChange(t *testing.T) {
	w := newWorld(t)
	forth, back := rule("forth", dove.ProtocolUDP, 500, 500), rule("back", dove.ProtocolUDP, 500, 500)
	there1 := packet.UDP(v4(alice, rita), 500, 500, nil)
	back1 := packet.UDP(v4(rita, alice), 500, 500, nil)
	w.apply(ends(false, false, []verdict.Rule{forth}, []verdict.Rule{back})...)
	w.guest(alice, there1, tunneled(there, "forth"))
	w.wire(there, 20, back1, delivered(alice, ""))
	w.apply(ends(false, false, []verdict.Rule{forth}, nil)...)
	w.wire(there, 20, back1, denied("default-deny"))
	w.guest(alice, there1, tunneled(there, ""))
	w.apply(ends(false, false, nil, []verdict.Rule{back})...)
	w.guest(alice, there1, denied("default-deny"))
	w.wire(there, 20, back1, delivered(alice, "back"))
	w.apply(ends(false, false, []verdict.Rule{forth}, []verdict.Rule{back})...)
	w.guest(alice, there1, tunneled(there, "")) // it answers that
}
