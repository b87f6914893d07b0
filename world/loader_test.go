package world_test

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dove.network/dove"
	"dove.network/world"
)

// TestLoader loads random documents in one pass and one after another: that gives the
// same World, now and after changes.
func TestLoader(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	hosts := []dove.HostName{"h1", "h2", "h3"}
	groups := []dove.Group{web, {Tenant: "acme", Blueprint: "shop", Name: "db"}, {Tenant: "acme", Blueprint: "other", Name: "db"}}
	draw := func(i int) world.Endpoint {
		e := endpoint(fmt.Sprintf("e%d", i), hosts[random.IntN(3)])
		e.UID, e.MAC = dove.UID(i+1), dove.MAC{2, 0, 0, 0, byte(random.IntN(256)), byte(i)}
		if random.IntN(3) == 0 {
			e.Network = "back"
		}
		for a := range random.IntN(3) {
			e.Addresses = append(e.Addresses, netip.AddrFrom4([4]byte{10, byte(a), byte(i >> 8), byte(i)}))
		}
		e.Groups = slices.Clone(groups[:random.IntN(4)])
		switch random.IntN(8) {
		case 0:
			e.Host = ""
		case 1:
			if e.Host != "h3" {
				e.Standby = "h3"
			}
		case 2:
			e.Parent, e.VLAN = dove.EndpointID(fmt.Sprintf("e%d", random.IntN(20))), uint16(i+1)
		case 3:
			for range 1 + random.IntN(2) {
				e.Allowed = append(e.Allowed, world.Allowed{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(random.IntN(4))}), 32)})
			}
		case 4:
			e.Device, e.Open = "tap0", true
		}
		return e
	}
	for round := range 10 {
		docs := written(3, world.Meta{Incarnation: 9}, world.Tenant{Name: "acme"}, network, world.Network{Tenant: "acme", Name: "back", Domain: "shop", VNI: 8}, shop, class)
		count := random.IntN(1 + 40*round)
		for i := range count {
			docs = append(docs, written(2, draw(i))...)
		}
		random.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
		loader := world.NewLoader()
		for part := range slices.Chunk(docs, 100) {
			if err := loader.Add(part); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		loaded, err := loader.World(5)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		applied := world.New()
		for _, d := range docs {
			applied, _ = apply(t, applied, 5, []dove.Doc{d})
		}
		for range 3 {
			if diff := cmp.Diff(seen(applied, hosts, groups), seen(loaded, hosts, groups), byValue); diff != "" {
				t.Fatalf("seed %d: applied and loaded differ (-applied +loaded):\n%s", seed, diff)
			}
			revision := applied.Revision() + 1
			var changes []dove.Doc
			for range random.IntN(30) {
				i := random.IntN(count + 5)
				if e := draw(i); random.IntN(3) > 0 {
					changes = append(changes, written(revision, e)...)
				} else {
					changes = append(changes, dove.Doc{Key: e.Key(), Revision: revision})
				}
			}
			var one, other world.Delta
			applied, one = apply(t, applied, revision, changes)
			loaded, other = apply(t, loaded, revision, changes)
			if diff := cmp.Diff(one, other, byValue); diff != "" {
				t.Fatalf("seed %d: they change otherwise (-applied +loaded):\n%s", seed, diff)
			}
		}
	}
	twice := world.NewLoader()
	if err := twice.Add(written(1, endpoint("a", ""), endpoint("a", "h1"))); err != nil {
		t.Fatal(err)
	}
	if _, err := twice.World(1); err == nil {
		t.Error("an endpoint that is there twice is loaded")
	}
	if err := world.NewLoader().Add([]dove.Doc{{Key: world.EndpointKey(dove.Endpoint{Tenant: "acme", ID: "a"}), Value: []byte("{}")}}); err == nil {
		t.Error("an endpoint under another one's key is loaded")
	}
}

// seen is what a World says of its endpoints by all that they are found by.
func seen(w *world.World, hosts []dove.HostName, groups []dove.Group) map[string]any {
	all := map[string]any{"revision": w.Revision(), "incarnation": w.Incarnation(), "counts": w.Counts(), "keys": slices.Collect(w.Keys())}
	list := func(name string, of iter.Seq[world.Endpoint]) { all[name] = slices.Collect(of) }
	list("all", w.Endpoints("acme"))
	for n := range w.Networks("acme") {
		list("in "+n.Name, w.EndpointsIn(n.Full()))
		var addresses []string
		for a, e := range w.AddressesIn(n.Full(), netip.MustParsePrefix("10.0.0.0/8")) {
			addresses = append(addresses, a.String()+" "+e.String())
		}
		all["addresses in "+n.Name] = addresses
		for i := range 4 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(i)}), 32)
			list("allowed "+p.String()+" in "+n.Name, w.AllowedOn(n.Full(), p))
		}
	}
	for _, h := range hosts {
		list("on "+string(h), w.EndpointsOn(h))
	}
	for _, g := range groups {
		list("of "+g.String(), w.EndpointsOf(g))
	}
	for e := range w.Endpoints("acme") {
		list("under "+string(e.ID), w.SubPorts(e.Full()))
		all["revision of "+string(e.ID)] = w.DocRevision(e.Key())
		by, ok := w.EndpointByMAC(e.NetworkOf(), e.MAC)
		all["by MAC "+string(e.ID)] = []any{by, ok}
	}
	return all
}
