package controller

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/resolver"
	"dove.network/world"
)

// HeartbeatEvery is how long a session may be quiet before the member says so.
const HeartbeatEvery = 5 * time.Second

// Event is what happens to a Core: Changed, Opened, Continued, Received, Flooded, Paused, Closed,
// Asked, Polled, Ceased, PeerOpened, PeerReceived, PeerClosed, Fresh, Confirmed or Tick.
type Event interface{ event() }

type (
	// Changed brings the documents of one revision, all of them.
	Changed struct {
		Revision dove.Revision
		Docs     []dove.Doc
	}
	// Opened begins a session. Session is new and higher than all before.
	Opened struct {
		Session  control.SessionID
		Identity control.Identity
		Hello    *control.Hello
	}
	// Received brings a message of a session.
	Received struct {
		Session control.SessionID
		Message control.Up
	}
	// Flooded brings a request of a session of which too many wait already.
	Flooded struct {
		Session control.SessionID
		Request *control.PolicyRequest
	}
	// Paused says how long a session is not read from now on: its host says more than it may.
	Paused struct {
		Session control.SessionID
		For     time.Duration
	}
	// Continued has a Core go on with a session that opens.
	Continued struct{ Session control.SessionID }
	// Closed says that a session is over.
	Closed struct{ Session control.SessionID }
	// Asked says that somebody wants to know what hosts do now: what Host would do
	// with a packet (Probe), which flows a tenant has (FlowsOf), what rules in shadow
	// would say of them (ShadowsOf), or what happens to them from now on (Observe). Asker is new.
	Asked struct {
		Asker   uint64
		Host    dove.HostName
		Probe   *control.Tuple
		FlowsOf dove.Tenant
		Observe dove.Tenant

		ShadowsOf dove.Tenant
	}
	// Polled says that somebody wants to know what other members know of the sessions
	// of hosts, of all if none is named. Asker is new.
	Polled struct {
		Asker uint64
		Hosts []dove.HostName
	}
	// Ceased says that an asker is gone, or has heard enough.
	Ceased struct{ Asker uint64 }
	// PeerOpened begins a stream with another member, whose certificate is that of
	// its document. Start numbers the run of the other. It ends one that was before.
	PeerOpened struct {
		Member string
		Start  uint64
	}
	// PeerReceived brings a message of another member.
	PeerReceived struct {
		Member  string
		Message control.Across
	}
	// PeerClosed says that the stream with another member is over.
	PeerClosed struct{ Member string }
	// Fresh says that all that the store had at a time is applied. A Core that never
	// hears so takes it that it is.
	Fresh struct{ At time.Time }
	// Confirmed says that all is applied that the store had after a Confirm, or that
	// the store did not say.
	Confirmed struct {
		Session control.SessionID
		Request *control.PolicyRequest
		Failed  bool
	}
	// Tick lets time pass.
	Tick struct{}
)

func (Changed) event()   {}
func (Opened) event()    {}
func (Received) event()  {}
func (Flooded) event()   {}
func (Paused) event()    {}
func (Continued) event() {}
func (Closed) event()    {}
func (Asked) event()     {}
func (Polled) event()    {}
func (Ceased) event()    {}
func (Tick) event()      {}

func (PeerOpened) event()   {}
func (PeerReceived) event() {}
func (PeerClosed) event()   {}
func (Fresh) event()        {}
func (Confirmed) event()    {}

// Effect is what a Core wants done, in order: Send, End, Continue, Resumed, Denied, Claimed, Asks,
// Told, Polls, Standing, PeerSend, PeerEnd or Confirm.
type Effect interface{ effect() }

