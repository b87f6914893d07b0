package edit_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// TestAllowed gives endpoints more than their own addresses, and refuses what is
// somebody else's.
func TestAllowed(t *testing.T) {
	b := stocked(t)
	b.must(first(edit.PutRouter(b.w, edit.RouterRequest{Tenant: "acme", Name: "core", Networks: []string{"front"}, Addresses: map[string][]string{"front": {"10.0.1.200"}}}, nil)))
	core, _ := b.w.Router(dove.Router{Tenant: "acme", Name: "core"})
	other := b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "other", Network: "front", Addresses: []string{"10.0.1.60"}})
	put := func(id string, allowed ...edit.AllowedRequest) (dove.Txn, world.Endpoint, error) {
		return edit.PutEndpoint(b.w, edit.EndpointRequest{Tenant: "acme", ID: dove.EndpointID(id), Groups: []string{"shop/web"}, Addresses: []string{"10.0.1.50"}, Allowed: allowed}, edit.Chance{UID: 50, Now: now}, nil)
	}
	_, _, err := put("gw", edit.AllowedRequest{Prefix: "10.0.1.0/33"}, edit.AllowedRequest{Prefix: "10.9.0.1/16"}, edit.AllowedRequest{Prefix: "127.1.0.0/16"},
		edit.AllowedRequest{Prefix: "10.0.1.50"}, edit.AllowedRequest{Prefix: "10.0.1.200"}, edit.AllowedRequest{Prefix: "10.0.1.60"},
		edit.AllowedRequest{Prefix: "10.8.0.0/16", MAC: other.MAC.String()}, edit.AllowedRequest{Prefix: "10.7.0.0/16", MAC: core.Interfaces[0].MAC.String()},
		edit.AllowedRequest{Prefix: "10.6.0.0/16", MAC: "01:00:5e:00:00:01"}, edit.AllowedRequest{Prefix: "10.5.0.0/16"}, edit.AllowedRequest{Prefix: "10.5.0.0/16"})
	refused(t, err, dove.Invalid, `allowed[0]: "10.0.1.0/33" is no address or prefix`, `allowed[1]: "10.9.0.1/16" has bits set beyond its length`,
		`allowed[2]: "127.1.0.0/16" lies in 127.0.0.0/8, loopback`, `allowed[3]: 10.0.1.50 is the endpoint's own address`,
		`allowed[4]: address 10.0.1.200 is that of router "core"`, `allowed[5]: address 10.0.1.60 is that of endpoint "other"`,
		fmt.Sprintf(`allowed[6]: MAC %s is that of endpoint "other"`, other.MAC), fmt.Sprintf(`allowed[7]: MAC %s is that of router "core"`, core.Interfaces[0].MAC),
		`allowed[8]: MAC 01:00:5e:00:00:01 is no unicast address`, `allowed[10]: 10.5.0.0/16 is given twice`)

	b.must(first(put("gw", edit.AllowedRequest{Prefix: "10.9.0.0/16"}, edit.AllowedRequest{Prefix: "10.0.1.100", MAC: "00:00:5e:00:01:07"})))
	gw, _ := b.w.Endpoint(dove.Endpoint{Tenant: "acme", ID: "gw"})
	if vip := addr("10.0.1.100"); !gw.Has(vip) || gw.MACFor(vip).String() != "00:00:5e:00:01:07" || gw.MACFor(addr("10.9.1.1")) != gw.MAC || b.w.AddressClass(gw, vip) == 0 {
		t.Errorf("it has what it is allowed: %+v", gw)
	}
	// What is left out stays; an empty list takes it away. Free addresses keep clear.
	same, err := edit.EndpointRequest{Tenant: "acme", ID: "gw", Groups: []string{"shop/web"}}, error(nil)
	if txn, _, err2 := edit.PutEndpoint(b.w, same, edit.Chance{Now: now}, nil); err2 != nil || !txn.Empty() {
		t.Errorf("left out: %v %v %v", txn, err, err2)
	}
	n, _ := b.w.Network(gw.NetworkOf())
	if r := b.w.Reach(n, addr("10.9.1.1")); len(r.Ways) != 1 || r.Ways[0].Endpoint.ID != "gw" {
		t.Errorf("behind it: %+v", r)
	}
	_, _, err = edit.PutRouter(b.w, edit.RouterRequest{Tenant: "acme", Name: "core", Networks: []string{"front"}, Addresses: map[string][]string{"front": {"10.0.1.100"}}}, nil)
	refused(t, err, dove.Conflict, `address 10.0.1.100 of router "core" on network "front" is allowed to endpoint "gw"`)

	// Port security is part of the class.
	class := b.w.AddressClass(gw, gw.Addresses[0])
	same.PortSecurity = new(false)
	open := b.endpoint(same)
	if now := b.w.AddressClass(open, open.Addresses[0]); !open.Open || now == class || now == 0 {
		t.Errorf("without port security it is of class %d, before %d", now, class)
	}
	same.PortSecurity, same.Allowed = new(true), []edit.AllowedRequest{}
	if bare := b.endpoint(same); bare.Open || len(bare.Allowed) > 0 || b.w.AddressClass(bare, bare.Addresses[0]) != class {
		t.Errorf("all taken away: %+v", bare)
	}
}

