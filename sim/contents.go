package sim

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"time"

	"dove.network/agent"
	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/resolver"
	"dove.network/verdict"
	"dove.network/world"
)

// contents are what a switch holds, by the ops that it took.
type contents struct {
	networks map[dove.VNI]dataplane.Network
	vteps    map[netip.Addr]dataplane.SetVTEP
	admits   *fingerprint // of vteps
	ports    map[dataplane.PortID]dataplane.Port
	peers    map[dataplane.PeerKey]dataplane.Peer
	absent   map[dataplane.PeerKey]time.Time
	pairs    map[dataplane.PairKey]*verdict.Table
}

func newContents() contents {
	return contents{
		map[dove.VNI]dataplane.Network{}, map[netip.Addr]dataplane.SetVTEP{}, &fingerprint{}, map[dataplane.PortID]dataplane.Port{},
		map[dataplane.PeerKey]dataplane.Peer{}, map[dataplane.PeerKey]time.Time{}, map[dataplane.PairKey]*verdict.Table{},
	}
}

func (c contents) take(op dataplane.Op, now time.Time) {
	switch op := op.(type) {
	case dataplane.SetNetwork:
		c.networks[op.Network.VNI] = op.Network
	case dataplane.DelNetwork:
		delete(c.networks, op.VNI)
	case dataplane.SetVTEP:
		c.leaves(op.Addr)
		c.admits.turn(op, 1)
		c.vteps[op.Addr] = op
	case dataplane.DelVTEP:
		c.leaves(op.Addr)
	case dataplane.SetPort:
		c.ports[op.Port.ID] = op.Port
	case dataplane.DelPort:
		delete(c.ports, op.ID)
	case dataplane.SetPeer:
		c.peers[op.Key] = op.Peer
	case dataplane.DelPeer:
		delete(c.peers, op.Key)
	case dataplane.SetAbsent:
		c.absent[op.Key] = now.Add(op.TTL)
	case dataplane.DelAbsent:
		delete(c.absent, op.Key)
	case dataplane.SetPair:
		c.pairs[op.Key] = op.Table
	case dataplane.DelPair:
		delete(c.pairs, op.Key)
	}
}

// leaves takes a VTEP out of those that are admitted, if it is one.
func (c contents) leaves(addr netip.Addr) {
	if v, ok := c.vteps[addr]; ok {
		c.admits.turn(v, -1)
		delete(c.vteps, addr)
	}
}

// fingerprint stands for a set of VTEPs and of what kind each is, whatever their order.
type fingerprint struct {
	size int
	sum  uint64
}

// turn takes a VTEP in (by 1) or out (by -1).
func (f *fingerprint) turn(v dataplane.SetVTEP, by int) {
	h := fnv.New64a()
	b := v.Addr.As16()
	h.Write(b[:])
	h.Write(fmt.Append(b[:0], v.Foreign, v.Plain))
	f.size += by
	f.sum ^= h.Sum64()
}

// admitted is a host as switches of others are to hold it; false if it has not joined.
func admitted(h world.Host) (dataplane.SetVTEP, bool) {
	return dataplane.SetVTEP{Addr: h.VTEP, Foreign: h.Foreign, Plain: h.Plain}, resolver.Joined(h)
}

// joinedIn is the fleet of a world.
func joinedIn(w *world.World) (f fingerprint) {
	for h := range w.Hosts() {
		if v, ok := admitted(h); ok {
			f.turn(v, 1)
		}
	}
	return f
}

// portOf returns the port of a device, 0 if it has none.
func (c contents) portOf(device string) dataplane.PortID {
	for id, p := range c.ports {
		if p.Device == device {
			return id
		}
	}
	return 0
}

// opened reports whether an endpoint has a port.
func (c contents) opened(e dove.Endpoint) bool {
	for _, p := range c.ports {
		if p.Endpoint == e {
			return true
		}
	}
	return false
}

// compare holds what the switch of each host with a session holds against what
// the world says now, if its member could tell it.
func (s *Sim) compare() {
	for _, h := range s.hosts {
		if h.current() && !s.blind {
			s.compareHost(h)
		}
	}
}

func (s *Sim) compareHost(h *host) {
	before := len(s.faults)
	defer func() { h.unsure = len(s.faults) > before }()
	s.comparePorts(h)
	s.compareRows(h)
	s.compareFleet(h)
}

