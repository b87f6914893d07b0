package controller

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

// TestWhereALostMemberSendsItsSessions cuts a member off from its store, and from so many of the
// others: its sessions go to those that follow the store, or after a while to those of
// which nothing is known, if they are most, and else stay.
func TestWhereALostMemberSendsItsSessions(t *testing.T) {
	for _, c := range []struct {
		name        string
		well, stale int // of four others; the rest is not reached
		drained     bool
		want        []string
		after       time.Duration
	}{
		{name: "one is well", well: 1, stale: 3, want: []string{"dpc-2:7444"}, after: StaleAfter},
		{name: "one is well and drained", well: 1, stale: 3, drained: true, want: []string{"dpc-2:7444"}, after: StaleAfter},
		{name: "one is well, the rest out of reach", well: 1, want: []string{"dpc-2:7444"}, after: StaleAfter},
		{name: "none is reached", want: []string{"dpc-2:7444", "dpc-3:7444", "dpc-4:7444", "dpc-5:7444"}, after: hopeAfter},
		{name: "one is as lost", stale: 1, want: []string{"dpc-3:7444", "dpc-4:7444", "dpc-5:7444"}, after: hopeAfter},
		{name: "half are as lost", stale: 2},
		{name: "the store fails", stale: 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			var all []dove.Put
			for n := range 5 {
				name := fmt.Sprintf("dpc-%d", n+1)
				all = append(all, world.Put(world.Member{Name: name, UID: dove.UID(n + 1), Control: name + ":7444", Serial: fmt.Sprint(n), Draining: c.drained && n == 1}))
			}
			r.edit(dove.Txn{Puts: all}, nil)
			h := r.open(r.host(1))
			r.ack(h)
			for n := range c.well + c.stale {
				name := fmt.Sprintf("dpc-%d", n+2)
				r.step(PeerOpened{name, 1})
				r.step(PeerReceived{name, &control.Progress{Stale: n >= c.well}})
			}
			began := r.now
			r.step(Fresh{began})
			sent := func() (found *control.Elsewhere) {
				for _, m := range h.heard {
					if e, ok := m.(*control.Elsewhere); ok {
						found = e
					}
				}
				return found
			}
			for r.now.Sub(began) < time.Minute && sent() == nil {
				r.now = r.now.Add(100 * time.Millisecond)
				r.step(Tick{})
			}
			e := sent()
			if (e != nil) != (c.want != nil) {
				t.Fatalf("sent %+v, want to %v", e, c.want)
			}
			if e == nil {
				return
			}
			slices.Sort(e.Addresses)
			if passed := r.now.Sub(began); !slices.Equal(e.Addresses, c.want) || passed <= c.after || passed > c.after+time.Second {
				t.Errorf("sent to %v after %s, want %v after %s", e.Addresses, passed, c.want, c.after)
			}
			r.step(Closed{h.id})
			// Who comes back is not sent round and round: there is nobody known to be well.
			if c.well == 0 {
				again := r.last + 1
				r.resume(h.identity, h.hello(1, 0), nil)
				if r.refused[again].Kind != dove.Unavailable {
					t.Errorf("a session opens with a member that has lost touch: %+v", r.refused)
				}
			}
		})
	}
}
