package agent

import (
	"testing"
	"time"

	"dove.network/dataplane"
	"dove.network/dataplane/soft"
)

// flooded is a switch that has another miss for each that is discarded.
type flooded struct {
	*soft.Switch
	miss func([]dataplane.Miss)
}

func (f *flooded) Discard(m dataplane.Miss, r dataplane.Reason) { f.miss([]dataplane.Miss{m}) }

// TestMissesLeaveOthersATurn has misses come as fast as they are taken.
func TestMissesLeaveOthersATurn(t *testing.T) {
	f := newFixture(t, "")
	f.stop()
	a := New(f.agent.options)
	a.options.Switch = &flooded{f.sw, func(misses []dataplane.Miss) {
		a.missed <- misses[0]
	}}
	a.missed <- dataplane.Miss{Port: 7}
	ended := make(chan struct{})
	go func() {
		a.turn.Lock()
		defer a.turn.Unlock()
		a.takeMissed()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
		t.Fatal("nobody else has a turn as long as there are misses")
	}
	select {
	case <-a.late:
	default:
		t.Fatal("what came meanwhile is left")
	}
}
