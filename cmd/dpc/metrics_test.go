package main

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dove.network/daemon/daemontest"
)

// TestOperation runs a member as a service manager would, and watches it.
func TestOperation(t *testing.T) {
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	t.Setenv("NOTIFY_SOCKET", notify.LocalAddr().String())
	t.Setenv("WATCHDOG_USEC", "60000000")
	heard := make(chan string, 16)
	go func() {
		defer close(heard)
		for b := make([]byte, 1024); ; {
			n, err := notify.Read(b)
			if err != nil {
				return
			}
			heard <- string(b[:n])
		}
	}()
	hear := func(want string) {
		t.Helper()
		for {
			select {
			case text := <-heard:
				if strings.HasPrefix(text, want) {
					return
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("the member does not say %s", want)
			}
		}
	}

	s := settings{State: filepath.Join(t.TempDir(), "dpc"), Listen: addresses{API: daemontest.FreeAddress(t), Control: daemontest.FreeAddress(t)}, Metrics: daemontest.FreeAddress(t)}
	first := initial{State: s.State, Name: "dpc-1", Advertise: []string{s.Listen.API}}
	if err := first.init(io.Discard); err != nil {
		t.Fatal(err)
	}
	c, stop := start(t, s)
	hear("WATCHDOG=1")
	hear("READY=1\nSTATUS=member dpc-1")
	if _, err := c.PutTenant(t.Context(), "acme", nil); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		r, err := http.Get("http://" + s.Metrics + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	values := daemontest.Scrape(t, http.DefaultClient, s.Metrics, "dove_")
	values.Want(t, daemontest.Values{
		"dove_dpc_following":                             1,
		"dove_dpc_store_up":                              1,
		"dove_dpc_watch_lag_revisions":                   0,
		"dove_dpc_sessions":                              0,
		"dove_dpc_store_request_seconds{operation=load}": 1,
		"dove_dpc_store_errors_total{kind=unavailable,operation=commit}": 0,
		"dove_dpc_api_requests_in_flight":                                0,
	})
	for _, name := range []string{
		"dove_dpc_certificate_expiry_timestamp_seconds", "dove_dpc_store_request_seconds{operation=commit}", "dove_dpc_world_revision",
		"dove_dpc_api_requests_total{code=200,method=get}", "go_goroutines", "process_resident_memory_bytes", "etcd_mvcc_db_total_size_in_bytes",
	} {
		if values[name] <= 0 {
			t.Errorf("%s is %v", name, values[name])
		}
	}
	values.Documented(t, "dove_dpc_", "../../docs/operations.md")
	http.DefaultClient.CloseIdleConnections()
	stop()
	hear("STOPPING=1")
}

// TestDeployed checks what deploy/ has for this program.
func TestDeployed(t *testing.T) {
	cmd := command()
	cmd.SetOut(t.Output())
	cmd.SetArgs([]string{"run", "--config", "../../deploy/dpc.yaml", "--check"})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Error(err)
	}
	daemontest.Unit(t, "../../deploy/dpc.service", 12)
}
