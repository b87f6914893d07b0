package controller

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// TestAStreamEndsWithItsCertificate ends a stream when the document of its member
// names another certificate, though it is the same member.
func TestAStreamEndsWithItsCertificate(t *testing.T) {
	r := newRig(t)
	fellow := world.Member{Name: "dpc-2", UID: 2, Serial: "a2"}
	r.edit(dove.Txn{Puts: []dove.Put{world.Put(world.Member{Name: "dpc-1", UID: 1, Serial: "a1"}), world.Put(fellow)}}, nil)
	step := func(e Event) []Effect {
		t.Helper()
		effects, err := r.core.Step(r.now, e)
		if err != nil {
			t.Fatal(err)
		}
		return effects
	}
	change := func(m world.Member) bool {
		revision := r.core.World().Revision() + 1
		effects := step(Changed{revision, documents(dove.Txn{Puts: []dove.Put{world.Put(m)}}, revision)})
		return slices.ContainsFunc(effects, func(e Effect) bool { return e == PeerEnd{"dpc-2"} })
	}
	step(PeerOpened{"dpc-2", 1})
	fellow.Draining = true
	if change(fellow) {
		t.Error("the stream ends, though the certificate is the same")
	}
	fellow.Serial = "b2"
	if !change(fellow) {
		t.Error("the stream goes on under a certificate that is no longer the member's")
	}
	fellow.Serial = "c2"
	if change(fellow) {
		t.Error("a stream is ended that is over")
	}
}

// newPair is a shop with two members: h1 has its session with the one that is tried, h3 with the other.
func newPair(t *testing.T) (r *rig, h1 *dswitch) {
	t.Helper()
	r, h1, _, h3 := newShop(t)
	r.edit(dove.Txn{Puts: []dove.Put{world.Put(world.Member{Name: "dpc-1", UID: 1}), world.Put(world.Member{Name: "dpc-2", UID: 2})}}, nil)
	r.step(PeerOpened{"dpc-2", 1})
	r.step(Closed{h3.id})
	delete(r.switches, h3.id)
	r.step(PeerReceived{"dpc-2", &control.Present{First: true, Hosts: []control.Presence{{Host: "h3", Session: 1, Phase: control.PhaseLive}}}})
	return r, h1
}

// TestWhoOpensWithALostMember has a host without a session, which a complete receipt names, open one with a
// member that cannot be reached then: nobody has heard that it enforces anything.
func TestWhoOpensWithALostMember(t *testing.T) {
	r, _ := newPair(t)
	revision := r.core.World().Revision()
	for _, phase := range []control.Phase{control.PhaseEnded, control.PhaseOpening} {
		r.step(PeerReceived{"dpc-2", &control.Present{Hosts: []control.Presence{{Host: "h3", Session: 2, Phase: phase}}}})
		r.step(PeerReceived{"dpc-2", &control.Progress{Applied: revision, Settled: revision}})
	}
	for _, when := range []string{"reached", "lost"} {
		if got := r.core.Receipt(revision); !slices.Contains(got.Unconfirmed, "h3") {
			t.Errorf("dpc-2 is %s: %+v", when, got)
		}
		r.step(PeerClosed{"dpc-2"})
	}
}

// TestWhatAHostSaysFollowsItsSession has a host that takes part in a move come back with another
// session: another member hears of that first, else it would not take the rest for what the host
// says, and nobody would say it again.
func TestWhatAHostSaysFollowsItsSession(t *testing.T) {
	r, h1 := newPair(t)
	r.decide(edit.PrepareEndpoint, "h3")
	r.step(Closed{h1.id})
	delete(r.switches, h1.id)
	r.across = nil
	hello := h1.hello(1, h1.frontier) // it was told of the move, and has the port so
	hello.Number = 7
	r.resume(h1.identity, hello, h1)
	var told []string
	for _, m := range r.across {
		switch m := m.(type) {
		case *control.Present:
			told = append(told, fmt.Sprintf("session %d of %s", m.Hosts[0].Session, m.Hosts[0].Host))
		case *control.PortState:
			told = append(told, fmt.Sprintf("%s in session %d: %s", m.Host, m.Session, m.Update.Endpoint))
		}
	}
	if want := []string{"session 7 of h1", "h1 in session 7: acme/web-1"}; !slices.Equal(told, want) {
		t.Errorf("the other member is told %q, want %q", told, want)
	}
}

// TestWhatWasSaidTooLateMakesRoom has a host of another member say much of endpoints whose moves
// are over: what it says of one that moves now counts all the same.
func TestWhatWasSaidTooLateMakesRoom(t *testing.T) {
	r, _ := newPair(t)
	says := func(id dove.EndpointID) {
		u := control.EndpointUpdate{Endpoint: dove.Endpoint{Tenant: "acme", ID: id}, Epoch: 2, State: control.EndpointActive}
		r.step(PeerReceived{"dpc-2", &control.PortState{Host: "h3", Session: 1, Update: u}})
	}
	for n := range farMax {
		says(dove.EndpointID(fmt.Sprintf("gone-%d", n)))
	}
	r.decide(edit.PrepareEndpoint, "h3")
	says("web-1")
	if states := r.core.far["h3"].states; len(states) != 1 || states[dove.Endpoint{Tenant: "acme", ID: "web-1"}].Epoch != 2 {
		t.Errorf("of h3 are remembered %d endpoints, and not that which moves", len(states))
	}
}

