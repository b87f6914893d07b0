package edit_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"dove.network/dove"
	"dove.network/edit"
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
	net := dove.Network{Tenant: "acme", Name: "net"}
	for i := range groups { // decides their classes
		must(first(edit.PutEndpoint(w, filledEndpoint(i, groups), edit.Chance{UID: dove.UID(i + 1), Now: now}, nil)))
	}
	var txn dove.Txn
	for i := groups; i < endpoints; i++ {
		r := filledEndpoint(i, groups)
		txn.Puts = append(txn.Puts, world.Put(world.Endpoint{
			Tenant: "acme", ID: r.ID, UID: dove.UID(i + 1), Network: net.Name, MAC: dove.MAC{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)},
			Addresses: []netip.Addr{netip.MustParseAddr(r.Addresses[0])}, Groups: []dove.Group{{Tenant: "acme", Blueprint: "p0", Name: fmt.Sprintf("g%d", i%groups)}}, Labels: r.Labels,
		}))
	}
	w = apply(b, w, txn)
	txn = dove.Txn{}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Logf("%d policies, %d groups, %d endpoints: %d MiB", policies, groups, endpoints, (after.HeapAlloc-before.HeapAlloc)>>20)
	return w
}

func filledEndpoint(i, groups int) edit.EndpointRequest {
	n := i + 256
	return edit.EndpointRequest{
		Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", i)), Network: "net", Groups: []string{fmt.Sprintf("p0/g%d", i%groups)},
		Addresses: []string{netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}).String()}, Labels: map[string]string{"app": fmt.Sprint(i % groups)},
	}
}
