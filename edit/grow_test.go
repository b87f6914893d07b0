package edit_test

import (
	"testing"

	"dove.network/dove"
	"dove.network/edit"
)

// TestGrows says which writes a full store does not take any more.
func TestGrows(t *testing.T) {
	b := stocked(t)
	for name, test := range map[string]struct {
		txn   func() (dove.Txn, error)
		grows bool
	}{
		"tenant": {func() (dove.Txn, error) { return first(edit.PutTenant(b.w, "new", nil)) }, true},
		"blueprint": {func() (dove.Txn, error) {
			return first(edit.PutBlueprint(b.w, "acme", "shop", []byte(shop+"\n"), now, nil))
		}, true},
		"binding": {func() (dove.Txn, error) {
			return first(edit.BindEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "web-1"}, "h2", nil))
		}, false},
		"unbinding": {func() (dove.Txn, error) {
			return first(edit.UnbindEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "web-1"}, nil))
		}, false},
		"deletion": {func() (dove.Txn, error) {
			return edit.DeleteEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "web-1"}, nil)
		}, false},
		"member": {func() (dove.Txn, error) { return first(edit.PutMember(b.w, memberDoc("dpc-1", 1), true)) }, false},
	} {
		txn, err := test.txn()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if edit.Grows(txn, nil) != test.grows {
			t.Errorf("%s grows: %v, want %v", name, !test.grows, test.grows)
		}
	}
}
