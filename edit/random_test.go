package edit_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
	"github.com/google/go-cmp/cmp"
)

// TestRandomEdits walks random edits, some decided on an old world, and checks
// after each that what was built step by step is what all documents at once
// give, and that nothing is anybody's twice.
func TestRandomEdits(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for run := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, run))
		b := newBook(t)
		old := b.w
		at := now
		done, lost, faults := 0, 0, map[dove.Kind]int{}
		for step := range 400 {
			at = at.Add(time.Duration(random.IntN(90)) * time.Minute)
			on := b.w
			if random.IntN(4) == 0 {
				on = old
			}
			txn, err := randomEdit(random, on, at)
			switch {
			case err != nil:
				faults[dove.KindOf(err)]++
				if k := dove.KindOf(err); k == dove.Internal || k == dove.TooLarge {
					t.Fatalf("step %d: %v", step, err)
				}
			case b.commit(txn):
				done++
			case on == b.w:
				t.Fatalf("step %d: a transaction on the newest world lost its compare: %v", step, txn.Reads)
			default:
				lost++
			}
			if random.IntN(12) == 0 {
				old = b.w
			}
			checkSound(t, b.w)
			if step%20 == 0 || step == 399 {
				checkRebuilt(t, b)
			}
			if t.Failed() {
				t.Fatalf("seed %d run %d step %d", seed, run, step)
			}
		}
		if done < 50 {
			t.Errorf("only %d of 400 edits went through, %d lost, faults %v", done, lost, faults)
		}
		t.Logf("%d edits, %d lost, faults %v, %d documents", done, lost, faults, len(b.docs))
	}
}

func randomEdit(random *rand.Rand, w *world.World, at time.Time) (dove.Txn, error) {
	pick := func(words ...string) string { return words[random.IntN(len(words))] }
	some := func(words ...string) []string {
		var s []string
		for _, word := range words {
			if random.IntN(3) == 0 {
				s = append(s, word)
			}
		}
		return s
	}
	tenant := dove.Tenant(pick("a", "b"))
	host := dove.HostName(pick("h1", "h2", "h3"))
	endpoint := dove.Endpoint{Tenant: tenant, ID: dove.EndpointID(pick("e1", "e2", "e3", "e4", "e5"))}
	chance := edit.Chance{UID: dove.UID(random.IntN(4)), Now: at}
	switch random.IntN(28) {
	case 27:
		e, _ := w.Endpoint(endpoint)
		return edit.ClaimAddress(w, edit.ClaimRequest{Endpoint: endpoint, Epoch: e.Epoch, Addr: netip.MustParseAddr(pick("10.0.0.6", "10.0.1.4"))})
	case 16, 17:
		request := edit.RouterRequest{Tenant: tenant, Name: pick("r1", "r2", "r3"), Networks: some("n1", "n2", "n3")}
		if len(request.Networks) == 0 {
			request.Networks = []string{"n3"}
		}
		if random.IntN(3) == 0 {
			request.Addresses = map[string][]string{request.Networks[0]: some("10.0.0.4", "10.0.1.3", "fd00::3")}
		}
		if random.IntN(3) == 0 {
			request.Routes = []edit.RouteRequest{{To: pick("10.0.0.0/8", "0.0.0.0/0", "10.0.0.0/30"), Via: []string{pick("10.0.0.3", "10.0.1.3")}}}
		}
		return first(edit.PutRouter(w, request, nil))
	case 18:
		return edit.DeleteRouter(w, dove.Router{Tenant: tenant, Name: pick("r1", "r2", "r3")}, nil)
	case 0, 1:
		return first(edit.PutTenant(w, tenant, nil))
	case 2:
		return edit.DeleteTenant(w, tenant, nil)
	case 3, 4, 5:
		return first(edit.PutBlueprint(w, tenant, "", []byte(randomBlueprint(random)), at, nil))
	case 6:
		return edit.DeleteBlueprint(w, tenant, pick("x", "y"), at, nil)
	case 7:
		return first(edit.PutNetwork(w, edit.NetworkRequest{Tenant: tenant, Name: pick("n1", "n2", "n3"), Domain: pick("x", "d", ""), Subnets: some("10.0.0.0/29", "10.0.1.0/29", "fd00::/64"), MTU: uint16(random.IntN(2) * 1400)}, at, nil))
	case 8:
		return edit.DeleteNetwork(w, dove.Network{Tenant: tenant, Name: pick("n1", "n2", "n3")}, at, nil)
	case 9, 10:
		return first(edit.PutHost(w, host, netip.MustParseAddr(pick("192.0.2.1", "192.0.2.2", "192.0.2.3")), nil))
	case 11:
		return edit.DeleteHost(w, host, nil)
	case 12:
		return first(edit.BindEndpoint(w, endpoint, host, nil))
	case 13:
		return first(edit.UnbindEndpoint(w, endpoint, nil))
	case 23, 24:
		return first(edit.PrepareEndpoint(w, endpoint, host, nil))
	case 25:
		return first(edit.ActivateEndpoint(w, endpoint, host, nil))
	case 26:
		return first(edit.FinishEndpoint(w, endpoint, host, nil))
	case 14:
		return edit.DeleteEndpoint(w, endpoint, nil)
	case 15:
		domains := slices.Collect(w.ClassDomains())
		if len(domains) == 0 {
			return edit.Sweep(w, at)
		}
		return edit.SweepClasses(w, domains[random.IntN(len(domains))], at)
	}
	r := edit.EndpointRequest{Tenant: endpoint.Tenant, ID: endpoint.ID, Network: pick("", "", "n1", "n2"), Groups: some("x/g", "x/h", "y/g")}
	if random.IntN(3) == 0 {
		r.Addresses = some("10.0.0.3", "10.0.0.4", "10.0.1.3", "fd00::3")
	}
	if random.IntN(3) == 0 {
		r.Host = host
	}
	if random.IntN(3) == 0 {
		r.Allowed = []edit.AllowedRequest{}
		for _, p := range some("10.0.0.6", "10.0.1.4", "10.9.0.0/16", "fd00::9") {
			r.Allowed = append(r.Allowed, edit.AllowedRequest{Prefix: p})
		}
	}
	if random.IntN(6) == 0 {
		r.PortSecurity = new(random.IntN(2) == 0)
	}
	if random.IntN(5) == 0 {
		r.Parent, r.VLAN = dove.EndpointID(pick("e1", "e2")), uint16(1+random.IntN(3))
	}
	if random.IntN(4) == 0 {
		r.MAC = pick("02:00:00:00:00:01", "02:00:00:00:00:02")
	}
	return first(edit.PutEndpoint(w, r, chance, nil))
}

