package controller

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/resolver"
	"dove.network/world"
)

// TestSessionsHoldWhatTheResolverSays walks through random edits, questions
// and sessions. After each step what every dSwitch holds is what the resolver
// says of it at that revision, and once all acknowledged, the receipt is complete.
func TestSessionsHoldWhatTheResolverSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &walk{rig: newRig(t), t: t, before: map[dove.HostName]*dswitch{}}
		for n := range 3 {
			w.hosts = append(w.hosts, w.host(n+1))
		}
		for _, tenant := range []dove.Tenant{"acme", "bolt"} {
			w.tenant(tenant)
			w.blueprint(tenant, fmt.Sprintf(shop, webApp))
		}
		if rapid.Bool().Draw(t, "slowly") {
			w.slowly, w.core.openPart = true, 1
		}
		steps := []func(){
			w.goOn, w.goOn, w.goOn,
			w.editPolicy, w.putEndpoint, w.putEndpoint, w.bindEndpoint, w.bindEndpoint, w.moveEndpoint, w.moveEndpoint, w.deleteEndpoint,
			w.regroup, w.carryAll,
			w.openSession, w.openSession, w.askSome, w.askSome, w.askSome, w.releaseSome, w.closeSession, w.changeHost, w.sweep,
		}
		for range rapid.IntRange(10, 60).Draw(t, "steps") {
			rapid.SampledFrom(steps).Draw(t, "step")()
			w.now = w.now.Add(time.Second)
			w.check()
			w.checkInterest()
		}
		for len(w.opening) > 0 {
			w.goOn()
		}
		w.check()
		w.checkInterest()
		for _, d := range w.switches {
			w.ack(d)
		}
		if r := w.core.Receipt(w.core.World().Revision()); len(w.switches) > 0 && len(r.Pending) > len(r.Unconfirmed) {
			t.Fatalf("all acknowledged, and the receipt says %+v", r)
		}
	})
}

// TestMovesAmidChangesOfGroups walks from a fleet where everything is in place:
// endpoints move with their flows while their groups change.
func TestMovesAmidChangesOfGroups(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &walk{rig: newRig(t), t: t, before: map[dove.HostName]*dswitch{}}
		for n := range 3 {
			w.hosts = append(w.hosts, w.host(n+1))
		}
		for _, tenant := range []dove.Tenant{"acme", "bolt"} {
			w.tenant(tenant)
			w.blueprint(tenant, fmt.Sprintf(shop, webApp+", "+appDB))
			for n := range 6 {
				id, host := dove.EndpointID(fmt.Sprintf("e%d", n+1)), w.hosts[n%3].Host
				w.endpoint(tenant, id, host, fmt.Sprintf("10.0.0.%d", 11+n), []string{"web", "app", "db"}[n%3])
			}
		}
		for _, h := range w.hosts {
			w.open(h)
		}
		steps := []func(){
			w.askSome, w.askSome, w.moveEndpoint, w.moveEndpoint, w.carryAll, w.carryAll, w.regroup, w.regroup, w.editPolicy, w.openSession,
		}
		for range rapid.IntRange(10, 60).Draw(t, "steps") {
			rapid.SampledFrom(steps).Draw(t, "step")()
			w.now = w.now.Add(time.Second)
			w.check()
			w.checkInterest()
		}
	})
}

type walk struct {
	*rig
	t      *rapid.T
	hosts  []control.Identity
	before map[dove.HostName]*dswitch // what a host held when its session ended
}

func (w *walk) anyTenant() dove.Tenant {
	return rapid.SampledFrom([]dove.Tenant{"acme", "bolt"}).Draw(w.t, "tenant")
}

func (w *walk) anyHost() dove.HostName {
	return rapid.SampledFrom([]dove.HostName{"", "h1", "h2", "h3"}).Draw(w.t, "host")
}

func (w *walk) anyGroups() []string {
	all := []string{"web", "app", "db"}
	return rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, 2, rapid.ID).Draw(w.t, "groups")
}

