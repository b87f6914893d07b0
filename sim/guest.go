package sim

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"dove.network/agent"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/scenario"
	"dove.network/world"
)

// guest is a workload: it resolves addresses by ARP and neighbour discovery as
// its kernel would, and answers whoever reaches it, by its own name.
type guest struct {
	sim       *Sim
	serial    uint64 // its own name in a packet
	endpoint  dove.Endpoint
	uid       dove.UID
	on        dove.Network
	mac       dove.MAC
	addresses []netip.Addr
	allowed   []netip.Prefix
	device    string
	vlan      uint16        // of a sub-port: the tag of its frames on its parent's device
	host      *host         // where it sends; nil while it is not plugged in
	twin      *host         // where it has another device, while it moves
	ifindexes map[*host]int // of its devices
	neighbors map[netip.Addr]dove.MAC
	waiting   map[netip.Addr][]func(dove.MAC) // for the MAC of an address
	pieces    map[uint32][]byte               // of packets that are not whole yet, in order
	sent      uint32                          // packets that were cut up
	whole     bool                            // it cuts up nothing
	mtu       int                             // that it was told last, 0 for none
}

// Plug brings up a device of an endpoint on each host that it is bound to; where
// it has one and is not bound, that disappears. The guest goes on where it is, if
// it may.
func (s *Sim) Plug(e world.Endpoint) {
	g := s.guests[e.Full()]
	if g == nil || g.uid != e.UID {
		s.Unplug(e.Full())
		s.serial++
		g = &guest{sim: s, serial: s.serial, endpoint: e.Full(), uid: e.UID}
		s.guests[e.Full()] = g
	}
	s.Retract(e)
	g.on, g.mac, g.addresses, g.device = e.NetworkOf(), e.MAC, e.Addresses, e.Device
	g.allowed = nil
	for _, a := range e.Allowed {
		g.allowed = append(g.allowed, a.Prefix)
	}
	if g.device == "" {
		g.device = agent.DefaultDevices(e.ID)[1]
	}
	if e.Parent != "" {
		parent := s.guests[e.ParentOf()]
		if parent == nil {
			panic(fmt.Sprintf("sim: %s is plugged in before its parent", e.Full()))
		}
		g.device, g.vlan = parent.device, e.VLAN
	}
	for _, name := range e.Bindings() {
		h := s.host(name)
		switch {
		case g.host == h || g.twin == h:
			continue
		case h.devices[g.slot()] != nil:
			panic(fmt.Sprintf("sim: %s has a device %s already, of %s", h.name, g.slot().device, h.devices[g.slot()].endpoint))
		case g.host == nil:
			g.host, g.neighbors, g.waiting = h, map[netip.Addr]dove.MAC{}, map[netip.Addr][]func(dove.MAC){}
		default:
			g.twin = h
		}
		h.devices[g.slot()] = g
		if g.vlan != 0 {
			continue // the device is its parent's
		}
		h.ifindex++
		if g.ifindexes == nil {
			g.ifindexes = map[*host]int{}
		}
		g.ifindexes[h] = h.ifindex
		h.react(agent.DeviceUp{Device: g.link(h)})
	}
}

// Retract takes an endpoint's devices away where it is not bound.
func (s *Sim) Retract(e world.Endpoint) {
	g := s.guests[e.Full()]
	if g == nil {
		return
	}
	if t := g.twin; t != nil && !e.BoundTo(t.name) {
		g.twin = nil
		g.gone(t)
	}
	if h := g.host; h != nil && !e.BoundTo(h.name) {
		g.host, g.twin = g.twin, nil
		g.gone(h)
	}
}

// GoOn has the guest of an endpoint send from the host where that is active.
func (s *Sim) GoOn(e world.Endpoint) {
	if g := s.guests[e.Full()]; g.twin != nil && g.twin.name == e.Host {
		g.host, g.twin = g.twin, g.host
	}
}

// Unplug takes the devices of an endpoint away, if there are any.
func (s *Sim) Unplug(e dove.Endpoint) {
	g := s.guests[e]
	if g == nil {
		return
	}
	h, t := g.host, g.twin
	g.host, g.twin = nil, nil
	for _, h := range []*host{h, t} {
		if h != nil {
			g.gone(h)
		}
	}
}

// gone takes the guest's device on a host away.
func (g *guest) gone(h *host) {
	delete(h.devices, g.slot())
	if g.vlan == 0 {
		h.react(agent.DeviceGone{Name: g.device})
	}
}

