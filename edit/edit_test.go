package edit_test

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/policy"
	"dove.network/world"
	"github.com/google/go-cmp/cmp"
)

// TestEndpointDefaults follows one endpoint from nothing to a moved one.
func TestEndpointDefaults(t *testing.T) {
	b := stocked(t)
	e, _ := b.w.Endpoint(dove.Endpoint{Tenant: "acme", ID: "web-1"})
	if e.Network != "front" || addrs(e) != "[10.0.1.2 fd00:0:0:1::2]" || e.Host != "h1" || e.Epoch == 0 || e.MAC[0] != 2 {
		t.Errorf("made %+v", e)
	}
	n, _ := b.w.Network(e.NetworkOf())
	if n.VNI != 4096+1 || n.Domain != "shop" || n.MTU != 1450 { // back has the first
		t.Errorf("network %+v", n)
	}
	at, ok := b.w.EndpointAt(n.VNI, e.Addresses[1])
	if !ok || at.ID != e.ID {
		t.Errorf("at its address: %+v %v", at, ok)
	}
	class := b.w.AddressClass(e, e.Addresses[0])
	want := policy.Signature{Groups: []dove.Group{{Tenant: "acme", Blueprint: "shop", Name: "web"}}}
	if s, ok := b.w.SignatureOf(n.DomainOf(), class); !ok || cmp.Diff(want, s, byValue) != "" {
		t.Errorf("class %d has signature %v %v", class, s, ok)
	}

	// The same request again changes nothing.
	txn, same, err := edit.PutEndpoint(b.w, edit.EndpointRequest{Tenant: "acme", ID: "web-1", Groups: []string{"shop/web"}, Host: "h1"}, edit.Chance{UID: 77, Now: now}, nil)
	if err != nil || !txn.Empty() || cmp.Diff(e, same, byValue) != "" {
		t.Errorf("again: %v %v %v", txn, same, err)
	}

	// A bind gives a new epoch and writes nothing else but the host's claim again.
	txn, moved, err := edit.BindEndpoint(b.w, e.Full(), "h2", nil)
	if err != nil || moved.Epoch <= e.Epoch || len(txn.Puts) != 2 || txn.Puts[0].Key != world.VTEPKey(netip.MustParseAddr("192.0.2.2")) {
		t.Fatalf("bind: %+v %+v %v", txn, moved, err)
	}
	b.must(txn, nil)
	if n := len(collect(b.w.EndpointsOn("h1"))) + 10*len(collect(b.w.EndpointsOn("h2"))); n != 10 {
		t.Errorf("endpoints of the hosts: %d", n)
	}

	// Another life under the name has another UID and a later epoch.
	b.must(edit.DeleteEndpoint(b.w, e.Full(), nil))
	again := b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "web-1", Groups: []string{"shop/app", "shop/web"}, Host: "h1"})
	if again.UID == e.UID || again.Epoch <= moved.Epoch {
		t.Errorf("second life: %+v after %+v", again, moved)
	}
	if c := b.w.AddressClass(again, again.Addresses[0]); c == class || c == dove.ClassNone {
		t.Errorf("class %d for another set of groups than class %d", c, class)
	}
}

func collect[T any](all func(func(T) bool)) []T {
	var s []T
	for v := range all {
		s = append(s, v)
	}
	return s
}

// TestAllocation fills a network of eight addresses.
func TestAllocation(t *testing.T) {
	b := stocked(t)
	request := func(id string, addresses ...string) edit.EndpointRequest {
		return edit.EndpointRequest{Tenant: "acme", ID: dove.EndpointID(id), Groups: []string{"shop/db"}, Addresses: addresses}
	}
	b.endpoint(request("a", "10.0.2.3"))
	for i, want := range []string{"[10.0.2.2]", "[10.0.2.4]", "[10.0.2.5]", "[10.0.2.6]"} {
		if e := b.endpoint(request(string(rune('b' + i)))); addrs(e) != want {
			t.Errorf("endpoint %s has %s, want %s", e.ID, addrs(e), want)
		}
	}
	_, _, err := edit.PutEndpoint(b.w, request("z"), edit.Chance{Now: now}, nil)
	refused(t, err, dove.Conflict, "no address is free in 10.0.2.0/29")
	b.must(edit.DeleteEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "c"}, nil))
	if e := b.endpoint(request("z")); addrs(e) != "[10.0.2.4]" {
		t.Errorf("endpoint z has %s", addrs(e))
	}
}

