package controller

import (
	"fmt"
	"maps"
	"slices"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/resolver"
)

// OpenPart is how many rows of a Hello are compared in one step: others have their turns
// between the parts.
const OpenPart = 256

// heardMax is how many messages a dSwitch may say before its Hello is compared; they have at
// most control.HeldMax rows. All of them are heard in one step.
const heardMax = 1024

// unopened is a session whose Hello is not compared whole.
type unopened struct {
	*session
	hello *control.Hello
	at    int // rows that are compared: pairs first
	// Rows that are not what they should be, and those that changed since they were compared.
	peers    []control.Peer
	pairs    []control.Pair
	newPeers map[control.PeerKey]bool
	newPairs map[control.PairKey]bool
	expects  []control.Down // since
	heard    []control.Up
	released int // rows in heard
}

// open takes a Hello. It is answered with a refusal, or with all that the dSwitch must hold
// and does not, in one batch, once it is compared.
func (c *Core) open(e Opened) {
	if c.turnedDown(e.Session, e.Identity, e.Hello) {
		return
	}
	u := &unopened{hello: e.Hello, session: &session{
		id: e.Session, identity: e.Identity, software: e.Hello.Software,
		ports: map[dove.Endpoint]*port{}, carries: map[dove.Endpoint]*carrying{}, number: e.Hello.Number,
	}, newPeers: map[control.PeerKey]bool{}, newPairs: map[control.PairKey]bool{}}
	for id, before := range c.unopened {
		if before.identity.Host == u.identity.Host { // there is one at most
			c.effects = append(c.effects, End{id, &control.Refusal{Kind: dove.Conflict, Message: fmt.Sprintf("host %s opened another session", u.identity.Host)}})
			c.forgetUnopened(before)
		}
	}
	c.unopened[u.id] = u
	c.interest.Open(u.id, u.identity.Host)
	c.goOn(u)
}

// turnedDown ends a session that must not open, or is to open elsewhere.
func (c *Core) turnedDown(id control.SessionID, identity control.Identity, h *control.Hello) bool {
	if refusal := c.welcome(identity, h); refusal != nil {
		c.effects = append(c.effects, End{id, refusal})
		return true
	}
	if away := c.turnAway(h); away != nil {
		c.effects = append(c.effects, End{id, away})
		return true
	}
	return false
}

// goOn compares a part of a Hello, and opens the session after the last.
func (c *Core) goOn(u *unopened) {
	c.compare(u)
	if u.at < len(u.hello.Pairs)+len(u.hello.Peers) {
		c.effects = append(c.effects, Continue{u.id})
		return
	}
	if u.at > c.openPart && c.turnedDown(u.id, u.identity, u.hello) { // much may have changed
		c.forgetUnopened(u)
		return
	}
	c.compareAgain(u)
	c.opened(u)
}

// forgetUnopened forgets a session that did not open.
func (c *Core) forgetUnopened(u *unopened) {
	delete(c.unopened, u.id)
	c.interest.Close(u.id)
}

// opened begins a session whose Hello is compared.
func (c *Core) opened(u *unopened) {
	s, h := u.session, u.hello
	delete(c.unopened, s.id)
	if before := c.hosts[s.identity.Host]; before != nil {
		c.end(before, dove.Conflict, fmt.Sprintf("host %s opened another session", s.identity.Host))
	}
	s.opened = c.now
	c.sessions[s.id], c.hosts[s.identity.Host] = s, s
	c.markApart(s.identity.Host)

	revision := c.world.Revision()
	batch := []control.Down{&control.Welcome{
		Version: control.Version, Member: c.member, Incarnation: c.world.Incarnation(), Revision: revision,
	}}
	if m := c.members(); len(m.Addresses) > 0 {
		s.members = m.Addresses
		batch = append(batch, m)
	}
	batch = append(batch, u.expects...)
	for _, e := range c.lacks(s, h, u.peers) {
		batch = append(batch, e)
	}
	batch = append(batch, c.assignAll(s, h.Attached)...)
	if h.Incarnation != c.world.Incarnation() || h.Fleet == (control.Digest{}) || h.Fleet != c.fleetDigest() {
		batch = append(batch, c.tunnels()...)
	}
	for _, r := range control.Split(revision, u.peers, u.pairs) {
		batch = append(batch, r)
	}
	c.send(s, append(batch, &control.Frontier{Revision: revision})...)
	told := len(u.peers) + len(u.pairs)
	c.effects = append(c.effects, Resumed{Told: told, Kept: max(0, len(h.Peers)+len(h.Pairs)-told)})
	c.ledger.Open(s.id, s.identity.Host, h.Number, revision)
	c.present(c.ledger.Presence(s.id))
	c.liveOpened(s.identity.Host)
	for _, name := range sortedEndpoints(s.ports) {
		if c.moving[name] {
			c.tellState(name, s)
			c.carry(name)
		}
	}
	for _, m := range u.heard {
		if c.sessions[s.id] == s {
			c.received(s, m)
		}
	}
}