func randomBlueprint(random *rand.Rand) string {
	name := []string{"x", "y"}[random.IntN(2)]
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: dove/v1\nkind: Blueprint\nname: %s\ndomain: %s\n", name, []string{name, "d"}[random.IntN(2)])
	network := ""
	if random.IntN(2) == 0 {
		network = []string{"n1", "n2"}[random.IntN(2)]
		fmt.Fprintf(&b, "networks: {%s: {subnets: [%s]}}\n", network, []string{"10.0.0.0/28", "10.0.0.0/29", "fd00::/64"}[random.IntN(3)])
	}
	if network != "" && random.IntN(3) == 0 {
		fmt.Fprintf(&b, "routers: {%s: {networks: [%s, n3]}}\n", []string{"r1", "r4"}[random.IntN(2)], network)
	}
	b.WriteString("groups:\n")
	for _, g := range []string{"g", "h"} {
		if random.IntN(4) > 0 {
			fmt.Fprintf(&b, "  %s: {isolated: %v", g, random.IntN(2) == 0)
			if network != "" {
				fmt.Fprintf(&b, ", network: %s", network)
			}
			b.WriteString("}\n")
		}
	}
	if random.IntN(2) == 0 {
		b.WriteString("policies: [{name: p, from: g, to: g, allow: [tcp/80]}]\n")
	}
	return b.String()
}

