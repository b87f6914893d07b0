package controller

import (
	"fmt"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// Bounds of how sessions are sent to other members.
const (
	// StaleAfter is how long a member answers that hears nothing of its store.
	StaleAfter = 3 * time.Second
	// hopeAfter is how long a member keeps its sessions that hears nothing of its store nor of
	// most others: those may be well, but it does not know. By then it knows whom it does not reach.
	hopeAfter = StaleAfter + PeerSilence
	// LeaveWithin is how long sessions have that are all sent away at once: each
	// leaves at its own time of it.
	LeaveWithin = time.Second
	leaveGrace  = 5 * time.Second // then the member ends them
	// A member with more sessions than spreadOver quarters of the mean, and spreadLeast
	// more than it, sends away as many as spreadShare of what is too much in a second.
	spreadOver  = 5
	spreadLeast = 2
	spreadShare = 16
)

// refuge lists where sessions can go: the addresses of members that are reached,
// follow the store and are not drained. Where this one has lost touch with it and there are none of
// these, drained ones will do: that they are may be over long since.
func (c *Core) refuge() (addresses []string) {
	var drained []string
	for _, m := range c.others() {
		switch f := c.fellows[m.Name]; {
		case f == nil || f.stale || m.Control == "":
		case m.Draining:
			drained = append(drained, m.Control)
		default:
			addresses = append(addresses, m.Control)
		}
	}
	if len(addresses) == 0 && c.stale {
		return drained
	}
	return addresses
}

// hope lists where sessions may be better off than with a member that has lost touch with its
// store and knows of none that has not: the addresses of the members that it does not reach, if
// they are most. Where most are reached and have lost touch too, it is the store that fails.
func (c *Core) hope() (addresses []string) {
	if c.now.Sub(c.heardOf) <= hopeAfter {
		return nil
	}
	reached, others := 0, c.others()
	for _, m := range others {
		if c.fellows[m.Name] != nil {
			reached++
		} else if !m.Draining && m.Control != "" {
			addresses = append(addresses, m.Control)
		}
	}
	if 2*reached >= len(others) {
		return nil
	}
	return addresses
}

// draining reports whether the member is to have no sessions.
func (c *Core) draining() bool {
	m, _ := c.world.Member(c.member)
	return m.Draining
}

// turnAway says where a dSwitch is to go that wants to open a session, nil if it
// may stay. A member that is drained takes it if there is no other.
func (c *Core) turnAway(h *control.Hello) *control.Elsewhere {
	refuge := c.refuge()
	switch {
	case c.stale:
		return &control.Elsewhere{Addresses: refuge, Reason: fmt.Sprintf("member %s has lost touch with its store", c.member)}
	case h.Incarnation == c.world.Incarnation() && h.Seen > c.world.Revision():
		return &control.Elsewhere{Addresses: refuge, Reason: fmt.Sprintf("member %s is at revision %d, the dSwitch has seen %d", c.member, c.world.Revision(), h.Seen)}
	case c.draining() && len(refuge) > 0:
		return &control.Elsewhere{Addresses: refuge, Reason: fmt.Sprintf("member %s is drained", c.member)}
	}
	return nil
}

// sendAway sends sessions to other members, spread over a time, if there is one that takes them.
func (c *Core) sendAway(sessions []*session, reason string) {
	refuge := c.refuge()
	if len(refuge) == 0 && c.stale {
		refuge = c.hope()
	}
	sessions = slices.DeleteFunc(sessions, func(s *session) bool { return !s.leaves.IsZero() })
	if len(refuge) == 0 {
		return
	}
	for i, s := range sessions {
		after := LeaveWithin * time.Duration(i) / time.Duration(len(sessions))
		s.leaves = c.now.Add(after)
		c.send(s, &control.Elsewhere{Addresses: refuge, Reason: reason, After: after.Truncate(time.Millisecond)})
	}
}

// fresh notes when the store was heard of last.
func (c *Core) fresh(at time.Time) {
	if at.After(c.heardOf) {
		c.heardOf = at
	}
	c.lookAtStore()
}

// lookAtStore finds whether the store was heard of too long ago.
func (c *Core) lookAtStore() { c.stale = !c.heardOf.IsZero() && c.now.Sub(c.heardOf) > StaleAfter }

// leaveTick sends sessions away where they are better off elsewhere, and ends those
// that do not go.
func (c *Core) leaveTick() {
	for _, s := range c.inOrder() {
		if !s.leaves.IsZero() && c.now.Sub(s.leaves) > leaveGrace {
			c.end(s, dove.Unavailable, "the session was sent elsewhere")
		}
	}
	switch {
	case c.stale:
		c.sendAway(c.inOrder(), fmt.Sprintf("member %s has lost touch with its store", c.member))
	case c.draining():
		c.sendAway(c.inOrder(), fmt.Sprintf("member %s is drained", c.member))
	default:
		c.spreadOut()
	}
}

// spreadOut sends some sessions away if other members have far fewer. Those go that
// came last.
func (c *Core) spreadOut() {
	stay, total, members := 0, 0, 1
	for _, s := range c.sessions {
		if s.leaves.IsZero() {
			stay++
		}
	}
	for _, m := range c.others() {
		if f := c.fellows[m.Name]; f != nil && !f.stale && !m.Draining && m.Control != "" {
			total += c.ledger.Count(m.Name)
			members++
		}
	}
	mean := (stay + total) / members
	if members == 1 || stay <= mean+spreadLeast || stay*4 <= mean*spreadOver {
		return
	}
	n := max(1, (stay-mean)/spreadShare)
	all := slices.DeleteFunc(c.inOrder(), func(s *session) bool { return !s.leaves.IsZero() })
	c.sendAway(all[len(all)-n:], fmt.Sprintf("member %s has %d sessions, others fewer", c.member, stay))
}

// Bounds of when what was not answered is to be asked again.
const (
	hesitateLeast = 250 * time.Millisecond
	hesitateMost  = time.Second
)

// hesitate answers none of a request, which is to be asked again. Requests that came at
// once do not come again at once.
func (c *Core) hesitate(s *session, m *control.PolicyRequest, why string) {
	mixed := (uint64(s.id)<<32 ^ m.ID) * 0x9e3779b97f4a7c15
	after := hesitateLeast + time.Duration(mixed>>44)*(hesitateMost-hesitateLeast)>>20
	answered := make([]control.Answered, 0, len(m.Questions))
	for _, q := range m.Questions {
		answered = append(answered, control.Answered{Answer: control.Answer{Question: q, Status: control.Retry, Detail: why, After: after.Truncate(time.Millisecond)}})
	}
	for _, part := range control.Parts(m.ID, c.world.Revision(), answered) {
		c.send(s, part)
	}
}

// doubtsMax is how many requests of one session wait for the store.
const doubtsMax = 64

// doubtful reports whether a request asks for what the session holds as it is: a
// dSwitch does so before it denies what the sender's host has let out.
func (c *Core) doubtful(s *session, m *control.PolicyRequest) bool {
	for _, q := range m.Questions {
		if q.Outgoing {
			continue
		}
		a := c.interest.Resolve(s.id, q)
		holds := a.Answer.Status == control.Found && c.interest.HoldsPeer(s.id, a.Peers[0].Key)
		for _, p := range a.Pairs {
			holds = holds && c.interest.HoldsPair(s.id, p.Key)
		}
		if holds {
			return true
		}
	}
	return false
}

// confirmed answers a request after the store has confirmed the world.
func (c *Core) confirmed(e Confirmed) {
	s := c.sessions[e.Session]
	if s == nil {
		return
	}
	s.doubts--
	switch {
	case e.Failed || c.stale:
		c.hesitate(s, e.Request, "the store does not confirm what is known here")
	default:
		c.answer(s, e.Request)
	}
}
