package edit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// three need each other: mall needs nothing, law the groups of mall, more those and
// a network of mall.
var three = []string{
	"{apiVersion: dove/v1, kind: Blueprint, name: mall, networks: {hall: {subnets: [10.0.9.0/24]}}, groups: {till: {network: hall}, shelf: {network: hall}}}\n",
	"{apiVersion: dove/v1, kind: Blueprint, name: law, domain: mall, tier: provider, policies: [{name: shut, from: any, to: mall/till, deny: tcp/23, priority: 1}]}\n",
	"{apiVersion: dove/v1, kind: Blueprint, name: more, domain: mall, groups: {door: {network: hall}}, policies: [{name: in, from: door, to: mall/shelf, allow: tcp/80}]}\n",
}

// TestPutBlueprints applies several in every order: one revision, and the same world as
// one after the other.
func TestPutBlueprints(t *testing.T) {
	one := stocked(t)
	for _, text := range three {
		one.blueprint("acme", text)
	}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		b := stocked(t)
		var texts, names []string
		for _, i := range order {
			texts = append(texts, three[i])
			names = append(names, []string{"mall", "law", "more"}[i])
		}
		text := []byte("# all of it\n---\n" + strings.Join(texts, "---\n"))
		p, err := edit.Plan(b.w, "acme", text, now)
		if err != nil {
			t.Fatal(err)
		}
		before := b.w.Revision()
		txn, docs, err := edit.PutBlueprints(b.w, "acme", text, now, p.Token)
		b.must(txn, err)
		var got, planned []string
		for i, doc := range docs {
			got, planned = append(got, doc.Name), append(planned, p.Documents[i].Blueprint.Name)
			if doc.Text != texts[i] {
				t.Errorf("%s says %q, given was %q", doc.Name, doc.Text, texts[i])
			}
		}
		if b.w.Revision() != before+1 || !slices.Equal(got, names) || !slices.Equal(planned, names) {
			t.Errorf("revision %d after %d, applied %v, planned %v, want %v", b.w.Revision(), before, got, planned, names)
		}
		for doc := range one.w.Blueprints("acme") {
			if is, ok := b.w.Blueprint("acme", doc.Name); !ok || is != doc {
				t.Errorf("blueprint %s is %+v, want %+v", doc.Name, is, doc)
			}
		}
		if is, want := fmt.Sprint(collect(b.w.Networks("acme"))), fmt.Sprint(collect(one.w.Networks("acme"))); is != want {
			t.Errorf("networks are %s, want %s", is, want)
		}
		if txn, _, err := edit.PutBlueprints(b.w, "acme", text, now, p.Token); err != nil || !txn.Empty() {
			t.Errorf("again: %+v, %v", txn, err)
		}
	}
}

