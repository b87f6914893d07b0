package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/lobby"
	"dove.network/world"
)

// Store is what a member needs of the store of documents.
type Store interface {
	// Load gives all documents under a prefix, in pages, and the revision at
	// which they stood together.
	Load(ctx context.Context, prefix string, page func([]dove.Doc) error) (dove.Revision, error)
	// Watch gives the documents of each revision after one, all of a revision
	// in one call, in order, until ctx ends or each returns an error. The error is
	// dove.Unavailable if the revisions after that one are no longer known.
	Watch(ctx context.Context, prefix string, after dove.Revision, each func(dove.Revision, []dove.Doc) error) error
	// Commit changes documents if all reads hold, and is dove.Conflict if not.
	Commit(ctx context.Context, txn dove.Txn) (dove.Revision, error)
	// Current returns a revision that is not before any that was committed
	// when Current was called.
	Current(ctx context.Context) (dove.Revision, error)
}

// Limits of a member.
const (
	QueueMax  = 1024                   // batches that wait for one session; more end it
	rewatch   = 500 * time.Millisecond // between attempts to follow the store
	elsewhere = 200 * time.Millisecond // waits for a revision that a dSwitch has seen
	editsMax  = 16                     // attempts of one edit
	editPause = time.Millisecond       // before the second attempt, at most; doubles, up to 64 times
	tickEvery = time.Second

	deniedLogged = 16 // claims of one session that are logged; all are counted
	directMax    = 4  // sessions that who steps the Core sends to himself
)

// Member is a DPC member: the Core, and who owns it in turn.
type Member struct {
	name  string
	store Store
	log   *slog.Logger

	stopped chan struct{}
	ids     atomic.Uint64
	latest  atomic.Pointer[published]
	// following: there is a Core that reacts.
	following atomic.Bool
	measures  *measures
	// Places of those who ask what hosts do now.
	watchers, listers, probers chan struct{}

	openings *openings
	comers   *lobby.Turns // of who comes in
	edits    edits
	claims   chan edit.ClaimRequest // to be written

	turn  sync.Mutex // guards the next two
	taken bool       // somebody has the turn
	line  line       // for it

	// Owned by who has the turn.
	began   chan struct{} // closed when there is a Core again; nil while there is one
	lost    chan struct{} // closed when the Core is in touch with the store again; nil while it is
	core    *Core
	outbox  map[control.SessionID]*outbox
	waiters []waiter
	boxes   map[uint64]*mailbox // of those who ask, by number
	polls   map[uint64]*polling
	streams map[string]*stream // with other members
	touched []*outbox          // in this turn
	doubts  []Confirm          // that wait for the store
	// confirming: somebody asks the store for them.
	confirming bool

	start atomic.Uint64 // of the Core
	dial  func(context.Context, world.Member) (control.PeerConn, error)
}

// published is a world, what led to it, and what tells that there is a later one.
type published struct {
	world   *world.World
	history *world.History
	later   chan struct{}
}

type waiter struct {
	ctx      context.Context
	revision dove.Revision
	done     chan struct{}
}

// NewMember returns a member that does nothing until Run. Its name is for people.
func NewMember(name string, store Store, log *slog.Logger) *Member {
	m := &Member{
		name: name, store: store, log: log,
		stopped: make(chan struct{}), began: make(chan struct{}),
		outbox: map[control.SessionID]*outbox{}, measures: newMeasures(),
		boxes: map[uint64]*mailbox{},
		polls: map[uint64]*polling{}, streams: map[string]*stream{},
		openings: newOpenings(), comers: lobby.NewTurns(lobby.Half()),
		claims:   make(chan edit.ClaimRequest, claimsQueue),
		watchers: make(chan struct{}, WatchersMax), listers: make(chan struct{}, ListersMax), probers: make(chan struct{}, ProbersMax),
	}
	m.latest.Store(&published{world.New(), world.NewHistory(0), make(chan struct{})})
	return m
}

// Turns are those in which hosts that come in have their handshakes and then their sessions computed,
// on half of the processors.
func (m *Member) Turns() *lobby.Turns { return m.comers }

