package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/api"
	"dove.network/auth"
	"dove.network/dove"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const token = "dove-admin.0123456789ab.0123456789abcdef0123456789abcdef01234567"

// serve runs a server with a certificate of a new authority, and returns the
// configuration of its clients.
func serve(t *testing.T, handler http.HandlerFunc) Config {
	t.Helper()
	now := time.Now()
	authority, err := auth.NewAuthority("test", now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.IssueServer("dpc1", nil, now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(t.Output(), "", 0)
	server.TLS = auth.APITLS(cert)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return Config{Server: server.URL, Token: token, CA: string(authority.CertificatePEM())}
}

func connect(t *testing.T, c Config) *Client {
	t.Helper()
	client, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func answer(w http.ResponseWriter, v any) { json.NewEncoder(w).Encode(v) }

func TestRequests(t *testing.T) {
	var got string
	c := connect(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = fmt.Sprintf("%s %s", r.Method, r.URL.RequestURI())
		for _, h := range []string{"If-Match", "If-None-Match", "Idempotency-Key", "Content-Type"} {
			if v := r.Header.Get(h); v != "" {
				got += fmt.Sprintf(" %s=%s", h, v)
			}
		}
		if len(body) > 0 {
			got += " " + string(body)
		}
		if r.Header.Get("Authorization") != "Bearer "+token || r.Header.Get("Accept") != "application/json" {
			t.Errorf("%s: headers %v", got, r.Header)
		}
		io.WriteString(w, "{}")
	}))
	ctx, web := t.Context(), dove.Endpoint{Tenant: "acme", ID: "web-1"}
	for want, call := range map[string]func() error{
		"PUT /v1/tenants/acme": func() error { _, err := c.PutTenant(ctx, "acme", nil); return err },
		"PUT /v1/tenants/acme If-None-Match=*": func() error {
			_, err := c.PutTenant(ctx, "acme", new(dove.Revision(0)))
			return err
		},
		`DELETE /v1/tenants/acme If-Match="17"`: func() error {
			_, err := c.DeleteTenant(ctx, "acme", new(dove.Revision(17)))
			return err
		},
		"PUT /v1/tenants/acme/blueprints/shop Content-Type=application/yaml a: [b]": func() error {
			_, err := c.PutBlueprint(ctx, "acme", "shop", []byte("a: [b]"), nil)
			return err
		},
		"POST /v1/tenants/acme/blueprints?plan=1-a Content-Type=application/yaml x": func() error {
			_, err := c.PutBlueprints(ctx, "acme", []byte("x"), "1-a")
			return err
		},
		"POST /v1/tenants/acme/plan Content-Type=application/yaml x": func() error {
			_, err := c.Plan(ctx, "acme", []byte("x"))
			return err
		},
		`PUT /v1/tenants/acme/endpoints/web-1/binding Content-Type=application/json {"host":"h1"}`: func() error {
			_, err := c.BindEndpoint(ctx, web, "h1", nil)
			return err
		},
		"DELETE /v1/tenants/acme/endpoints/web-1/binding": func() error { _, err := c.UnbindEndpoint(ctx, web, nil); return err },
		"GET /v1/tenants/acme/endpoints?group=shop%2Fweb&host=h1": func() error {
			_, err := c.Endpoints(ctx, "acme", api.EndpointFilter{Group: "shop/web", Host: "h1"})
			return err
		},
		"PUT /v1/tenants/acme Idempotency-Key=a b": func() error {
			_, err := c.WithRequestID("a b").PutTenant(ctx, "acme", nil)
			return err
		},
		`DELETE /v1/tenants/acme/endpoints/web-1 If-Match="3" Idempotency-Key=1`: func() error {
			_, err := c.WithRequestID("1").DeleteEndpoint(ctx, web, new(dove.Revision(3)))
			return err
		},
		"POST /v1/tokens":          func() error { _, err := c.WithRequestID("1").CreateToken(ctx, ""); return err },
		"GET /v1/tenants":          func() error { _, err := c.WithRequestID("1").Tenants(ctx, api.TenantFilter{}); return err },
		"GET /v1/tenants?prefix=a": func() error { _, err := c.Tenants(ctx, api.TenantFilter{Prefix: "a"}); return err },
		"GET /v1/tokens":           func() error { _, err := c.Tokens(ctx); return err },
		"GET /v1/hosts?behind=true&connected=true": func() error {
			_, err := c.Hosts(ctx, api.HostFilter{Connected: "true", Behind: "true"})
			return err
		},
		`PUT /v1/tenants/acme/routers/core Content-Type=application/json {"networks":["front"],"addresses":{"front":["10.0.1.9"]},"routes":[{"to":"0.0.0.0/0","via":["10.0.1.7"]}]}`: func() error {
			_, err := c.PutRouter(ctx, dove.Router{Tenant: "acme", Name: "core"}, api.RouterSpec{Networks: []string{"front"},
				Addresses: map[string][]string{"front": {"10.0.1.9"}}, Routes: []api.Route{{To: "0.0.0.0/0", Via: []string{"10.0.1.7"}}}}, nil)
			return err
		},
		"GET /v1/tenants/acme/routers?network=front": func() error {
			_, err := c.Routers(ctx, "acme", api.RouterFilter{Network: "front"})
			return err
		},
		"GET /v1/tenants/acme/networks?blueprint=shop&domain=d": func() error {
			_, err := c.Networks(ctx, "acme", api.NetworkFilter{Domain: "d", Blueprint: "shop"})
			return err
		},
		"GET /v1/tenants/acme/resolutions?from=web-1&to=10.0.0.1": func() error {
			_, err := c.Resolve(ctx, "acme", api.Resolving{From: "web-1", To: "10.0.0.1"})
			return err
		},
		`POST /v1/hosts/h1/token Content-Type=application/json {"seconds":90}`: func() error {
			_, err := c.CreateJoinToken(ctx, "h1", 90*time.Second)
			return err
		},
		"GET /v1/tenants/acme/why?from=web-1&port=53&proto=udp&to=fd00%3A%3A1": func() error {
			_, err := c.Why(ctx, "acme", api.Flow{From: "web-1", To: "fd00::1", Proto: "udp", Port: "53"})
			return err
		},
		"GET /v1/receipts/7?wait=1.5s": func() error { _, err := c.Receipt(ctx, 7, 1500*time.Millisecond); return err },
		"GET /v1/receipts/7":           func() error { _, err := c.Receipt(ctx, 7, 0); return err },
	} {
		got = ""
		if err := call(); err != nil || got != want {
			t.Errorf("sent %q, want %q, error %v", got, want, err)
		}
	}
	for _, bad := range []dove.EndpointID{"", ".", "..", "a/b", "a?b", "A"} {
		got = ""
		_, err := c.DeleteEndpoint(ctx, dove.Endpoint{Tenant: "acme", ID: bad}, nil)
		if dove.KindOf(err) != dove.Invalid || got != "" {
			t.Errorf("endpoint %q: sent %q, error %v", bad, got, err)
		}
	}
}

func TestLists(t *testing.T) {
	names := []dove.Tenant{"a", "b", "c", "d", "e"}
	c := connect(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		rest := names[slices.Index(names, dove.Tenant(r.URL.Query().Get("after")))+1:]
		part := api.List[api.Tenant]{Items: []api.Tenant{}}
		for _, n := range rest[:min(2, len(rest))] {
			part.Items = append(part.Items, api.Tenant{Name: n})
		}
		if len(rest) > 2 {
			part.Next = string(rest[1])
		}
		answer(w, part)
	}))
	all, err := c.Tenants(t.Context(), api.TenantFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var got []dove.Tenant
	for _, tenant := range all {
		got = append(got, tenant.Name)
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Error(diff)
	}
}

