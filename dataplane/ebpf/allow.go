package ebpf

import (
	"errors"
	"fmt"
	"net/netip"

	"dove.network/dataplane"
	"dove.network/dove"
)

// permit is a prefix that a port is allowed, in the kernel.
type permit struct {
	slot uint32
	dest dswitchDest
}

// permits are what a port should have in the kernel by its allowed pairs and by
// having no port security.
func (s *Switch) permits(p *port) map[netip.Prefix]dswitchDest {
	want := map[netip.Prefix]dswitchDest{}
	add := func(a dataplane.Allowed) {
		d := s.portDest(p, dataplane.PeerKey{VNI: p.VNI, Addr: a.Prefix.Addr()})
		d.Class, d.Mac, d.Lent = uint16(a.Class), a.MAC, lentAlone
		if a.MAC == (dove.MAC{}) {
			d.Mac = p.MAC
		}
		if id, _ := s.answering(p.VNI, d.Mac); id == 0 {
			d.Lent = lentSeveral
		}
		d.Flags, d.Vni = d.Flags|destPrefix, d.Vni|prefixVNI
		d.Bits = uint8(mappedBits(a.Prefix))
		want[a.Prefix] = d
	}
	if p.Open {
		add(dataplane.Allowed{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Class: p.Class})
		add(dataplane.Allowed{Prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Class: p.Class})
	}
	for _, a := range p.Allowed {
		add(a)
	}
	return want
}

const prefixVNI = 1 << 31 // PREFIX_VNI

// LENT_ALONE and LENT_SEVERAL.
const (
	lentAlone = 1 + iota
	lentSeveral
)

// mappedBits counts the bits of a prefix, IPv4 mapped into IPv6.
func mappedBits(p netip.Prefix) int { return p.Bits() + 128 - p.Addr().BitLen() }

func allowedKey(id dataplane.PortID, p netip.Prefix) dswitchPermitKey {
	k := dswitchPermitKey{Prefixlen: uint32(32 + mappedBits(p)), Port: uint32(id) << 1, Addr: addrWords(p.Addr())}
	if p.Addr().Is6() {
		k.Port |= 1
	}
	return k
}

// putAllowed brings what a port is allowed to what is wanted. renew has all flows
// of it judged again.
func (s *Switch) putAllowed(p *port, renew bool) error {
	want := s.permits(p)
	var errs []error
	for prefix, held := range p.permits {
		if _, ok := want[prefix]; !ok {
			errs = append(errs, s.takePermit(p, prefix, held))
		}
	}
	for prefix, d := range want {
		errs = append(errs, s.putPermit(p, prefix, d, renew))
	}
	return errors.Join(errs...)
}

func (s *Switch) putPermit(p *port, prefix netip.Prefix, d dswitchDest, renew bool) error {
	held := p.permits[prefix]
	if held != nil {
		if d.Gen = held.dest.Gen; d == held.dest && !renew {
			return nil
		}
	} else {
		slot, err := s.dests.take()
		if err != nil {
			return fmt.Errorf("port %d, allowed %v: map dests: %w", p.ID, prefix, err)
		}
		held = &permit{slot: slot}
	}
	d.Gen = s.dests.next(held.slot)
	v := dswitchPermit{Slot: held.slot}
	if prefix.IsSingleIP() {
		v.Claims = 1
	}
	err := update(s.maps.Dests, held.slot, d)
	if err == nil {
		err = update(s.maps.Permits, allowedKey(p.ID, prefix), v)
	}
	if err != nil {
		return fmt.Errorf("port %d, allowed %v: maps dests and permits: %w", p.ID, prefix, err)
	}
	s.changed = true
	held.dest = d
	if p.permits == nil {
		p.permits = map[netip.Prefix]*permit{}
	}
	p.permits[prefix] = held
	return nil
}

func (s *Switch) takePermit(p *port, prefix netip.Prefix, held *permit) error {
	err := remove(s.maps.Permits, allowedKey(p.ID, prefix))
	empty := dswitchDest{Gen: s.dests.next(held.slot)}
	err = errors.Join(err, update(s.maps.Dests, held.slot, empty))
	s.changed = true
	s.dests.release(held.slot)
	delete(p.permits, prefix)
	return err
}

// answering finds the port of a network, of those that are allowed something, which
// has a MAC; 0 if several have, or none.
func (s *Switch) answering(vni dove.VNI, mac dove.MAC) (alone dataplane.PortID, known bool) {
	for id, p := range s.ports {
		if p.VNI != vni || !p.Answers(mac) {
			continue
		}
		if known {
			return 0, true
		}
		alone, known = id, true
	}
	return alone, known
}

