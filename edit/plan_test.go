package edit_test

import (
	"testing"

	"dove.network/dove"
	"dove.network/edit"
)

// TestPutPlanned applies a text with the token of its plan: refused as soon as
// something that the plan read is another, and not for anything else.
func TestPutPlanned(t *testing.T) {
	b := stocked(t)
	text := []byte(without(shop, "back") + "\n")
	token := func() string {
		t.Helper()
		p, err := edit.Plan(b.w, "acme", text, now)
		if err != nil {
			t.Fatal(err)
		}
		return p.Token
	}
	put := func(token string) (dove.Txn, error) {
		return first(edit.PutPlanned(b.w, "acme", "shop", text, now, nil, token))
	}
	endpoint := func(r edit.EndpointRequest) {
		t.Helper()
		r.Tenant = "acme"
		b.must(first(edit.PutEndpoint(b.w, r, edit.Chance{UID: dove.UID(b.w.Revision() + 99), Now: now}, nil)))
	}
	planned := token()
	stale := func(want string) {
		t.Helper()
		_, err := put(planned)
		refused(t, err, dove.Conflict, "is not true any more: "+want)
		planned = token()
	}
	endpoint(edit.EndpointRequest{ID: "one", Groups: []string{"shop/web"}})
	stale("endpoints/acme/one changed since")
	endpoint(edit.EndpointRequest{ID: "one", Groups: []string{"shop/app"}})
	stale("endpoints/acme/one changed since")
	b.must(first(edit.PutBlueprint(b.w, "acme", "", []byte("{apiVersion: dove/v1, kind: Blueprint, name: two, domain: shop}"), now, nil)))
	stale("blueprints/acme/two changed since")
	b.must(edit.DeleteBlueprint(b.w, "acme", "two", now, nil))
	stale("it is of another text, or something that it relied on was deleted")
	_, _, err := edit.PutPlanned(b.w, "acme", "", []byte(without(shop, "back")+"\n\n"), now, nil, planned)
	refused(t, err, dove.Conflict, "it is of another text")
	_, err = put("soon")
	refused(t, err, dove.Invalid, `"soon" is no token of a plan`)

	// What does not touch the domain, and where endpoints are bound, does not count.
	b.tenant("bolt")
	b.must(first(edit.PutBlueprint(b.w, "acme", "", []byte("{apiVersion: dove/v1, kind: Blueprint, name: other}"), now, nil)))
	b.host("h9", "192.0.2.99")
	endpoint(edit.EndpointRequest{ID: "one", Groups: []string{"shop/app"}, Host: "h9"})
	txn, err := put(planned)
	if err != nil || txn.Empty() {
		t.Fatalf("%+v, %v", txn, err)
	}

	// An endpoint that comes between the decision and the commit is noticed.
	endpoint(edit.EndpointRequest{ID: "two", Groups: []string{"shop/web"}})
	if b.commit(txn) {
		t.Error("a plan was applied that did not know of an endpoint")
	}
	b.must(edit.DeleteEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "two"}, nil))
	b.must(put(planned))
	if txn, err := put(planned); err != nil || !txn.Empty() {
		t.Errorf("applied again: %+v, %v", txn, err)
	}
}
