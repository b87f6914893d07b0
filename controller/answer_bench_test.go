package controller

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// bigWorld has hosts with sessions, and endpoints on them in groups each of which may talk
// to the next.
func bigWorld(b *testing.B, hosts, endpoints int) (*Core, func(n int) netip.Addr) {
	const groups = 16
	w := world.New()
	apply := func(txn dove.Txn, err error) {
		if err != nil {
			b.Fatal(err)
		}
		var docs []dove.Doc
		for _, p := range txn.Puts {
			docs = append(docs, dove.Doc{Key: p.Key, Value: p.Value, Revision: w.Revision() + 1})
		}
		if w, _, err = w.Apply(w.Revision()+1, docs); err != nil {
			b.Fatal(err)
		}
	}
	txn, _, err := edit.PutTenant(w, "acme", nil)
	apply(txn, err)
	text := "{apiVersion: dove/v1, kind: Blueprint, name: shop, networks: {net: {subnets: [10.0.0.0/8]}}, groups: {"
	var names, policies []string
	for g := range groups {
		names = append(names, fmt.Sprintf("g%d: {network: net}", g))
		policies = append(policies, fmt.Sprintf("{name: p%d, from: g%d, to: g%d, allow: [tcp/443, udp/53]}", g, g, (g+1)%groups))
	}
	txn, _, err = edit.PutBlueprint(w, "acme", "", []byte(text+strings.Join(names, ", ")+"}, policies: ["+strings.Join(policies, ", ")+"]}"), time.Now(), nil)
	apply(txn, err)
	var fleet dove.Txn
	for h := range hosts {
		fleet.Puts = append(fleet.Puts, world.Put(world.Host{Name: dove.HostName(fmt.Sprintf("h%d", h)), VTEP: netip.AddrFrom4([4]byte{172, 16, byte(h >> 8), byte(h)}), Serial: "01"}))
	}
	apply(fleet, nil)
	addr := func(n int) netip.Addr {
		n += 2
		return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
	}
	for at := 0; at < endpoints; {
		var requests []edit.EndpointRequest
		var chances []edit.Chance
		for n := at; n < min(endpoints, at+100); n++ {
			requests = append(requests, edit.EndpointRequest{
				Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%07d", n)), Groups: []string{fmt.Sprintf("shop/g%d", n/hosts%groups)},
				Addresses: []string{addr(n).String()}, Host: dove.HostName(fmt.Sprintf("h%d", n%hosts)),
			})
			chances = append(chances, edit.Chance{UID: dove.UID(n + 1), Now: time.Now()})
		}
		txn, docs, err := edit.PutEndpoints(w, requests, chances, 0)
		apply(txn, err)
		at += len(docs)
	}
	return openAll(b, w, hosts), addr
}

// openAll returns a Core that nobody has asked anything, with a session of each host.
func openAll(b *testing.B, w *world.World, hosts int) *Core {
	core := NewCore("dpc-1", w)
	for h := range hosts {
		host, _ := w.Host(dove.HostName(fmt.Sprintf("h%d", h)))
		if _, err := core.Step(time.Now(), Opened{control.SessionID(h + 1), control.Identity{Host: host.Name, VTEP: host.VTEP, Serial: host.Serial},
			&control.Hello{Version: control.Version, Host: host.Name, VTEP: host.VTEP}}); err != nil {
			b.Fatal(err)
		}
	}
	return core
}

// BenchmarkAnswer answers batches of 64 questions: about peers of any host that were not
// asked about, so that each host is told whom to expect, and about the same again.
func BenchmarkAnswer(b *testing.B) {
	const hosts, endpoints, groups, batch = 500, 50_000, 16, 64
	core, addr := bigWorld(b, hosts, endpoints)
	n, _ := core.World().Network(dove.Network{Tenant: "acme", Name: "net"})
	random := rand.New(rand.NewPCG(1, 2))
	requests := make([]Received, 2000)
	for i := range requests {
		host := random.IntN(hosts)
		r := &control.PolicyRequest{ID: 1}
		for range batch {
			row := random.IntN(endpoints / hosts)
			to := ((row+1)%groups+groups*random.IntN(endpoints/hosts/groups))*hosts + random.IntN(hosts)
			r.Questions = append(r.Questions, control.Question{VNI: n.VNI, Local: addr(row*hosts + host), Peer: addr(to), Outgoing: true})
		}
		requests[i] = Received{control.SessionID(host + 1), r}
	}
	run := func(b *testing.B, again bool) {
		expects := 0
		for i := range b.N {
			if i%len(requests) == 0 && !again {
				b.StopTimer()
				core = openAll(b, core.World(), hosts)
				b.StartTimer()
			}
			effects, err := core.Step(time.Now(), requests[i%len(requests)])
			if err != nil {
				b.Fatal(err)
			}
			expects += len(effects) - 1
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/question")
		b.ReportMetric(float64(expects)/float64(b.N*batch), "expects/question")
	}
	b.Run("new", func(b *testing.B) { run(b, false) })
	for _, r := range requests {
		if _, err := core.Step(time.Now(), r); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("again", func(b *testing.B) { run(b, true) })
}
