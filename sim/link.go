package sim

import (
	"fmt"
	"slices"

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

// inSession returns the host that opened a session last.
func (s *Sim) inSession(id control.SessionID) *host {
	for _, h := range s.hosts {
		if h.opened == id {
			return h
		}
	}
	panic(fmt.Sprintf("sim: the member speaks to session %d, which is over", id))
}

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
	for _, m := range all {
		arrival := s.now.Add(s.delay())
		last := &m.host.lastDown
		if m.up != nil {
			last = &m.host.lastUp
		}
		if arrival.Before(*last) {
			arrival = *last
		}
		*last = arrival
		if m.up != nil {
			up, err := control.DecodeUp(control.EncodeUp(m.up))
			if err != nil {
				s.fault("%s sends what cannot be read: %w", m.host.name, err)
				continue
			}
			m.up = up
			s.at(arrival, func() { s.arriveUp(m) })
			continue
		}
		down, err := control.DecodeDown(control.EncodeDown(m.down))
		if err != nil {
			s.fault("the member sends %s what cannot be read: %w", m.host.name, err)
			continue
		}
		m.down = down
		s.at(arrival, func() { s.arriveDown(m) })
	}
}

func (s *Sim) arriveUp(m message) {
	if m.host.session != m.session {
		return // the session broke meanwhile
	}
	switch up := m.up.(type) {
	case *control.Hello:
		if s.putOff(m, up) {
			return
		}
		m.host.admitted = true
		s.served[m.session].step(controller.Opened{Session: m.session, Identity: m.host.identity, Hello: up})
		return
	case *control.Ack:
		if up.Revision > m.host.frontier && !s.blind {
			s.fault("%s acknowledges revision %d, and was told all of %d only", m.host.name, up.Revision, m.host.frontier)
		}
	}
	s.served[m.session].step(controller.Received{Session: m.session, Message: m.up})
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

// Cut breaks the session of a host, and what is on its way in it is lost.
func (s *Sim) Cut(name dove.HostName) {
	h := s.host(name)
	if h.session == 0 {
		return
	}
	session, m := h.session, h.at()
	h.session = 0
	m.step(controller.Closed{Session: session})
	h.disconnected()
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
func (h *host) live() bool { return h.session != 0 && h.admitted }

// current reports whether the host has a session with a member that is well.
func (h *host) current() bool { return h.live() && h.at().well() }

// host returns a host that exists.
func (s *Sim) host(name dove.HostName) *host {
	for _, h := range slices.Concat(s.hosts, s.foreign) {
		if h.name == name {
			return h
		}
	}
	panic(fmt.Sprintf("sim: there is no host %s", name))
}
