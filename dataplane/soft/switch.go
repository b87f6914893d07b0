package soft

import (
	"bytes"
	"net/netip"
	"sync"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/verdict"
)

// Limits bound what guests can make a switch hold and report.
type Limits struct {
	Flows        int // entries of the flow table
	FlowsPerPort int // of these, begun at one port
	MissBurst    int // misses of one port at once
	MissRate     int // misses of one port a second, lastingly
	FlowErrors   int // ICMP errors about one flow, at once and a second

	Turn time.Duration // how long missed packets may hold up those behind them, 0: as long as they are out
}

// DefaultLimits is what New starts with.
var DefaultLimits = Limits{Flows: 65536, FlowsPerPort: 16384, MissBurst: 64, MissRate: 1000, FlowErrors: 10, Turn: dataplane.TurnFor}

// Sent is what became of an injected packet.
type Sent struct {
	Outcome dataplane.Outcome
	Frame   []byte // what left, nil if nothing did
}

// Switch switches frames by what ops told it. Its methods may be called from
// several goroutines; packets and ops take turns.
type Switch struct {
	config dataplane.Config
	clock  func() time.Time

	mu          sync.Mutex
	limits      Limits
	networks    map[dove.VNI]dataplane.Network
	vteps       map[netip.Addr]dataplane.SetVTEP
	ports       map[dataplane.PortID]*port
	locals      map[dataplane.PeerKey]end // addresses of ports
	peers       map[dataplane.PeerKey]end
	gateways    map[dataplane.PeerKey]end // addresses of routers
	absent      map[dataplane.PeerKey]absence
	pairs       map[dataplane.PairKey]*verdict.Table
	denied      map[dataplane.PairKey]bool // their table was asked about, and denies all the same
	shadows     map[shade]*shadow
	flows       map[flowKey]*flow
	pieces      map[pieceKey]piece // first fragments
	turns       map[turnKey]turn   // of missed packets
	unconfirmed int                // of these

	ledger   ledger
	misses   []dataplane.Miss
	claims   []dataplane.Claim
	injected []Sent
}

var _ dataplane.Switch = (*Switch)(nil)

// New makes a switch that holds nothing. Clock says the time, by which flows,
// absent marks and limits age.
func New(config dataplane.Config, clock func() time.Time) *Switch {
	return &Switch{
		config:   config,
		clock:    clock,
		limits:   DefaultLimits,
		networks: map[dove.VNI]dataplane.Network{},
		vteps:    map[netip.Addr]dataplane.SetVTEP{},
		ports:    map[dataplane.PortID]*port{},
		locals:   map[dataplane.PeerKey]end{},
		peers:    map[dataplane.PeerKey]end{},
		gateways: map[dataplane.PeerKey]end{},
		absent:   map[dataplane.PeerKey]absence{},
		pairs:    map[dataplane.PairKey]*verdict.Table{},
		denied:   map[dataplane.PairKey]bool{},
		shadows:  map[shade]*shadow{},
		flows:    map[flowKey]*flow{},
		pieces:   map[pieceKey]piece{},
		turns:    map[turnKey]turn{},
		ledger:   newLedger(),
	}
}

// SetLimits changes the limits for packets to come.
func (s *Switch) SetLimits(l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = l
}

// FromGuest switches a frame that a guest sent on a port. It returns the frame
// that leaves: to the port of a Delivered or Answered outcome, or with outer
// headers (MACs zero) to the VTEP of a Tunneled one. Where the packet is dropped
// as TooBig, TTLExpired, NoEndpoint or NoRoute, it is the ICMP message to its sender, if one
// is due. Of several ports with one Ifindex, that of id say, the frame's VLAN tag says
// whose it is. The frame given is not kept.
func (s *Switch) FromGuest(id dataplane.PortID, frame []byte) (dataplane.Outcome, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.arrival(id, frame)
	if !ok && t.port != nil {
		return s.drop(t, dataplane.UnknownTag, "")
	}
	return s.send(t)
}

