package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"dove.network/dataplane"
)

// place is where an address is in the kernel: a slot of dests and what is in it.
type place struct {
	slot    uint32
	dest    dswitchDest
	route   dswitchRoute // of a dest that is behind a router
	further []*place     // ways as good as this one
}

func (s *Switch) checkKey(k dataplane.PeerKey) error {
	if _, ok := s.networks[k.VNI]; !ok {
		return fmt.Errorf("address %v is on network %d, which this switch does not have: set the network first", k.Addr, k.VNI)
	}
	return k.Check()
}

func (s *Switch) setPeer(k dataplane.PeerKey, p dataplane.Peer) error {
	if err := errors.Join(s.checkKey(k), s.config.CheckPeer(k, p)); err != nil {
		return err
	}
	s.unfollow(k)
	s.peers[k] = p
	s.follow(k)
	return s.put(k)
}

// wanted is what an address should be in the kernel: its port's, or else the
// peer's, or nothing.
func (s *Switch) wanted(k dataplane.PeerKey) (dswitchDest, bool) {
	if id, ok := s.owners[k]; ok {
		return s.local(id, k), true
	}
	if mac, ok := s.routers[k]; ok {
		return dswitchDest{Kind: uint8(dswitchDestKindDEST_ROUTER), Mac: mac, Vni: uint32(k.VNI), Addr: addrWords(k.Addr)}, true
	}
	p, ok := s.peers[k]
	if !ok {
		return dswitchDest{}, false
	}
	return s.peerDest(k, p), true
}

// peerDest is what one way of a peer should be in the kernel.
func (s *Switch) peerDest(k dataplane.PeerKey, p dataplane.Peer) dswitchDest {
	if p.VTEP == s.config.VTEP || !p.Routed() {
		if d, ok := s.plugged(k, p); ok {
			return d
		}
	}
	d := dswitchDest{Uid: uint64(p.UID), Class: uint16(p.Class), Mac: p.MAC, Vni: uint32(k.VNI), Addr: addrWords(k.Addr), Kind: uint8(dswitchDestKindDEST_REMOTE)}
	if p.Routed() {
		d.Flags = destRouted
	}
	switch {
	case !p.VTEP.IsValid():
		d.Kind = uint8(dswitchDestKindDEST_HIDDEN)
		return d
	case p.VTEP == s.config.VTEP:
		d.Kind = uint8(dswitchDestKindDEST_HERE)
	}
	d.Vtep, d.Hop = addrWords(p.VTEP), s.hopTo(p.VTEP)
	if op, admitted := s.vteps[p.VTEP]; admitted {
		d.Flags |= destAdmitted
		if op.Foreign {
			d.Flags |= destForeign
		}
		if op.Plain {
			d.Flags |= destPlain
		}
	}
	if p.Other.IsValid() {
		s.setOther(&d, p.Other)
	}
	return d
}

// setOther says where the other binding of an address is.
func (s *Switch) setOther(d *dswitchDest, vtep netip.Addr) {
	d.Other = addrWords(vtep)
	if _, admitted := s.vteps[vtep]; admitted {
		d.Flags |= destOtherAdmitted
	}
}

// The flags of struct dest.
const (
	destAdmitted = 1 << iota
	destOtherAdmitted
	destOnTap
	destRouted
	destForeign
	destPlain
	destPrefix
	destPeer
)

// plugged is a peer of this host as the port that has it.
func (s *Switch) plugged(k dataplane.PeerKey, p dataplane.Peer) (dswitchDest, bool) {
	at := dataplane.PeerKey{VNI: p.Network(k), Addr: k.Addr}
	var d dswitchDest
	if id, ok := s.owners[at]; ok {
		d = s.local(id, k)
	} else if held, by := s.byUID(p.UID, at); held != nil {
		d = s.portDest(held, k)
		d.Class, d.Mac, d.Lent = uint16(by.Class), by.MAC, lentAlone
	} else {
		return d, false
	}
	d.Flags |= destPeer
	if p.Routed() {
		d.Flags |= destRouted
	}
	return d, true
}

