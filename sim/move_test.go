package sim

import (
	"fmt"
	"strings"
	"testing"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// TestNothingIsLostOnTheWay moves endpoints from host to host, with messages that
// take their time, and has conversations go on at any moment in between: what
// was begun before goes both ways all the time, whoever sends first.
func TestNothingIsLostOnTheWay(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	sent := 0
	for n := range *count {
		w, err := newShapedWalk(*seed+uint64(n), jitter, 1, shape{trunks: n%3 == 0, routes: n%4 == 0})
		if err == nil && n%2 == 1 {
			err = w.lend()
		}
		if err != nil {
			w.explain(t, err)
		}
		for range 4 {
			e, ok := w.anyEndpoint()
			if !ok {
				continue
			}
			some, err := w.travel(e)
			if sent += some; err != nil {
				t.Logf("world %d", n)
				w.explain(t, err)
			}
		}
	}
	t.Logf("%d packets on the way", sent)
	if sent < 20**count {
		t.Errorf("%d packets in %d worlds: the worlds are dull", sent, *count)
	}
}

// travel makes one whole move, and counts the packets that were sent meanwhile.
func (w *walk) travel(e world.Endpoint) (sent int, err error) {
	e = w.trunk(e)[0]
	flows, err := w.talk(e)
	if err != nil {
		return 0, err
	}
	step := func(name string, how moving, to dove.HostName) error {
		revision, err := w.Edit(func(now *world.World) (dove.Txn, error) {
			return first(how(now, e.Full(), to, nil))
		})
		if err != nil {
			return err
		}
		w.note("%s %s on %s", name, e.Full(), to)
		if e, _ = w.World().Endpoint(e.Full()); e.Standby != "" {
			w.plugAll(e)
		}
		for w.queue.Len() > 0 {
			for range w.r.IntN(8) {
				w.Sim.step()
			}
			if sent++; sent > 400 {
				break
			}
			if err := flows(); err != nil {
				return fmt.Errorf("on the way: %w", err)
			}
			if e.Activated && w.takenOver(e) == "" {
				w.goOn(e)
			}
		}
		if err := w.Wait(revision); err != nil {
			return err
		}
		if err := w.Settle(); err != nil {
			return err
		}
		if e.Standby != "" {
			if why := w.takenOver(e); why != "" {
				return fmt.Errorf("after %s: %s", name, why)
			}
			w.goOn(e)
		} else {
			w.plugAll(e)
		}
		return flows()
	}
	to := w.anyHost()
	for to == e.Host {
		to = w.anyHost()
	}
	back := e.Host
	if err := step("prepare", edit.PrepareEndpoint, to); err != nil {
		return sent, err
	}
	for range 1 + w.r.IntN(3) {
		if err := step("activate", edit.ActivateEndpoint, to); err != nil {
			return sent, err
		}
		to, back = back, to
	}
	return sent, step("finish", edit.FinishEndpoint, to)
}

// moveFaults are what a move could suffer.
var moveFaults = []struct {
	name   string
	inject func(w *walk, fired *int)
	sign   string
}{
	{"flows are left behind", func(w *walk, fired *int) {
		w.tamper = only(fired, func(m message, c *control.Carry) []message {
			none := *c
			none.Flows = nil
			m.down = &none
			return []message{m}
		})
	}, "the flow ended with a step of a move"},
	{"holders do not hear of the other host", func(w *walk, fired *int) {
		w.tamper = only(fired, func(m message, u *control.Update) []message {
			wrong := *u
			wrong.Peers = nil
			for _, p := range u.Peers {
				p.Other = p.VTEP
				wrong.Peers = append(wrong.Peers, p)
			}
			m.down = &wrong
			return []message{m}
		})
	}, "holds"},
	{"both hosts believe that it is active there", func(w *walk, fired *int) {
		w.tamper = only(fired, func(m message, a *control.Assign) []message {
			wrong := *a
			wrong.Standby = false
			m.down = &wrong
			return []message{m}
		})
	}, "has a port"},
	{"nobody is asked for flows", func(w *walk, fired *int) {
		w.tamper = only(fired, lost[*control.CarryRequest])
	}, "has not taken over the flows"},
}

// TestFaultsOfMovesAreNoticed injects each into moves until one is noticed.
func TestFaultsOfMovesAreNoticed(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	for _, f := range moveFaults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			fired := 0
			for n := range uint64(60) {
				w, err := newWalk(*seed+n, jitter)
				if err != nil {
					w.explain(t, err)
				}
				f.inject(w, &fired)
				for range 4 {
					if e, ok := w.anyEndpoint(); ok && err == nil {
						_, err = w.travel(e)
					}
				}
				if err == nil {
					continue
				}
				if t.Logf("noticed in world %d after it was injected %d times", n, fired); !strings.Contains(err.Error(), f.sign) {
					t.Errorf("noticed as something else: %v", err)
				}
				return
			}
			t.Fatalf("injected %d times, and nobody noticed", fired)
		})
	}
}
