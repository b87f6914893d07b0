package agent

import (
	"fmt"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
)

// TestLeavesTheSilent leaves a member that says nothing, sooner if it was asked, and
// none that says anything.
func TestLeavesTheSilent(t *testing.T) {
	const step = 100 * time.Millisecond
	for _, c := range []struct {
		name  string
		asks  bool
		hears time.Duration // how long after the question the member says something, 0: never
		pause time.Duration // in which the host does not run, right after the question
		want  time.Duration // after the question, 0: never within 30 s
	}{
		{name: "nothing is asked", want: silentAfter},
		{name: "nothing comes of a question", asks: true, want: speechlessAfter},
		{name: "the member is slow, not silent", asks: true, hears: speechlessAfter - step, want: speechlessAfter - step + silentAfter},
		{name: "the host did not run", asks: true, pause: time.Minute, want: time.Minute + speechlessAfter},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := web1(t)
			r.step(Tick{})
			began := r.now
			if c.asks {
				r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", "10.0.0.99"))
			}
			r.sleep(c.pause)
			for passed := c.pause; passed <= c.pause+20*time.Second; passed += step {
				if c.hears > 0 && passed == c.hears {
					r.step(Received{&control.Heartbeat{}})
				}
				r.step(Tick{})
				if r.leaves > 0 && r.now.Sub(began) != c.want {
					t.Fatalf("left after %v, want %v", r.now.Sub(began), c.want)
				}
				if r.leaves > 0 {
					break
				}
				r.sleep(step)
			}
			if (r.leaves > 0) != (c.want > 0) {
				t.Fatalf("left %d times, want after %v", r.leaves, c.want)
			}
			r.sleep(step)
			if r.step(Tick{}); r.leaves > 1 {
				t.Error("left twice")
			}
		})
	}
}

// TestLeavesLaterEachTime gives each member more time than the one before, until one answers.
func TestLeavesLaterEachTime(t *testing.T) {
	r := web1(t)
	peer := 99
	ask := func() {
		peer++
		r.step(r.miss(1, dataplane.WantPeer, "10.0.0.1", fmt.Sprintf("10.0.0.%d", peer)))
	}
	leaves := func(want time.Duration) {
		t.Helper()
		ask()
		began, before := r.now, r.leaves
		for r.leaves == before && r.now.Sub(began) < time.Minute {
			r.sleep(100 * time.Millisecond)
			r.step(Tick{})
		}
		if took := r.now.Sub(began); took != want {
			t.Errorf("left after %v, want %v", took, want)
		}
		r.step(Disconnected{})
		r.step(Connected{}, Received{&control.Welcome{Member: "m", Incarnation: r.core.incarnation, Revision: 1}},
			Received{assignOf("web-1", 5, "10.0.0.1", 20)}, Received{&control.Frontier{Revision: 1}}, Tick{})
		r.take()
	}
	r.step(Tick{})
	for _, want := range []time.Duration{speechlessAfter, 2 * speechlessAfter, 4 * speechlessAfter, silentAfter, silentAfter} {
		leaves(want)
	}
	ask()
	request := r.take()[0].(*control.PolicyRequest)
	r.step(Received{found(request.ID, request.Questions[0], 20, 30)})
	leaves(speechlessAfter)
}