// hears keeps what a dSwitch says before its Hello is compared: what became of its ports, and
// what it holds no more. For all else it must wait for its Welcome.
func (c *Core) hears(u *unopened, m control.Up) {
	refuse := func(kind dove.Kind, text string, args ...any) {
		c.effects = append(c.effects, End{u.id, &control.Refusal{Kind: kind, Message: fmt.Sprintf(text, args...)}})
		c.forgetUnopened(u)
	}
	switch m := m.(type) {
	case *control.Heartbeat:
		return
	case *control.EndpointUpdate, *control.Claim:
	case *control.Release:
		u.released += len(m.Peers) + len(m.Pairs)
	default:
		refuse(dove.Invalid, "the dSwitch says %T before its Welcome", m)
		return
	}
	if len(u.heard) == heardMax || u.released > control.HeldMax {
		refuse(dove.TooLarge, "the dSwitch says more than %d messages before its Welcome, or releases more than %d rows", heardMax, control.HeldMax)
		return
	}
	u.heard = append(u.heard, m)
}

// putOff takes the news of the sessions that are not open: which rows they are to be told
// when they are.
func (c *Core) putOff(news map[control.SessionID][]control.Down) {
	for id, u := range c.unopened {
		note := func(peers []control.Peer, pairs []control.Pair) {
			for _, p := range peers {
				u.newPeers[p.Key] = true
			}
			for _, p := range pairs {
				u.newPairs[p.Key] = true
			}
		}
		for _, m := range news[id] {
			switch m := m.(type) {
			case *control.Expect: // it is to hold these from now on
				u.expects = append(u.expects, m)
				note(m.Peers, m.Pairs)
			case *control.Update:
				note(m.Peers, m.Pairs)
			}
		}
		delete(news, id)
	}
}

// endUnopened ends all sessions that are not open.
func (c *Core) endUnopened(reason string) {
	for _, id := range slices.Sorted(maps.Keys(c.unopened)) {
		c.effects = append(c.effects, End{id, &control.Refusal{Kind: dove.Unavailable, Message: reason}})
		c.forgetUnopened(c.unopened[id])
	}
}

// compare enters the session's interest in a part of what it holds, as far as it may
// hold it, and notes the rows of it that are not what they should be.
func (c *Core) compare(u *unopened) {
	h, host := u.hello, u.identity.Host
	known := h.Incarnation == c.world.Incarnation()
	end := min(u.at+c.openPart, len(h.Pairs)+len(h.Peers))
	for ; u.at < min(end, len(h.Pairs)); u.at++ {
		held := h.Pairs[u.at]
		row := c.view.Pair(host, held.Key)
		c.interest.Pair(u.id, row)
		if digest := row.Digest(); !known || digest != held.Digest || row.Table == nil {
			u.pairs = append(u.pairs, row)
		}
	}
	for ; u.at < end; u.at++ {
		held := h.Peers[u.at-len(h.Pairs)]
		row := c.view.Peer(host, held.Key)
		c.interest.Peer(u.id, &row)
		if digest := row.Digest(); !known || digest != held.Digest || digest == (control.Digest{}) {
			u.peers = append(u.peers, row)
		}
	}
}

// compareAgain brings what changed since it was compared up to date.
func (c *Core) compareAgain(u *unopened) {
	if len(u.newPeers)+len(u.newPairs) == 0 {
		return
	}
	host := u.identity.Host
	u.peers = slices.DeleteFunc(u.peers, func(p control.Peer) bool { return u.newPeers[p.Key] })
	for _, key := range slices.SortedFunc(maps.Keys(u.newPeers), resolver.ComparePeerKeys) {
		row := control.Peer{Key: key, Absent: true} // it was taken back
		if c.interest.HoldsPeer(u.id, key) {
			row = c.view.Peer(host, key)
		}
		u.peers = append(u.peers, row)
	}
	u.pairs = slices.DeleteFunc(u.pairs, func(p control.Pair) bool { return u.newPairs[p.Key] })
	for _, key := range slices.SortedFunc(maps.Keys(u.newPairs), resolver.ComparePairKeys) {
		row := control.Pair{Key: key}
		if c.interest.HoldsPair(u.id, key) {
			row = c.view.Pair(host, key)
		}
		u.pairs = append(u.pairs, row)
	}
}
