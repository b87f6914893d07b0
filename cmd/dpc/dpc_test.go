package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/auth"
	"dove.network/control"
	"dove.network/control/stream"
	"dove.network/daemon/daemontest"
	"dove.network/dove"
)

const shop = `apiVersion: dove/v1
kind: Blueprint
name: shop
networks:
  front: {subnets: [10.0.1.0/24]}
groups:
  web: {network: front}
`

// start runs a member in this process and returns once it serves.
func start(t *testing.T, s settings) (c *client.Client, stop func()) {
	t.Helper()
	admin, err := client.Load(filepath.Join(s.State, adminFile))
	if err != nil {
		t.Fatal(err)
	}
	c, end := startAs(t, s, admin)
	return c, func() {
		t.Helper()
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}

// startAs is start of a member that somebody else's administrator asks. What it
// returns stops the member and returns how it ended.
func startAs(t *testing.T, s settings, admin client.Config) (c *client.Client, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { stop() })
	c, err := client.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	// The listeners are open before the store is, so a request waits until the
	// member serves; only before that is it refused.
	within, cancelWait := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancelWait()
	for {
		_, err := c.Status(within)
		if err == nil {
			return c, stop
		}
		select {
		case err := <-ended:
			t.Fatalf("the member ended: %v", err)
		case <-within.Done():
			t.Fatalf("the member does not serve: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestMember(t *testing.T) {
	state := filepath.Join(t.TempDir(), "dpc")
	s := settings{State: state, Listen: addresses{API: daemontest.FreeAddress(t), Control: daemontest.FreeAddress(t)}}
	var printed bytes.Buffer
	first := initial{State: state, Name: "dpc-1", Advertise: []string{s.Listen.API}}
	if err := first.init(&printed); err != nil {
		t.Fatal(err)
	}
	if err := first.init(&printed); dove.KindOf(err) != dove.Exists {
		t.Errorf("init again: %v", err)
	}
	admin := must[client.Config](t)(client.Load(filepath.Join(state, adminFile)))
	if !strings.Contains(printed.String(), admin.Token) || strings.Count(printed.String(), admin.Token) != 1 {
		t.Errorf("init does not print the token once: %s", printed.String())
	}

	c, stop := start(t, s)
	if _, err := os.Stat(filepath.Join(state, tokenFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the first token is still beside the store: %v", err)
	}
	status := must[api.Status](t)(c.Status(t.Context()))
	must[api.Tenant](t)(c.PutTenant(t.Context(), "acme", nil))
	must[api.Blueprint](t)(c.PutBlueprint(t.Context(), "acme", "shop", []byte(shop), nil))

	token := must[api.JoinToken](t)(c.CreateJoinToken(t.Context(), "h1", time.Minute))
	parsed := must[auth.Token](t)(auth.ParseToken(auth.JoinToken, token.Token))
	vtep := netip.MustParseAddr("192.0.2.1")
	old := must[*auth.HostCredentials](t)(auth.Join(t.Context(), s.Listen.API, parsed, "h1", vtep))
	token = must[api.JoinToken](t)(c.CreateJoinToken(t.Context(), "h1", time.Minute))
	parsed = must[auth.Token](t)(auth.ParseToken(auth.JoinToken, token.Token))
	host := must[*auth.HostCredentials](t)(auth.Join(t.Context(), s.Listen.API, parsed, "h1", vtep))

	if _, err := stream.Dial(t.Context(), []string{s.Listen.Control}, old.TLS()); dove.KindOf(err) != dove.Unauthorized {
		t.Errorf("a certificate that was replaced: %v", err)
	}
	conn := must[control.HostConn](t)(stream.Dial(t.Context(), []string{s.Listen.Control}, host.TLS()))
	hello := &control.Hello{Version: control.Version, Host: "h1", VTEP: vtep, Software: "test 0"}
	if err := conn.Send(hello); err != nil {
		t.Fatal(err)
	}
	welcome, ok := must[control.Down](t)(conn.Recv()).(*control.Welcome)
	if !ok || welcome.Member != "dpc-1" || welcome.Incarnation == 0 {
		t.Fatalf("the member says %+v", welcome)
	}
	endpoint := must[api.Endpoint](t)(c.PutEndpoint(t.Context(), dove.Endpoint{Tenant: "acme", ID: "web-1"}, api.EndpointSpec{Groups: []string{"shop/web"}, Host: "h1"}, nil))
	assigned := false
	for frontier := dove.Revision(0); frontier < endpoint.Revision; {
		switch m := must[control.Down](t)(conn.Recv()).(type) {
		case *control.Assign:
			assigned = assigned || m.Endpoint.ID == "web-1" && m.Address[0].Addr.String() == endpoint.Addresses[0]
		case *control.Frontier:
			frontier = m.Revision
			if frontier >= endpoint.Revision {
				r := must[api.Receipt](t)(c.Receipt(t.Context(), endpoint.Revision, 0))
				if r.Complete || len(r.Pending) != 1 || r.Pending[0] != "h1" {
					t.Errorf("before it is acknowledged the receipt is %+v", r)
				}
			}
			if err := conn.Send(&control.Ack{Revision: m.Revision}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !assigned {
		t.Error("the endpoint was not assigned before its frontier")
	}
	if r := must[api.Receipt](t)(c.Receipt(t.Context(), endpoint.Revision, 10*time.Second)); !r.Complete || r.Told != 1 {
		t.Errorf("receipt %+v", r)
	}

	stop()
	for err := error(nil); err == nil; _, err = conn.Recv() {
	}
	conn.Close()

	// What was written is there again, under the same incarnation.
	c, stop = start(t, s)
	defer stop()
	if again := must[api.Status](t)(c.Status(t.Context())); again.Incarnation != status.Incarnation || again.Revision < endpoint.Revision || again.Endpoints != 1 {
		t.Errorf("after a restart the member knows %+v", again)
	}
	if e := must[api.Endpoint](t)(c.Endpoint(t.Context(), dove.Endpoint{Tenant: "acme", ID: "web-1"})); e.UID != endpoint.UID || e.Revision != endpoint.Revision {
		t.Errorf("after a restart the endpoint is %+v", e)
	}
}

func TestChecks(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"no authority":      {[]string{"run", "--state", t.TempDir(), "--api", "127.0.0.1:0", "--control", "127.0.0.1:0"}, "run dpc init"},
		"bad addresses":     {[]string{"run", "--api", "x", "--control", "y"}, `"y" is not of the form host:port`},
		"bad name":          {[]string{"init", "--name", "No"}, "lower-case"},
		"half a name":       {[]string{"run", "--etcd-endpoints", "a:1", "--etcd-user", "dove"}, "go together"},
		"small quota":       {[]string{"run", "--etcd-quota", "1"}, "at least 16"},
		"nobody to join":    {[]string{"join", "-"}, "host:port"},
		"nowhere":           {[]string{"join", "-", "--name", "dpc-2", "--server", "a:1"}, "under which addresses others reach"},
		"half of it":        {[]string{"join", "-", "--name", "dpc-2", "--server", "a:1", "--advertise", "h", "--advertise-etcd", "h"}, "host:port"},
		"a port too many":   {[]string{"join", "-", "--name", "dpc-2", "--server", "a:1", "--advertise", "h:7443"}, "one by one"},
		"no file":           {[]string{"restore", "/nonexistent"}, "no such file"},
		"no administrator":  {[]string{"backup", "/nonexistent/x", "--state", t.TempDir()}, "admin.yaml"},
		"half a pair":       {[]string{"run", "--etcd-endpoints", "a:1", "--etcd-cert", "c"}, "go together"},
		"no cluster":        {[]string{"run", "--etcd-ca", "c"}, "no cluster"},
		"bad advertisement": {[]string{"init", "--advertise", "host"}, "host:port"},
		"unknown flag":      {[]string{"run", "--nothing"}, "unknown flag"},
		"stray word":        {[]string{"run", "now"}, "takes no arguments"},
	} {
		cmd := command()
		cmd.SetArgs(c.args)
		cmd.SetOut(t.Output())
		cmd.SetErr(t.Output())
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v does not say %q", name, err, c.says)
		}
	}
}

func TestCheckPrintsSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dpc.yaml")
	if err := os.WriteFile(file, []byte("state: /somewhere\napi: 192.0.2.9:7443\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"run", "--config", file, "--control", ":9999", "--check"})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"state: /somewhere", "api: 192.0.2.9:7443", "9999"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, out.String())
		}
	}
}