// Run loads the world and follows the store until ctx ends, and then ends all
// sessions. It returns nil if ctx ended it, and an error if the store holds
// what this version cannot read. It runs once.
func (m *Member) Run(ctx context.Context) error {
	var writing sync.WaitGroup
	defer writing.Wait()
	defer close(m.stopped)
	ended, end := context.WithCancel(ctx)
	defer end()
	writing.Go(func() { m.writeClaims(ended) })
	if m.dial != nil {
		writing.Go(func() { m.keepPeers(ended) })
	}
	for {
		err := m.follow(ctx)
		m.inTurn(laneOwn, func() { m.endAll("the member stops following the store") })
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errUnreadable):
			return err
		}
		m.log.Warn("the store cannot be followed; loading it again", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rewatch):
		}
	}
}

// errUnreadable marks errors about documents.
var errUnreadable = errors.New("the store holds what this version cannot read")

// follow loads the world and has a Core react until the watch is lost for good.
func (m *Member) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := m.load(ctx)
	if err != nil {
		return err
	}
	m.begin(w)
	defer m.pause()
	m.log.Info("the world is loaded", "revision", w.Revision())

	lost := make(chan error, 1)
	watched := make(chan struct{})
	defer func() { cancel(); <-watched }()
	go func() {
		defer close(watched)
		lost <- m.watch(ctx, w.Revision())
	}()
	var hearing sync.WaitGroup
	defer func() { cancel(); hearing.Wait() }()
	hearing.Go(func() { m.watchStore(ctx) })
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			return err
		case <-tick.C:
			if err := m.post(ctx, func() { m.mustStep(Tick{}) }); err != nil {
				return err
			}
		}
	}
}

// begin lets a new Core react.
func (m *Member) begin(w *world.World) {
	m.inTurn(laneOwn, func() {
		m.core = NewCore(m.name, w)
		clear(m.polls) // nobody will answer them
		m.feel()
		m.start.Store(uint64(time.Now().UnixNano()))
		for name := range m.streams { // the other end is to know that this is another run
			m.endPeer(name)
		}
		m.measures.loads.Inc()
		m.measures.settled = w.Revision()
		m.resume()
		m.publish(w)
		m.mustStep(Fresh{time.Now()}) // it was loaded; to hear nothing from here on is to lose touch
		m.following.Store(true)
		close(m.began)
		m.began = nil
	})
}

// pause has those who want the Core wait for the next.
func (m *Member) pause() {
	m.inTurn(laneOwn, func() {
		m.following.Store(false)
		m.began = make(chan struct{})
	})
}

