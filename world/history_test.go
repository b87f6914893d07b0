package world_test

import (
	"strings"
	"testing"

	"dove.network/dove"
	"dove.network/world"
)

func TestHistory(t *testing.T) {
	h := world.NewHistory(10)
	if deltas, ok := h.After(10); !ok || len(deltas) != 0 {
		t.Errorf("nothing happened, but %v %v", deltas, ok)
	}
	token := world.Change[world.APIToken]{New: &world.APIToken{ID: "t"}}
	const last = 10 + 2*(world.HistoryMax+5)
	var middle *world.History
	for r := dove.Revision(12); r <= last; r += 2 { // others use the store too
		h = h.Add(world.Delta{Revision: r, APITokens: []world.Change[world.APIToken]{token}})
		if r == 20 {
			middle = h
		}
	}
	if h.Since() != 10+2*5 || h.Until() != last {
		t.Errorf("known after %d until %d", h.Since(), h.Until())
	}
	for after, want := range map[dove.Revision]int{20: world.HistoryMax, 21: world.HistoryMax, 22: world.HistoryMax - 1, last - 1: 1, last: 0, 19: -1, last + 1: -1} {
		deltas, ok := h.After(after)
		if ok != (want >= 0) || len(deltas) != max(0, want) {
			t.Errorf("after %d: %d deltas, %v, want %d", after, len(deltas), ok, want)
		}
		if len(deltas) > 0 && (deltas[0].Revision <= after || deltas[0].Revision > after+2 || deltas[0].APITokens != nil) {
			t.Errorf("after %d comes %+v", after, deltas[0])
		}
	}
	// An earlier one is what it was.
	if deltas, ok := middle.After(10); !ok || len(deltas) != 5 || middle.Until() != 20 {
		t.Errorf("the history until 20 has %d, %v", len(deltas), ok)
	}
	if h = h.Add(world.Delta{Revision: last + 1, Meta: true}); h.Since() != last+1 {
		t.Errorf("another incarnation is known after %d", h.Since())
	}
}

func TestHistoryBytes(t *testing.T) {
	text := world.Change[world.Blueprint]{New: &world.Blueprint{Text: strings.Repeat("#", 1<<20)}}
	h := world.NewHistory(0)
	for r := range dove.Revision(100) {
		h = h.Add(world.Delta{Revision: r + 1, Blueprints: []world.Change[world.Blueprint]{text}})
	}
	if deltas, ok := h.After(h.Since()); !ok || len(deltas) < 60 || len(deltas) > 64 {
		t.Errorf("%d texts of 1 MiB are kept", len(deltas))
	}
}
