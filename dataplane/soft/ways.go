package soft

import (
	"net/netip"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

// endOf is a way of a peer as the end that its packets go to.
func (s *Switch) endOf(k dataplane.PeerKey, p dataplane.Peer) end {
	e := end{
		where: remote, uid: p.UID, mac: p.MAC, class: p.Class, vtep: p.VTEP, other: p.Other,
		vni: p.Network(k), routed: p.Routed(), gateway: p.Gateway, far: p.Far, mtu: p.MTU,
	}
	switch {
	case !p.VTEP.IsValid():
		e.where = hidden
	case p.VTEP == s.config.VTEP:
		e.where = unplugged
	}
	return e
}

// furtherOf are the further ways of a peer.
func (s *Switch) furtherOf(k dataplane.PeerKey, p dataplane.Peer) (all []end) {
	for _, w := range p.Ways {
		all = append(all, s.endOf(k, dataplane.Peer{
			UID: w.UID, MAC: w.MAC, Class: w.Class, VTEP: w.VTEP,
			VNI: w.VNI, Gateway: p.Gateway, Far: w.Far, MTU: p.MTU,
		}))
	}
	return all
}

// ways are the ends that an address has, which find found: one, unless a static
// route has several next hops.
func (s *Switch) ways(e end, addr netip.Addr) []end {
	all := make([]end, 1, 1+len(e.further))
	all[0] = e
	for _, w := range e.further {
		if w.where == unplugged {
			w = s.plug(w, addr)
		}
		all = append(all, w)
	}
	return all
}

// wayTo chooses whither a guest's packet goes of several equal ways: where its
// flow goes, or its first fragment went, else by what both directions of a flow
// have in common.
func (s *Switch) wayTo(t *transit, dst end) end {
	if len(dst.further) == 0 {
		return dst
	}
	all := s.ways(dst, t.Dst)
	if took, ok := s.took(t, all, true); ok {
		return took
	}
	return all[t.draw(len(all))]
}

// wayFrom says by which of several equal ways an overlay packet came: one of those
// behind its outer source. Of several there it is that of its flow, else that of
// the inner source MAC, else the one that wayTo would choose.
func (s *Switch) wayFrom(t *transit, src end) end {
	if len(src.further) == 0 {
		return src
	}
	all := s.ways(src, t.Src)
	took, live := s.took(t, all, false)
	drawn, best, most := t.draw(len(all)), 0, 0
	for i, w := range all {
		rank := 0
		switch {
		case !w.cameFrom(t.outer.Src):
			continue
		case w.where == hidden:
			rank = 1
		default:
			rank = 2
			if live && w.uid == took.uid {
				rank += 8
			}
			if tail(w.mac) == tail(t.SrcMAC) {
				rank += 4
			}
			if i == drawn {
				rank += 2
			}
		}
		if rank > most {
			best, most = i, rank
		}
	}
	return all[best]
}

// tail is what of an inner source MAC tells the ways behind one VTEP apart: more of
// it does not come back from the agent.
func tail(mac dove.MAC) [2]byte { return [2]byte(mac[4:]) }

// draw chooses one of several for a packet's flow.
func (t *transit) draw(n int) int { return int(t.SourcePort()&0x3fff) * n >> 14 }

// took is the way that a packet's flow takes to or from one of its ends, or that
// its first fragment took.
func (s *Switch) took(t *transit, all []end, target bool) (end, bool) {
	now := s.clock()
	if t.Piece == packet.Later {
		first, ok := s.pieces[pieceKeyOf(t)]
		if !ok || now.Sub(first.at) > pieceLives {
			return end{}, false
		}
		if target {
			return ofLife(all, first.uids[1])
		}
		return ofLife(all, first.uids[0])
	}
	tuples := []dataplane.Tuple{t.tuple}
	if t.About.Valid {
		q := t.tuple
		q.Protocol, q.SrcPort, q.DstPort = t.About.Protocol, t.About.SrcPort, t.About.DstPort
		tuples = append([]dataplane.Tuple{q}, tuples...)
	}
	for _, tuple := range tuples {
		key, from, _ := keyOf(tuple)
		if f := s.flows[key]; f != nil {
			if !f.expired(key.protocol, now) {
				if w, ok := ofLife(all, f.life(from, target)); ok {
					return w, true
				}
			}
			continue
		}
		// It may have begun at the other end's network.
		for _, w := range all {
			far := key
			far.vni = w.vni
			if f := s.flows[far]; w.crosses(key.vni) && f != nil && f.life(from, target) == w.uid && !f.expired(key.protocol, now) {
				return w, true
			}
		}
	}
	return end{}, false
}

// ofLife returns the way to a life of an endpoint.
func ofLife(all []end, uid dove.UID) (end, bool) {
	for _, w := range all {
		if w.uid == uid {
			return w, true
		}
	}
	return end{}, false
}

// life returns which life an end has of a flow that a packet with this sender is of.
func (f *flow) life(from side, target bool) dove.UID {
	if target == (f.initiator == from) {
		return f.uids[1]
	}
	return f.uids[0]
}

// returns reports whether what a row routes leads to a guest's own port: then the guest
// is a next hop to the address, and sends from there what comes back.
func (s *Switch) returns(t *transit, e end) bool {
	if !e.routed {
		return false
	}
	for _, w := range s.ways(e, t.Src) {
		if w.plugged() && w.port == t.port.ID && w.vni == t.port.VNI {
			return true
		}
	}
	return false
}