// comparePorts checks that every open port is that of an endpoint which is
// bound to the host, as it is now.
func (s *Sim) comparePorts(h *host) {
	w := s.World()
	for _, id := range slices.Sorted(maps.Keys(h.holds.ports)) {
		p := h.holds.ports[id]
		e, ok := w.Endpoint(p.Endpoint)
		if !ok || e.UID != p.UID || !e.BoundTo(h.name) {
			s.fault("%s has a port for %s, which is not bound to it", h.name, p.Endpoint)
			continue
		}
		var addresses []dataplane.Address
		for _, a := range e.Addresses {
			addresses = append(addresses, dataplane.Address{Addr: a, Class: w.AddressClass(e, a)})
		}
		if n, ok := w.Network(e.NetworkOf()); !ok || n.VNI != p.VNI || e.MAC != p.MAC || !slices.Equal(addresses, p.Addresses) {
			s.fault("%s has a port for %s as %+v, meant: addresses %v, MAC %s", h.name, p.Endpoint, p, addresses, e.MAC)
		} else {
			s.compareGateways(h, n)
		}
		if other, _ := resolver.Location(w, world.Endpoint{Host: e.Other(h.name)}); p.Other != other.VTEP || p.Standby != (e.Standby == h.name) {
			s.fault("%s has a port for %s as %+v, meant: active on %s, standby on %q", h.name, p.Endpoint, p, e.Host, e.Standby)
		}
	}
}

// compareGateways checks that the switch answers for the routers of a network,
// and for nobody else.
func (s *Sim) compareGateways(h *host, n world.Network) {
	var meant []dataplane.Gateway
	for r := range s.World().RoutersOn(n.Full()) {
		f, _ := r.On(n.Name)
		meant = append(meant, dataplane.Gateway{MAC: f.MAC, Addrs: f.Gateways(n)})
	}
	if is := h.holds.networks[n.VNI].Gateways; !slices.EqualFunc(is, meant, dataplane.Gateway.Equal) {
		s.fault("%s answers on network %s for routers %v, meant: %v", h.name, n.Full(), is, meant)
	}
}

// compareRows checks every row that the switch holds for a network with a port.
func (s *Sim) compareRows(h *host) {
	w := s.World()
	if s.view == nil || s.view.World() != w {
		s.view = resolver.NewView(w)
	}
	view := s.view
	for _, key := range slices.SortedFunc(maps.Keys(h.holds.peers), comparePeerKeys) {
		is, meant := h.holds.peers[key], view.Peer(h.name, control.PeerKey(key))
		if meant.Absent || !is.Equal(agent.PeerOf(meant)) {
			s.fault("%s holds %s of network %d as %+v, meant: %+v", h.name, key.Addr, key.VNI, is, meant)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(h.holds.absent), comparePeerKeys) {
		if meant := view.Peer(h.name, control.PeerKey(key)); s.now.Before(h.holds.absent[key]) && !meant.Absent {
			s.fault("%s holds that nobody has %s of network %d, and %s has", h.name, key.Addr, key.VNI, meant.Endpoint)
		}
	}
	domains := map[uint32]dove.Domain{}
	for vni, n := range h.holds.networks {
		if network, ok := w.NetworkByVNI(vni); ok {
			domains[n.Domain] = network.DomainOf()
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(h.holds.pairs), comparePairKeys) {
		is := h.holds.pairs[key]
		domain, ok := domains[key.Domain]
		if !ok {
			continue // of no network that is left: no packet asks for it
		}
		meant := view.Pair(h.name, control.PairKey{Domain: domain, Src: key.Src, Dst: key.Dst}).Table
		if !is.Equal(meant) {
			s.fault("%s holds for classes %d to %d of %s\n%smeant:\n%s", h.name, key.Src, key.Dst, domain, is, text(meant))
		}
	}
}

func text(t *verdict.Table) string {
	if t == nil {
		return "no table\n"
	}
	return t.String()
}

// compareFleet checks that the switch admits the other hosts as what they are, and nobody else.
func (s *Sim) compareFleet(h *host) {
	others := s.joined
	its, _ := s.World().Host(h.name)
	if v, ok := admitted(its); ok {
		others.turn(v, -1)
	}
	if others == *h.holds.admits {
		return
	}
	fleet := map[netip.Addr]dataplane.SetVTEP{}
	for o := range s.World().Hosts() {
		if v, ok := admitted(o); ok && o.Name != h.name {
			fleet[o.VTEP] = v
		}
	}
	if !maps.Equal(fleet, h.holds.vteps) {
		s.fault("%s admits frames from %v, meant: %v", h.name, h.holds.vteps, fleet)
	}
}

func comparePeerKeys(a, b dataplane.PeerKey) int {
	return cmp.Or(cmp.Compare(a.VNI, b.VNI), a.Addr.Compare(b.Addr))
}

func comparePairKeys(a, b dataplane.PairKey) int {
	return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Src, b.Src), cmp.Compare(a.Dst, b.Dst))
}
