package controller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

// fellow is another member with which a stream is up.
type fellow struct {
	stale bool // it has lost touch with the store
}

// place is where the session of a host is: with another member, by the number of
// its Hello, or with member "" here, by its SessionID.
type place struct {
	member  string
	session uint64
}

// party is what a session says of the ports on its host, wherever the session is.
type party struct {
	at     place
	here   *session // nil: with a fellow
	states map[dove.Endpoint]control.EndpointUpdate
}

// said returns what the host says of an endpoint.
func (p *party) said(name dove.Endpoint) (control.EndpointUpdate, bool) {
	if p.here != nil {
		return p.here.said(name)
	}
	u, ok := p.states[name]
	return u, ok
}

// saying is what a Core tells its fellows at the end of a step.
type saying struct {
	presences []control.Presence
	progress  control.Progress // as it said last
	behind    bool             // it named sessions last
}

// placeOf says where the session of a host is.
func (c *Core) placeOf(host dove.HostName) (place, bool) {
	if s := c.hosts[host]; s != nil {
		return place{session: uint64(s.id)}, true
	}
	member, session := c.ledger.Away(host)
	return place{member, session}, member != ""
}

// partyOf is what is known of a host's session, nil if there is none.
func (c *Core) partyOf(host dove.HostName) *party {
	if s := c.hosts[host]; s != nil {
		return &party{at: place{session: uint64(s.id)}, here: s}
	}
	at, ok := c.placeOf(host)
	if !ok {
		return nil
	}
	if p := c.far[host]; p != nil && p.at == at {
		return p
	}
	return &party{at: at}
}

// others are the other members that the world knows.
func (c *Core) others() (all []world.Member) {
	for m := range c.world.Members() {
		if m.Name != c.member {
			all = append(all, m)
		}
	}
	return all
}

// tellFellow sends messages to another member, in order: of whose session they speak is
// told before them.
func (c *Core) tellFellow(name string, messages ...control.Across) {
	c.tellPresences()
	c.effects = append(c.effects, PeerSend{name, messages})
}

func (c *Core) peerOpened(e PeerOpened) {
	if _, ok := c.world.Member(e.Member); !ok || e.Member == c.member {
		c.effects = append(c.effects, PeerEnd{e.Member})
		return
	}
	c.peerClosed(e.Member)
	c.fellows[e.Member] = &fellow{}
	c.ledger.Reach(e.Member, e.Start, c.now)
	all := c.ledger.Gaps()
	for _, s := range c.inOrder() {
		all = append(all, c.ledger.Presence(s.id))
	}
	for _, part := range control.Presents(true, all) {
		c.tellFellow(e.Member, part)
	}
	progress := c.progress()
	c.tellFellow(e.Member, &progress)
	c.liveMoved()
}

func (c *Core) peerClosed(name string) {
	if c.fellows[name] == nil {
		return
	}
	delete(c.fellows, name)
	c.ledger.Part(name, c.now)
	maps.DeleteFunc(c.far, func(_ dove.HostName, p *party) bool { return p.at.member == name })
	c.liveParted(name)
	c.liveMoved()
}

func (c *Core) peerReceived(name string, m control.Across) {
	f := c.fellows[name]
	if f == nil {
		return
	}
	switch m := m.(type) {
	case *control.Present:
		c.heard(name, m)
	case *control.Progress:
		f.stale = m.Stale
		c.ledger.Advance(name, m, c.now)
	case *control.Behind:
		c.ledger.Lag(name, m)
	case *control.Ahead:
		c.expect(m.Asker, c.view.Resolve(m.Asker, m.Question), false)
	case *control.PortState:
		c.portState(name, m)
	case *control.Handover:
		c.handover(m)
	case *control.Relay:
		c.relay(name, m)
	case *control.Relayed:
		c.relayed(name, m)
	case *control.StatusRequest:
		c.statusRequest(name, m)
	case *control.StatusReply:
		c.statusReply(name, m)
	}
}

// heard takes which sessions another member has: of a host that opened one there
// later, the one here is over. If it is not, as the host's clock was set back, the host opens one that
// is later.
func (c *Core) heard(name string, m *control.Present) {
	c.ledger.Hear(name, m, c.now)
	moved := map[dove.HostName]bool{}
	for _, p := range m.Hosts {
		moved[p.Host] = true
		if s := c.hosts[p.Host]; s != nil && p.Phase != control.PhaseEnded && (p.Session > s.number || p.Session == s.number && name > c.member) {
			c.endAs(s, overtaken(p))
		}
		if at, _ := c.placeOf(p.Host); c.far[p.Host] != nil && c.far[p.Host].at != at {
			delete(c.far, p.Host)
		}
	}
	c.liveMoved()
	for _, e := range sortedEndpoints(c.moving) {
		if its, _ := c.world.Endpoint(e); moved[its.Host] || moved[its.Standby] {
			for _, h := range its.Bindings() {
				c.tellState(e, c.hosts[h])
			}
			c.carry(e)
		}
	}
}

// overtaken ends a session of a host that opened a later one, by its number.
func overtaken(later control.Presence) *control.Refusal {
	return &control.Refusal{Kind: dove.Conflict, Message: fmt.Sprintf("host %s opened another session", later.Host), Later: later.Session}
}

