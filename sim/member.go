package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/controller"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// member is one DPC member: its core, and what reaches it.
type member struct {
	sim     *Sim
	name    string
	core    *controller.Core
	run     uint64   // of the core
	feed    []change // of the store, that it was not given yet
	fed     time.Time
	dead    bool          // stopped, or killed and not started yet
	deaf    bool          // cut from the store
	unheard time.Time     // since when it is
	lonely  time.Time     // since when it is, and others could take its sessions
	ahead   time.Duration // of the true time, its clock is
	slow    time.Duration // behind the store
	frozen  bool          // it does nothing, and nobody is told
	missed  []func()      // what waits until it is not
	doubts  []doubt
	settled dove.Revision // the last of which its receipt was complete, and looked at
	moved   bool          // something happened to its ledger since
}

// change is a revision of the store.
type change struct {
	revision dove.Revision
	docs     []dove.Doc
}

// doubt is a request that waits until the member has applied a revision.
type doubt struct {
	revision dove.Revision
	confirm  controller.Confirm
}

// sole reports whether there is one member only, which then is told of changes in
// no time.
func (s *Sim) sole() bool { return len(s.members) == 1 }

// chief is the first member that is well; the first one if none is.
func (s *Sim) chief() *member {
	for _, m := range s.members {
		if m.well() {
			return m
		}
	}
	return s.members[0]
}

// well reports whether the member works and follows the store.
func (m *member) well() bool { return !m.dead && !m.frozen && !m.deaf }

// address is where hosts reach the member.
func (m *member) address() string { return m.name + ":7444" }

// assemble founds the store, and joins the members as documents if there are several.
func (s *Sim) assemble() error {
	if err := found(s); err != nil || s.sole() {
		return err
	}
	for i, m := range s.members {
		m.hear() // it was loaded; to hear nothing from here on is to lose touch
		doc := world.Member{
			Name: m.name, UID: dove.UID(i + 1), API: m.name + ":7443", Control: m.address(), Peer: m.name + ":7447", Serial: fmt.Sprintf("%02x", i+1), Joined: s.now,
		}
		if _, err := s.Edit(func(w *world.World) (dove.Txn, error) {
			return first(edit.PutMember(w, doc, true))
		}); err != nil {
			return err
		}
	}
	for _, p := range s.peerings {
		s.greet(p)
	}
	return s.Settle()
}

// start gives the member a core that knows what the store holds now.
func (m *member) start() error {
	all := world.NewLoader()
	revision, err := m.sim.store.Load(context.Background(), world.Prefix, all.Add)
	if err != nil {
		return err
	}
	w, err := all.World(revision)
	if err != nil {
		return err
	}
	m.run++
	m.unheard, m.lonely = m.sim.now, time.Time{}
	m.core, m.feed, m.doubts, m.missed, m.dead, m.frozen = controller.NewCore(m.name, w), nil, nil, nil, false, false
	if !m.sim.sole() {
		m.step(controller.Fresh{At: m.sim.now.Add(m.ahead)})
	}
	return nil
}

// publish has the members hear of a change: at once if nothing takes time.
func (s *Sim) publish(c change) {
	for _, m := range s.members {
		if m.dead {
			continue
		}
		m.feed = append(m.feed, c)
		if s.sole() || s.Jitter == 0 && m.slow == 0 && len(m.feed) == 1 {
			m.eat()
			continue
		}
		m.fed = later(m.fed, s.now.Add(m.slow+s.delay()))
		run := m.run
		s.at(m.fed, func() {
			if m.run == run {
				m.eat()
			}
		})
	}
}

// later is the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// eat has the member apply the next change, if it hears the store.
func (m *member) eat() {
	switch {
	case m.dead || m.deaf || len(m.feed) == 0:
	case m.frozen:
		m.missed = append(m.missed, m.eat)
	default:
		c := m.feed[0]
		m.feed = m.feed[1:]
		m.step(controller.Changed{Revision: c.revision, Docs: c.docs})
		m.resolve()
	}
}

// resolve answers what waited for a revision.
func (m *member) resolve() {
	for len(m.doubts) > 0 && m.doubts[0].revision <= m.core.World().Revision() {
		c := m.doubts[0].confirm
		m.doubts = m.doubts[1:]
		m.step(controller.Confirmed{Session: c.Session, Request: c.Request})
	}
}

// tick tells the core that time passes, and whether it has heard of its store.
func (m *member) tick() {
	if m.frozen || m.dead {
		return
	}
	m.hear()
	m.step(controller.Tick{})
}

// hear tells the core that the store has nothing that it lacks, if that is so.
func (m *member) hear() {
	if !m.sim.sole() && !m.deaf && len(m.feed) == 0 {
		m.step(controller.Fresh{At: m.sim.now.Add(m.ahead)})
	}
}

