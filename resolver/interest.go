package resolver

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"dove.network/control"
	"dove.network/dove"
)

// AbsentMax is how many negative answers of one network a session is told of
// by key. One that asks for more is told of every appearance there: a row that
// takes the negative answer back, whether or not it is held.
const AbsentMax = 256

// Interest remembers which session was sent which row. It has one owner.
type Interest struct {
	view     *View
	sessions map[control.SessionID]*holding
	byHost   map[dove.HostName][]control.SessionID
	peers    map[dove.VNI]map[netip.Addr]*spread
	pairs    map[dove.Domain]map[classes][]control.SessionID
	marked   map[dove.VNI][]control.SessionID
	latest   heldPairs // that pairsOf returned last
}

// heldPairs says which sessions hold the pairs of a domain.
type heldPairs struct {
	domain dove.Domain
	by     map[classes][]control.SessionID // nil: not known
}

// spread is who holds a row of an address, and what it says, once for all of them: to most
// hosts the same, or the same without the location.
type spread struct {
	sessions []control.SessionID
	latest   [2]*sent
}

// sent is a row as sessions were sent it, which nobody changes.
type sent [1]control.Peer

func (s *sent) row() *control.Peer { return &s[0] }

// share returns what is to be remembered of a row.
func (s *spread) share(p *control.Peer) *sent {
	for _, r := range s.latest {
		if r != nil && r.row().Equal(p) {
			return r
		}
	}
	r := &sent{*p}
	s.latest = [2]*sent{r, s.latest[0]}
	return r
}

// classes is an ordered pair of them.
type classes struct{ src, dst dove.Class }

// holding is what one session was sent.
type holding struct {
	host     dove.HostName
	peers    map[control.PeerKey]heldPeer
	pairs    map[control.PairKey]heldPair
	absent   map[dove.VNI]int
	seen     map[classAt]*sight
	expected uint64 // number of its last Expect
}

// A row that came unasked has the number of its Expect: a Release from before
// that does not mean it.
type heldPeer struct {
	*sent
	expected uint64
}

type heldPair struct {
	digest   control.Digest
	expected uint64
}

// sight is whether the peers of a class had their location told.
type sight struct {
	rows    int
	located bool
}

// NewInterest returns the interest of no session, to be asked at a view's world.
func NewInterest(view *View) *Interest {
	return &Interest{
		view:     view,
		sessions: map[control.SessionID]*holding{},
		byHost:   map[dove.HostName][]control.SessionID{},
		peers:    map[dove.VNI]map[netip.Addr]*spread{},
		pairs:    map[dove.Domain]map[classes][]control.SessionID{},
		marked:   map[dove.VNI][]control.SessionID{},
	}
}

// Open adds a session that holds nothing.
func (i *Interest) Open(id control.SessionID, host dove.HostName) {
	i.sessions[id] = &holding{
		host:   host,
		peers:  map[control.PeerKey]heldPeer{},
		pairs:  map[control.PairKey]heldPair{},
		absent: map[dove.VNI]int{},
		seen:   map[classAt]*sight{},
	}
	i.byHost[host] = with(i.byHost[host], id)
}

// Close removes a session and all that it holds.
func (i *Interest) Close(id control.SessionID) {
	h := i.sessions[id]
	if h == nil {
		return
	}
	i.Release(id, h.expected, slices.Collect(maps.Keys(h.peers)), slices.Collect(maps.Keys(h.pairs)))
	for vni := range i.marked {
		drop(i.marked, vni, id)
	}
	drop(i.byHost, h.host, id)
	delete(i.sessions, id)
	if i.byHost[h.host] == nil {
		i.view.leave(h.host)
	}
}

// Held counts the rows of a session: all peers, negative answers among them, and pairs.
func (i *Interest) Held(id control.SessionID) (peers, absent, pairs int) {
	h := i.sessions[id]
	for _, n := range h.absent {
		absent += n
	}
	return len(h.peers), absent, len(h.pairs)
}

// hasPair reports whether the session holds a pair with this content.
func (i *Interest) hasPair(id control.SessionID, p control.Pair) bool {
	held, ok := i.sessions[id].pairs[p.Key]
	return ok && held.digest == p.Digest()
}

// hasPeer reports whether the session holds a peer row with this content.
func (i *Interest) hasPeer(id control.SessionID, p *control.Peer) bool {
	held, ok := i.sessions[id].peers[p.Key]
	return ok && held.row().Equal(p)
}

// HoldsPeer reports whether the session holds a row of a key, which is then as it should
// be: Advance keeps it so.
func (i *Interest) HoldsPeer(id control.SessionID, key control.PeerKey) bool {
	_, ok := i.sessions[id].peers[key]
	return ok
}

// HoldsPair is HoldsPeer for a pair.
func (i *Interest) HoldsPair(id control.SessionID, key control.PairKey) bool {
	_, ok := slices.BinarySearch(i.pairsOf(key.Domain)[classes{key.Src, key.Dst}], id)
	return ok
}

// pairsOf returns who holds the pairs of a domain.
func (i *Interest) pairsOf(d dove.Domain) map[classes][]control.SessionID {
	if i.latest.by == nil || i.latest.domain != d {
		i.latest = heldPairs{d, i.pairs[d]}
	}
	return i.latest.by
}

// Resolve answers a question of a session as View.Resolve does. What it holds of the peer is
// as it should be, and is not looked for again.
func (i *Interest) Resolve(id control.SessionID, q control.Question) control.Answered {
	h := i.sessions[id]
	held := h.peers[control.PeerKey{VNI: q.VNI, Addr: q.Peer}].sent
	if held != nil && held.row().Absent {
		held = nil // it may have run out
	}
	return i.view.resolve(h.host, q, held)
}