// FromWire switches a frame that the underlay's device received. It returns the
// inner frame that leaves to the port of a Delivered outcome. The frame given is
// not kept.
func (s *Switch) FromWire(frame []byte) (dataplane.Outcome, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.receive(&transit{direction: dataplane.FromOverlay, frame: frame})
}

// Inject implements dataplane.Switch. What becomes of the packet, a drop or
// another miss too, is in TakeInjected. It never fails.
func (s *Switch) Inject(m dataplane.Miss) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &transit{direction: m.Direction, frame: m.Frame, again: true, lacked: m.Want}
	var sent Sent
	switch p := s.ports[m.Port]; {
	case p == nil || p.VNI != m.Tuple.VNI: // gone, or on another network now
		t.tuple = m.Tuple
		sent.Outcome, _ = s.drop(t, dataplane.NoPort, "")
	case m.Direction == dataplane.FromGuest:
		t.inner, t.port = m.Frame, p
		sent.Outcome, sent.Frame = s.send(t)
	default:
		t.missed = p
		sent.Outcome, sent.Frame = s.receive(t)
	}
	s.injected = append(s.injected, sent)
	s.yield(m)
	return nil
}

// TakeMisses returns the misses since the last call, oldest first.
func (s *Switch) TakeMisses() []dataplane.Miss {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.misses
	s.misses = nil
	return taken
}

// TakeHints returns the sampled hints since the last call, oldest first.
func (s *Switch) TakeHints() []dataplane.Hint {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.ledger.hints
	s.ledger.hints = nil
	return taken
}

// TakeClaims returns the claims since the last call, oldest first.
func (s *Switch) TakeClaims() []dataplane.Claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.claims
	s.claims = nil
	return taken
}

// TakeInjected returns what became of the packets injected since the last call,
// in their order.
func (s *Switch) TakeInjected() []Sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.injected
	s.injected = nil
	return taken
}

// transit is one packet on its way through the switch.
type transit struct {
	packet.Packet
	direction dataplane.Direction
	frame     []byte       // as it arrived
	inner     []byte       // the guest's frame
	outer     packet.Outer // from the overlay
	port      *port        // the local port: sender, or from the overlay receiver
	tuple     dataplane.Tuple
	judged    piece
	told      said  // what is to be told of it
	answers   bool  // it answers its flow's initiator
	again     bool  // injected, after it missed for lacked
	missed    *port // where it did
	lacked    dataplane.Want
}

// parse reads the guest's frame.
func (t *transit) parse(vni dove.VNI) packet.Fault {
	p, fault := packet.Parse(t.inner)
	t.Packet = p
	t.tuple = dataplane.Tuple{VNI: vni, Src: p.Src, Dst: p.Dst, Protocol: p.Protocol, SrcPort: p.SrcPort, DstPort: p.DstPort}
	return fault
}

// tooBig reports whether the guest's packet exceeds an MTU.
func (t *transit) tooBig(mtu uint16) bool { return len(t.inner)-14 > int(mtu) }

var reasons = map[packet.Fault]dataplane.Reason{
	packet.Malformed:       dataplane.Malformed,
	packet.NotIP:           dataplane.NotIP,
	packet.NotUnicast:      dataplane.NotUnicast,
	packet.Fragment:        dataplane.Fragment,
	packet.ExtensionHeader: dataplane.ExtensionHeader,
	packet.BadOverlay:      dataplane.BadOverlay,
}

