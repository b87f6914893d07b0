package sim

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/controller"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/resolver"
	"dove.network/scenario"
	"dove.network/store/memory"
	"dove.network/world"
)

// Start is when every simulation begins.
var Start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Sim is one or several DPC members, their hosts and the guests of these. It has one owner.
type Sim struct {
	// Jitter is how long a message, and a change of a switch, may take at most.
	// Messages of one session stay in order. 0 means no time at all.
	Jitter time.Duration
	// Underlay is how frames travel between hosts; those of the zero value arrive at once.
	Underlay Underlay

	random   *rand.Rand
	now      time.Time
	queue    queue
	queued   uint64
	store    *memory.Store
	truth    *world.World   // what the store holds
	view     *resolver.View // of that, if any host was held against it
	members  []*member
	peerings []*peering
	wires    map[control.SessionID]*wire
	severed  map[severance][2]bool // ways
	last     control.SessionID
	hosts    []*host
	foreign  []*host // that run no dSwitch
	byName   map[dove.HostName]*host
	byVTEP   map[netip.Addr]*host
	guests   map[dove.Endpoint]*guest
	serial   uint64               // of the last guest
	talks    map[uint64]*exchange // that are watched now
	talk     uint64               // the last one's number
	port     uint16               // that the last exchange came from
	faults   []error              // what must not be, since the last report
	dropped  []drop               // of the exchange that is watched
	flooding bool                 // what arrives now is sent to all hosts
	lost     []string             // where its packets ended without a drop
	asked    []dove.HostName      // who asked the member meanwhile
	outage   scenario.Outage
	asker    uint64                  // the last one's number
	said     []controller.Told       // by hosts, to who asked
	standing []control.SessionStatus // told by members, to who asked
	told     map[dove.HostName]told  // since the last step of a scenario

	// In tests of the rig itself, tamper replaces a message on its way, heard
	// learns of those that hosts took, and a blind rig has packets only to go by.
	tamper func(message) []message
	heard  func(message)
	blind  bool
	garble func(control.Across) control.Across // what one member says to another; nil is lost

	trail  *trail      // what happened, if that is recorded
	eras   []era       // the last revisions
	joined fingerprint // of the fleet
}

// New returns a simulation of one member and no hosts.
func New(seed uint64) *Sim { return NewFleet(seed, 1) }

// NewFleet returns a simulation of some members and no hosts.
func NewFleet(seed uint64, members int) *Sim {
	s := &Sim{
		random: rand.New(rand.NewPCG(seed, 0)),
		now:    Start,
		store:  memory.New(),
		truth:  world.New(),
		wires:  map[control.SessionID]*wire{}, severed: map[severance][2]bool{},
		byName: map[dove.HostName]*host{},
		byVTEP: map[netip.Addr]*host{},
		guests: map[dove.Endpoint]*guest{},
		talks:  map[uint64]*exchange{},
		told:   map[dove.HostName]told{},
	}
	for n := range members {
		m := &member{sim: s, name: fmt.Sprintf("dpc-%d", n+1), run: 1}
		m.core = controller.NewCore(m.name, s.truth)
		for _, before := range s.members {
			s.peerings = append(s.peerings, &peering{a: before, b: m})
		}
		s.members = append(s.members, m)
	}
	if err := s.assemble(); err != nil {
		panic(fmt.Sprintf("sim: an empty store refuses its first documents: %v", err))
	}
	return s
}

// World returns what the store holds: the world of every member that is up to date.
func (s *Sim) World() *world.World { return s.truth }

// Now returns the virtual time.
func (s *Sim) Now() time.Time { return s.now }

// chance draws what an edit cannot make up.
func (s *Sim) chance() edit.Chance { return edit.Chance{UID: dove.UID(s.random.Uint64()), Now: s.now} }

// Chance draws what an edit cannot make up.
func (s *Sim) Chance() edit.Chance { return s.chance() }

// Edit commits what decide makes of the world, and returns its revision; that
// of the world if there is nothing to change. A sole member has applied it then, and
// so have several if nothing takes time; hosts have not.
func (s *Sim) Edit(decide func(*world.World) (dove.Txn, error)) (dove.Revision, error) {
	if !s.running() {
		return 0, dove.Errorf(dove.Unavailable, "the member is stopped: start it")
	}
	return commit(s.store, s.World, decide, func(revision dove.Revision, docs []dove.Doc) error {
		next, delta, err := s.truth.Apply(revision, docs)
		if err != nil {
			return err
		}
		s.truth = next
		s.begin(next, delta)
		s.jot("revision %d changes %d documents, the first %s", revision, len(docs), docs[0].Key)
		s.publish(change{revision, docs})
		return nil
	})
}