// slot is where a guest is on a host: a device, or a VLAN of one.
type slot struct {
	device string
	vlan   uint16
}

func (g *guest) slot() slot { return slot{g.device, g.vlan} }

// Plugged reports whether an endpoint has a device on the host where it is
// active, and sends from a host that it is bound to.
func (s *Sim) Plugged(name dove.Endpoint) bool {
	e, ok := s.World().Endpoint(name)
	g := s.plugged(name)
	return ok && g != nil && g.uid == e.UID && e.BoundTo(g.host.name) && (g.host.name == e.Host || g.twin != nil && g.twin.name == e.Host)
}

// TakenOver says why a move is not as far that its next step loses nothing: the
// host that it goes to does not have the flows. "" if it has.
func (s *Sim) TakenOver(e world.Endpoint) string {
	to := e.Other(e.Source())
	for _, status := range s.sessionsOf(to) {
		for _, u := range status.Endpoints {
			if u.Endpoint == e.Full() && u.Epoch == e.Epoch && u.State == control.EndpointActive && u.Carried {
				return ""
			}
		}
	}
	return fmt.Sprintf("%s has not taken over the flows of %s from %s", to, e.Full(), e.Source())
}

// plugged returns the guest of an endpoint, nil if it has no device anywhere.
func (s *Sim) plugged(e dove.Endpoint) *guest {
	if g := s.guests[e]; g != nil && g.host != nil {
		return g
	}
	return nil
}

// send lets frame make a frame for an address once its MAC is known, and sends it.
func (g *guest) send(src, dst netip.Addr, frame func(packet.Ends) []byte) {
	ends := packet.Ends{SrcMAC: g.mac, Src: src, Dst: dst}
	dst = g.next(dst)
	ready := func(mac dove.MAC) {
		ends.DstMAC = mac
		g.emit(frame(ends))
	}
	if mac, known := g.neighbors[dst]; known {
		ready(mac)
		return
	}
	g.waiting[dst] = append(g.waiting[dst], ready)
	if src.Is4() {
		g.emit(packet.ARPRequest(g.mac, src, dst))
	} else {
		g.emit(packet.Solicitation(g.mac, src, dst))
	}
}

// next is where a packet for an address goes first: to itself if it is on a
// subnet of the guest's network, else to the router that leads there, as an operator
// would have written it down; to itself where there is none.
func (g *guest) next(dst netip.Addr) netip.Addr {
	w := g.sim.World()
	e, _ := w.Endpoint(g.endpoint)
	n, ok := w.Network(e.NetworkOf())
	if !ok || slices.ContainsFunc(n.Subnets, func(s netip.Prefix) bool { return s.Contains(dst) }) {
		return dst
	}
	gateway := dst
	for r := range w.RoutersOn(n.Full()) {
		near, _ := r.On(n.Name)
		at := slices.IndexFunc(near.Gateways(n), func(a netip.Addr) bool { return a.Is4() == dst.Is4() })
		if at < 0 {
			continue
		}
		leads := false
		for _, f := range r.Interfaces {
			far, _ := w.Network(r.NetworkOf(f))
			leads = leads || slices.ContainsFunc(far.Subnets, func(s netip.Prefix) bool { return s.Contains(dst) })
		}
		if leads || gateway == dst {
			gateway = near.Gateways(n)[at]
		}
		if leads {
			break
		}
	}
	return gateway
}