func (s *Switch) fromGuest(t *transit) (dataplane.Outcome, []byte) {
	if t.port == nil {
		return s.drop(t, dataplane.NoPort, "")
	}
	if fault := t.parse(t.port.VNI); fault != packet.OK {
		return s.drop(t, reasons[fault], "")
	}
	src, ok := s.source(t)
	if t.spoofsMAC(src, ok) {
		return s.drop(t, dataplane.SpoofedMAC, "")
	}
	probe := t.Kind == packet.Solicit && t.Src.IsLinkLocalUnicast() // nothing is learnt from it
	if !probe && !ok {
		return s.drop(t, dataplane.SpoofedAddress, "")
	}
	switch {
	case t.Announces:
		return s.claim(t)
	case t.Kind != packet.IP:
		return s.answer(t)
	}
	if n := s.networks[t.port.VNI]; t.tooBig(n.MTU) {
		return s.refuse(t, dataplane.TooBig, n.MTU)
	}
	dst, ok := s.find(t.port.VNI, t.Dst)
	switch {
	case !ok:
		return s.unknown(t, t.Dst)
	case dst.where == router:
		return s.pong(t, dst)
	case dst.routed && t.TTL <= 1:
		return s.refuse(t, dataplane.TTLExpired, 0)
	case dst.routed && dst.mtu != 0 && t.tooBig(dst.mtu):
		return s.refuse(t, dataplane.TooBig, dst.mtu)
	}
	return s.judge(t, src, s.wayTo(t, dst))
}

// answer tells a guest the MAC that it asks for by ARP or ND.
func (s *Switch) answer(t *transit) (dataplane.Outcome, []byte) {
	target, ok := s.find(t.port.VNI, t.Dst)
	switch {
	case !ok:
		return s.unknown(t, t.Dst)
	case target.port == t.port.ID:
		return s.drop(t, dataplane.NotUnicast, "")
	}
	mac := target.mac
	if target.routed {
		mac = target.gateway
	}
	return dataplane.Outcome{Action: dataplane.Answered, Port: t.port.ID}, packet.Answer(t.Packet, mac)
}

func (s *Switch) fromWire(t *transit) (dataplane.Outcome, []byte) {
	outer, inner, fault := packet.Decap(t.frame)
	t.outer, t.inner = outer, inner
	t.tuple.VNI = outer.VNI
	network, known := s.networks[outer.VNI]
	vtep, admitted := s.vteps[outer.Src]
	switch {
	case fault == packet.NotOverlay || outer.Dst != s.config.VTEP:
		return dataplane.Outcome{Action: dataplane.Passed}, nil
	case !admitted:
		return s.drop(t, dataplane.UnknownVTEP, "")
	case fault != packet.OK:
		return s.drop(t, reasons[fault], "")
	case outer.Class == packet.NoClass && !vtep.Foreign:
		return s.drop(t, dataplane.BadOverlay, "")
	case !known:
		return s.drop(t, dataplane.UnknownNetwork, "")
	}
	if fault := t.parse(outer.VNI); fault != packet.OK {
		return s.drop(t, reasons[fault], "")
	}
	if t.Kind != packet.IP {
		if vtep.Foreign && !outer.Applied && !t.Announces {
			return s.answerBack(t, vtep)
		}
		return s.drop(t, dataplane.NotUnicast, "")
	}
	if packet.Unmarkable(t.TOS, outer.TOS) {
		return s.drop(t, dataplane.Congested, "")
	}
	dst, ok := s.find(outer.VNI, t.Dst)
	if !ok || !dst.plugged() || dst.routed {
		if t.again {
			dst, ok = t.missed.permits(t.Dst)
		} else {
			dst, ok = s.byMAC(outer.VNI, t.DstMAC, t.Dst)
		}
	}
	switch {
	case outer.Applied && !(ok && dst.plugged() && !dst.routed && dst.other == outer.Src):
		return s.drop(t, dataplane.BadOverlay, "")
	case !ok || !dst.plugged() || dst.routed:
		return s.drop(t, dataplane.NotHere, "")
	}
	t.port = s.ports[dst.port]
	if t.tooBig(network.MTU) {
		return s.drop(t, dataplane.TooBig, "")
	}
	if outer.Applied {
		return s.handed(t, dst)
	}
	src, ok := s.find(outer.VNI, t.Src)
	if ok {
		src = s.wayFrom(t, src)
	}
	switch {
	case !ok:
		return s.unknown(t, t.Src)
	case src.where == router:
		return s.drop(t, dataplane.SourceMismatch, "")
	case !src.cameFrom(outer.Src):
		return s.miss(t, dataplane.WantConfirm)
	}
	o, left := s.judge(t, src, dst)
	if src.class != outer.Class && !(src.where == remote && src.vtep == outer.Src && vtep.Foreign) {
		o.Hinted = true
		s.ledger.hint(dataplane.Hint{Port: t.port.ID, Tuple: t.tuple}, s.clock())
	}
	return o, left
}