type (
	// Send sends messages to a session, in order.
	Send struct {
		Session  control.SessionID
		Messages []control.Down
	}
	// End ends a session: Last, a *control.Refusal or a *control.Elsewhere, is the
	// last that it is sent. The Core has forgotten it already.
	End struct {
		Session control.SessionID
		Last    control.Down
	}
	// Continue wants to hear Continued of a session that opens, once others have had
	// their turns.
	Continue struct{ Session control.SessionID }
	// Resumed says how many rows that a session held when it opened it is told anew, and how
	// many it kept.
	Resumed struct{ Told, Kept int }
	// Denied says that a host claimed what is not its own: worth a log entry.
	Denied struct {
		Session  control.SessionID
		Host     dove.HostName
		Endpoint dove.Endpoint
		Detail   string
	}
	// Claimed says that an endpoint announced a virtual address: it is to be
	// written, by edit.ClaimAddress.
	Claimed struct{ Claim edit.ClaimRequest }
	// Asks says which hosts an asker will hear of, each by Told. Observers are
	// told again when these are others.
	Asks struct {
		Askers []uint64
		Hosts  []dove.HostName // in order
	}
	// Told brings askers what a host says, as it says it: nothing of it is
	// checked. Report is nil if the host has no session, or has none any more.
	Told struct {
		Askers []uint64
		Host   dove.HostName
		Report *control.Report
		World  *world.World // of the moment
	}
	// Polls says which members an asker will hear of, each by Standing.
	Polls struct {
		Asker   uint64
		Members []string // in order
	}
	// Standing brings an asker what a member knows of its sessions; without More,
	// that is the last of it.
	Standing struct {
		Asker    uint64
		Member   string
		Sessions []control.SessionStatus
		More     bool
	}
	// PeerSend sends messages to another member, in order.
	PeerSend struct {
		Member   string
		Messages []control.Across
	}
	// PeerEnd ends the stream with a member that is none any more.
	PeerEnd struct{ Member string }
	// Confirm wants to hear by Confirmed when all is applied that the store has now.
	Confirm struct {
		Session control.SessionID
		Request *control.PolicyRequest
	}
)

func (Send) effect()    {}
func (End) effect()     {}
func (Denied) effect()  {}
func (Asks) effect()    {}
func (Told) effect()    {}
func (Claimed) effect() {}

func (Continue) effect() {}
func (Resumed) effect()  {}

func (Polls) effect()    {}
func (Standing) effect() {}
func (PeerSend) effect() {}
func (PeerEnd) effect()  {}
func (Confirm) effect()  {}

// Core is what a DPC member knows and decides. It has one owner.
type Core struct {
	member   string
	world    *world.World
	delta    world.Delta
	view     *resolver.View
	interest *resolver.Interest
	ledger   *control.Ledger
	sessions map[control.SessionID]*session
	unopened map[control.SessionID]*unopened
	openPart int
	hosts    map[dove.HostName]*session
	apart    map[dove.HostName]bool // hosts without a session here that are to have one
	claims   map[virtual]*claiming  // of the last second
	live     live
	fellows  map[string]*fellow       // members with which a stream is up
	far      map[dove.HostName]*party // sessions with fellows that said something of a move
	moving   map[dove.Endpoint]bool   // with two bindings
	said     saying
	listed   *tunnels  // of the world; nil: not yet
	askedAt  time.Time // all sessions, whether they go on
	heardOf  time.Time // the store, last; zero if nobody ever said
	stale    bool      // for too long
	now      time.Time
	effects  []Effect
}

// session is a dSwitch in conversation.
type session struct {
	id       control.SessionID
	identity control.Identity
	software string
	opened   time.Time
	sent     time.Time                   // when it was last sent anything
	ports    map[dove.Endpoint]*port     // that it is assigned
	taken    map[dove.Endpoint]taken     // that it may not know of; nil: none
	carries  map[dove.Endpoint]*carrying // what it was asked to carry
	number   uint64                      // of its Hello
	members  []string                    // addresses that it was told
	leaves   time.Time                   // when it is to go elsewhere; zero if it may stay
	doubts   int                         // requests that wait for the store
	paused   time.Duration               // that it was not read
}

