package edit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/policy"
	"dove.network/world"
)

// ending is a blueprint whose policy web-app ends.
func ending(until time.Time) string {
	return strings.Replace(shop, "allow: [tcp/8080]", fmt.Sprintf("allow: [tcp/8080], until: %q", until.Format(time.RFC3339)), 1)
}

// rules counts those that a domain's policies of web to app come to.
func rules(w *world.World, d dove.Domain) int {
	of := func(group string) policy.Signature {
		return policy.Signature{Groups: []dove.Group{{Tenant: d.Tenant, Blueprint: "shop", Name: group}}}
	}
	egress, _ := w.Domain(d).Halves(of("web"), of("app"))
	return len(egress.Rules)
}

// A policy ends once, by a document: at its time, by whoever sweeps then, and
// not before; a clock that steps back brings none to life.
func TestPoliciesEnd(t *testing.T) {
	b := stocked(t)
	d := dove.Domain{Tenant: "acme", Name: "shop"}
	until := now.Add(time.Hour)
	b.blueprint("acme", ending(until))
	b.tenant("bolt")
	b.blueprint("bolt", ending(until))
	sweep := func(d dove.Domain, at time.Time) bool {
		t.Helper()
		before := b.w.Revision()
		b.must(edit.SweepEdge(b.w, d, at))
		return b.w.Revision() > before
	}
	next := func(want time.Time, of dove.Tenant) {
		t.Helper()
		if at, d := edit.NextEdge(b.rebuilt()); !at.Equal(want) || d.Tenant != of {
			t.Errorf("next is %v of %v, want %v of %q", at, d, want, of)
		}
	}
	next(until, "acme")
	if sweep(d, until.Add(-1)) || rules(b.w, d) != 1 {
		t.Error("it ended early")
	}
	if !sweep(d, until) || rules(b.w, d) != 0 || rules(b.rebuilt(), d) != 0 {
		t.Error("it did not end")
	}
	next(until, "bolt") // which ends at the same moment
	if !sweep(dove.Domain{Tenant: "bolt", Name: "shop"}, until.Add(time.Minute)) {
		t.Error("the other tenant's did not end")
	}
	next(time.Time{}, "")
	if sweep(d, until) || sweep(d, until.Add(-2*time.Hour)) || rules(b.w, d) != 0 {
		t.Error("it ended twice, or came back")
	}

	// The clock was ahead, or is behind: what would never be in force is refused.
	_, _, err := edit.PutBlueprint(b.w, "acme", "", []byte(ending(until.Add(-time.Minute))), now, nil)
	refused(t, err, dove.Conflict, `policy "web-app" would end at 2026-11-22T12:59:00Z, and policies of domain "shop" have ended up to 2026-11-22T13:00:00Z: a clock was ahead`)
	b.must(first(edit.PutBlueprint(b.w, "acme", "", []byte(ending(until.Add(-time.Minute))), until, nil))) // long over: no matter
	b.must(first(edit.PutBlueprint(b.w, "acme", "", []byte(ending(until.Add(time.Minute))), now, nil)))
	if rules(b.w, d) != 1 {
		t.Error("a later end is not in force")
	}
	// One that is over when it is written never is in force.
	b.must(first(edit.PutBlueprint(b.w, "acme", "", []byte(ending(until.Add(2*time.Minute))), until.Add(time.Hour), nil)))
	if at := b.w.Edge(d); rules(b.w, d) != 0 || !at.Equal(until.Add(2*time.Minute)) {
		t.Errorf("the edge is %v", at)
	}
	b.must(edit.DeleteEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "web-1"}, nil))
	b.must(edit.DeleteBlueprint(b.w, "acme", "shop", now, nil))
	if !sweep(d, now) || !b.w.Edge(d).IsZero() || slices.Contains(collect(b.w.EdgeDomains()), d) {
		t.Error("the edge outlived the domain")
	}
}

// A plan is not true any more when a policy ended after it was made.
func TestPlanBeforePoliciesEnd(t *testing.T) {
	b := stocked(t)
	d := dove.Domain{Tenant: "acme", Name: "shop"}
	until := now.Add(time.Hour)
	b.blueprint("acme", ending(until))
	text := []byte(strings.Replace(ending(until), "8080", "8081", 1))
	p, err := edit.Plan(b.w, "acme", text, now)
	if err != nil {
		t.Fatal(err)
	}
	txn := func() dove.Txn {
		txn, err := first(edit.PutPlanned(b.w, "acme", "shop", text, now, nil, p.Token))
		if err != nil {
			t.Fatal(err)
		}
		return txn
	}()
	b.must(edit.SweepEdge(b.w, d, until))
	if b.commit(txn) {
		t.Error("a policy ended between the decision and the commit")
	}
	_, _, err = edit.PutPlanned(b.w, "acme", "shop", text, until, nil, p.Token)
	refused(t, err, dove.Conflict, "is not true any more: alloc/edge/acme/shop changed since")
}