// try commits an edit unless it is refused or changes nothing.
func (w *walk) try(txn dove.Txn, err error) {
	if err == nil && !txn.Empty() {
		w.edit(txn, nil)
	}
}

func (w *walk) editPolicy() {
	var policies []string
	groups := []string{"web", "app", "db"}
	for n := range rapid.IntRange(0, 4).Draw(w.t, "policies") {
		verb := rapid.SampledFrom([]string{"allow", "deny"}).Draw(w.t, "verb")
		policies = append(policies, fmt.Sprintf(`{name: p%d, from: %s, to: %s, %s: [tcp/%d]}`, n,
			rapid.SampledFrom(groups).Draw(w.t, "from"), rapid.SampledFrom(groups).Draw(w.t, "to"), verb,
			rapid.IntRange(1, 3).Draw(w.t, "port")))
	}
	text := fmt.Sprintf(shop, strings.Join(policies, ", "))
	txn, _, err := edit.PutBlueprint(w.core.World(), w.anyTenant(), "", []byte(text), w.now, nil)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	w.try(txn, err)
}

func (w *walk) anyEndpoint() dove.Endpoint {
	id := fmt.Sprintf("e%d", rapid.IntRange(1, 6).Draw(w.t, "endpoint"))
	return dove.Endpoint{Tenant: w.anyTenant(), ID: dove.EndpointID(id)}
}

func (w *walk) anyAddr() netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(11, 17).Draw(w.t, "addr"))})
}

func (w *walk) putEndpoint() {
	e := w.anyEndpoint()
	request := edit.EndpointRequest{Tenant: e.Tenant, ID: e.ID, Host: w.anyHost(), Network: "front", Groups: []string{}}
	for _, g := range w.anyGroups() {
		request.Groups = append(request.Groups, "shop/"+g)
	}
	if rapid.Bool().Draw(w.t, "addressed") {
		request.Addresses = []string{w.anyAddr().String()}
	}
	chance := edit.Chance{UID: dove.UID(w.core.World().Revision()) + 1000, Now: w.now}
	txn, _, err := edit.PutEndpoint(w.core.World(), request, chance, nil)
	w.try(txn, err)
}

func (w *walk) bindEndpoint() {
	e, host := w.anyEndpoint(), w.anyHost()
	if host == "" {
		txn, _, err := edit.UnbindEndpoint(w.core.World(), e, nil)
		w.try(txn, err)
		return
	}
	txn, _, err := edit.BindEndpoint(w.core.World(), e, host, nil)
	w.try(txn, err)
}

// moveEndpoint prepares, activates or finishes a move, as it comes.
func (w *walk) moveEndpoint() {
	e, _ := w.core.World().Endpoint(w.anyEndpoint())
	decide := edit.PrepareEndpoint
	host := w.anyHost()
	if e.Standby != "" {
		host = e.Standby
		if decide = edit.ActivateEndpoint; rapid.Bool().Draw(w.t, "finish") {
			decide = edit.FinishEndpoint
		}
	}
	txn, _, err := decide(w.core.World(), e.Full(), host, nil)
	w.try(txn, err)
}

// regroup changes the groups of an endpoint, of one that moves if any does, and
// nothing else.
func (w *walk) regroup() {
	var all, moving []world.Endpoint
	for _, tenant := range []dove.Tenant{"acme", "bolt"} {
		for e := range w.core.World().Endpoints(tenant) {
			all = append(all, e)
			if e.Standby != "" {
				moving = append(moving, e)
			}
		}
	}
	if len(moving) > 0 {
		all = moving
	}
	if len(all) == 0 {
		return
	}
	e := rapid.SampledFrom(all).Draw(w.t, "regrouped")
	request := edit.EndpointRequest{Tenant: e.Tenant, ID: e.ID, Groups: []string{}}
	for _, g := range w.anyGroups() {
		request.Groups = append(request.Groups, "shop/"+g)
	}
	txn, _, err := edit.PutEndpoint(w.core.World(), request, edit.Chance{Now: w.now}, nil)
	w.try(txn, err)
}

