package resolver

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"dove.network/dove"
	"dove.network/policy"
	"dove.network/world"
)

// TestPresence walks random changes of endpoints, and of a network and a blueprint now and then, and
// checks that a view which followed them knows of each host what a new one does.
func TestPresence(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	w := world.New()
	apply := func(docs ...world.Document) world.Delta {
		var all []dove.Doc
		for _, d := range docs {
			put := world.Put(d)
			all = append(all, dove.Doc{Key: put.Key, Value: put.Value, Revision: w.Revision() + 1})
		}
		next, delta, err := w.Apply(w.Revision()+1, all)
		if err != nil {
			t.Fatal(err)
		}
		w = next
		return delta
	}
	group := func(n int) dove.Group {
		return dove.Group{Tenant: "a", Blueprint: "b", Name: fmt.Sprintf("g%d", n)}
	}
	var docs []world.Document
	for n := range 2 {
		docs = append(docs, world.Network{Tenant: "a", Name: fmt.Sprintf("n%d", n), Domain: "d", VNI: dove.VNI(10 + n), Subnets: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", n))}, MTU: 1450})
	}
	for n := range 3 { // the fourth group has no class
		for _, open := range []bool{false, true} {
			s := policy.Signature{Groups: []dove.Group{group(n)}, Open: open}
			docs = append(docs, world.ClassAlloc{Tenant: "a", Domain: "d", Class: dove.Class(10 + 2*n + len(docs)%2), Signature: s.Key()})
		}
	}
	apply(docs...)
	view := NewView(w)
	hosts := []dove.HostName{"h0", "h1", "h2"}
	for _, h := range hosts {
		view.of(h)
	}
	followed := 0
	for step := range 3000 {
		var changes []world.Document
		for range 1 + random.IntN(3) {
			n := random.IntN(2)
			e := world.Endpoint{
				Tenant: "a", ID: dove.EndpointID(fmt.Sprintf("e%d", random.IntN(8))), Network: fmt.Sprintf("n%d", n), UID: 1, MAC: dove.MAC{2},
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(n), 0, byte(1 + random.IntN(200))})},
				Groups:    []dove.Group{group(random.IntN(4))}, Open: random.IntN(4) == 0,
			}
			if random.IntN(3) > 0 {
				at := random.Perm(3)
				e.Host = hosts[at[0]]
				if random.IntN(3) == 0 {
					e.Standby = hosts[at[1]]
				}
			}
			if random.IntN(4) == 0 {
				e.Allowed = []world.Allowed{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n), 1, 0}), 24)}}
			}
			changes = append(changes, e)
		}
		if random.IntN(40) == 0 {
			n, _ := w.Network(dove.Network{Tenant: "a", Name: "n1"})
			n.VNI = dove.VNI(20 + random.IntN(2))
			changes = append(changes, n)
		}
		if random.IntN(20) == 0 { // some tell members apart that others do not
			text := "apiVersion: dove/v1\nkind: Blueprint\nname: b\ndomain: d\ngroups: {g0: {}, g1: {}}\noutside: {far: {prefixes: [%s]}}\npolicies:\n  - {name: p, from: g0, to: far, allow: [tcp/%d]}\n"
			text = fmt.Sprintf(text, []string{"192.0.2.0/24", "10.0.0.0/25"}[random.IntN(2)], 1+random.IntN(9))
			changes = append(changes, world.Blueprint{Tenant: "a", Name: "b", Domain: "d", Text: text})
		}
		before := map[dove.HostName]*presence{}
		for _, h := range hosts {
			before[h] = NewView(w).of(h)
		}
		delta := apply(changes...)
		moved, _ := view.advance(w, delta)
		for _, h := range hosts {
			is, want := view.of(h), NewView(w).of(h)
			if is.counts != nil {
				followed++
			}
			if !is.equal(want) {
				t.Fatalf("seed %d step %d: %s has %v %v, want %v %v", seed, step, h, is.networks, is.domains, want.networks, want.domains)
			}
			if slices.Contains(moved, h) == before[h].equal(want) {
				t.Fatalf("seed %d step %d: %s is moved: %v", seed, step, h, slices.Contains(moved, h))
			}
		}
	}
	if followed < 3000 {
		t.Errorf("only %d presences were followed", followed)
	}
}