// tellState tells the member that has the other host of an endpoint that moves what
// the host of a session here said of it.
func (c *Core) tellState(name dove.Endpoint, s *session) {
	e, ok := c.world.Endpoint(name)
	if s == nil || !ok || e.Standby == "" {
		return
	}
	u, said := s.said(name)
	if at, ok := c.placeOf(e.Other(s.identity.Host)); said && ok && at.member != "" {
		c.tellFellow(at.member, &control.PortState{Host: s.identity.Host, Session: s.number, Update: u})
	}
}

// farMax is of how many endpoints that move it is remembered what one host of another
// member said.
const farMax = 4096

// portState takes what a host of another member says of an endpoint that moves.
func (c *Core) portState(name string, m *control.PortState) {
	at := place{name, m.Session}
	if is, _ := c.placeOf(m.Host); is != at {
		return
	}
	if c.far[m.Host] == nil || c.far[m.Host].at != at {
		c.far[m.Host] = &party{at: at, states: map[dove.Endpoint]control.EndpointUpdate{}}
	}
	states := c.far[m.Host].states
	if _, known := states[m.Update.Endpoint]; !known && len(states) >= farMax {
		// What was said too late, of moves that are over here.
		maps.DeleteFunc(states, func(e dove.Endpoint, _ control.EndpointUpdate) bool { return !c.moving[e] })
		if len(states) >= farMax {
			return // nobody has as many
		}
	}
	states[m.Update.Endpoint] = m.Update
	c.carry(m.Update.Endpoint)
}

// follow keeps which endpoints move, and forgets what was said of those that no longer do.
func (c *Core) follow(delta world.Delta) {
	for _, change := range delta.Endpoints {
		name := cmp.Or(change.New, change.Old).Full()
		if change.New != nil && change.New.Standby != "" {
			c.moving[name] = true
			continue
		}
		delete(c.moving, name)
		for _, p := range c.far {
			delete(p.states, name)
		}
	}
}

// fleet follows the members that the world knows.
func (c *Core) fleet(delta world.Delta) {
	if len(delta.Members) == 0 {
		return
	}
	for _, change := range delta.Members {
		switch was, is := change.Old, change.New; {
		case cmp.Or(is, was).Name == c.member:
		case is == nil || was != nil && was.UID != is.UID:
			c.peerClosed(was.Name)
			c.effects = append(c.effects, PeerEnd{was.Name})
			c.ledger.Dismiss(was.Name, c.now)
			if is != nil {
				c.ledger.Part(is.Name, c.now)
			}
		case was == nil:
			c.ledger.Part(is.Name, c.now)
		case was.Serial != is.Serial && c.fellows[is.Name] != nil:
			// The certificate by which the stream was opened is no longer its own.
			c.peerClosed(is.Name)
			c.effects = append(c.effects, PeerEnd{is.Name})
		}
	}
	if m := c.members(); len(m.Addresses) > 0 {
		for _, s := range c.inOrder() {
			if !slices.Equal(s.members, m.Addresses) {
				s.members = m.Addresses
				c.send(s, m)
			}
		}
	}
}

// members is what sessions are told of where members are.
func (c *Core) members() *control.Members {
	m := &control.Members{}
	for its := range c.world.Members() {
		if its.Control != "" && len(m.Addresses) < control.MembersMax {
			m.Addresses = append(m.Addresses, its.Control)
		}
	}
	return m
}

func (c *Core) progress() control.Progress {
	return control.Progress{Applied: c.world.Revision(), Settled: min(c.ledger.Own(), c.world.Revision()), Stale: c.stale}
}

// present notes what fellows are to know of a session.
func (c *Core) present(p control.Presence) {
	if len(c.fellows) > 0 {
		c.said.presences = append(c.said.presences, p)
	}
}

// tellFellows says at the end of a step what it changed.
func (c *Core) tellFellows() {
	c.tellPresences()
	if progress := c.progress(); progress != c.said.progress {
		c.said.progress = progress
		c.tellAll(&progress)
	}
}

func (c *Core) tellPresences() {
	parts := control.Presents(false, c.said.presences)
	c.said.presences = nil
	for _, part := range parts {
		c.tellAll(part)
	}
}

func (c *Core) tellAll(messages ...control.Across) {
	for _, name := range slices.Sorted(maps.Keys(c.fellows)) {
		c.tellFellow(name, messages...)
	}
}

// fellowTick forgets hosts that were deleted, has those whose clock was set back open later sessions, names
// sessions that are behind, and gives up waiting for members that were never reached once no host is missing.
func (c *Core) fellowTick() {
	c.ledger.Sweep(func(h dove.HostName) bool { _, ok := c.world.Host(h); return ok }, c.now)
	later := c.ledger.Overtaken()
	for _, p := range later[""] {
		c.endAs(c.hosts[p.Host], overtaken(p))
	}
	for _, name := range slices.Sorted(maps.Keys(c.fellows)) {
		for _, part := range control.Presents(false, later[name]) {
			c.tellFellow(name, part)
		}
	}
	if len(c.fellows) > 0 {
		behind := c.ledger.Own() < c.world.Revision()
		if behind || c.said.behind {
			c.tellAll(c.ledger.Behind())
		}
		c.said.behind = behind
	}
	if strangers := c.ledger.Strangers(); len(strangers) > 0 && len(c.unconfirmed()) == 0 {
		for _, name := range strangers {
			c.ledger.Presume(name, c.now)
		}
	}
}