func TestRefusals(t *testing.T) {
	faults := []dove.Fault{{Path: "name", Line: 3, Column: 7, Message: "m", Hint: "h"}}
	var handler http.HandlerFunc
	conf := serve(t, func(w http.ResponseWriter, r *http.Request) { handler(w, r) })
	problem := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(status)
			io.WriteString(w, text)
		}
	}
	everything, err := json.Marshal(api.Problem{Status: 422, Kind: "unsupported", Detail: "d", Errors: faults})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    dove.Error
	}{
		"a problem with faults": {problem(422, string(everything)), dove.Error{Kind: dove.Unsupported, Message: "d", Faults: faults}},
		"a kind of the future":  {problem(418, `{"kind": "teapot", "detail": "d"}`), dove.Error{Kind: dove.Internal, Message: "d"}},
		"another server": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) },
			dove.Error{Kind: dove.Internal, Message: "the server answered 403 Forbidden, and not as a DPC does: is the address right?"}},
		"a redirect": {http.RedirectHandler("https://192.0.2.1/", http.StatusFound).ServeHTTP,
			dove.Error{Kind: dove.Internal, Message: "the server answered 302 Found, and not as a DPC does: is the address right?"}},
		"an answer that is none": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") },
			dove.Error{Kind: dove.Internal, Message: "the answer of " + conf.Server + " cannot be read: invalid character 'h' looking for beginning of value"}},
	} {
		handler = c.handler
		_, err := connect(t, conf).Status(t.Context())
		got, ok := errors.AsType[*dove.Error](err)
		if !ok {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(c.want, *got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

func TestUnreachable(t *testing.T) {
	hold := make(chan struct{})
	conf := serve(t, func(http.ResponseWriter, *http.Request) { <-hold })
	t.Cleanup(func() { close(hold) })

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := connect(t, conf).Status(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody answers: %v", err)
	}
	other := conf
	other.CA = serve(t, nil).CA
	if _, err := connect(t, other).Status(t.Context()); dove.KindOf(err) != dove.Unauthorized {
		t.Errorf("another authority: %v", err)
	}
	dialled := ""
	away := conf
	away.Server = "dpc.example:7443"
	away.DialContext = func(_ context.Context, _, address string) (net.Conn, error) {
		dialled = address
		return nil, errors.New("no way there")
	}
	_, err := connect(t, away).Status(t.Context())
	if dove.KindOf(err) != dove.Unavailable || dialled != away.Server || !strings.Contains(err.Error(), "no way there") {
		t.Errorf("no way: dialled %q, %v", dialled, err)
	}
}

// TestSeveralServers asks the first member that can be reached, and keeps to it.
func TestSeveralServers(t *testing.T) {
	conf := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, api.Status{Member: "dpc-2"}) })
	up := strings.TrimPrefix(conf.Server, "https://")
	var dialled []string
	conf.Server = "192.0.2.1:7443, https://" + up
	conf.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dialled = append(dialled, address); address != up {
			return nil, errors.New("no way there")
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	c := connect(t, conf)
	for range 2 {
		if s, err := c.Status(t.Context()); err != nil || s.Member != "dpc-2" {
			t.Fatalf("status %+v, %v", s, err)
		}
		c.Close()
	}
	if !slices.Equal(dialled, []string{"192.0.2.1:7443", up, up}) {
		t.Errorf("dialled %v", dialled)
	}
	if want := "https://192.0.2.1:7443,https://" + up; c.Server() != want {
		t.Errorf("it says that it asks %s, not %s", c.Server(), want)
	}
	conf.Server += ",http://192.0.2.3"
	if _, err := New(conf); dove.KindOf(err) != dove.Invalid {
		t.Errorf("a wrong one among good ones: %v", err)
	}
}

func TestConfig(t *testing.T) {
	good := serve(t, nil)
	file := filepath.Join(t.TempDir(), "admin.yaml")
	for range 2 { // the second replaces the first
		if err := good.Save(file); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file: %v, %v", info.Mode(), err)
	}
	back, err := Load(file)
	if diff := cmp.Diff(good, back, cmpopts.IgnoreFields(Config{}, "DialContext")); err != nil || diff != "" {
		t.Errorf("read back: %v\n%s", err, diff)
	}
	if err := os.WriteFile(file, []byte("server: ftp://x\ntokens: a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Load(file)
	for _, says := range []string{"2:1: unknown setting \"tokens\" (did you mean \"token\"?)", "\n  token: it is missing", "\n  ca: it is missing"} {
		if dove.KindOf(err) != dove.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not say %q", err, says)
		}
	}
	for name, change := range map[string]func(*Config){
		"no server":   func(c *Config) { c.Server = "" },
		"plain HTTP":  func(c *Config) { c.Server = "http://127.0.0.1:1" },
		"a path":      func(c *Config) { c.Server += "/v1" },
		"a user":      func(c *Config) { c.Server = "https://me@127.0.0.1:1" },
		"no token":    func(c *Config) { c.Token = "" },
		"other token": func(c *Config) { c.Token = "dove-join.1.2.3" },
		"no ca":       func(c *Config) { c.CA = "" },
		"bad ca":      func(c *Config) { c.CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" },
	} {
		bad := good
		change(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