// checkSound checks what must hold in every world.
func checkSound(t testing.TB, w *world.World) {
	t.Helper()
	vnis, vteps := map[dove.VNI]dove.Network{}, map[netip.Addr]dove.HostName{}
	for h := range w.Hosts() {
		if o, taken := vteps[h.VTEP]; taken {
			t.Errorf("hosts %s and %s have one VTEP", o, h.Name)
		}
		vteps[h.VTEP] = h.Name
	}
	for tenant := range w.Tenants() {
		classes := map[dove.Domain]map[dove.Class]string{}
		for n := range w.Networks(tenant.Name) {
			if o, taken := vnis[n.VNI]; taken || n.VNI == 0 {
				t.Errorf("networks %s and %s have VNI %d", o, n.Full(), n.VNI)
			}
			vnis[n.VNI] = n.Full()
			if a, ok := w.VNI(n.VNI); !ok || a.FreedAt != nil || a.Network != n.Full().String() {
				t.Errorf("VNI %d of network %s is decided as %+v", n.VNI, n.Full(), a)
			}
			addrs, macs := map[netip.Addr]bool{}, map[dove.MAC]bool{}
			for e := range w.EndpointsIn(n.Full()) {
				checkEndpoint(t, w, n, e)
				for _, a := range e.Addresses {
					if addrs[a] {
						t.Errorf("address %s on %s is there twice", a, n.Full())
					}
					addrs[a] = true
				}
				if macs[e.MAC] {
					t.Errorf("MAC %s on %s is there twice", e.MAC, n.Full())
				}
				macs[e.MAC] = true
			}
			for r := range w.RoutersOn(n.Full()) {
				f, _ := r.On(n.Name)
				for _, a := range f.Gateways(n) {
					if addrs[a] || !slices.ContainsFunc(n.Subnets, func(p netip.Prefix) bool { return p.Contains(a) }) {
						t.Errorf("address %s of router %s on %s is there twice, or in no subnet", a, r.Name, n.Full())
					}
					addrs[a] = true
				}
				if macs[f.MAC] || !f.MAC.IsUnicast() || r.Domain != n.Domain {
					t.Errorf("MAC %s of router %s on %s is there twice, or it is of domain %s", f.MAC, r.Name, n.Full(), r.Domain)
				}
				macs[f.MAC] = true
			}
			checkReach(t, w, n)
			if classes[n.DomainOf()] == nil {
				classes[n.DomainOf()] = map[dove.Class]string{}
				for a := range w.Classes(n.DomainOf()) {
					if o, taken := classes[n.DomainOf()][a.Class]; taken || a.Class < 2 || a.Class == dove.ClassReserved {
						t.Errorf("class %d of %s stands for %s and %s", a.Class, n.DomainOf(), o, a.Signature)
					}
					classes[n.DomainOf()][a.Class] = a.Signature
				}
			}
		}
		for e := range w.Endpoints(tenant.Name) {
			if _, ok := w.Network(e.NetworkOf()); !ok {
				t.Errorf("endpoint %s is on no network", e.Full())
			}
			checkTrunk(t, w, e)
		}
	}
	for tenant := range w.Tenants() {
		for b := range w.ParsedOf(tenant.Name) {
			for _, r := range b.Routers {
				if doc, ok := w.Router(dove.Router{Tenant: tenant.Name, Name: r.Name}); !ok || doc.Blueprint != b.Name || !doc.Says().Equal(r) {
					t.Errorf("router %s of blueprint %s is %+v", r.Name, b.Name, doc)
				}
			}
			for _, n := range b.Networks {
				if doc, ok := w.Network(dove.Network{Tenant: tenant.Name, Name: n.Name}); !ok || doc.Blueprint != b.Name || !slices.Equal(doc.Subnets, n.Subnets) {
					t.Errorf("network %s of blueprint %s is %+v", n.Name, b.Name, doc)
				}
			}
		}
	}
}

func checkEndpoint(t testing.TB, w *world.World, n world.Network, e world.Endpoint) {
	t.Helper()
	if len(e.Addresses) == 0 {
		t.Errorf("endpoint %s has no address", e.Full())
	}
	if e.Standby != "" && (e.Host == "" || e.Host == e.Standby) || e.Activated && e.Standby == "" {
		t.Errorf("endpoint %s is bound to %q and %q, activated: %v", e.Full(), e.Host, e.Standby, e.Activated)
	}
	for _, h := range e.Bindings() {
		if _, exists := w.Host(h); !exists {
			t.Errorf("endpoint %s is bound to host %s, which is not there", e.Full(), h)
		}
	}
	for _, a := range e.Addresses {
		at, ok := w.EndpointAt(n.VNI, a)
		if !ok || at.Full() != e.Full() {
			t.Errorf("%s is at %s, the world says %s", e.Full(), a, at.Full())
		}
		if !slices.ContainsFunc(n.Subnets, func(p netip.Prefix) bool { return p.Contains(a) }) {
			t.Errorf("%s of %s is in no subnet", a, e.Full())
		}
		class := w.AddressClass(e, a)
		s, ok := w.SignatureOf(n.DomainOf(), class)
		if want := w.Domain(n.DomainOf()).Signature(e.Member(), a); !ok || s.Key() != want.Key() {
			t.Errorf("%s has class %d of signature %s", e.Full(), class, s.Key())
		}
	}
	for _, g := range e.Groups {
		b := w.Parsed(g.Tenant, g.Blueprint)
		if b == nil || b.Domain != n.Domain {
			t.Errorf("endpoint %s on domain %s is in group %s", e.Full(), n.Domain, g)
			continue
		}
		declared := false
		for _, d := range b.Groups {
			declared = declared || d.Name == g.Name
		}
		if !declared {
			t.Errorf("endpoint %s is in group %s, which is not declared", e.Full(), g)
		}
	}
}

