package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/dove"
)

// walker sends requests to every operation that the description has.
type walker struct {
	*rig
	handler http.Handler
	schemas huma.Registry
	op      *huma.Operation
	sent    int
}

// good are values of parameters with which most operations find something.
var good = map[string]string{
	"tenant": "acme", "blueprint": "shop", "network": "back", "router": "r1", "language": "kubernetes", "endpoint": "web-1", "host": "acme-1", "member": "dpc1",
	"id": "0123456789ab", "revision": "1", "from": "web-1", "to": "db-1", "proto": "tcp", "port": "5432", "live": "false",
}

// target returns the path of the operation and its required query, with one
// parameter changed.
func (w *walker) target(name, value string) string {
	path, query := w.op.Path, url.Values{}
	for _, p := range w.op.Parameters {
		v := good[p.Name]
		if p.Name == name {
			v = value
		}
		switch {
		case p.In == "path":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(v))
		case p.In == "query" && (p.Required || p.Name == name):
			query.Set(p.Name, v)
		}
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return path
}

// send sends a request and judges the answer. It starts from the same world each time.
func (w *walker) send(t *testing.T, target, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	full, history := w.backend.w, w.backend.history
	defer func() { w.backend.w, w.backend.history = full, history }()
	request, err := http.NewRequestWithContext(t.Context(), w.op.Method, "https://dpc1"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+w.token)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		request.Header.Set(name, value)
	}
	answer := patient{httptest.NewRecorder()}
	w.handler.ServeHTTP(answer, request)
	w.sent++
	what := w.op.Method + " " + target + " " + body[:min(len(body), 80)] + fmt.Sprintf(" %.80q", headers)
	sound(t, what, answer.ResponseRecorder, w.token, w.backend.w != full)
	// A tenant's operations touch nobody else's.
	deltas, _ := w.backend.history.After(full.Revision())
	for _, d := range deltas {
		if !strings.HasPrefix(w.op.Path, "/v1/tenants/") {
			continue
		}
		owner, _, _ := strings.Cut(strings.TrimPrefix(request.URL.Path, "/v1/tenants/"), "/")
		for _, c := range changesOf(w.backend.w, d, "") {
			if string(c.Tenant) != owner {
				t.Errorf("%s changed %+v", what, c)
			}
		}
	}
	return answer.ResponseRecorder
}

// refused sends what must be refused.
func (w *walker) refused(t *testing.T, target, body string, headers ...string) {
	t.Helper()
	if a := w.send(t, target, body, headers...); a.Code < 400 {
		t.Errorf("%s %.120s %.80q %.120q is taken: %d %.200s", w.op.Method, target, body, headers, a.Code, a.Body)
	}
}

// TestWalk sends to every operation what no client should.
func TestWalk(t *testing.T) {
	r := newRig(t)
	r.populate()
	config := r.config
	config.Log = slog.New(slog.DiscardHandler)
	_, api := build(Config{Version: "test"})
	w := &walker{rig: r, handler: New(config), schemas: api.OpenAPI().Components.Schemas}
	for _, w.op = range operations() {
		if strings.Contains(w.op.OperationID, "watch") {
			continue // they never end: TestWatchRefusals and FuzzBodies
		}
		t.Run(w.op.OperationID, func(t *testing.T) {
			w.walkPath(t)
			w.walkQuery(t)
			w.walkHeaders(t)
			w.walkBody(t)
		})
	}
	t.Logf("%d requests", w.sent)
}

var long = strings.Repeat("a", 20_000)

// walkPath names what cannot be, and what is another tenant's.
func (w *walker) walkPath(t *testing.T) {
	for _, p := range w.op.Parameters {
		if p.In != "path" {
			continue
		}
		for _, bad := range []string{"Acme", long, "caf\u00e9", "a b", "a/b", "-", "-a", "a_b", "\x00", "%", "*", "\xff", "acme/../bolt", "bolt/shop", " acme"} {
			w.send(t, w.target(p.Name, bad), w.example())
			if !w.numeric(p) && p.Name != "id" && w.op.Method == http.MethodPut {
				w.refused(t, w.target(p.Name, bad), w.example(), w.media())
			}
		}
		for _, odd := range []string{".", "..", ""} { // the router cleans or does not find such a path
			w.send(t, w.target(p.Name, odd), w.example())
		}
		w.send(t, w.target(p.Name, "bolt"), w.example())
		w.send(t, w.target(p.Name, "bolt-1"), w.example())
		w.send(t, w.target(p.Name, "99999999999999999999"), w.example())
	}
}

func (w *walker) numeric(p *huma.Param) bool { return p.Schema.Type == huma.TypeInteger }

