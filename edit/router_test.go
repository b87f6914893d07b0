package edit_test

import (
	"strings"
	"testing"

	"dove.network/dove"
	"dove.network/edit"
)

// TestRouterLife makes, changes and deletes a router, and refuses by name what
// would not fit.
func TestRouterLife(t *testing.T) {
	b := newBook(t)
	b.must(first(edit.PutTenant(b.w, "acme", nil)))
	for name, subnet := range map[string]string{"front": "10.0.1.0/24", "back": "10.0.2.0/24", "twin": "10.0.1.128/25"} {
		b.must(first(edit.PutNetwork(b.w, edit.NetworkRequest{Tenant: "acme", Name: name, Domain: "shop", Subnets: []string{subnet}}, now, nil)))
	}
	b.must(first(edit.PutNetwork(b.w, edit.NetworkRequest{Tenant: "acme", Name: "alien", Domain: "other", Subnets: []string{"10.9.0.0/24"}}, now, nil)))
	refused := func(err error, want ...string) {
		t.Helper()
		for _, w := range append(want, "refused") {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("no %q in %v", w, err)
			}
		}
	}
	put := func(networks []string, routes ...edit.RouteRequest) error {
		_, _, err := edit.PutRouter(b.w, edit.RouterRequest{Tenant: "acme", Name: "core", Networks: networks, Routes: routes}, nil)
		return err
	}
	refused(put([]string{"front", "nowhere"}), `networks[1]: unknown network "nowhere" (there are "alien", "back", "front" and more)`)
	refused(put([]string{"front", "alien"}), `network "front" is of domain "shop", network "alien" of "other" (a router joins networks of one domain)`)
	refused(put([]string{"front", "twin"}), `networks "front" (10.0.1.0/24) and "twin" (10.0.1.128/25) overlap, and both are reached from network "front" by router "core"`)
	refused(put([]string{"front"}, edit.RouteRequest{To: "10.0.1.0/26", Via: []string{"10.0.1.7"}}), "would never be taken")
	refused(put([]string{"front"}, edit.RouteRequest{To: "10.9.0.0/16", Via: []string{"10.0.2.7"}}), `next hop 10.0.2.7 of router "core" is in no subnet of its networks`)
	refused(put(nil), "networks is an empty list")

	squatter := b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "squatter", Network: "back", Addresses: []string{"10.0.2.1"}})
	refused(put([]string{"front", "back"}), `address 10.0.2.1 of router "core" on network "back" is that of endpoint "squatter"`)
	request := edit.RouterRequest{Tenant: "acme", Name: "core", Networks: []string{"front", "back"}, Addresses: map[string][]string{"back": {"10.0.2.2"}}}
	b.must(first(edit.PutRouter(b.w, request, nil)))
	core, ok := b.w.Router(dove.Router{Tenant: "acme", Name: "core"})
	if !ok || core.Domain != "shop" || len(core.Interfaces) != 2 || core.Interfaces[0].MAC == core.Interfaces[1].MAC {
		t.Fatalf("made %+v", core)
	}
	if txn, _, err := edit.PutRouter(b.w, request, nil); err != nil || !txn.Empty() {
		t.Errorf("the same again: %v %v", txn, err)
	}

	// A static route is kept as it was given, and taken away by leaving it out.
	routes := request
	routes.Routes = []edit.RouteRequest{{To: "10.9.0.0/16", Via: []string{"10.0.1.8", "10.0.1.7"}}, {To: "fd00:9::/64", Via: []string{"10.0.2.9"}}}
	_, _, err := edit.PutRouter(b.w, routes, nil)
	refused(err, "family")
	routes.Routes = routes.Routes[:1]
	b.must(first(edit.PutRouter(b.w, routes, nil)))
	if core, _ = b.w.Router(core.Full()); len(core.Routes) != 1 || len(core.Routes[0].Via) != 2 {
		t.Errorf("made with routes %+v", core.Routes)
	}
	b.must(first(edit.PutRouter(b.w, request, nil)))
	if core, _ = b.w.Router(core.Full()); len(core.Routes) != 0 {
		t.Errorf("a route is left: %+v", core.Routes)
	}

	// Endpoints keep clear of it.
	if e := b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "next", Network: "back"}); addrs(e) != "[10.0.2.3]" {
		t.Errorf("an automatic address: %v", e.Addresses)
	}
	_, _, err = edit.PutEndpoint(b.w, edit.EndpointRequest{Tenant: "acme", ID: "thief", Network: "front", Addresses: []string{"10.0.1.1"}, MAC: core.Interfaces[1].MAC.String()}, edit.Chance{UID: 9, Now: now}, nil)
	refused(err, `address 10.0.1.1 is that of router "core"`, "is that of router")

	// Networks keep fitting, and stay while it joins them.
	_, _, err = edit.PutNetwork(b.w, edit.NetworkRequest{Tenant: "acme", Name: "front", Subnets: []string{"10.0.0.0/16"}}, now, nil)
	refused(err, `overlap, and both are reached`)
	_, err = edit.DeleteNetwork(b.w, dove.Network{Tenant: "acme", Name: "front"}, now, nil)
	refused(err, `network "acme/front" is joined by routers "core"`)
	_, err = edit.DeleteTenant(b.w, "acme", nil)
	refused(err, `tenant "acme" owns router "core"`)

	// A policy that needs it keeps it; made again it has the same MACs.
	policy := "apiVersion: dove/v1\nkind: Blueprint\nname: shop\ngroups: {web: {network: front}, app: {network: back}}\npolicies: [{name: p, from: web, to: app, allow: any}]\n"
	b.must(first(edit.PutBlueprint(b.w, "acme", "", []byte(policy), now, nil)))
	_, err = edit.DeleteRouter(b.w, core.Full(), nil)
	refused(err, `policy shop/p: joining shop/web on network "front" and shop/app on network "back" needs a router`)
	refused(put([]string{"front"}), `needs a router, and none joins them`)
	b.must(edit.DeleteBlueprint(b.w, "acme", "shop", now, nil))
	b.must(edit.DeleteRouter(b.w, core.Full(), nil))
	b.must(edit.DeleteEndpoint(b.w, squatter.Full(), nil))
	b.must(first(edit.PutRouter(b.w, edit.RouterRequest{Tenant: "acme", Name: "core", Networks: []string{"front", "back"}}, nil)))
	if again, _ := b.w.Router(core.Full()); again.Interfaces[0].MAC != core.Interfaces[0].MAC {
		t.Errorf("made again with MAC %s, not %s", again.Interfaces[0].MAC, core.Interfaces[0].MAC)
	}

	// One that a blueprint makes is changed there, goes with it, and is none other's.
	text := "apiVersion: dove/v1\nkind: Blueprint\nname: shop\nrouters: {core: {networks: [front, back]}, edge: {networks: [back], addresses: {back: 10.0.2.8}}}\n"
	_, _, err = edit.PutBlueprint(b.w, "acme", "", []byte(text), now, nil)
	refused(err, `router "core" exists and no blueprint makes it`)
	text = strings.Replace(text, "core: {networks: [front, back]}, ", "", 1)
	b.must(first(edit.PutBlueprint(b.w, "acme", "", []byte(text), now, nil)))
	if _, _, err = edit.PutRouter(b.w, edit.RouterRequest{Tenant: "acme", Name: "edge", Networks: []string{"back"}}, nil); dove.KindOf(err) != dove.Conflict {
		t.Errorf("a blueprint's router by hand: %v", err)
	}
	b.must(first(edit.PutBlueprint(b.w, "acme", "", []byte(strings.Split(text, "routers")[0]), now, nil)))
	if _, exists := b.w.Router(dove.Router{Tenant: "acme", Name: "edge"}); exists {
		t.Error("a router outlives its blueprint's word")
	}
}
