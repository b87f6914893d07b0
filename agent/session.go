package agent

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// session is what Core knows of the present session, and why the last one ended.
type session struct {
	open     bool
	member   string // of Welcome; "" before it
	swept    bool   // the first Frontier has come
	expected uint64 // number of the last Expect
	acks     []pendingAck
	last     dove.Revision     // that went out
	acked    bool              // one went out
	failed   []control.Failure // as the last one said
	quiet    time.Time         // when something was sent last
	heard    time.Time         // when something was received last
	asked    time.Time         // when something was asked first of which nothing came since
	looked   time.Time         // when the clock was looked at last
	left     bool              // it is over, and who carries it need only say so
	mute     int               // sessions that were left in a row, this one too, as nothing came of a question
	refusal  *control.Refusal  // that ended the last session
}

// pendingAck is a frontier that waits for an Apply and a Save.
type pendingAck struct {
	revision  dove.Revision
	seq, save uint64
}

func (c *Core) connected() {
	c.session = session{open: true, quiet: c.now, heard: c.now, looked: c.now, mute: c.session.mute, refusal: c.session.refusal}
	c.number = max(c.number+1, uint64(max(c.now.UnixNano(), 0))) // also later than before a restart
	for _, a := range c.assignments {
		a.confirmed = false
	}
	c.send(c.hello())
}

// hello lists what is held, in order.
func (c *Core) hello() *control.Hello {
	h := &control.Hello{
		Version: control.Version, Number: c.number, Host: c.config.Host, VTEP: c.config.VTEP, Software: c.config.Software,
		Incarnation: c.incarnation, Seen: c.seen, Fleet: control.FleetDigest(maps.Values(c.tunnels)),
	}
	for _, vni := range slices.Sorted(maps.Keys(c.networks)) {
		n := c.networks[vni]
		for _, addr := range slices.SortedFunc(maps.Keys(n.peers), netip.Addr.Compare) {
			h.Peers = append(h.Peers, control.HeldPeer{
				Key: control.PeerKey{VNI: vni, Addr: addr}, Digest: n.peers[addr].digest})
		}
	}
	for _, d := range c.sortedDomains() {
		for _, k := range slices.SortedFunc(maps.Keys(d.pairs), classes.compare) {
			h.Pairs = append(h.Pairs, control.HeldPair{
				Key: control.PairKey{Domain: d.name, Src: k.src, Dst: k.dst}, Digest: d.pairs[k].digest})
		}
	}
	for _, a := range c.sortedAssignments() {
		u, ok := c.tellable(a)
		if !ok {
			u.State = control.EndpointWaiting
		}
		a.told = u
		c.touch(a)
		h.Attached = append(h.Attached, u)
	}
	return h
}

// disconnected ends the session. All that is held stays, and so do the held
// packets and their questions.
func (c *Core) disconnected() {
	c.session = session{mute: c.session.mute, refusal: c.session.refusal}
	c.live = live{reading: c.live.reading}
	clear(c.flowRequests)
	c.freed = control.Release{}
	c.unasked = nil
	for _, key := range slices.SortedFunc(maps.Keys(c.questions), questionKey.compare) {
		if q := c.questions[key]; len(q.held) > 0 {
			q.tries = 0
			c.askAgain(q, 0)
		} else {
			c.forgetQuestion(q)
		}
	}
}

func (c *Core) received(m control.Down) {
	if !c.session.open {
		return
	}
	c.session.heard, c.session.asked = c.now, time.Time{}
	defer func() { c.tracker.cause = nil }()
	if _, ok := m.(*control.Welcome); !ok && c.session.member == "" {
		switch m := m.(type) {
		case *control.Refusal:
			c.refused(m)
		case *control.Elsewhere:
			c.session.refusal = &control.Refusal{Kind: dove.Unavailable, Message: m.Reason}
		}
		return
	}
	switch m := m.(type) {
	case *control.Welcome:
		c.welcome(m)
	case *control.Assign:
		c.news(m.Revision)
		c.assign(m)
	case *control.Unassign:
		c.news(m.Revision)
		c.unassign(m)
	case *control.Tunnels:
		c.news(m.Revision)
		c.setTunnels(m)
	case *control.PolicyReply:
		c.session.mute = 0
		c.see(m.Revision)
		c.reply(m)
	case *control.Update:
		c.news(m.Revision)
		for _, row := range m.Peers {
			c.takePeer(row, false)
		}
		for _, row := range m.Pairs {
			c.takePair(row, false)
		}
	case *control.Expect:
		c.see(m.Revision)
		c.expect(m)
	case *control.Frontier:
		c.news(m.Revision)
		c.frontier(m)
	case *control.Inspect:
		c.inspect(m)
	case *control.CarryRequest:
		c.carryRequest(m)
	case *control.Carry:
		c.carried(m)
	case *control.Members:
		if !slices.Equal(c.members, m.Addresses) {
			c.members, c.unsaved = m.Addresses, true
		}
	case *control.Elsewhere: // who carries the session obeys
	case *control.Refusal:
		c.refused(m)
	}
}

// refused notes why a session ends. The next one is later than any that the DPC knows of,
// though the clock was set back.
func (c *Core) refused(m *control.Refusal) {
	c.session.refusal = m
	c.number = max(c.number, m.Later)
}

