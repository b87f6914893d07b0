package edit_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/policy"
	"dove.network/resolver"
	"dove.network/world"
)

// BenchmarkPut judges and applies an edit of one blueprint of a domain of so many
// policies, groups and endpoints, of which as many as there are groups are of different classes:
// of a policy, which tells nobody apart, and of a selector, which all endpoints are asked about.
func BenchmarkPut(b *testing.B) {
	for _, size := range []struct{ policies, groups, endpoints int }{
		{100, 100, 1000}, {1000, 100, 1000}, {10_000, 100, 1000}, {75_000, 100, 1000},
		{1000, 10, 1000}, {1000, 1000, 1000},
		{1000, 100, 100}, {1000, 100, 10_000}, {1000, 100, 100_000}, {1000, 100, 1_000_000},
	} {
		w := filled(b, size.policies, size.groups, size.endpoints)
		for _, name := range []string{"policy", "selector"} {
			b.Run(fmt.Sprintf("%s/policies=%d/groups=%d/endpoints=%d", name, size.policies, size.groups, size.endpoints), func(b *testing.B) {
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					n++
					text := filledText(0, size.policies, size.groups, fmt.Sprintf("  - {name: more, from: g0, to: g1, allow: [tcp/%d]}\n", n))
					if name == "selector" {
						text = strings.Replace(text, "g0: {}", fmt.Sprintf("g0: {selector: {matchLabels: {n: \"%d\"}}}", n), 1)
					}
					txn, _, err := edit.PutBlueprint(w, "acme", "", []byte(text), now, nil)
					if err != nil {
						b.Fatal(err)
					}
					apply(b, w, txn)
				}
			})
		}
	}
}

// BenchmarkIntent goes from the documents of a store to the answer to its first question, at a size for which others
// published figures: 75,000 policies, of 10,000 groups, and 100,000 endpoints that have ten labels each and are in
// one of them. It says how much memory it keeps, and how long it takes from the texts of the policies, when the
// endpoints are there.
func BenchmarkIntent(b *testing.B) {
	const policies, groups, endpoints, hosts = 75_000, 10_000, 100_000, 1000
	var intent []dove.Doc
	docs := []dove.Doc{doc(world.Tenant{Name: "acme"}), doc(world.Network{Tenant: "acme", Name: "net", Domain: "large", Blueprint: "p0", VNI: 7, MTU: 1450, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})}
	for n := range hosts {
		docs = append(docs, doc(world.Host{Name: dove.HostName(fmt.Sprintf("h%d", n)), VTEP: netip.AddrFrom4([4]byte{172, 16, byte(n >> 8), byte(n)}), Serial: "01"}))
	}
	for part := range filledParts {
		intent = append(intent, doc(world.Blueprint{Tenant: "acme", Name: fmt.Sprintf("p%d", part), Domain: "large", Text: filledText(part, policies, groups, "")}))
	}
	for g := range groups {
		docs = append(docs, doc(world.ClassAlloc{Tenant: "acme", Domain: "large", Class: dove.Class(g + 2), Signature: policy.Signature{Groups: []dove.Group{{Tenant: "acme", Blueprint: "p0", Name: fmt.Sprintf("g%d", g)}}}.Key()}))
	}
	for i := range endpoints {
		e := filledDocument(i, groups)
		e.Host = dove.HostName(fmt.Sprintf("h%d", i%hosts))
		for n := range 9 {
			e.Labels[fmt.Sprintf("example.com/label-%d", n)] = fmt.Sprintf("value-%d-of-%d", n, i%groups)
		}
		docs = append(docs, doc(e))
	}
	first, _ := netip.ParseAddr(filledEndpoint(0, groups).Addresses[0])
	var answered control.Answered
	var took time.Duration
	var before, after runtime.MemStats
	var view *resolver.View
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		w, _, err := world.New().Apply(1, docs)
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		if w, _, err = w.Apply(2, intent); err != nil {
			b.Fatal(err)
		}
		view = resolver.NewView(w)
		answered = view.Resolve("h0", control.Question{VNI: 7, Local: first, Peer: first.Next(), Outgoing: true})
		took += time.Since(begun)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "intent-ms")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "kept-MiB")
	if answered.Answer.Status != control.Found || len(answered.Pairs) == 0 {
		b.Fatalf("%+v", answered)
	}
	runtime.KeepAlive(view)
	runtime.KeepAlive(docs)
}

