package controller

import (
	"net/netip"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
)

// allow lets an endpoint of acme have an address that others may have too, and says how it claims that.
func (r *rig) allow(id dove.EndpointID, group string, vip netip.Addr) control.Claim {
	r.t.Helper()
	txn, e, err := edit.PutEndpoint(r.core.World(), edit.EndpointRequest{
		Tenant: "acme", ID: id, Groups: []string{"shop/" + group}, Allowed: []edit.AllowedRequest{{Prefix: vip.String()}},
	}, edit.Chance{Now: r.now}, nil)
	r.edit(txn, err)
	return control.Claim{Endpoint: e.Full(), Epoch: e.Epoch, Addr: vip}
}

// TestAVirtualAddressMoves has two guests claim an address: whoever holds its
// row hears each move, which come a second apart at least.
func TestAVirtualAddressMoves(t *testing.T) {
	r, h1, h2, h3 := newShop(t)
	vip := netip.MustParseAddr("10.0.0.100")
	app, db := r.allow("app-1", "app", vip), r.allow("db-1", "app", vip)
	for _, d := range []*dswitch{h1, h2, h3} {
		d.hear()
	}
	if a := h2.assigned[app.Endpoint]; len(a.Allowed) != 1 || a.Allowed[0].Prefix != netip.PrefixFrom(vip, 32) || a.Allowed[0].Class == 0 {
		t.Errorf("assigned %+v", a)
	}
	acme := r.vni("acme")
	if answer := r.ask(h1, acme, "10.0.0.11", vip.String()); answer.Status != control.NoEndpoint {
		t.Errorf("before the first claim: %+v", answer)
	}
	where := func() dove.HostName { return h1.peers[control.PeerKey{VNI: acme, Addr: vip}].Host }
	r.say(h2, &app)
	if got := r.ask(h1, acme, "10.0.0.11", vip.String()); got.Status != control.Found || where() != "h2" {
		t.Fatalf("claimed by app-1: %+v, at %q", got, where())
	}
	r.say(h2, &app) // once more changes nothing
	r.say(h3, &db)
	if where() != "h2" || len(r.claimed) != 1 {
		t.Errorf("a second has not passed, and it is at %q after %v", where(), r.claimed)
	}
	r.now = r.now.Add(ClaimEvery)
	r.step(Tick{})
	if where() != "h3" || len(r.claimed) != 2 {
		t.Errorf("after a second it is at %q after %v", where(), r.claimed)
	}
	// Another member has it moved: the next move is a second later, here too.
	r.now = r.now.Add(2 * time.Second)
	r.edit(edit.ClaimAddress(r.core.World(), edit.ClaimRequest{Endpoint: app.Endpoint, Epoch: app.Epoch, Addr: vip}))
	r.say(h3, &db)
	if where() != "h2" {
		t.Errorf("a second after another member's move has not passed, and it is at %q", where())
	}
	r.now = r.now.Add(ClaimEvery)
	r.step(Tick{})
	if where() != "h3" || len(r.claimed) != 3 {
		t.Errorf("a second after another member's move it is at %q after %v", where(), r.claimed)
	}
	r.now = r.now.Add(2 * time.Second)
	r.step(Tick{})
	if len(r.core.claims) != 0 {
		t.Errorf("%d claims are remembered", len(r.core.claims))
	}
	r.check()

	// Nobody claims for others, from before, or what is not allowed.
	r.say(h1, &app)
	old, foreign := app, app
	old.Epoch--
	foreign.Addr = netip.MustParseAddr("10.0.0.101")
	r.say(h2, &old)
	r.say(h2, &foreign)
	if len(r.denied) != 1 || len(r.claimed) != 3 || where() != "h3" {
		t.Errorf("denied %v, claimed %v, at %q", r.denied, r.claimed, where())
	}
	if got := r.ask(h3, acme, vip.String(), "10.0.0.11"); got.Status != control.Found {
		t.Errorf("the holder asks from it: %+v", got)
	}
}
