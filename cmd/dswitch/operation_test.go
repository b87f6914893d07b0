package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dove.network/daemon"
	"dove.network/daemon/daemontest"
)

const metricsAddress = "127.0.0.1:7446" // in each host's own namespace

// manager is a service manager that the programs tell how they are.
type manager struct {
	*daemon.Keeper
	heard chan string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{heard: make(chan string, 1024)} // it is told a few things a minute
	var err error
	m.Keeper, err = daemon.NewKeeper(filepath.Join(t.TempDir(), "notify"), func(s string) { m.heard <- s })
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	return m
}

// hears waits until the manager is told something.
func (m *manager) hears(t *testing.T, want string) {
	t.Helper()
	for limit := time.After(20 * time.Second); ; {
		select {
		case s := <-m.heard:
			if s == want {
				return
			}
		case <-limit:
			t.Fatalf("the program does not say %q", want)
		}
	}
}

// metrics scrapes a host's program.
func (m *machine) metrics() daemontest.Values {
	m.t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		m.space.do(m.t, func() error {
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	return daemontest.Scrape(m.t, &http.Client{Transport: transport}, metricsAddress, "dove_")
}

// TestDeployed checks what deploy/ has for this program.
func TestDeployed(t *testing.T) {
	cmd := command()
	cmd.SetOut(t.Output())
	cmd.SetArgs([]string{"run", "--config", "../../deploy/dswitch.yaml", "--check"})
	must(t, cmd.ExecuteContext(t.Context()))
	daemontest.Unit(t, "../../deploy/dswitch.service", 24)
}

// TestCheckBeforeJoin refuses a machine that cannot switch before the token,
// which is good once, is used up.
func TestCheckBeforeJoin(t *testing.T) {
	s := defaults()
	s.State, s.Pins, s.Underlay = t.TempDir(), t.TempDir(), netip.MustParseAddr("127.0.0.1")
	s.Host, s.Join = "h1", "dove-join.id.secret.pin" // whoever looked at it would refuse it
	err := run(t.Context(), s, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "bpffs is not mounted") {
		t.Error(err)
	}
}
