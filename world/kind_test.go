package world_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"dove.network/dove"
	"dove.network/world"
)

// TestKinds: of random endpoints that come, change and go, the signatures of a domain are
// those of each endpoint, and a blueprint that changes them names just the endpoints of which one changed.
func TestKinds(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	domain := dove.Domain{Tenant: "acme", Name: "shop"}
	w, _ := apply(t, world.New(), 1, written(1, world.Tenant{Name: "acme"}, network,
		world.Network{Tenant: "acme", Name: "back", Domain: "shop", VNI: 8}, world.Network{Tenant: "acme", Name: "other", Domain: "other", VNI: 9}))
	turned := 0
	for rev := dove.Revision(2); rev < 600; rev++ {
		if r.IntN(3) > 0 {
			e := drawn(r)
			docs := written(rev, e)
			if r.IntN(4) == 0 {
				docs[0].Value = nil
			}
			w, _ = apply(t, w, rev, docs)
		} else {
			before := w
			var delta world.Delta
			w, delta = apply(t, w, rev, written(rev, world.Blueprint{Tenant: "acme", Name: "shop", Domain: "shop", Text: drawnText(r)}))
			was, is := before.Domain(domain), w.Domain(domain)
			var want, got []dove.EndpointID
			for e := range w.Endpoints("acme") {
				if e.Network == "other" {
					continue
				}
				for _, span := range e.Spans() {
					for _, part := range slices.Concat(was.Parts(span), is.Parts(span)) {
						if was.SignatureIn(e.Member(), part).Key() != is.SignatureIn(e.Member(), part).Key() {
							want = append(want, e.ID)
						}
					}
				}
			}
			for _, c := range delta.Endpoints {
				got = append(got, c.New.ID)
			}
			if want = slices.Compact(want); !slices.Equal(got, want) {
				t.Fatalf("revision %d: %v have other signatures, want %v", rev, got, want)
			}
			turned += len(got)
		}
		want := map[string]bool{}
		wide := map[dove.EndpointID]bool{}
		for e := range w.Wide(domain) {
			if wide[e.ID] || !e.Open && len(e.Allowed) == 0 || e.Network == "other" {
				t.Fatalf("revision %d: among those that are wide is %+v", rev, e)
			}
			wide[e.ID] = true
		}
		for e := range w.Endpoints("acme") {
			if e.Network != "other" {
				if (e.Open || len(e.Allowed) > 0) && !wide[e.ID] {
					t.Fatalf("revision %d: among those that are wide is not %+v", rev, e)
				}
				for key := range e.Signatures(w.Domain(domain)) {
					want[key] = true
				}
			}
		}
		got := w.Signatures(domain, w.Domain(domain))
		for key, s := range got {
			if s.Key() != key || !want[key] {
				t.Fatalf("revision %d: nobody has %s", rev, key)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("revision %d: %v, want %v", rev, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
	}
	if turned < 100 {
		t.Errorf("only %d endpoints ever had another signature", turned)
	}
}

// drawn is one of few endpoints, like few others.
func drawn(r *rand.Rand) world.Endpoint {
	e := endpoint(fmt.Sprintf("e%d", r.IntN(40)), "", fmt.Sprintf("10.0.0.%d", r.IntN(200)))
	e.Network, e.UID = []string{"front", "back", "other"}[r.IntN(3)], dove.UID(r.Uint64())
	if r.IntN(3) == 0 {
		e.Groups = nil
	}
	if r.IntN(2) == 0 {
		e.Addresses = append(e.Addresses, netip.MustParseAddr(fmt.Sprintf("fd00::%x", r.IntN(200))))
	}
	if r.IntN(2) == 0 {
		e.Labels = map[string]string{"app": fmt.Sprint(r.IntN(3))}
	}
	if r.IntN(4) == 0 {
		e.Ports = map[string]dove.Port{"http": {Protocol: dove.ProtocolTCP, Number: uint16(80 + r.IntN(2))}}
	}
	for range r.IntN(3) {
		p, _ := netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(256))}).Prefix(20 + r.IntN(13))
		if !slices.ContainsFunc(e.Allowed, func(a world.Allowed) bool { return a.Prefix == p }) {
			e.Allowed = append(e.Allowed, world.Allowed{Prefix: p})
		}
	}
	e.Open = r.IntN(8) == 0
	return e
}

// drawnText is a blueprint that selects by label, names a port and mentions prefixes.
func drawnText(r *rand.Rand) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: dove/v1\nkind: Blueprint\nname: shop\ngroups: {web: {}, app: {selector: {matchLabels: {app: \"%d\"}}}}\noutside:\n  o: {prefixes: [192.0.2.0/24", r.IntN(4))
	once := map[netip.Prefix]bool{}
	for range r.IntN(4) {
		p, _ := netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(256))}).Prefix(22 + r.IntN(11))
		if !once[p] {
			once[p] = true
			fmt.Fprintf(&b, ", %s", p)
		}
	}
	if r.IntN(2) == 0 {
		fmt.Fprintf(&b, ", \"fd00::%x/124\"", r.IntN(10)*16)
	}
	b.WriteString("]}\npolicies:\n  - {name: p, from: web, to: app, allow: [tcp/1")
	if r.IntN(2) == 0 {
		b.WriteString(", tcp/http")
	}
	b.WriteString("]}\n")
	if r.IntN(3) > 0 {
		b.WriteString("  - {name: q, from: o, to: web, allow: [icmp]}\n")
	}
	return b.String()
}
