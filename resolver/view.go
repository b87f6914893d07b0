package resolver

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/policy"
	"dove.network/verdict"
	"dove.network/world"
)

// NegativeTTL is how long a dSwitch keeps the answer that nobody has an
// address. It hears of an appearance before; the limit is for what it forgets.
const NegativeTTL = 30 * time.Second

// View answers questions at one revision. It remembers what many answers share
// and has one owner: it is not safe for several goroutines.
type View struct {
	world    *world.World
	tables   map[dove.Domain]*tables
	presence map[dove.HostName]*presence
	latest   *tables                       // that ofDomain returned last, of this world; nil: none
	network  world.Network                 // that networkOf found last, of this world; VNI 0: none
	ways     []world.Way                   // room for those of one row
	asker    dove.HostName                 // of present
	present  *presence                     // that of returned last; nil: none
	hosts    map[dove.HostName]*world.Host // that were looked for, nil if there is none, of this world
}

// tables are those of one domain, and the intent that they are of. byClass
// repeats those of pairs under the numbers that stand for signatures now.
type tables struct {
	name    dove.Domain
	domain  *policy.Domain
	pairs   *policy.Pairs
	byClass map[classes]*verdict.Table
	members members
}

// NewView returns a view of a world.
func NewView(w *world.World) *View {
	return &View{world: w, tables: map[dove.Domain]*tables{}, presence: map[dove.HostName]*presence{}, hosts: map[dove.HostName]*world.Host{}}
}

// World returns the world of the answers.
func (v *View) World() *world.World { return v.world }

// Resolve answers one question of a host, for those who have only one.
func Resolve(w *world.World, host dove.HostName, q control.Question) control.Answered {
	return NewView(w).Resolve(host, q)
}

// Resolve answers a question of a host: what became of it, the peer's row and,
// if there is such a peer, the pairs of both directions, that of the first
// packet first.
func (v *View) Resolve(host dove.HostName, q control.Question) control.Answered {
	return v.resolve(host, q, nil)
}

// resolve is Resolve where the peer's row may be known.
func (v *View) resolve(host dove.HostName, q control.Question, known *sent) control.Answered {
	refused := func(format string, args ...any) control.Answered {
		return control.Answered{Answer: control.Answer{Question: q, Status: control.Refused, Detail: fmt.Sprintf(format, args...)}}
	}
	network, ok := v.networkOf(q.VNI)
	var local world.Endpoint
	if ok {
		local, ok = v.speaker(network, host, q.Local, q.Class)
	}
	if !ok { // one text, so that a host learns nothing of others' networks
		return refused("%s in VNI %d is not bound to host %s", q.Local, q.VNI, host)
	}
	domain := network.DomainOf()
	if known == nil {
		known = &sent{v.Peer(host, control.PeerKey{VNI: q.VNI, Addr: q.Peer})}
	}
	peer := known.row()
	if peer.Absent {
		return control.Answered{Answer: control.Answer{Question: q, Status: control.NoEndpoint}, Peers: known[:]}
	}
	answer := control.Answer{
		Question: q, Status: control.Found, Domain: domain,
		Local: v.class(domain, &local, q.Local), Peer: peer.Class,
	}
	pairs := make([]control.Pair, 0, 2)
	for i := -1; i < len(peer.Ways); i++ {
		from, to := answer.Local, peer.Class
		if i >= 0 {
			if !peer.FirstOf(i) {
				continue
			}
			to = peer.Ways[i].Class
		}
		if !q.Outgoing {
			from, to = to, from
		}
		pairs = append(pairs, v.Pair(host, control.PairKey{Domain: domain, Src: from, Dst: to}))
		if from != to {
			pairs = append(pairs, v.Pair(host, control.PairKey{Domain: domain, Src: to, Dst: from}))
		}
	}
	return control.Answered{Answer: answer, Peers: known[:], Pairs: pairs}
}

// speaker returns the endpoint of a host that speaks from an address on a
// network: as its own, as one that it is allowed, or because it may from any. Of
// several it is one of the class, or if none has that any more the first.
func (v *View) speaker(n *world.Network, host dove.HostName, addr netip.Addr, class dove.Class) (first world.Endpoint, found bool) {
	if e, ok := v.world.EndpointOn(n.Full(), addr); ok {
		return e, e.BoundTo(host)
	}
	for e := range v.world.EndpointsOn(host) {
		switch {
		case e.NetworkOf() != n.Full() || !e.Has(addr):
		case class == dove.ClassNone || v.class(n.DomainOf(), &e, addr) == class:
			return e, true
		case !found:
			first, found = e, true
		}
	}
	return first, found
}