// step has the member's core react.
func (m *member) step(e controller.Event) {
	s := m.sim
	switch {
	case m.dead || !s.running():
		return
	case m.frozen:
		m.missed = append(m.missed, func() { m.step(e) })
		return
	}
	switch e := e.(type) {
	case controller.Opened: // time may have gone on by more than a tick
		m.moved = true
		m.hear()
	case controller.Received:
		if _, ok := e.Message.(*control.Ack); ok {
			m.moved = true
		}
		m.hear()
	case controller.PeerClosed: // it names hosts otherwise
		m.moved, m.settled = true, 0
	case controller.Fresh, controller.Confirmed, controller.Asked, controller.Polled, controller.Ceased:
	default:
		m.moved = true
	}
	effects, err := m.core.Step(s.now.Add(m.ahead), e)
	if err != nil {
		s.fault("member %s cannot follow its store: %w", m.name, err)
	}
	for _, effect := range effects {
		switch effect := effect.(type) {
		case controller.Send:
			for _, down := range effect.Messages {
				m.tell(effect.Session, down)
			}
		case controller.End:
			w := s.wires[effect.Session]
			if why := unmeant(effect.Last, w); why != "" {
				s.fault("member %s ends session %d of %s: %s", m.name, w.id, w.host.name, why)
			}
			m.tell(effect.Session, effect.Last)
			w.closed = true
			s.over(&w.ways[downward], 0, func() {
				s.refuse(w)
				delete(s.wires, w.id)
			})
		case controller.Denied: // no host claims what is not its own here: at most something crossed
			s.fault("member %s denies %s what it says of %s: %s", m.name, effect.Host, effect.Endpoint, effect.Detail)
		case controller.Claimed:
			s.soon(func() {
				if m.well() {
					if _, err := s.Edit(func(w *world.World) (dove.Txn, error) { return edit.ClaimAddress(w, effect.Claim) }); err != nil {
						s.fault("the claim of %s to %s is not written: %w", effect.Claim.Endpoint, effect.Claim.Addr, err)
					}
				}
			})
		case controller.Continue:
			s.soon(func() { m.step(controller.Continued(effect)) })
		case controller.Confirm:
			m.confirm(effect)
		case controller.PeerSend:
			for _, across := range effect.Messages {
				s.tellPeer(m, effect.Member, across)
			}
		case controller.PeerEnd:
			s.endPeering(m, effect.Member)
		case controller.Asks, controller.Polls: // whoever asks in a simulation knows whom
		case controller.Standing:
			s.standing = append(s.standing, effect.Sessions...)
		case controller.Told:
			s.said = append(s.said, effect)
		}
	}
}

// tell sends a message in a session.
func (m *member) tell(session control.SessionID, down control.Down) {
	w := m.sim.wires[session]
	if w == nil || w.closed || w.member != m {
		panic(fmt.Sprintf("sim: member %s speaks in session %d, which is over", m.name, session))
	}
	if r, ok := down.(*control.PolicyReply); ok && m.deaf && m.sim.now.Sub(m.unheard) > 2*controller.StaleAfter &&
		slices.ContainsFunc(r.Answers, func(a control.Answer) bool { return a.Status != control.Retry }) {
		m.sim.fault("member %s answers %s, and has not heard of its store for %s", m.name, w.host.name, m.sim.now.Sub(m.unheard))
	}
	m.sim.send(message{w.host, session, nil, down})
}

// unmeant says why a session must not have ended so, "" if it may.
func unmeant(last control.Down, w *wire) string {
	sole := w.host.sim.sole()
	if r, ok := last.(*control.Refusal); ok && (sole || r.Kind != dove.Conflict && r.Kind != dove.Unavailable) {
		return r.Message
	} else if ok && r.Kind == dove.Conflict && w.host.session == w.id && w.host.number == w.number {
		return "it is the latest one, and yet " + r.Message
	} else if e, ok := last.(*control.Elsewhere); ok && sole {
		return e.Reason
	}
	return ""
}

// confirm asks the store what it has, which takes as long as a message.
func (m *member) confirm(c controller.Confirm) {
	s, run := m.sim, m.run
	s.at(s.now.Add(s.delay()), func() {
		switch revision, err := s.store.Current(context.Background()); {
		case m.run != run:
		case m.deaf || err != nil:
			s.at(s.now.Add(controller.StaleAfter), func() {
				if m.run == run {
					m.step(controller.Confirmed{Session: c.Session, Request: c.Request, Failed: true})
				}
			})
		default:
			m.doubts = append(m.doubts, doubt{revision, c})
			m.resolve()
		}
	})
}

