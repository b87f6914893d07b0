package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dove.network/dove"
	"dove.network/privtest"
	"dove.network/scenario"
)

// bin holds the programs under test; built once for all tests.
var (
	bin   string
	build sync.Once
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "dove-bin-")
	if err != nil {
		panic(err)
	}
	bin = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// programs builds what a lab runs.
func programs(t testing.TB) string {
	t.Helper()
	privtest.Require(t)
	build.Do(func() {
		out, err := exec.Command("go", "build", "-o", bin+"/", "dove.network/cmd/dpc", "dove.network/cmd/dswitch", "dove.network/cmd/dovectl").CombinedOutput()
		if err != nil {
			t.Errorf("build the programs: %v\n%s", err, out)
		}
	})
	return bin
}

// newLab makes a lab that ends with the test.
func newLab(t testing.TB, name string) *Lab {
	t.Helper()
	return newLabWith(t, Options{Name: name})
}

func newLabWith(t testing.TB, opt Options) *Lab {
	t.Helper()
	opt.Name, opt.Bin = fmt.Sprintf("%s-%d", opt.Name, os.Getpid()), programs(t)
	l, err := New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, h := range l.hosts {
				if h.sw != nil {
					t.Logf("log of %s ends:\n%s", h.Name, h.sw.tail())
				}
			}
			for _, m := range l.members {
				if m.dpc != nil {
					t.Logf("log of %s ends:\n%s", m.Name, m.dpc.tail())
				}
			}
		}
		if err := l.Close(); err != nil {
			t.Error("close the lab:", err)
		}
	})
	return l
}

// cannot counts the steps for which a guest has no socket, by scenario.
var cannot = map[string]int{"icmp-types.dove": 2, "migrate.dove": 13, "trunk.dove": 2}

// TestScenarios plays every scenario with real programs and real packets.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("../scenarios/*.dove")
	if err != nil || len(files) < 8 {
		t.Fatalf("found %d scenarios: %v", len(files), err)
	}
	for i, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel() // each in its own namespaces; most of the time is waiting
			play(t, file, newLab(t, fmt.Sprintf("s%d", i)))
		})
	}
	// What the underlay's family could matter to is played over IPv6 too.
	for i, name := range []string{"forged-frames.dove", "kill-dswitch.dove", "move.dove", "migrate.dove", "fragments.dove", "foreign-vtep.dove"} {
		t.Run("over IPv6, "+name, func(t *testing.T) {
			t.Parallel()
			play(t, "../scenarios/"+name, newLabWith(t, Options{Name: fmt.Sprintf("six%d", i), IPv6: true}))
		})
	}
	// What the kind of device could matter to is played by guests with taps too.
	for i, name := range []string{"migrate.dove", "trunk.dove"} {
		t.Run("by taps, "+name, func(t *testing.T) {
			t.Parallel()
			play(t, "../scenarios/"+name, newLab(t, fmt.Sprintf("tap%d", i)), func(st *Stage) { st.taps = true })
		})
	}
}

// play plays a scenario in a lab that is new.
func play(t *testing.T, file string, l *Lab, prepare ...func(*Stage)) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := scenario.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	st, err := NewStage(t.Context(), l, s)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, f := range prepare {
		f(st)
	}
	started := time.Now()
	defer func() { t.Logf("steps took %v", time.Since(started)) }()
	tally := scenario.Run(t.Context(), s, st, func(step scenario.Step, _ string, err error) {
		if err != nil && !errors.Is(err, scenario.ErrCannot) {
			line, _, _ := strings.Cut(step.Action.String(), "\n")
			t.Errorf("%s:%d: %s: %v", file, step.Line, line, err)
		}
	})
	if want := cannot[filepath.Base(file)]; tally.Skipped != want {
		t.Errorf("%d steps could not be carried out, want %d", tally.Skipped, want)
	}
}

// small is a world of one pair on two hosts.
const small = `scenario a pair
hosts h1 h2
blueprint acme <<END
apiVersion: dove/v1
kind: Blueprint
name: shop
networks:
  net: {subnets: [10.0.1.0/24]}
groups:
  web: {network: net}
  app: {network: net}
policies:
  - {name: web-app, from: web, to: app, allow: [tcp/8080]}
END
endpoint acme/web-1 groups=shop/web host=h1 addrs=10.0.1.11
endpoint acme/app-1 groups=shop/app host=h2 addrs=10.0.1.21
expect acme/web-1 -> acme/app-1 tcp/8080 allow rule=shop/web-app
`

// played makes a lab in which the story small has been played.
func played(t *testing.T, name string) (*Lab, *Stage, *scenario.Scenario) {
	t.Helper()
	l := newLab(t, name)
	st, s := playedIn(t, l, small)
	return l, st, s
}

// playedIn plays a story in a new lab.
func playedIn(t *testing.T, l *Lab, text string) (*Stage, *scenario.Scenario) {
	t.Helper()
	s, err := scenario.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	st, err := NewStage(t.Context(), l, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	if tally := scenario.Run(t.Context(), s, st, func(step scenario.Step, _ string, err error) {
		if err != nil {
			t.Fatalf("line %d: %v", step.Line, err)
		}
	}); tally.Failed > 0 {
		t.FailNow()
	}
	return st, s
}

// TestStoppedSwitch stops one dswitch and changes what it holds: the receipt
// names the host and completes only once the dswitch goes on.
func TestStoppedSwitch(t *testing.T) {
	l, st, s := played(t, "stop")
	h2, _ := l.Host("h2")
	h2.sw.pause(t)
	text := strings.Replace(s.Steps[0].Action.(scenario.ApplyBlueprint).Text, "tcp/8080", "tcp/9090", 1)
	rev, err := st.change(t.Context(), scenario.ApplyBlueprint{Tenant: "acme", Text: text})
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.api.Receipt(t.Context(), rev, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if r.Complete || len(r.Pending) != 1 || r.Pending[0] != dove.HostName("h2") {
		t.Errorf("receipt %+v: want incomplete, pending h2 alone", r)
	}
	if err := h2.sw.signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if _, err := l.WaitReceipt(t.Context(), rev); err != nil {
		t.Errorf("after the dswitch goes on: %v", err)
	}
}

// TestSweep removes what a lab left whose owner was killed.
func TestSweep(t *testing.T) {
	l, err := New(t.Context(), Options{Name: fmt.Sprintf("sweep-%d", os.Getpid()), Bin: programs(t)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.AddHost(t.Context(), "h1"); err != nil {
		t.Fatal(err)
	}
	if err := l.lock.Close(); err != nil { // as the kernel does when the owner dies
		t.Fatal(err)
	}
	if err := Sweep(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob("/run/netns/" + prefix(l.opt.Name) + "*")
	if err != nil || len(left) > 0 {
		t.Errorf("namespaces are left: %v %v", left, err)
	}
	if _, err := os.Stat(l.dir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", l.dir, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, p := range []*process{l.members[0].dpc, l.hosts[0].sw} {
		select {
		case <-p.done:
		case <-ctx.Done():
			t.Errorf("%s still runs", p.name)
		}
	}
}

// pause stops a program and waits until each of its threads has stopped: a signal
// that was sent need not have arrived.
func (p *process) pause(t *testing.T) {
	t.Helper()
	if err := p.signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	err := p.until(t.Context(), func() error {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
		for _, name := range stats {
			b, gone := os.ReadFile(name)
			if _, state, _ := strings.Cut(string(b), ") "); gone == nil && !strings.HasPrefix(state, "T") {
				err = fmt.Errorf("%s: %.1s, not stopped", name, state)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
