package sim

import (
	"fmt"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/controller"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// message is one message between the member and a host's agent: Up or Down.
type message struct {
	host    *host
	session control.SessionID
	up      control.Up
	down    control.Down
}

// member has the member's core react.
func (s *Sim) member(e controller.Event) {
	if !s.running() {
		return
	}
	effects, err := s.core.Step(s.now, e)
	if err != nil {
		s.fault("the member cannot follow its store: %w", err)
	}
	for _, effect := range effects {
		switch effect := effect.(type) {
		case controller.Send:
			for _, m := range effect.Messages {
				s.send(message{s.inSession(effect.Session), effect.Session, nil, m})
			}
		case controller.End:
			h := s.inSession(effect.Session)
			s.fault("the member ends the session of %s: %+v", h.name, effect.Last)
			s.send(message{h, effect.Session, nil, effect.Last})
		case controller.Denied: // a claim crossed with what took the endpoint away
		case controller.Claimed:
			s.soon(func() {
				if s.running() {
					if _, err := s.Edit(func(w *world.World) (dove.Txn, error) { return edit.ClaimAddress(w, effect.Claim) }); err != nil {
						s.fault("the claim of %s to %s is not written: %w", effect.Claim.Endpoint, effect.Claim.Addr, err)
					}
				}
			})
		case controller.Asks: // whoever asks in a simulation knows whom
		case controller.Told:
			s.said = append(s.said, effect)
		}
	}
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
		m.host.admitted = true
		s.member(controller.Opened{Session: m.session, Identity: m.host.identity, Hello: up})
		return
	case *control.Ack:
		if up.Revision > m.host.frontier && !s.blind {
			s.fault("%s acknowledges revision %d, and was told all of %d only", m.host.name, up.Revision, m.host.frontier)
		}
	}
	s.member(controller.Received{Session: m.session, Message: m.up})
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
	session := h.session
	h.session = 0
	s.member(controller.Closed{Session: session})
	h.disconnected()
}

// Connect opens a session for a host that has none, if both ends run and
// nothing is cut between them.
func (s *Sim) Connect(name dove.HostName) {
	h := s.host(name)
	if h.session != 0 || s.outage.Adrift(name) != "" {
		return
	}
	s.last++
	h.session, h.opened = s.last, s.last
	h.admitted, h.frontier, h.lastUp, h.lastDown = false, 0, time.Time{}, time.Time{}
	h.connected()
}

// Connected reports whether a host has a session that the member knows of.
func (s *Sim) Connected(name dove.HostName) bool { return s.host(name).live() }

// live reports whether the member tells the host what changes.
func (h *host) live() bool { return h.session != 0 && h.admitted }

// host returns a host that exists.
func (s *Sim) host(name dove.HostName) *host {
	for _, h := range slices.Concat(s.hosts, s.foreign) {
		if h.name == name {
			return h
		}
	}
	panic(fmt.Sprintf("sim: there is no host %s", name))
}
