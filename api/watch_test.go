package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"dove.network/auth"
	"dove.network/dove"
	"dove.network/world"
)

// follow begins a watch and returns what reads its next line; "" at the end.
func (r *rig) follow(ctx context.Context, path string) func() string {
	r.t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.server.URL+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	answer, err := r.client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { answer.Body.Close() })
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != linesType {
		r.t.Fatalf("%s: %s %v", path, answer.Status, answer.Header)
	}
	text := bufio.NewScanner(answer.Body)
	text.Buffer(nil, 4<<20)
	return func() string {
		if !text.Scan() {
			return ""
		}
		return text.Text()
	}
}

// gist tells a line in short.
func gist(t *testing.T, line string) string {
	t.Helper()
	var l WatchLine
	if err := json.Unmarshal([]byte(line), &l); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	var parts []string
	for _, c := range l.Changes {
		part := fmt.Sprintf("%s %s %s/%s", c.Op, c.Kind, c.Tenant, c.Name)
		if (c.Op == "put") != (c.Resource != nil) {
			t.Errorf("%s with resource %v", part, c.Resource)
		}
		if resource, ok := c.Resource.(map[string]any); ok && resource["revision"] != float64(l.Revision) {
			t.Errorf("%s is of revision %v in a line of %d", part, resource["revision"], l.Revision)
		}
		parts = append(parts, part)
	}
	if l.Error != nil {
		parts = append(parts, fmt.Sprint(l.Error.Status))
	}
	return strings.Join(parts, ", ")
}

func TestWatch(t *testing.T) {
	r := newRig(t)
	yaml := "Content-Type: application/yaml"
	start := r.backend.World().Revision()
	all, acme := r.follow(t.Context(), "/v1/watch"), r.follow(t.Context(), fmt.Sprintf("/v1/watch?after=%d", start))
	r.ok(nil, "PUT /v1/tenants/acme", "")
	r.ok(nil, "PUT /v1/tenants/bolt", "")
	tenant := r.follow(t.Context(), fmt.Sprintf("/v1/tenants/acme/watch?after=%d", start))
	r.ok(nil, "PUT /v1/tenants/acme/blueprints/shop", shop, yaml, key("1"))
	r.ok(nil, "PUT /v1/tenants/bolt/blueprints/shop", shop, yaml)
	r.ok(nil, "PUT /v1/hosts/h1", `{"vtep":"192.0.2.1"}`)
	r.ok(nil, "POST /v1/hosts/h1/token", `{"seconds":60}`)
	r.ok(nil, "POST /v1/tokens", "")
	r.ok(nil, "PUT /v1/tenants/acme/endpoints/web-1", `{"groups":["shop/web"],"host":"h1"}`)
	r.ok(nil, "DELETE /v1/tenants/acme/endpoints/web-1", "")
	r.ok(nil, "DELETE /v1/tenants/acme/blueprints/shop", "")
	r.ok(nil, "DELETE /v1/tenants/acme", "")
	own := []string{
		"put tenant acme/acme", "put blueprint acme/shop, put network acme/front",
		"put endpoint acme/web-1", "delete endpoint acme/web-1",
		"delete blueprint acme/shop, delete network acme/front", "delete tenant acme/acme",
	}
	everything := []string{
		own[0], "put tenant bolt/bolt", own[1], "put blueprint bolt/shop, put network bolt/front",
		"put host /h1", own[2], own[3], own[4], own[5],
	}
	for name, w := range map[string]struct {
		next func() string
		want []string
	}{"everything": {all, everything}, "everything, by revision": {acme, everything}, "acme": {tenant, own}} {
		if first := w.next(); first != fmt.Sprintf(`{"revision":%d}`, start) {
			t.Errorf("%s begins with %s", name, first)
		}
		for _, want := range w.want {
			if got := gist(t, w.next()); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	}
}

// TestWatchResource compares what a watch tells with what a GET does.
func TestWatchResource(t *testing.T) {
	r := newRig(t)
	next := r.follow(t.Context(), "/v1/watch")
	next()
	for _, step := range []struct{ path, body, blank string }{
		{"/v1/tenants/acme", "", ""},
		{"/v1/hosts/h1", `{"vtep":"192.0.2.1"}`, ""},
		{"/v1/tenants/acme/blueprints/shop", shop, ""},
		{"/v1/tenants/acme/networks/back", `{"domain":"shop","subnets":["10.0.2.0/24"]}`, ""},
		{"/v1/tenants/acme/endpoints/web-1", `{"groups":["shop/web"]}`, `"state":"unbound",`},
	} {
		r.ok(nil, "PUT "+step.path, step.body)
		var line struct {
			Changes []struct{ Resource json.RawMessage }
		}
		if err := json.Unmarshal([]byte(next()), &line); err != nil {
			t.Fatal(err)
		}
		want := strings.Replace(strings.TrimSpace(r.ok(nil, "GET "+step.path, "").text), step.blank, "", 1)
		if got := string(line.Changes[0].Resource); got != want {
			t.Errorf("%s: a watch tells %s, a GET %s", step.path, got, want)
		}
	}
}

func TestWatchRefusals(t *testing.T) {
	r := newRig(t)
	r.ok(nil, "PUT /v1/tenants/acme", "")
	r.refused(404, "GET /v1/watch?after=99", "")
	r.refused(404, "GET /v1/tenants/acme/watch?after=99", "")
	r.refused(404, "GET /v1/tenants/nobody/watch", "")
	r.refused(422, "GET /v1/watch?after=0", "")
	r.refused(422, "GET /v1/watch?after=x", "")
	slow := r.follow(t.Context(), "/v1/watch?after=1")

	// What is known begins anew, as after a restart: who was behind is told so,
	// and may not begin where nothing is known.
	r.backend.mu.Lock()
	r.backend.history = world.NewHistory(r.backend.w.Revision() + 1000)
	close(r.backend.later)
	r.backend.later = make(chan struct{})
	r.backend.mu.Unlock()
	last := ""
	for line := slow(); line != ""; line = slow() {
		last = line
	}
	if gist(t, last) != "410" {
		t.Errorf("the last line of a watch that cannot go on is %s", last)
	}
	if p := r.refused(410, "GET /v1/watch?after=1", ""); !strings.Contains(p.Detail, "list again") {
		t.Errorf("a revision that is forgotten: %+v", p)
	}
}

func TestWatchers(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	for range WatchersMax {
		if r.follow(ctx, "/v1/watch")() == "" {
			t.Fatal("a watch ends at once")
		}
	}
	r.refused(503, "GET /v1/watch", "")
	cancel()
	for { // the server hears of it in its own time
		if a := r.do("GET /v1/watch?after=99", ""); a.status != 404 {
			t.Fatalf("%d %s", a.status, a.text)
		}
		ctx, cancel := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.server.URL+"/v1/watch", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+r.token)
		answer, err := r.client.Do(request)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return
		}
	}
}

// TestRevoked: a watch ends when the token of who watches is deleted.
func TestRevoked(t *testing.T) {
	r := newRig(t)
	token, err := auth.ParseToken(auth.AdminToken, r.token)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Config: r.config}
	by := func(id string) context.Context {
		return context.WithValue(t.Context(), callerKey{}, &caller{token: id})
	}
	if p := s.revoked(by(token.ID)); p != nil {
		t.Errorf("a good token: %+v", p)
	}
	if p := s.revoked(by("gone")); p == nil || p.Kind != dove.Unauthorized.String() {
		t.Errorf("a deleted token: %+v", p)
	}
}