// put brings an address in the kernel to what is wanted.
func (s *Switch) put(k dataplane.PeerKey) error {
	want, exists := s.wanted(k)
	held := s.places[k]
	switch {
	case !exists && held == nil:
		return nil
	case !exists:
		return s.takeAway(k)
	case held == nil:
		return s.putNew(k, want)
	}
	gone, moved, err := s.putFurther(k, held)
	if err != nil {
		return err
	}
	routed := held.dest.Flags&destRouted != 0
	changed, err := s.write(k, held, want, s.routeOf(k, held))
	if err != nil {
		return err
	}
	delete(s.renew, k)
	s.empty(gone)
	if changed || moved || len(gone) > 0 {
		s.changed = true
		if routed || want.Flags&destRouted != 0 { // a port that is allowed the address may be a next hop
			return s.outdate(k)
		}
	}
	return nil
}

// write brings a slot to what is wanted, and how it is reached before it says that it
// is behind a router.
func (s *Switch) write(k dataplane.PeerKey, held *place, want dswitchDest, route dswitchRoute) (changed bool, err error) {
	if want.Flags&destRouted != 0 && route != held.route {
		if err := update(s.maps.Routes, held.slot, route); err != nil {
			return false, fmt.Errorf("address %v on network %d: map routes: %w", k.Addr, k.VNI, err)
		}
		held.route, changed = route, true
	}
	want.Gen = held.dest.Gen
	if held.dest == want && !s.renew[k] {
		return changed, nil
	}
	// Flows follow a peer to another VTEP or MAC. Anything else has them judged again.
	was, is := held.dest, want
	was.Vtep, was.Hop, was.Other, was.Mac, was.Mtu = is.Vtep, is.Hop, is.Other, is.Mac, is.Mtu
	was.Flags = is.Flags&^destRouted | was.Flags&destRouted
	if want.Gen == 0 { // nobody has looked at it yet
		want.Gen = s.dests.next(held.slot)
	}
	if err := update(s.maps.Dests, held.slot, want); err != nil {
		return changed, fmt.Errorf("address %v on network %d: map dests: %w", k.Addr, k.VNI, err)
	}
	if held.dest.Gen != 0 && (was != is || s.renew[k]) {
		// Who read the old generation with the new content is wrong from here on.
		want.Gen = s.dests.next(held.slot)
		if err := update(s.maps.Dests, held.slot, want); err != nil {
			return changed, fmt.Errorf("address %v on network %d: map dests: %w", k.Addr, k.VNI, err)
		}
	}
	held.dest = want
	return true, nil
}

func (s *Switch) putNew(k dataplane.PeerKey, d dswitchDest) error {
	slot, err := s.dests.take()
	if err != nil {
		return fmt.Errorf("address %v on network %d: map dests: %w", k.Addr, k.VNI, err)
	}
	held := &place{slot: slot}
	_, _, err = s.putFurther(k, held)
	if err == nil {
		_, err = s.write(k, held, d, s.routeOf(k, held))
	}
	if err == nil {
		err = update(s.maps.Endpoints, endpointKey(k), slot)
	}
	if err != nil {
		s.empty(append(held.further, held))
		return fmt.Errorf("address %v on network %d: maps dests and endpoints: %w", k.Addr, k.VNI, err)
	}
	s.places[k] = held
	return s.outdate(k)
}

// takeAway frees the slots of an address. Its flows wait for the address to come back.
func (s *Switch) takeAway(k dataplane.PeerKey) error {
	held := s.places[k]
	if err := remove(s.maps.Endpoints, endpointKey(k)); err != nil {
		return err
	}
	s.empty(held.all())
	delete(s.places, k)
	delete(s.renew, k)
	return s.outdate(k)
}

func endpointKey(k dataplane.PeerKey) dswitchEndpointKey {
	return dswitchEndpointKey{Vni: uint32(k.VNI), Addr: addrWords(k.Addr)}
}

// addrWords is an address as the maps have it, IPv4 mapped into IPv6.
func addrWords(a netip.Addr) (words [4]uint32) {
	b := a.As16()
	for i := range words {
		words[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return words
}
