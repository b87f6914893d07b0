package sim

import (
	"fmt"
	"os"
	"runtime/debug"
	"testing"
	"time"
)

// TestMain has garbage collected seldom: a simulation holds little and makes much, and a
// walk takes half the time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(500)
	os.Exit(m.Run())
}

// TestThreeDecidersAgree sends every packet that can be told apart through
// random worlds, and holds what becomes of each against the oracle. The tables
// are between the two: the rule that a switch names is a table's.
func TestThreeDecidersAgree(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	packets, passed := 0, 0
	for n := range *count {
		w, err := newWalk(*seed+uint64(n), 0)
		if err != nil {
			w.explain(t, err)
		}
		for _, tenant := range tenants {
			for _, p := range w.packets(tenant) {
				table := judge(w.World(), byTable, w.Plugged, p)
				if meant := judge(w.World(), byOracle, w.Plugged, p); table != meant {
					t.Fatalf("world %d, %s: table %s, oracle %s", n, p, table, meant)
				}
				if err := w.check(p); err != nil {
					t.Logf("world %d", n)
					w.explain(t, err)
				}
				packets++
				if allowed(table) {
					passed++
				}
			}
		}
		if err := w.Settle(); err != nil {
			w.explain(t, err)
		}
	}
	t.Logf("%d worlds, %d packets, %d of them passed", *count, packets, passed)
	if passed == 0 || passed == packets {
		t.Errorf("the worlds are dull: %d of %d packets passed", passed, packets)
	}
}

// walking builds a world and makes random steps in it. The error is what must
// not be.
func walking(seed uint64, jitter time.Duration, steps int, prepare func(*walk)) (*walk, error) {
	w, err := newShapedWalk(seed, jitter, 1, shapeOf(seed))
	if err != nil {
		return w, fmt.Errorf("while the world is built: %w", err)
	}
	if prepare != nil {
		prepare(w)
	}
	for n := range steps {
		if err := w.step(); err != nil {
			return w, fmt.Errorf("step %d: %w", n, err)
		}
	}
	if err := w.mend(); err != nil {
		return w, fmt.Errorf("after the last step: %w", err)
	}
	return w, w.sample(100)
}

// jitter is what random walks let a message take at most, less than a quarter
// of what packets are held for.
const jitter = 200 * time.Millisecond

// TestRandomWalks edits policies, moves, unplugs, deletes and replaces
// endpoints, cuts hosts off and lets them come back, with messages that arrive at
// once and with slow ones, and holds packets against the oracle after each step.
func TestRandomWalks(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	for n := range *count {
		for _, j := range []time.Duration{0, jitter} {
			if w, err := walking(*seed+uint64(n), j, *steps, func(w *walk) { w.accidents = true }); err != nil {
				t.Logf("world %d, jitter %s", n, j)
				w.explain(t, err)
			}
		}
	}
}

// TestOneSeedIsOneRun makes the same walk twice.
func TestOneSeedIsOneRun(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	var traces []uint64
	for range 2 {
		w, err := walking(*seed, jitter, *steps, func(w *walk) { w.accidents = true })
		if err != nil {
			w.explain(t, err)
		}
		traces = append(traces, w.trace())
	}
	if traces[0] != traces[1] {
		t.Errorf("two runs of one seed differ")
	}
}