// TestRefusals gives bad input of every kind and wants it named.
func TestRefusals(t *testing.T) {
	b := stocked(t)
	b.tenant("empty")
	b.must(first(edit.PutNetwork(b.w, edit.NetworkRequest{Tenant: "acme", Name: "own", Domain: "else", Subnets: []string{"10.9.0.0/24"}}, now, nil)))
	request := edit.EndpointRequest{Tenant: "acme", ID: "web-2", Groups: []string{"shop/web"}}
	endpoint := func(change func(*edit.EndpointRequest)) error {
		r := request
		change(&r)
		_, _, err := edit.PutEndpoint(b.w, r, edit.Chance{UID: 5, Now: now}, nil)
		return err
	}
	blueprint := func(text string) error {
		_, _, err := edit.PutBlueprint(b.w, "acme", "", []byte(text), now, nil)
		return err
	}
	network := func(r edit.NetworkRequest) error {
		_, _, err := edit.PutNetwork(b.w, r, now, nil)
		return err
	}
	delete := func(_ dove.Txn, err error) error { return err }
	for name, test := range map[string]struct {
		err  error
		kind dove.Kind
		want []string
	}{
		"tenant name":        {second(edit.PutTenant(b.w, "Not A Name", nil)), dove.Invalid, []string{"lower-case"}},
		"tenant in use":      {delete(edit.DeleteTenant(b.w, "acme", nil)), dove.Conflict, []string{`endpoint "web-1"`, `network "back", "front", "own"`, `blueprint "shop"`}},
		"no such tenant":     {delete(edit.DeleteTenant(b.w, "nobody", nil)), dove.NotFound, []string{"nobody"}},
		"endpoint of nobody": {endpoint(func(r *edit.EndpointRequest) { r.Tenant = "nobody" }), dove.NotFound, nil},
		"many at once": {endpoint(func(r *edit.EndpointRequest) {
			r.ID, r.Groups, r.Addresses, r.MAC, r.Host, r.Device = "Web_2", []string{"shop/web", "shop/wbe", "shoop/web", "web"}, []string{"10.0.1.2", "10.7.0.1", "x", "10.0.1.0", "10.0.1.255"}, "01:00:00:00:00:01", "h9", "a/b"
		}), dove.Invalid, []string{`name "Web_2"`, `unknown group "wbe" in blueprint "shop"`, `unknown blueprint "shoop"`, `"web" does not say`,
			`10.0.1.2 is that of endpoint "web-1"`, "10.7.0.1 is in no subnet", `"x" is no address`, "10.0.1.0 is the first or last", "10.0.1.255 is the first or last", "no unicast address", `unknown host "h9"`, `"a/b" cannot name a device`}},
		"address taken":    {endpoint(func(r *edit.EndpointRequest) { r.Addresses = []string{"10.0.1.2"} }), dove.Conflict, []string{`10.0.1.2 is that of endpoint "web-1"`}},
		"address twice":    {endpoint(func(r *edit.EndpointRequest) { r.Addresses = []string{"10.0.1.9", "10.0.1.9"} }), dove.Invalid, []string{"10.0.1.9 is given twice"}},
		"no address":       {endpoint(func(r *edit.EndpointRequest) { r.Addresses = []string{} }), dove.Invalid, []string{"needs an address"}},
		"zone":             {endpoint(func(r *edit.EndpointRequest) { r.Addresses = []string{"fd00:0:0:1::5%eth0"} }), dove.Invalid, []string{"no address"}},
		"no network":       {endpoint(func(r *edit.EndpointRequest) { r.Groups = nil }), dove.Invalid, []string{"has no network"}},
		"two networks":     {endpoint(func(r *edit.EndpointRequest) { r.Groups = []string{"shop/web", "shop/db"} }), dove.Invalid, []string{"different networks: back, front"}},
		"unknown network":  {endpoint(func(r *edit.EndpointRequest) { r.Network = "fromt" }), dove.Invalid, []string{`unknown network "fromt" (there are "back", "front", "own")`}},
		"other domain":     {endpoint(func(r *edit.EndpointRequest) { r.Network = "own" }), dove.Conflict, []string{`group shop/web is of domain "shop", network "own" of "else"`}},
		"network for life": {endpoint(func(r *edit.EndpointRequest) { r.ID, r.Network = "web-1", "back" }), dove.Conflict, []string{`on network "front" for life`}},
		"MAC taken": {endpoint(func(r *edit.EndpointRequest) {
			e, _ := b.w.Endpoint(dove.Endpoint{Tenant: "acme", ID: "web-1"})
			r.MAC = e.MAC.String()
		}), dove.Conflict, []string{`is that of endpoint "web-1"`}},
		"not a MAC":                  {endpoint(func(r *edit.EndpointRequest) { r.MAC = "02:00" }), dove.Invalid, []string{"not of the form"}},
		"bind to nowhere":            {second(edit.BindEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "web-1"}, "h9", nil)), dove.Invalid, []string{`unknown host "h9"`}},
		"bind to nothing":            {second(edit.BindEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "web-1"}, "", nil)), dove.Invalid, []string{"no host is named"}},
		"bind nobody":                {second(edit.BindEndpoint(b.w, dove.Endpoint{Tenant: "acme", ID: "web-9"}, "h1", nil)), dove.NotFound, []string{"acme/web-9"}},
		"group in use":               {blueprint(without(shop, "web")), dove.Conflict, []string{`group "web" would vanish, which has endpoints "web-1"`}},
		"network in use":             {blueprint(without(shop, "front", "web-app")), dove.Conflict, []string{`group "web" would vanish`, `network "front" would vanish, which has endpoints "web-1"`}},
		"subnet in use":              {blueprint(strings.Replace(shop, "10.0.1.0/24", "10.0.1.128/25", 1)), dove.Conflict, []string{`subnet 10.0.1.0/24 of network "acme/front" would go, which has endpoints "acme/web-1 (10.0.1.2)"`}},
		"domain in use":              {blueprint(shop + "domain: other\n"), dove.Conflict, []string{`network "front" was made in domain "shop"`, `group "web" would leave domain "shop"`}},
		"blueprint faults":           {blueprint(shop + "bogus: 1\nouside: {}\n"), dove.Invalid, []string{"bogus", "ouside"}},
		"blueprint unsupported":      {blueprint(shop + "services: {fw: {mode: transparent}}\n"), dove.Unsupported, []string{"services"}},
		"blueprint's name":           {second(edit.PutBlueprint(b.w, "acme", "shoop", []byte(shop), now, nil)), dove.Invalid, []string{`of blueprint "shop", the request of "shoop"`}},
		"others' network":            {blueprint("{apiVersion: dove/v1, kind: Blueprint, name: b, networks: {own: {subnets: [10.0.0.0/8]}, front: {subnets: [10.0.0.0/8]}}}"), dove.Conflict, []string{`network "front" is made by blueprint "shop"`, `network "own" exists`}},
		"too many networks":          {blueprint(manyNetworks(80)), dove.TooLarge, []string{"at most 128"}},
		"blueprint in use":           {delete(edit.DeleteBlueprint(b.w, "acme", "shop", now, nil)), dove.Conflict, []string{`group "web" would vanish`, `network "front" would vanish, which has endpoints`}},
		"no such blueprint":          {delete(edit.DeleteBlueprint(b.w, "acme", "shoop", now, nil)), dove.NotFound, []string{"shoop"}},
		"blueprint's network":        {network(edit.NetworkRequest{Tenant: "acme", Name: "front", Subnets: []string{"10.0.0.0/8"}}), dove.Conflict, []string{`made by blueprint "shop": change it there`}},
		"network faults":             {network(edit.NetworkRequest{Tenant: "acme", Name: "n_", MTU: 100, Subnets: []string{"10.0.0.1/8", "127.0.0.0/8", "10.0.0.0/8", "10.1.0.0/16"}}), dove.Invalid, []string{"n_", "no domain", "MTU of 100", "bits set beyond", "loopback", "overlaps"}},
		"network's domain":           {network(edit.NetworkRequest{Tenant: "acme", Name: "own", Domain: "shop", Subnets: []string{"10.9.0.0/24"}}), dove.Conflict, []string{`of domain "else", which is fixed`}},
		"no subnets":                 {network(edit.NetworkRequest{Tenant: "acme", Name: "n", Domain: "shop"}), dove.Invalid, []string{"subnet"}},
		"delete blueprint's network": {delete(edit.DeleteNetwork(b.w, dove.Network{Tenant: "acme", Name: "front"}, now, nil)), dove.Conflict, []string{`made by blueprint "shop"`, "has endpoints"}},
		"VTEP taken":                 {second(edit.PutHost(b.w, "h3", netip.MustParseAddr("192.0.2.1"), nil)), dove.Conflict, []string{`VTEP 192.0.2.1 is that of host "h1"`}},
		"VTEP of another family":     {second(edit.PutHost(b.w, "h3", netip.MustParseAddr("2001:db8::1"), nil)), dove.Conflict, []string{"cannot reach host \"h1\""}},
		"no VTEP":                    {second(edit.PutHost(b.w, "h3_", netip.Addr{}, nil)), dove.Invalid, []string{"no unicast address", "h3_"}},
		"VTEP of the host itself":    {second(edit.PutHost(b.w, "h3", netip.MustParseAddr("127.0.0.1"), nil)), dove.Invalid, []string{"no unicast address that others reach"}},
		"VTEP of everybody":          {second(edit.PutHost(b.w, "h3", netip.MustParseAddr("255.255.255.255"), nil)), dove.Invalid, []string{"no unicast address that others reach"}},
		"host in use":                {delete(edit.DeleteHost(b.w, "h1", nil)), dove.Conflict, []string{`host "h1" has endpoints "acme/web-1"`}},
		"no such host":               {delete(edit.DeleteHost(b.w, "h9", nil)), dove.NotFound, []string{"h9"}},
		"short digest":               {delete(edit.CreateJoinToken(b.w, world.JoinToken{ID: "x", Host: "h1"})), dove.Invalid, []string{"0 bytes"}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, test.err, test.kind, test.want...) })
	}
}