// checkReach checks that what can be reached from a network is one thing each.
func checkReach(t testing.TB, w *world.World, n world.Network) {
	t.Helper()
	all := slices.Clone(n.Subnets)
	for other := range w.Beside(n.Full()) {
		all = append(all, other.Subnets...)
	}
	for i, a := range all {
		for _, b := range all[:i] {
			if a.Overlaps(b) {
				t.Errorf("from %s both %s and %s are reached", n.Full(), a, b)
			}
		}
	}
}

// checkRebuilt compares the world with the one that all documents give at once.
func checkRebuilt(t *testing.T, b *book) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(b.docs))
	if diff := cmp.Diff(told(b.rebuilt(), keys), told(b.w, keys), byValue); diff != "" {
		t.Errorf("worlds differ (-rebuilt +grown):\n%s", diff)
	}
}

// told gathers what a world's lookups say.
func told(w *world.World, keys []string) map[string]any {
	all := map[string]any{"revision": w.Revision(), "hosts": collect(w.Hosts()), "vnis": collect(w.VNIs(0)), "next": w.VNINext(), "domains": collect(w.Domains())}
	for _, k := range keys {
		all["revision of "+k] = w.DocRevision(k)
	}
	for d := range w.ClassDomains() {
		all["classes of "+d.String()] = collect(w.Classes(d))
		all["next class of "+d.String()] = w.ClassNext(d)
		for a := range w.Classes(d) {
			s, _ := w.SignatureOf(d, a.Class)
			c, _ := w.ClassOf(d, s)
			all[fmt.Sprintf("class %d of %s", a.Class, d)] = fmt.Sprint(s.Key(), c)
			for o := range w.Classes(d) {
				other, _ := w.SignatureOf(d, o.Class)
				all[fmt.Sprintf("pair %d %d of %s", a.Class, o.Class, d)] = w.Domain(d).Table(s, other).Digest()
			}
		}
	}
	for h := range w.Hosts() {
		all["endpoints on "+string(h.Name)] = collect(w.EndpointsOn(h.Name))
		all["host at "+h.VTEP.String()], _ = w.HostByVTEP(h.VTEP)
	}
	for t := range w.Tenants() {
		name := string(t.Name)
		all["blueprints of "+name] = collect(w.Blueprints(t.Name))
		all["networks of "+name] = collect(w.Networks(t.Name))
		all["routers of "+name] = collect(w.Routers(t.Name))
		all["endpoints of "+name] = collect(w.Endpoints(t.Name))
		for b := range w.Blueprints(t.Name) {
			groups := collect(w.GroupsInUse(t.Name, b.Name))
			all["groups in use of "+name+"/"+b.Name] = groups
			for _, g := range groups {
				all["members of "+g.String()] = collect(w.EndpointsOf(g))
			}
		}
		for n := range w.Networks(t.Name) {
			all["routers on "+n.Full().String()] = collect(w.RoutersOn(n.Full()))
			all["claims on "+n.Full().String()] = collect(w.Claims(n.Full()))
			for _, a := range []string{"10.0.0.6", "10.0.1.4", "10.9.1.1", "fd00::9", "10.0.0.3"} {
				all["reach of "+a+" from "+n.Full().String()] = w.Reach(n, netip.MustParseAddr(a))
			}
			all["endpoints in "+n.Full().String()] = collect(w.EndpointsIn(n.Full()))
			all["by VNI "+n.Full().String()], _ = w.NetworkByVNI(n.VNI)
			for _, p := range n.Subnets {
				var at []string
				for a, e := range w.AddressesIn(n.Full(), p) {
					at = append(at, a.String()+" "+e.String())
				}
				free, ok := w.FreeAddress(n.Full(), p.Addr(), p.Addr().Next().Next().Next().Next())
				all["addresses in "+n.Full().String()+" "+p.String()] = fmt.Sprint(at, free, ok)
			}
		}
		for e := range w.Endpoints(t.Name) {
			by, _ := w.EndpointByMAC(e.NetworkOf(), e.MAC)
			all["by MAC "+e.Full().String()] = by.Full()
			for _, a := range e.Addresses {
				all["class of "+e.Full().String()+" "+a.String()] = w.AddressClass(e, a)
			}
		}
	}
	return all
}
