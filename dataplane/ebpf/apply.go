package ebpf

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/verdict"
)

// pair is a class pair's slot and the table in it.
type pair struct {
	slot   uint32
	digest verdict.Digest
}

// Apply implements dataplane.Switch. It works in the network namespace of the
// calling thread.
func (s *Switch) Apply(ops []dataplane.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(ops), len(ops)+2)
	for i, op := range ops {
		errs[i] = s.try(op)
	}
	errs = append(errs, s.settle())
	// What did not fit may do so without what the ops after it have replaced.
	tried := map[dataplane.PairKey]bool{}
	for i, op := range slices.Backward(ops) {
		key, is := pairOf(op)
		if is && !tried[key] && errors.Is(errs[i], errNoRoom) {
			errs[i] = s.try(op)
		}
		tried[key] = tried[key] || is
	}
	return errors.Join(append(errs, s.settle())...)
}

// try applies an op. Its error is an OpError.
func (s *Switch) try(op dataplane.Op) error {
	err := s.apply(op)
	if err == nil {
		return nil
	}
	failed := &dataplane.OpError{Op: op, Err: err}
	if e, ok := err.(*dataplane.OpError); ok {
		failed.Err, failed.Closed = e.Err, e.Closed
	}
	return failed
}

// pairOf is the pair that an op is about.
func pairOf(op dataplane.Op) (key dataplane.PairKey, is bool) {
	switch op := op.(type) {
	case dataplane.SetPair:
		return op.Key, true
	case dataplane.DelPair:
		return op.Key, true
	}
	return key, false
}

// settle returns when every packet that arrives later is judged by what the
// maps say now, and frees what nothing looks at any more.
func (s *Switch) settle() error {
	if !s.changed {
		return nil
	}
	err := s.waitForPrograms()
	if err != nil {
		return err
	}
	s.changed = false
	s.dests.rested()
	s.pairSlots.rested()
	return errors.Join(s.keepClosed(), s.retire())
}

func (s *Switch) apply(op dataplane.Op) error {
	switch op := op.(type) {
	case dataplane.SetNetwork:
		return s.setNetwork(op.Network)
	case dataplane.DelNetwork:
		return s.delNetwork(op.VNI)
	case dataplane.SetVTEP:
		return s.setVTEP(op)
	case dataplane.DelVTEP:
		return s.delVTEP(op.Addr)
	case dataplane.SetPort:
		return s.setPort(op.Port)
	case dataplane.DelPort:
		return s.delPort(op.ID)
	case dataplane.SetPeer:
		return s.setPeer(op.Key, op.Peer)
	case dataplane.DelPeer:
		s.unfollow(op.Key)
		delete(s.peers, op.Key)
		return s.put(op.Key)
	case dataplane.SetAbsent:
		return s.setAbsent(op)
	case dataplane.DelAbsent:
		return s.delAbsent(op.Key)
	case dataplane.SetPair:
		return s.setPair(op.Key, op.Table)
	case dataplane.DelPair:
		return s.delPair(op.Key)
	}
	return fmt.Errorf("op %T is unknown to this switch", op)
}

func (s *Switch) setNetwork(n dataplane.Network) error {
	if n.VNI == 0 || n.VNI > dove.VNIMax || n.Domain == 0 || n.MTU == 0 {
		return fmt.Errorf("network with VNI %d, domain %d and MTU %d: none may be 0, and a VNI has 24 bits", n.VNI, n.Domain, n.MTU)
	}
	if err := n.CheckGateways(); err != nil {
		return err
	}
	old, held := s.networks[n.VNI]
	if held && old.Equal(n) {
		return nil
	}
	if err := update(s.maps.Networks, uint32(n.VNI), dswitchNetwork{Domain: n.Domain, Mtu: uint32(n.MTU)}); err != nil {
		return fmt.Errorf("network %d: map networks: %w", n.VNI, err)
	}
	s.networks[n.VNI] = n
	if err := s.setGateways(old.Gateways, n); err != nil {
		return err
	}
	if !held {
		return nil
	}
	// Its ports carry copies, and another domain has other pairs.
	s.changed = true
	var errs []error
	for _, p := range s.ports {
		if p.VNI != n.VNI {
			continue
		}
		errs = append(errs, s.writePort(p), s.putAllowed(p, old.Domain != n.Domain))
		for _, a := range p.Addresses {
			key := dataplane.PeerKey{VNI: p.VNI, Addr: a.Addr}
			if old.Domain != n.Domain {
				s.renew[key] = true
			}
			errs = append(errs, s.put(key))
		}
	}
	for key, p := range s.peers { // so do rows that lead to ports
		if key.VNI == n.VNI && s.lenders[p.UID] {
			if old.Domain != n.Domain {
				s.renew[key] = true
			}
			errs = append(errs, s.put(key))
		}
	}
	if old.Domain != n.Domain {
		errs = append(errs, s.recount(old.Domain), s.recount(n.Domain))
	}
	return errors.Join(errs...)
}

