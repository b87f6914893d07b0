package main

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/auth"
	"dove.network/control"
	"dove.network/control/stream"
	"dove.network/dove"
)

// TestRestore puts an old backup back under a host that has seen more.
func TestRestore(t *testing.T) {
	state := filepath.Join(t.TempDir(), "dpc")
	s := settings{State: state, API: freeAddress(t), Control: freeAddress(t)}
	if err := (&initial{State: state, Name: "dpc-1", Advertise: []string{s.API}}).init(io.Discard); err != nil {
		t.Fatal(err)
	}
	c, stop := start(t, s)
	must[api.Tenant](t)(c.PutTenant(t.Context(), "acme", nil))
	vtep := netip.MustParseAddr("192.0.2.1")
	host := joinHost(t, c, s.API, vtep)
	stop()
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	c, stop = start(t, s)
	must[api.Tenant](t)(c.PutTenant(t.Context(), "globex", nil))
	seen := must[api.Status](t)(c.Status(t.Context()))
	stop()

	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(state, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	hello := func() control.Down {
		t.Helper()
		conn := must[control.HostConn](t)(stream.Dial(t.Context(), []string{s.Control}, host.TLS()))
		defer conn.Close()
		incarnation := must[uint64](t)(strconv.ParseUint(seen.Incarnation, 16, 64))
		if err := conn.Send(&control.Hello{Version: control.Version, Host: "h1", VTEP: vtep, Incarnation: incarnation, Seen: seen.Revision}); err != nil {
			t.Fatal(err)
		}
		return must[control.Down](t)(conn.Recv())
	}
	_, stop = start(t, s)
	if m, ok := hello().(*control.Refusal); !ok || m.Kind != dove.Unavailable {
		t.Errorf("an older world that nobody declared restored says %+v", m)
	}
	stop()

	if err := markRestored(filepath.Dir(state)); err == nil {
		t.Error("a folder without an authority is taken for a state folder")
	}
	if err := markRestored(state); err != nil {
		t.Fatal(err)
	}
	c, stop = start(t, s)
	if m, ok := hello().(*control.Welcome); !ok {
		t.Errorf("the restored world says %+v", m)
	}
	renewed := must[api.Status](t)(c.Status(t.Context()))
	if renewed.Incarnation == seen.Incarnation || renewed.Tenants != 1 {
		t.Errorf("restored: %+v", renewed)
	}
	stop()
	c, stop = start(t, s)
	defer stop()
	if again := must[api.Status](t)(c.Status(t.Context())); again.Incarnation != renewed.Incarnation {
		t.Error("another start gives another incarnation")
	}
}

// joinHost has host h1 join.
func joinHost(t *testing.T, c *client.Client, server string, vtep netip.Addr) *auth.HostCredentials {
	t.Helper()
	token := must[api.JoinToken](t)(c.CreateJoinToken(t.Context(), "h1", time.Minute))
	parsed := must[auth.Token](t)(auth.ParseToken(auth.JoinToken, token.Token))
	return must[*auth.HostCredentials](t)(auth.Join(t.Context(), server, parsed, "h1", vtep))
}