// Peer notes that a session was sent a row, or holds it.
func (i *Interest) Peer(id control.SessionID, p *control.Peer) {
	h := i.sessions[id]
	before := h.peers[p.Key]
	if before.sent != nil && before.row().Equal(p) {
		return
	}
	i.forgetPeer(id, h, p.Key)
	switch {
	case p.Absent && p.TTL == 0:
		return
	case p.Absent && h.absent[p.Key.VNI] >= AbsentMax:
		i.marked[p.Key.VNI] = with(i.marked[p.Key.VNI], id)
		return
	case p.Absent:
		h.absent[p.Key.VNI]++
	default:
		i.see(h, classAt{p.Key.VNI, p.Class}, p.Host, p.VTEP, p.Domain)
		for n, w := range p.Ways {
			if p.FirstOf(n) {
				i.see(h, classAt{p.Key.VNI, w.Class}, w.Host, w.VTEP, p.Domain)
			}
		}
	}
	holders := i.peers[p.Key.VNI]
	if holders == nil {
		holders = map[netip.Addr]*spread{}
		i.peers[p.Key.VNI] = holders
	}
	its := holders[p.Key.Addr]
	if its == nil {
		its = &spread{}
		holders[p.Key.Addr] = its
	}
	its.sessions = with(its.sessions, id)
	h.peers[p.Key] = heldPeer{its.share(p), before.expected}
}

func (i *Interest) forgetPeer(id control.SessionID, h *holding, key control.PeerKey) {
	held, ok := h.peers[key]
	if !ok {
		return
	}
	delete(h.peers, key)
	its := i.peers[key.VNI][key.Addr]
	if its.sessions = without(its.sessions, id); len(its.sessions) == 0 {
		if delete(i.peers[key.VNI], key.Addr); len(i.peers[key.VNI]) == 0 {
			delete(i.peers, key.VNI)
		}
	}
	p := held.row()
	if p.Absent {
		if h.absent[key.VNI]--; h.absent[key.VNI] == 0 {
			delete(h.absent, key.VNI)
		}
		return
	}
	h.unsee(classAt{key.VNI, p.Class})
	for n, w := range p.Ways {
		if p.FirstOf(n) {
			h.unsee(classAt{key.VNI, w.Class})
		}
	}
}

// see notes that a row has a class, and whether the location of such was told. That of
// an endpoint of the session's own host is told in any case, and says nothing of others.
func (i *Interest) see(h *holding, at classAt, host dove.HostName, vtep netip.Addr, domain dove.Domain) {
	if h.seen[at] == nil {
		h.seen[at] = &sight{}
	}
	h.seen[at].rows++
	h.seen[at].located = vtep.IsValid() && (host != h.host || i.view.reaches(h.host, at, domain))
}

// unsee takes back what see noted of a row.
func (h *holding) unsee(at classAt) {
	if h.seen[at].rows--; h.seen[at].rows == 0 {
		delete(h.seen, at)
	}
}

// Pair notes that a session was sent a row, or holds it.
func (i *Interest) Pair(id control.SessionID, p control.Pair) {
	h := i.sessions[id]
	if p.Table == nil {
		i.forgetPair(id, h, p.Key)
		return
	}
	h.pairs[p.Key] = heldPair{p.Digest(), h.pairs[p.Key].expected}
	holders := i.pairs[p.Key.Domain]
	if holders == nil {
		holders = map[classes][]control.SessionID{}
		i.pairs[p.Key.Domain], i.latest = holders, heldPairs{}
	}
	c := classes{p.Key.Src, p.Key.Dst}
	holders[c] = with(holders[c], id)
}

func (i *Interest) forgetPair(id control.SessionID, h *holding, key control.PairKey) {
	if _, ok := h.pairs[key]; !ok {
		return
	}
	delete(h.pairs, key)
	drop(i.pairs[key.Domain], classes{key.Src, key.Dst}, id)
	if len(i.pairs[key.Domain]) == 0 {
		delete(i.pairs, key.Domain)
		i.latest = heldPairs{}
	}
}

// Release notes that a session no longer holds rows. Those stay that came by
// an Expect which the dSwitch had not seen: it has seen none later than the one with
// the number expected.
func (i *Interest) Release(id control.SessionID, expected uint64, peers []control.PeerKey, pairs []control.PairKey) {
	h := i.sessions[id]
	for _, key := range peers {
		if h.peers[key].expected <= expected {
			i.forgetPeer(id, h, key)
		}
	}
	for _, key := range pairs {
		if h.pairs[key].expected <= expected {
			i.forgetPair(id, h, key)
		}
	}
}

// with returns the sorted list with id in it.
func with[T cmp.Ordered](list []T, id T) []T {
	at, found := slices.BinarySearch(list, id)
	if found {
		return list
	}
	return slices.Insert(list, at, id)
}

// without returns the sorted list without id in it.
func without[T cmp.Ordered](list []T, id T) []T {
	if at, found := slices.BinarySearch(list, id); found {
		return slices.Delete(list, at, at+1)
	}
	return list
}

// drop takes id out of the list under a key, and the key if nothing is left.
func drop[K comparable, T cmp.Ordered](lists map[K][]T, key K, id T) {
	if list, ok := lists[key]; ok {
		if lists[key] = without(list, id); len(lists[key]) == 0 {
			delete(lists, key)
		}
	}
}
