package soft

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/verdict"
)

// where says how packets reach an end.
type where uint8

const (
	local     where = iota // through a port of this host
	remote                 // through the tunnel
	hidden                 // not told: nothing here may talk to it
	unplugged              // bound to this host, but no port has it yet
	standby                // a port of this host has it, but its endpoint is active behind vtep
	router                 // it is a router's own
)

// end is what is known of an address.
type end struct {
	where where
	uid   dove.UID
	mac   dove.MAC
	class dove.Class
	port  dataplane.PortID // local, standby
	vtep  netip.Addr       // remote, standby
	other netip.Addr       // of its other binding
	lent  bool             // it is none of the port's own, but allowed

	vni     dove.VNI // the network that it is on
	routed  bool     // that is, over a router
	gateway dove.MAC // then: the router's on the key's network
	far     dove.MAC // and on vni
	mtu     uint16   // of vni, 0: not told
	further []end    // ways as good as this one
}

// plugged reports whether a port of this host has the address.
func (e end) plugged() bool { return e.where == local || e.where == standby }

// cameFrom reports whether what an address sends may come from a VTEP. A hidden
// one has none to compare.
func (e end) cameFrom(vtep netip.Addr) bool {
	return e.where == hidden || e.where == remote && e.vtep == vtep || e.other == vtep
}

// port is an open port.
type port struct {
	dataplane.Port
	flows       int // begun here
	unconfirmed int // of these
	bucket      bucket
	told        bucket // of ICMP messages to its guest
}

// find returns who has an address as seen from a network: a port, else a router,
// else a peer.
func (s *Switch) find(vni dove.VNI, addr netip.Addr) (end, bool) {
	key := dataplane.PeerKey{VNI: vni, Addr: addr}
	if e, ok := s.locals[key]; ok {
		return e, true
	}
	if e, ok := s.gateways[key]; ok {
		return e, true
	}
	e, ok := s.peers[key]
	if ok && (e.where == unplugged || !e.routed) {
		return s.plug(e, addr), true
	}
	return e, ok
}

// Apply implements dataplane.Switch.
func (s *Switch) Apply(ops []dataplane.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, op := range ops {
		if err := s.apply(op); err != nil {
			errs = append(errs, &dataplane.OpError{Op: op, Err: err})
		}
	}
	return errors.Join(errs...)
}

func (s *Switch) apply(op dataplane.Op) error {
	switch op := op.(type) {
	case dataplane.SetNetwork:
		return s.setNetwork(op.Network)
	case dataplane.DelNetwork:
		return s.delNetwork(op.VNI)
	case dataplane.SetVTEP:
		if err := s.config.CheckVTEP(op.Addr); err != nil {
			return err
		}
		s.vteps[op.Addr] = op
	case dataplane.DelVTEP:
		delete(s.vteps, op.Addr)
	case dataplane.SetPort:
		return s.setPort(op.Port)
	case dataplane.DelPort:
		s.delPort(op.ID)
	case dataplane.SetPeer:
		return s.setPeer(op.Key, op.Peer)
	case dataplane.DelPeer:
		delete(s.peers, op.Key)
	case dataplane.SetAbsent:
		if err := s.checkKey(op.Key); err != nil {
			return err
		}
		s.absent[op.Key] = absence{s.clock().Add(op.TTL), op.NoRoute}
	case dataplane.DelAbsent:
		delete(s.absent, op.Key)
	case dataplane.SetPair:
		if op.Key.Domain == 0 || op.Table == nil {
			return fmt.Errorf("pair %d to %d of domain %d: a domain and a table are needed", op.Key.Src, op.Key.Dst, op.Key.Domain)
		}
		s.setPair(op.Key, op.Table)
	case dataplane.DelPair:
		s.setPair(op.Key, nil)
	default:
		return fmt.Errorf("op %T is unknown to this switch", op)
	}
	return nil
}

