package controller

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
)

// A host that begins its Hello and never ends it holds a connection for a while
// and not for ever, whatever it says meanwhile.
func TestAnEndlessHelloEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		s := f.open(2, 0, 100)
		next[*control.Welcome](t, s)

		id := control.Identity{Host: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), Serial: "01"}
		for within, says := range map[time.Duration][]control.Up{
			HelloTimeout: nil,
			largeWithin:  {&control.Hello{Version: control.Version, Host: id.Host, VTEP: id.VTEP, More: true}},
		} {
			idle := newConn(t.Context(), 1, 0)
			for _, m := range says {
				idle.up <- m
			}
			began := time.Now()
			err := f.member.Converse(t.Context(), id, idle)
			if took := time.Since(began); took != within || dove.KindOf(err) != dove.Unavailable {
				t.Errorf("after %d messages and %s: %v", len(says), took, err)
			}
		}
		s.cancel()
	})
}

// A host that claims what is not its own, again and again, does not fill the log.
func TestClaimsAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		var text bytes.Buffer
		f.member.log = slog.New(slog.NewTextHandler(&text, nil))
		s := f.open(1, 0, 4096)
		next[*control.Welcome](t, s)
		const claims = 1000
		for range claims {
			s.up <- &control.EndpointUpdate{Endpoint: dove.Endpoint{Tenant: "acme", ID: "app-1"}, Epoch: 1, State: control.EndpointActive}
		}
		for range claims {
			if u := next[*control.Unassign](t, s); u.Endpoint.ID != "app-1" {
				t.Fatalf("%+v", u)
			}
		}
		synctest.Wait()
		if n := strings.Count(text.String(), "not its own"); n != deniedLogged {
			t.Errorf("%d claims are in the log", n)
		}
	})
}

// What a host says of a binding before it acknowledges that this is over has crossed the news: it is
// neither believed nor denied, and what holds is not told twice. Afterwards it is a claim, as one
// that no binding ever gave is at any time.
func TestWhatCrossedIsNoClaim(t *testing.T) {
	vip := netip.MustParseAddr("10.0.0.100")
	for name, test := range map[string]struct {
		changes func(r *rig)
		afresh  bool // it opens a session after the change, and says that it has the port
		holds   []string
	}{
		"unbound":       {func(r *rig) { r.bind("acme", "web-1", "") }, false, []string{"unassign web-1"}},
		"deleted":       {func(r *rig) { r.edit(edit.DeleteEndpoint(r.core.World(), web, nil)) }, false, []string{"unassign web-1"}},
		"away":          {func(r *rig) { r.bind("acme", "web-1", "h2") }, false, []string{"unassign web-1"}},
		"away and back": {func(r *rig) { r.bind("acme", "web-1", "h2"); r.bind("acme", "web-1", "h1") }, false, []string{"assign web-1"}},
		"away, back, away": {func(r *rig) {
			r.bind("acme", "web-1", "h2")
			r.bind("acme", "web-1", "h1")
			r.bind("acme", "web-1", "h3")
		}, false, []string{"unassign web-1"}},
		"moves live":            {func(r *rig) { r.decide(edit.PrepareEndpoint, "h3"); r.decide(edit.ActivateEndpoint, "h3") }, false, []string{"assign web-1"}},
		"away while apart":      {func(r *rig) { r.bind("acme", "web-1", "h2") }, true, []string{"unassign web-1"}},
		"and back, while apart": {func(r *rig) { r.bind("acme", "web-1", "h2"); r.bind("acme", "web-1", "h1") }, true, []string{"assign web-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, h1, _, _ := newShop(t)
			r.allow("web-1", "web", vip)
			r.ack(h1)
			epoch, id := h1.assigned[web].Epoch, h1.identity
			if test.afresh {
				hello := h1.hello(1, h1.frontier)
				r.step(Closed{h1.id})
				delete(r.switches, h1.id)
				test.changes(r)
				h1 = r.resume(id, hello, h1)
			} else {
				test.changes(r)
			}
			h1.hear()
			says := func(epoch dove.Epoch) []control.Up {
				return []control.Up{
					&control.EndpointUpdate{Endpoint: web, Epoch: epoch, State: control.EndpointActive, Device: "tap0"},
					&control.EndpointUpdate{Endpoint: web, Epoch: epoch, State: control.EndpointWaiting},
					&control.Claim{Endpoint: web, Epoch: epoch, Addr: vip},
				}
			}
			for _, m := range says(epoch) {
				r.say(h1, m)
			}
			if heard := h1.hear(); len(r.denied) > 0 || len(heard) > 0 || len(r.claimed) > 0 {
				t.Fatalf("what crossed is denied: %+v; claimed: %v; it hears %v", r.denied, r.claimed, heard)
			}
			if _, said := r.core.hosts["h1"].said(web); said {
				t.Error("what crossed is believed")
			}
			r.say(h1, says(epoch + 1000)[0])
			if len(r.denied) != 1 || fmt.Sprint(h1.hear()) != fmt.Sprint(test.holds) {
				t.Errorf("of an epoch that never was %+v is denied", r.denied)
			}
			r.ack(h1)
			r.say(h1, says(epoch)[0])
			if len(r.denied) != 2 || fmt.Sprint(h1.hear()) != fmt.Sprint(test.holds) {
				t.Errorf("said after the acknowledgement, %+v is denied", r.denied)
			}
			if n := len(r.core.hosts["h1"].taken); n > 0 {
				t.Errorf("%d bindings are remembered", n)
			}
		})
	}
}
