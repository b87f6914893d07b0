package fleet

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var allFaults = flag.Bool("faults", false, "try all seeded faults of the conversation, rather than a few (make faults)")

// faults are mistakes that the conversation between members, and with hosts, could
// have: in the file, is becomes be. Runs must notice each. Keep the list: a bug that
// runs once missed belongs here too.
var faults = []struct{ name, file, is, be string }{
	{"a receipt is complete before other members are so far", "control/receipt.go", "floor = min(floor, upTo)", "_ = upTo"},
	// That above is tried in each test run, those below by make faults.

	{"whoever asks is not told of what changes later", "controller/session.go", "p.Absent || !c.interest.HoldsPeer(s.id, p.Key) {", "p.Absent {"},
	{"a member answers below what its host has seen", "controller/elsewhere.go", "h.Seen > c.world.Revision():", "h.Seen > c.world.Revision()+1<<40:"},
	{"a host acknowledges before its switch is told", "agent/session.go", "for n < len(s.acks) && s.acks[n].seq <= c.done {", "for n < len(s.acks) {"},
	{"the frontier goes ahead of what it ends", "controller/core.go", "c.send(c.sessions[id], append(news[id], &control.Frontier{Revision: e.Revision})...)", "c.send(c.sessions[id], append([]control.Down{&control.Frontier{Revision: e.Revision}}, news[id]...)...)"},
	{"a member says that its sessions are as far as it is", "controller/fellows.go", "Settled: min(c.ledger.Own(), c.world.Revision())", "Settled: c.world.Revision()"},
	{"an older session ends a later one", "controller/fellows.go", "p.Session > s.number || p.Session == s.number && name > c.member", "p.Session < s.number"},
	{"what was not assigned again stays", "agent/session.go", "if !a.confirmed {", "if false {"},
}

// shortFaults is how many of them are tried in each test run.
const shortFaults = 1

const root = "../.." // of the module

// TestFaults builds this test with each fault in it, and has it run until it notices.
func TestFaults(t *testing.T) {
	t.Logf("go test ./sim/fleet -run '%s' -seed %d", t.Name(), *seed)
	tried := faults
	if !*allFaults {
		tried = faults[:shortFaults]
	}
	for i, f := range tried {
		t.Run(f.name, func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join(root, f.file))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			faulty, overlay, binary := filepath.Join(dir, "faulty.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "fleet.test")
			file, err := filepath.Abs(filepath.Join(root, f.file))
			if err != nil {
				t.Fatal(err)
			}
			replace, err := json.Marshal(map[string]any{"Replace": map[string]string{file: faulty}})
			if err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string][]byte{faulty: []byte(strings.Replace(string(source), f.is, f.be, 1)), overlay: replace} {
				if err := os.WriteFile(name, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
				t.Fatalf("it does not compile: %v\n%s", err, out)
			}
			out, err := exec.CommandContext(t.Context(), binary, "-test.run", "^TestRuns$", "-seed", fmt.Sprint(*seed), "-seeds", "60", "-hosts", "12", "-steps", "200").CombinedOutput()
			if err == nil {
				t.Fatal("60 runs, and nothing was noticed")
			}
			t.Logf("%d of %d: %s", i+1, len(tried), sign(string(out)))
		})
	}
}

// sign is the line in which a run says what it noticed.
func sign(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, ": seed ") || strings.HasPrefix(line, "panic: ") {
			return line[:min(len(line), 400)]
		}
	}
	return out
}

// TestFaultsAreThere keeps the list from rotting where it is not tried.
func TestFaultsAreThere(t *testing.T) {
	names := map[string]bool{}
	for _, f := range faults {
		source, err := os.ReadFile(filepath.Join(root, f.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), f.is); n != 1 {
			t.Errorf("%s: %s has %d times %q, meant: once", f.name, f.file, n, f.is)
		}
		if names[f.name] {
			t.Errorf("two faults are named %q", f.name)
		}
		names[f.name] = true
	}
}
