package sim

import (
	"time"

	"google.golang.org/protobuf/proto"

	"dove.network/control"
	"dove.network/control/controlpb"
	"dove.network/controller"
)

// peering is the stream between two members. Each way messages stay in order.
type peering struct {
	a, b *member
	up   bool
	life int // counts the streams
	ways [2]way
}

// way is one direction of a stream: from a to b, or back.
type way struct {
	cut   bool
	last  time.Time
	stuck []func() // what should have arrived since it is cut
}

// between finds the stream of two members, and which way leads from the first.
func (s *Sim) between(from *member, to string) (p *peering, dir int) {
	for _, p := range s.peerings {
		switch {
		case p.a == from && p.b.name == to:
			return p, 0
		case p.b == from && p.a.name == to:
			return p, 1
		}
	}
	return nil, 0
}

// along lets something happen at the end of a way, after what is on it already. It
// is lost if the stream ends before.
func (s *Sim) along(p *peering, dir int, act func()) {
	life := p.life
	s.over(&p.ways[dir], s.delay(), func() {
		if p.life == life && p.up {
			act()
		}
	})
}

// over lets something happen at the end of a way, when a time is over and after
// what is on it already; if the way is cut then, once it is mended.
func (s *Sim) over(w *way, lag time.Duration, act func()) {
	w.last = later(w.last, s.now.Add(lag))
	s.at(w.last, func() {
		if w.cut {
			w.stuck = append(w.stuck, act)
			return
		}
		act()
	})
}

// mend lets go what is stuck on a way.
func (w *way) mend() {
	stuck := w.stuck
	w.cut, w.stuck = false, nil
	for _, act := range stuck {
		act()
	}
}

// greet opens a stream, if it is not up and both ends run and hear each other.
func (s *Sim) greet(p *peering) {
	if p.up || p.a.dead || p.b.dead || p.a.frozen || p.b.frozen || p.ways[0].cut || p.ways[1].cut {
		return
	}
	p.up = true
	p.life++
	p.ways = [2]way{}
	s.along(p, 0, func() { p.b.step(controller.PeerOpened{Member: p.a.name, Start: p.a.run}) })
	s.along(p, 1, func() { p.a.step(controller.PeerOpened{Member: p.b.name, Start: p.b.run}) })
}

// tellPeer carries a message to another member, as bytes.
func (s *Sim) tellPeer(from *member, to string, m control.Across) {
	p, dir := s.between(from, to)
	if p == nil || !p.up {
		return
	}
	out, err := proto.Marshal(control.EncodeAcross(m))
	if err != nil {
		s.fault("member %s says what has no wire form: %w", from.name, err)
		return
	}
	if s.garble != nil {
		if m = s.garble(m); m == nil {
			return
		}
		if out, err = proto.Marshal(control.EncodeAcross(m)); err != nil {
			return
		}
	}
	end := p.b
	if dir == 1 {
		end = p.a
	}
	s.along(p, dir, func() {
		got, err := decodeAcross(out)
		if err != nil {
			s.fault("member %s sends what cannot be read: %w", from.name, err)
			return
		}
		end.step(controller.PeerReceived{Member: from.name, Message: got})
	})
}

func decodeAcross(b []byte) (control.Across, error) {
	e := new(controlpb.Across)
	if err := proto.Unmarshal(b, e); err != nil {
		return nil, err
	}
	return control.DecodeAcross(e)
}

// closePeering ends a stream for both.
func (s *Sim) closePeering(p *peering) {
	if !p.up {
		return
	}
	p.up = false
	p.life++
	for i := range p.ways {
		p.ways[i].stuck = nil
	}
	p.a.step(controller.PeerClosed{Member: p.b.name})
	p.b.step(controller.PeerClosed{Member: p.a.name})
}

// dropPeerings ends the streams of a member that says no more.
func (s *Sim) dropPeerings(m *member) {
	for _, p := range s.peerings {
		if p.a == m || p.b == m {
			s.closePeering(p)
		}
	}
}

func (s *Sim) endPeering(m *member, with string) {
	if p, _ := s.between(m, with); p != nil {
		s.soon(func() { s.closePeering(p) })
	}
}

// CutMembers loses what member number a sends to number b, one way only; after a
// while both give up.
func (s *Sim) CutMembers(a, b int) {
	p, dir := s.between(s.members[a], s.members[b].name)
	p.ways[dir].cut = true
	life := p.life
	s.at(s.now.Add(controller.PeerSilence), func() {
		if p.life == life && p.ways[dir].cut {
			s.closePeering(p)
		}
	})
}

// HealMembers mends what is cut between two members.
func (s *Sim) HealMembers(a, b int) {
	p, _ := s.between(s.members[a], s.members[b].name)
	for i := range p.ways {
		p.ways[i].mend()
	}
	s.greet(p)
	s.tryAgain()
}
