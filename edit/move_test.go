package edit_test

import (
	"testing"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// TestMove follows an endpoint to another host and back, and tries each step
// where it is out of order.
func TestMove(t *testing.T) {
	b := stocked(t)
	b.host("h3", "192.0.2.3")
	name := dove.Endpoint{Tenant: "acme", ID: "web-1"}
	type step func(*world.World, dove.Endpoint, dove.HostName, *dove.Revision) (dove.Txn, world.Endpoint, error)
	prepare, activate, finish, bind := step(edit.PrepareEndpoint), step(edit.ActivateEndpoint), step(edit.FinishEndpoint), step(edit.BindEndpoint)
	unbind := step(func(w *world.World, e dove.Endpoint, _ dove.HostName, r *dove.Revision) (dove.Txn, world.Endpoint, error) {
		return edit.UnbindEndpoint(w, e, r)
	})
	for i, c := range []struct {
		do      step
		host    dove.HostName
		refused dove.Kind
		words   string
		active  dove.HostName
		standby dove.HostName
		moved   bool
	}{
		{do: activate, host: "h2", refused: dove.Conflict, words: `not on standby on host "h2"`},
		{do: activate, host: "", refused: dove.Conflict, words: "prepare it there first"},
		{do: finish, host: "h2", refused: dove.NotFound, words: `no binding to host "h2"`},
		{do: finish, host: "", refused: dove.NotFound, words: "no binding"},
		{do: finish, host: "h1", refused: dove.Conflict, words: `active on host "h1"`},
		{do: prepare, host: "h9", refused: dove.Invalid, words: `unknown host "h9"`},
		{do: prepare, host: "", refused: dove.Invalid, words: "unknown host"},
		{do: prepare, host: "h1", refused: dove.Conflict, words: "active on host"},
		{do: prepare, host: "h2", active: "h1", standby: "h2"},
		{do: prepare, host: "h2", active: "h1", standby: "h2", words: "same"},
		{do: prepare, host: "h3", refused: dove.Conflict, words: `between hosts "h1" and "h2"`},
		{do: activate, host: "h3", refused: dove.Conflict, words: "not on standby"},
		{do: bind, host: "h1", active: "h1", standby: "h2", words: "same"},
		{do: activate, host: "h2", active: "h2", standby: "h1", moved: true},
		{do: activate, host: "h2", active: "h2", standby: "h1", moved: true, words: "same"},
		{do: prepare, host: "h1", active: "h2", standby: "h1", moved: true, words: "same"},
		{do: finish, host: "h2", refused: dove.Conflict, words: "active on host"},
		{do: activate, host: "h1", active: "h1", standby: "h2", moved: true},
		{do: finish, host: "h2", active: "h1"},
		{do: prepare, host: "h3", active: "h1", standby: "h3"},
		{do: finish, host: "h3", active: "h1"},
		{do: prepare, host: "h3", active: "h1", standby: "h3"},
		{do: bind, host: "h2", active: "h2"},
		{do: prepare, host: "h3", active: "h2", standby: "h3"},
		{do: unbind},
		{do: prepare, host: "h3", refused: dove.Conflict, words: "on no host"},
	} {
		before, _ := b.w.Endpoint(name)
		txn, e, err := c.do(b.w, name, c.host, nil)
		if c.refused != 0 {
			refused(t, err, c.refused, c.words)
			continue
		}
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if txn.Empty() != (c.words == "same") || c.words != "same" && c.active != "" && e.Epoch <= before.Epoch {
			t.Errorf("step %d: transaction %v, epoch %d after %d", i, txn, e.Epoch, before.Epoch)
		}
		b.must(txn, nil)
		if e, _ = b.w.Endpoint(name); e.Host != c.active || e.Standby != c.standby || e.Activated != c.moved {
			t.Errorf("step %d: %+v", i, e)
		}
		for _, h := range []dove.HostName{"h1", "h2", "h3"} {
			if on := len(collect(b.w.EndpointsOn(h))) == 1; on != (h == c.active || h == c.standby) {
				t.Errorf("step %d: on host %s: %v", i, h, on)
			}
		}
	}
	// A host on standby is in use, and the prepare relies on it.
	b.must(first(edit.BindEndpoint(b.w, name, "h1", nil)))
	old := b.w
	txn, _, err := edit.PrepareEndpoint(old, name, "h3", nil)
	b.must(edit.DeleteHost(b.w, "h3", nil))
	if err != nil || b.commit(txn) {
		t.Errorf("prepared on a host that was deleted meanwhile: %v", err)
	}
	b.host("h3", "192.0.2.3")
	txn, _, err = edit.BindEndpoint(b.w, name, "h3", nil)
	b.must(edit.DeleteHost(b.w, "h3", nil))
	if err != nil || b.commit(txn) {
		t.Errorf("bound to a host that was deleted meanwhile: %v", err)
	}
	// Nor is it deleted by who did not see the binding yet, of either kind.
	gone, err := edit.DeleteHost(b.w, "h2", nil)
	b.must(first(edit.PrepareEndpoint(b.w, name, "h2", nil)))
	if err != nil || b.commit(gone) {
		t.Errorf("deleted a host that was prepared on meanwhile: %v", err)
	}
	_, err = edit.DeleteHost(b.w, "h2", nil)
	refused(t, err, dove.Conflict, `host "h2" has endpoints`)
	b.host("h3", "192.0.2.3")
	gone, err = edit.DeleteHost(b.w, "h3", nil)
	b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "web-2", Groups: []string{"shop/web"}, Host: "h3"})
	if err != nil || b.commit(gone) {
		t.Errorf("deleted a host that was bound to meanwhile: %v", err)
	}

	// Of two who activate or finish at once, one does.
	activated, _, err := edit.ActivateEndpoint(b.w, name, "h2", nil)
	if err != nil {
		t.Fatal(err)
	}
	b.must(first(edit.FinishEndpoint(b.w, name, "h2", nil)))
	if b.commit(activated) {
		t.Error("activated what was finished meanwhile")
	}
	// Other changes leave a move alone.
	b.must(first(edit.PrepareEndpoint(b.w, name, "h2", nil)))
	e := b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "web-1", Groups: []string{"shop/app"}})
	if e.Host != "h1" || e.Standby != "h2" {
		t.Errorf("after a change of groups: %+v", e)
	}
}
