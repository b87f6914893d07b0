package fleet

import (
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestControlBench measures everything once, small and short: every figure is given. How
// good the figures are is not its business.
func TestControlBench(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "dpc")
	if out, err := exec.Command("go", "build", "-o", bin, "dove.network/cmd/dpc").CombinedOutput(); err != nil {
		t.Fatalf("build dpc: %v\n%s", err, out)
	}
	var told strings.Builder
	b := &ControlBench{Out: &told, Software: "test", DPC: bin, Endpoints: 1000, Hosts: 20, Seconds: 1, OVN: true}
	report, err := b.Run(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, told.String())
	}
	var seen []string
	for _, m := range report.Metrics {
		if len(m.Runs) != 1 || m.Median <= 0 || m.Unit == "" || (m.Better == "higher") != strings.HasSuffix(m.Unit, "/s") {
			t.Errorf("%+v", m)
		}
		if m.Subject == Subject {
			seen = append(seen, m.Name)
		}
	}
	want := []string{
		"made_per_s", "enforce_p50_ms_1e3", "enforce_p99_ms_1e3", "enforce_policy_p50_ms_1e3", "central_p50_ms_1e3",
		"new_questions_per_core_s", "questions_per_core_s", "question_p50_us", "question_p99_us", "changes_per_s", "changes_single_per_s",
		"start_s_1e3", "rss_mib_1e3", "bytes_per_endpoint", "cold_start_s", "rss_sessions_mib_1e3", "handover_s",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("measured %q, want %q", seen, want)
	}
}

func TestPeers(t *testing.T) {
	f := &fleet{hosts: make([]*host, 7), made: 1000}
	for n := range f.made {
		_, addr, group := f.endpoint(n)
		if _, other, _ := f.endpoint(n + 1); !addr.Less(other) {
			t.Fatalf("endpoint %d has %s, the next %s", n, addr, other)
		}
		to := f.peer(rand.New(rand.NewPCG(1, uint64(n))), n)
		if _, _, g := f.endpoint(to); to < 0 || to >= f.made || g != (group+1)%groups {
			t.Fatalf("endpoint %d of group %d is to talk to %d of group %d", n, group, to, g)
		}
	}
}
