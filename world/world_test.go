package world_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/policy"
	"dove.network/world"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var byValue = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// written makes documents of one revision.
func written(rev dove.Revision, docs ...world.Document) []dove.Doc {
	var all []dove.Doc
	for _, d := range docs {
		all = append(all, dove.Doc{Key: d.Key(), Value: world.Put(d).Value, Revision: rev})
	}
	return all
}

func apply(t testing.TB, w *world.World, rev dove.Revision, docs []dove.Doc) (*world.World, world.Delta) {
	t.Helper()
	next, delta, err := w.Apply(rev, docs)
	if err != nil {
		t.Fatal(err)
	}
	return next, delta
}

var (
	web     = dove.Group{Tenant: "acme", Blueprint: "shop", Name: "web"}
	network = world.Network{Tenant: "acme", Name: "front", Domain: "shop", VNI: 7, MTU: 1450, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
	shop    = world.Blueprint{Tenant: "acme", Name: "shop", Domain: "shop", Text: "{apiVersion: dove/v1, kind: Blueprint, name: shop, groups: {web: {}}}"}
	class   = world.ClassAlloc{Tenant: "acme", Domain: "shop", Class: 5, Signature: "groups=acme/shop/web"}
)

func endpoint(id string, host dove.HostName, addrs ...string) world.Endpoint {
	e := world.Endpoint{Tenant: "acme", ID: dove.EndpointID(id), Network: "front", Host: host, Groups: []dove.Group{web}, MAC: dove.MAC{2, 0, 0, 0, 0, byte(len(id))}}
	for _, a := range addrs {
		e.Addresses = append(e.Addresses, netip.MustParseAddr(a))
	}
	return e
}

// TestAnyOrder applies documents one by one in a random order: what is there in
// the end does not depend on it, and every earlier world stays what it was.
func TestAnyOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	docs := written(1, world.Meta{Incarnation: 9}, world.Tenant{Name: "acme"}, network, shop, class,
		world.Router{Tenant: "acme", Name: "core", Interfaces: []world.Interface{{Network: "back"}, {Network: "front"}}},
		endpoint("a", "h1", "10.0.0.2"), endpoint("bb", "", "10.0.0.3", "10.0.0.4"), world.Host{Name: "h1", VTEP: netip.MustParseAddr("192.0.2.1")},
		world.JoinToken{ID: "t"}, world.APIToken{ID: "t"}, world.Member{Name: "dpc-1"}, world.MemberToken{ID: "t"}, world.Request{Token: "t", ID: "r", Result: json.RawMessage("{}")}, world.VNIAlloc{VNI: 7}, world.Claim{Tenant: "acme", Network: "front", Addr: netip.MustParseAddr("10.0.0.9"), Endpoint: "a"}, world.VNINext{Next: 8}, world.ClassNext{Tenant: "acme", Domain: "shop", Next: 6},
		world.Ledger{Tenant: "acme"}, world.VTEPAlloc{VTEP: netip.MustParseAddr("192.0.2.1"), Host: "h1"}, world.Edge{Tenant: "acme", Domain: "shop"})
	for range 50 {
		random.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
		w := world.New()
		worlds := []*world.World{w}
		for _, d := range docs {
			w, _ = apply(t, w, 1, []dove.Doc{d})
			worlds = append(worlds, w)
		}
		e, ok := w.EndpointAt(7, netip.MustParseAddr("10.0.0.4"))
		if !ok || e.ID != "bb" || w.AddressClass(e, e.Addresses[1]) != 5 || w.Incarnation() != 9 {
			t.Fatalf("in the end: %+v %v, class %d", e, ok, w.AddressClass(e, e.Addresses[1]))
		}
		for i, w := range worlds {
			for j, d := range docs {
				if has := w.DocRevision(d.Key) == 1; has != (j < i) {
					t.Fatalf("world %d has document %s: %v", i, d.Key, has)
				}
			}
		}
		var keys, want []string
		for key := range w.Keys() {
			keys = append(keys, key)
		}
		for _, d := range docs {
			want = append(want, d.Key)
		}
		slices.Sort(keys)
		slices.Sort(want)
		if diff := cmp.Diff(want, keys); diff != "" {
			t.Fatalf("keys (-want +got):\n%s", diff)
		}
		if r, ok := w.Between(dove.Network{Tenant: "acme", Name: "back"}, network.Full()); !ok || r.Name != "core" {
			t.Fatalf("in the end no router joins the networks: %+v", r)
		}
		// And all away again, one by one.
		random.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
		for _, d := range docs {
			w, _ = apply(t, w, 2, []dove.Doc{{Key: d.Key, Revision: 2}})
			if w.DocRevision(d.Key) != 0 {
				t.Fatalf("%s is still there", d.Key)
			}
		}
		if _, ok := w.EndpointAt(7, netip.MustParseAddr("10.0.0.4")); ok {
			t.Fatal("an address is left")
		}
		if s := slices.Collect(w.EndpointsOn("h1")); len(s) > 0 {
			t.Fatalf("left on the host: %v", s)
		}
	}
}

