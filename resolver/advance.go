package resolver

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

// News are the rows of one session that are not what it was last sent, and
// what must reach it before them.
type News struct {
	Session control.SessionID
	Expect  []*control.Expect
	Peers   []control.Peer // in order of keys
	Pairs   []control.Pair
}

// touched are the keys whose rows may differ, by session.
type touched map[control.SessionID]*keys

type keys struct {
	peers   map[control.PeerKey]bool
	pairs   map[control.PairKey]bool
	appears map[control.PeerKey]bool // held or not
}

func (t touched) of(id control.SessionID) *keys {
	if t[id] == nil {
		t[id] = &keys{}
	}
	return t[id]
}

func (t touched) peer(id control.SessionID, key control.PeerKey) { add(&t.of(id).peers, key) }
func (t touched) pair(id control.SessionID, key control.PairKey) { add(&t.of(id).pairs, key) }

// appears is peer for one that may not hold the row.
func (t touched) appears(id control.SessionID, key control.PeerKey) { add(&t.of(id).appears, key) }

// add makes the set if there is none: of most sessions a revision concerns one row.
func add[K comparable](set *map[K]bool, key K) {
	if *set == nil {
		*set = map[K]bool{}
	}
	(*set)[key] = true
}

// Advance moves the view to the next world, which delta made of the present
// one, and returns what each session must be sent, in order of sessions. It notes that as sent.
// Its cost is that of the rows that may be concerned and are held.
func (i *Interest) Advance(next *world.World, d world.Delta) []News {
	last := i.view.world
	moved, shifts := i.view.advance(next, d)
	t := touched{}
	for _, c := range d.Endpoints {
		i.touchEndpoint(t, last, c.Old)
		i.touchEndpoint(t, next, c.New)
	}
	for _, c := range d.Hosts {
		if c.Old == nil || c.New == nil || c.Old.VTEP != c.New.VTEP || Joined(*c.Old) != Joined(*c.New) {
			for e := range next.EndpointsOn(cmp.Or(c.New, c.Old).Name) {
				i.touchEndpoint(t, next, &e)
			}
		}
	}
	for _, c := range d.Networks {
		if c.Old == nil || c.New == nil || Rehomed(c) || c.Old.MTU != c.New.MTU || !slices.Equal(c.Old.Subnets, c.New.Subnets) {
			i.touchAround(t, last, c.Old)
			i.touchAround(t, next, c.New)
		}
	}
	for _, c := range d.Routers {
		i.touchRouter(t, last, c.Old)
		i.touchRouter(t, next, c.New)
	}
	for _, c := range d.Claims {
		i.touchClaim(t, last, c.Old)
		i.touchClaim(t, next, c.New)
	}
	i.touchClasses(t, d.Classes)
	for _, h := range moved {
		for _, id := range i.byHost[h] {
			i.touchPresence(t, id)
		}
	}
	for _, domain := range d.Domains {
		i.touchDomain(t, domain, shifts[domain])
	}
	return i.renew(t, i.renamed(last, next, d))
}

// touchEndpoint concerns those who hold one of its addresses.
func (i *Interest) touchEndpoint(t touched, w *world.World, e *world.Endpoint) {
	if e == nil {
		return
	}
	n, ok := w.Network(e.NetworkOf())
	if !ok {
		return
	}
	for _, a := range e.Addresses {
		i.touchHolders(t, w, n, a)
	}
	for _, p := range e.Allowed {
		if p.Prefix.IsSingleIP() {
			i.touchHolders(t, w, n, p.Prefix.Addr())
			continue
		}
		i.touchPrefix(t, n.VNI, p.Prefix)
		for beside := range w.Beside(n.Full()) {
			i.touchPrefix(t, beside.VNI, p.Prefix)
		}
	}
}

// touchHolders concerns those who hold an address of a network, also from beyond
// a router or at the end of a route by it.
func (i *Interest) touchHolders(t touched, w *world.World, n world.Network, a netip.Addr) {
	i.touchAddress(t, n.VNI, a)
	for beside := range w.Beside(n.Full()) {
		i.touchAddress(t, beside.VNI, a)
	}
	for near, to := range w.RoutesVia(n, a) {
		i.touchPrefix(t, near.VNI, to)
	}
}

// touchClaim concerns those who hold a virtual address.
func (i *Interest) touchClaim(t touched, w *world.World, c *world.Claim) {
	if c == nil {
		return
	}
	if n, ok := w.Network(c.NetworkOf()); ok {
		i.touchHolders(t, w, n, c.Addr)
	}
}

// touchAddress concerns those who hold an address as seen from a network.
func (i *Interest) touchAddress(t touched, vni dove.VNI, a netip.Addr) {
	for _, id := range i.holders(vni, a) {
		t.peer(id, control.PeerKey{VNI: vni, Addr: a})
	}
	for _, id := range i.marked[vni] {
		t.appears(id, control.PeerKey{VNI: vni, Addr: a})
	}
}

// touchPrefix concerns those who hold any address of a prefix as seen from a network.
func (i *Interest) touchPrefix(t touched, vni dove.VNI, within netip.Prefix) {
	for a, its := range i.peers[vni] {
		if within.Contains(a) {
			for _, id := range its.sessions {
				t.peer(id, control.PeerKey{VNI: vni, Addr: a})
			}
		}
	}
}

// touchAround concerns those who hold anything of a network, or of one that a
// router joins with it.
func (i *Interest) touchAround(t touched, w *world.World, n *world.Network) {
	if n == nil {
		return
	}
	i.touchNetwork(t, n.VNI)
	for beside := range w.Beside(n.Full()) {
		i.touchNetwork(t, beside.VNI)
	}
}

