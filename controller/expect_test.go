package controller

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/resolver"
)

// A change of an endpoint's groups reaches each host with the pairs that flows
// of the new class need, before the class; and again when the groups change back.
func TestANewClassComesWithItsPairs(t *testing.T) {
	r, h1, h2, h3 := newShop(t)
	r.ask(h1, r.vni("acme"), "10.0.0.11", "10.0.0.12")
	r.ask(h2, r.vni("acme"), "10.0.0.12", "10.0.0.11")
	for _, d := range []*dswitch{h1, h2} {
		d.hear()
	}
	rev := r.endpoint("acme", "web-1", "h1", "10.0.0.11", "web", "db")
	expect(t, "the host of the endpoint", h1, "expect pair 3-5 allows", "expect pair 5-3 allows",
		"assign web-1", "pair 2-3 gone", "pair 3-2 gone", "frontier")
	expect(t, "the host of its peer", h2, "expect pair 3-5 allows", "expect pair 5-3 allows", "peer 10.0.0.11 at h1", "frontier")
	expect(t, "a host that talks with neither", h3)
	if got := r.core.Receipt(rev); got.Told != 2 {
		t.Errorf("receipt %+v", got)
	}
	r.check()
	r.endpoint("acme", "web-1", "h1", "10.0.0.11", "web")
	expect(t, "the host of the endpoint, back", h1, "expect pair 2-3 allows", "expect pair 3-2 denies",
		"assign web-1", "pair 3-5 gone", "pair 5-3 gone", "frontier")
	expect(t, "the host of its peer, back", h2, "peer 10.0.0.11 at h1", "frontier")
	r.check()
}

// The host that hands on for an endpoint, and may be made the active one again,
// gets the pairs before the class as the active one does.
func TestANewClassComesWithItsPairsOnStandby(t *testing.T) {
	r, h1, h2, h3 := newShop(t)
	r.ask(h1, r.vni("acme"), "10.0.0.11", "10.0.0.12")
	r.ask(h2, r.vni("acme"), "10.0.0.12", "10.0.0.11")
	r.decide(edit.PrepareEndpoint, "h3")
	r.ask(h3, r.vni("acme"), "10.0.0.11", "10.0.0.12")
	r.decide(edit.ActivateEndpoint, "h3")
	for _, d := range []*dswitch{h1, h2, h3} {
		d.hear()
	}
	r.endpoint("acme", "web-1", "", "10.0.0.11", "web", "db")
	for _, d := range []*dswitch{h1, h3} {
		got := fmt.Sprint(d.hear())
		if !strings.HasPrefix(got, "[expect pair 3-5 allows expect pair 5-3 allows assign web-1 ") {
			t.Errorf("%s hears %s", d.identity.Host, got)
		}
	}
	r.check()
}

// A Release that was sent before an Expect does not mean what the Expect brings.
func TestALateReleaseLeavesWhatIsExpected(t *testing.T) {
	r, h1, h2, _ := newShop(t)
	r.ask(h2, r.vni("acme"), "10.0.0.12", "10.0.0.11")
	r.ask(h1, r.vni("acme"), "10.0.0.11", "10.0.0.12")
	seen := h2.expected
	r.endpoint("acme", "web-1", "h1", "10.0.0.11", "web", "db")
	late := &control.Release{Expected: seen, Pairs: slices.Collect(maps.Keys(h2.pairs))}
	if h2.expected == seen || len(late.Pairs) != 4 {
		t.Fatalf("%d pairs, Expect %d after %d", len(late.Pairs), h2.expected, seen)
	}
	r.say(h2, late)
	delete(h2.pairs, control.PairKey{Domain: late.Pairs[0].Domain, Src: 2, Dst: 3})
	delete(h2.pairs, control.PairKey{Domain: late.Pairs[0].Domain, Src: 3, Dst: 2})
	if _, _, pairs := r.core.interest.Held(h2.id); pairs != len(h2.pairs) {
		t.Fatalf("the Core remembers %d pairs of %d", pairs, len(h2.pairs))
	}
	h2.hear()
	r.blueprint("acme", fmt.Sprintf(shop, webDB))
	expect(t, "a change of what was expected", h2, "peer 10.0.0.11 withheld", "pair 3-5 denies", "pair 5-3 denies", "frontier")
	r.say(h2, &control.Release{Expected: h2.expected, Pairs: slices.Collect(maps.Keys(h2.pairs))})
	if _, _, pairs := r.core.interest.Held(h2.id); pairs != 0 {
		t.Fatalf("the Core remembers %d pairs that were released", pairs)
	}
}

