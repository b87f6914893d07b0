package api

import (
	"bytes"
	"context"
	"encoding/json"
	"hash/fnv"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// operations returns all that the API can do, in order of their ids.
func operations() []*huma.Operation {
	_, api := build(Config{Version: "test"})
	all := map[string]*huma.Operation{}
	for _, path := range api.OpenAPI().Paths {
		for _, op := range []*huma.Operation{path.Get, path.Put, path.Post, path.Delete} {
			if op != nil {
				all[op.OperationID] = op
			}
		}
	}
	var sorted []*huma.Operation
	for _, id := range slices.Sorted(maps.Keys(all)) {
		sorted = append(sorted, all[id])
	}
	return sorted
}

// pathOf fills an operation's path with the lines of text, the last one again
// where there are too few.
func pathOf(op *huma.Operation, text string) string {
	var out strings.Builder
	values := strings.Split(text, "\n")
	for i, part := range strings.Split(op.Path, "/") {
		if i > 0 {
			out.WriteByte('/')
		}
		if !strings.HasPrefix(part, "{") {
			out.WriteString(part)
			continue
		}
		out.WriteString(url.PathEscape(values[0]))
		if len(values) > 1 {
			values = values[1:]
		}
	}
	return out.String()
}

// fuzzHeaders are those that a request may have besides its authorization, in
// the order of the lines that give them.
var fuzzHeaders = []string{"Content-Type", "If-Match", "If-None-Match", idempotencyKey, "Accept"}

// populate gives the rig two tenants that have one of everything.
func (r *rig) populate() {
	yaml := "Content-Type: application/yaml"
	for _, tenant := range []string{"acme", "bolt"} {
		at := "PUT /v1/tenants/" + tenant
		r.ok(nil, at, "")
		r.ok(nil, at+"/blueprints/shop", shop, yaml)
		r.ok(nil, at+"/networks/back", `{"domain":"shop","subnets":["10.0.2.0/24"]}`)
		r.ok(nil, "PUT /v1/hosts/"+tenant+"-1", `{"vtep":"192.0.2.`+map[string]string{"acme": "1", "bolt": "2"}[tenant]+`"}`)
		r.ok(nil, at+"/endpoints/web-1", `{"groups":["shop/web"],"host":"`+tenant+`-1"}`)
		r.ok(nil, at+"/endpoints/db-1", `{"groups":["shop/db"],"host":"`+tenant+`-1"}`)
	}
}

// patient is a recorder that waits for ever.
type patient struct{ *httptest.ResponseRecorder }

func (patient) SetReadDeadline(time.Time) error  { return nil }
func (patient) SetWriteDeadline(time.Time) error { return nil }

// sound requires of an answer that the DPC did not fail, that a refusal is a
// problem document and changed nothing, and that no secret is shown.
func sound(t *testing.T, what string, answer *httptest.ResponseRecorder, secret string, changed bool) {
	t.Helper()
	what = what[:min(200, len(what))]
	text := answer.Body.String()
	if strings.Contains(text, secret) {
		t.Errorf("%s: the answer shows a secret: %s", what, text)
	}
	if answer.Code < 400 {
		return
	}
	var p Problem
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil || answer.Code >= 500 || p.Status != answer.Code || p.Title == "" || p.Detail == "" || p.Kind == "" || p.Kind == "internal" ||
		answer.Header().Get("Content-Type") != problemType {
		t.Errorf("%s: %d %s (%v)", what, answer.Code, text, err)
	}
	for _, fault := range p.Errors {
		if fault.Message == "" || fault.Line < 0 || fault.Column < 0 {
			t.Errorf("%s: fault %+v", what, fault)
		}
	}
	if changed {
		t.Errorf("%s was refused with %d, but changed the world", what, answer.Code)
	}
}

// FuzzBodies sends any request to any operation of a DPC that has something of
// everything. Whatever comes, it never fails: what is refused is refused with a
// problem document and changes nothing, what is written can be read, and no
// answer shows what is secret.
func FuzzBodies(f *testing.F) {
	all := operations()
	reads := map[string]bool{}
	for _, op := range all {
		reads[op.Path] = reads[op.Path] || op.Method == http.MethodGet
	}
	r := newRig(f)
	r.populate()
	var join JoinToken
	r.ok(&join, "POST /v1/hosts/acme-1/token", `{"seconds":60}`)
	full, history := r.backend.World(), r.backend.history
	random := rand.NewChaCha8([32]byte{})
	config := r.config
	config.Random, config.Log = random, slog.New(slog.DiscardHandler)
	handler := New(config)
	_, secret, _ := strings.Cut(strings.TrimPrefix(r.token, "dove-admin."), ".")

	f.Fuzz(func(t *testing.T, operation, path, query, headers string, body []byte) {
		r.backend.w, r.backend.history = full, history
		random.Seed([32]byte{})
		hash := fnv.New32a()
		hash.Write([]byte(operation))
		op := all[int(hash.Sum32())%len(all)]
		if at, known := slices.BinarySearchFunc(all, operation, func(o *huma.Operation, id string) int { return strings.Compare(o.OperationID, id) }); known {
			op = all[at]
		}
		// Whoever follows a watch is gone before it begins.
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		ask := func(method, path, query string, body []byte) *httptest.ResponseRecorder {
			request, err := http.NewRequestWithContext(gone, method, "https://dpc1"+path, bytes.NewReader(body))
			if err != nil {
				t.Skip("no server gets such a request")
			}
			request.URL.RawQuery = query
			request.Header.Set("Authorization", "Bearer "+r.token)
			for i, value := range strings.Split(headers, "\n") {
				if i < len(fuzzHeaders) && value != "" {
					request.Header.Set(fuzzHeaders[i], value)
				}
			}
			answer := patient{httptest.NewRecorder()}
			handler.ServeHTTP(answer, request)
			return answer.ResponseRecorder
		}
		sent := bytes.ReplaceAll(body, []byte("$TOKEN"), []byte(join.Token))
		target := pathOf(op, path)
		answer := ask(op.Method, target, query, sent)
		changed := r.backend.World() != full
		sound(t, op.Method+" "+target+"?"+query, answer, secret, changed)
		switch status := answer.Code; {
		case op.Method == http.MethodGet:
			if changed {
				t.Errorf("%s %s changed the world", op.Method, target)
			}
		case op.Method == http.MethodPut && status == http.StatusOK && reads[op.Path]:
			headers = ""
			if again := ask(http.MethodGet, target, "", nil); again.Code != http.StatusOK {
				t.Errorf("%s was written and reads as %d %s", target, again.Code, again.Body)
			}
		}
	})
}