// NewCore returns a Core of the member with the name, for a world that was loaded.
func NewCore(member string, w *world.World) *Core {
	c := &Core{
		member: member, world: w,
		sessions: map[control.SessionID]*session{},
		unopened: map[control.SessionID]*unopened{}, openPart: OpenPart,
		hosts:  map[dove.HostName]*session{},
		claims: map[virtual]*claiming{},
		live:   newLive(),
	}
	c.restart()
	return c
}

// restart forgets who was told what.
func (c *Core) restart() {
	c.apart = map[dove.HostName]bool{}
	for h := range c.world.Hosts() {
		c.markApart(h.Name)
	}
	c.view, c.listed = resolver.NewView(c.world), nil
	c.interest = resolver.NewInterest(c.view)
	var members []string
	for _, m := range c.others() {
		members = append(members, m.Name)
	}
	c.ledger = control.NewLedger(c.world.Revision(), c.unconfirmed(), members...)
	c.fellows, c.far, c.moving = map[string]*fellow{}, map[dove.HostName]*party{}, map[dove.Endpoint]bool{}
	c.said = saying{progress: c.progress()}
	for t := range c.world.Tenants() {
		for e := range c.world.Endpoints(t.Name) {
			if e.Standby != "" {
				c.moving[e.Full()] = true
			}
		}
	}
}

// World returns the world of the last Changed.
func (c *Core) World() *world.World { return c.world }

// Delta returns what the last Changed changed.
func (c *Core) Delta() world.Delta { return c.delta }

// Step reacts to one event. The error, about documents that cannot be read, is
// final: the Core's world no longer follows the store.
func (c *Core) Step(now time.Time, e Event) ([]Effect, error) {
	c.now, c.effects = now, nil
	c.lookAtStore()
	var err error
	switch e := e.(type) {
	case Changed:
		err = c.changed(e)
	case Opened:
		c.open(e)
	case Continued:
		if u := c.unopened[e.Session]; u != nil {
			c.goOn(u)
		}
	case Received:
		if s := c.sessions[e.Session]; s != nil {
			c.received(s, e.Message)
		} else if u := c.unopened[e.Session]; u != nil {
			c.hears(u, e.Message)
		}
	case Flooded:
		if s := c.sessions[e.Session]; s != nil {
			c.hesitate(s, e.Request, "too many questions of the host wait")
		}
	case Paused:
		if s := c.sessions[e.Session]; s != nil {
			s.paused += e.For
		}
	case Closed:
		c.forget(c.sessions[e.Session])
		if u := c.unopened[e.Session]; u != nil {
			c.forgetUnopened(u)
		}
	case Asked:
		c.asked(e)
	case Polled:
		c.polled(e)
	case Ceased:
		c.ceased(e.Asker)
	case PeerOpened:
		c.peerOpened(e)
	case PeerReceived:
		c.peerReceived(e.Member, e.Message)
	case PeerClosed:
		c.peerClosed(e.Member)
	case Fresh:
		c.fresh(e.At)
	case Confirmed:
		c.confirmed(e)
	case Tick:
		c.leaveTick()
		c.fellowTick()
		c.askAll()
		c.liveTick()
		c.carryAgain()
		c.claimTick()
		for _, s := range c.inOrder() {
			if now.Sub(s.sent) >= HeartbeatEvery {
				c.send(s, &control.Heartbeat{})
			}
		}
	}
	c.tellFellows()
	return c.effects, err
}