// leaveSilent gives a session up whose member is silent: it may be stopped, or cut
// off, which the connection tells only much later. Time in which this host did not run
// does not count: what was said then is still to be read. Until a question is answered, each
// member is given twice the time of the one before: if all of them have too much to do,
// hosts that go from one to the next give them more.
func (c *Core) leaveSilent() {
	s := &c.session
	if paused := c.now.Sub(s.looked); paused > speechlessAfter/2 {
		s.heard = c.now
		if !s.asked.IsZero() {
			s.asked = c.now
		}
	}
	s.looked = c.now
	patience := min(speechlessAfter<<min(s.mute, 8), silentAfter)
	speechless := s.member != "" && !s.asked.IsZero() && c.now.Sub(s.asked) >= patience
	if s.open && !s.left && (speechless || c.now.Sub(s.heard) >= silentAfter) {
		s.left = true
		if speechless {
			s.mute++
		}
		c.emit(Leave{})
	}
}

func (c *Core) see(r dove.Revision) { c.seen = max(c.seen, r) }

// news sees a revision that what the message changes is of.
func (c *Core) news(r dove.Revision) {
	c.see(r)
	c.tracker.cause = cause{r}
}

// welcome begins what a member says. Its revision is not seen by that: nothing that is
// held here is of it, and a member below it takes nothing back.
func (c *Core) welcome(m *control.Welcome) {
	c.session.member = m.Member
	c.session.refusal = nil
	if m.Incarnation != c.incarnation {
		// Revisions and epochs start anew; what is held stays until it is told otherwise.
		c.incarnation, c.seen = m.Incarnation, 0
		c.tracker.unname()
		for _, a := range c.assignments {
			a.outlived = true
		}
		c.unsaved = true
	}
}

// frontier schedules the acknowledgement of all that came before it. The first
// one of a session ends the list of assignments.
func (c *Core) frontier(m *control.Frontier) {
	if !c.session.swept {
		c.session.swept = true
		for _, a := range c.sortedAssignments() {
			if !a.confirmed {
				c.forgetAssignment(a)
			}
		}
	}
	c.session.acks = append(c.session.acks, pendingAck{m.Revision, c.covering(), c.keeping()})
}

// acknowledge says which frontier is in force, but for what failed, and outlives the agent.
func (c *Core) acknowledge() {
	s := &c.session
	if c.undoes() {
		return
	}
	failed := c.failures()
	n := 0
	for n < len(s.acks) && s.acks[n].seq <= c.done && s.acks[n].save <= c.written {
		n++
	}
	if n == 0 && (!s.acked || slices.Equal(failed, s.failed)) {
		return
	}
	if n > 0 {
		s.last = s.acks[n-1].revision
		s.acks = slices.Delete(s.acks, 0, n)
	}
	s.acked, s.failed = true, failed
	c.send(&control.Ack{Revision: s.last, Failed: failed})
}

// undoes reports whether a port that could not be set is about to be closed for
// the first time: what comes of that counts.
func (c *Core) undoes() bool {
	for key, op := range c.tracker.flight {
		if _, closes := op.(dataplane.DelPort); closes && c.tracker.failed[key].tries == 1 {
			return true
		}
	}
	return false
}

// failures returns what the switch could not do of each revision, under 0 what
// is of earlier ones than can be named. What no revision asked for, as answers, is
// in no receipt.
func (c *Core) failures() (failed []control.Failure) {
	first, more := map[dove.Revision]string{}, map[dove.Revision]int{}
	fail := func(r dove.Revision, text string, n int) {
		if first[r] == "" {
			first[r] = text
		} else {
			more[r] += n
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(c.tracker.failed), target.compare) {
		f := c.tracker.failed[key]
		text := c.faultOf(key)
		if !f.closed {
			text = "what was before may still be in force: " + text
		}
		for _, r := range c.tracker.causes[key] {
			if r >= 0 || !f.closed {
				fail(max(r, 0), text, 1)
			}
		}
	}
	revisions := slices.Sorted(maps.Keys(first))
	for n := len(revisions); n > control.FailuresMax; n = len(revisions) {
		earliest := slices.IndexFunc(revisions, func(r dove.Revision) bool { return r > 0 })
		r := revisions[earliest]
		fail(0, first[r], 1+more[r])
		revisions = slices.Sorted(slices.Values(append(slices.Delete(revisions, earliest, earliest+1), 0)))
		revisions = slices.Compact(revisions)
	}
	for _, revision := range revisions {
		text := first[revision]
		if n := more[revision]; n > 0 {
			text = fmt.Sprintf("%d changes, the first: %s", n+1, text)
		}
		failed = append(failed, control.Failure{Revision: revision, Text: text})
	}
	return failed
}

// faultOf says why an op failed, and what it was about by the names that people know.
func (c *Core) faultOf(key target) string {
	text := c.tracker.failed[key].text
	d := c.byHandle[key.pair.Domain]
	if d == nil {
		return text
	}
	return fmt.Sprintf("domain %s, packets from class %d to %d: %s", d.name, key.pair.Src, key.pair.Dst, text)
}

func compareDomains(a, b dove.Domain) int {
	return cmp.Or(strings.Compare(string(a.Tenant), string(b.Tenant)), strings.Compare(a.Name, b.Name))
}

func (c *Core) sortedDomains() []*domain {
	return slices.SortedFunc(maps.Values(c.domains), func(a, b *domain) int { return compareDomains(a.name, b.name) })
}
