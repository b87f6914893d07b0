package controller

import (
	"fmt"
	"testing"

	"dove.network/control"
	"dove.network/dove"
)

// While a session opens in parts, what it holds changes: in the end it holds what
// it should, from one batch with one frontier, whenever the change came.
func TestChangesWhileASessionOpens(t *testing.T) {
	changes := map[string]func(r *rig){
		"nothing":            func(*rig) {},
		"a peer moves":       func(r *rig) { r.bind("acme", "app-1", "h3") },
		"a peer leaves":      func(r *rig) { r.bind("acme", "app-1", "") },
		"a class is another": func(r *rig) { r.endpoint("acme", "app-1", "h2", "10.0.0.12", "app", "db") },
		"its own is another": func(r *rig) { r.endpoint("acme", "web-1", "h1", "10.0.0.11", "web", "db") },
		"a policy":           func(r *rig) { r.blueprint("acme", fmt.Sprintf(shop, appDB)) },
		"one appears":        func(r *rig) { r.endpoint("acme", "new-1", "h2", "10.0.0.77", "app") },
		"a host joins":       func(r *rig) { r.host(9) },
		"all of it": func(r *rig) {
			r.host(9)
			r.blueprint("acme", fmt.Sprintf(shop, appDB))
			r.endpoint("acme", "app-1", "h2", "10.0.0.12", "app", "db")
			r.endpoint("acme", "new-1", "h2", "10.0.0.77", "app")
			r.bind("acme", "app-1", "h3")
			r.blueprint("acme", fmt.Sprintf(shop, webApp+", "+appDB))
		},
	}
	for what, change := range changes {
		for cut := range 7 {
			r, h1, _, _ := newShop(t)
			acme := r.vni("acme")
			for _, peer := range []string{"10.0.0.12", "10.0.0.13", "10.0.0.77"} {
				r.ask(h1, acme, "10.0.0.11", peer)
			}
			hello := h1.hello(1, h1.frontier)
			if rows := len(hello.Peers) + len(hello.Pairs); rows < 5 {
				t.Fatalf("%d rows are held", rows)
			}
			r.step(Closed{h1.id})
			delete(r.switches, h1.id)
			r.slowly, r.core.openPart = true, 1
			d := r.resume(h1.identity, hello, h1)
			for range cut {
				r.goOn()
			}
			if len(r.opening) > 0 && (len(d.heard) > 0 || !r.core.Complete(r.core.World().Revision()) && what == "nothing") {
				t.Fatalf("before it is open it hears %v", d.hear())
			}
			change(r)
			for len(r.opening) > 0 {
				r.goOn()
			}
			welcome, _ := d.heard[0].(*control.Welcome)
			frontiers := 0
			for _, m := range d.heard {
				if _, ok := m.(*control.Frontier); ok {
					frontiers++
				}
			}
			if welcome == nil || welcome.Revision != d.frontier && cut < 5 || frontiers != 1 && cut < 5 {
				t.Errorf("%s after %d parts: it hears %v", what, cut, d.hear())
			}
			r.check()
			if peers, _, pairs := r.core.interest.Held(d.id); peers != len(d.peers) || pairs != len(d.pairs) {
				t.Errorf("%s after %d parts: it holds %d peers and %d pairs, the Core remembers %d and %d", what, cut, len(d.peers), len(d.pairs), peers, pairs)
			}
			// And from now on.
			r.blueprint("acme", fmt.Sprintf(shop, webDB))
			r.bind("acme", "app-1", "h2")
			r.check()
		}
	}
}

// What a host says before its Hello is compared is heard then, not lost; a host that says
// no end of it is sent away, and so is one that opens another session meanwhile.
func TestWhatIsSaidWhileASessionOpens(t *testing.T) {
	r, h1, _, _ := newShop(t)
	for _, peer := range []string{"10.0.0.12", "10.0.0.13"} {
		r.ask(h1, r.vni("acme"), "10.0.0.11", peer)
	}
	hello := h1.hello(1, h1.frontier)
	r.slowly, r.core.openPart = true, 1
	first := r.resume(h1.identity, hello, h1)
	d := r.resume(h1.identity, hello, h1)
	if _, ended := r.refused[first.id]; !ended || r.core.sessions[h1.id] == nil {
		t.Errorf("refused %v; of several that open the last counts, and the open one goes on meanwhile", r.refused)
	}
	a := h1.assigned[sortedEndpoints(h1.assigned)[0]]
	r.say(d, &control.EndpointUpdate{Endpoint: a.Endpoint, Epoch: a.Epoch, State: control.EndpointFailed, Detail: "said early"})
	for len(r.opening) > 0 {
		r.goOn()
	}
	if u, _ := r.core.sessions[d.id].said(a.Endpoint); u.Detail != "said early" || r.core.sessions[h1.id] != nil {
		t.Errorf("the port is %+v", u)
	}
	rows := &control.Release{Peers: make([]control.PeerKey, control.RowsMax)}
	for what, says := range map[string]struct {
		message control.Up
		times   int // 0: it may go on so
		kind    dove.Kind
	}{
		"beats":     {&control.Heartbeat{}, 0, 0},
		"ports":     {&control.EndpointUpdate{Endpoint: a.Endpoint, Epoch: a.Epoch, State: control.EndpointActive}, heardMax + 1, dove.TooLarge},
		"claims":    {&control.Claim{Endpoint: a.Endpoint, Epoch: a.Epoch}, heardMax + 1, dove.TooLarge},
		"releases":  {rows, control.HeldMax/control.RowsMax + 1, dove.TooLarge},
		"questions": {&control.PolicyRequest{Questions: make([]control.Question, control.RowsMax)}, 1, dove.Invalid},
		"reports":   {&control.Report{}, 1, dove.Invalid},
		"a receipt": {&control.Ack{Revision: 1}, 1, dove.Invalid},
	} {
		flood := r.resume(h1.identity, hello, h1)
		for said := range 2 * heardMax {
			if _, ended := r.refused[flood.id]; ended != (says.times > 0 && said >= says.times) {
				t.Errorf("%s: after %d messages before its Welcome it is ended: %t", what, said, ended)
				break
			}
			r.say(flood, says.message)
		}
		if kind := r.refused[flood.id].Kind; kind != says.kind {
			t.Errorf("%s: refused as %v", what, kind)
		}
		if r.core.sessions[d.id] == nil || (len(r.core.unopened) == 0) != (says.times > 0) {
			t.Errorf("%s: %d open", what, len(r.core.unopened))
		}
	}
}
