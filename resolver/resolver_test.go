package resolver_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"dove.network/blueprint"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/oracle"
	"dove.network/oracle/worlds"
	"dove.network/resolver"
	"dove.network/world"
)

// populated is a random world of two tenants, whose endpoints lie on three
// hosts, some on none, with equal addresses.
func populated(t testing.TB, r *rand.Rand) (*world.World, map[dove.Tenant]*worlds.World) {
	t.Helper()
	w := world.New()
	apply := func(txn dove.Txn, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var docs []dove.Doc
		for _, p := range txn.Puts {
			docs = append(docs, dove.Doc{Key: p.Key, Value: p.Value, Revision: w.Revision() + 1})
		}
		if w, _, err = w.Apply(w.Revision()+1, docs); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for n := range 3 {
		apply(dove.Txn{Puts: []dove.Put{world.Put(world.Host{
			Name: dove.HostName(fmt.Sprintf("h%d", n)), VTEP: netip.AddrFrom4([4]byte{192, 0, 2, byte(n + 1)}), Serial: "01",
		})}}, nil)
	}
	intents := map[dove.Tenant]*worlds.World{}
	for _, tenant := range []dove.Tenant{"acme", "bolt"} {
		intent := worlds.Rich(r, tenant)
		intent.Settle()
		intent.Edge = time.Time{} // no policy has ended
		intents[tenant] = intent
		txn, _, err := edit.PutTenant(w, tenant, nil)
		apply(txn, err)
		for _, b := range intent.Blueprints {
			txn, _, err := edit.PutBlueprint(w, tenant, "", blueprint.Format(b), now, nil)
			apply(txn, err)
		}
		for n, m := range intent.Members {
			request := edit.EndpointRequest{
				Tenant: tenant, ID: dove.EndpointID(fmt.Sprintf("e%d", n)), Network: worlds.Network, Groups: []string{},
				Labels: m.Labels, Ports: map[string]string{}, Addresses: []string{address(n).String()}, Host: dove.HostName([]string{"", "h0", "h1", "h2", "h0", "h1", "h2"}[r.IntN(7)]),
			}
			for name, p := range m.Ports {
				request.Ports[name] = p.String()
			}
			for _, g := range m.Groups {
				request.Groups = append(request.Groups, g.Blueprint+"/"+g.Name)
			}
			txn, _, err := edit.PutEndpoint(w, request, edit.Chance{UID: dove.UID(w.Revision()), Now: now}, nil)
			apply(txn, err)
		}
	}
	return w, intents
}

// address is that of endpoint n, v4 or v6 by turns.
func address(n int) netip.Addr {
	if n%4 == 3 {
		a := worlds.Subnet6.Addr().As16()
		a[15] = byte(n + 2)
		return netip.AddrFrom16(a)
	}
	a := worlds.Subnet4.Addr().As4()
	a[3] = byte(n + 2)
	return netip.AddrFrom4(a)
}

// TestAnswersAgreeWithTheOracle asks every question in random worlds: the
// tables say what the oracle says, and a location is told if and only if
// an endpoint of the asking host may talk with the peer, in one direction.
func TestAnswersAgreeWithTheOracle(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for n := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, n))
		w, intents := populated(t, r)
		for tenant, intent := range intents {
			c := judge{t: t, w: w, tenant: tenant, intent: intent, view: resolver.NewView(w), probes: worlds.Probes(intent.Blueprints)}
			network, _ := w.Network(dove.Network{Tenant: tenant, Name: worlds.Network})
			for i := range intent.Members {
				for j := range intent.Members {
					for _, host := range []dove.HostName{"h0", "h1", "h2"} {
						c.ask(network.VNI, host, i, j)
					}
				}
			}
			if t.Failed() {
				t.Fatalf("world %d of seed %d, %s:\n%s", n, seed, tenant, intent)
			}
		}
	}
}