// load reads all documents.
func (m *Member) load(ctx context.Context) (*world.World, error) {
	all := world.NewLoader()
	revision, err := m.store.Load(ctx, world.Prefix, func(docs []dove.Doc) error {
		if err := all.Add(docs); err != nil {
			return fmt.Errorf("%w: %w", errUnreadable, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	w, err := all.World(revision)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return w, nil
}

// watch hands the store's changes to the Core. A watch that
// breaks goes on where it was; if the store no longer knows that place, with the
// difference to what it has now.
func (m *Member) watch(ctx context.Context, after dove.Revision) error {
	for {
		err := m.store.Watch(ctx, world.Prefix, after, func(revision dove.Revision, docs []dove.Doc) error {
			err := m.change(ctx, revision, docs)
			if err == nil {
				after = revision
			}
			return err
		})
		if ctx.Err() == nil && dove.KindOf(err) == dove.Unavailable {
			var now dove.Revision
			if now, err = m.overtake(ctx, m.World()); err == nil {
				after = now
				continue
			}
		}
		if ctx.Err() != nil || errors.Is(err, errUnreadable) || errors.Is(err, errOvertaken) {
			return err
		}
		m.log.Warn("the watch of the store broke; going on", "after", after, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rewatch):
		}
	}
}

var errStopped = dove.Errorf(dove.Unavailable, "the member stops: ask another one")

// step lets the Core react and does what it wants done.
func (m *Member) step(e Event) error {
	now := time.Now()
	effects, err := m.core.Step(now, e)
	if err != nil {
		return err
	}
	m.measures.step(e, time.Since(now), effects)
	m.feel()
	if _, changed := e.(Changed); changed {
		m.advance(m.core.World(), m.core.Delta())
	}
	for _, effect := range effects {
		switch effect := effect.(type) {
		case Send:
			m.enqueue(effect)
		case End:
			m.finish(effect)
		case Continue:
			m.turn.Lock()
			m.line.add(laneOpening, work{act: func() {
				if m.began == nil {
					m.mustStep(Continued(effect))
				}
			}})
			m.turn.Unlock()
		case Denied:
			m.denied(effect)
		case Claimed:
			select {
			case m.claims <- effect.Claim:
			default: // guests announce again
				m.log.Warn("too many virtual addresses are claimed at once", "endpoint", effect.Claim.Endpoint, "address", effect.Claim.Addr)
			}
		case Asks:
			m.deliver(effect.Askers, effect)
		case Told:
			m.deliver(effect.Askers, effect)
		case Polls:
			m.polled(effect)
		case Standing:
			m.standing(effect)
		case PeerSend:
			m.toPeer(effect)
		case PeerEnd:
			m.endPeer(effect.Member)
		case Confirm:
			m.confirm(effect)
		}
	}
	return nil
}

// mustStep is step for events that bring no documents.
func (m *Member) mustStep(e Event) {
	if err := m.step(e); err != nil {
		panic(fmt.Sprintf("controller: %T failed: %v", e, err))
	}
}

// claimsQueue is how many claims may wait to be written.
const claimsQueue = 256

// writeClaims writes what guests claimed, in the order in which they did.
func (m *Member) writeClaims(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case claim := <-m.claims:
			_, err := m.Edit(ctx, func(w *world.World) (dove.Txn, error) { return edit.ClaimAddress(w, claim) })
			if err != nil && ctx.Err() == nil {
				m.log.Warn("a claim is not written", "endpoint", claim.Endpoint, "address", claim.Addr, "error", err)
			}
		}
	}
}

// denied writes down the first claims of a session: a host may make any number.
func (m *Member) denied(d Denied) {
	if out := m.outbox[d.Session]; out != nil {
		if out.denied++; out.denied > deniedLogged {
			return
		}
	}
	m.log.Warn("a host claims what is not its own", "host", d.Host, "endpoint", d.Endpoint, "detail", d.Detail)
}

// enqueue never blocks: a session that is too slow ends, and no other waits for it.
func (m *Member) enqueue(s Send) {
	out := m.outbox[s.Session]
	if out == nil {
		return // it ended in this very step
	}
	if out.put(s.Messages) {
		m.touch(out)
		return
	}
	m.log.Warn("a session is too slow; ending it", "host", out.host, "session", s.Session)
	m.measures.ended.WithLabelValues(endedSlow).Inc()
	out.end(slow(out.host))
	delete(m.outbox, s.Session)
	m.mustStep(Closed{s.Session})
}

// touch has who ends the turn push what an outbox got.
func (m *Member) touch(out *outbox) {
	if !out.touched {
		out.touched = true
		m.touched = append(m.touched, out)
	}
}

func slow(host dove.HostName) error {
	return dove.Errorf(dove.Unavailable, "the session of host %s is too slow", host)
}

func (m *Member) finish(e End) {
	out := m.outbox[e.Session]
	if out == nil {
		return
	}
	var reason error
	switch last := e.Last.(type) {
	case *control.Refusal:
		reason = dove.Errorf(last.Kind, "%s", last.Message)
		m.log.Info("a session is refused", "host", out.host, "session", e.Session, "kind", last.Kind, "reason", last.Message)
		m.measures.ended.WithLabelValues(endedRefused).Inc()
	case *control.Elsewhere:
		m.log.Info("a session is sent elsewhere", "host", out.host, "session", e.Session, "reason", last.Reason)
		m.measures.ended.WithLabelValues(endedElsewhere).Inc()
	}
	delete(m.outbox, e.Session)
	out.last(e.Last, reason)
	m.touch(out)
}

// endAll ends every session, and says where else there is an answer if that is known.
func (m *Member) endAll(reason string) {
	var last control.Down = &control.Refusal{Kind: dove.Unavailable, Message: reason}
	if m.core != nil {
		if refuge := m.core.refuge(); len(refuge) > 0 {
			last = &control.Elsewhere{Addresses: refuge, Reason: reason}
		}
	}
	for id, out := range m.outbox {
		m.log.Debug("a session ends with the member", "host", out.host)
		m.finish(End{id, last})
	}
}

// wake tells those who wait for a receipt.
func (m *Member) wake() {
	m.measures.settle(m.core)
	kept := m.waiters[:0]
	for _, w := range m.waiters {
		switch {
		case w.ctx.Err() != nil:
		case m.core.Complete(w.revision):
			close(w.done)
		default:
			kept = append(kept, w)
		}
	}
	clear(m.waiters[len(kept):])
	m.waiters = kept
}