func doc(d world.Document) dove.Doc {
	return dove.Doc{Key: d.Key(), Value: world.Put(d).Value, Revision: 1}
}

func apply(tb testing.TB, w *world.World, txn dove.Txn) *world.World {
	tb.Helper()
	var docs []dove.Doc
	for _, p := range txn.Puts {
		docs = append(docs, dove.Doc{Key: p.Key, Value: p.Value, Revision: w.Revision() + 1})
	}
	next, _, err := w.Apply(w.Revision()+1, docs)
	if err != nil {
		tb.Fatal(err)
	}
	return next
}

// filledParts is how many blueprints the domain has.
const filledParts = 75

func filledText(part, policies, groups int, more string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: dove/v1\nkind: Blueprint\nname: p%d\ndomain: large\n", part)
	if part == 0 {
		b.WriteString("networks: {net: {subnets: [10.0.0.0/8]}}\ngroups:\n")
		for g := range groups {
			fmt.Fprintf(&b, "  g%d: {}\n", g)
		}
	}
	b.WriteString("policies:\n")
	for i := part; i < policies; i += filledParts {
		fmt.Fprintf(&b, "  - {name: p%d, from: p0/g%d, to: p0/g%d, allow: [tcp/%d]}\n", i, i%groups, (i/groups+i)%groups, 1000+i%1000)
	}
	return b.String() + more
}

func filled(b *testing.B, policies, groups, endpoints int) *world.World {
	b.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w := world.New()
	must := func(txn dove.Txn, err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		w = apply(b, w, txn)
	}
	must(first(edit.PutTenant(w, "acme", nil)))
	for part := range min(filledParts, policies) {
		must(first(edit.PutBlueprint(w, "acme", "", []byte(filledText(part, policies, groups, "")), now, nil)))
	}
	for i := range groups { // decides their classes
		must(first(edit.PutEndpoint(w, filledEndpoint(i, groups), edit.Chance{UID: dove.UID(i + 1), Now: now}, nil)))
	}
	var txn dove.Txn
	for i := groups; i < endpoints; i++ {
		txn.Puts = append(txn.Puts, world.Put(filledDocument(i, groups)))
	}
	w = apply(b, w, txn)
	txn = dove.Txn{}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Logf("%d policies, %d groups, %d endpoints: %d MiB", policies, groups, endpoints, (after.HeapAlloc-before.HeapAlloc)>>20)
	return w
}

// filledDocument is what is made of filledEndpoint.
func filledDocument(i, groups int) world.Endpoint {
	r := filledEndpoint(i, groups)
	return world.Endpoint{
		Tenant: "acme", ID: r.ID, UID: dove.UID(i + 1), Network: r.Network, MAC: dove.MAC{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)},
		Addresses: []netip.Addr{netip.MustParseAddr(r.Addresses[0])}, Groups: []dove.Group{{Tenant: "acme", Blueprint: "p0", Name: fmt.Sprintf("g%d", i%groups)}}, Labels: r.Labels,
	}
}

func filledEndpoint(i, groups int) edit.EndpointRequest {
	n := i + 256
	return edit.EndpointRequest{
		Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", i)), Network: "net", Groups: []string{fmt.Sprintf("p0/g%d", i%groups)},
		Addresses: []string{netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}).String()}, Labels: map[string]string{"app": fmt.Sprint(i % groups)},
	}
}
