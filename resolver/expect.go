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
	peers = slices.DeleteFunc(peers, func(p control.Peer) bool { return i.HasPeer(id, p) })
	pairs = slices.DeleteFunc(pairs, func(p control.Pair) bool { return i.HasPair(id, p) })
	h := i.sessions[id]
	messages := control.Expects(i.view.world.Revision(), h.expected, peers, pairs)
	for _, m := range messages {
		h.expected = m.Number
		for _, p := range m.Peers {
			i.Peer(id, p)
			held := h.peers[p.Key]
			held.expected = m.Number
			h.peers[p.Key] = held
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
			for _, id := range i.concerned(n.VNI, a, c.New.Host) {
				if all[id] == nil {
					all[id] = renames{}
				}
				all[id].note(n.DomainOf(), was, is)
			}
		}
	}
	return all
}

// concerned are the sessions that hold an address, and those of its host.
func (i *Interest) concerned(vni dove.VNI, a netip.Addr, host dove.HostName) []control.SessionID {
	return slices.Concat(i.peers[vni][a], i.byHost[host])
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
	var pairs []control.Pair
	for _, key := range slices.SortedFunc(maps.Keys(needed), comparePairKeys) {
		if _, held := h.pairs[key]; held {
			continue // what changed of it is news
		}
		if row := i.view.Pair(h.host, key); row.Table != nil {
			pairs = append(pairs, row)
		}
	}
	return pairs
}
