package controller

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/resolver"
	"dove.network/verdict"
	"dove.network/world"
)

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// rig is a Core with the dSwitches that talk to it: each holds what a dSwitch
// would hold after the messages that it was sent.
type rig struct {
	t        failer
	core     *Core
	now      time.Time
	last     control.SessionID
	switches map[control.SessionID]*dswitch
	refused  map[control.SessionID]control.Refusal
	denied   []Denied
	across   []control.Across // what other members were told
	live     []Effect         // Asks and Told, since the last hearing
	claimed  []edit.ClaimRequest
	slowly   bool // sessions go on opening when goOn says so
	opening  []control.SessionID
}

// dswitch is what one session has told.
type dswitch struct {
	id       control.SessionID
	identity control.Identity
	assigned map[dove.Endpoint]*control.Assign
	peers    map[control.PeerKey]control.Peer
	pairs    map[control.PairKey]*verdict.Table
	tunnels  map[netip.Addr]dove.HostName
	fleet    map[netip.Addr]control.Tunnel // the same, and its own
	flows    map[flow]bool                 // that it found answers for, as long as both ends are held
	frontier dove.Revision
	expected uint64         // number of the last Expect
	heard    []control.Down // since the last hear
}

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newRig(t failer) *rig {
	r := &rig{
		t: t, core: NewCore("dpc-1", world.New()), now: start,
		switches: map[control.SessionID]*dswitch{}, refused: map[control.SessionID]control.Refusal{},
	}
	r.edit(edit.Initialize(r.core.World(), world.Meta{Incarnation: 1, CreatedAt: start}))
	return r
}

// edit commits what was decided on the Core's world.
func (r *rig) edit(txn dove.Txn, err error) dove.Revision {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("%v", err)
	}
	revision := r.core.World().Revision() + 1
	r.step(Changed{revision, documents(txn, revision)})
	return revision
}

func documents(txn dove.Txn, revision dove.Revision) []dove.Doc {
	var docs []dove.Doc
	for _, p := range txn.Puts {
		docs = append(docs, dove.Doc{Key: p.Key, Value: p.Value, Revision: revision})
	}
	for _, key := range txn.Deletes {
		docs = append(docs, dove.Doc{Key: key, Revision: revision})
	}
	return docs
}

func (r *rig) tenant(t dove.Tenant) {
	r.t.Helper()
	txn, _, err := edit.PutTenant(r.core.World(), t, nil)
	r.edit(txn, err)
}

func (r *rig) blueprint(t dove.Tenant, text string) dove.Revision {
	r.t.Helper()
	txn, _, err := edit.PutBlueprint(r.core.World(), t, "", []byte(text), r.now, nil)
	return r.edit(txn, err)
}

// endpoint puts an endpoint into groups of the blueprint shop.
func (r *rig) endpoint(t dove.Tenant, id dove.EndpointID, host dove.HostName, addr string, groups ...string) dove.Revision {
	r.t.Helper()
	request := edit.EndpointRequest{Tenant: t, ID: id, Host: host, Network: "front", Addresses: []string{addr}}
	for _, g := range groups {
		request.Groups = append(request.Groups, "shop/"+g)
	}
	uid := dove.UID(r.core.World().Revision()) + 1000
	txn, _, err := edit.PutEndpoint(r.core.World(), request, edit.Chance{UID: uid, Now: r.now}, nil)
	return r.edit(txn, err)
}

func (r *rig) bind(t dove.Tenant, id dove.EndpointID, host dove.HostName) dove.Revision {
	r.t.Helper()
	name := dove.Endpoint{Tenant: t, ID: id}
	decide := func() (dove.Txn, world.Endpoint, error) {
		if host == "" {
			return edit.UnbindEndpoint(r.core.World(), name, nil)
		}
		return edit.BindEndpoint(r.core.World(), name, host, nil)
	}
	txn, _, err := decide()
	return r.edit(txn, err)
}