// touchRouter concerns those who hold anything of a router's networks, and those
// who are told of every appearance there.
func (i *Interest) touchRouter(t touched, w *world.World, r *world.Router) {
	if r == nil {
		return
	}
	for _, f := range r.Interfaces {
		n, ok := w.Network(r.NetworkOf(f))
		if !ok {
			continue
		}
		i.touchNetwork(t, n.VNI)
		if len(i.marked[n.VNI]) == 0 {
			continue
		}
		for beside := range w.Beside(n.Full()) {
			for e := range w.EndpointsIn(beside.Full()) {
				for _, a := range e.Addresses {
					i.touchAddress(t, n.VNI, a)
				}
			}
		}
	}
}

// touchNetwork concerns those who hold anything of a network.
func (i *Interest) touchNetwork(t touched, vni dove.VNI) {
	for a, its := range i.peers[vni] {
		for _, id := range its.sessions {
			t.peer(id, control.PeerKey{VNI: vni, Addr: a})
		}
	}
}

// touchClasses concerns those who hold a pair with a class id that stands for
// something else now, or for nothing.
func (i *Interest) touchClasses(t touched, changes []world.Change[world.ClassAlloc]) {
	for domain, gone := range reassigned(changes) {
		i.touchPairs(t, domain, gone.in)
	}
}

// touchDomain concerns those who hold a pair of a domain of which other things are
// said now, and those who may or may no longer be told where a peer is.
func (i *Interest) touchDomain(t touched, domain dove.Domain, s *shift) {
	if s.none() {
		return
	}
	i.touchPairs(t, domain, func(c classes) bool { return s.differs(c.src, c.dst) })
	for id := range i.sessions {
		i.touchSights(t, id, domain, s)
	}
}

// touchPairs concerns those who hold one of some pairs of a domain.
func (i *Interest) touchPairs(t touched, domain dove.Domain, of func(classes) bool) {
	for c, ids := range i.pairs[domain] {
		if !of(c) {
			continue
		}
		for _, id := range ids {
			t.pair(id, control.PairKey{Domain: domain, Src: c.src, Dst: c.dst})
		}
	}
}

// touchPresence concerns a session whose host has endpoints on other networks
// or of other classes than before.
func (i *Interest) touchPresence(t touched, id control.SessionID) {
	h := i.sessions[id]
	for key := range h.pairs {
		t.pair(id, key)
	}
	present := i.view.of(h.host)
	gone := map[dove.VNI]bool{}
	for vni := range h.absent {
		gone[vni] = present.networks[vni] == nil
	}
	for at := range h.seen {
		gone[at.vni] = present.networks[at.vni] == nil
	}
	if slices.Contains(slices.Collect(maps.Values(gone)), true) {
		for key := range h.peers {
			if gone[key.VNI] {
				t.peer(id, key)
			}
		}
	}
	for vni := range i.marked {
		if present.networks[vni] == nil {
			drop(i.marked, vni, id)
		}
	}
	for domain := range present.domains {
		i.touchSights(t, id, domain, nil)
	}
}

// touchSights concerns the peers of those classes that a session was told the
// location of and may not any more, or the reverse, as far as a shift concerns them.
func (i *Interest) touchSights(t touched, id control.SessionID, domain dove.Domain, shifted *shift) {
	h := i.sessions[id]
	present := i.view.of(h.host)
	turned := map[classAt]bool{}
	for at, s := range h.seen {
		if !shifted.concerns(present.networks[at.vni], at.class) {
			continue
		}
		n, ok := i.view.world.NetworkByVNI(at.vni)
		if ok && n.DomainOf() == domain && i.view.reaches(h.host, at, domain) != s.located {
			turned[at] = true
		}
	}
	if len(turned) == 0 {
		return
	}
	for key, held := range h.peers {
		if p := held.row(); !p.Absent && slices.ContainsFunc(p.Classes(), func(c dove.Class) bool { return turned[classAt{key.VNI, c}] }) {
			t.peer(id, key)
		}
	}
}

// renew computes the touched rows and keeps those that differ.
func (i *Interest) renew(t touched, renamed map[control.SessionID]renames) []News {
	for id := range renamed {
		t.of(id)
	}
	var all []News
	for _, id := range slices.Sorted(maps.Keys(t)) {
		host := i.sessions[id].host
		news := News{Session: id}
		if r := renamed[id]; r != nil {
			news.Expect = i.Expect(id, nil, i.follow(id, r))
		}
		for _, key := range slices.SortedFunc(maps.Keys(t[id].pairs), ComparePairKeys) {
			if row := i.view.Pair(host, key); !i.hasPair(id, row) {
				i.Pair(id, row)
				news.Pairs = append(news.Pairs, row)
			}
		}
		for _, key := range slices.SortedFunc(maps.Keys(t[id].peers), ComparePeerKeys) {
			if row := i.view.Peer(host, key); !i.hasPeer(id, &row) {
				i.Peer(id, &row)
				news.Peers = append(news.Peers, row)
			}
		}
		for _, key := range slices.SortedFunc(maps.Keys(t[id].appears), ComparePeerKeys) {
			if _, held := i.sessions[id].peers[key]; !held && !i.view.Peer(host, key).Absent {
				news.Peers = append(news.Peers, control.Peer{Key: key, Absent: true})
			}
		}
		if len(news.Expect)+len(news.Peers)+len(news.Pairs) > 0 {
			all = append(all, news)
		}
	}
	return all
}
