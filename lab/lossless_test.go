package lab

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestLossless loses nothing while programs are restarted and policies edited.
func TestLossless(t *testing.T) {
	var told strings.Builder
	x := &Lossless{Out: &told, Software: "test", Restarts: 5, Edits: 5, GroupEdits: 5, Moves: 5, DPCRestarts: 1, Rate: 2000}
	report, err := x.Run(t.Context(), Options{Name: fmt.Sprintf("ll-%d", os.Getpid()), Bin: programs(t)})
	if err != nil {
		t.Fatalf("%v\n%s", err, told.String())
	}
	if err := x.Table(); err != nil {
		t.Fatal(err)
	}
	for _, f := range x.Faults() {
		t.Error(f)
	}
	if t.Failed() || len(report.Metrics) == 0 || len(x.story) < 14 {
		t.Errorf("%d metrics\n%s", len(report.Metrics), told.String())
	}
}

// TestLargeEdits loses nothing, and lets nothing pass that is forbidden before and after,
// while thousands of rules are replaced by others.
func TestLargeEdits(t *testing.T) {
	var told strings.Builder
	x := &Lossless{Out: &told, Software: "test", Rules: 10_000, LargeEdits: 6, Rate: 2000}
	if _, err := x.Run(t.Context(), Options{Name: fmt.Sprintf("le-%d", os.Getpid()), Bin: programs(t)}); err != nil {
		t.Fatalf("%v\n%s", err, told.String())
	}
	if err := x.Table(); err != nil {
		t.Fatal(err)
	}
	for _, f := range x.Faults() {
		t.Error(f)
	}
	if t.Log(told.String()); len(x.story) != 6 {
		t.Errorf("%d edits", len(x.story))
	}
}

// TestLosslessNoticesLoss cuts the underlay for a moment: what is lost is
// counted, and named with what was done then.
func TestLosslessNoticesLoss(t *testing.T) {
	var told strings.Builder
	x := &Lossless{Out: &told, Software: "test", Rate: 1000}
	x.also = func(ctx context.Context, st *Stage) (string, error) {
		if err := st.Lab.Cut(ctx, "h1", "h2"); err != nil {
			return "cut", err
		}
		before := x.flows[0].sent.Load()
		err := eventually(ctx, 10*time.Second, func() error { return unless(x.flows[0].sent.Load() > before+100, "nothing is sent") })
		if err == nil {
			err = st.Lab.Heal(ctx, "h1", "h2")
		}
		return "a cut of the underlay", err
	}
	report, err := x.Run(t.Context(), Options{Name: fmt.Sprintf("lc-%d", os.Getpid()), Bin: programs(t)})
	if err != nil {
		t.Fatalf("%v\n%s", err, told.String())
	}
	all := strings.Join(x.Faults(), "\n")
	for _, flow := range []string{"udp v4 forth", "udp v4 back"} {
		if m := fmt.Sprintf("%s: lost ", flow); !strings.Contains(all, m) || !strings.Contains(all, "into a cut of the underlay") {
			t.Errorf("no fault says %q during the cut:\n%s\n%s", m, all, told.String())
		}
		for _, m := range report.Metrics {
			if m.Name == lostKind.Name && m.Subject == flow && m.Median < 50 {
				t.Errorf("%s lost %v", flow, m.Median)
			}
		}
	}
}
