package sim

import (
	"slices"
	"testing"

	"dove.network/dataplane"
	"dove.network/scenario"
)

// TestReasons holds the reasons that scenarios may name against those that
// switches have.
func TestReasons(t *testing.T) {
	var has []string
	for r := dataplane.NotDropped + 1; int(r) < dataplane.Reasons; r++ {
		has = append(has, r.String())
	}
	if !slices.Equal(has, scenario.Reasons) {
		t.Errorf("switches drop for %q, scenarios know %q", has, scenario.Reasons)
	}
}
