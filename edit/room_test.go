package edit_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// beside puts endpoints on host h1 as documents, as many as are wanted.
func (b *book) beside(n int, open bool) {
	b.t.Helper()
	var txn dove.Txn
	for i := range n {
		txn.Puts = append(txn.Puts, world.Put(world.Endpoint{
			Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("x%d", i)), UID: dove.UID(1000 + i), Network: "front", MAC: dove.MAC{2, 9, 0, 0, byte(i >> 8), byte(i)},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(100 + i>>8), byte(i)})}, Host: "h1", Epoch: 1, Open: open,
		}))
	}
	b.must(txn, nil)
}

// TestPortsOfAHost: no endpoint is bound where no port is left, in whatever way.
func TestPortsOfAHost(t *testing.T) {
	b := stocked(t)
	b.beside(dataplane.PortsMax-1, false) // web-1 is there
	_, _, err := edit.PutEndpoint(b.w, edit.EndpointRequest{Tenant: "acme", ID: "more", Groups: []string{"shop/web"}, Host: "h1"}, edit.Chance{UID: 7, Now: now}, nil)
	refused(t, err, dove.Conflict, fmt.Sprintf(`host "h1" has %d endpoints, and its switch no more than %[1]d ports`, dataplane.PortsMax))
	more := b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "more", Groups: []string{"shop/web"}, Host: "h2"})
	_, _, err = edit.PrepareEndpoint(b.w, more.Full(), "h1", nil)
	refused(t, err, dove.Conflict, "no more than")
	// What is there may be changed, and one that leaves makes room.
	_, _, err = edit.PutEndpoint(b.w, edit.EndpointRequest{Tenant: "acme", ID: "x1", Device: "tap7"}, edit.Chance{Now: now}, nil)
	if err != nil {
		t.Error(err)
	}
	b.must(first(edit.UnbindEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "x1"}, nil)))
	if _, _, err = edit.PrepareEndpoint(b.w, more.Full(), "h1", nil); err != nil {
		t.Error(err)
	}
}

// TestRoomForATrunk: what comes to a host with its parent needs room there beside it.
func TestRoomForATrunk(t *testing.T) {
	b := stocked(t)
	b.beside(dataplane.PortsMax-3, false) // and web-1
	b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "trunk", Network: "front", Host: "h2"})
	trunk := dove.Endpoint{Tenant: "acme", ID: "trunk"}
	for vlan := range uint16(2) {
		b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("sub-%d", vlan+1)), Network: "front", Parent: "trunk", VLAN: vlan + 1})
	}
	for _, bind := range []func(*world.World, dove.Endpoint, dove.HostName, *dove.Revision) (dove.Txn, world.Endpoint, error){edit.BindEndpoint, edit.PrepareEndpoint} {
		_, _, err := bind(b.w, trunk, "h1", nil)
		refused(t, err, dove.Conflict, `its sub-port "sub-2": host "h1" has 4096 endpoints`)
	}
	b.must(first(edit.UnbindEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "x1"}, nil)))
	b.must(first(edit.PrepareEndpoint(b.w, trunk, "h1", nil)))
	// What moves is counted there already.
	b.must(first(edit.ActivateEndpoint(b.w, trunk, "h1", nil)))
}

// TestPermitsOfAHost: what policies mention is refused by name of the host that would have to hold it for
// endpoints without port security, and so is one such endpoint more.
func TestPermitsOfAHost(t *testing.T) {
	b := stocked(t)
	b.beside(50, true)
	old, _ := b.w.Blueprint("acme", "shop")
	text := func(prefixes int) []byte {
		var list []string
		for i := range prefixes {
			list = append(list, fmt.Sprintf("198.%d.%d.%d/30", 18+i>>14, i>>6&255, i&63*4))
		}
		return []byte(old.Text + "  - {name: out, from: world, to: web, allow: [tcp/1]}\noutside: {world: {prefixes: [" + strings.Join(list, ", ") + "]}}\n")
	}
	_, err := edit.Plan(b.w, "acme", text(1400), now)
	refused(t, err, dove.TooLarge, `what endpoints on host "h1" may send from would have 70100 parts that policies mention, and its switch holds 65536`)
	_, _, err = edit.PutBlueprint(b.w, "acme", "shop", text(1400), now, nil)
	refused(t, err, dove.TooLarge, `host "h1"`)
	crowded := stocked(t)
	crowded.beside(1000, true)
	_, err = edit.Plan(crowded.w, "acme", text(1400), now)
	refused(t, err, dove.TooLarge, `would have more than 262144 parts`)
	steps := edit.InSteps(func(w *world.World) (dove.Txn, error) {
		return first(edit.PutBlueprint(w, "acme", "shop", text(1300), now, nil))
	})
	for last := false; !last; {
		var txn dove.Txn
		txn, last, err = steps.Next(b.w)
		b.must(txn, err)
	}
	open := edit.EndpointRequest{Tenant: "acme", ID: "open", Network: "front", Host: "h1", PortSecurity: new(false)}
	_, _, err = edit.PutEndpoint(b.w, open, edit.Chance{UID: 7, Now: now}, nil)
	refused(t, err, dove.TooLarge, `what it may send from has 1302 parts that policies mention, beside 65100 of other endpoints on host "h1", whose switch holds 65536`)
	// Of a trunk either would fit, but not both.
	b.must(first(edit.UnbindEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "x1"}, nil)))
	b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "trunk", Network: "front", Host: "h2", PortSecurity: new(false)})
	b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "sub", Network: "front", Parent: "trunk", VLAN: 7, PortSecurity: new(false)})
	_, _, err = edit.BindEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "trunk"}, "h1", nil)
	refused(t, err, dove.TooLarge, `its sub-port "sub": what it may send from has 1302 parts that policies mention, beside 65100 of other endpoints on host "h1"`)
	b.must(first(edit.BindEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "x1"}, "h1", nil)))
	open.Host = "h2"
	b.endpoint(open)
	_, _, err = edit.BindEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "open"}, "h1", nil)
	refused(t, err, dove.TooLarge, `host "h1"`)
}