// TestClaims has two endpoints take a virtual address from each other.
func TestClaims(t *testing.T) {
	b := stocked(t)
	vip := netip.MustParseAddr("10.0.1.100")
	make := func(id string) world.Endpoint {
		return b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: dove.EndpointID(id), Groups: []string{"shop/web"}, Host: "h1", Allowed: []edit.AllowedRequest{{Prefix: vip.String()}}})
	}
	one := make("one")
	n, _ := b.w.Network(one.NetworkOf())
	holder := func() dove.EndpointID {
		if r := b.w.Reach(n, vip); len(r.Ways) > 0 {
			return r.Ways[0].Endpoint.ID
		}
		return ""
	}
	claim := func(e world.Endpoint, epoch dove.Epoch) dove.Txn {
		txn, err := edit.ClaimAddress(b.w, edit.ClaimRequest{Endpoint: e.Full(), Epoch: epoch, Addr: vip})
		if err != nil {
			t.Fatal(err)
		}
		return txn
	}
	if holder() != "one" || !claim(one, one.Epoch).Empty() {
		t.Errorf("the only one that is allowed it has it without a claim: %q", holder())
	}
	two := make("two")
	if holder() != "" {
		t.Errorf("before the first claim it is %q's", holder())
	}
	b.must(claim(two, two.Epoch), nil)
	if holder() != "two" || !claim(two, two.Epoch).Empty() {
		t.Errorf("claimed by two: it is %q's", holder())
	}
	if stranger, _ := b.w.Endpoint(dove.Endpoint{Tenant: "acme", ID: "web-1"}); !claim(stranger, stranger.Epoch).Empty() || !claim(one, one.Epoch+1).Empty() {
		t.Error("who may not have it claims it, or from a binding that is over")
	}
	b.must(claim(one, one.Epoch), nil)
	if kept, _ := b.w.Claim(n.Full(), vip); holder() != "one" || kept.Epoch != 2 {
		t.Errorf("claimed back: it is %q's, %+v", holder(), kept)
	}
	// Another life of the holder has no claim, and the sweep forgets it.
	b.must(edit.DeleteEndpoint(b.w, one.Full(), nil))
	if holder() != "two" {
		t.Errorf("the only one left has it: %q", holder())
	}
	b.must(edit.Sweep(b.w, now.Add(time.Second)))
	if _, kept := b.w.Claim(n.Full(), vip); kept {
		t.Error("the claim of who is gone stays")
	}
}

// TestAllowedMoves holds that who may send from more than its own addresses moves live
// as anybody does, but not to a host without a dSwitch.
func TestAllowedMoves(t *testing.T) {
	b := stocked(t)
	b.must(first(edit.PutForeign(b.w, "store", addr("192.0.2.77"), false, nil)))
	name := dove.Endpoint{Tenant: "acme", ID: "gw"}
	gw := func(host dove.HostName, allowed []edit.AllowedRequest, secure bool) edit.EndpointRequest {
		return edit.EndpointRequest{Tenant: "acme", ID: name.ID, Groups: []string{"shop/web"}, Host: host, Allowed: allowed, PortSecurity: &secure}
	}
	for _, more := range []edit.EndpointRequest{gw("", []edit.AllowedRequest{{Prefix: "10.9.0.0/16"}}, true), gw("", []edit.AllowedRequest{}, false)} {
		b.endpoint(gw("h1", []edit.AllowedRequest{}, true))
		b.must(first(edit.PrepareEndpoint(b.w, name, "h2", nil)))
		more.Host = "h1"
		b.endpoint(more)
		b.must(first(edit.ActivateEndpoint(b.w, name, "h2", nil)))
		b.must(first(edit.FinishEndpoint(b.w, name, "h1", nil)))
		if e, _ := b.w.Endpoint(name); e.Host != "h2" || e.Standby != "" || len(e.Allowed) == 0 && !e.Open {
			t.Errorf("it became %+v", e)
		}
		_, _, err := edit.BindEndpoint(b.w, name, "store", nil)
		refused(t, err, dove.Conflict, `foreign host "store"`)
		b.must(first(edit.BindEndpoint(b.w, name, "h2", nil)))
		b.must(edit.DeleteEndpoint(b.w, name, nil))
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
