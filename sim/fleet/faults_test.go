package fleet

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dove.network/faulttest"
)

// fault is a mistake that the conversation between members, and with hosts, could have.
type fault faulttest.Fault

// Signs by which mistakes are known: regular expressions of what must not be.
const (
	tooEarly = "and yet member .* says that the receipt"
	held     = "holds|has a port|the oracle says"
	stuck    = "a minute after all was mended|it is pending|waits for answers"
	carried  = "the live move of"
	older    = "has seen revision"
	bound    = "is sent flows of epoch"
	doubted  = "asked whether to deny"
)

// faults are those that runs must notice, each by one of its signs. Keep the list: a bug that
// runs once missed belongs here too. That one end of a way does not check what the other end checks as well is
// not among them, as nothing wrong comes of it: the epoch of flows, which both members and both hosts look at; that an earlier session does not make up
// for what a later one left open, as whoever has the earlier one asks it before it says that it is as far.
var faults = []struct {
	fault
	sign string
}{
	{fault{"a receipt is complete before other members are so far", "control/receipt.go", "floor = min(floor, upTo)", "_ = upTo"}, tooEarly},
	{fault{"an older session ends a later one", "controller/fellows.go", "p.Session > s.number || p.Session == s.number && name > c.member", "p.Session < s.number"}, "it is the latest one, and yet"},
	// Those above are tried in each test run, those below by make faults.

	{fault{"whoever asks is not told of what changes later", "controller/session.go", "p.Absent || !c.interest.HoldsPeer(s.id, p.Key) {", "p.Absent {"}, held},
	{fault{"a receipt does not wait for hosts of a lost member", "control/others.go", "return o.settled, len(o.hosts) > 0", "return o.settled, false"}, tooEarly},
	{fault{"a member says that its sessions are as far as it is", "controller/fellows.go", "Settled: min(c.ledger.Own(), c.world.Revision())", "Settled: c.world.Revision()"}, tooEarly},
	{fault{"a member does not say who left it", "controller/core.go", "c.present(c.ledger.Left(s.id))", ""}, tooEarly + "|" + stuck},
	{fault{"a host acknowledges before its switch is told", "agent/session.go", "s.acks[n].seq <= c.done && ", ""}, tooEarly + "|" + held},
	{fault{"the frontier goes ahead of what it ends", "controller/core.go", "c.send(c.sessions[id], append(news[id], &control.Frontier{Revision: e.Revision})...)", "c.send(c.sessions[id], append([]control.Down{&control.Frontier{Revision: e.Revision}}, news[id]...)...)"}, "was told all of revision"},
	{fault{"a member answers below what its host has seen", "controller/elsewhere.go", "h.Seen > c.world.Revision():", "h.Seen > c.world.Revision()+1<<40:"}, older},
	{fault{"a host does not say what it has seen", "agent/session.go", "Seen: c.seen,", ""}, older},
	{fault{"who asks about a denial is answered before the store is", "controller/session.go", "case len(c.others()) > 0 && c.doubtful(s, m):", "case c.doubtful(s, m) && false:"}, doubted},
	{fault{"a host carries flows under another epoch", "agent/move.go", "out := &control.Carry{Endpoint: e.Endpoint, Epoch: e.Epoch}", "out := &control.Carry{Endpoint: e.Endpoint, Epoch: e.Epoch + 1}"}, carried},
	{fault{"flows are handed on under another epoch", "controller/carry.go", "c.send(to, append(batch, m)...)", "some := *m\n\tsome.Epoch--\n\tc.send(to, append(batch, &some)...)"}, bound},
	{fault{"whoever asks for a pair is not told of what changes later", "controller/session.go", "c.interest.Pair(s.id, p)\n", "\n"}, held},
	{fault{"what was held before is not followed", "controller/open.go", "c.interest.Peer(u.id, &row)\n", "\n"}, held},
	{fault{"what changed while a host was away is not told", "controller/open.go", "!known || digest != held.Digest || row.Table == nil", "!known || digest == (control.Digest{}) || row.Table == nil"}, held},
	{fault{"a host does not say what it holds of peers", "agent/session.go", "slices.SortedFunc(maps.Keys(n.peers), netip.Addr.Compare) {\n\t\t\th.Peers", "slices.SortedFunc(maps.Keys(n.peers), netip.Addr.Compare)[:0] {\n\t\t\th.Peers"}, held},
	{fault{"Hellos have no number", "agent/session.go", "c.number = max(c.number+1, uint64(max(c.now.UnixNano(), 0)))", "c.number = 1"}, "it is the latest one, and yet|" + tooEarly + "|" + stuck + "|" + carried},
	{fault{"a member that has lost its store keeps its sessions", "controller/elsewhere.go", "case c.stale:\n\t\tc.sendAway", "case false:\n\t\tc.sendAway"}, "and still has"},
	{fault{"what a port became is told before its session", "controller/fellows.go", "c.tellPresences()\n\tc.effects", "c.effects"}, carried},
	{fault{"a release is forgotten", "controller/session.go", "c.interest.Release(s.id, m.Expected, m.Peers, m.Pairs)", ""}, held + "|" + stuck},
	{fault{"a host is not told the number of its later session", "agent/session.go", "c.number = max(c.number, m.Later)", ""}, stuck},
	{fault{"what a session elsewhere left open does not count", "control/others.go", "if p.First > 0 {", "if false {"}, tooEarly + "|" + stuck},
	{fault{"nobody asks who may have left for a member that is not reached", "control/others.go", "if l.asked < l.current {", "if false {"}, tooEarly},
	{fault{"flows are not handed to another member", "controller/carry.go", "c.tellFellow(k.to.member, &control.Handover{Host: e.Other(s.identity.Host), Session: k.to.session, Carry: *m})", ""}, carried},
}