// walkQuery gives parameters values of wrong types and lengths, and ones that nobody knows.
func (w *walker) walkQuery(t *testing.T) {
	w.refused(t, w.target("", "")+cmp.Or(map[bool]string{true: "&"}[strings.Contains(w.target("", ""), "?")], "?")+"unheard=1", w.example(), w.media())
	for _, p := range w.op.Parameters {
		if p.In != "query" {
			continue
		}
		for _, bad := range []string{long, "\x00", "\xff"} {
			w.send(t, w.target(p.Name, bad), "")
		}
		w.refused(t, w.target(p.Name, long), "")
		if w.numeric(p) {
			for _, bad := range []string{"x", "-1", "99999999999999999999", "1e9", "1.5", "0x10", "0", "true"} {
				w.refused(t, w.target(p.Name, bad), "")
			}
		}
		if len(p.Schema.Enum) > 0 || p.Schema.Type == huma.TypeBoolean {
			w.refused(t, w.target(p.Name, "maybe"), "")
		}
		if p.Required {
			w.refused(t, w.target(p.Name, ""), "")
		}
	}
}

func (w *walker) walkHeaders(t *testing.T) {
	conditional := slices.ContainsFunc(w.op.Parameters, func(p *huma.Param) bool { return p.Name == "If-Match" })
	for _, bad := range []string{"If-Match: x", "If-Match: *", "If-Match: \"-1\"", "If-Match: \"99999999999999999999\"", "If-Match: " + long, "If-Match: \"1\", \"2\"", "If-None-Match: \"1\"", "Idempotency-Key: " + long, "Idempotency-Key: \u00e9"} {
		if conditional {
			w.refused(t, w.target("", ""), w.example(), w.media(), bad)
		}
		w.send(t, w.target("", ""), w.example(), w.media(), bad)
	}
	if len(w.op.Security) > 0 {
		w.refused(t, w.target("", ""), w.example(), w.media(), "Authorization: Bearer "+long)
		w.refused(t, w.target("", ""), w.example(), w.media(), "Authorization: ")
	}
	w.send(t, w.target("", ""), w.example(), w.media(), "Accept: "+long)
	w.send(t, w.target("", ""), w.example(), w.media(), "Accept: image/png")
}

// body returns the schema of the operation's body, nil if it takes none or a text.
func (w *walker) body() *huma.Schema {
	if w.op.RequestBody == nil || w.op.RequestBody.Content["application/json"] == nil {
		return nil
	}
	s := w.op.RequestBody.Content["application/json"].Schema
	if s != nil && s.Ref != "" {
		return w.schemas.SchemaFromRef(s.Ref)
	}
	return s
}