// One edit of a selector puts all endpoints into other classes. Their ids are
// decided by it, and no endpoint comes by without one.
func TestSelectorsReclass(t *testing.T) {
	b := stocked(t)
	d := dove.Domain{Tenant: "acme", Name: "shop"}
	b.blueprint("acme", strings.Replace(shop, "front: {subnets: [10.0.1.0/24,", "front: {subnets: [10.1.0.0/16, 10.0.1.0/24,", 1))
	const endpoints, kinds = 240, 60
	for i := range endpoints {
		b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", i)), Network: "front", Groups: []string{},
			Addresses: []string{fmt.Sprintf("10.1.1.%d", i+1)}, Labels: map[string]string{"kind": fmt.Sprintf("k%d", i%kinds)}})
	}
	text := func(kinds int) string {
		var lines strings.Builder
		for i := range kinds {
			fmt.Fprintf(&lines, "  k%d: {selector: {matchLabels: {kind: k%d}}}\n", i, i)
		}
		return strings.Replace(strings.Replace(shop, "front: {subnets: [10.0.1.0/24,", "front: {subnets: [10.1.0.0/16, 10.0.1.0/24,", 1), "policies:", lines.String()+"policies:", 1)
	}
	before, classes := b.w, len(collect(b.w.Classes(d)))
	txn, _, err := edit.PutBlueprint(b.w, "acme", "", []byte(text(kinds)), now, nil)
	if err != nil || !b.commit(txn) {
		t.Fatal(err)
	}
	told := func(before *world.World, txn dove.Txn) int {
		var docs []dove.Doc
		for _, p := range txn.Puts {
			docs = append(docs, dove.Doc{Key: p.Key, Value: p.Value, Revision: before.Revision() + 1})
		}
		_, delta, err := before.Apply(before.Revision()+1, docs)
		if err != nil {
			t.Fatal(err)
		}
		return len(delta.Endpoints)
	}
	if n := told(before, txn); n != endpoints {
		t.Errorf("%d endpoints are told as changed, want %d", n, endpoints)
	}
	if policies, _, err := edit.PutBlueprint(b.w, "acme", "", []byte(strings.Replace(text(kinds), "8080", "8081", 1)), now, nil); err != nil || told(b.w, policies) != 0 {
		t.Errorf("a verdict that changes tells endpoints: %v", err)
	}
	if n := len(collect(b.w.Classes(d))); n != classes+kinds {
		t.Errorf("%d classes after %d, want %d more", n, classes, kinds)
	}
	// An endpoint that came by the old words at the same time would lack a class.
	late, _, err := edit.PutEndpoint(before, edit.EndpointRequest{Tenant: "acme", ID: "late", Network: "front", Groups: []string{}, Labels: map[string]string{"kind": "k0"}}, edit.Chance{UID: 7, Now: now}, nil)
	if err != nil || b.commit(late) {
		t.Errorf("an endpoint of the old words was taken: %v", err)
	}
	for n := range b.w.Networks("acme") {
		for e := range b.w.EndpointsIn(n.Full()) {
			for key := range e.Signatures(b.w.Domain(d)) {
				if a, exists := b.w.ClassAlloc(d, key); !exists || a.FreedAt != nil {
					t.Errorf("%s has no class for %s", e.ID, key)
				}
			}
		}
	}
}

// What no switch can hold is refused before, with the groups, and a plan of it too;
// what was so before holds up nothing else.
func TestTablesThatDoNotFit(t *testing.T) {
	b := stocked(t)
	b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "app-1", Groups: []string{"shop/app"}})
	ports := func(n int, to string) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("tcp/%d", 2*i+1), fmt.Sprintf("udp/%d", 2*i+1))
		}
		return strings.NewReplacer("to: app, allow: [tcp/8080]", "to: "+to+", allow: ["+strings.Join(list, ", ")+"]", "db: {network: back", "db: {network: front").Replace(shop)
	}
	const fit, over = 4000, 4200
	put := func(text string) (dove.Txn, error) {
		return first(edit.PutBlueprint(b.w, "acme", "", []byte(text), now, nil))
	}
	if _, err := put(ports(fit, "app")); err != nil {
		t.Errorf("%d ranges: %v", 4*fit, err)
	}
	if _, err := put(ports(over, "db")); err != nil {
		t.Errorf("nobody is in the group: %v", err)
	}
	const want = "what policies say of packets from shop/web to shop/app fits no switch: more than 16384 ranges"
	_, err := put(ports(over, "app"))
	refused(t, err, dove.TooLarge, want)
	_, err = edit.Plan(b.w, "acme", []byte(ports(over, "app")), now)
	refused(t, err, dove.TooLarge, want)

	b.must(put(ports(over, "db")))
	b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "db-1", Groups: []string{"shop/db"}})
	b.must(put(ports(over, "db") + "  - {name: more, from: app, to: db, allow: [tcp/5432]}\n"))
}
