package sim

import (
	"fmt"

	"dove.network/control"
	"dove.network/controller"
	"dove.network/dove"
)

// message is one message between the member and a host's agent: Up or Down.
type message struct {
	host    *host
	session control.SessionID
	up      control.Up
	down    control.Down
}

// wire carries one session of a host: a way up and a way down, each in order. Either
// end may know before the other one that it is over.
type wire struct {
	id       control.SessionID
	host     *host
	member   *member
	run      uint64 // of the member
	ways     [2]way // up, down
	admitted bool   // the member has had the Hello
	closed   bool   // the member was told that it is over
	lost     bool   // what is on its way up
	number   uint64 // of its Hello
}

// Ways of a wire.
const (
	upward = iota
	downward
)

// send puts a message on its way, as bytes: what arrives shares nothing with
// what was sent.
func (s *Sim) send(m message) {
	all := []message{m}
	if s.tamper != nil {
		all = s.tamper(m)
	}
	if _, asks := m.up.(*control.PolicyRequest); asks {
		s.asked = append(s.asked, m.host.name)
	}
	w := s.wires[m.session]
	for _, m := range all {
		if m.up != nil {
			out := control.EncodeUp(m.up)
			up, err := control.DecodeUp(out)
			if err != nil {
				s.fault("%s sends what cannot be read: %w", m.host.name, err)
				continue
			}
			m.up = up
			s.jotMessage(m.host.name, m.session, up, out)
			s.over(&w.ways[upward], s.delay(), func() { s.arriveUp(m) })
			continue
		}
		out := control.EncodeDown(m.down)
		down, err := control.DecodeDown(out)
		if err != nil {
			s.fault("the member sends %s what cannot be read: %w", m.host.name, err)
			continue
		}
		m.down = down
		s.jotMessage(w.member.name, m.session, down, out)
		s.over(&w.ways[downward], s.delay(), func() { s.arriveDown(m) })
	}
}

func (s *Sim) arriveUp(m message) {
	w := s.wires[m.session]
	switch {
	case w == nil || w.lost: // the session broke meanwhile
		return
	case w.closed || w.run != w.member.run:
		s.over(&w.ways[downward], s.delay(), func() { s.refuse(w) })
		return
	}
	switch up := m.up.(type) {
	case *control.Hello:
		if s.putOff(m, up) {
			return
		}
		w.admitted = true
		w.member.step(controller.Opened{Session: m.session, Identity: m.host.identity, Hello: up})
		return
	case *control.Ack:
		if up.Revision > m.host.frontier && m.session == m.host.session && !s.blind {
			s.fault("%s acknowledges revision %d, and was told all of %d only", m.host.name, up.Revision, m.host.frontier)
		}
	}
	w.member.step(controller.Received{Session: m.session, Message: m.up})
}

func (s *Sim) arriveDown(m message) {
	if m.host.session != m.session {
		return
	}
	s.told[m.host.name] = s.told[m.host.name].plus(m.down)
	m.host.hear(m.down)
	if s.heard != nil {
		s.heard(m)
	}
}

// refuse has the host find out that the member knows nothing of its session.
func (s *Sim) refuse(w *wire) {
	if w.host.session == w.id {
		s.broken(w.host, nil)
	}
}

// hangUp tells the member that a session is over.
func (s *Sim) hangUp(w *wire) {
	switch {
	case w.closed:
		delete(s.wires, w.id)
		return
	case w.run == w.member.run && w.member.frozen:
		w.lost = true // what has not come by now comes no more
		w.member.missed = append(w.member.missed, func() { s.hangUp(w) })
		return
	}
	w.closed = true
	s.jot("member %s finds session %d of %s over", w.member.name, w.id, w.host.name)
	if w.run == w.member.run {
		w.member.step(controller.Closed{Session: w.id})
	}
	if w.host.session != w.id {
		delete(s.wires, w.id)
	}
}

// Cut breaks the session of a host, and what is on its way in it is lost.
func (s *Sim) Cut(name dove.HostName) {
	h := s.host(name)
	if h.session == 0 {
		return
	}
	w := s.wires[h.session]
	h.leave()
	s.hangUp(w)
	h.disconnected()
}

// leave has the host know that its session is over.
func (h *host) leave() {
	h.enforced = h.floor()
	h.session = 0
}

// Connect opens a session for a host that has none, if both ends run and
// nothing is cut between them.
func (s *Sim) Connect(name dove.HostName) {
	h := s.host(name)
	if h.session != 0 || s.outage.Adrift(name) != "" {
		return
	}
	h.vain = 0
	if s.sole() {
		s.dial(h, s.members[0])
	} else {
		s.attempt(h)
	}
}

// Connected reports whether a host has a session that the member knows of.
func (s *Sim) Connected(name dove.HostName) bool { return s.host(name).live() }

// live reports whether the member tells the host what changes.
func (h *host) live() bool {
	w := h.sim.wires[h.session]
	return w != nil && w.admitted && !w.closed && w.run == w.member.run
}

// current reports whether the host has a session with a member that is well.
func (h *host) current() bool { return h.live() && h.at().well() }

// host returns a host that exists.
func (s *Sim) host(name dove.HostName) *host {
	if h := s.byName[name]; h != nil {
		return h
	}
	panic(fmt.Sprintf("sim: there is no host %s", name))
}
