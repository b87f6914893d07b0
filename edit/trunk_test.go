package edit_test

import (
	"fmt"
	"testing"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// TestTrunk gives an endpoint sub-ports, which are bound where it is.
func TestTrunk(t *testing.T) {
	b := stocked(t)
	put := func(r edit.EndpointRequest) (dove.Txn, world.Endpoint, error) {
		r.Tenant = "acme"
		return edit.PutEndpoint(b.w, r, edit.Chance{UID: 70, Now: now}, nil)
	}
	name := dove.Endpoint{Tenant: "acme", ID: "web-1"}
	parent, _ := b.w.Endpoint(name)
	ask := func(id string, vlan uint16) edit.EndpointRequest {
		return edit.EndpointRequest{Tenant: "acme", ID: dove.EndpointID(id), Network: "back", MAC: parent.MAC.String(), Parent: "web-1", VLAN: vlan}
	}
	is := func(id string) world.Endpoint {
		e, _ := b.w.Endpoint(dove.Endpoint{Tenant: "acme", ID: dove.EndpointID(id)})
		return e
	}
	seven := b.endpoint(ask("seven", 7))
	if seven.Parent != "web-1" || seven.VLAN != 7 || seven.Host != parent.Host || seven.Epoch == 0 || seven.MAC != parent.MAC || seven.Network == parent.Network {
		t.Fatalf("%+v", seven)
	}
	if b.w.DocRevision(parent.Key()) != b.w.Revision() {
		t.Error("who binds the parent at the same time is not told")
	}
	b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "three", Network: "front", Parent: "web-1", VLAN: 3})
	if n := fmt.Sprint(ids(b.w, name)); n != "[three seven]" {
		t.Errorf("sub-ports %s", n)
	}

	for what, c := range map[string]struct {
		request edit.EndpointRequest
		kind    dove.Kind
		words   string
	}{
		"taken VLAN":        {ask("x", 7), dove.Conflict, `VLAN 7 of endpoint "web-1" is that of its sub-port "seven"`},
		"no VLAN":           {ask("x", 0), dove.Invalid, "VLAN 0 is not one of 1 to 4094"},
		"too great":         {ask("x", 4095), dove.Invalid, "VLAN 4095 is not one"},
		"VLAN alone":        {edit.EndpointRequest{ID: "x", Network: "back", VLAN: 7}, dove.Invalid, "VLAN 7 is of no parent's"},
		"unknown":           {edit.EndpointRequest{ID: "x", Network: "back", VLAN: 7, Parent: "y"}, dove.Invalid, `unknown endpoint "y"`},
		"itself":            {edit.EndpointRequest{ID: "x", Network: "back", VLAN: 7, Parent: "x"}, dove.Invalid, `unknown endpoint "x"`},
		"of a sub-port":     {edit.EndpointRequest{ID: "x", Network: "back", VLAN: 7, Parent: "seven"}, dove.Invalid, `"seven" is a sub-port itself`},
		"own host":          {edit.EndpointRequest{ID: "seven", Host: "h2"}, dove.Conflict, `bound where endpoint "web-1" is`},
		"own device":        {edit.EndpointRequest{ID: "seven", Device: "tap7"}, dove.Conflict, `come by the device of endpoint "web-1"`},
		"another VLAN":      {edit.EndpointRequest{ID: "seven", VLAN: 8}, dove.Conflict, `the sub-port of "web-1" under VLAN 7 for life`},
		"another parent":    {edit.EndpointRequest{ID: "seven", Parent: "db-1"}, dove.Conflict, "for life"},
		"no longer its own": {edit.EndpointRequest{ID: "web-1", Groups: []string{"shop/web"}, Parent: "three", VLAN: 9}, dove.Conflict, `is no sub-port for life`},
	} {
		_, _, err := put(c.request)
		t.Log(what)
		refused(t, err, c.kind, c.words)
	}
	if txn, _, err := put(edit.EndpointRequest{ID: "seven", Parent: "web-1", VLAN: 7, Host: parent.Host}); err != nil || !txn.Empty() {
		t.Errorf("said again: %+v, %v", txn, err)
	}

	// What binds the parent binds them, each under a new epoch.
	b.host("h3", "192.0.2.3")
	along := func(what string, txn dove.Txn, e world.Endpoint, err error) {
		t.Helper()
		before := map[string]dove.Epoch{"seven": is("seven").Epoch, "three": is("three").Epoch}
		b.must(txn, err)
		for id, epoch := range before {
			if sub := is(id); sub.Host != e.Host || sub.Standby != e.Standby || sub.Activated != e.Activated || e.Host != "" && sub.Epoch <= epoch {
				t.Errorf("%s: %+v, its parent %+v", what, sub, e)
			}
		}
	}
	txn, e, err := edit.PrepareEndpoint(b.w, name, "h3", nil)
	along("prepared", txn, e, err)
	_, _, err = put(ask("late", 9))
	refused(t, err, dove.Conflict, `"web-1" moves between hosts`)
	txn, e, err = edit.ActivateEndpoint(b.w, name, "h3", nil)
	along("activated", txn, e, err)
	txn, e, err = edit.FinishEndpoint(b.w, name, parent.Host, nil)
	along("finished", txn, e, err)
	txn, e, err = edit.BindEndpoint(b.w, name, "h2", nil)
	along("bound", txn, e, err)
	txn, e, err = put(edit.EndpointRequest{ID: "web-1", Groups: []string{"shop/web"}, Host: "h3"})
	along("put", txn, e, err)
	txn, e, err = edit.UnbindEndpoint(b.w, name, nil)
	along("unbound", txn, e, err)
	txn, e, err = edit.BindEndpoint(b.w, name, "h2", nil)
	along("bound again", txn, e, err)
	for what, do := range map[string]func() (dove.Txn, world.Endpoint, error){
		"bind":    func() (dove.Txn, world.Endpoint, error) { return edit.BindEndpoint(b.w, seven.Full(), "h3", nil) },
		"unbind":  func() (dove.Txn, world.Endpoint, error) { return edit.UnbindEndpoint(b.w, seven.Full(), nil) },
		"prepare": func() (dove.Txn, world.Endpoint, error) { return edit.PrepareEndpoint(b.w, seven.Full(), "h3", nil) },
	} {
		_, _, err := do()
		t.Log(what)
		refused(t, err, dove.Conflict, `"acme/seven" is a sub-port of "acme/web-1"`)
	}

	_, err = edit.DeleteEndpoint(b.w, name, nil)
	refused(t, err, dove.Conflict, `"three", "seven"`)
	for _, id := range []string{"three", "seven"} {
		b.must(edit.DeleteEndpoint(b.w, is(id).Full(), nil))
	}
	b.must(edit.DeleteEndpoint(b.w, name, nil))
}

