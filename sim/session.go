package sim

import (
	"cmp"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/control/stream"
	"dove.network/dove"
)

// attempt has a host without a session dial the member that its route names.
func (s *Sim) attempt(h *host) {
	if h.session != 0 || h.trying || h.bridge != nil || s.outage.Adrift(h.name) != "" {
		return
	}
	m := s.memberAt(h.route.Next())
	if m == nil || m.dead {
		s.attemptLater(h, h.route.Failed(dove.Unavailable))
	} else if cut := s.severed[severance{h.name, m.name}]; m.frozen || cut != [2]bool{} {
		s.attemptLater(h, stream.DialTimeout+h.route.Failed(dove.Unavailable))
	} else {
		s.dial(h, m)
	}
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
	h.session = s.last
	s.wires[s.last] = &wire{id: s.last, host: h, member: m, run: m.run}
	h.welcomed, h.waited, h.sent, h.frontier = false, false, nil, 0
	s.jot("%s opens session %d with member %s", h.name, h.session, m.name)
	clear(h.doubts)
	h.connected()
}

// behindMax is how long a member that is behind waits before it answers a Hello.
const behindMax = 200 * time.Millisecond

// putOff has a Hello wait as a member does that is behind: it asks the store before it
// sends away a host that it does not know, and waits a moment to reach what the host
// has seen.
func (s *Sim) putOff(m message, hello *control.Hello) bool {
	its, h := s.wires[m.session].member, m.host
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
	s.abandon(h)
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

// abandon ends a host's session where the host is. What it has said is lost or reaches
// the member, which finds out after that.
func (s *Sim) abandon(h *host) {
	w := s.wires[h.session]
	h.leave()
	s.jot("%s leaves session %d with member %s", h.name, w.id, w.member.name)
	if s.sole() || w.run != w.member.run {
		s.hangUp(w)
		return
	}
	w.lost = s.Jitter > 0 && s.random.IntN(2) == 0
	s.over(&w.ways[upward], s.delay(), func() { s.hangUp(w) })
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

// Sever cuts a host from member number n; both know at once. Mend undoes it.
func (s *Sim) Sever(host dove.HostName, n int) {
	m := s.members[n]
	s.severed[severance{host, m.name}] = [2]bool{true, true}
	if h := s.host(host); h.at() == m {
		w := s.wires[h.session]
		s.broken(h, nil)
		s.hangUp(w)
	}
}

// Silence loses what a host says to member number n, or what that says to the host,
// or both: neither is told, and finds out when it has heard nothing for long enough.
func (s *Sim) Silence(host dove.HostName, n int, up, down bool) {
	m, h := s.members[n], s.host(host)
	s.severed[severance{host, m.name}] = [2]bool{up, down}
	w := s.wires[h.session]
	if w == nil || w.member != m {
		return
	}
	w.ways[upward].cut, w.ways[downward].cut = up, down
	s.at(s.now.Add(stream.SilenceMax), func() {
		if w.ways[upward].cut && !w.closed {
			s.hangUp(w)
			s.over(&w.ways[downward], s.delay(), func() {
				if h.session == w.id {
					s.broken(h, nil)
				}
			})
		}
		if w.ways[downward].cut && h.session == w.id {
			s.broken(h, nil)
		}
	})
}

// Mend ends a Sever or a Silence.
func (s *Sim) Mend(host dove.HostName, n int) {
	m, h := s.members[n], s.host(host)
	delete(s.severed, severance{host, m.name})
	for _, w := range s.wiresOf(h) {
		if w.member == m {
			w.ways[upward].mend()
			w.ways[downward].mend()
		}
	}
	s.tryAgain()
}

// wiresOf are the sessions of a host of which either end knows, in order.
func (s *Sim) wiresOf(h *host) (all []*wire) {
	for _, w := range s.wires {
		if w.host == h {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b *wire) int { return cmp.Compare(a.id, b.id) })
	return all
}
