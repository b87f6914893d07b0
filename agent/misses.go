package agent

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// questionKey names what is asked: whether local addresses of a class may talk
// with a peer. All of a class get the same answer.
type questionKey struct {
	vni   dove.VNI
	class dove.Class
	peer  netip.Addr
}

func (k questionKey) compare(o questionKey) int {
	return cmp.Or(cmp.Compare(k.vni, o.vni), k.peer.Compare(o.peer), cmp.Compare(k.class, o.class))
}

func (k questionKey) peerKey() control.PeerKey { return control.PeerKey{VNI: k.vni, Addr: k.peer} }

// asked names a question of one request.
type asked struct {
	id       uint64
	question control.Question
}

// question waits to be asked or for its answer.
type question struct {
	key    questionKey
	asked  asked // as it was sent last
	sent   bool
	sentAt time.Time
	from   time.Time // not asked before
	tries  int
	held   []*heldPacket
	hinted control.Question // what is asked if nobody waits
	gone   bool
}

// heldPacket is a missed packet that waits for an answer.
type heldPacket struct {
	miss     dataplane.Miss
	question *question
	port     *assignment
	deadline time.Time
	gone     bool
}

func (c *Core) missed(m dataplane.Miss) {
	a := c.ports[m.Port]
	if a == nil {
		c.emit(Discard{m, dataplane.NoPort})
		return
	}
	class, ours := a.class(m.Local)
	if !ours {
		reason := dataplane.SpoofedAddress
		if m.Direction == dataplane.FromOverlay {
			reason = dataplane.NotHere
		}
		c.emit(Discard{m, reason})
		return
	}
	key := questionKey{a.VNI, class, m.Peer}
	q := c.questions[key]
	if q == nil && m.Want == dataplane.WantFirst {
		c.holdPiece(a, m)
		return
	}
	if q == nil && c.answerable(a, key, m.Want) {
		c.giveBack(m)
		return
	}
	switch {
	case a.held >= HeldPerPort || len(c.heldFor[key.peerKey()]) >= HeldPerPeer:
		c.emit(Discard{m, dataplane.HoldLimit})
		return
	case q == nil && (len(c.questions) >= QuestionsMax || c.rows+len(c.questions) >= c.config.Rows):
		c.emit(Discard{m, dataplane.MissLimit})
		return
	case q == nil && m.Direction == dataplane.FromGuest && a.vain.Sub(c.now) > VainPerPort*vainEvery:
		c.emit(Discard{m, dataplane.MissLimit}) // it looks for addresses that nobody has
		return
	case q == nil:
		q = &question{key: key}
		c.questions[key] = q
		c.unasked = append(c.unasked, q)
	case q.sent && c.now.Sub(q.sentAt) >= askAgainAfter:
		c.askAgain(q, 0) // nobody answers
	}
	if m.Want == dataplane.WantConfirm {
		if held := c.networks[a.VNI].peers[m.Peer]; held != nil {
			held.confirmed = c.now
		}
	}
	p := &heldPacket{miss: m, question: q, port: a, deadline: c.now.Add(HoldFor)}
	q.held = append(q.held, p)
	c.holds = append(c.holds, p)
	c.heldFor[key.peerKey()] = append(c.heldFor[key.peerKey()], p)
	a.held++
}

// hinted asks anew about a peer whose host says another class of it than is held.
// The packet has not waited: it was judged by what is held.
func (c *Core) hinted(h dataplane.Hint) {
	a := c.ports[h.Port]
	if a == nil || c.session.member == "" {
		return
	}
	class, ours := a.class(h.Tuple.Dst)
	held := c.networks[a.VNI].peers[h.Tuple.Src]
	key := questionKey{a.VNI, class, h.Tuple.Src}
	switch {
	case !ours || held == nil || c.questions[key] != nil || len(c.questions) >= QuestionsMax:
		return
	case lately(held.confirmed, c.now) || lately(held.hinted, c.now):
		return
	}
	held.hinted = c.now // a packet that waits for a confirmation still gets its own
	q := &question{key: key, hinted: control.Question{VNI: a.VNI, Local: h.Tuple.Dst, Peer: h.Tuple.Src, Class: class}}
	c.questions[key] = q
	c.unasked = append(c.unasked, q)
}

// answerable reports whether the packet need not wait for an answer: what it
// lacks is held (and perhaps on its way into the switch), or what it contradicts
// was confirmed a moment ago.
func (c *Core) answerable(a *assignment, key questionKey, want dataplane.Want) bool {
	if want == dataplane.WantConfirm {
		if _, ours := c.locals[key.peerKey()]; ours {
			return true // nobody else speaks for an address of this host
		}
		held := c.networks[a.VNI].peers[key.peer]
		return held != nil && lately(held.confirmed, c.now)
	}
	if want == dataplane.WantDenial && c.session.member != "" {
		return false // its answer comes after all that changed before
	}
	return c.knows(key)
}

