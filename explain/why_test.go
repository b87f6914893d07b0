package explain_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/explain"
	"dove.network/verdict"
	"dove.network/world"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const shop = `{apiVersion: dove/v1, kind: Blueprint, name: shop,
networks: {front: {subnets: [10.0.0.0/24, "fd00::/64"]}, back: {subnets: [10.0.0.0/24]}, store: {subnets: [10.0.5.0/24]}},
routers: {core: {networks: [front, store], routes: [{to: 10.9.0.0/16, via: [10.0.5.11]}]}},
groups: {web: {network: front}, app: {network: front}, db: {network: front, isolated: true}},
policies: [
 {name: web-app, from: web, to: app, allow: [tcp/8080, icmp]},
 {name: app-db, from: app, to: db, allow: [tcp/5432]},
 {name: no-ssh, from: web, to: app, deny: [tcp/22]}]}`

// hole is about addresses that nobody has.
const hole = `{apiVersion: dove/v1, kind: Blueprint, name: hole, domain: shop,
outside: {far: {prefixes: [203.0.113.0/24], except: [203.0.113.8/32]}},
policies: [{name: out, from: shop/web, to: far, allow: tcp/443}, {name: in, from: far, to: shop/web, allow: tcp/22}]}`

// shopWorld has acme's shop on two hosts, of which the second has not joined.
func shopWorld(t *testing.T, more ...string) *world.World {
	t.Helper()
	w := world.New()
	apply := func(txn dove.Txn, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var docs []dove.Doc
		for _, p := range txn.Puts {
			docs = append(docs, dove.Doc{Key: p.Key, Value: p.Value, Revision: w.Revision() + 1})
		}
		if w, _, err = w.Apply(w.Revision()+1, docs); err != nil {
			t.Fatal(err)
		}
	}
	for _, tenant := range []dove.Tenant{"acme", "bolt"} {
		txn, _, err := edit.PutTenant(w, tenant, nil)
		apply(txn, err)
		for _, text := range append([]string{shop}, more...) {
			txn, _, err = edit.PutBlueprint(w, tenant, "", []byte(text), now, nil)
			apply(txn, err)
		}
	}
	apply(dove.Txn{Puts: []dove.Put{
		world.Put(world.Host{Name: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), Serial: "01"}),
		world.Put(world.Host{Name: "h2", VTEP: netip.MustParseAddr("192.0.2.2")}),
		world.Put(world.Host{Name: "vm", VTEP: netip.MustParseAddr("192.0.2.3"), Foreign: true}),
	}}, nil)
	for _, r := range []edit.EndpointRequest{
		{Tenant: "acme", ID: "web-1", Host: "h1", Groups: []string{"shop/web"}, Addresses: []string{"10.0.0.11", "fd00::11"}},
		{Tenant: "acme", ID: "app-1", Host: "h1", Groups: []string{"shop/app"}, Addresses: []string{"10.0.0.12", "fd00::12"}},
		{Tenant: "acme", ID: "app-6", Host: "h1", Groups: []string{"shop/app"}, Addresses: []string{"fd00::16"}},
		{Tenant: "acme", ID: "db-1", Host: "h2", Groups: []string{"shop/db"}, Addresses: []string{"10.0.0.13"}},
		{Tenant: "acme", ID: "db-2", Groups: []string{"shop/db"}, Addresses: []string{"10.0.0.14"}},
		{Tenant: "acme", ID: "app-b", Host: "h1", Network: "back", Groups: []string{"shop/app"}, Addresses: []string{"10.0.0.11"}},
		{Tenant: "acme", ID: "app-s", Host: "h1", Network: "store", Groups: []string{"shop/app"}, Addresses: []string{"10.0.5.11"}, Allowed: []edit.AllowedRequest{{Prefix: "10.9.0.0/16"}}},
		{Tenant: "acme", ID: "app-f", Host: "vm", Groups: []string{"shop/app"}, Addresses: []string{"10.0.0.21"}},
		{Tenant: "acme", ID: "app-v", Host: "vm", Network: "store", Groups: []string{"shop/app"}, Addresses: []string{"10.0.5.21"}},
		{Tenant: "acme", ID: "lone", Host: "h1", Network: "front", Groups: []string{}, Addresses: []string{"10.0.0.15"}},
		{Tenant: "bolt", ID: "app-1", Host: "h1", Groups: []string{"shop/app"}, Addresses: []string{"10.0.0.12"}},
	} {
		txn, _, err := edit.PutEndpoint(w, r, edit.Chance{UID: dove.UID(w.Revision() + 100), Now: now}, nil)
		apply(txn, err)
	}
	return w
}