func (s *Switch) delNetwork(vni dove.VNI) error {
	for _, p := range s.ports {
		if p.VNI == vni {
			return fmt.Errorf("network %d still has ports: delete them first", vni)
		}
	}
	for key := range s.peers {
		if key.VNI == vni {
			return fmt.Errorf("network %d still has peers: delete them first", vni)
		}
	}
	if _, held := s.networks[vni]; !held {
		return nil
	}
	for key := range s.absent {
		if key.VNI == vni {
			if err := s.delAbsent(key); err != nil {
				return err
			}
		}
	}
	s.changed = true
	err := s.setGateways(s.networks[vni].Gateways, dataplane.Network{VNI: vni})
	domain := s.networks[vni].Domain
	delete(s.networks, vni)
	err = errors.Join(err, remove(s.maps.Networks, uint32(vni)))
	for _, n := range s.networks {
		if n.Domain == domain {
			return err
		}
	}
	return errors.Join(err, remove(s.maps.DomainStates, domain))
}

// remove deletes a key that may be gone already.
func remove(m *ebpf.Map, key any) error {
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete from map: %w", err)
	}
	return nil
}

func vtepKey(a netip.Addr) dswitchVtepKey { return dswitchVtepKey{Addr: addrWords(a)} }

func (s *Switch) setVTEP(op dataplane.SetVTEP) error {
	a := op.Addr
	if err := s.config.CheckVTEP(a); err != nil {
		return err
	}
	if held, admitted := s.vteps[a]; admitted && held == op {
		return nil
	}
	key := vtepKey(a)
	number, known := s.vtepNumbers[a]
	if !known {
		number = uint32(len(s.vtepNumbers))
		if err := update(s.maps.VtepAddrs, number, key); err != nil {
			return fmt.Errorf("VTEP %v, the %dth that this switch has seen: map vtep_addrs: %w", a, number, err)
		}
		s.vtepNumbers[a] = number
	}
	if err := update(s.maps.Vteps, key, dswitchVtep{Number: number, Flags: vtepFlags(op)}); err != nil {
		return fmt.Errorf("VTEP %v: map vteps: %w", a, err)
	}
	s.vteps[a] = op
	s.changed = true
	return s.admit(a)
}

// The flags of struct vtep.
const (
	vtepForeign = 1 << iota
	vtepPlain
)

func vtepFlags(op dataplane.SetVTEP) (flags uint32) {
	if op.Foreign {
		flags |= vtepForeign
	}
	if op.Plain {
		flags |= vtepPlain
	}
	return flags
}

// admit tells the destinations behind a VTEP whether it is of the fleet.
func (s *Switch) admit(a netip.Addr) error {
	key := addrWords(a)
	var errs []error
	for k, p := range s.places {
		if slices.ContainsFunc(p.all(), func(p *place) bool {
			return p.dest.Vtep == key && p.dest.Kind == uint8(dswitchDestKindDEST_REMOTE) || p.dest.Other == key
		}) {
			errs = append(errs, s.put(k))
		}
	}
	for _, p := range s.ports {
		if p.Other == a {
			errs = append(errs, s.putAllowed(p, false))
		}
	}
	return errors.Join(errs...)
}

// delVTEP leaves a VTEP its number: missed packets carry it until they come back.
func (s *Switch) delVTEP(a netip.Addr) error {
	if _, admitted := s.vteps[a]; !admitted {
		return nil
	}
	delete(s.vteps, a)
	s.changed = true
	return errors.Join(remove(s.maps.Vteps, vtepKey(a)), s.admit(a))
}

// monotonic is the programs' own clock, in nanoseconds: it moves in steps of some ms.
func monotonic() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &t); err != nil {
		panic(fmt.Sprintf("ebpf: no monotonic clock: %v", err))
	}
	return uint64(t.Nano())
}

func (s *Switch) setAbsent(op dataplane.SetAbsent) error {
	k := op.Key
	if err := s.checkKey(k); err != nil {
		return err
	}
	end := monotonic() + uint64(max(op.TTL, 0))
	v := dswitchAbsence{End: end}
	if op.NoRoute {
		v.NoRoute = 1
	}
	if err := update(s.maps.Absent, endpointKey(k), v); err != nil {
		return fmt.Errorf("absent address %v on network %d: map absent: %w", k.Addr, k.VNI, err)
	}
	s.absent[k] = end
	return nil
}