// example is a body that is well-formed, though it need not fit.
func (w *walker) example() string {
	switch {
	case w.op.RequestBody == nil:
		return ""
	case w.body() == nil:
		return shop
	}
	out := map[string]any{}
	for name, s := range w.body().Properties {
		if slices.Contains(w.body().Required, name) {
			out[name] = map[string]any{huma.TypeString: "192.0.2.77", huma.TypeArray: []any{}, huma.TypeInteger: 60}[s.Type]
		}
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (w *walker) media() string {
	if w.body() == nil && w.op.RequestBody != nil {
		return "Content-Type: application/yaml"
	}
	return "Content-Type: application/json"
}

func (w *walker) walkBody(t *testing.T) {
	target := w.target("", "")
	if w.op.RequestBody == nil {
		w.send(t, target, long) // nobody reads it
		return
	}
	for _, media := range []string{"text/xml", "multipart/form-data", "application/x-www-form-urlencoded", "garbage;;", "application/octet-stream", long} {
		w.refused(t, target, w.example(), "Content-Type: "+media)
	}
	deep := strings.Repeat("[", 30_000)
	bodies := []string{
		"{", "}", "[", "nul", "[]", "1", "true", "\"x\"", "\x00", "\xff\xfe", "{} {}", "{}x", "{\"a\":", "'", "{\"\\ud800\":1}",
		deep, deep + strings.Repeat("]", len(deep)), strings.Repeat(`{"a":`, 9_000) + "1" + strings.Repeat("}", 9_000),
		"1e999", "- - -", strings.Repeat("- ", 20_000), strings.Repeat("#", BodyMax+TextMax), long,
		"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c]\n",
		"!!binary x", "? {a: b}", "%YAML 9.9\n---\n", "--- a\n--- b\n", "\t", strings.Repeat("a: ", 10_000),
	}
	for _, bad := range bodies {
		w.refused(t, target, bad, w.media())
	}
	if w.op.RequestBody.Required {
		w.refused(t, target, "", w.media())
	}
	if w.body() == nil {
		for _, bad := range []string{
			strings.Replace(shop, "kind: Blueprint", "kind: 7", 1), strings.Replace(shop, "name: shop", "name: [shop]", 1),
			strings.Replace(shop, "groups:", "groups: 1\nx:", 1), strings.Replace(shop, "5432", "99999999999999999999", 1),
			strings.Replace(shop, "5432", "-1", 1), strings.Replace(shop, "to: db", "to: "+long, 1), strings.Replace(shop, "name: shop", "name: shop\nname: shop", 1),
			strings.Replace(shop, "from: web", "from: bolt/shop/web", 1), strings.Replace(shop, "10.0.1.0/24", "10.0.1.0/99", 1),
		} {
			w.refused(t, target, bad, w.media())
		}
		return
	}
	w.walkProperties(t, target)
}

// walkProperties gives each property of the body values of every other type.
func (w *walker) walkProperties(t *testing.T, target string) {
	values := map[string]string{
		huma.TypeString: `"` + "a b" + `"`, huma.TypeInteger: "61", huma.TypeArray: "[[[[]]]]", huma.TypeObject: `{"a":{"a":{}}}`, huma.TypeBoolean: "true",
	}
	var base map[string]json.RawMessage
	if err := json.Unmarshal([]byte(w.example()), &base); err != nil {
		t.Fatal(err)
	}
	with := func(name, value string) string {
		var out bytes.Buffer
		out.WriteString("{")
		for k, v := range base {
			if k != name {
				fmt.Fprintf(&out, "%q:%s,", k, v)
			}
		}
		fmt.Fprintf(&out, "%q:%s}", name, value)
		return out.String()
	}
	w.refused(t, target, with("unheard", "1"), w.media())
	for name, s := range w.body().Properties {
		if slices.Contains(w.body().Required, name) {
			without := strings.TrimSuffix(with(name, "0"), fmt.Sprintf("%q:0}", name))
			w.refused(t, target, strings.TrimSuffix(without, ",")+"}", w.media())
		}
		for kind, value := range values {
			if kind != s.Type {
				w.refused(t, target, with(name, value), w.media())
			}
		}
		w.send(t, target, with(name, "null"), w.media())
		for _, odd := range []string{"1e999", "-1", "1.5", "99999999999999999999", "-0", `""`, `"\u0000"`, `"` + long + `"`, "[" + strings.Repeat(`"x",`, 9000) + `"x"]`, `["bolt/shop/web"]`, `"bolt-1"`, `[null]`, `[""]`} {
			w.send(t, target, with(name, odd), w.media())
		}
		w.refused(t, target, with(name, "99999999999999999999"), w.media())
		w.refused(t, target, with(name, `"`+long+`"`), w.media())
	}
}

// TestOtherTenant asks with one tenant's path for what only another has.
func TestOtherTenant(t *testing.T) {
	r := newRig(t)
	r.populate()
	r.ok(nil, "PUT /v1/tenants/bolt/endpoints/only", `{"groups":["shop/web"]}`)
	for what, body := range map[string]string{
		"GET /v1/tenants/acme/endpoints/only":                              "",
		"DELETE /v1/tenants/acme/endpoints/only":                           "",
		"PUT /v1/tenants/acme/endpoints/only/binding":                      `{"host":"bolt-1"}`,
		"GET /v1/tenants/acme/why?from=web-1&to=only&proto=tcp&port=1":     "",
		"GET /v1/tenants/acme/resolutions?from=web-1&to=only":              "",
		"GET /v1/tenants/acme/resolutions?from=bolt/10.0.1.2&to=web-1":     "",
		"GET /v1/tenants/acme/endpoints/..%2f..%2fbolt%2fendpoints%2fonly": "",
		"PUT /v1/tenants/acme/endpoints/e?tenant=bolt":                     `{"groups":[]}`,
		"PUT /v1/tenants/acme/endpoints/e":                                 `{"groups":["bolt/shop/web"]}`,
		"PUT /v1/tenants/acme/blueprints/shop2":                            strings.Replace(shop, "from: web", "from: bolt/shop/web", 1),
	} {
		if a := r.do(what, body); a.status < 400 || a.status >= 500 {
			t.Errorf("%s: %d %s", what, a.status, a.text)
		}
	}
	var list List[Endpoint]
	r.ok(&list, "GET /v1/tenants/acme/endpoints?host=bolt-1", "")
	if len(list.Items) > 0 {
		t.Errorf("acme sees %+v", list.Items)
	}
	if e, ok := r.backend.World().Endpoint(dove.Endpoint{Tenant: "bolt", ID: "only"}); !ok || e.Host != "" {
		t.Errorf("bolt has %+v", e)
	}
}