func TestWhy(t *testing.T) {
	w := shopWorld(t)
	tests := []struct {
		from, to string
		protocol dove.Protocol
		port     uint16
		allowed  bool
		rule     string
		nearest  string // rule: failed terms
		obstacle string // part of the only one
	}{
		{"web-1", "app-1", dove.ProtocolTCP, 8080, true, "shop/web-app", "", ""},
		{"web-1", "app-1", dove.ProtocolTCP, 22, false, "shop/no-ssh", "", ""},
		{"web-1", "app-1", dove.ProtocolTCP, 443, false, verdict.DefaultDeny, "shop/web-app: port", ""},
		{"app-1", "web-1", dove.ProtocolTCP, 8080, false, verdict.DefaultDeny, "shop/app-db: to, port", ""},
		{"web-1", "app-6", dove.ProtocolICMP, 8 << 8, true, "shop/web-app", "", ""},
		{"app-1", "app-6", dove.ProtocolUDP, 1, true, "shop/app", "", ""},
		{"lone", "app-1", dove.ProtocolTCP, 8080, false, verdict.DefaultDeny, "shop/web-app: from", ""},
		{"app-1", "db-1", dove.ProtocolTCP, 5432, true, "shop/app-db", "", "has not joined"},
		{"app-1", "db-2", dove.ProtocolTCP, 5432, true, "shop/app-db", "", "bound to no host"},
		{"web-1", "app-s", dove.ProtocolTCP, 8080, true, "shop/web-app", "", ""},
		{"web-1", "app-f", dove.ProtocolTCP, 8080, true, "shop/web-app", "", ""},
		{"web-1", "app-v", dove.ProtocolTCP, 8080, true, "shop/web-app", "", "nobody answers there for router core"},
		{"app-f", "app-s", dove.ProtocolTCP, 8080, true, "shop/app/members", "", "nobody answers there for router core"},
		{"app-b", "app-s", dove.ProtocolTCP, 8080, true, "shop/app/members", "", "no router joins"},
		{"web-1", "app-b", dove.ProtocolTCP, 8080, true, "shop/web-app", "", "no router joins"},
		{"web-1", "back/10.0.0.11", dove.ProtocolTCP, 8080, true, "shop/web-app", "", "no router joins"},
		{"front/10.0.0.11", "app-1/fd00::12", dove.ProtocolTCP, 8080, false, "", "", "no address family"},
		{"10.0.0.12", "10.0.0.13", dove.ProtocolTCP, 5432, true, "shop/app-db", "", "has not joined"},
	}
	for _, test := range tests {
		name := test.from + " to " + test.to
		from, err := explain.Find(w, "acme", test.from)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		to, err := explain.Find(w, "acme", test.to)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		a, err := explain.Why(w, explain.Question{From: from, To: to, Protocol: test.protocol, Port: test.port})
		if err != nil {
			if test.rule != "" || !strings.Contains(err.Error(), test.obstacle) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		nearest := ""
		if a.Near.Rule != "" {
			nearest = a.Near.Rule + ": " + a.Near.Terms()
		}
		if a.Allowed != test.allowed || !strings.HasPrefix(a.Rule, test.rule) || nearest != test.nearest {
			t.Errorf("%s: allowed %v by %q, nearest %q", name, a.Allowed, a.Rule, nearest)
		}
		if got := strings.Join(a.Obstacles, "; "); !strings.Contains(got, test.obstacle) || (test.obstacle == "") != (got == "") || len(a.Obstacles) > 1 {
			t.Errorf("%s: obstacles %q", name, got)
		}
		if a.Reaches() != (test.allowed && test.obstacle == "") {
			t.Errorf("%s: reaches %v", name, a.Reaches())
		}
	}
}

func TestWhySaysWhatAndWhere(t *testing.T) {
	w := shopWorld(t)
	a, err := explain.Why(w, explain.Question{
		From: explain.End{Endpoint: dove.Endpoint{Tenant: "acme", ID: "web-1"}}, To: explain.End{Endpoint: dove.Endpoint{Tenant: "acme", ID: "app-6"}},
		Protocol: dove.ProtocolICMP, Port: 128 << 8,
	})
	if err != nil {
		t.Fatal(err)
	}
	e, _ := w.Endpoint(dove.Endpoint{Tenant: "acme", ID: "app-6"})
	n, _ := w.Network(dove.Network{Tenant: "acme", Name: "front"})
	want := explain.Place{
		Endpoint: e.Full(), UID: e.UID, Addr: netip.MustParseAddr("fd00::16"), Network: n.Full(), VNI: n.VNI,
		Groups: []dove.Group{{Tenant: "acme", Blueprint: "shop", Name: "app"}}, Class: w.AddressClass(e, e.Addresses[0]),
		Host: "h1", VTEP: netip.MustParseAddr("192.0.2.1"),
	}
	if diff := cmp.Diff(want, a.To, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if a.Protocol != dove.ProtocolICMPv6 || a.Revision != w.Revision() || a.Domain.Name != "shop" || a.Forth == a.Back || a.To.Class == 0 {
		t.Errorf("%+v", a)
	}
}

func TestWhyBetweenTenants(t *testing.T) {
	w := shopWorld(t)
	a, err := explain.Why(w, explain.Question{
		From: explain.End{Endpoint: dove.Endpoint{Tenant: "acme", ID: "web-1"}}, To: explain.End{Endpoint: dove.Endpoint{Tenant: "bolt", ID: "app-1"}},
		Protocol: dove.ProtocolTCP, Port: 8080,
	})
	if err != nil || a.Allowed || a.Reaches() || a.Rule != verdict.DefaultDeny || len(a.Obstacles) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}

// An address alone is also one that only a route leads to from the other end, or
// of several the one that the other end reaches.
func TestFindSeen(t *testing.T) {
	w := shopWorld(t)
	for _, test := range []struct{ from, to, is string }{
		{"web-1", "10.9.0.7", "app-s"},
		{"app-s", "10.0.0.11", "web-1"}, // app-b has it, too, where no router leads
		{"app-b", "10.9.0.7", ""},
		{"web-1", "10.8.0.7", ""},
		{"web-1", "10.0.0.13", "db-1"},
	} {
		from, err := explain.Find(w, "acme", test.from)
		if err != nil {
			t.Fatal(err)
		}
		to, err := explain.FindSeen(w, from, test.to)
		if string(to.Endpoint.ID) != test.is || (err == nil) != (test.is != "") {
			t.Errorf("%s to %s: %v, %v", test.from, test.to, to, err)
		}
		if err != nil {
			continue
		}
		a, err := explain.Why(w, explain.Question{From: from, To: to, Protocol: dove.ProtocolTCP, Port: 8080})
		if err != nil || a.To.Addr != netip.MustParseAddr(test.to) || a.To.Class == 0 {
			t.Errorf("%s to %s: %+v, %v", test.from, test.to, a, err)
		}
	}
}

func TestFindRefuses(t *testing.T) {
	w := shopWorld(t)
	for text, kind := range map[string]dove.Kind{
		"":                dove.Invalid,
		"Web":             dove.Invalid,
		"web-1/x":         dove.Invalid,
		"web-9":           dove.NotFound,
		"web-1/10.0.0.12": dove.NotFound,
		"front/10.0.0.99": dove.NotFound,
		"none/10.0.0.11":  dove.NotFound,
		"10.0.0.99":       dove.NotFound,
		"10.0.0.11":       dove.Conflict, // on front and on back
	} {
		if end, err := explain.Find(w, "acme", text); dove.KindOf(err) != kind || err == nil {
			t.Errorf("%q: %v, %v", text, end, err)
		}
	}
	for text, says := range map[string]string{
		"front/10.0.0.1": "10.0.0.1 on network acme/front is router core's own address",
		"10.0.5.1":       "10.0.5.1 on network acme/store is router core's own address",
		"back/10.0.0.1":  "no endpoint has address 10.0.0.1 on network acme/back",
	} {
		if end, err := explain.Find(w, "acme", text); dove.KindOf(err) != dove.NotFound || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, %v", text, end, err)
		}
	}
	if _, err := explain.Why(w, explain.Question{}); dove.KindOf(err) != dove.NotFound {
		t.Errorf("no ends: %v", err)
	}
}

// TestNoReply says where an end that keeps no state denies what answers a packet.
func TestNoReply(t *testing.T) {
	for _, test := range []struct {
		back     string // what policy lets back
		protocol dove.Protocol
		port     uint16
		want     []explain.NoReply
	}{
		{"", dove.ProtocolTCP, 8080, []explain.NoReply{{First: 0, Last: 65535, Rule: verdict.DefaultDeny}}},
		{"", dove.ProtocolICMP, 8 << 8, []explain.NoReply{{First: 0, Last: 65535, Rule: verdict.DefaultDeny}}},
		{"", dove.ProtocolTCP, 22, nil}, // it is denied itself
		{"tcp/1024-65535, icmp", dove.ProtocolTCP, 8080, []explain.NoReply{{First: 0, Last: 1023, Rule: verdict.DefaultDeny}}},
		{"tcp/1024-65535, icmp", dove.ProtocolICMP, 8 << 8, nil},
		{"udp", dove.ProtocolTCP, 8080, []explain.NoReply{{First: 0, Last: 65535, Rule: verdict.DefaultDeny}}},
		{"tcp", dove.ProtocolTCP, 8080, nil},
		{"tcp/1-65535", dove.ProtocolTCP, 8080, nil}, // nobody sends from port 0
	} {
		policies := ""
		if test.back != "" {
			policies = ", policies: [{name: back, from: shop/app, to: shop/web, allow: [" + test.back + "]}]"
		}
		w := shopWorld(t, `{apiVersion: dove/v1, kind: Blueprint, name: quick, domain: shop, groups: {all: {stateless: true, isolated: true, selector: {}}}`+policies+`}`)
		from, to := explain.End{Endpoint: dove.Endpoint{Tenant: "acme", ID: "web-1"}}, explain.End{Endpoint: dove.Endpoint{Tenant: "acme", ID: "app-1"}}
		a, err := explain.Why(w, explain.Question{From: from, To: to, Protocol: test.protocol, Port: test.port})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(test.want, a.NoReply); d != "" {
			t.Errorf("back %q, %v/%d: %s", test.back, test.protocol, test.port, d)
		}
	}
}
