package soft

import (
	"maps"
	"net/netip"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

// flowKey names a flow alike in both directions: lo is the lesser of its two
// sides by address, then port.
type flowKey struct {
	vni      dove.VNI // of the local port
	protocol dove.Protocol
	lo, hi   side
}

type side struct {
	addr netip.Addr
	port uint16
}

func (a side) less(b side) bool {
	return a.addr.Less(b.addr) || a.addr == b.addr && a.port < b.port
}

// flow is a conversation that policy allowed when it began.
type flow struct {
	initiator, responder side
	uids                 [2]dove.UID // of initiator and responder
	entries              []entry
	last                 time.Time // when a packet of it last passed
	replied              bool      // the responder has sent a packet
	syn                  bool      // it began with the first packet of a TCP connection
	confirmed            bool      // replied, and after syn the initiator went on
	fin                  [2]bool   // initiator, responder: TCP FIN sent
	reset                bool      // TCP RST sent
	rule                 string    // what allows it
	said                 said      // what of that is to be told
	errors               bucket    // of ICMP errors about it
	packets, bytes       uint64
}

// keyOf returns the key of a packet's flow and the packet's own two sides.
func keyOf(t dataplane.Tuple) (key flowKey, src, dst side) {
	src, dst = side{t.Src, t.SrcPort}, side{t.Dst, t.DstPort}
	if src.less(dst) {
		return flowKey{t.VNI, t.Protocol, src, dst}, src, dst
	}
	return flowKey{t.VNI, t.Protocol, dst, src}, src, dst
}

func (f *flow) closed() bool { return f.reset || f.fin[0] && f.fin[1] }

func (f *flow) expired(p dove.Protocol, now time.Time) bool {
	return now.Sub(f.last) > dataplane.FlowState{Tuple: dataplane.Tuple{Protocol: p}, State: f.bits()}.TimeOut()
}

// note takes a packet that passed into the flow's state.
func (s *Switch) note(f *flow, t *transit, fromInitiator bool, now time.Time) {
	sender := 1
	if fromInitiator {
		sender = 0
	}
	f.replied = f.replied || !fromInitiator
	if f.replied && !f.confirmed && (!f.syn || fromInitiator && t.Flags&packet.SYN == 0) {
		f.confirmed = true
		for _, e := range f.entries {
			s.unconfirmed--
			s.ports[e.port].unconfirmed--
		}
	}
	f.fin[sender] = f.fin[sender] || t.Flags&packet.FIN != 0
	f.reset = f.reset || t.Flags&packet.RST != 0
	f.last = now
	f.packets++
	f.bytes += uint64(len(t.inner))
}

// judge decides a packet between two known ends: whether it belongs to a flow,
// whether policy allows it today, and whither it goes.
func (s *Switch) judge(t *transit, src, dst end) (dataplane.Outcome, []byte) {
	if t.About.Valid {
		if o, frame, ok := s.about(t, src, dst); ok {
			return o, frame
		}
	}
	if t.Piece == packet.Later {
		return s.later(t, src, dst)
	}
	now := s.clock()
	key, from, to := keyOf(t.tuple)
	f := s.seek(key, dst)
	if f != nil && !f.joins(from, src.uid, dst.uid) {
		s.forget(f)
		f = nil
	}

	// A live flow is always judged in its initiator's direction, and by what
	// its first packet asked for. Everything else is judged as it comes.
	live := f != nil && !f.expired(t.Protocol, now)
	fromInitiator := !live || f.initiator == from
	if live && (t.Echo == packet.Request && !fromInitiator || t.Echo == packet.Reply && fromInitiator) {
		return s.drop(t, dataplane.BadReply, "")
	}
	if live && t.Flags&(packet.SYN|packet.ACK) == packet.SYN && (!fromInitiator || f.closed()) {
		live, fromInitiator = false, true
	}
	// What waits between the two is overtaken by nothing but flows that have no
	// packet there.
	waits, any := s.behind(t.tuple)
	joins := !live || f.entry(key).open
	if waits && joins && !t.again {
		return s.miss(t, dataplane.WantTurn)
	}
	open := t.again || any && joins
	q := question{asked: t.DstPort, own: t.own(), protocol: t.Protocol, ownProtocol: t.Protocol, answers: !fromInitiator, backwards: !fromInitiator, tells: true}
	switch {
	case !fromInitiator:
		q.asked = t.SrcPort
	case t.Echo == packet.Reply:
		q.asked = t.TypeCode
	}
	r, o, refused := s.ask(t, src, dst, q)
	if refused {
		return o, nil
	}
	if r.byOwn {
		live, fromInitiator = false, true // it would not pass by its flow
	}
	if live && f.said == r.said {
		t.told = said{} // it was
	}
	rule := r.rule
	t.judged = piece{t.Protocol, q.asked, q.own, [2]dove.UID{src.uid, dst.uid}, now, !fromInitiator}
	switch {
	case live:
		if s.flows[key] == nil { // it began at the other end
			if full := s.room(t.port, f.confirmed); full != dataplane.NotDropped {
				return s.drop(t, full, "")
			}
			s.enter(key, f, t.port)
		}
		f.rule, f.said = rule, r.said
		f.entry(key).open = open
		s.note(f, t, fromInitiator, now)
		return s.forward(t, src, dst, "")
	case t.Protocol.IsICMP() && t.Echo != packet.Request:
		return s.forward(t, src, dst, rule) // begins no flow
	}
	if f != nil {
		s.forget(f)
	}
	if full := s.room(t.port, false); full != dataplane.NotDropped {
		return s.drop(t, full, "")
	}
	f = &flow{
		initiator: from, responder: to, uids: [2]dove.UID{src.uid, dst.uid}, rule: rule, said: r.said,
		syn: t.Flags&(packet.SYN|packet.ACK) == packet.SYN,
	}
	s.enter(key, f, t.port)
	f.entry(key).open = open
	s.note(f, t, true, now)
	return s.forward(t, src, dst, rule)
}

// doubts reports whether a denial is to be asked about before it counts: the
// sender's host has let the packet out, and the table was not asked about.
func (s *Switch) doubts(t *transit, pair dataplane.PairKey) bool {
	if t.direction != dataplane.FromOverlay || s.denied[pair] || s.vteps[t.outer.Src].Foreign {
		return false
	}
	s.denied[pair] = t.again && t.lacked != dataplane.WantTurn && t.lacked != dataplane.WantFirst
	return !s.denied[pair]
}

// joins reports whether the flow is between these lives of its ends, src being
// at the side from.
func (f *flow) joins(from side, src, dst dove.UID) bool {
	if f.initiator != from {
		src, dst = dst, src
	}
	return f.uids == [2]dove.UID{src, dst}
}

// room says why no further flow may begin at a port, or NotDropped. Half of
// each limit is kept for flows that both ends take part in, confirmed ones.
func (s *Switch) room(p *port, confirmed bool) dataplane.Reason {
	if p.flows >= s.limits.FlowsPerPort || !confirmed && p.unconfirmed >= (s.limits.FlowsPerPort+1)/2 {
		return dataplane.FlowBudget
	}
	flows, unconfirmed := 1, 1 // of the domain, with the one that is to begin
	for _, o := range s.ports {
		if s.networks[o.VNI].Domain == s.networks[p.VNI].Domain {
			flows += o.flows
			unconfirmed += o.unconfirmed
		}
	}
	if flows > dataplane.SharePart*(s.limits.Flows-len(s.flows)-1) ||
		!confirmed && unconfirmed > dataplane.SharePart*((s.limits.Flows+1)/2-s.unconfirmed-1) {
		return dataplane.FlowTableFull
	}
	return dataplane.NotDropped
}

// enter puts a flow into the table and counts it at a port.
func (s *Switch) enter(key flowKey, f *flow, p *port) {
	s.flows[key] = f
	f.entries = append(f.entries, entry{key: key, port: p.ID})
	s.charge(p.ID, f, 1)
}

// charge takes places in a port's budget for a flow, or gives them back.
func (s *Switch) charge(id dataplane.PortID, f *flow, places int) {
	p := s.ports[id]
	if p != nil {
		p.flows += places
	}
	if !f.confirmed {
		s.unconfirmed += places
		if p != nil {
			p.unconfirmed += places
		}
	}
}

// forget deletes a flow and gives its places in ports' budgets back.
func (s *Switch) forget(f *flow) {
	for _, e := range f.entries {
		delete(s.flows, e.key)
		s.charge(e.port, f, -1)
	}
}

// Expire deletes flows and absent marks whose time is over. They have no effect
// before either, but take up room.
func (s *Switch) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	for key, f := range s.flows {
		if f.expired(key.protocol, now) {
			s.forget(f)
		}
	}
	maps.DeleteFunc(s.pieces, func(_ pieceKey, p piece) bool { return now.Sub(p.at) > pieceLives })
	for key, a := range s.absent {
		if !now.Before(a.until) {
			delete(s.absent, key)
		}
	}
	s.ledger.expire(now)
}