func (s *Switch) setNetwork(n dataplane.Network) error {
	if n.VNI == 0 || n.VNI > dove.VNIMax || n.Domain == 0 || n.MTU == 0 {
		return fmt.Errorf("network with VNI %d, domain %d and MTU %d: none may be 0, and a VNI has 24 bits", n.VNI, n.Domain, n.MTU)
	}
	if err := n.CheckGateways(); err != nil {
		return err
	}
	s.setGateways(n)
	s.networks[n.VNI] = n
	return nil
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
	maps.DeleteFunc(s.absent, func(key dataplane.PeerKey, _ absence) bool { return key.VNI == vni })
	s.setGateways(dataplane.Network{VNI: vni})
	delete(s.networks, vni)
	return nil
}

func (s *Switch) checkKey(k dataplane.PeerKey) error {
	if _, ok := s.networks[k.VNI]; !ok {
		return fmt.Errorf("address %v is on network %d, which this switch does not have: set the network first", k.Addr, k.VNI)
	}
	return k.Check()
}

func (s *Switch) setPort(p dataplane.Port) error {
	if err := s.config.CheckPort(p); err != nil {
		return err
	}
	for _, a := range p.Addresses {
		key := dataplane.PeerKey{VNI: p.VNI, Addr: a.Addr}
		if e, ok := s.locals[key]; ok && e.port != p.ID {
			return fmt.Errorf("port %d: port %d has address %v already: delete it first", p.ID, e.port, a.Addr)
		}
	}
	if _, ok := s.networks[p.VNI]; !ok {
		return fmt.Errorf("port %d is on network %d, which this switch does not have: set the network first", p.ID, p.VNI)
	}
	for id, o := range s.ports {
		if id != p.ID && p.Ifindex != 0 && o.Ifindex == p.Ifindex && o.VLAN == p.VLAN {
			return p.Taken(id)
		}
	}

	open := s.ports[p.ID]
	if open != nil && (open.VNI != p.VNI || open.Ifindex != p.Ifindex || open.VLAN != p.VLAN) {
		s.delPort(p.ID)
		open = nil
	}
	if open == nil {
		open = &port{}
		s.ports[p.ID] = open
	}
	for _, a := range open.Addresses {
		delete(s.locals, dataplane.PeerKey{VNI: open.VNI, Addr: a.Addr})
	}
	open.Port = p
	open.Addresses, open.Allowed = slices.Clone(p.Addresses), slices.Clone(p.Allowed)
	for _, a := range p.Addresses {
		s.locals[dataplane.PeerKey{VNI: p.VNI, Addr: a.Addr}] = open.end(p.MAC, a.Class)
	}
	return nil
}

func (s *Switch) delPort(id dataplane.PortID) {
	p := s.ports[id]
	if p == nil {
		return
	}
	for key, f := range s.flows {
		switch {
		case !s.leads(id, f, key.vni, key.lo, key.hi) && !s.leads(id, f, key.vni, key.hi, key.lo) && !f.takes(id):
		case p.Standby:
			s.inherit(f, id)
		default:
			s.forget(f)
		}
	}
	for _, a := range p.Addresses {
		delete(s.locals, dataplane.PeerKey{VNI: p.VNI, Addr: a.Addr})
	}
	delete(s.ports, id)
}

func (s *Switch) setPeer(k dataplane.PeerKey, p dataplane.Peer) error {
	if err := errors.Join(s.checkKey(k), s.config.CheckPeer(k, p)); err != nil {
		return err
	}
	e := s.endOf(k, p)
	e.further = s.furtherOf(k, p)
	s.peers[k] = e
	return nil
}

// Sizes implements dataplane.Switch. Tables counts different ones.
func (s *Switch) Sizes() (dataplane.Sizes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tables := map[verdict.Digest]bool{}
	for _, t := range s.pairs {
		tables[t.Digest()] = true
	}
	return dataplane.Sizes{
		Ports: len(s.ports), Peers: len(s.peers), Absent: len(s.absent), Pairs: len(s.pairs),
		Tables: len(tables), VTEPs: len(s.vteps), Flows: len(s.flows),
	}, nil
}
