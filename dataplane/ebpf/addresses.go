package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"dove.network/dataplane"
)

// place is where an address is in the kernel: a slot of dests and what is in it.
type place struct {
	slot  uint32
	dest  dswitchDest
	route dswitchRoute // of a dest that is behind a router
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
	if len(p.Ways) > 0 {
		return fmt.Errorf("peer %v on network %d has further ways: the programs do not know of these yet", k.Addr, k.VNI)
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
	if p.VTEP == s.config.VTEP {
		if d, ok := s.plugged(k, p); ok {
			return d, true
		}
	}
	d := dswitchDest{Uid: uint64(p.UID), Class: uint16(p.Class), Mac: p.MAC, Vni: uint32(k.VNI), Addr: addrWords(k.Addr), Kind: uint8(dswitchDestKindDEST_REMOTE)}
	if p.Routed() {
		d.Flags = destRouted
	}
	switch {
	case !p.VTEP.IsValid():
		d.Kind = uint8(dswitchDestKindDEST_HIDDEN)
		return d, true
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
	return d, true
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
		d.Class, d.Mac = uint16(by.Class), by.MAC
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
	want.Gen = held.dest.Gen
	if err := s.putRoute(k, held); err != nil {
		return err
	}
	if held.dest == want && !s.renew[k] {
		return nil
	}
	// Flows follow a peer to another VTEP or MAC. Anything else has them judged again.
	was, is := held.dest, want
	was.Vtep, was.Hop, was.Other, was.Mac, was.Mtu = is.Vtep, is.Hop, is.Other, is.Mac, is.Mtu
	was.Flags = is.Flags&^destRouted | was.Flags&destRouted
	if err := s.maps.Dests.Update(held.slot, want, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("address %v on network %d: map dests: %w", k.Addr, k.VNI, err)
	}
	if was != is || s.renew[k] {
		// Who read the old generation with the new content is wrong from here on.
		want.Gen = s.dests.next(held.slot)
		if err := s.maps.Dests.Update(held.slot, want, ebpf.UpdateAny); err != nil {
			return fmt.Errorf("address %v on network %d: map dests: %w", k.Addr, k.VNI, err)
		}
		delete(s.renew, k)
	}
	s.changed = true
	held.dest = want
	return nil
}

func (s *Switch) putNew(k dataplane.PeerKey, d dswitchDest) error {
	slot, err := s.dests.take()
	if err != nil {
		return fmt.Errorf("address %v on network %d: map dests: %w", k.Addr, k.VNI, err)
	}
	d.Gen = s.dests.next(slot)
	held := &place{slot: slot, dest: d}
	err = s.putRoute(k, held)
	if err == nil {
		err = s.maps.Dests.Update(slot, d, ebpf.UpdateAny)
	}
	if err == nil {
		err = s.maps.Endpoints.Update(endpointKey(k), slot, ebpf.UpdateAny)
	}
	if err != nil {
		s.dests.release(slot)
		return fmt.Errorf("address %v on network %d: maps dests and endpoints: %w", k.Addr, k.VNI, err)
	}
	s.places[k] = held
	return s.outdate(k)
}

// takeAway frees the slot of an address. Its flows wait for the address to come back.
func (s *Switch) takeAway(k dataplane.PeerKey) error {
	held := s.places[k]
	if err := remove(s.maps.Endpoints, endpointKey(k)); err != nil {
		return err
	}
	empty := dswitchDest{Gen: s.dests.next(held.slot)}
	if err := s.maps.Dests.Update(held.slot, empty, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("address %v on network %d: map dests: %w", k.Addr, k.VNI, err)
	}
	s.changed = true
	s.dests.release(held.slot)
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
