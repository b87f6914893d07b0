package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDataplaneBench measures everything once, as short as can be: every subject
// gives every figure, and nothing is left. How good the figures are is not its business.
func TestDataplaneBench(t *testing.T) {
	opt := Options{Name: fmt.Sprintf("bench-%d", os.Getpid()), Bin: programs(t)}
	for _, tool := range []string{"iperf3", "sockperf"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("%s is not installed: make setup", tool)
		}
	}
	var told strings.Builder
	b := &DataplaneBench{Out: &told, Software: "test", Rounds: 1, Quick: true, Shapes: ShapeNames(), Flows: 4000}
	report, err := b.Run(t.Context(), opt)
	if err != nil {
		t.Fatalf("%v\n%s", err, told.String())
	}
	var seen []string
	for _, m := range report.Metrics {
		if len(m.Runs) != 1 || m.Median != m.Runs[0] || m.Median <= 0 || m.Unit == "" || (m.Better == "higher") != (strings.HasSuffix(m.Unit, "/s") || strings.HasSuffix(m.Unit, "flow") || m.Unit == "flows") {
			t.Errorf("%+v", m)
		}
		seen = append(seen, m.Name+" "+m.Subject)
	}
	var want []string
	for _, f := range shapes {
		for _, load := range f.loads {
			for _, k := range load.metrics {
				for _, s := range Subjects {
					if f.takesPart(s) {
						want = append(want, k.Name+f.suffix+" "+s)
					}
				}
			}
		}
	}
	slices.Sort(seen)
	slices.Sort(want)
	if !slices.Equal(seen, want) {
		t.Errorf("measured %q, want %q", seen, want)
	}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(text, &keys); err != nil || len(keys) != 2 || keys["environment"] == nil || keys["metrics"] == nil {
		t.Errorf("JSON has %d keys (%v), want environment and metrics", len(keys), err)
	}
	if left, err := filepath.Glob("/run/netns/" + prefix(opt.Name) + "*"); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