// changed applies one revision and tells each session what of it concerns it.
func (c *Core) changed(e Changed) error {
	last := c.world
	next, delta, err := last.Apply(e.Revision, e.Docs)
	if err != nil {
		return err
	}
	c.world, c.delta = next, delta
	if delta.Meta {
		for _, s := range c.inOrder() {
			c.end(s, dove.Unavailable, "the store is another one now: open a new session")
		}
		c.endUnopened("the store is another one now: open a new session")
		for _, name := range slices.Sorted(maps.Keys(c.fellows)) {
			c.peerClosed(name)
			c.effects = append(c.effects, PeerEnd{name})
		}
		c.restart()
		c.liveChanged(delta)
		return nil
	}
	for _, change := range delta.Hosts {
		c.markApart(cmp.Or(change.New, change.Old).Name)
	}
	c.fleet(delta)
	c.follow(delta)
	c.moved(delta)
	for _, change := range delta.Hosts {
		c.revoke(cmp.Or(change.New, change.Old).Name)
	}
	news := map[control.SessionID][]control.Down{}
	rows := c.interest.Advance(next, delta)
	for _, n := range rows {
		for _, e := range n.Expect {
			news[n.Session] = append(news[n.Session], e)
		}
	}
	c.left(delta, news)
	c.reassign(delta, news)
	c.retunnel(delta, news)
	for _, n := range rows {
		for _, u := range control.Split(e.Revision, n.Peers, n.Pairs) {
			news[n.Session] = append(news[n.Session], u)
		}
	}
	c.putOff(news)
	told := slices.Sorted(maps.Keys(news))
	for _, id := range told {
		c.send(c.sessions[id], append(news[id], &control.Frontier{Revision: e.Revision})...)
	}
	for _, change := range delta.Endpoints {
		if change.Old == nil {
			continue
		}
		for _, h := range change.Old.Bindings() {
			if its, _ := c.world.Host(h); its.Foreign {
				continue // it enforces nothing
			}
			if _, ok := c.placeOf(h); !ok && (change.New == nil || !change.New.BoundTo(h)) {
				c.ledger.Miss(h, e.Revision)
			}
		}
	}
	for _, id := range c.ledger.Commit(e.Revision, told, c.now) {
		c.end(c.sessions[id], dove.Unavailable, "too many changes are not acknowledged")
	}
	if c.now.Sub(c.askedAt) >= askEvery {
		c.askAll()
	}
	c.liveChanged(delta)
	return nil
}

// askEvery is how often all sessions are asked while a member is not reached, if there are changes.
const askEvery = time.Second

// askAll asks all sessions by a frontier whether they go on, where they may have left for a member
// that is not reached.
func (c *Core) askAll() {
	if !c.ledger.Unsure() {
		return
	}
	c.askedAt = c.now
	var told []control.SessionID
	for _, s := range c.inOrder() {
		if last, _ := c.ledger.Frontiers(s.id); last < c.world.Revision() {
			c.send(s, &control.Frontier{Revision: c.world.Revision()})
			told = append(told, s.id)
		}
	}
	for _, id := range c.ledger.Ask(told, c.now) {
		c.end(c.sessions[id], dove.Unavailable, "too many changes are not acknowledged")
	}
}

// revoke ends the session of a host whose certificate or address no longer counts.
func (c *Core) revoke(host dove.HostName) {
	s := c.hosts[host]
	if s == nil {
		return
	}
	if err := c.admit(s.identity); err != nil {
		c.end(s, err.Kind, err.Message)
	}
}

// Receipt says how far a revision got.
func (c *Core) Receipt(revision dove.Revision) control.Receipt {
	r := c.ledger.Receipt(revision, c.unconfirmed())
	for _, h := range c.ledger.Opening() {
		for range c.world.EndpointsOn(h) {
			if !slices.Contains(r.Pending, h) {
				r.Unconfirmed = append(r.Unconfirmed, h)
			}
			break
		}
	}
	slices.Sort(r.Unconfirmed)
	r.Unconfirmed = slices.Compact(r.Unconfirmed)
	return r
}

// Complete reports whether a revision's receipt is complete.
func (c *Core) Complete(revision dove.Revision) bool {
	return c.ledger.Settled(revision) && c.Receipt(revision).Complete
}