// host makes a host that has joined: number n is at 192.0.2.n.
func (r *rig) host(n int) control.Identity {
	r.t.Helper()
	id := control.Identity{
		Host:   dove.HostName(fmt.Sprintf("h%d", n)),
		VTEP:   netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}),
		Serial: fmt.Sprintf("%02x", n),
	}
	put := world.Put(world.Host{Name: id.Host, VTEP: id.VTEP, Serial: id.Serial})
	r.edit(dove.Txn{Puts: []dove.Put{put}}, nil)
	return id
}

// open begins a session that holds nothing.
func (r *rig) open(id control.Identity) *dswitch {
	r.t.Helper()
	return r.resume(id, &control.Hello{Version: control.Version, Host: id.Host, VTEP: id.VTEP}, nil)
}

// resume begins a session with what another one held.
func (r *rig) resume(id control.Identity, hello *control.Hello, before *dswitch) *dswitch {
	r.t.Helper()
	r.last++
	d := &dswitch{
		id: r.last, identity: id, assigned: map[dove.Endpoint]*control.Assign{},
		peers: map[control.PeerKey]control.Peer{}, pairs: map[control.PairKey]*verdict.Table{},
		tunnels: map[netip.Addr]dove.HostName{}, fleet: map[netip.Addr]control.Tunnel{}, flows: map[flow]bool{},
	}
	if before != nil {
		d.peers, d.pairs = maps.Clone(before.peers), maps.Clone(before.pairs)
		d.tunnels, d.fleet = maps.Clone(before.tunnels), maps.Clone(before.fleet)
	}
	r.switches[d.id] = d
	r.step(Opened{d.id, id, hello})
	return d
}