type judge struct {
	t      *testing.T
	w      *world.World
	tenant dove.Tenant
	intent *worlds.World
	view   *resolver.View
	probes []worlds.Probe
}

func (j *judge) endpoint(n int) world.Endpoint {
	e, _ := j.w.Endpoint(dove.Endpoint{Tenant: j.tenant, ID: dove.EndpointID(fmt.Sprintf("e%d", n))})
	return e
}

// ask has a host ask from one endpoint's address for another's.
func (j *judge) ask(vni dove.VNI, host dove.HostName, local, peer int) {
	from, to := j.endpoint(local), j.endpoint(peer)
	q := control.Question{VNI: vni, Local: address(local), Peer: address(peer), Outgoing: true}
	got := j.view.Resolve(host, q)
	want := control.Found
	switch {
	case from.Host != host:
		want = control.Refused
	case to.Host == "":
		want = control.NoEndpoint
	}
	if got.Answer.Status != want {
		j.t.Errorf("%s asks %+v: %+v, want status %d", host, q, got.Answer, want)
	}
	if want == control.Refused && len(got.Peers)+len(got.Pairs) > 0 {
		j.t.Errorf("a refused question gets rows: %+v", got)
	}
	if want != control.Found || got.Answer.Status != want {
		return
	}
	row := got.Peers[0]
	if row.Endpoint != to.Full() || row.UID != to.UID || row.MAC != to.MAC {
		j.t.Errorf("%+v: the row is of another endpoint: %+v", q, row)
	}
	if located := row.VTEP.IsValid(); located != j.talk(host, peer) || located != (row.Host != "") {
		j.t.Errorf("%s asks %+v: located %v", host, q, located)
	}
	for _, p := range got.Pairs {
		src, dst := local, peer
		if p.Key.Src != got.Answer.Local {
			src, dst = peer, local
		}
		for _, probe := range j.probes {
			want, v := j.decide(src, dst, probe), p.Table.Lookup(probe.Protocol, probe.Port)
			is := oracle.Answer{
				Allow: v.Allow, Rule: p.Table.Name(v), Log: v.Log, Shadow: p.Table.WouldName(v), Would: v.WouldAllow,
				NoReply: v.NoReply, Stateless: !p.Table.Stateful(),
			}
			if is != want {
				j.t.Errorf("%v, %+v: %+v, the oracle says %+v", p.Key, probe, is, want)
			}
		}
	}
}

func (j *judge) decide(src, dst int, p worlds.Probe) oracle.Answer {
	return oracle.Decide(j.intent.Blueprints, j.intent.Edge, oracle.Packet{
		Src: j.intent.Members[src].End(address(src)), Dst: j.intent.Members[dst].End(address(dst)), Protocol: p.Protocol, Port: p.Port,
	})
}

// talk reports whether any endpoint of a host may talk with the peer.
func (j *judge) talk(host dove.HostName, peer int) bool {
	for n := range j.intent.Members {
		if j.endpoint(n).Host != host {
			continue
		}
		for _, probe := range j.probes {
			if j.decide(n, peer, probe).Allow || j.decide(peer, n, probe).Allow {
				return true
			}
		}
	}
	return false
}

func BenchmarkResolve(b *testing.B) {
	w, intents := populated(b, rand.New(rand.NewPCG(1, 2)))
	network, _ := w.Network(dove.Network{Tenant: "acme", Name: worlds.Network})
	view := resolver.NewView(w)
	var questions []control.Question
	var host dove.HostName
	for n := range intents["acme"].Members {
		e, _ := w.Endpoint(dove.Endpoint{Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", n))})
		if host == "" {
			host = e.Host
		}
		if e.Host != host || host == "" {
			continue
		}
		for peer := range intents["acme"].Members {
			questions = append(questions, control.Question{VNI: network.VNI, Local: address(n), Peer: address(peer), Outgoing: true})
		}
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		view.Resolve(host, questions[n%len(questions)])
	}
}