// A change while a host has no session reaches it in the same order when it is back.
func TestANewClassComesWithItsPairsAfterAnOutage(t *testing.T) {
	r, h1, h2, _ := newShop(t)
	r.endpoint("acme", "web-2", "h1", "10.0.0.21", "web") // goes on being what web-1 was
	r.ask(h1, r.vni("acme"), "10.0.0.11", "10.0.0.12")
	r.ask(h2, r.vni("acme"), "10.0.0.12", "10.0.0.11")
	seen := r.core.World().Revision()
	for _, d := range []*dswitch{h1, h2} {
		r.step(Closed{d.id})
	}
	r.endpoint("acme", "web-1", "h1", "10.0.0.11", "web", "db")
	delete(r.switches, h1.id)
	delete(r.switches, h2.id)
	h1 = r.resume(h1.identity, h1.hello(1, seen), h1)
	expect(t, "the host of the endpoint", h1, "*control.Welcome", "expect pair 2-5 allows", "expect pair 3-5 allows",
		"expect pair 5-2 allows", "expect pair 5-3 allows", "expect pair 5-5 allows",
		"assign web-1", "assign web-2", "assign web-1", "frontier")
	h2 = r.resume(h2.identity, h2.hello(1, seen), h2)
	expect(t, "the host of its peer", h2, "*control.Welcome", "expect pair 3-3 allows", "expect pair 3-5 allows", "expect pair 5-3 allows",
		"assign app-1", "assign app-1", "peer 10.0.0.11 at h1", "frontier")
	r.check()
}