func TestDelta(t *testing.T) {
	w, delta := apply(t, world.New(), 1, written(1, shop, network, endpoint("b", "", "10.0.0.3"), endpoint("a", "", "10.0.0.2"), world.Meta{Incarnation: 4}))
	a, b := endpoint("a", "", "10.0.0.2"), endpoint("b", "", "10.0.0.3")
	want := world.Delta{
		Revision: 1, Meta: true,
		Blueprints: []world.Change[world.Blueprint]{{New: &shop}},
		Networks:   []world.Change[world.Network]{{New: &network}},
		Endpoints:  []world.Change[world.Endpoint]{{New: &a}, {New: &b}},
		Domains:    []dove.Domain{{Tenant: "acme", Name: "shop"}},
	}
	if diff := cmp.Diff(want, delta, byValue); diff != "" {
		t.Errorf("delta (-want +got):\n%s", diff)
	}
	intent := w.Domain(dove.Domain{Tenant: "acme", Name: "shop"})

	// Of several writes of one document the first old and the last new count;
	// one that came and went is no change.
	moved := endpoint("a", "h2", "10.0.0.9")
	docs := written(2, endpoint("a", "h1", "10.0.0.2"), endpoint("c", "", "10.0.0.4"), moved)
	docs = append(docs, dove.Doc{Key: endpoint("c", "").Key(), Revision: 2})
	next, delta := apply(t, w, 2, docs)
	want = world.Delta{Revision: 2, Endpoints: []world.Change[world.Endpoint]{{Old: &a, New: &moved}}}
	if diff := cmp.Diff(want, delta, byValue, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("delta (-want +got):\n%s", diff)
	}
	if next.Domain(dove.Domain{Tenant: "acme", Name: "shop"}) != intent {
		t.Error("an intent was compiled anew though no blueprint was written")
	}
	// Nothing at a later revision is a world of that revision.
	next, delta = apply(t, next, 9, nil)
	if next.Revision() != 9 || cmp.Diff(world.Delta{Revision: 9}, delta, byValue, cmpopts.EquateEmpty()) != "" {
		t.Errorf("revision %d, delta %+v", next.Revision(), delta)
	}
	// The last blueprint of a domain goes, and with it the intent.
	gone, delta := apply(t, next, 10, []dove.Doc{{Key: shop.Key(), Revision: 10}})
	if len(delta.Domains) != 1 || gone.Domain(delta.Domains[0]) == intent || gone.Parsed("acme", "shop") != nil {
		t.Errorf("delta %+v", delta)
	}
}