// unconfirmed returns the hosts that have endpoints but no session, with whichever
// member, and of which no member could tell that cannot be reached.
func (c *Core) unconfirmed() []dove.HostName {
	var names []dove.HostName
	for h := range c.apart {
		bound := false
		if c.ledger != nil {
			if _, away := c.placeOf(h); away || c.ledger.Astray(h) != "" {
				continue
			}
			bound = c.ledger.Lost(h)
		}
		for range c.world.EndpointsOn(h) {
			bound = true
			break
		}
		if bound {
			names = append(names, h)
		}
	}
	slices.Sort(names)
	return names
}

// markApart notes whether a host lacks a session here: what waits for receipts does not go through
// all hosts for it.
func (c *Core) markApart(host dove.HostName) {
	if h, is := c.world.Host(host); is && !h.Foreign && c.hosts[host] == nil {
		c.apart[host] = true
	} else {
		delete(c.apart, host)
	}
}

// Sessions returns what is known of each session, in the order in which they opened.
func (c *Core) Sessions() []control.SessionStatus {
	var all []control.SessionStatus
	for _, s := range c.inOrder() {
		all = append(all, c.status(s, sortedEndpoints(s.ports)...))
	}
	return all
}

// Members returns how this member is, and after it the others that it knows.
func (c *Core) Members() []control.MemberStatus {
	own := control.MemberStatus{Member: c.member, Reached: true, Applied: c.world.Revision(), Sessions: len(c.sessions)}
	return append([]control.MemberStatus{own}, c.ledger.Others()...)
}

// SessionsOf returns what is known of the sessions of hosts, in their order;
// those without one are left out.
func (c *Core) SessionsOf(hosts []dove.HostName) []control.SessionStatus {
	var some []control.SessionStatus
	for _, host := range hosts {
		if s := c.hosts[host]; s != nil {
			some = append(some, c.status(s, sortedEndpoints(s.ports)...))
		}
	}
	return some
}

// PortsOf is SessionsOf where of what is known of endpoints only some matter.
func (c *Core) PortsOf(names []dove.Endpoint, hosts []dove.HostName) []control.SessionStatus {
	var some []control.SessionStatus
	for _, host := range hosts {
		if s := c.hosts[host]; s != nil {
			some = append(some, c.status(s, names...))
		}
	}
	return some
}

// status returns what is known of a session, and of endpoints of its host.
func (c *Core) status(s *session, of ...dove.Endpoint) control.SessionStatus {
	status := control.SessionStatus{
		Session: s.id, Member: c.member, Host: s.identity.Host, VTEP: s.identity.VTEP, Serial: s.identity.Serial,
		Software: s.software, Opened: s.opened, Paused: s.paused,
	}
	status.Told, status.Acked = c.ledger.Frontiers(s.id)
	status.Peers, status.Absent, status.Pairs = c.interest.Held(s.id)
	for _, name := range of {
		if u, ok := s.said(name); ok {
			status.Endpoints = append(status.Endpoints, u)
			if c.late(s, name) {
				status.Late = append(status.Late, name)
			}
		}
	}
	return status
}

func (c *Core) inOrder() []*session {
	all := slices.Collect(maps.Values(c.sessions))
	slices.SortFunc(all, func(a, b *session) int { return cmp.Compare(a.id, b.id) })
	return all
}

func (c *Core) send(s *session, messages ...control.Down) {
	s.sent = c.now
	c.effects = append(c.effects, Send{s.id, messages})
}

// end refuses to go on with a session.
func (c *Core) end(s *session, kind dove.Kind, message string) {
	c.endAs(s, &control.Refusal{Kind: kind, Message: message})
}

func (c *Core) endAs(s *session, why *control.Refusal) {
	c.effects = append(c.effects, End{s.id, why})
	c.forget(s)
}

func (c *Core) forget(s *session) {
	if s == nil {
		return
	}
	c.present(c.ledger.Left(s.id))
	delete(c.sessions, s.id)
	if c.hosts[s.identity.Host] == s {
		delete(c.hosts, s.identity.Host)
		c.markApart(s.identity.Host)
	}
	c.liveClosed(place{session: uint64(s.id)})
	c.interest.Close(s.id)
	c.ledger.Close(s.id, c.now)
}