func (s *Switch) delAbsent(k dataplane.PeerKey) error {
	if _, held := s.absent[k]; !held {
		return nil
	}
	delete(s.absent, k)
	s.changed = true
	return remove(s.maps.Absent, endpointKey(k))
}

func pairKey(k dataplane.PairKey) dswitchPairKey {
	return dswitchPairKey{Domain: k.Domain, Src: uint16(k.Src), Dst: uint16(k.Dst)}
}

func (s *Switch) setPair(k dataplane.PairKey, t *verdict.Table) error {
	if k.Domain == 0 || t == nil {
		return fmt.Errorf("pair %d to %d of domain %d: a domain and a table are needed", k.Src, k.Dst, k.Domain)
	}
	held := s.pairs[k]
	table, digest, err := s.acquire(t, k.Domain)
	if errors.Is(err, errNoRoom) && t != closed {
		return s.closePair(k, err)
	}
	if err != nil {
		return fmt.Errorf("pair %d to %d of domain %d: %w", k.Src, k.Dst, k.Domain, err)
	}
	if held != nil && held.digest == digest {
		s.release(digest, k.Domain)
		return nil
	}
	if held == nil {
		return s.newPair(k, table, digest)
	}
	flip := s.slotOf(held.slot, table)
	if err := update(s.maps.PairSlots, held.slot, flip); err != nil {
		s.release(digest, k.Domain)
		return fmt.Errorf("pair %d to %d of domain %d: map pair_slots: %w", k.Src, k.Dst, k.Domain, err)
	}
	s.changed = true
	old := s.tables[held.digest]
	s.shade(k.Domain, table)
	s.unshade(k.Domain, old)
	s.release(held.digest, k.Domain)
	held.digest = digest
	return s.answered(k)
}

func (s *Switch) newPair(k dataplane.PairKey, t *table, digest verdict.Digest) error {
	slot, err := s.pairSlots.take()
	if err == nil {
		err = update(s.maps.PairSlots, slot, s.slotOf(slot, t))
		if err == nil {
			err = update(s.maps.Pairs, pairKey(k), slot)
		}
		if err != nil {
			s.pairSlots.release(slot)
		}
	}
	if err != nil {
		s.changed = true // what was released is freed by settle
		s.release(digest, k.Domain)
		return fmt.Errorf("pair %d to %d of domain %d: maps pairs and pair_slots: %w", k.Src, k.Dst, k.Domain, err)
	}
	s.pairs[k] = &pair{slot, digest}
	s.shade(k.Domain, t)
	return s.answered(k)
}

// slotOf is what a slot says of a pair that has a table from now on.
func (s *Switch) slotOf(slot uint32, t *table) dswitchPairSlot {
	v := dswitchPairSlot{Gen: s.pairSlots.next(slot), Table: t.id}
	if t.alone {
		v.Flags = pairAlone
	}
	return v
}

const pairAlone = 1 // PAIR_ALONE

// answered has the flows judged again that a pair's packets answer, after its table
// was changed, if answers are held against that.
func (s *Switch) answered(k dataplane.PairKey) error {
	back := dataplane.PairKey{Domain: k.Domain, Src: k.Dst, Dst: k.Src}
	held := s.pairs[back]
	if held == nil || back == k || !s.tables[held.digest].alone {
		return nil
	}
	if err := update(s.maps.PairSlots, held.slot, s.slotOf(held.slot, s.tables[held.digest])); err != nil {
		return fmt.Errorf("pair %d to %d of domain %d: map pair_slots: %w", back.Src, back.Dst, back.Domain, err)
	}
	return nil
}

func (s *Switch) delPair(k dataplane.PairKey) error {
	held := s.pairs[k]
	if held == nil {
		return nil
	}
	if err := remove(s.maps.Pairs, pairKey(k)); err != nil {
		return err
	}
	if err := update(s.maps.PairSlots, held.slot, dswitchPairSlot{Gen: s.pairSlots.next(held.slot)}); err != nil {
		return fmt.Errorf("pair %d to %d of domain %d: map pair_slots: %w", k.Src, k.Dst, k.Domain, err)
	}
	s.changed = true
	s.pairSlots.release(held.slot)
	old := s.tables[held.digest]
	s.unshade(k.Domain, old)
	s.release(held.digest, k.Domain)
	delete(s.pairs, k)
	return s.answered(k)
}