// TestAnOlderHelloEndsNoLaterSession has the Hello of a connection that was given up come after
// that of the next one, once that is open or while it is compared.
func TestAnOlderHelloEndsNoLaterSession(t *testing.T) {
	for _, slowly := range []bool{false, true} {
		r, h1, _, _ := newShop(t)
		r.ask(h1, r.vni("acme"), "10.0.0.11", "10.0.0.12")
		r.slowly, r.core.openPart = slowly, 1
		hello := h1.hello(1, h1.frontier)
		hello.Number = 8
		later := r.resume(h1.identity, hello, h1)
		if got := r.core.unopened[later.id] != nil; got != slowly {
			t.Fatalf("slowly: %t, and it is compared: %t", slowly, got)
		}
		older := h1.hello(1, h1.frontier)
		older.Number = 7
		r.resume(h1.identity, older, h1)
		refused := r.refused[r.last].Kind
		for len(r.opening) > 0 {
			r.goOn()
		}
		if s := r.core.hosts["h1"]; s == nil || s.id != later.id || refused != dove.Unavailable || r.refused[r.last].Later != 8 {
			t.Errorf("slowly: %t: the session of h1 is %+v, refused: %v", slowly, s, r.refused)
		}
	}
}

// TestAHostWhoseClockWasSetBack opened a later session, by its number, with a member that says what
// was not acknowledged there: before the earlier number is known to be the later session, the host
// is told the other one.
func TestAHostWhoseClockWasSetBack(t *testing.T) {
	gap := control.Presence{Host: "h1", Session: 90, Phase: control.PhaseEnded, First: 1, Last: 1}
	t.Run("here", func(t *testing.T) {
		r, h1 := newPair(t)
		r.step(PeerReceived{"dpc-2", &control.Present{First: true, Hosts: []control.Presence{gap}}})
		r.step(Tick{})
		if got := r.refused[h1.id].Later; got != 90 {
			t.Errorf("h1 is told of session %d", got)
		}
		back := r.resume(h1.identity, h1.hello(1, h1.frontier), h1)
		if got := r.refused[back.id].Later; got != 90 {
			t.Errorf("h1 opens another one, and is told of session %d", got)
		}
	})
	live := control.Presence{Host: "h1", Session: 7, Phase: control.PhaseLive}
	for name, says := range map[string][]PeerReceived{
		"there":             {{"dpc-2", &control.Present{First: true, Hosts: []control.Presence{gap}}}, {"dpc-2", &control.Present{Hosts: []control.Presence{live}}}},
		"there, by a third": {{"dpc-2", &control.Present{First: true, Hosts: []control.Presence{live}}}, {"dpc-3", &control.Present{First: true, Hosts: []control.Presence{gap}}}},
	} {
		t.Run(name, func(t *testing.T) {
			r, h1 := newPair(t)
			r.edit(dove.Txn{Puts: []dove.Put{world.Put(world.Member{Name: "dpc-3", UID: 3})}}, nil)
			r.step(PeerOpened{"dpc-3", 1})
			r.step(Closed{h1.id})
			for _, m := range says {
				r.step(m)
			}
			r.across = nil
			r.step(Tick{})
			told := false
			for _, m := range r.across {
				p, ok := m.(*control.Present)
				told = told || ok && slices.ContainsFunc(p.Hosts, func(h control.Presence) bool { return h.Host == "h1" && h.Session == 90 && h.First > 0 })
			}
			if !told {
				t.Errorf("the members are told %v", r.across)
			}
		})
	}
}

// TestWhoUsesUpItsNumbers is whoever has a host's certificate: the host that joins again under its
// name opens sessions all the same.
func TestWhoUsesUpItsNumbers(t *testing.T) {
	r, h1, _, _ := newShop(t)
	opens := func(number uint64) *control.Refusal {
		hello := h1.hello(1, h1.frontier)
		hello.Number = number
		back := r.resume(h1.identity, hello, h1)
		if refusal, refused := r.refused[back.id]; refused {
			return &refusal
		}
		return nil
	}
	most := uint64(r.now.Add(aheadMost).UnixNano())
	for _, number := range []uint64{control.NumberMax, most + 1} {
		if refusal := opens(number); refusal == nil || refusal.Later > most {
			t.Errorf("session %d: %v", number, refusal)
		}
	}
	if refusal := opens(most); refusal != nil {
		t.Fatal(refusal)
	}
	r.now = r.now.Add(time.Second)
	refusal := opens(uint64(r.now.UnixNano()))
	if refusal == nil || refusal.Later != most {
		t.Fatalf("an earlier one: %v", refusal)
	}
	if refusal := opens(refusal.Later + 1); refusal != nil {
		t.Error(refusal)
	}
}