// Peer returns the row of a key as a host may see it now. Where it may see
// none, the row takes itself back (control.Peer).
func (v *View) Peer(host dove.HostName, key control.PeerKey) control.Peer {
	network, ok := v.networkOf(key.VNI)
	if _, present := v.of(host).networks[key.VNI]; !ok || !present {
		return control.Peer{Key: key, Absent: true}
	}
	reach := v.world.ReachBy(network, key.Addr, v.ways[:0])
	v.ways = reach.Ways
	row := control.Peer{Key: key, Domain: network.DomainOf()}
	found := false
	for i := range reach.Ways {
		way := &reach.Ways[i]
		at := v.host(way.Endpoint.Host)
		if at == nil {
			continue
		}
		out := control.Way{
			Endpoint: way.Endpoint.Full(), UID: way.Endpoint.UID, MAC: way.Endpoint.MACFor(way.Addr),
			Class: v.class(way.Network.DomainOf(), &way.Endpoint, key.Addr), VNI: way.Network.VNI, Far: way.Far,
		}
		own := at.Name == host && way.Gateway != (dove.MAC{}) // it is to know which of its guests is a next hop
		located := own || v.reaches(host, classAt{key.VNI, out.Class}, row.Domain)
		if located {
			out.Host, out.VTEP = at.Name, at.VTEP
		}
		if found {
			row.Ways = append(row.Ways, out)
			row.MTU = min(row.MTU, way.Network.MTU) // whichever way a flow takes
			continue
		}
		found = true
		if way.Endpoint.Standby != "" && located {
			if other := v.host(way.Endpoint.Standby); other != nil {
				row.Other = other.VTEP
			}
		}
		row.Endpoint, row.UID, row.MAC, row.Class, row.Host, row.VTEP = out.Endpoint, out.UID, out.MAC, out.Class, out.Host, out.VTEP
		if way.Gateway != (dove.MAC{}) {
			row.Gateway, row.VNI, row.Far, row.MTU = way.Gateway, out.VNI, out.Far, way.Network.MTU
		}
	}
	if !found {
		return control.Peer{Key: key, Absent: true, TTL: NegativeTTL, NoRoute: reach.NoRoute}
	}
	return row
}

// host returns a host that has joined the fleet, nil if there is none with the name.
func (v *View) host(name dove.HostName) *world.Host {
	h, known := v.hosts[name]
	if !known {
		if is, ok := v.world.Host(name); ok && Joined(is) {
			h = &is
		}
		v.hosts[name] = h
	}
	return h
}

// Pair returns the row of a pair as a host may see it now; its table is nil
// where the host has no endpoint of either class, or a class is gone.
func (v *View) Pair(host dove.HostName, key control.PairKey) control.Pair {
	local := v.of(host).domains[key.Domain]
	if !local[key.Src] && !local[key.Dst] {
		return control.Pair{Key: key}
	}
	return control.Pair{Key: key, Table: v.table(key)}
}

// Location returns the host on which an endpoint is active, if it is bound to
// a host that has joined the fleet.
func Location(w *world.World, e world.Endpoint) (world.Host, bool) {
	if e.Host == "" {
		return world.Host{}, false
	}
	h, ok := w.Host(e.Host)
	return h, ok && Joined(h)
}

// Joined reports whether a host is a member of the fleet: it has an underlay
// address and a certificate, or is declared foreign.
func Joined(h world.Host) bool { return (h.Serial != "" || h.Foreign) && h.VTEP.IsValid() }

// table returns the table of a pair, nil if one of the classes does not exist.
func (v *View) table(key control.PairKey) *verdict.Table {
	t := v.ofDomain(key.Domain)
	c := classes{key.Src, key.Dst}
	if key.Src == dove.ClassNone || key.Dst == dove.ClassNone {
		return nobody // whoever it is, policies do not mean it
	}
	if table, known := t.byClass[c]; known {
		return table
	}
	src, ok := v.world.SignatureOf(key.Domain, key.Src)
	if !ok {
		return nil
	}
	dst, ok := v.world.SignatureOf(key.Domain, key.Dst)
	if !ok {
		return nil
	}
	if len(t.byClass) >= policy.PairsMax {
		clear(t.byClass)
	}
	table := t.pairs.Table(src, dst)
	t.byClass[c] = table
	return table
}

// ofDomain returns what is remembered of a domain, as far as it still holds.
func (v *View) ofDomain(name dove.Domain) *tables {
	if v.latest != nil && v.latest.name == name {
		return v.latest
	}
	domain := v.world.Domain(name)
	t := v.tables[name]
	switch {
	case t == nil:
		t = &tables{name, domain, policy.NewPairs(domain), map[classes]*verdict.Table{}, members{}}
		v.tables[name] = t
	case t.domain != domain:
		panic(fmt.Sprintf("resolver: domain %s is another one, and advance was not told", name))
	}
	v.latest = t
	return t
}