// putMAC says which port of a network, of those that are allowed something, has a MAC.
func (s *Switch) putMAC(vni dove.VNI, mac dove.MAC) error {
	found, known := s.answering(vni, mac)
	key := gatewayKey(vni, mac)
	if !known {
		return remove(s.maps.Macs, key)
	}
	if err := update(s.maps.Macs, key, uint32(found)); err != nil {
		return fmt.Errorf("network %d: map macs: %w", vni, err)
	}
	s.changed = true
	return nil
}

// outdate has the flows of an address judged again that a port has by what it is
// allowed: somebody has it by another right now, or no more.
func (s *Switch) outdate(k dataplane.PeerKey) error {
	var errs []error
	for _, p := range s.ports {
		if p.VNI != k.VNI || len(p.permits) == 0 {
			continue
		}
		for prefix, held := range p.permits {
			if prefix.Contains(k.Addr) {
				errs = append(errs, s.putPermit(p, prefix, held.dest, true))
			}
		}
	}
	return errors.Join(errs...)
}

// putPermits brings the kernel to what a port is allowed, after it was something else.
func (s *Switch) putPermits(p *port, was dataplane.Port) error {
	macs := map[dove.MAC]bool{}
	for _, q := range []dataplane.Port{was, p.Port} {
		if !q.Open && len(q.Allowed) == 0 {
			continue
		}
		macs[q.MAC] = true
		for _, a := range q.Allowed {
			if a.MAC != (dove.MAC{}) {
				macs[a.MAC] = true
			}
		}
	}
	if len(macs) == 0 {
		return nil
	}
	var err error
	for id, q := range s.ports { // a MAC may be another's too, or no more
		if q.VNI == p.VNI && (id == p.ID || len(q.permits) > 0) {
			err = errors.Join(err, s.putAllowed(q, true))
		}
	}
	if s.ports[p.ID] != p {
		err = errors.Join(err, s.putAllowed(p, false))
	}
	for mac := range macs {
		err = errors.Join(err, s.putMAC(p.VNI, mac))
	}
	s.findLenders()
	for k, peer := range s.peers { // rows of it lead to it, or no more
		if k.VNI == p.VNI && (peer.UID == p.UID || peer.UID == was.UID) {
			err = errors.Join(err, s.put(k))
		}
	}
	return errors.Join(err, s.putHere(p.VNI))
}

// findLenders notes the lives of the ports that are allowed something.
func (s *Switch) findLenders() {
	clear(s.lenders)
	for _, p := range s.ports {
		if p.Open || len(p.Allowed) > 0 {
			s.lenders[p.UID] = true
		}
	}
}

// putHere puts the peers of this host again that are on a network: they may lead
// to another port by now.
func (s *Switch) putHere(vni dove.VNI) error {
	var errs []error
	for at, keys := range s.here {
		for k := range keys {
			if at.VNI == vni {
				errs = append(errs, s.put(k))
			}
		}
	}
	return errors.Join(errs...)
}

// byUID finds the port of a peer's life that has its address by what it is allowed.
func (s *Switch) byUID(uid dove.UID, at dataplane.PeerKey) (first *port, by dataplane.Allowed) {
	if !s.lenders[uid] {
		return nil, by
	}
	for id, p := range s.ports {
		if p.UID != uid || p.VNI != at.VNI || first != nil && id > first.ID {
			continue
		}
		if a, ok := p.Permits(at.Addr); ok {
			first, by = p, a
		}
	}
	return first, by
}

// adoptAllowed reads back what ports are allowed.
func (s *Switch) adoptAllowed(contents map[uint32]dswitchDest, taken map[uint32]bool) error {
	var key dswitchPermitKey
	var v dswitchPermit
	entries := s.maps.Permits.Iterate()
	var lost []dswitchPermitKey
	for entries.Next(&key, &v) {
		p := s.ports[dataplane.PortID(key.Port>>1)]
		d, ok := contents[v.Slot]
		if p == nil || !ok {
			lost = append(lost, key)
			continue
		}
		taken[v.Slot] = true
		a := mappedAddr(key.Addr)
		prefix := netip.PrefixFrom(a, int(key.Prefixlen)-32-128+a.BitLen())
		p.UID = dove.UID(d.Uid)
		if p.permits == nil {
			p.permits = map[netip.Prefix]*permit{}
		}
		p.permits[prefix] = &permit{v.Slot, d}
		if p.Open && prefix.Bits() == 0 {
			p.Class = dove.Class(d.Class)
			continue
		}
		p.Allowed = append(p.Allowed, dataplane.Allowed{Prefix: prefix, MAC: d.Mac, Class: dove.Class(d.Class)})
	}
	err := entries.Err()
	for _, key := range lost {
		err = errors.Join(err, remove(s.maps.Permits, key))
	}
	s.findLenders()
	if err != nil {
		return fmt.Errorf("map permits: %w", err)
	}
	return nil
}

// Claims yields what guests announce that others may announce too. It is closed
// by Close.
func (s *Switch) Claims() <-chan dataplane.Claim { return s.claims }
