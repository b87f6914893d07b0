package fleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dove.network/lab/bench"
)

// TestMain is also the other process of the benchmark, and of TestBehind.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "behind" {
		if err := behind(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 3 && os.Args[1] == "probe" {
		if err := Probe(context.Background(), os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// buildDPC returns where it is.
func buildDPC(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "dpc")
	if out, err := exec.Command("go", "build", "-o", bin, "dove.network/cmd/dpc").CombinedOutput(); err != nil {
		t.Fatalf("build dpc: %v\n%s", err, out)
	}
	return bin
}

// TestStorms has each storm once, small and short: others are answered in it. How fast is not
// its business.
func TestStorms(t *testing.T) {
	var told strings.Builder
	b := &ControlBench{Out: &told, Software: "test", DPC: buildDPC(t), Prober: []string{os.Args[0], "probe"}, Endpoints: 1000, Hosts: 20, Seconds: 1, Storms: Storms()}
	report, err := b.Run(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, told.String())
	}
	for _, storm := range Storms() {
		for _, metric := range []string{"calm_p50_us", "storm_p50_us", "aside_p50_us", "p50_ratio", "aside_p50_ratio",
			"calm_p99_us", "storm_p99_us", "aside_p99_us", "p99_ratio", "aside_p99_ratio"} {
			i := slices.IndexFunc(report.Metrics, func(m bench.Metric) bool { return m.Name == storm+"_"+metric })
			if i < 0 || len(report.Metrics[i].Runs) != 1 || report.Metrics[i].Median <= 0 {
				t.Errorf("%s of %s was not measured:\n%s", metric, storm, told.String())
			}
		}
	}
}

// TestControlBench measures everything once, small and short: every figure is given. How
// good the figures are is not its business.
func TestControlBench(t *testing.T) {
	var told strings.Builder
	b := &ControlBench{Out: &told, Software: "test", DPC: buildDPC(t), Endpoints: 1000, Hosts: 20, Seconds: 1, OVN: true}
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
