package controller

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// A host opens sessions as fast as it can, with ever so many rows: it is let in as often as
// its time allows, others whenever they like.
func TestOpeningsAreBounded(t *testing.T) {
	for rows, each := range map[int]time.Duration{0: openEvery, control.HeldMax: (1 + control.HeldMax/openRows) * openEvery} {
		o := newOpenings()
		now := start
		opened := 0
		const seconds = 1000
		for range seconds * 10 {
			now = now.Add(100 * time.Millisecond)
			if done, err := o.begin("h1", now, func() { t.Error("it is over already") }); err == nil {
				opened++
				done(rows)
			} else if dove.KindOf(err) != dove.Unavailable {
				t.Fatal(err)
			}
			if opened%7 == 0 {
				done, err := o.begin(dove.HostName("other-"+now.String()), now, nil)
				if err != nil {
					t.Fatal(err)
				}
				done(0)
			}
		}
		most := int(seconds*time.Second/each) + openBurst + 2
		if opened > most || opened < most-openBurst-2 {
			t.Errorf("with %d rows a host opened %d sessions in %d s, at most %d are right", rows, opened, seconds, most)
		}
		if len(o.hosts) > openHosts+1 {
			t.Errorf("%d hosts are remembered", len(o.hosts))
		}
	}
}

// A host opens a hundred connections and says nothing on them: one is left, and the next
// that says Hello is its session.
func TestOneConnectionOfAHostOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		id := control.Identity{Host: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), Serial: "01"}
		const idle = openBurst - 2
		ended := make(chan error, idle)
		for range idle {
			go func() { ended <- f.member.Converse(t.Context(), id, newConn(t.Context(), 1, 1)) }()
			synctest.Wait()
		}
		s := f.open(1, 0, 100)
		next[*control.Welcome](t, s)
		for range idle {
			if err := <-ended; dove.KindOf(err) != dove.Conflict || !strings.Contains(err.Error(), "another session") {
				t.Error(err)
			}
		}
		s.cancel()
	})
}

// More hosts than have places begin a long Hello and do not end it: another one has its
// session once they are cut off, and who says all at once needs no place.
func TestLargeHellosWaitForAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		for range LargeHellos {
			f.member.openings.large <- struct{}{}
		}
		began := time.Now()
		s := f.open(2, 0, 100)
		next[*control.Welcome](t, s)
		if took := time.Since(began); took != 0 {
			t.Errorf("a short Hello took %s", took)
		}
		go func() {
			time.Sleep(largeWithin)
			<-f.member.openings.large
		}()
		id := control.Identity{Host: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), Serial: "01"}
		long := newConn(t.Context(), 2, 100)
		long.up <- &control.Hello{Version: control.Version, Host: id.Host, VTEP: id.VTEP, More: true}
		long.up <- &control.Held{}
		go f.member.Converse(t.Context(), id, long)
		if _, ok := (<-long.down).(*control.Welcome); !ok || time.Since(began) != largeWithin {
			t.Errorf("a long Hello took %s", time.Since(began))
		}
		synctest.Wait()
		if n := len(f.member.openings.large); n != LargeHellos-1 {
			t.Errorf("%d places are taken", n)
		}
		s.cancel()
		long.Stop()
	})
}

// A host begins one long Hello after the other while there is no place for any: what it said on
// those before is kept no longer.
func TestWhoIsOvertakenWaitsForNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		for range LargeHellos {
			f.member.openings.large <- struct{}{}
		}
		id := control.Identity{Host: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), Serial: "01"}
		ended := make(chan error, 3)
		began := time.Now()
		for n := range cap(ended) {
			c := newConn(t.Context(), 1, 1)
			c.up <- &control.Hello{Version: control.Version, Host: id.Host, VTEP: id.VTEP, More: true}
			go func() { ended <- f.member.Converse(t.Context(), id, c) }()
			synctest.Wait()
			if len(ended) != min(n, 1) {
				t.Fatalf("%d of %d connections are over", len(ended), n+1)
			}
			if n > 0 {
				if err := <-ended; dove.KindOf(err) != dove.Conflict || time.Since(began) != 0 {
					t.Errorf("after %s: %v", time.Since(began), err)
				}
			}
		}
		if err := <-ended; dove.KindOf(err) != dove.Unavailable || time.Since(began) != HelloTimeout {
			t.Errorf("the last ends after %s: %v", time.Since(began), err)
		}
	})
}

// A host says more than any dSwitch, of whichever kind and in whichever session: all of it is
// heard, as fast as it may, and nobody else waits.
func TestWhoSaysTooMuchWaits(t *testing.T) {
	const more = 5000 // messages
	question := control.Question{VNI: 1, Local: netip.MustParseAddr("10.0.0.11"), Peer: netip.MustParseAddr("10.0.0.99")}
	for what, message := range map[string]control.Up{
		saidQuestion: &control.PolicyRequest{ID: 1, Questions: []control.Question{question}},
		saidClaim:    &control.Claim{Endpoint: dove.Endpoint{Tenant: "acme", ID: "web-1"}, Epoch: 1, Addr: netip.MustParseAddr("10.0.0.9")},
		saidOther:    &control.Heartbeat{},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, nil)
				other := f.open(2, 0, 100)
				next[*control.Frontier](t, other)
				var loud *testSession
				again := func() {
					if loud != nil {
						synctest.Wait() // all was heard
						loud.cancel()
						<-loud.ended
					}
					loud = f.open(1, 0, saidBurst)
					go func(s *testSession) {
						for {
							select {
							case <-s.down:
							case <-s.ctx.Done():
								return
							}
						}
					}(loud)
				}
				burst := saidBurst / things(message)
				begun := time.Now()
				for i := range burst + more {
					if i%(burst/4) == 0 && i <= burst/2 {
						again()
					}
					loud.up <- message
					if i == burst-1 {
						synctest.Wait()
						if took := time.Since(begun); took > 0 || len(loud.up) > 0 {
							t.Fatalf("%d messages took %s, and %d are not heard", burst, took, len(loud.up))
						}
					}
				}
				asked := time.Now()
				other.ask(t, f.member.World(), "10.0.0.12", "10.0.0.11")
				if waited := time.Since(asked); waited > 0 {
					t.Errorf("another host waited %s for its answer", waited)
				}
				for len(loud.up) > 0 {
					time.Sleep(time.Millisecond)
				}
				took, want := time.Since(begun), time.Duration(more*things(message))*saidEvery
				if took < want-pauseLeast || took > want+2*pauseLeast {
					t.Errorf("what was over took %s, want %s", took, want)
				}
				time.Sleep(pauseLeast)
				if of := f.member.SessionsOf("h1"); len(of) != 1 || of[0].Paused < took-2*pauseLeast || of[0].Paused > took+2*pauseLeast {
					t.Errorf("that took %s, its session says %+v", took, of)
				}
			})
		})
	}
}
