package resolver_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/resolver"
	"dove.network/world"
)

// land is a world of routers, changed one document at a time.
type land struct {
	t        *testing.T
	w        *world.World
	view     *resolver.View
	interest *resolver.Interest
}

func (l *land) write(puts []world.Document, deletes ...string) []resolver.News {
	l.t.Helper()
	var docs []dove.Doc
	for _, d := range puts {
		docs = append(docs, dove.Doc{Key: d.Key(), Value: world.Put(d).Value, Revision: l.w.Revision() + 1})
	}
	for _, k := range deletes {
		if k == "" {
			continue
		}
		docs = append(docs, dove.Doc{Key: k, Revision: l.w.Revision() + 1})
	}
	next, delta, err := l.w.Apply(l.w.Revision()+1, docs)
	if err != nil {
		l.t.Fatal(err)
	}
	l.w = next
	return l.interest.Advance(next, delta)
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

func landNetwork(n int, subnets ...netip.Prefix) world.Network {
	return world.Network{Tenant: "acme", Name: fmt.Sprintf("n%d", n), Domain: "shop", VNI: dove.VNI(100 + n), MTU: 1450, Subnets: subnets}
}

func landRouter(name string, networks ...int) world.Router {
	r := world.Router{Tenant: "acme", Name: name, Domain: "shop"}
	for _, n := range networks {
		r.Interfaces = append(r.Interfaces, world.Interface{Network: fmt.Sprintf("n%d", n), MAC: dove.MAC{2, 0, 0, 0, name[0], byte(n)}})
	}
	return r
}

var web = dove.Group{Tenant: "acme", Blueprint: "shop", Name: "web"}

func landEndpoint(id string, network int, host dove.HostName, addrs ...string) world.Endpoint {
	e := world.Endpoint{Tenant: "acme", ID: dove.EndpointID(id), UID: dove.UID(id[0]), Network: fmt.Sprintf("n%d", network), Host: host, MAC: dove.MAC{2, 1, 0, 0, byte(network), id[0]}, Groups: []dove.Group{web}}
	for _, a := range addrs {
		e.Addresses = append(e.Addresses, addr(a))
	}
	return e
}

// settled is three hosts and three networks, of which routers may join some;
// all endpoints are in one group whose members talk.
func settled(t *testing.T) *land {
	l := &land{t: t, w: world.New()}
	l.view = resolver.NewView(l.w)
	l.interest = resolver.NewInterest(l.view)
	docs := []world.Document{
		world.Blueprint{Tenant: "acme", Name: "shop", Domain: "shop", Text: "{apiVersion: dove/v1, kind: Blueprint, name: shop, groups: {web: {}, db: {}}}"},
		world.ClassAlloc{Tenant: "acme", Domain: "shop", Class: 5, Signature: "groups=acme/shop/web"},
		world.ClassAlloc{Tenant: "acme", Domain: "shop", Class: 6, Signature: "groups=acme/shop/db"},
	}
	for n := range 3 {
		docs = append(docs,
			world.Host{Name: dove.HostName(fmt.Sprintf("h%d", n)), VTEP: netip.AddrFrom4([4]byte{192, 0, 2, byte(n + 1)}), Serial: "01"},
			landNetwork(n, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n), 0}), 24)))
	}
	l.write(docs)
	return l
}