// Before an asker is answered, the host of the peer is told who is about to send:
// if policy may let the packet through, and if it was not told already.
func TestThePeersHostIsToldWhomToExpect(t *testing.T) {
	r, h1, h2, h3 := newShop(t)
	r.blueprint("acme", fmt.Sprintf(shop, webApp+", "+appDB+", {name: web-web, from: web, to: web, allow: [tcp/80]}"))
	r.endpoint("acme", "web-2", "h1", "10.0.0.21", "web")
	vni := r.vni("acme")
	asks := func(what string, from *dswitch, local, peer string, outgoing bool, want ...string) {
		t.Helper()
		for _, d := range []*dswitch{h1, h2, h3} {
			d.hear()
		}
		q := control.Question{VNI: vni, Local: netip.MustParseAddr(local), Peer: netip.MustParseAddr(peer), Outgoing: outgoing}
		effects, err := r.core.Step(r.now, Received{from.id, &control.PolicyRequest{ID: 9, Questions: []control.Question{q}}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i, e := range effects {
			send, ok := e.(Send)
			if d := r.switches[send.Session]; ok && d != from && i < len(effects)-1 {
				for _, m := range send.Messages {
					r.take(d, m)
				}
				for _, words := range d.hear() {
					got = append(got, string(d.identity.Host)+": "+words)
				}
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	asks("a first packet", h1, "10.0.0.11", "10.0.0.12", true,
		"h2: expect peer 10.0.0.11 at h1", "h2: expect pair 2-3 allows", "h2: expect pair 3-2 denies")
	asks("the same again", h1, "10.0.0.11", "10.0.0.12", true)
	asks("another of the same class", h1, "10.0.0.21", "10.0.0.12", true, "h2: expect peer 10.0.0.21 at h1")
	asks("from the overlay", h2, "10.0.0.12", "10.0.0.13", false)
	asks("what no policy allows", h1, "10.0.0.11", "10.0.0.13", true)
	asks("nobody", h1, "10.0.0.11", "10.0.0.99", true)
	asks("a neighbour", h1, "10.0.0.11", "10.0.0.21", true)
	asks("another host's address", h3, "10.0.0.11", "10.0.0.12", true)
	r.step(Closed{h3.id})
	delete(r.switches, h3.id)
	asks("who has no session", h2, "10.0.0.12", "10.0.0.13", true)
	r.check()
}

// The host of a peer behind a router is told of the sender as it is known on the
// peer's network.
func TestTheHostBehindARouterIsToldWhomToExpect(t *testing.T) {
	r := newRig(t)
	a, b := r.host(1), r.host(2)
	r.tenant("acme")
	r.blueprint("acme", `{apiVersion: dove/v1, kind: Blueprint, name: shop,
networks: {front: {subnets: [10.0.0.0/24]}, back: {subnets: [10.0.1.0/24]}}, routers: {core: {networks: [front, back]}},
groups: {web: {network: front}, db: {network: back}}, policies: [{name: web-db, from: web, to: db, allow: [tcp/5432]}]}`)
	for _, e := range []edit.EndpointRequest{
		{Tenant: "acme", ID: "web-1", Host: "h1", Addresses: []string{"10.0.0.11"}, Groups: []string{"shop/web"}},
		{Tenant: "acme", ID: "db-1", Host: "h2", Addresses: []string{"10.0.1.13"}, Groups: []string{"shop/db"}},
	} {
		txn, _, err := edit.PutEndpoint(r.core.World(), e, edit.Chance{UID: dove.UID(r.core.World().Revision()) + 1000, Now: r.now}, nil)
		r.edit(txn, err)
	}
	h1, h2 := r.open(a), r.open(b)
	h2.hear()
	r.ask(h1, r.vni("acme"), "10.0.0.11", "10.0.1.13")
	expect(t, "the host behind the router", h2, "expect peer 10.0.0.11 at h1", "expect pair 2-3 allows", "expect pair 3-2 denies")
	back, _ := r.core.World().Network(dove.Network{Tenant: "acme", Name: "back"})
	if row, held := h2.peers[control.PeerKey{VNI: back.VNI, Addr: netip.MustParseAddr("10.0.0.11")}]; !held || row.VNI != r.vni("acme") {
		t.Errorf("it holds %+v", h2.peers)
	}
	r.check()
}

// Who is told of every appearance on a network hears of a new router's too.
func TestAScannerIsToldOfANewRouter(t *testing.T) {
	r, h1, _, _ := newShop(t)
	r.edit(first(edit.PutNetwork(r.core.World(), edit.NetworkRequest{Tenant: "acme", Name: "back", Domain: "shop", Subnets: []string{"10.0.9.0/24"}}, r.now, nil)))
	e := edit.EndpointRequest{Tenant: "acme", ID: "far-1", Network: "back", Host: "h2", Addresses: []string{"10.0.9.9"}, Groups: []string{"shop/app"}}
	r.edit(first(edit.PutEndpoint(r.core.World(), e, edit.Chance{UID: 77, Now: r.now}, nil)))
	for n := range resolver.AbsentMax + 10 {
		r.ask(h1, r.vni("acme"), "10.0.0.11", fmt.Sprintf("10.0.%d.%d", 1+n/256, n%256))
	}
	if a := r.ask(h1, r.vni("acme"), "10.0.0.11", "10.0.9.9"); a.Status != control.NoEndpoint {
		t.Fatalf("%+v", a)
	}
	h1.hear()
	r.edit(first(edit.PutRouter(r.core.World(), edit.RouterRequest{Tenant: "acme", Name: "core", Networks: []string{"front", "back"}}, nil)))
	if got := h1.hear(); !slices.Contains(got, "peer 10.0.9.9 taken back") {
		t.Errorf("it hears %v", got)
	}
	r.check()
}

func first[T any](txn dove.Txn, _ T, err error) (dove.Txn, error) { return txn, err }