// hello says what a dSwitch holds.
func (d *dswitch) hello(incarnation uint64, seen dove.Revision) *control.Hello {
	h := &control.Hello{
		Version: control.Version, Host: d.identity.Host, VTEP: d.identity.VTEP, Incarnation: incarnation, Seen: seen,
		Fleet: control.FleetDigest(maps.Values(d.fleet)),
	}
	for key, row := range d.peers {
		h.Peers = append(h.Peers, control.HeldPeer{Key: key, Digest: row.Digest()})
	}
	for key, table := range d.pairs {
		h.Pairs = append(h.Pairs, control.HeldPair{Key: key, Digest: control.Pair{Table: table}.Digest()})
	}
	slices.SortFunc(h.Peers, func(a, b control.HeldPeer) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	slices.SortFunc(h.Pairs, func(a, b control.HeldPair) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for name, a := range d.assigned {
		h.Attached = append(h.Attached, control.EndpointUpdate{Endpoint: name, Epoch: a.Epoch, State: control.EndpointActive})
	}
	return h
}

func (r *rig) say(d *dswitch, m control.Up) {
	r.t.Helper()
	r.step(Received{d.id, m})
}

// ask asks one question from an address on a network.
func (r *rig) ask(d *dswitch, vni dove.VNI, local, peer string) control.Answer {
	r.t.Helper()
	d.hear()
	r.say(d, &control.PolicyRequest{ID: 7, Questions: []control.Question{
		{VNI: vni, Local: netip.MustParseAddr(local), Peer: netip.MustParseAddr(peer), Outgoing: true},
	}})
	for _, m := range d.heard {
		if reply, ok := m.(*control.PolicyReply); ok {
			return reply.Answers[0]
		}
	}
	r.t.Fatalf("no reply: %v, %v", d.heard, r.refused[d.id])
	return control.Answer{}
}

// ack acknowledges all that a session was told.
func (r *rig) ack(all ...*dswitch) {
	r.t.Helper()
	for _, d := range all {
		r.say(d, &control.Ack{Revision: d.frontier})
	}
}

// hear takes what a dSwitch was told since the last time, in words.
func (d *dswitch) hear() []string {
	var words []string
	for _, m := range d.heard {
		switch m := m.(type) {
		case *control.Assign:
			words = append(words, fmt.Sprintf("assign %s", m.Endpoint.ID))
		case *control.Unassign:
			words = append(words, fmt.Sprintf("unassign %s", m.Endpoint.ID))
		case *control.Tunnels:
			others := slices.DeleteFunc(slices.Clone(m.Add), func(t control.Tunnel) bool { return t.Host == d.identity.Host })
			words = append(words, fmt.Sprintf("tunnels +%d -%d", len(others), len(m.Del)))
		case *control.Update:
			words = append(words, rows(m.Peers, m.Pairs)...)
		case *control.Expect:
			for _, row := range rows(m.Peers, m.Pairs) {
				words = append(words, "expect "+row)
			}
		case *control.PolicyReply:
			words = append(words, rows(m.Peers, m.Pairs)...)
		case *control.Frontier:
			words = append(words, "frontier")
		default:
			words = append(words, fmt.Sprintf("%T", m))
		}
	}
	d.heard = nil
	return words
}

func rows(peers []control.Peer, pairs []control.Pair) []string {
	var words []string
	for _, p := range peers {
		switch {
		case p.Absent && p.TTL == 0:
			words = append(words, fmt.Sprintf("peer %s taken back", p.Key.Addr))
		case p.Absent:
			words = append(words, fmt.Sprintf("peer %s absent", p.Key.Addr))
		case p.VTEP.IsValid():
			words = append(words, fmt.Sprintf("peer %s at %s", p.Key.Addr, p.Host))
		default:
			words = append(words, fmt.Sprintf("peer %s withheld", p.Key.Addr))
		}
	}
	for _, p := range pairs {
		what := "gone"
		if p.Table != nil {
			what = "denies"
			if p.Table.AllowsAny() {
				what = "allows"
			}
		}
		words = append(words, fmt.Sprintf("pair %d-%d %s", p.Key.Src, p.Key.Dst, what))
	}
	return words
}

// step lets the Core react and the dSwitches hear.
func (r *rig) step(e Event) {
	r.t.Helper()
	effects, err := r.core.Step(r.now, e)
	if err != nil {
		r.t.Fatalf("%v", err)
	}
	for _, effect := range effects {
		switch effect := effect.(type) {
		case Send:
			d := r.switches[effect.Session]
			if d == nil {
				r.t.Fatalf("the Core sends to session %d, which is over", effect.Session)
			}
			for _, m := range effect.Messages {
				r.take(d, m)
			}
		case End:
			switch last := effect.Last.(type) {
			case *control.Refusal:
				r.refused[effect.Session] = *last
			case *control.Elsewhere:
				r.refused[effect.Session] = control.Refusal{Kind: dove.Unavailable, Message: last.Reason}
			}
			delete(r.switches, effect.Session)
		case Continue:
			if r.slowly {
				r.opening = append(r.opening, effect.Session)
			} else {
				r.step(Continued(effect))
			}
		case PeerSend:
			r.across = append(r.across, effect.Messages...)
		case Denied:
			r.denied = append(r.denied, effect)
		case Claimed:
			r.claimed = append(r.claimed, effect.Claim)
			r.edit(edit.ClaimAddress(r.core.World(), effect.Claim))
		case Asks, Told:
			r.live = append(r.live, effect)
		}
	}
}

// goOn has the sessions that open go on, by one step each.
func (r *rig) goOn() {
	r.t.Helper()
	opening := r.opening
	r.opening = nil
	for _, id := range opening {
		r.step(Continued{id})
	}
}

// take does what a dSwitch does with a message.
func (r *rig) take(d *dswitch, m control.Down) {
	r.t.Helper()
	if _, err := control.DecodeDown(control.EncodeDown(m)); err != nil {
		r.t.Fatalf("the Core sends what nobody can read: %v", err)
	}
	d.heard = append(d.heard, m)
	switch m := m.(type) {
	case *control.Assign:
		d.assigned[m.Endpoint] = m
	case *control.Unassign:
		if a := d.assigned[m.Endpoint]; a != nil && a.Epoch == m.Epoch {
			delete(d.assigned, m.Endpoint)
		}
	case *control.Tunnels:
		if m.Full {
			clear(d.tunnels)
			clear(d.fleet)
		}
		for _, vtep := range m.Del {
			delete(d.tunnels, vtep)
			delete(d.fleet, vtep)
		}
		for _, t := range m.Add {
			d.fleet[t.VTEP] = t
			if t.Host != d.identity.Host {
				d.tunnels[t.VTEP] = t.Host
			}
		}
	case *control.PolicyReply:
		d.hold(m.Peers, m.Pairs, true)
		for _, a := range m.Answers {
			if a.Status == control.Found {
				d.flows[flow{a.Question.VNI, a.Question.Local, a.Question.Peer}] = true
			}
		}
	case *control.Update:
		d.hold(m.Peers, m.Pairs, false)
	case *control.Expect:
		if d.expected++; m.Number != d.expected {
			r.t.Fatalf("Expect %d comes as number %d", m.Number, d.expected)
		}
		d.hold(m.Peers, m.Pairs, true)
	case *control.Carry:
		for _, f := range m.Flows { // the tests' flows begin at the endpoint
			d.flows[flow{f.Tuple.VNI, f.Tuple.Src, f.Tuple.Dst}] = true
		}
	case *control.Frontier:
		d.frontier = m.Revision
	}
	for f := range d.flows {
		r.checkFlow(d, f, m)
	}
}

// flow is what may go on between an address of a host and a peer.
type flow struct {
	vni         dove.VNI
	local, peer netip.Addr
}

// checkFlow says of a flow that after no message of a revision a packet of it
// meets classes whose pair is not there.
func (r *rig) checkFlow(d *dswitch, f flow, m control.Down) {
	r.t.Helper()
	row, held := d.peers[control.PeerKey{VNI: f.vni, Addr: f.peer}]
	for _, a := range d.assigned {
		i := slices.IndexFunc(a.Address, func(x control.Address) bool { return x.Addr == f.local })
		if a.VNI != f.vni || i < 0 || !held || row.Absent {
			continue
		}
		src, dst := a.Address[i].Class, row.Class
		if d.pairs[control.PairKey{Domain: a.Domain, Src: src, Dst: dst}] == nil || d.pairs[control.PairKey{Domain: a.Domain, Src: dst, Dst: src}] == nil {
			r.t.Fatalf("after %T %+v, %s lacks a pair of classes %d and %d for %v", m, m, d.identity.Host, src, dst, f)
		}
		return
	}
	delete(d.flows, f)
}

func (d *dswitch) hold(peers []control.Peer, pairs []control.Pair, awaited bool) {
	for _, p := range peers {
		_, held := d.peers[p.Key]
		switch {
		case p.Absent && p.TTL == 0:
			delete(d.peers, p.Key)
		case held || awaited:
			d.peers[p.Key] = p
		}
	}
	for _, p := range pairs {
		_, held := d.pairs[p.Key]
		switch {
		case p.Table == nil:
			delete(d.pairs, p.Key)
		case held || awaited:
			d.pairs[p.Key] = p.Table
		}
	}
}

// check compares what every dSwitch holds with what the resolver says now.
func (r *rig) check() {
	r.t.Helper()
	w := r.core.World()
	view := resolver.NewView(w)
	for _, id := range slices.Sorted(maps.Keys(r.switches)) {
		d := r.switches[id]
		if r.core.unopened[id] != nil {
			continue
		}
		host := d.identity.Host
		for key, row := range d.peers {
			if want := view.Peer(host, key); row.Digest() != want.Digest() {
				r.t.Fatalf("revision %d: %s holds %+v, should hold %+v", w.Revision(), host, row, want)
			}
		}
		for key, table := range d.pairs {
			if want := view.Pair(host, key); !table.Equal(want.Table) {
				r.t.Fatalf("revision %d: %s holds for %v\n%vshould hold\n%v", w.Revision(), host, key, table, want.Table)
			}
		}
		assigned := 0
		for e := range w.EndpointsOn(host) {
			assigned++
			if a := d.assigned[e.Full()]; a == nil || !same(a, assignment(w, e, host)) {
				r.t.Fatalf("revision %d: %s has assignment %+v, should have %+v", w.Revision(), host, a, assignment(w, e, host))
			}
		}
		if assigned != len(d.assigned) {
			r.t.Fatalf("revision %d: %s has %d assignments, should have %d", w.Revision(), host, len(d.assigned), assigned)
		}
		tunnels := map[netip.Addr]dove.HostName{}
		for h := range w.Hosts() {
			if resolver.Joined(h) && h.Name != host {
				tunnels[h.VTEP] = h.Name
			}
		}
		if !maps.Equal(tunnels, d.tunnels) {
			r.t.Fatalf("revision %d: %s has tunnels %v, should have %v", w.Revision(), host, d.tunnels, tunnels)
		}
	}
}

// vni returns the VNI of a tenant's network front.
func (r *rig) vni(t dove.Tenant) dove.VNI {
	r.t.Helper()
	n, ok := r.core.World().Network(dove.Network{Tenant: t, Name: "front"})
	if !ok {
		r.t.Fatalf("tenant %s has no network front", t)
	}
	return n.VNI
}

const shop = `{apiVersion: dove/v1, kind: Blueprint, name: shop,
networks: {front: {subnets: [10.0.0.0/24]}},
groups: {web: {network: front}, app: {network: front}, db: {network: front, isolated: true}},
policies: [%s]}`

const (
	webApp = `{name: web-app, from: web, to: app, allow: [tcp/8080]}`
	appDB  = `{name: app-db, from: app, to: db, allow: [tcp/5432]}`
	webDB  = `{name: web-db, from: web, to: db, allow: [tcp/5432]}`
)

// newShop has two tenants with the blueprint shop and equal addresses: web on
// h1, app on h2, db on h3.
func newShop(t *testing.T) (r *rig, h1, h2, h3 *dswitch) {
	t.Helper()
	r = newRig(t)
	a, b, c := r.host(1), r.host(2), r.host(3)
	for _, tenant := range []dove.Tenant{"acme", "bolt"} {
		r.tenant(tenant)
		r.blueprint(tenant, fmt.Sprintf(shop, webApp+", "+appDB))
		r.endpoint(tenant, "web-1", "h1", "10.0.0.11", "web")
		r.endpoint(tenant, "app-1", "h2", "10.0.0.12", "app")
		r.endpoint(tenant, "db-1", "h3", "10.0.0.13", "db")
	}
	h1, h2, h3 = r.open(a), r.open(b), r.open(c)
	for _, d := range []*dswitch{h1, h2, h3} {
		r.ack(d)
		d.hear()
	}
	return r, h1, h2, h3
}

// same reports whether two assignments differ in nothing but the revision.
func same(a, b *control.Assign) bool {
	return a.Endpoint == b.Endpoint && a.UID == b.UID && a.Epoch == b.Epoch &&
		a.VNI == b.VNI && a.Network == b.Network && a.Domain == b.Domain && a.MTU == b.MTU &&
		a.MAC == b.MAC && a.Device == b.Device && a.Standby == b.Standby && a.Other == b.Other &&
		a.Parent == b.Parent && a.VLAN == b.VLAN && a.Open == b.Open && a.Class == b.Class && slices.Equal(a.Allowed, b.Allowed) &&
		slices.Equal(a.Address, b.Address) && slices.Equal(a.Subnets, b.Subnets) &&
		slices.EqualFunc(a.Gateways, b.Gateways, func(x, y control.Gateway) bool { return x.MAC == y.MAC && slices.Equal(x.Addrs, y.Addrs) })
}
