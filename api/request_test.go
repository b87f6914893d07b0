package api

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"dove.network/edit"
)

func key(id string) string { return "Idempotency-Key: " + id }

// TestOnce sends each kind of write twice under one id, with another write of
// the same resource in between: the second answer is the first one again, and
// nothing is undone.
func TestOnce(t *testing.T) {
	r := newRig(t)
	yaml := "Content-Type: application/yaml"
	other := strings.Replace(shop, "tcp/5432", "tcp/5433", 1)
	for i, step := range []struct {
		what, body    string
		again, change string // of the same resource
		headers       []string
	}{
		{what: "PUT /v1/tenants/acme"},
		{what: "PUT /v1/tenants/acme/blueprints/shop", body: shop, again: "PUT /v1/tenants/acme/blueprints/shop", change: other, headers: []string{yaml, "If-None-Match: *"}},
		{what: "PUT /v1/hosts/h1", body: `{"vtep":"192.0.2.1"}`, again: "PUT /v1/hosts/h1", change: `{"vtep":"192.0.2.2"}`},
		{what: "PUT /v1/hosts/h2", body: `{"vtep":"192.0.2.3"}`},
		{what: "PUT /v1/tenants/acme/networks/back", body: `{"domain":"shop","subnets":["10.0.2.0/24"]}`, again: "PUT /v1/tenants/acme/networks/back", change: `{"subnets":["10.0.3.0/24"]}`},
		{what: "PUT /v1/tenants/acme/endpoints/web-1", body: `{"groups":["shop/web"]}`, again: "PUT /v1/tenants/acme/endpoints/web-1", change: `{"groups":["shop/db"]}`},
		{what: "PUT /v1/tenants/acme/endpoints/web-1/binding", body: `{"host":"h1"}`, again: "PUT /v1/tenants/acme/endpoints/web-1/binding", change: `{"host":"h2"}`},
		{what: "DELETE /v1/tenants/acme/endpoints/web-1/binding", again: "PUT /v1/tenants/acme/endpoints/web-1/binding", change: `{"host":"h2"}`},
		{what: "DELETE /v1/tenants/acme/endpoints/web-1", again: "PUT /v1/tenants/acme/endpoints/web-1", change: `{"groups":["shop/db"]}`},
		{what: "DELETE /v1/tenants/acme/endpoints/web-1"},
		{what: "DELETE /v1/tenants/acme/networks/back"},
		{what: "DELETE /v1/tenants/acme/blueprints/shop"},
		{what: "DELETE /v1/hosts/h1"},
		{what: "DELETE /v1/tenants/acme"},
	} {
		headers := append(step.headers, key(fmt.Sprintf("step %d", i)))
		first := r.ok(nil, step.what, step.body, headers...)
		if first.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: the first is called a repetition", step.what)
		}
		if step.again != "" {
			media := "Content-Type: application/json"
			if strings.Contains(step.change, "apiVersion") {
				media = yaml
			}
			r.ok(nil, step.again, step.change, media)
		}
		before := r.backend.World().Revision()
		second := r.ok(nil, step.what, step.body, headers...)
		if second.text != first.text || second.header.Get("ETag") != first.header.Get("ETag") || second.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s: %s %v, then %s %v", step.what, first.text, first.header, second.text, second.header)
		}
		if now := r.backend.World().Revision(); now != before {
			t.Errorf("%s again: revision %d after %d", step.what, now, before)
		}
	}
}

// TestNothingToChange writes what a member that is behind takes for written, while others
// write something else: it is written.
func TestNothingToChange(t *testing.T) {
	r := newRig(t)
	r.ok(nil, "PUT /v1/hosts/h1", `{"vtep":"192.0.2.1"}`)
	for _, headers := range [][]string{nil, {key("1")}} {
		r.backend.meanwhile = func() { r.ok(nil, "PUT /v1/hosts/h1", `{"vtep":"192.0.2.2"}`) }
		said := r.ok(nil, "PUT /v1/hosts/h1", `{"vtep":"192.0.2.1"}`, headers...)
		if now := r.ok(nil, "GET /v1/hosts/h1", ""); now.text != said.text || now.header.Get("ETag") != said.header.Get("ETag") {
			t.Errorf("%v: written %s %v, then there is %s %v", headers, said.text, said.header, now.text, now.header)
		}
	}
}

