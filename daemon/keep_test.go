package daemon

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test's own binary be a program that is kept something for.
func TestMain(m *testing.M) {
	if os.Getenv("DAEMON_TEST_PROGRAM") != "" {
		program(os.Getenv("DAEMON_TEST_PROGRAM"))
		return
	}
	os.Exit(m.Run())
}

// program has the read end of a pipe kept in its first run, and says in its second
// what came meanwhile.
func program(run string) {
	s, err := NewSupervisor(os.Getenv, os.Getpid(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err == nil && run == "first" {
		var r, w *os.File
		if r, w, err = os.Pipe(); err == nil {
			if err = s.Keep("ends", r); err == nil {
				_, err = io.WriteString(w, "meanwhile")
			}
			s.Tell(Ready)
		}
	} else if err == nil {
		b := make([]byte, 16)
		var n int
		f := s.Kept("ends")
		if f == nil {
			err = fmt.Errorf("nothing was kept")
		} else if n, err = f.Read(b); err == nil {
			fmt.Print(string(b[:n]))
		}
		if s.Kept("ends") != nil || s.Kept("other") != nil {
			err = fmt.Errorf("kept twice")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestKeep has a program keep a descriptor over its restart.
func TestKeep(t *testing.T) {
	heard := make(chan string, 8)
	k, err := NewKeeper(filepath.Join(t.TempDir(), "notify"), func(s string) { heard <- s })
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(which string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), "DAEMON_TEST_PROGRAM="+which)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, t.Output()
		if err := k.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%s run: %v", which, err)
		}
		return out.String()
	}
	run("first")
	if s := <-heard; s != Ready || !slices.Equal(k.Names(), []string{"ends"}) {
		t.Errorf("heard %q, kept are %v", s, k.Names())
	}
	if got := run("second"); got != "meanwhile" {
		t.Errorf("came %q", got)
	}
	// It is still kept, until another takes its place or it is let go.
	supervisor := supervisor(t, map[string]string{"NOTIFY_SOCKET": k.conn.LocalAddr().String()})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := supervisor.Keep("ends", w); err != nil {
		t.Fatal(err)
	}
	supervisor.Tell(Stopping)
	<-heard
	w.Close()
	if err := k.Forget(); err != nil || len(k.Names()) != 0 {
		t.Errorf("kept are %v, %v", k.Names(), err)
	}
	r.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("somebody still has what was let go: %v", err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func TestNothingKept(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"nobody":    nil,
		"another's": {"LISTEN_FDS": "1", "LISTEN_PID": "43", "LISTEN_FDNAMES": "tap"},
		"no name":   {"LISTEN_FDS": "0", "LISTEN_PID": "42"},
	} {
		s := supervisor(t, env)
		if s.Kept("tap") != nil || s.Keeps() {
			t.Errorf("%s: something is kept", name)
		}
		if err := s.Keep("tap", nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"x", "-1", "100000"} {
		env := map[string]string{"LISTEN_FDS": text, "LISTEN_PID": "1"}
		if _, err := NewSupervisor(func(key string) string { return env[key] }, 1, nil); err == nil {
			t.Errorf("LISTEN_FDS=%s is taken", text)
		}
	}
	// One that speaks otherwise is ignored.
	k, err := NewKeeper(filepath.Join(t.TempDir(), "notify"), nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unixgram", k.conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "FDSTORE=1\nFDNAME=a", "FDSTOREREMOVE=1\nFDNAME=b", "nonsense"} {
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	conn.Close()
	if err := k.Close(); err != nil || len(k.Names()) != 0 {
		t.Errorf("kept are %v, %v", k.Names(), err)
	}
}