// lately reports whether a peer was asked about so short a time ago that it is not again.
func lately(at, now time.Time) bool { return !at.IsZero() && now.Sub(at) < confirmEvery }

// knows reports whether the peer and both directions of its pair are held.
func (c *Core) knows(key questionKey) bool {
	n := c.networks[key.vni]
	if n == nil {
		return false
	}
	var far []dove.Class
	if l, ok := c.locals[key.peerKey()]; ok {
		far = []dove.Class{l.class}
	} else if held := n.peers[key.peer]; held == nil || held.digest == (control.Digest{}) {
		return false
	} else if held.row.Absent {
		return true
	} else {
		far = held.row.Classes()
	}
	return !slices.ContainsFunc(far, func(class dove.Class) bool {
		return n.domain.pairs[classes{key.class, class}] == nil || n.domain.pairs[classes{class, key.class}] == nil
	})
}

// awaits reports whether a question about the address waits for its answer.
func (c *Core) awaits(key control.PeerKey) bool {
	return c.askedFor[key] > 0
}

// giveBack injects a packet once all that is wanted by now is in the switch.
func (c *Core) giveBack(m dataplane.Miss) {
	c.ready = append(c.ready, release{m, c.covering()})
}

// ask sends the questions whose time has come.
func (c *Core) ask() {
	if c.session.member == "" {
		return
	}
	var request *control.PolicyRequest
	later := c.unasked[:0]
	for _, q := range c.unasked {
		switch {
		case q.gone || q.sent:
		case c.now.Before(q.from):
			later = append(later, q)
		default:
			if request == nil || len(request.Questions) == QuestionsBatch {
				c.lastID++
				request = &control.PolicyRequest{ID: c.lastID}
				c.send(request)
				if c.session.asked.IsZero() {
					c.session.asked = c.now
				}
			}
			request.Questions = append(request.Questions, c.askNow(q))
		}
	}
	clear(c.unasked[len(later):])
	c.unasked = later
}

// askNow notes that a question is asked, from an address that a packet waits for
// now: the first one may be gone by now.
func (c *Core) askNow(q *question) control.Question {
	q.asked = asked{c.lastID, q.hinted}
	if len(q.held) > 0 {
		m := q.held[0].miss
		q.asked.question = control.Question{
			VNI: q.key.vni, Local: q.held[0].port.speaks(m.Local), Peer: q.key.peer, Outgoing: m.Direction == dataplane.FromGuest, Class: q.key.class}
	}
	q.sent, q.sentAt = true, c.now
	q.tries++
	c.asked[q.asked] = q
	c.askedFor[q.key.peerKey()]++
	return q.asked.question
}

// unask takes back that a question waits for its answer.
func (c *Core) unask(q *question) {
	if !q.sent {
		return
	}
	q.sent = false
	delete(c.asked, q.asked)
	if key := q.key.peerKey(); c.askedFor[key] > 1 {
		c.askedFor[key]--
	} else {
		delete(c.askedFor, key)
	}
}

func (c *Core) askAgain(q *question, after time.Duration) {
	c.unask(q)
	q.from = c.now.Add(after)
	c.unasked = append(c.unasked, q)
}

func (c *Core) forgetQuestion(q *question) {
	c.unask(q)
	q.gone = true
	delete(c.questions, q.key)
}

// reply takes rows and answers. One request may be answered by several replies;
// a peer's row counts only with an answer that is waited for, because what was
// asked before something was released says nothing of what is held since.
func (c *Core) reply(m *control.PolicyReply) {
	var answered []control.Answer
	awaited := map[control.PeerKey]bool{}
	for _, a := range m.Answers {
		if q := c.asked[asked{m.ID, a.Question}]; q != nil {
			answered = append(answered, a)
			awaited[q.key.peerKey()] = true
		}
	}
	for _, row := range m.Pairs {
		c.takePair(row, true)
	}
	for _, row := range m.Peers {
		c.takePeer(row, awaited[row.Key])
		if n := c.networks[row.Key.VNI]; n == nil || n.peers[row.Key.Addr] == nil {
			c.freed.Peers = append(c.freed.Peers, row.Key)
		}
	}
	for _, a := range answered {
		if q := c.asked[asked{m.ID, a.Question}]; q != nil {
			c.answered(q, a)
		}
	}
}

// triesMax is how often a question is asked whose rows were given up meanwhile.
const triesMax = 3

