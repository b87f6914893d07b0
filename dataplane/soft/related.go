package soft

import (
	"net/netip"
	"time"

	"dove.network/dataplane"
	"dove.network/dove"
)

// about judges an ICMP error by the flow that it is about, in that flow's
// direction. It says false where there is none: then the error is judged by
// itself.
func (s *Switch) about(t *transit, src, dst end) (dataplane.Outcome, []byte, bool) {
	now := s.clock()
	q := t.tuple
	q.Protocol, q.SrcPort, q.DstPort = t.About.Protocol, t.About.SrcPort, t.About.DstPort
	key, from, _ := keyOf(q)
	f := s.seek(key, dst)
	if f == nil || !f.joins(from, src.uid, dst.uid) || f.expired(q.Protocol, now) {
		return dataplane.Outcome{}, nil, false
	}
	ask := question{asked: q.DstPort, own: t.own(), protocol: q.Protocol, ownProtocol: t.Protocol, answers: true, backwards: f.initiator != from}
	if ask.backwards {
		ask.asked = q.SrcPort
	}
	r, o, refused := s.ask(t, src, dst, ask)
	switch {
	case refused:
		return o, nil, true
	case r.byOwn:
		return o, nil, false
	}
	if !f.errors.take(now, Limits{MissBurst: s.limits.FlowErrors, MissRate: s.limits.FlowErrors}) {
		o, _ = s.drop(t, dataplane.ErrorLimit, "")
		return o, nil, true
	}
	o, frame := s.forward(t, src, dst, "")
	return o, frame, true
}

// pieceKey is what the pieces of a fragmented packet have in common.
type pieceKey struct {
	vni      dove.VNI
	src, dst netip.Addr
	id       uint32
	protocol dove.Protocol // IPv4
}

func pieceKeyOf(t *transit) pieceKey {
	k := pieceKey{t.tuple.VNI, t.Src, t.Dst, t.PieceID, t.Protocol}
	if !t.Src.Is4() {
		k.protocol = 0 // RFC 8200: the last header of a first piece may be another's
	}
	return k
}

// piece is what a first fragment was judged by.
type piece struct {
	protocol  dove.Protocol
	asked     uint16
	own       uint16      // by itself
	uids      [2]dove.UID // sender's, receiver's
	at        time.Time
	backwards bool // it answers its flow's initiator
}

// pieceLives is how long later pieces may follow a first one.
const pieceLives = time.Second

// later judges a fragment that has no transport header: as the first one was.
func (s *Switch) later(t *transit, src, dst end) (dataplane.Outcome, []byte) {
	pair := dataplane.PairKey{Domain: s.networks[t.port.VNI].Domain, Src: src.class, Dst: dst.class}
	first, ok := s.pieces[pieceKeyOf(t)]
	if !ok || s.clock().Sub(first.at) > pieceLives || first.uids != [2]dove.UID{src.uid, dst.uid} {
		// The first may be waiting for the very answer.
		if _, known := s.pairs[pair]; !known {
			return s.miss(t, dataplane.WantPair)
		}
		if waits, _ := s.behind(t.tuple); waits && !t.again {
			return s.miss(t, dataplane.WantTurn)
		}
		return s.miss(t, dataplane.WantFirst)
	}
	q := question{asked: first.asked, own: first.own, protocol: first.protocol, ownProtocol: first.protocol, answers: first.backwards, backwards: first.backwards}
	if _, o, refused := s.ask(t, src, dst, q); refused {
		return o, nil
	}
	return s.forward(t, src, dst, "")
}