func TestOnceRefusals(t *testing.T) {
	r := newRig(t)
	made := r.ok(nil, "PUT /v1/tenants/a", "", key("1"))
	r.refused(422, "PUT /v1/tenants/b", "", key("1"))
	r.refused(422, "DELETE /v1/tenants/a", "", key("1"))
	r.refused(422, "PUT /v1/tenants/a", "", key("1"), "If-Match: "+made.header.Get("ETag"))
	r.ok(nil, "PUT /v1/hosts/h1", `{"vtep":"192.0.2.1"}`, key("h"))
	r.refused(422, "PUT /v1/hosts/h1", `{"vtep":"192.0.2.2"}`, key("h"))
	r.refused(422, "PUT /v1/tenants/b", "", key(strings.Repeat("x", 129)))
	r.refused(422, "PUT /v1/tenants/b", "", key("caf\u00e9"))
	r.refused(422, "POST /v1/tokens", "", key("2"))
	r.refused(422, "POST /v1/hosts/h1/token", `{"seconds":60}`, key("2"))
	r.refused(422, "POST /v1/tenants/a/plan", shop, key("2"), "Content-Type: application/yaml")

	// A write that changes nothing is kept with the revision that it found.
	same := r.ok(nil, "PUT /v1/tenants/a", "", key("3"))
	if again := r.ok(nil, "PUT /v1/tenants/a", "", key("3")); again.text != same.text || same.text != made.text || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("made %s, then %s, then %s", made.text, same.text, again.text)
	}
	// A refused write is not kept.
	r.refused(404, "DELETE /v1/tenants/b", "", key("4"))
	r.ok(nil, "PUT /v1/tenants/b", "")
	r.ok(nil, "DELETE /v1/tenants/b", "", key("4"))
	// Another administrator's ids are others.
	var second APIToken
	r.ok(&second, "POST /v1/tokens", "")
	r.ok(nil, "PUT /v1/tenants/b", "", key("1"), "Authorization: Bearer "+second.Token)
	// After a day an id is free, swept or not.
	r.now = r.now.Add(RequestKept - time.Second)
	r.refused(422, "PUT /v1/tenants/c", "", key("1"))
	r.now = r.now.Add(time.Second)
	r.ok(nil, "PUT /v1/tenants/c", "", key("1"))
	before := r.backend.World().RequestsOf(second.ID)
	txn, err := edit.Sweep(r.backend.World(), r.now)
	if err != nil || len(txn.Deletes) == 0 || before != 1 {
		t.Errorf("sweep %+v, %v; %d kept", txn, err, before)
	}
}

// TestOnceAtOnce sends one write many times at once: one is done.
func TestOnceAtOnce(t *testing.T) {
	r := newRig(t)
	var all sync.WaitGroup
	answers := make([]reply, 8)
	for i := range answers {
		all.Go(func() { answers[i] = r.do("PUT /v1/tenants/acme", "", key("1")) })
	}
	all.Wait()
	replayed := 0
	for _, a := range answers {
		if a.status != http.StatusOK || a.text != answers[0].text {
			t.Errorf("%d %s, another %s", a.status, a.text, answers[0].text)
		}
		if a.header.Get("Idempotency-Replayed") == "true" {
			replayed++
		}
	}
	if replayed != len(answers)-1 {
		t.Errorf("%d of %d are called repetitions", replayed, len(answers))
	}
}

// TestOnceTooLate: a write that decided, and finds when it commits that it was
// done already, answers with what was done and not with a mixture.
func TestOnceTooLate(t *testing.T) {
	r := newRig(t)
	r.populate()
	const what, body = "PUT /v1/tenants/acme/endpoints/new", `{"groups":["shop/web"],"host":"acme-1"}`
	var first reply
	r.backend.meanwhile = func() { first = r.ok(nil, what, body, key("1")) }
	second := r.ok(nil, what, body, key("1"))
	if second.text != first.text || second.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%s, then %s %v", first.text, second.text, second.header)
	}
	// The one that was done had no host any more, which the other one still saw.
	const change = `{"groups":["shop/db"]}`
	r.backend.meanwhile = func() {
		r.ok(nil, "DELETE /v1/tenants/acme/endpoints/new/binding", "")
		first = r.ok(nil, what, change, key("2"))
	}
	second = r.ok(nil, what, change, key("2"))
	if second.text != first.text {
		t.Errorf("%s, then %s", first.text, second.text)
	}
}
