package soft

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

// absence says that nobody has an address.
type absence struct {
	until   time.Time
	noRoute bool // nobody could
}

func (a absence) reason() dataplane.Reason {
	if a.noRoute {
		return dataplane.NoRoute
	}
	return dataplane.NoEndpoint
}

// setGateways replaces the routers' addresses on a network.
func (s *Switch) setGateways(n dataplane.Network) {
	maps.DeleteFunc(s.gateways, func(key dataplane.PeerKey, _ end) bool { return key.VNI == n.VNI })
	for _, g := range n.Gateways {
		for _, a := range g.Addrs {
			s.gateways[dataplane.PeerKey{VNI: n.VNI, Addr: a}] = end{where: router, mac: g.MAC, vni: n.VNI}
		}
	}
}

// plug returns the port that has a peer of this host by now.
func (s *Switch) plug(e end, addr netip.Addr) end {
	p, ok := s.locals[dataplane.PeerKey{VNI: e.vni, Addr: addr}]
	if !ok {
		p, ok = s.byUID(e, addr)
	}
	if !ok {
		return e
	}
	p.routed, p.gateway, p.far, p.mtu, p.further = e.routed, e.gateway, e.far, e.mtu, e.further
	return p
}

// portWith is what packets of a flow to one of its sides end at, if that is a port.
func (s *Switch) portWith(f *flow, vni dove.VNI, to, from side) end {
	e, ok := s.find(vni, to.addr)
	if ok && len(e.further) > 0 {
		e, ok = ofLife(s.ways(e, to.addr), f.life(from, true))
	}
	if !ok || !e.plugged() {
		return end{}
	}
	return e
}

// leads reports whether packets of a flow to one of its sides end at a port.
func (s *Switch) leads(id dataplane.PortID, f *flow, vni dove.VNI, to, from side) bool {
	return s.portWith(f, vni, to, from).port == id
}

// asked returns the gateway that a guest sent a packet to, if it did.
func (s *Switch) asked(t *transit) (dataplane.Gateway, bool) {
	if t.direction == dataplane.FromGuest && t.Kind == packet.IP && !t.again {
		for _, g := range s.networks[t.port.VNI].Gateways {
			if g.MAC == t.DstMAC {
				return g, true
			}
		}
	}
	return dataplane.Gateway{}, false
}

// refuse drops a packet and tells the guest that sent it why, from the gateway that
// it was sent to. Without one only an MTU is told, from whom the packet was for.
func (s *Switch) refuse(t *transit, reason dataplane.Reason, mtu uint16) (dataplane.Outcome, []byte) {
	o, _ := s.drop(t, reason, "")
	g, _ := s.asked(t)
	from := g.Addr(t.Src.Is4())
	switch {
	case from.IsValid():
	case reason == dataplane.TooBig && !t.again:
		return o, packet.TooBig(t.inner, mtu)
	default:
		return o, nil
	}
	why := map[dataplane.Reason]packet.Refusal{
		dataplane.TooBig: packet.TooLarge, dataplane.TTLExpired: packet.Expired,
		dataplane.NoEndpoint: packet.NoHost, dataplane.NoRoute: packet.NoNetwork,
	}[reason]
	message := packet.Refuse(t.inner, why, g.MAC, from, mtu)
	if message == nil || !t.port.told.take(s.clock(), s.limits) {
		return o, nil
	}
	return o, message
}

// pong answers an echo request to a router.
func (s *Switch) pong(t *transit, dst end) (dataplane.Outcome, []byte) {
	answer := packet.Pong(t.inner, dst.mac)
	if answer == nil {
		return s.drop(t, dataplane.ToRouter, "")
	}
	return dataplane.Outcome{Action: dataplane.Answered, Port: t.port.ID}, answer
}

// route writes what a router on the way does to a guest's frame: where it is
// sent from, and one less of its TTL.
func (t *transit) route(inner []byte, src, dst end) {
	switch {
	case t.direction == dataplane.FromGuest && dst.routed:
		copy(inner[6:12], dst.far[:])
		if src.lent && dst.where != local {
			copy(inner[6:12], src.mac[:]) // it says by which way, see wayFrom
		}
		packet.Hop(inner)
	case t.direction == dataplane.FromOverlay && src.routed:
		copy(inner[6:12], src.gateway[:])
	default:
		copy(inner[6:12], src.mac[:])
	}
}

// entry is one of the places of a flow in the table: between two ports of this
// host on different networks it has one under each.
type entry struct {
	key  flowKey
	port dataplane.PortID // whose budget it takes
	open bool             // packets of it wait for their turn, or did a packet ago
}

// entry is that of a key, or else the one that it began with.
func (f *flow) entry(key flowKey) *entry {
	i := max(slices.IndexFunc(f.entries, func(e entry) bool { return e.key == key }), 0)
	return &f.entries[i]
}

// takes reports whether the flow takes of a port's budget.
func (f *flow) takes(id dataplane.PortID) bool {
	return slices.ContainsFunc(f.entries, func(e entry) bool { return e.port == id })
}

// crosses reports whether an end is a port of this host on another network.
func (e end) crosses(vni dove.VNI) bool { return e.routed && e.where == local && e.vni != vni }

// seek finds the flow of a key, also where it began at the other end's network.
func (s *Switch) seek(key flowKey, dst end) *flow {
	if f := s.flows[key]; f != nil || !dst.crosses(key.vni) {
		return f
	}
	key.vni = dst.vni
	return s.flows[key]
}