// TestRowsBehindRouters follows what is said of addresses on other networks as
// routers, routes and endpoints come and go.
func TestRowsBehindRouters(t *testing.T) {
	l := settled(t)
	behind := []world.Allowed{{Prefix: prefix("10.9.0.0/16")}}
	b := landEndpoint("b", 1, "h1", "10.0.1.7")
	b.Allowed = behind
	l.write([]world.Document{landEndpoint("a", 0, "h0", "10.0.0.7"), b})
	row := func(a string) control.Peer {
		return resolver.NewView(l.w).Peer("h0", control.PeerKey{VNI: 100, Addr: addr(a)})
	}
	if p := row("10.0.1.7"); !p.Absent || !p.NoRoute {
		t.Errorf("no router joins the networks: %+v", p)
	}
	core := landRouter("core", 0, 1)
	core.Routes = []world.Route{{To: prefix("10.9.0.0/16"), Via: []netip.Addr{addr("10.0.1.7"), addr("10.0.1.8"), addr("10.0.0.9")}}, {To: prefix("10.9.9.0/24"), Via: []netip.Addr{addr("10.0.1.99")}}}
	l.write([]world.Document{core})
	p := row("10.0.1.7")
	if p.Absent || p.Endpoint.ID != "b" || p.VNI != 101 || p.Gateway != core.Interfaces[0].MAC || p.Far != core.Interfaces[1].MAC || p.MTU != 1450 || p.Class != 5 || p.Host != "h1" {
		t.Errorf("behind a router: %+v", p)
	}
	if p := row("10.0.1.8"); !p.Absent || p.NoRoute {
		t.Errorf("nobody has it behind the router: %+v", p)
	}
	if p := row("10.0.0.8"); !p.Absent || p.NoRoute {
		t.Errorf("nobody has it here: %+v", p)
	}
	if p := row("10.0.2.7"); !p.NoRoute {
		t.Errorf("on a network that no router leads to: %+v", p)
	}
	// Routes: the longest, over those of its next hops that there are.
	if p := row("10.9.9.1"); !p.Absent || p.NoRoute {
		t.Errorf("the longest route has no next hop that there is: %+v", p)
	}
	if p := row("10.9.1.1"); p.Endpoint.ID != "b" || len(p.Ways) != 0 || p.VNI != 101 {
		t.Errorf("by the one next hop: %+v", p)
	}
	c := landEndpoint("c", 1, "h2", "10.0.1.8")
	c.Groups = []dove.Group{{Tenant: "acme", Blueprint: "shop", Name: "db"}}
	d := landEndpoint("d", 0, "h0", "10.0.0.9")
	l.write([]world.Document{c, d})
	if p := row("10.9.1.1"); p.Endpoint.ID != "b" || len(p.Ways) != 0 {
		t.Errorf("next hops that are not allowed the address: %+v", p)
	}
	c.Allowed, d.Allowed = behind, behind
	l.write([]world.Document{c, d})
	e := landEndpoint("e", 1, "h2", "10.0.1.77")
	e.Allowed = []world.Allowed{{Prefix: prefix("10.9.7.0/24")}}
	l.write([]world.Document{e})
	if p := row("10.9.7.1"); p.Endpoint.ID != "d" || len(p.Ways) != 0 {
		t.Errorf("where another on the next hops' network is allowed more of the address: %+v", p)
	}
	p = row("10.9.1.1")
	if p.Endpoint.ID != "b" || len(p.Ways) != 2 || p.Ways[0].Endpoint.ID != "c" || p.Ways[1].Endpoint.ID != "d" {
		t.Fatalf("by three next hops: %+v", p)
	}
	if w := p.Ways[0]; w.VTEP.IsValid() || w.Class != 6 || w.VNI != 101 || w.Far != core.Interfaces[1].MAC {
		t.Errorf("a way to one that may not be talked to: %+v", w)
	}
	if w := p.Ways[1]; w.Host != "h0" || w.VNI != 100 || w.Far != core.Interfaces[0].MAC {
		t.Errorf("a way to the same network: %+v", w)
	}
	got := resolver.Resolve(l.w, "h0", control.Question{VNI: 100, Local: addr("10.0.0.7"), Peer: addr("10.9.1.1"), Outgoing: true})
	if got.Answer.Status != control.Found || len(got.Pairs) != 3 {
		t.Errorf("the pairs of all ways: %+v", got)
	}
	// Two of one host may speak from the address: each class has pairs of its own.
	f := landEndpoint("f", 0, "h0", "10.0.0.10")
	f.Groups, f.Allowed = c.Groups, behind
	l.write([]world.Document{f})
	for _, class := range []dove.Class{5, 6, 99} {
		got := resolver.Resolve(l.w, "h0", control.Question{VNI: 100, Local: addr("10.9.1.1"), Peer: addr("10.0.1.7"), Outgoing: true, Class: class})
		if want := min(class, 6); got.Answer.Local != want && !(class == 99 && got.Answer.Local == 5) {
			t.Errorf("asked for class %d of an address that two may speak from: %+v", class, got.Answer)
		}
	}
	// A host knows its own next hop, though nothing on it may talk to that.
	c.Groups = nil
	l.write([]world.Document{c})
	if w := resolver.NewView(l.w).Peer("h2", control.PeerKey{VNI: 101, Addr: addr("10.9.1.1")}).Ways[0]; w.Endpoint.ID != "c" || w.Host != "h2" || !w.VTEP.IsValid() {
		t.Errorf("a next hop at home: %+v", w)
	}
	// A host that has nothing on the network is told nothing.
	if p := resolver.NewView(l.w).Peer("h2", control.PeerKey{VNI: 100, Addr: addr("10.0.1.7")}); !p.Absent || p.TTL != 0 {
		t.Errorf("a stranger is told %+v", p)
	}
}