// commit writes what decide makes of a world to a store, in as many steps as it
// takes, and tells of each the documents of the revision.
func commit(store *memory.Store, w func() *world.World, decide func(*world.World) (dove.Txn, error), each func(dove.Revision, []dove.Doc) error) (dove.Revision, error) {
	steps := edit.InSteps(decide)
	for {
		txn, last, err := steps.Next(w())
		if err != nil || txn.Empty() {
			return w().Revision(), err
		}
		revision, docs, err := written(store, txn)
		if err == nil {
			err = each(revision, docs)
		}
		if err != nil || last {
			return revision, err
		}
	}
}

// written commits a transaction and returns the documents of its revision.
func written(store *memory.Store, txn dove.Txn) (dove.Revision, []dove.Doc, error) {
	ctx := context.Background()
	revision, err := store.Commit(ctx, txn)
	if err != nil {
		return 0, nil, err
	}
	var docs []dove.Doc
	enough := errors.New("that was the revision")
	err = store.Watch(ctx, world.Prefix, revision-1, func(_ dove.Revision, d []dove.Doc) error {
		docs = d
		return enough
	})
	if err != enough {
		return 0, nil, err
	}
	return revision, docs, nil
}

// Wait goes on until a revision's receipt is complete, but for hosts that the
// member cannot reach by a Disturb. The error says who else has not
// acknowledged it, or what must not be and is.
func (s *Sim) Wait(revision dove.Revision) error {
	for !s.chief().core.Complete(revision) && !s.heldUp(revision) {
		if !s.step() {
			r := s.chief().core.Receipt(revision)
			s.fault("the receipt of revision %d is not complete though nothing is under way: pending %v, members %v, unknown %v", revision, r.Pending, r.Members, r.Unknown)
			break
		}
	}
	s.compare()
	return s.report()
}

// Settle goes on until nothing is under way. The error says what must not be and is.
func (s *Sim) Settle() error {
	for s.step() {
	}
	s.compare()
	pending := map[*member][]dove.HostName{}
	for _, m := range s.members {
		pending[m] = m.core.Receipt(s.World().Revision()).Pending
	}
	for _, h := range s.hosts {
		if h.current() && slices.Contains(pending[h.at()], h.name) {
			s.fault("%s has not acknowledged revision %d: it is pending, and nothing is under way", h.name, s.World().Revision())
		}
		if waiting := h.core.Status().Waiting; h.current() && (waiting.Packets > 0 || waiting.Questions > 0) {
			s.fault("%s waits for answers to %d questions with %d packets, and none is under way", h.name, waiting.Questions, waiting.Packets)
		}
	}
	return s.report()
}

// ticks is how many times Sleep tells the cores that time passes: that often, and each
// second of the first minute.
func ticks(d time.Duration) int {
	return int(min(max(d/time.Second, 8), 60))
}

// Sleep lets time pass.
func (s *Sim) Sleep(d time.Duration) {
	for n := ticks(d); n > 0; n-- {
		part := d / time.Duration(n)
		d -= part
		s.pass(part)
		for _, m := range s.members {
			m.tick()
		}
		s.tryAgain()
		for _, h := range s.hosts {
			h.tick()
		}
	}
}

// pass has all happen that does within a time.
func (s *Sim) pass(d time.Duration) {
	until := s.now.Add(d)
	for len(s.queue) > 0 && !s.queue[0].at.After(until) {
		s.step()
	}
	s.now = later(s.now, until)
}

// report returns what must not be, once.
func (s *Sim) report() error {
	err := errors.Join(s.faults...)
	s.faults = nil
	return err
}

func (s *Sim) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Errorf(format, args...))
}

// event is something that happens at a time.
type event struct {
	at    time.Time
	order uint64
	act   func()
}

// queue is a heap of events: by time, then as they were queued.
type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if !q[i].at.Equal(q[j].at) {
		return q[i].at.Before(q[j].at)
	}
	return q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(e any)   { *q = append(*q, e.(event)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = slices.Delete(*q, last, last+1)
	return e
}

// at queues something.
func (s *Sim) at(t time.Time, act func()) {
	s.queued++
	heap.Push(&s.queue, event{t, s.queued, act})
}

// soon queues something that takes no time.
func (s *Sim) soon(act func()) { s.at(s.now, act) }

// delay draws how long something takes.
func (s *Sim) delay() time.Duration {
	if s.Jitter == 0 {
		return 0
	}
	return time.Duration(s.random.Int64N(int64(s.Jitter)))
}

// step makes the next event happen; false if there is none.
func (s *Sim) step() bool {
	if len(s.queue) == 0 {
		return false
	}
	e := heap.Pop(&s.queue).(event)
	if e.at.After(s.now) {
		s.now = e.at
	}
	e.act()
	s.checkReceipts()
	return true
}

// drain makes all happen that takes no time.
func (s *Sim) drain() {
	for len(s.queue) > 0 && !s.queue[0].at.After(s.now) {
		s.step()
	}
}