func second[T any](_ dove.Txn, _ T, err error) error { return err }

func manyNetworks(n int) string {
	text := strings.Builder{}
	text.WriteString("{apiVersion: dove/v1, kind: Blueprint, name: many, networks: {")
	for i := range n {
		fmt.Fprintf(&text, "n%d: {subnets: [10.0.0.0/8]}, ", i)
	}
	text.WriteString("}}")
	return text.String()
}

// TestIfMatch names both revisions.
func TestIfMatch(t *testing.T) {
	b := stocked(t)
	key := world.BlueprintKey("acme", "shop")
	is := b.w.DocRevision(key)
	put := func(match dove.Revision) error {
		_, _, err := edit.PutBlueprint(b.w, "acme", "shop", []byte(shop), now, &match)
		return err
	}
	if err := put(is); err != nil {
		t.Error(err)
	}
	refused(t, put(is+5), dove.Conflict, "is at revision 2, not 7")
	refused(t, put(0), dove.Conflict, "exists at revision 2")
	_, _, err := edit.PutHost(b.w, "h7", netip.MustParseAddr("192.0.2.7"), new(dove.Revision(3)))
	refused(t, err, dove.Conflict, "does not exist, and is not at revision 3")
}

// TestJoin uses a token up, and refuses what does not fit it.
func TestJoin(t *testing.T) {
	b := stocked(t)
	digest := sha256.Sum256([]byte("secret"))
	b.must(edit.CreateJoinToken(b.w, world.JoinToken{ID: "t1", Digest: digest[:], Host: "h1", Expires: now.Add(time.Hour)}))
	good := edit.JoinRequest{Token: "t1", Digest: digest[:], VTEP: netip.MustParseAddr("192.0.2.1"), Serial: "ab", Now: now}
	for name, test := range map[string]struct {
		change func(*edit.JoinRequest)
		kind   dove.Kind
		want   string
	}{
		"secret": {func(r *edit.JoinRequest) { r.Digest = make([]byte, 32) }, dove.Unauthorized, "not valid or was used"},
		"empty":  {func(r *edit.JoinRequest) { r.Digest = nil }, dove.Unauthorized, "not valid or was used"},
		"token":  {func(r *edit.JoinRequest) { r.Token, r.Digest = "t2", nil }, dove.Unauthorized, "not valid or was used"},
		"late":   {func(r *edit.JoinRequest) { r.Now = now.Add(time.Hour) }, dove.Unauthorized, "expired"},
		"VTEP":   {func(r *edit.JoinRequest) { r.VTEP = netip.MustParseAddr("192.0.2.9") }, dove.Conflict, "has VTEP 192.0.2.1, not 192.0.2.9"},
		"others": {func(r *edit.JoinRequest) { r.VTEP = netip.MustParseAddr("192.0.2.2") }, dove.Conflict, `that of host "h2"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			test.change(&r)
			refused(t, second(edit.Join(b.w, r)), test.kind, test.want)
		})
	}
	b.must(first(edit.Join(b.w, good)))
	if h, _ := b.w.Host("h1"); h.Serial != "ab" {
		t.Errorf("host %+v", h)
	}
	refused(t, second(edit.Join(b.w, good)), dove.Unauthorized, "was used")

	// A token for a host that is not there makes it.
	b.must(edit.CreateJoinToken(b.w, world.JoinToken{ID: "t3", Digest: digest[:], Host: "h3", Expires: now.Add(time.Hour)}))
	b.must(first(edit.Join(b.w, edit.JoinRequest{Token: "t3", Digest: digest[:], VTEP: netip.MustParseAddr("192.0.2.3"), Serial: "cd", Now: now})))
	// Another VTEP makes the certificate worthless.
	b.host("h3", "192.0.2.33")
	if h, _ := b.w.Host("h3"); h.Serial != "" {
		t.Errorf("host %+v kept its certificate", h)
	}
	b.must(edit.DeleteHost(b.w, "h3", nil))
	b.host("h4", "192.0.2.3")
}

// TestPlan says what would change, and changes nothing.
func TestPlan(t *testing.T) {
	b := stocked(t)
	plan, err := edit.Plan(b.w, "acme", []byte(without(shop, "back")+"\n"), now)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Base != b.w.Revision() || plan.Documents[0].Blueprint.Name != "shop" || len(plan.Documents[0].Changes) != 2 || len(plan.Documents[0].Networks) != 1 || plan.Documents[0].Networks[0].New != nil {
		t.Errorf("plan %+v", plan)
	}
	plan, err = edit.Plan(b.w, "acme", []byte(strings.Replace(shop, "name: shop", "name: two", 1)), now)
	refused(t, err, dove.Conflict, `network "front" is made by blueprint "shop"`)
	plan, err = edit.Plan(b.w, "acme", []byte("{apiVersion: dove/v1, kind: Blueprint, name: b, networks: {a: {subnets: [10.0.0.0/8]}}}"), now)
	if err != nil || len(plan.Documents[0].VNIs) != 1 || plan.Documents[0].VNIs[0] != 4098 {
		t.Errorf("plan %+v %v", plan, err)
	}
}

// TestRest gives freed ids out again only after their rest.
func TestRest(t *testing.T) {
	b := stocked(t)
	domain := dove.Domain{Tenant: "acme", Name: "shop"}
	e, _ := b.w.Endpoint(dove.Endpoint{Tenant: "acme", ID: "web-1"})
	class := b.w.AddressClass(e, e.Addresses[0])
	sweep := func(at time.Time) int {
		b.must(edit.SweepClasses(b.w, domain, at))
		b.must(edit.Sweep(b.w, at))
		return len(collect(b.w.Classes(domain)))
	}
	if sweep(now) != 1 {
		t.Error("a class in use was swept")
	}
	b.must(edit.DeleteEndpoint(b.w, e.Full(), nil))
	sweep(now)
	if a := collect(b.w.Classes(domain)); len(a) != 1 || a[0].FreedAt == nil {
		t.Errorf("classes %+v", a)
	}
	// Called back within the rest: the same id.
	again := b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "web-1", Groups: []string{"shop/web"}})
	if c := b.w.AddressClass(again, again.Addresses[0]); c != class {
		t.Errorf("class %d, was %d", c, class)
	}
	if sweep(now); collect(b.w.Classes(domain))[0].FreedAt != nil {
		t.Error("a class that is in use again rests")
	}
	b.must(edit.DeleteEndpoint(b.w, e.Full(), nil))
	sweep(now)
	if n := sweep(now.Add(edit.Rest - 1)); n != 1 {
		t.Errorf("%d classes during their rest", n)
	}
	b.must(edit.DeleteBlueprint(b.w, "acme", "shop", now, nil))
	if len(collect(b.w.VNIs(0))) != 2 {
		t.Error("VNIs do not rest")
	}
	if n := sweep(now.Add(edit.Rest)); n != 0 || len(collect(b.w.VNIs(0))) != 0 {
		t.Errorf("%d classes after their rest, VNIs %v", n, collect(b.w.VNIs(0)))
	}
	sweep(now)
	b.must(edit.DeleteTenant(b.w, "acme", nil))
	for key := range b.docs {
		if strings.Contains(key, "acme") {
			t.Errorf("%s is left of a tenant that is gone", key)
		}
	}
}

// TestContradictions commits two writes that were decided on one world and
// would contradict each other: the second must lose.
func TestContradictions(t *testing.T) {
	endpoint := func(id, address string, groups ...string) func(*world.World) (dove.Txn, error) {
		return func(w *world.World) (dove.Txn, error) {
			r := edit.EndpointRequest{Tenant: "acme", ID: dove.EndpointID(id), Groups: groups}
			if address != "" {
				r.Addresses = []string{address}
			}
			return first(edit.PutEndpoint(w, r, edit.Chance{UID: 9, Now: now}, nil))
		}
	}
	blueprint := func(text string) func(*world.World) (dove.Txn, error) {
		return func(w *world.World) (dove.Txn, error) {
			return first(edit.PutBlueprint(w, "acme", "", []byte(text), now, nil))
		}
	}
	host := func(name dove.HostName) func(*world.World) (dove.Txn, error) {
		return func(w *world.World) (dove.Txn, error) {
			return first(edit.PutHost(w, name, netip.MustParseAddr("192.0.2.9"), nil))
		}
	}
	network := func(name string) func(*world.World) (dove.Txn, error) {
		return func(w *world.World) (dove.Txn, error) {
			return first(edit.PutNetwork(w, edit.NetworkRequest{Tenant: "acme", Name: name, Domain: "shop", Subnets: []string{"10.5.0.0/24"}}, now, nil))
		}
	}
	const names = "{apiVersion: dove/v1, kind: Blueprint, name: two, domain: shop, groups: {g: {}}, policies: [{name: p, from: g, to: shop/app, allow: [tcp/1]}]}"
	for name, pair := range map[string][2]func(*world.World) (dove.Txn, error){
		"one address":      {endpoint("a", "10.0.1.9", "shop/web"), endpoint("b", "10.0.1.9", "shop/web")},
		"one free address": {endpoint("a", "", "shop/web"), endpoint("b", "", "shop/web")},
		"one class":        {endpoint("a", "10.0.1.9", "shop/app"), endpoint("b", "10.0.2.4", "shop/db")},
		"group goes":       {endpoint("a", "", "shop/app"), blueprint(without(shop, "app"))},
		"network goes":     {endpoint("a", "", "shop/db"), blueprint(without(shop, "back"))},
		"subnet goes":      {endpoint("a", "10.0.1.200", "shop/web"), blueprint(strings.Replace(shop, "10.0.1.0/24", "10.0.1.0/25", 1))},
		"group is on it": {
			blueprint("{apiVersion: dove/v1, kind: Blueprint, name: two, domain: shop, groups: {g: {network: own}}}"),
			func(w *world.World) (dove.Txn, error) {
				return edit.DeleteNetwork(w, dove.Network{Tenant: "acme", Name: "own"}, now, nil)
			},
		},
		"group is named": {blueprint(names), blueprint(without(shop, "app"))},
		"one VTEP":       {host("h8"), host("h9")},
		"one VNI":        {network("n1"), network("n2")},
		"own network goes": {
			func(w *world.World) (dove.Txn, error) {
				return first(edit.PutEndpoint(w, edit.EndpointRequest{Tenant: "acme", ID: "a", Network: "own"}, edit.Chance{UID: 9, Now: now}, nil))
			},
			func(w *world.World) (dove.Txn, error) {
				return edit.DeleteNetwork(w, dove.Network{Tenant: "acme", Name: "own"}, now, nil)
			},
		},
		"own subnet goes": {
			func(w *world.World) (dove.Txn, error) {
				return first(edit.PutEndpoint(w, edit.EndpointRequest{Tenant: "acme", ID: "a", Network: "own", Addresses: []string{"10.5.0.200"}}, edit.Chance{UID: 9, Now: now}, nil))
			},
			func(w *world.World) (dove.Txn, error) {
				return first(edit.PutNetwork(w, edit.NetworkRequest{Tenant: "acme", Name: "own", Subnets: []string{"10.5.0.0/25"}}, now, nil))
			},
		},
		"tenant goes": {network("n1"), func(w *world.World) (dove.Txn, error) { return edit.DeleteTenant(w, "acme", nil) }},
	} {
		for _, order := range []string{"forth", "back"} {
			t.Run(name+" "+order, func(t *testing.T) {
				b := stocked(t)
				b.must(network("own")(b.w))
				if name == "tenant goes" {
					b = newBook(t)
					b.tenant("acme")
				}
				if order == "back" {
					pair[0], pair[1] = pair[1], pair[0]
				}
				one, err := pair[0](b.w)
				if err != nil {
					t.Fatal(err)
				}
				two, err := pair[1](b.w)
				if err != nil {
					t.Fatal(err)
				}
				if !b.commit(one) {
					t.Fatal("the first lost")
				}
				if b.commit(two) {
					t.Errorf("both went through:\n%v\n%v", one, two)
				}
			})
		}
	}
}
