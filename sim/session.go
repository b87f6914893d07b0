package sim

import (
	"time"

	"dove.network/control"
	"dove.network/controller"
	"dove.network/dove"
)

// attempt has a host without a session dial the member that its route names.
func (s *Sim) attempt(h *host) {
	if h.session != 0 || h.trying || s.outage.Adrift(h.name) != "" {
		return
	}
	m := s.memberAt(h.route.Next())
	if m == nil || m.dead || m.frozen || s.severed[severance{h.name, m.name}] {
		s.attemptLater(h, h.route.Failed(dove.Unavailable))
		return
	}
	s.dial(h, m)
}

// roundsMax is how many rounds in vain a host makes before it waits for something to
// change: for ever in real life, which would be a simulation without end.
const roundsMax = 3

func (s *Sim) attemptLater(h *host, wait time.Duration) {
	if h.vain++; h.vain > roundsMax*len(s.members) {
		return
	}
	h.trying = true
	s.at(s.now.Add(wait), func() {
		h.trying = false
		s.attempt(h)
	})
}

// tryAgain has all hosts try again that gave up.
func (s *Sim) tryAgain() {
	for _, h := range s.hosts {
		h.vain = 0
		if !s.sole() {
			s.attempt(h)
		}
	}
}

// dial opens a session with a member.
func (s *Sim) dial(h *host, m *member) {
	s.last++
	h.session, h.opened = s.last, s.last
	s.served[s.last] = m
	h.admitted, h.welcomed, h.waited, h.sent, h.frontier, h.lastUp, h.lastDown = false, false, false, nil, 0, time.Time{}, time.Time{}
	h.connected()
}

// behindMax is how long a member that is behind waits before it answers a Hello.
const behindMax = 200 * time.Millisecond

// putOff has a Hello wait as a member does that is behind: it asks the store before it
// sends away a host that it does not know, and waits a moment to reach what the host
// has seen.
func (s *Sim) putOff(m message, hello *control.Hello) bool {
	its, h := s.served[m.session], m.host
	doc, _ := its.core.World().Host(h.name)
	again := func(t time.Time) { s.at(t, func() { s.arriveUp(m) }) }
	switch {
	case its.dead || its.frozen:
	case doc.Serial != h.identity.Serial && its.deaf:
		s.broken(h, &control.Refusal{Kind: dove.Unavailable})
		return true
	case doc.Serial != h.identity.Serial && len(its.feed) > 0:
		again(later(its.fed, s.now))
		return true
	case hello.Seen > its.core.World().Revision() && !h.waited:
		h.waited = true
		again(s.now.Add(behindMax))
		return true
	}
	return false
}

// broken ends a host's session where it is, and lets it try the next member. Kind
// is why, if a member said so.
func (s *Sim) broken(h *host, refused *control.Refusal) {
	if h.session == 0 {
		return
	}
	session, m := h.session, h.at()
	h.session = 0
	m.step(controller.Closed{Session: session})
	h.disconnected()
	if s.sole() {
		return
	}
	switch {
	case h.sent != nil:
		s.attemptLater(h, h.route.Sent(h.sent))
	case h.welcomed:
		s.attemptLater(h, h.route.Ended())
	case refused != nil:
		s.attemptLater(h, h.route.Failed(refused.Kind))
	default:
		s.attemptLater(h, h.route.Failed(dove.Unavailable))
	}
}

// obey does what whoever carries a host's session does with a message.
func (s *Sim) obey(h *host, m control.Down) {
	switch m := m.(type) {
	case *control.Welcome:
		h.welcomed, h.vain = true, 0
	case *control.Members:
		h.route.Learn(m.Addresses)
	case *control.Refusal:
		s.broken(h, m)
	case *control.Elsewhere:
		first := h.sent == nil
		h.sent = m
		switch {
		case !h.welcomed:
			s.broken(h, nil)
		case first:
			session := h.session
			s.at(s.now.Add(m.After), func() {
				if h.session == session {
					s.broken(h, nil)
				}
			})
		}
	}
}

// severance is a host and a member that cannot reach each other.
type severance struct {
	host   dove.HostName
	member string
}

// Sever cuts a host from member number n, and Join mends that.
func (s *Sim) Sever(host dove.HostName, n int) {
	m := s.members[n]
	s.severed[severance{host, m.name}] = true
	if h := s.host(host); h.at() == m {
		s.broken(h, nil)
	}
}

// Mend ends a Sever.
func (s *Sim) Mend(host dove.HostName, n int) {
	delete(s.severed, severance{host, s.members[n].name})
	s.tryAgain()
}