// shortFaults is how many of them are tried in each test run.
const shortFaults = 2

// Bounds of the runs in which a fault must be noticed.
const faultyRuns, faultyHosts, faultySteps = 200, 12, 200

const root = "../.." // of the module

// TestFaults builds this test with each fault in it, and has it run until it notices.
func TestFaults(t *testing.T) {
	t.Logf("go test ./sim/fleet -run '%s' -seed %d", t.Name(), *seed)
	tried := faulttest.Tried(faults, shortFaults)
	for i, f := range tried {
		t.Run(f.Name, func(t *testing.T) {
			binary, said := faulty(t, faulttest.Fault(f.fault)), ""
			for _, test := range []string{"TestLeftOpen", "TestRuns"} {
				out, err := exec.CommandContext(t.Context(), binary, "-test.run", "^"+test+"$", "-seed", fmt.Sprint(*seed),
					"-seeds", fmt.Sprint(faultyRuns), "-hosts", fmt.Sprint(faultyHosts), "-steps", fmt.Sprint(faultySteps)).CombinedOutput()
				if said = ""; err != nil {
					said = noticed(string(out))
				}
				if said != "" && regexp.MustCompile(f.sign).MatchString(said) {
					break
				}
			}
			if said == "" {
				t.Fatalf("%d runs, and nothing was noticed", faultyRuns)
			}
			if !regexp.MustCompile(f.sign).MatchString(said) {
				t.Fatalf("noticed as something else than %q: %s", f.sign, said)
			}
			t.Logf("%d of %d: %s", i+1, len(tried), said[:min(len(said), 400)])
		})
	}
}

// faulty builds this test with a fault in it.
func faulty(t *testing.T, f faulttest.Fault) (binary string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	copied, overlay, binary := filepath.Join(dir, "faulty.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "fleet.test")
	file, err := filepath.Abs(filepath.Join(root, f.File))
	must(err)
	source, err := os.ReadFile(file)
	must(err)
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{file: copied}})
	must(err)
	must(os.WriteFile(copied, f.In(source), 0o600))
	must(os.WriteFile(overlay, replace, 0o600))
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("it does not compile: %v\n%s", err, out)
	}
	return binary
}

// noticed is what a run says that must not be, from the line on in which it says its seed.
func noticed(out string) string {
	for _, begins := range []string{"panic: ", ": seed "} {
		if i := strings.LastIndex(out, begins); i >= 0 {
			return out[i:]
		}
	}
	return out
}

// TestFaultsAreThere keeps the list from rotting where it is not tried.
func TestFaultsAreThere(t *testing.T) {
	var all []fault
	for _, f := range faults {
		all = append(all, f.fault)
	}
	faulttest.AreThere(t, root, all)
}