// checkReceipts holds what a complete receipt says against all switches but those of
// hosts that it names: each enforces the latest revision. Those are compared of which
// something is another than when they were compared last.
func (s *Sim) checkReceipts() {
	if s.sole() || s.blind {
		return
	}
	latest := s.World().Revision()
	for _, m := range s.members {
		if !m.moved {
			continue
		}
		m.moved = false
		if m.dead || m.frozen || m.settled >= latest || m.core.World().Revision() != latest || !m.core.Complete(latest) {
			continue
		}
		m.settled = latest
		r := m.core.Receipt(latest)
		before := len(s.faults)
		for _, h := range s.hosts {
			if h.unsure && !slices.Contains(r.Unconfirmed, h.name) && s.busy(h) {
				s.compareHost(h)
			}
		}
		if len(s.faults) > before {
			s.fault("and yet member %s says that the receipt of revision %d is complete: %+v", m.name, latest, r)
		}
	}
}

// busy reports whether a host has endpoints.
func (s *Sim) busy(h *host) bool {
	for range s.World().EndpointsOn(h.name) {
		return true
	}
	return false
}

// at is the member that has a host's session, nil if it has none.
func (h *host) at() *member {
	if h.session == 0 {
		return nil
	}
	return h.sim.wires[h.session].member
}

// memberAt finds a member by the address that hosts know.
func (s *Sim) memberAt(address string) *member {
	for _, m := range s.members {
		if m.address() == address {
			return m
		}
	}
	return nil
}

// KillMember ends member number n, from 0, without a word, and starts it again at
// once if it is to.
func (s *Sim) KillMember(n int, again bool) error {
	m := s.members[n]
	m.dead, m.missed = true, nil
	m.run++
	s.dropPeerings(m)
	for _, h := range s.hosts {
		if h.at() == m {
			s.broken(h, nil)
		}
	}
	if !again {
		return nil
	}
	return s.StartMember(n)
}

// StartMember starts a member that was killed.
func (s *Sim) StartMember(n int) error {
	if err := s.members[n].start(); err != nil {
		return err
	}
	s.meet(s.members[n])
	return nil
}

// FreezeMember stops a member's process; after a while those who wait for it give up.
func (s *Sim) FreezeMember(n int) {
	m := s.members[n]
	m.frozen = true
	run := m.run
	s.at(s.now.Add(controller.PeerSilence), func() {
		if m.run == run && m.frozen {
			s.dropPeerings(m)
		}
	})
	s.at(s.now.Add(silence), func() {
		for _, h := range s.hosts {
			if m.run == run && m.frozen && h.at() == m {
				s.broken(h, nil)
			}
		}
	})
}

// silence is how long a host waits for a word of a member.
const silence = 30 * time.Second

// ThawMember has a member go on with all that it missed.
func (s *Sim) ThawMember(n int) {
	m := s.members[n]
	missed := m.missed
	m.frozen, m.missed = false, nil
	for _, act := range missed {
		act()
	}
	s.meet(m)
}

// DeafenMember cuts a member from the store.
func (s *Sim) DeafenMember(n int) {
	m := s.members[n]
	if !m.deaf {
		m.deaf, m.unheard, m.lonely = true, s.now, time.Time{}
	}
}

// forsaken is how long a member keeps sessions that does not hear its store, while another one
// is there to take them: it needs a while to notice, and gives hosts some time to go.
const forsaken = 15 * time.Second

// checkForsaken checks that a member which does not hear its store lets its sessions go.
func (m *member) checkForsaken() {
	s := m.sim
	takes := slices.IndexFunc(s.members, func(o *member) bool {
		p, _ := s.between(m, o.name)
		doc, _ := s.World().Member(o.name)
		return o != m && o.well() && p.up && !p.ways[0].cut && !p.ways[1].cut && !doc.Draining
	})
	switch {
	case !m.deaf || m.dead || m.frozen || takes < 0:
		m.lonely = time.Time{}
	case m.lonely.IsZero():
		m.lonely = s.now
	case s.now.Sub(m.lonely) > forsaken:
		if n := m.core.Members()[0].Sessions; n > 0 {
			s.fault("member %s has not heard of its store for %s, and still has %d sessions; member %s is well", m.name, s.now.Sub(m.unheard), n, s.members[takes].name)
		}
	}
}

// HealMember has a member hear the store again, and others.
func (s *Sim) HealMember(n int) {
	m := s.members[n]
	m.deaf = false
	for len(m.feed) > 0 && !m.frozen && !m.dead {
		m.eat()
	}
	m.hear()
	s.meet(m)
}

// DrainMember has a member take no sessions, or take them again.
func (s *Sim) DrainMember(n int, draining bool) error {
	_, err := s.Edit(func(w *world.World) (dove.Txn, error) {
		return first(edit.DrainMember(w, s.members[n].name, draining, nil))
	})
	return err
}

// meet has a member and all others speak again, and hosts without a session try.
func (s *Sim) meet(m *member) {
	for _, p := range s.peerings {
		if p.a == m || p.b == m {
			s.greet(p)
		}
	}
	s.tryAgain()
}
