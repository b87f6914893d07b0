package resolver

import (
	"maps"
	"net/netip"
	"slices"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

// Expect notes that a session is sent rows that it has not asked for, and
// returns the messages that bring them. Rows that it holds already are left out.
func (i *Interest) Expect(id control.SessionID, peers []control.Peer, pairs []control.Pair) []*control.Expect {
	peers = slices.DeleteFunc(peers, func(p control.Peer) bool { return i.HoldsPeer(id, p.Key) })
	pairs = slices.DeleteFunc(pairs, func(p control.Pair) bool { return i.HoldsPair(id, p.Key) })
	h := i.sessions[id]
	messages := control.Expects(i.view.world.Revision(), h.expected, peers, pairs)
	for _, m := range messages {
		h.expected = m.Number
		for n := range m.Peers {
			p := &m.Peers[n]
			i.Peer(id, p)
			if held, ok := h.peers[p.Key]; ok {
				held.expected = m.Number
				h.peers[p.Key] = held
			}
		}
		for _, p := range m.Pairs {
			i.Pair(id, p)
			held := h.pairs[p.Key]
			held.expected = m.Number
			h.pairs[p.Key] = held
		}
	}
	return messages
}

// renames are the classes that addresses have now, by the domain and class that
// they had before.
type renames map[dove.Domain]map[dove.Class]map[dove.Class]bool

func (r renames) note(d dove.Domain, was, is dove.Class) {
	if r[d] == nil {
		r[d] = map[dove.Class]map[dove.Class]bool{}
	}
	if r[d][was] == nil {
		r[d][was] = map[dove.Class]bool{}
	}
	r[d][was][is] = true
}

// of returns the classes that may stand where a class stood.
func (r renames) of(d dove.Domain, was dove.Class) []dove.Class {
	return append(slices.Sorted(maps.Keys(r[d][was])), was)
}

// renamed finds for each session the classes that changed of addresses that it
// has a row of, or that are of its host.
func (i *Interest) renamed(last, next *world.World, d world.Delta) map[control.SessionID]renames {
	all := map[control.SessionID]renames{}
	for _, c := range d.Endpoints {
		if c.Old == nil || c.New == nil {
			continue
		}
		n, ok := next.Network(c.New.NetworkOf())
		if !ok || c.Old.NetworkOf() != c.New.NetworkOf() {
			continue
		}
		for _, a := range c.New.Addresses {
			was, is := last.AddressClass(*c.Old, a), next.AddressClass(*c.New, a)
			if was == is || !slices.Contains(c.Old.Addresses, a) {
				continue
			}
			for _, id := range i.concerned(next, n, a, c.New.Bindings()) {
				if all[id] == nil {
					all[id] = renames{}
				}
				all[id].note(n.DomainOf(), was, is)
			}
		}
	}
	return all
}

// concerned are the sessions that hold an address, also from beyond a router or
// as next hop of a route, and those of its hosts.
func (i *Interest) concerned(w *world.World, n world.Network, a netip.Addr, hosts []dove.HostName) []control.SessionID {
	all := slices.Clone(i.holders(n.VNI, a))
	for _, h := range hosts {
		all = append(all, i.byHost[h]...)
	}
	for beside := range w.Beside(n.Full()) {
		all = append(all, i.holders(beside.VNI, a)...)
	}
	for near, to := range w.RoutesVia(n, a) {
		for held, its := range i.peers[near.VNI] {
			if to.Contains(held) {
				all = append(all, its.sessions...)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// holders returns who holds an address as seen from a network.
func (i *Interest) holders(vni dove.VNI, a netip.Addr) []control.SessionID {
	if its := i.peers[vni][a]; its != nil {
		return its.sessions
	}
	return nil
}

// follow returns the pairs that a session needs for what it holds, once
// addresses have other classes: for each pair that it holds, those of the classes
// that now stand where the old ones stood.
func (i *Interest) follow(id control.SessionID, r renames) []control.Pair {
	h := i.sessions[id]
	needed := map[control.PairKey]bool{}
	for key := range h.pairs {
		if r[key.Domain][key.Src] == nil && r[key.Domain][key.Dst] == nil {
			continue
		}
		for _, src := range r.of(key.Domain, key.Src) {
			for _, dst := range r.of(key.Domain, key.Dst) {
				needed[control.PairKey{Domain: key.Domain, Src: src, Dst: dst}] = true
			}
		}
	}
	return i.unheld(id, needed, control.HeldMax)
}

// LacksMax is how many pairs a session is sent unasked when it opens.
const LacksMax = 1024

// Lacks returns pairs that flows of a session that opens may need and that it
// does not hold, because classes changed while nobody told it: those of peers whose
// rows changed, of classes that it holds pairs of with a class that nobody here
// has any more, and of classes of its host that it holds no pair of. What is left
// out is asked for.
func (i *Interest) Lacks(id control.SessionID, changed []control.Peer, held []control.PairKey) []control.Pair {
	// Who holds nothing, and has been told of no peer, lacks nothing: its host is not looked through then.
	if len(held) == 0 && !slices.ContainsFunc(changed, func(row control.Peer) bool { return !row.Absent }) {
		return nil
	}
	h := i.sessions[id]
	present := i.view.of(h.host)
	known := map[dove.Domain]map[dove.Class]bool{} // of which a pair is held
	alive := map[dove.Domain]map[dove.Class]bool{} // that local addresses and peers have
	suspect := map[dove.Domain]map[dove.Class]bool{}
	mark := func(in map[dove.Domain]map[dove.Class]bool, d dove.Domain, c dove.Class) {
		if in[d] == nil {
			in[d] = map[dove.Class]bool{}
		}
		in[d][c] = true
	}
	domains := map[dove.VNI]dove.Domain{}
	others := map[dove.VNI]map[dove.Class]bool{} // classes that a local address may meet there
	meet := func(vni dove.VNI, c dove.Class) {
		n, ok := i.view.world.NetworkByVNI(vni)
		if !ok {
			return
		}
		if others[vni] == nil {
			domains[vni], others[vni] = n.DomainOf(), map[dove.Class]bool{}
		}
		others[vni][c] = true
		mark(alive, n.DomainOf(), c)
	}
	for vni, classes := range present.networks {
		for _, c := range classes {
			meet(vni, c)
		}
	}
	for at := range h.seen {
		meet(at.vni, at.class)
	}
	for _, key := range held {
		mark(known, key.Domain, key.Src)
		mark(known, key.Domain, key.Dst)
		if is := alive[key.Domain]; !is[key.Src] || !is[key.Dst] {
			mark(suspect, key.Domain, key.Src)
			mark(suspect, key.Domain, key.Dst)
		}
	}
	for _, row := range changed {
		if !row.Absent {
			mark(suspect, row.Domain, row.Class)
		}
	}
	needed := map[control.PairKey]bool{}
	for vni, classes := range present.networks {
		d := domains[vni]
		for _, local := range classes {
			for other := range others[vni] {
				if suspect[d][other] || len(known[d]) > 0 && !known[d][local] {
					needed[control.PairKey{Domain: d, Src: local, Dst: other}] = true
					needed[control.PairKey{Domain: d, Src: other, Dst: local}] = true
				}
			}
		}
	}
	return i.unheld(id, needed, LacksMax)
}

// unheld returns the rows of those pairs that a session does not hold and may,
// in order of keys, at most so many.
func (i *Interest) unheld(id control.SessionID, needed map[control.PairKey]bool, most int) []control.Pair {
	h := i.sessions[id]
	var pairs []control.Pair
	for _, key := range slices.SortedFunc(maps.Keys(needed), ComparePairKeys) {
		if _, held := h.pairs[key]; held {
			continue // what changed of it is news
		}
		if row := i.view.Pair(h.host, key); row.Table != nil && len(pairs) < most {
			pairs = append(pairs, row)
		}
	}
	return pairs
}