// TestTrunkIsBounded makes as many sub-ports as an endpoint may have, and binds them
// all at once.
func TestTrunkIsBounded(t *testing.T) {
	b := stocked(t)
	ask := func(n int) edit.EndpointRequest {
		return edit.EndpointRequest{Tenant: "acme", ID: dove.EndpointID(fmt.Sprint("sub-", n)), Network: "front", Parent: "web-1", VLAN: uint16(n)}
	}
	for n := range edit.SubPortsMax {
		b.endpoint(ask(n + 1))
	}
	_, _, err := edit.PutEndpoint(b.w, ask(edit.SubPortsMax+1), edit.Chance{UID: 1, Now: now}, nil)
	refused(t, err, dove.TooLarge, "has 64 sub-ports")
	txn, _, err := edit.PrepareEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "web-1"}, "h2", nil)
	b.must(txn, err)
}

func ids(w *world.World, parent dove.Endpoint) (names []dove.EndpointID) {
	for e := range w.SubPorts(parent) {
		names = append(names, e.ID)
	}
	return names
}

// checkTrunk checks that a sub-port is bound where its parent is, and the only one
// with its VLAN.
func checkTrunk(t testing.TB, w *world.World, e world.Endpoint) {
	t.Helper()
	if e.Parent == "" {
		if e.VLAN != 0 {
			t.Errorf("endpoint %s has a VLAN and no parent: %+v", e.Full(), e)
		}
		return
	}
	parent, ok := w.Endpoint(e.ParentOf())
	if !ok || parent.Parent != "" || parent.Host != e.Host || parent.Standby != e.Standby || parent.Activated != e.Activated || e.Device != "" {
		t.Errorf("%+v is a sub-port of %+v", e, parent)
	}
	for other := range w.SubPorts(e.ParentOf()) {
		if other.ID != e.ID && other.VLAN == e.VLAN {
			t.Errorf("sub-ports %s and %s have one VLAN", e.Full(), other.Full())
		}
	}
}
