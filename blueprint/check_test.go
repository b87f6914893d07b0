package blueprint

import (
	"strings"
	"testing"

	"dove.network/dove"
	"github.com/google/go-cmp/cmp"
)

func parse(t *testing.T, text string) *Blueprint {
	t.Helper()
	b, err := Parse("acme", []byte("apiVersion: dove/v1\nkind: Blueprint\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The earlier version of a blueprint and other tenants do not count.
func TestCheckIgnores(t *testing.T) {
	b := parse(t, "name: shop\nnetworks: {front: {subnets: [10.0.1.0/24]}}\ngroups: {web: {network: front}}\n")
	earlier := parse(t, "name: shop\ngroups: {web: {}, app: {}}\npolicies: [{name: p, from: web, to: app, allow: any}]\n")
	foreign, err := Parse("globex", []byte("apiVersion: dove/v1\nkind: Blueprint\nname: bank\ndomain: shop\npolicies: [{name: p, from: shop/app, to: shop/app, allow: any}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := Context{Blueprints: []*Blueprint{earlier, foreign}, Networks: map[string]ExistingNetwork{"front": {Blueprint: "shop", Domain: "shop"}}}
	if err := Check(b, ctx); err != nil {
		t.Error(err)
	}
}

func TestCheckDelete(t *testing.T) {
	b := parse(t, "name: shop\nnetworks: {front: {subnets: [10.0.1.0/24]}}\ngroups: {web: {network: front}}\n")
	billing := parse(t, "name: billing\ndomain: shop\ngroups: {ledger: {network: front}}\npolicies: [{name: p, from: shop/web, to: ledger, allow: any}]\n")
	networks := map[string]ExistingNetwork{"front": {Blueprint: "shop", Domain: "shop"}}
	if err := CheckDelete(b, Context{Networks: networks, Blueprints: []*Blueprint{b}}); err != nil {
		t.Errorf("needed by nobody: %v", err)
	}
	err := CheckDelete(b, Context{Networks: networks, Blueprints: []*Blueprint{b, billing}})
	if dove.KindOf(err) != dove.Conflict {
		t.Fatalf("needed by billing: %v", err)
	}
	for _, want := range []string{`network "front" would vanish: group billing/ledger is on it`, `group "web" would vanish: policy billing/p names it`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

// A blueprint made by hand has no lines; its faults name the path that Format prints.
func TestCheckWithoutPlaces(t *testing.T) {
	b := &Blueprint{Tenant: "acme", Name: "shop", Domain: "shop", Groups: []Group{{Name: "web", Network: "lost"}},
		Policies: []Policy{{Name: "p", From: []dove.Group{group("shop", "web")}, To: []dove.Group{group("shop", "nobody")}, Allow: []Traffic{{Protocol: dove.ProtocolAny, Last: 65535}}}}}
	want := `the blueprint is not valid: 2 faults
  groups.web.network: unknown network "lost" (there are none)
  policies[0].to[0]: unknown group "nobody" in blueprint "shop" (known are web)`
	if d := cmp.Diff(want, Check(b, Context{}).Error()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestCompare(t *testing.T) {
	old := parse(t, `name: shop
networks: {front: {subnets: [10.0.1.0/24]}, gone: {subnets: [10.0.2.0/24]}}
groups: {web: {network: front}, app: {network: front}}
policies:
  - {name: a, from: web, to: app, allow: tcp/80}
  - {name: b, from: web, to: app, allow: tcp/81}
`)
	new := parse(t, `name: shop
domain: retail
networks: {front: {subnets: [10.0.1.0/24, "fd00::/64"]}}
groups: {app: {network: front, isolated: true}, db: {network: front}, web: {network: front}}
policies:
  - {name: b, to: app, from: web, allow: [tcp/81]}
  - {name: a, from: web, to: app, deny: tcp/80}
`)
	text := func(changes []Change) string {
		var w strings.Builder
		for _, c := range changes {
			w.WriteString(c.String() + "\n")
		}
		return w.String()
	}
	want := `~ domain: shop -> retail
~ network front: {subnets: [10.0.1.0/24]} -> {subnets: [10.0.1.0/24, "fd00::/64"]}
- network gone: {subnets: [10.0.2.0/24]}
~ group app: {network: front} -> {network: front, isolated: true}
+ group db: {network: front}
~ policy a: {from: web, to: app, allow: [tcp/80]} -> {from: web, to: app, deny: [tcp/80]}
`
	if d := cmp.Diff(want, text(Compare(old, new))); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	want = `+ domain: shop
+ network front: {subnets: [10.0.1.0/24]}
+ network gone: {subnets: [10.0.2.0/24]}
+ group app: {network: front}
+ group web: {network: front}
+ policy a: {from: web, to: app, allow: [tcp/80]}
+ policy b: {from: web, to: app, allow: [tcp/81]}
`
	if d := cmp.Diff(want, text(Compare(nil, old))); d != "" {
		t.Errorf("all added: -want +got:\n%s", d)
	}
	if d := cmp.Diff(strings.ReplaceAll(want, "+ ", "- "), text(Compare(old, nil))); d != "" {
		t.Errorf("all removed: -want +got:\n%s", d)
	}
}