// unknown deals with a packet from or to an address that the switch knows no
// end for: nobody has it, or it must be asked for.
func (s *Switch) unknown(t *transit, addr netip.Addr) (dataplane.Outcome, []byte) {
	if _, routed := s.asked(t); routed && t.TTL <= 1 {
		return s.refuse(t, dataplane.TTLExpired, 0)
	}
	if a, ok := s.absent[dataplane.PeerKey{VNI: t.port.VNI, Addr: addr}]; ok && s.clock().Before(a.until) {
		return s.refuse(t, a.reason(), 0)
	}
	return s.miss(t, dataplane.WantPeer)
}

// miss hands a packet to the agent, or ends it if the agent has already had it
// for the same want.
func (s *Switch) miss(t *transit, want dataplane.Want) (dataplane.Outcome, []byte) {
	if t.again && t.lacked == want {
		switch want {
		case dataplane.WantPair:
			return s.drop(t, dataplane.Policy, verdict.DefaultDeny)
		case dataplane.WantConfirm:
			return s.drop(t, dataplane.SourceMismatch, "")
		case dataplane.WantFirst:
			return s.drop(t, dataplane.Fragment, "")
		}
		return s.drop(t, dataplane.NoEndpoint, "")
	}
	limits := s.limits
	if want == dataplane.WantFirst || want == dataplane.WantDenial {
		limits.MissBurst /= 4 // a peer that policy forbids can send these too
	}
	if !t.port.bucket.take(s.clock(), limits) {
		return s.drop(t, dataplane.MissLimit, "")
	}
	m := dataplane.Miss{
		Port: t.port.ID, Direction: t.direction, Want: want, Tuple: t.tuple,
		Local: t.Src, Peer: t.Dst, Frame: bytes.Clone(t.frame),
	}
	if t.direction == dataplane.FromOverlay {
		m.Local, m.Peer = t.Dst, t.Src
	}
	s.misses = append(s.misses, m)
	s.queue(m)
	return dataplane.Outcome{Action: dataplane.Missed, Want: want}, nil
}

// forward sends a packet that may pass to its destination. Rule is what allowed
// a new flow.
func (s *Switch) forward(t *transit, src, dst end, rule string) (dataplane.Outcome, []byte) {
	if t.Piece == packet.First {
		s.pieces[pieceKeyOf(t)] = t.judged
	}
	inner := t.arrived(dst)
	t.route(inner, src, dst)
	if dst.where == local {
		o := dataplane.Outcome{Action: dataplane.Delivered, Rule: rule, Port: dst.port}
		s.tell(t, &o)
		return o, inner
	}
	outer := packet.Outer{
		Src: s.config.VTEP, Dst: dst.vtep, SrcPort: t.SourcePort(), VNI: dst.vni, Class: src.class,
		TOS: s.config.DSCP.TOS(packet.Marked(t.TOS, t.outer.TOS)), Applied: t.direction == dataplane.FromOverlay,
	}
	if dst.where == remote && s.vteps[dst.vtep].Plain && !outer.Applied {
		outer.Class = packet.NoClass
	}
	o := dataplane.Outcome{
		Action: dataplane.Tunneled, Rule: rule, VTEP: dst.vtep, VNI: outer.VNI, Class: src.class,
	}
	s.tell(t, &o)
	return o, outer.Encap(inner)
}
