package ebpf

import (
	"errors"
	"fmt"
	"iter"

	"dove.network/dataplane"
)

// waysOf yields the ways of a peer, each as if it were the only one.
func waysOf(p dataplane.Peer) iter.Seq[dataplane.Peer] {
	return func(yield func(dataplane.Peer) bool) {
		first := p
		first.Ways = nil
		if !yield(first) {
			return
		}
		for _, w := range p.Ways {
			if !yield(dataplane.Peer{
				UID: w.UID, MAC: w.MAC, Class: w.Class, VTEP: w.VTEP,
				VNI: w.VNI, Gateway: p.Gateway, Far: w.Far, MTU: p.MTU,
			}) {
				return
			}
		}
	}
}

// leads yields where ways of a peer are that are at this host.
func (s *Switch) leads(k dataplane.PeerKey) iter.Seq[dataplane.PeerKey] {
	return func(yield func(dataplane.PeerKey) bool) {
		for p := range waysOf(s.peers[k]) {
			if p.VTEP == s.config.VTEP && !yield(dataplane.PeerKey{VNI: p.Network(k), Addr: k.Addr}) {
				return
			}
		}
	}
}

// all are the slots of an address: one, or one for each way.
func (p *place) all() []*place { return append([]*place{p}, p.further...) }

// putFurther writes the slots of an address's further ways, before the first one's
// row names them. It returns those that are to be emptied after the row does not.
func (s *Switch) putFurther(k dataplane.PeerKey, held *place) (gone []*place, changed bool, err error) {
	var ways []dataplane.Peer
	if p, ok := s.peers[k]; ok && s.rowOf(k) {
		for w := range waysOf(p) {
			ways = append(ways, w)
		}
		ways = ways[1:]
	}
	for i, w := range ways {
		if i == len(held.further) {
			slot, err := s.dests.take()
			if err != nil {
				return nil, changed, fmt.Errorf("address %v on network %d, way %d: map dests: %w", k.Addr, k.VNI, i+2, err)
			}
			held.further = append(held.further, &place{slot: slot})
		}
		wrote, err := s.write(k, held.further[i], s.peerDest(k, w), routeTo(k, w))
		if err != nil {
			return nil, changed, err
		}
		changed = changed || wrote
	}
	gone = held.further[len(ways):]
	held.further = held.further[:len(ways):len(ways)]
	return gone, changed, nil
}

// rowOf reports whether an address is what its peer's row says: no port or router
// here has it.
func (s *Switch) rowOf(k dataplane.PeerKey) bool {
	_, owned := s.owners[k]
	_, gateway := s.routers[k]
	return !owned && !gateway
}

// routeTo is how one way of a peer behind a router is reached.
func routeTo(k dataplane.PeerKey, p dataplane.Peer) dswitchRoute {
	return dswitchRoute{Vni: uint32(p.Network(k)), Gateway: p.Gateway, Far: p.Far, Mtu: p.MTU}
}

// routeOf is how an address behind a router is reached, by any of its ways.
func (s *Switch) routeOf(k dataplane.PeerKey, held *place) dswitchRoute {
	r := routeTo(k, s.peers[k])
	if len(held.further) == 0 {
		return r
	}
	for i, p := range held.all() {
		r.Way[i] = p.slot
		r.Ways++
	}
	return r
}

// empty frees slots that nothing names any more. What flows remember of them has
// another generation.
func (s *Switch) empty(gone []*place) {
	for _, p := range gone {
		// A slot that is there can be written.
		_ = update(s.maps.Dests, p.slot, dswitchDest{Gen: s.dests.next(p.slot)})
		s.dests.release(p.slot)
		s.changed = true
	}
}

// adoptWays reads back the further ways of a peer.
func (s *Switch) adoptWays(held *place, contents map[uint32]dswitchDest, taken map[uint32]bool, p *dataplane.Peer) error {
	var errs []error
	for _, slot := range held.route.Way[1:max(1, held.route.Ways)] {
		w := &place{slot: slot, dest: contents[slot]}
		if err := s.maps.Routes.Lookup(slot, &w.route); err != nil {
			errs = append(errs, fmt.Errorf("map routes: %w", err))
		}
		taken[slot] = true
		held.further = append(held.further, w)
		is := s.peerAt(w.dest, w.route)
		p.Ways = append(p.Ways, dataplane.Way{UID: is.UID, MAC: is.MAC, Class: is.Class, VTEP: is.VTEP, VNI: is.VNI, Far: is.Far})
	}
	return errors.Join(errs...)
}