// TestRoutedNewsIsComplete changes a random land and checks that whoever holds a
// row hears of its change, and nobody else.
func TestRoutedNewsIsComplete(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	changes, silent := 0, 0
	for run := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, run))
		l := settled(t)
		held := map[control.SessionID]map[control.PeerKey]control.Peer{}
		for id := control.SessionID(1); id <= 3; id++ {
			l.interest.Open(id, dove.HostName(fmt.Sprintf("h%d", id-1)))
			held[id] = map[control.PeerKey]control.Peer{}
		}
		host := func(id control.SessionID) dove.HostName { return dove.HostName(fmt.Sprintf("h%d", id-1)) }
		for step := range 120 {
			// Somebody learns a row.
			for range 3 {
				id := control.SessionID(1 + r.IntN(3))
				key := control.PeerKey{VNI: dove.VNI(100 + r.IntN(3)), Addr: netip.AddrFrom4([4]byte{10, []byte{0, 9}[r.IntN(2)], byte(r.IntN(3)), byte(7 + r.IntN(3))})}
				if row := l.view.Peer(host(id), key); !row.Absent || row.TTL != 0 {
					l.interest.Peer(id, &row)
					held[id][key] = row
				}
			}
			puts, gone := randomLand(r)
			news := l.write(puts, gone)
			for i, n := range news {
				if i > 0 && news[i-1].Session >= n.Session {
					t.Fatalf("news out of order")
				}
				for _, row := range n.Peers {
					was, holds := held[n.Session][row.Key]
					if !holds || was.Digest() == row.Digest() {
						t.Fatalf("seed %d run %d step %d: session %d is told of what it does not hold, or knows: %+v", seed, run, step, n.Session, row)
					}
					changes++
					if held[n.Session][row.Key] = row; row.Absent && row.TTL == 0 {
						delete(held[n.Session], row.Key)
					}
				}
			}
			if len(news) == 0 {
				silent++
			}
			for id, rows := range held {
				for key, row := range rows {
					if now := resolver.NewView(l.w).Peer(host(id), key); now.Digest() != row.Digest() {
						t.Fatalf("seed %d run %d step %d: session %d holds %+v, and it is %+v", seed, run, step, id, row, now)
					}
				}
			}
		}
	}
	if changes < 500 || silent < 100 {
		t.Errorf("only %d rows changed, and %d writes concerned nobody: they show little", changes, silent)
	}
}

// randomLand writes one document, or takes one away.
func randomLand(r *rand.Rand) ([]world.Document, string) {
	some := func() []int {
		all := []int{0, 1, 2}
		return slices.DeleteFunc(all, func(int) bool { return r.IntN(3) == 0 })
	}
	switch r.IntN(7) {
	case 6:
		i := r.IntN(9)
		return []world.Document{world.Claim{Tenant: "acme", Network: fmt.Sprintf("n%d", i%3), Addr: addr([]string{"10.9.1.7", "10.0.1.8"}[r.IntN(2)]), Endpoint: dove.EndpointID(fmt.Sprintf("e%d", i)), UID: dove.UID('e')}}, ""
	case 0:
		router := landRouter([]string{"core", "edge"}[r.IntN(2)], some()...)
		for _, to := range []string{"10.9.0.0/16", "10.9.1.0/24", "0.0.0.0/0"} {
			if r.IntN(3) > 0 {
				continue
			}
			route := world.Route{To: prefix(to)}
			for _, n := range some() {
				route.Via = append(route.Via, netip.AddrFrom4([4]byte{10, 0, byte(n), 7}))
			}
			router.Routes = append(router.Routes, route)
		}
		return []world.Document{router}, ""
	case 1:
		return nil, world.RouterKey(dove.Router{Tenant: "acme", Name: []string{"core", "edge"}[r.IntN(2)]})
	case 2:
		n := r.IntN(3)
		subnets := []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n), 0}), 24)}
		if r.IntN(3) == 0 {
			subnets = append(subnets, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(n), 0}), 29))
		}
		return []world.Document{landNetwork(n, subnets...)}, ""
	case 3:
		return nil, world.EndpointKey(dove.Endpoint{Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", r.IntN(9)))})
	}
	i := r.IntN(9)
	e := landEndpoint(fmt.Sprintf("e%d", i), i%3, dove.HostName([]string{"", "h0", "h1", "h2"}[r.IntN(4)]), fmt.Sprintf("10.0.%d.%d", i%3, 7+i/3))
	for _, p := range []string{"10.9.0.0/16", "10.9.1.7/32", "10.0.1.8/32", "10.0.2.0/29"} {
		if r.IntN(6) == 0 {
			e.Allowed = append(e.Allowed, world.Allowed{Prefix: prefix(p)})
		}
	}
	if r.IntN(3) == 0 {
		e.Groups = []dove.Group{{Tenant: "acme", Blueprint: "shop", Name: "db"}}
	}
	return []world.Document{e}, ""
}
