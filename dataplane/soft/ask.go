package soft

import (
	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/verdict"
)

// question is what a packet asks tables: that of its pair in the direction of its
// flow's initiator, and, if it answers, that of its own direction, where an end of
// the pair keeps no state.
type question struct {
	asked, own            uint16 // by the initiator, and by the packet itself
	protocol, ownProtocol dove.Protocol
	answers               bool // it did not begin the flow that it may pass by
	backwards             bool // its own direction is not the initiator's
	tells                 bool // it is of what begins flows, which is told where a rule wants it
}

// own is what a packet asks for by itself.
func (t *transit) own() uint16 {
	if t.Echo == packet.Reply {
		return t.TypeCode
	}
	return t.DstPort
}

// said is what of a verdict is to be told; the zero value is nothing.
type said struct {
	rule       string
	allow, log bool
	would      string
	wouldAllow bool
}

// ruling is what tables say.
type ruling struct {
	rule  string
	said  said
	byOwn bool // it is the table of the packet's own direction that decides
}

func rulingOf(t *verdict.Table, v verdict.Verdict, byOwn bool) ruling {
	r := ruling{rule: t.Name(v), byOwn: byOwn}
	if v.Log || v.Would > 0 {
		r.said = said{r.rule, v.Allow, v.Log, t.WouldName(v), v.WouldAllow}
	}
	return r
}

// ask asks the tables of two ends' classes. It returns the ruling that allows a packet
// between them, or what became of the packet.
func (s *Switch) ask(t *transit, src, dst end, q question) (r ruling, o dataplane.Outcome, refused bool) {
	own := dataplane.PairKey{Domain: s.networks[t.port.VNI].Domain, Src: src.class, Dst: dst.class}
	pair := own
	if q.backwards {
		pair.Src, pair.Dst = pair.Dst, pair.Src
	}
	table, ok := s.pairs[pair]
	if !ok {
		o, _ = s.miss(t, dataplane.WantPair)
		return r, o, true
	}
	v := table.Lookup(q.protocol, q.asked)
	r = rulingOf(table, v, false)
	if q.answers && !table.Stateful() {
		table, ok := s.pairs[own]
		if !ok {
			o, _ = s.miss(t, dataplane.WantPair)
			return r, o, true
		}
		if alone := table.Lookup(q.ownProtocol, q.own); alone.NoReply || alone.Allow && !v.Allow {
			pair, v, r = own, alone, rulingOf(table, alone, true)
		}
	}
	initiator := src
	if t.answers = q.backwards && !r.byOwn; t.answers {
		initiator = dst
	}
	// What the initiator sends from elsewhere while it moves is told there.
	here := initiator.plugged() && (t.answers || t.direction != dataplane.FromOverlay)
	if t.told = (said{}); q.tells && (here || initiator.where == remote && s.vteps[initiator.vtep].Foreign) {
		t.told = r.said
	}
	switch {
	case !v.Allow && s.doubts(t, pair):
		o, _ = s.miss(t, dataplane.WantDenial)
	case !v.Allow:
		o, _ = s.drop(t, dataplane.Policy, r.rule)
	case src.where == hidden || dst.where == hidden:
		o, _ = s.drop(t, dataplane.Hidden, "")
	case dst.where == unplugged:
		o, _ = s.drop(t, dataplane.NotHere, "")
	default:
		return r, o, false
	}
	return ruling{}, o, true
}

// tell tells of a packet that was judged, if its verdict wants that told here.
func (s *Switch) tell(t *transit, o *dataplane.Outcome) {
	if t.told == (said{}) {
		return
	}
	o.Log, o.Would, o.WouldAllow = t.told.log, t.told.would, t.told.wouldAllow
	n := dataplane.Note{
		At: s.clock(), Port: t.port.ID, Tuple: t.tuple, Allow: t.told.allow, Rule: t.told.rule,
		Log: t.told.log && t.told.allow, Would: t.told.would, WouldAllow: t.told.wouldAllow,
	}
	if t.answers {
		n.Tuple.Src, n.Tuple.Dst, n.Tuple.SrcPort, n.Tuple.DstPort = n.Tuple.Dst, n.Tuple.Src, n.Tuple.DstPort, n.Tuple.SrcPort
	}
	s.ledger.note(n)
	if held := s.shadows[shade{s.networks[t.port.VNI].Domain, t.told.would}]; held != nil {
		held.Count(t.told.allow, t.told.wouldAllow, 1)
	}
}