// TestPutBlueprintsRefuses applies nothing of what is wrong in one part.
func TestPutBlueprintsRefuses(t *testing.T) {
	b := stocked(t)
	stream := func(texts ...string) []byte { return []byte(strings.Join(texts, "---\n")) }
	for name, c := range map[string]struct {
		kind  dove.Kind
		words []string
		text  []byte
	}{
		"faults of several": {dove.Invalid, []string{"documents[0].policies[0].from", "unknown group", "documents[2].name", "2 faults"},
			stream("{apiVersion: dove/v1, kind: Blueprint, name: a, domain: mall, policies: [{name: p, from: mall/nobody, to: mall/till, allow: any}]}\n", three[0], "{apiVersion: dove/v1, kind: Blueprint, name: B}\n")},
		"twice": {dove.Invalid, []string{`documents[1]: blueprint "mall" is in the text twice`}, stream(three[0], strings.Replace(three[0], "10.0.9.0", "10.0.8.0", 1))},
		"a circle": {dove.Invalid, []string{`documents[0].policies[0].to: group "b/y": unknown blueprint "b"`, `documents[1].policies[0].to: group "a/x": unknown blueprint "a"`},
			stream("{apiVersion: dove/v1, kind: Blueprint, name: a, domain: d, networks: {n: {subnets: [10.0.9.0/24]}}, groups: {x: {network: n}}, policies: [{name: p, from: x, to: b/y, allow: any}]}\n",
				"{apiVersion: dove/v1, kind: Blueprint, name: b, domain: d, networks: {m: {subnets: [10.0.8.0/24]}}, groups: {y: {network: m}}, policies: [{name: p, from: y, to: a/x, allow: any}]}\n")},
		"two make one network": {dove.Conflict, []string{`documents[1].networks`, `network "hall" is made by blueprint "mall"`}, stream(three[0], strings.Replace(three[0], "name: mall", "name: other", 1))},
		"too many":             {dove.TooLarge, []string{"17 documents, and 16 are the most"}, stream(slices.Repeat([]string{three[0]}, 17)...)},
		"too long for one": {dove.TooLarge, []string{`with blueprint "law"`, "1048576 bytes", "in parts"},
			stream(three[0]+strings.Repeat("# long\n", 80_000), three[1]+strings.Repeat("# long\n", 80_000))},
	} {
		t.Run(name, func(t *testing.T) {
			before := b.w
			_, docs, err := edit.PutBlueprints(b.w, "acme", c.text, now, "")
			refused(t, err, c.kind, c.words[0])
			for _, word := range c.words {
				if err != nil && !strings.Contains(err.Error(), word) {
					t.Errorf("no %q in %v", word, err)
				}
			}
			_, planErr := edit.Plan(b.w, "acme", c.text, now)
			if fmt.Sprint(planErr) != fmt.Sprint(err) || docs != nil || b.w != before {
				t.Errorf("a plan says %v, applying %v", planErr, err)
			}
		})
	}
}

// TestPutBlueprintsIsBound holds that the plan of several is of all their domains.
func TestPutBlueprintsIsBound(t *testing.T) {
	b := stocked(t)
	text := []byte(three[0] + "---\n" + without(shop, "back"))
	planned := func() string {
		t.Helper()
		p, err := edit.Plan(b.w, "acme", text, now)
		if err != nil {
			t.Fatal(err)
		}
		return p.Token
	}
	put := func(token string) error {
		_, _, err := edit.PutBlueprints(b.w, "acme", text, now, token)
		return err
	}
	token := planned()
	b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "web-2", Groups: []string{"shop/web"}})
	refused(t, put(token), dove.Conflict, "endpoints/acme/web-2 changed since")
	token = planned()
	b.blueprint("acme", strings.Replace(three[0], "name: mall", "name: early, domain: mall", 1))
	refused(t, put(token), dove.Conflict, "is made by")
	b.must(edit.DeleteBlueprint(b.w, "acme", "early", now, nil))
	token = planned()
	txn, _, err := edit.PutBlueprints(b.w, "acme", text, now, token)
	if err != nil {
		t.Fatal(err)
	}
	// What comes between the decision and the commit is noticed.
	b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "web-3", Groups: []string{"shop/web"}})
	if b.commit(txn) {
		t.Error("a plan was applied that did not know of an endpoint")
	}
}

// TestPutBlueprintsInSteps makes more classes than one transaction can decide, once for
// what all documents say together.
func TestPutBlueprintsInSteps(t *testing.T) {
	const endpoints = 150
	b := crowd(t, endpoints)
	text := []byte("{apiVersion: dove/v1, kind: Blueprint, name: late, domain: crowd, policies: [{name: p, from: crowd/web, to: crowd/o7, deny: tcp/23}]}\n---\n" + crowded(endpoints))
	p, err := edit.Plan(b.w, "acme", text, now)
	if err != nil || p.NewClasses != endpoints {
		t.Fatalf("planned: %d new classes, %v", p.NewClasses, err)
	}
	steps, n := edit.InSteps(func(w *world.World) (dove.Txn, error) {
		return first(edit.PutBlueprints(w, "acme", text, now, p.Token))
	}), 1
	for ; !b.next(steps); n++ {
	}
	if _, ok := b.w.Blueprint("acme", "late"); n != 3 || !ok {
		t.Errorf("%d transactions, want 3", n)
	}
	b.settled(1 + endpoints)
}