func (c *Core) answered(q *question, a control.Answer) {
	switch a.Status {
	case control.Found:
		if !c.knows(q.key) && q.tries < triesMax && len(q.held) > 0 && c.rows < c.config.Rows {
			c.askAgain(q, 0)
			return
		}
		c.finish(q, dataplane.NotDropped)
	case control.NoEndpoint:
		c.inVain(q)
		if c.knows(q.key) {
			c.finish(q, dataplane.NotDropped) // the switch says no, and counts it
		} else {
			c.finish(q, dataplane.NoEndpoint)
		}
	case control.Retry:
		if len(q.held) == 0 {
			c.forgetQuestion(q)
			return
		}
		c.askAgain(q, min(max(a.After, 20*time.Millisecond), HoldFor))
	default: // Refused: the DPC does not know the local address as this host's
		if len(q.held) > 0 && q.held[0].port.speaks(q.held[0].miss.Local) != q.asked.question.Local && q.tries < triesMax {
			c.askAgain(q, 0)
			return
		}
		c.finish(q, dataplane.NoPort)
	}
}

// inVain notes that guests asked for an address that nobody has: most of a scan is to stay
// on this host.
func (c *Core) inVain(q *question) {
	for _, p := range q.held {
		if p.miss.Direction == dataplane.FromGuest {
			if p.port.vain.Before(c.now) {
				p.port.vain = c.now
			}
			p.port.vain = p.port.vain.Add(vainEvery)
			return // one guest pays
		}
	}
}

// finish ends a question: its packets go back to the switch, or are discarded.
func (c *Core) finish(q *question, r dataplane.Reason) {
	c.forgetQuestion(q)
	for _, p := range piecesLast(q.held) {
		c.unhold(p)
		if r == dataplane.NotDropped {
			c.giveBack(p.miss)
		} else {
			c.emit(Discard{p.miss, r})
		}
	}
	q.held = nil
}

// foreseen gives back what waits for an answer about a peer that an Expect has brought
// meanwhile: the packet was faster. The answer comes all the same; what it is to confirm waits for it.
func (c *Core) foreseen(peer control.PeerKey) {
	var known []*question
	for _, p := range c.heldFor[peer] {
		if q := p.question; !slices.Contains(known, q) && c.knows(q.key) && !slices.ContainsFunc(q.held, (*heldPacket).confirms) {
			known = append(known, q)
		}
	}
	slices.SortFunc(known, func(a, b *question) int { return a.key.compare(b.key) })
	for _, q := range known {
		if !q.sent {
			c.forgetQuestion(q)
		}
		for _, p := range piecesLast(q.held) {
			c.unhold(p)
			c.giveBack(p.miss)
		}
		q.held = nil
	}
}

// confirms reports whether a packet waits for what the DPC says now, whatever is held.
func (p *heldPacket) confirms() bool {
	return p.miss.Want == dataplane.WantConfirm || p.miss.Want == dataplane.WantDenial
}

// unhold takes a packet out of the counts; it stays in the queue of deadlines.
func (c *Core) unhold(p *heldPacket) {
	p.gone = true
	p.port.held--
	key := p.question.key.peerKey()
	if c.heldFor[key] = slices.DeleteFunc(c.heldFor[key], func(o *heldPacket) bool { return o == p }); len(c.heldFor[key]) == 0 {
		delete(c.heldFor, key)
	}
}

// drop discards one held packet.
func (c *Core) drop(p *heldPacket, r dataplane.Reason) {
	c.take(p)
	c.emit(Discard{p.miss, r})
}

// take takes one packet from its question. A question that was not asked and
// that nobody waits for any more is not asked.
func (c *Core) take(p *heldPacket) {
	c.unhold(p)
	q := p.question
	q.held = slices.DeleteFunc(q.held, func(o *heldPacket) bool { return o == p })
	if len(q.held) == 0 && !q.sent {
		c.forgetQuestion(q)
	}
}

func (c *Core) expireHolds() {
	n := 0
	for ; n < len(c.holds) && (c.holds[n].gone || !c.now.Before(c.holds[n].deadline)); n++ {
		if p := c.holds[n]; !p.gone && p.miss.Want == dataplane.WantDenial {
			c.take(p)
			c.giveBack(p.miss) // nobody says otherwise: it is denied
		} else if !p.gone {
			c.drop(p, dataplane.HoldLimit)
		}
	}
	c.holds = slices.Delete(c.holds, 0, n)
}

// dropHeld discards what is held for a port that closes.
func (c *Core) dropHeld(a *assignment) {
	c.dropPieces(a)
	for _, p := range c.holds {
		if !p.gone && p.port == a {
			c.drop(p, dataplane.NoPort)
		}
	}
}

// missAgain takes what is held for a port as if it had just missed: the port's
// addresses, or their classes, are others now.
func (c *Core) missAgain(a *assignment) {
	var again []dataplane.Miss
	for _, p := range c.holds {
		if !p.gone && p.port == a {
			c.take(p)
			again = append(again, p.miss)
		}
	}
	for _, m := range again {
		c.missed(m)
	}
}

// dropQuestions forgets the questions of a network without a port.
func (c *Core) dropQuestions(vni dove.VNI) {
	for key, q := range c.questions {
		if key.vni != vni {
			continue
		}
		if len(q.held) > 0 {
			panic("agent: packets are held for a network without a port")
		}
		c.forgetQuestion(q)
	}
}