// networkOf returns the network with a VNI.
func (v *View) networkOf(vni dove.VNI) (*world.Network, bool) {
	if v.network.VNI != vni || vni == 0 {
		n, ok := v.world.NetworkByVNI(vni)
		if !ok {
			return nil, false
		}
		v.network = n
	}
	return &v.network, true
}

// nobody is the table of pairs with an address that has no class.
var nobody = verdict.Product(closed, closed)

var closed = verdict.Half{DefaultName: verdict.DefaultDeny, Stateful: true}

// classAt is a class as seen on a network.
type classAt struct {
	vni   dove.VNI
	class dove.Class
}

// reaches reports whether any endpoint of the host on a network may talk with
// addresses of a class there, in either direction.
func (v *View) reaches(host dove.HostName, at classAt, domain dove.Domain) bool {
	p := v.of(host)
	reaches, known := p.reaches[at]
	if !known {
		reaches = slices.ContainsFunc(p.networks[at.vni], func(c dove.Class) bool {
			return v.allows(control.PairKey{Domain: domain, Src: c, Dst: at.class}) || v.allows(control.PairKey{Domain: domain, Src: at.class, Dst: c})
		})
		p.reaches[at] = reaches
	}
	return reaches
}

// allows reports whether a pair may have any traffic.
func (v *View) allows(key control.PairKey) bool {
	t := v.table(key)
	return t != nil && t.AllowsAny()
}

// advance moves the view to the next world and returns the hosts, in order,
// whose presence is not what it was, and what changed of each domain of which it
// has tables. Hosts that never asked are not among
// them. Class ids are made with the write that first needs them, or before it, and go
// after the last, so that they change no presence by themselves.
func (v *View) advance(next *world.World, d world.Delta) ([]dove.HostName, map[dove.Domain]*shift) {
	suspects := map[dove.HostName]bool{}
	suspect := func(e *world.Endpoint) {
		if e == nil {
			return
		}
		for _, h := range e.Bindings() {
			if v.presence[h] != nil {
				suspects[h] = true
			}
		}
	}
	for _, c := range d.Endpoints {
		suspect(c.Old)
		suspect(c.New)
	}
	for _, c := range d.Networks {
		if Rehomed(c) {
			for e := range next.EndpointsIn(cmp.Or(c.New, c.Old).Full()) {
				suspect(&e)
			}
		}
	}
	shifted := map[dove.HostName]map[stand]int{}
	followed := len(d.Networks)+len(d.Classes) == 0 && !slices.ContainsFunc(d.Domains, func(name dove.Domain) bool {
		t := v.tables[name]
		return t == nil || !next.Domain(name).Classifies(t.domain)
	})
	if followed {
		shifted = v.shifted(d)
	}
	if !followed || len(d.Domains) > 0 {
		for _, p := range v.presence {
			clear(p.reaches)
			if !followed {
				p.counts = nil
			}
		}
	}
	for _, c := range d.Classes {
		if t := v.tables[cmp.Or(c.New, c.Old).DomainOf()]; t != nil {
			clear(t.members)
		}
	}
	for domain, gone := range reassigned(d.Classes) {
		if t := v.tables[domain]; t != nil {
			t.forget(gone.in)
		}
	}
	shifts := map[dove.Domain]*shift{}
	for _, domain := range d.Domains {
		if t := v.tables[domain]; t != nil {
			shifts[domain] = t.renew(next, domain)
		}
	}
	v.world, v.latest, v.network, v.present = next, nil, world.Network{}, nil
	if len(d.Hosts) > 0 {
		clear(v.hosts)
	}
	var moved []dove.HostName
	for _, h := range slices.Sorted(maps.Keys(suspects)) {
		before, other := v.presence[h], false
		if changes := shifted[h]; changes != nil && !before.lacks(changes) {
			for s, n := range changes {
				other = before.add(s, n) || other
			}
		} else {
			v.leave(h)
			other = !v.of(h).equal(before)
		}
		if other {
			moved = append(moved, h)
		}
	}
	return moved, shifts
}

// Rehomed reports whether a network came, went or changed its VNI or domain.
func Rehomed(c world.Change[world.Network]) bool {
	return c.Old == nil || c.New == nil || c.Old.VNI != c.New.VNI || c.Old.DomainOf() != c.New.DomainOf()
}

// ComparePeerKeys orders keys of peers.
func ComparePeerKeys(a, b control.PeerKey) int {
	return cmp.Or(cmp.Compare(a.VNI, b.VNI), a.Addr.Compare(b.Addr))
}

// ComparePairKeys orders keys of pairs.
func ComparePairKeys(a, b control.PairKey) int {
	return cmp.Or(
		cmp.Compare(a.Domain.Tenant, b.Domain.Tenant), cmp.Compare(a.Domain.Name, b.Domain.Name),
		cmp.Compare(a.Src, b.Src), cmp.Compare(a.Dst, b.Dst),
	)
}
