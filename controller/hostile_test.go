package controller

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/control"
	"dove.network/dove"
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
