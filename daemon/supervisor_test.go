package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// manager is a service manager that listens.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newManager(t *testing.T, name string) *manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &manager{t, conn, name}
}

func (m *manager) hear() string {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		m.t.Fatal(err)
	}
	b := make([]byte, 1024)
	n, err := m.conn.Read(b)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b[:n])
}

func supervisor(t *testing.T, env map[string]string) Supervisor {
	t.Helper()
	s, err := NewSupervisor(func(key string) string { return env[key] }, 42, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTell(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), "@dove-daemon-test-" + filepath.Base(t.TempDir()) + t.Name()} {
		m := newManager(t, name)
		s := supervisor(t, map[string]string{"NOTIFY_SOCKET": name})
		s.Tell(Ready, "STATUS=in order")
		if heard := m.hear(); heard != "READY=1\nSTATUS=in order" {
			t.Errorf("%s: heard %q", name, heard)
		}
		s.Tell(Stopping)
		if heard := m.hear(); heard != "STOPPING=1" {
			t.Errorf("%s: heard %q", name, heard)
		}
	}
	supervisor(t, nil).Tell(Ready)                                                                  // nobody there
	supervisor(t, map[string]string{"NOTIFY_SOCKET": filepath.Join(t.TempDir(), "no")}).Tell(Ready) // nobody listens
}

// TestWatch has a program that is alive, is not, and is again.
func TestWatch(t *testing.T) {
	m := newManager(t, filepath.Join(t.TempDir(), "notify"))
	s := supervisor(t, map[string]string{"NOTIFY_SOCKET": m.path, "WATCHDOG_USEC": "30000", "WATCHDOG_PID": "42"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	asked := 0
	go func() {
		done <- s.Watch(ctx, func(ctx context.Context) error {
			asked++
			switch asked {
			case 1, 4:
				return nil
			case 2:
				return errors.New("broken")
			case 3:
				<-ctx.Done() // does not answer
				return ctx.Err()
			default:
				cancel()
				return ctx.Err()
			}
		})
	}()
	for range 2 {
		if heard := m.hear(); heard != "WATCHDOG=1" {
			t.Errorf("heard %q", heard)
		}
	}
	if err := <-done; err != nil || asked != 5 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

func TestNoWatch(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"nobody":     nil,
		"none asked": {"NOTIFY_SOCKET": "/nowhere"},
		"another's":  {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "43"},
	} {
		if s := supervisor(t, env); s.watchdog != 0 {
			t.Errorf("%s: watches every %v", name, s.watchdog)
		}
	}
	for _, text := range []string{"x", "-1", "0"} {
		env := map[string]string{"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": text}
		if _, err := NewSupervisor(func(key string) string { return env[key] }, 1, nil); err == nil {
			t.Errorf("WATCHDOG_USEC=%s is taken", text)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := supervisor(t, nil).Watch(ctx, nil); err != nil {
		t.Error(err)
	}
}

func TestTogether(t *testing.T) {
	broken := errors.New("broken")
	waits := func(ctx context.Context) error { <-ctx.Done(); return nil }
	if err := Together(t.Context(), waits, func(context.Context) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a part that fails: %v", err)
	}
	if err := Together(t.Context(), waits, func(context.Context) error { return nil }); err == nil {
		t.Error("a part that ends is no failure")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Together(ctx, waits, waits); err != nil {
		t.Errorf("stopped: %v", err)
	}
}