// takes reports whether the guest has an address, or takes it for its own since it
// is allowed it.
func (g *guest) takes(addr netip.Addr) bool {
	return slices.Contains(g.addresses, addr) || slices.ContainsFunc(g.allowed, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// emit hands a frame to the switch, in pieces if it is larger than the MTU.
func (g *guest) emit(frame []byte) {
	for _, frame := range g.cut(frame) {
		g.sim.soon(func() {
			if g.host != nil {
				g.host.fromGuest(g.slot(), frame)
			}
		})
	}
}

// receive takes a frame that the switch delivered.
func (g *guest) receive(frame []byte) {
	p, fault := packet.Parse(frame)
	if fault == packet.NotUnicast && (p.Kind == packet.ARP || p.Protocol == dove.ProtocolICMPv6) {
		g.neighbors[p.Src] = p.Sender
		for _, ready := range g.waiting[p.Src] {
			ready(p.Sender)
		}
		delete(g.waiting, p.Src)
		return
	}
	if fault != packet.OK || p.Kind != packet.IP || p.DstMAC != g.mac || !g.takes(p.Dst) {
		g.sim.fault("%s is given a frame that is not for it: %+v (%s)", g.endpoint, p, fault)
		return
	}
	if p.Piece != packet.Whole {
		if whole := g.join(frame, p); whole != nil {
			g.receive(whole)
		}
		return
	}
	if mtu := toldMTU(frame, p); mtu > 0 {
		g.mtu = mtu
		return
	}
	m, ok := markOf(frame)
	x := g.sim.talks[m.talk]
	if !ok || x == nil {
		return // nobody watches it any more
	}
	if x.from == g && m.sender != g.serial {
		x.answered = append(x.answered, m.sender)
		return
	}
	if len(x.reached) == 0 {
		x.at[1] = g.stand()
	}
	x.reached = append(x.reached, g)
	if x.from == nil || m.sender != x.from.serial {
		return // an answer that went astray is not answered
	}
	if answer := answerTo(p); answer != nil && !x.silent {
		reply := mark{m.talk, g.serial}
		g.send(p.Dst, p.Src, func(e packet.Ends) []byte { return answer(e, reply.fill(x.size)) })
	}
}

// answerTo returns what makes the answer to a packet, nil if there is none.
func answerTo(p packet.Packet) func(packet.Ends, []byte) []byte {
	switch {
	case p.Protocol == dove.ProtocolTCP:
		flags := packet.ACK | packet.PSH
		switch {
		case p.Flags&(packet.RST|packet.FIN) != 0:
			return nil
		case p.Flags&packet.SYN != 0:
			flags = packet.SYN | packet.ACK
		}
		return func(e packet.Ends, b []byte) []byte { return packet.TCP(e, p.DstPort, p.SrcPort, flags, b) }
	case p.Protocol == dove.ProtocolUDP:
		return func(e packet.Ends, b []byte) []byte { return packet.UDP(e, p.DstPort, p.SrcPort, b) }
	case p.Protocol == dove.ProtocolSCTP:
		return func(e packet.Ends, b []byte) []byte { return packet.SCTP(e, p.DstPort, p.SrcPort, b) }
	case p.Echo == packet.Request && p.TypeCode&255 == 0:
		return func(e packet.Ends, b []byte) []byte { return packet.EchoReply(e, p.SrcPort, 1, b) }
	case p.Protocol.IsICMP():
		return nil // neither a request nor an error is answered
	}
	return func(e packet.Ends, b []byte) []byte { return packet.Other(e, p.Protocol, b) }
}

// answerable reports whether the probe's packet is one that guests answer.
func answerable(protocol dove.Protocol, port uint16) bool {
	return !protocol.IsICMP() || port == 8<<8 && protocol == dove.ProtocolICMP || port == 128<<8 && protocol == dove.ProtocolICMPv6
}

// request makes the packet of a probe: the first of a conversation, or with
// later one that goes on with it.
func request(p scenario.Probe, later bool, sport uint16) func(packet.Ends, []byte) []byte {
	return func(e packet.Ends, b []byte) []byte {
		protocol, port, ok := p.Over(e.Dst)
		switch {
		case !ok:
			panic(fmt.Sprintf("sim: %s does not exist between %s and %s", p, e.Src, e.Dst))
		case protocol == dove.ProtocolTCP && later:
			return packet.TCP(e, sport, port, packet.ACK|packet.PSH, b)
		case protocol == dove.ProtocolTCP:
			return packet.TCP(e, sport, port, packet.SYN, b)
		case protocol == dove.ProtocolUDP:
			return packet.UDP(e, sport, port, b)
		case protocol == dove.ProtocolSCTP:
			return packet.SCTP(e, sport, port, b)
		case protocol.IsICMP():
			return packet.ICMP(e, uint8(port>>8), uint8(port), uint32(sport)<<16, b)
		}
		return packet.Other(e, protocol, b)
	}
}

// mark ends the payload of every packet that guests exchange: the number of the
// exchange, and who sent it.
type mark struct{ talk, sender uint64 }

const markSize = 16

func (m mark) bytes() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, m.talk), m.sender)
}

// fill says the mark over and over, in at least size bytes of which the last are a whole one.
func (m mark) fill(size uint16) []byte {
	b := m.bytes()
	for len(b) < int(size) {
		b = append(b, m.bytes()...)
	}
	return b
}

func markOf(frame []byte) (mark, bool) {
	if len(frame) < markSize {
		return mark{}, false
	}
	b := frame[len(frame)-markSize:]
	return mark{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, true
}