// carryAll has the hosts of endpoints that move say that their ports are open,
// and carry the flows that are asked for.
func (w *walk) carryAll() {
	for _, id := range slices.Sorted(maps.Keys(w.switches)) {
		d := w.switches[id]
		for _, name := range sortedEndpoints(d.assigned) {
			if a := d.assigned[name]; a.Other.Host != "" {
				w.say(d, &control.EndpointUpdate{Endpoint: name, Epoch: a.Epoch, State: control.EndpointActive, Standby: a.Standby})
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.switches)) {
		d := w.switches[id]
		heard := d.heard
		d.heard = nil
		for _, m := range heard {
			request, ok := m.(*control.CarryRequest)
			if !ok {
				continue
			}
			a := d.assigned[request.Endpoint]
			if a == nil {
				continue // it was taken from the host meanwhile, which has nothing to carry then
			}
			carry := &control.Carry{Endpoint: request.Endpoint, Epoch: request.Epoch}
			for f := range d.flows {
				if slices.ContainsFunc(a.Address, func(x control.Address) bool { return f.vni == a.VNI && x.Addr == f.local }) {
					carry.Flows = append(carry.Flows, control.FlowState{
						Tuple: control.Tuple{VNI: f.vni, Src: f.local, Dst: f.peer, Protocol: dove.ProtocolTCP, SrcPort: 1, DstPort: 1},
						UIDs:  [2]dove.UID{a.UID, 99},
					})
				}
			}
			w.say(d, carry)
		}
	}
}

func (w *walk) deleteEndpoint() {
	w.try(edit.DeleteEndpoint(w.core.World(), w.anyEndpoint(), nil))
}

// sweep lets a day and more pass, after which ids of classes are used again.
func (w *walk) sweep() {
	w.now = w.now.Add(25 * time.Hour)
	w.try(edit.Sweep(w.core.World(), w.now))
}

// changeHost has a host lose or get its certificate.
func (w *walk) changeHost() {
	id := rapid.SampledFrom(w.hosts).Draw(w.t, "changes")
	doc := world.Host{Name: id.Host, VTEP: id.VTEP, Serial: id.Serial}
	if h, _ := w.core.World().Host(id.Host); resolver.Joined(h) {
		doc.Serial = ""
		w.remember(id.Host)
	}
	w.edit(dove.Txn{Puts: []dove.Put{world.Put(doc)}}, nil)
}

// openSession resumes with what the host held, some of it by zero digest.
func (w *walk) openSession() {
	id := rapid.SampledFrom(w.hosts).Draw(w.t, "opens")
	w.remember(id.Host)
	before := w.before[id.Host]
	if before == nil || rapid.IntRange(0, 3).Draw(w.t, "empty") == 0 {
		w.open(id)
		return
	}
	hello := before.hello(1, before.frontier)
	for i := range hello.Peers {
		if rapid.IntRange(0, 9).Draw(w.t, "forgotten") == 0 {
			hello.Peers[i].Digest = control.Digest{}
		}
	}
	w.resume(id, hello, before)
}

// remember keeps what the host's session held, if it has one.
func (w *walk) remember(host dove.HostName) {
	for id, d := range w.switches {
		if d.identity.Host == host && w.core.sessions[id] != nil {
			w.before[host] = d
		}
	}
}

// anySession returns one of the open sessions, nil if there is none.
func (w *walk) anySession() *dswitch {
	if len(w.core.sessions) == 0 {
		return nil
	}
	return w.switches[rapid.SampledFrom(slices.Sorted(maps.Keys(w.core.sessions))).Draw(w.t, "session")]
}

func (w *walk) askSome() {
	d := w.anySession()
	if d == nil {
		return
	}
	request := &control.PolicyRequest{ID: 1}
	own := sortedEndpoints(d.assigned)
	for range rapid.IntRange(1, 4).Draw(w.t, "questions") {
		q := control.Question{VNI: w.vni(w.anyTenant()), Local: w.anyAddr(), Peer: w.anyAddr(), Outgoing: rapid.Bool().Draw(w.t, "outgoing")}
		if len(own) > 0 && rapid.Bool().Draw(w.t, "own") {
			a := d.assigned[rapid.SampledFrom(own).Draw(w.t, "local")]
			q.VNI, q.Local = a.VNI, a.Address[0].Addr
		}
		request.Questions = append(request.Questions, q)
	}
	w.say(d, request)
	for _, m := range d.heard {
		reply, ok := m.(*control.PolicyReply)
		if !ok {
			continue
		}
		for _, a := range reply.Answers {
			w.checkAnswer(d, a)
		}
	}
	d.heard = nil
}

// checkAnswer says of an answer that what it needs is held.
func (w *walk) checkAnswer(d *dswitch, a control.Answer) {
	row, held := d.peers[control.PeerKey{VNI: a.Question.VNI, Addr: a.Question.Peer}]
	switch a.Status {
	case control.Found:
		for _, key := range []control.PairKey{{Domain: a.Domain, Src: a.Local, Dst: a.Peer}, {Domain: a.Domain, Src: a.Peer, Dst: a.Local}} {
			if d.pairs[key] == nil {
				w.t.Fatalf("the answer %+v came without the pair %v", a, key)
			}
		}
		if !held || row.Absent || row.Class != a.Peer {
			w.t.Fatalf("the answer %+v came with the row %+v", a, row)
		}
	case control.NoEndpoint:
		if !held || !row.Absent {
			w.t.Fatalf("the answer %+v came with the row %+v", a, row)
		}
	}
}

func (w *walk) releaseSome() {
	d := w.anySession()
	if d == nil {
		return
	}
	release := &control.Release{Expected: d.expected}
	peers := slices.SortedFunc(maps.Keys(d.peers), func(a, b control.PeerKey) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for _, key := range peers {
		if rapid.Bool().Draw(w.t, "release") {
			release.Peers = append(release.Peers, key)
			delete(d.peers, key)
		}
	}
	w.say(d, release)
}

func (w *walk) closeSession() {
	if opening := slices.Sorted(maps.Keys(w.core.unopened)); len(opening) > 0 && rapid.Bool().Draw(w.t, "opening") {
		delete(w.switches, opening[0])
		w.step(Closed{opening[0]})
	} else if d := w.anySession(); d != nil {
		w.remember(d.identity.Host)
		delete(w.switches, d.id)
		w.step(Closed{d.id})
	}
}

// checkInterest says of what the Core remembers that it is what is held, and by whom nothing.
func (w *walk) checkInterest() {
	apart := map[dove.HostName]bool{}
	for h := range w.core.World().Hosts() {
		if !h.Foreign && w.core.hosts[h.Name] == nil {
			apart[h.Name] = true
		}
	}
	if !maps.Equal(w.core.apart, apart) {
		w.t.Fatalf("hosts without a session are %v, the Core knows %v", apart, w.core.apart)
	}
	if len(w.core.sessions)+len(w.core.unopened) != len(w.switches) {
		w.t.Fatalf("%d sessions are open, the Core knows %d and %d", len(w.switches), len(w.core.sessions), len(w.core.unopened))
	}
	for id, d := range w.switches {
		if w.core.unopened[id] != nil {
			continue
		}
		if peers, _, pairs := w.core.interest.Held(id); peers != len(d.peers) || pairs != len(d.pairs) {
			w.t.Fatalf("host %s holds %d peers and %d pairs, the Core remembers %d and %d", d.identity.Host, len(d.peers), len(d.pairs), peers, pairs)
		}
	}
}