func TestUnreadable(t *testing.T) {
	w, _ := apply(t, world.New(), 5, written(5, network))
	for name, test := range map[string]struct {
		doc  dove.Doc
		want string
	}{
		"no JSON":       {dove.Doc{Key: network.Key(), Value: []byte("{")}, "not readable"},
		"two":           {dove.Doc{Key: network.Key(), Value: append(world.Put(network).Value, "{}"...)}, "after its end"},
		"unknown field": {dove.Doc{Key: "/dove/v1/tenants/a", Value: []byte(`{"name":"a","x":1}`)}, "newer controller"},
		"other's key":   {dove.Doc{Key: "/dove/v1/tenants/b", Value: []byte(`{"name":"a"}`)}, "says that it is /dove/v1/tenants/a"},
		"unknown kind":  {dove.Doc{Key: "/dove/v1/routes/b", Value: []byte(`{}`)}, "no kind known here"},
		"foreign key":   {dove.Doc{Key: "/x", Value: []byte(`{}`)}, "no kind known here"},
		"deep key":      {dove.Doc{Key: "/dove/v1/tenants/a/b", Value: []byte(`{}`)}, "no kind known here"},
		"blueprint":     {dove.Doc{Key: shop.Key(), Value: world.Put(world.Blueprint{Tenant: "acme", Name: "shop", Domain: "shop", Text: "x"}).Value}, "is not a blueprint"},
		"other's text":  {dove.Doc{Key: shop.Key(), Value: world.Put(world.Blueprint{Tenant: "acme", Name: "shop", Domain: "other", Text: shop.Text}).Value}, "of domain shop"},
		"signature":     {dove.Doc{Key: world.ClassKey(class.DomainOf(), "x"), Value: world.Put(world.ClassAlloc{Tenant: "acme", Domain: "shop", Signature: "x"}).Value}, "class signature"},
		"group":         {dove.Doc{Key: "/dove/v1/endpoints/a/b", Value: []byte(`{"tenant":"a","id":"b","groups":["x"]}`)}, "tenant/blueprint/group"},
	} {
		t.Run(name, func(t *testing.T) {
			test.doc.Revision = 6
			_, _, err := w.Apply(6, append(written(6, world.Tenant{Name: "acme"}), test.doc))
			if dove.KindOf(err) != dove.Internal || !strings.Contains(fmt.Sprint(err), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
	if _, ok := w.Tenant("acme"); ok {
		t.Error("a failed apply left something")
	}
	if _, _, err := w.Apply(4, nil); err == nil {
		t.Error("a world went back")
	}
}

// TestReadsWhatWasAccepted reads what an earlier version took and this one refuses to write.
func TestReadsWhatWasAccepted(t *testing.T) {
	const text = "{apiVersion: dove/v1, kind: Blueprint, name: old, groups: {g: {selector: {matchLabels: {}, matchExpressions: []}}}}"
	w, _ := apply(t, world.New(), 5, written(5, world.Tenant{Name: "acme"}, world.Blueprint{Tenant: "acme", Name: "old", Domain: "old", Text: text}))
	if b := w.Parsed("acme", "old"); b == nil || len(b.Groups) != 1 || b.Groups[0].Selector == nil || len(b.Groups[0].Selector.Requirements) != 0 {
		t.Errorf("it says %+v", b)
	}
	if _, err := w.Parse("acme", text); dove.KindOf(err) != dove.Invalid {
		t.Errorf("and may be written again: %v", err)
	}
}

func TestFreeAddress(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for _, base := range []string{"10.0.0.0", "10.255.255.240", "fd00::", "fd00::ffff:ffff:ffff:fff0"} {
		all := []netip.Addr{netip.MustParseAddr(base)}
		for range 40 {
			all = append(all, all[len(all)-1].Next())
		}
		for range 60 {
			used := map[netip.Addr]bool{}
			var docs []world.Document
			for i, a := range all {
				if random.IntN(10) > 0 {
					used[a] = true
					docs = append(docs, endpoint(fmt.Sprintf("e%d", i), "", a.String()))
				}
			}
			other := endpoint("other", "", all[5].String())
			other.Network = "eront"
			w, _ := apply(t, world.New(), 1, written(1, append(docs, other)...))
			first, last := random.IntN(len(all)), random.IntN(len(all))
			want := netip.Addr{}
			for _, a := range all[min(first, last+1) : last+1] {
				if !used[a] && a.Compare(all[first]) >= 0 {
					want = a
					break
				}
			}
			got, ok := w.FreeAddress(network.Full(), all[first], all[last])
			if ok != want.IsValid() || ok && got != want {
				t.Fatalf("free from %s to %s: %s %v, want %s", all[first], all[last], got, ok, want)
			}
		}
	}
}

// TestDraft: a draft becomes what Apply would make, step by step, and the World that it
// began with stays as it was.
func TestDraft(t *testing.T) {
	tenant := func(name dove.Tenant) dove.Doc {
		put := world.Put(world.Tenant{Name: name})
		return dove.Doc{Key: put.Key, Value: put.Value, Revision: 7}
	}
	base, _, err := world.New().Apply(5, []dove.Doc{tenant("a"), tenant("b")})
	if err != nil {
		t.Fatal(err)
	}
	draft := base.Draft()
	for _, step := range [][]dove.Doc{{tenant("c")}, {tenant("d"), {Key: world.TenantKey("a"), Revision: 7}}, nil} {
		if err := draft.Apply(step); err != nil {
			t.Fatal(err)
		}
	}
	names := func(w *world.World) (all string) {
		for n := range w.Tenants() {
			all += string(n.Name)
		}
		return all
	}
	if names(base) != "ab" || names(draft.World()) != "bcd" || draft.World().Revision() != 5 || draft.World().DocRevision(world.TenantKey("c")) != 7 {
		t.Errorf("base %q, draft %q at %d", names(base), names(draft.World()), draft.World().Revision())
	}
	if err := draft.Apply([]dove.Doc{{Key: world.TenantKey("x"), Value: []byte("{")}}); err == nil {
		t.Error("what cannot be read is taken")
	}
}

// What was read and compiled for a judgement serves the write, and another text,
// tenant or moment does not get it.
func TestMemo(t *testing.T) {
	w := world.New()
	text := "{apiVersion: dove/v1, kind: Blueprint, name: a, groups: {g: {}}, policies: [{name: p, from: g, to: g, allow: any}]}"
	parse := func(tenant dove.Tenant, text string) *blueprint.Blueprint {
		b, err := w.Parse(tenant, text)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a := parse("acme", text)
	next, _ := apply(t, w, 1, written(1, world.Tenant{Name: "acme"}, world.Blueprint{Tenant: "acme", Name: "a", Domain: "a", Text: text}))
	if next.Parsed("acme", "a") != a || parse("acme", text) != a {
		t.Error("a text is read twice")
	}
	if b := parse("bolt", text); b == a || b.Tenant != "bolt" {
		t.Error("a text of another tenant is taken for one's own")
	}
	if b := parse("acme", text+" "); b == a {
		t.Error("another text is the same blueprint")
	}
	if _, err := w.Parse("acme", "{}"); err == nil {
		t.Error("a text that says nothing is a blueprint")
	}
	all, none := []*blueprint.Blueprint{a}, time.Time{}
	d := next.Domain(dove.Domain{Tenant: "acme", Name: "a"})
	if w.Compile(all, none) != d {
		t.Error("a domain is compiled twice")
	}
	b := parse("acme", strings.Replace(text, "name: a,", "name: b, domain: a,", 1))
	for _, other := range []*policy.Domain{w.Compile(all, none.Add(1)), w.Compile([]*blueprint.Blueprint{b}, none), w.Compile(nil, none)} {
		if other == d {
			t.Error("a domain is taken for another")
		}
	}
	both := w.Compile([]*blueprint.Blueprint{a, b}, none)
	if both == d || w.Compile([]*blueprint.Blueprint{b, a}, none) != both {
		t.Error("the order of blueprints matters")
	}
}
