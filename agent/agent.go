package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
)

// Options say what an Agent works with. Misses, Hints, Claims, Notes, Prepare, Expire, Rest and Save may be nil.
type Options struct {
	Config   Config
	Restored Restored
	Switch   dataplane.Switch
	// Misses gives what the switch cannot judge to take, from when it is called until
	// Rest is or the switch is closed. Take does not wait for anybody.
	Misses  func(take func([]dataplane.Miss))
	Drops   <-chan dataplane.Drop
	Hints   <-chan dataplane.Hint
	Claims  <-chan dataplane.Claim
	Notes   <-chan dataplane.Note
	Devices <-chan Event // DeviceUp, DeviceGone and, once, DevicesListed
	// Members are the addresses of DPC members that are known from the beginning.
	// Sessions tell of others.
	Members []string
	// Dial opens a session with the member at an address ("" if none is known), which
	// ends at the latest when the context is done. It is called again, after a
	// while and with what Route says, when it fails and when the session ends.
	Dial func(ctx context.Context, address string) (control.HostConn, error)
	// Prepare readies a device before it becomes a port.
	Prepare func(Device) error
	// Expire has the switch forget what is too old, and reports whether that was much. It is
	// called once a second while it is, else every five, or less often where it takes long, and the others are
	// called meanwhile.
	Expire func() (much bool, err error)
	// Rest has what misses from now on wait for the next run, and returns when take is not
	// called any more; nil: it is lost, and so is what is held.
	Rest func() error
	// Save writes down what the next start needs. It is called by one goroutine at a time, and the others are called meanwhile.
	Save   func(Saved) error
	Socket string // path of the local socket; "" for none
	Log    *slog.Logger
}

// Agent runs a Core: who has something for it owns it and the switch in turn.
type Agent struct {
	options Options
	log     *slog.Logger

	turn    sync.Mutex
	core    *Core
	session *liveSession // nil while there is none
	trouble string       // why the last attempt to open a session failed
	drops   ring

	stopped chan struct{} // closed by the last who steps

	missed chan dataplane.Miss // in their order, to be taken by who has the turn
	late   chan struct{}       // they wait, because another had it

	heard    chan struct{}  // closed by the first session, or attempt to open one
	once     sync.Once      // closes it
	flows    chan Event     // FlowsRead, CarriedRead and Adopted, one of each at a time
	expired  chan expiry    // one at a time
	written  chan Event     // Written, one at a time
	reader   sync.WaitGroup // of flows, and their expiry; and who writes what is saved
	measures *measures
}

// expiry is what became of Expire.
type expiry struct {
	took time.Duration
	much bool
	err  error
}

const (
	tickEvery    = 100 * time.Millisecond
	expireEvery  = time.Second     // while much expires
	expireSeldom = 5 * time.Second // else: it takes a CPU from who may need it
	expireRest   = 20              // times as long as Expire took, until the next at the earliest
	missBatch    = 64              // misses in one step
	missQueue    = 1024            // misses that wait for a turn
	startWait    = 3 * time.Second // for the first session, or for the first attempt to fail
)

// New makes an Agent. It does nothing before Run.
func New(o Options) *Agent {
	return &Agent{
		options:  o,
		core:     NewCore(o.Config, o.Restored),
		log:      o.Log,
		heard:    make(chan struct{}),
		flows:    make(chan Event, 3),
		expired:  make(chan expiry, 1),
		written:  make(chan Event, 1),
		drops:    newRing(),
		stopped:  make(chan struct{}),
		missed:   make(chan dataplane.Miss, missQueue),
		late:     make(chan struct{}, 1),
		measures: newMeasures(),
	}
}

// Run works until ctx is done, and then returns nil: what the switch holds stays
// in force. It returns an error if the local socket cannot be opened.
func (a *Agent) Run(ctx context.Context) error {
	var server *socketServer
	if a.options.Socket != "" {
		var err error
		if server, err = a.serve(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		a.keepSession(ctx)
	}()
	a.loop(ctx)
	cancel()
	<-kept
	a.reader.Wait()
	if server != nil {
		return server.close()
	}
	return nil
}

func (a *Agent) loop(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	expire := time.NewTicker(expireEvery)
	defer expire.Stop()
	var expireAfter time.Time // zero while one is under way, and if there is nothing to call
	if a.options.Expire != nil {
		expireAfter = time.Now()
	}
	answer := func() { // those of before the start wait for the session that answers them
		if a.options.Misses != nil {
			go a.options.Misses(a.miss)
		}
	}
	started := time.NewTimer(startWait)
	defer started.Stop()
	heard := a.heard
	devices, drops, hints, claims, notes := a.options.Devices, a.options.Drops, a.options.Hints, a.options.Claims, a.options.Notes
	for {
		select {
		case <-ctx.Done():
			a.turn.Lock()
			defer a.turn.Unlock()
			a.step(a.stopping()...)
			for a.core.Saving() {
				a.step(<-a.written)
			}
			a.endSession()
			close(a.stopped)
			return
		case <-a.late:
			a.turn.Lock()
			a.takeMissed()
			a.turn.Unlock()
		case <-started.C:
			answer()
		case <-heard:
			if heard = nil; started.Stop() {
				answer()
			}
		case e, ok := <-devices:
			if !ok {
				devices = nil // the watcher has ended, and said why
				continue
			}
			a.take(e)
		case d, ok := <-drops:
			if !ok {
				drops = nil
				continue
			}
			a.refused(d)
		case h, ok := <-hints:
			if !ok {
				hints = nil
				continue
			}
			a.take(Hinted{h})
		case n, ok := <-notes:
			if !ok {
				notes = nil
				continue
			}
			a.take(Noted{n})
		case claim, ok := <-claims:
			if !ok {
				claims = nil
				continue
			}
			a.take(Claimed{claim})
		case e := <-a.flows:
			a.take(e)
		case e := <-a.written:
			a.take(e)
		case <-tick.C:
			a.take(Tick{})
		case now := <-expire.C:
			if expireAfter.IsZero() || now.Before(expireAfter) {
				continue
			}
			expireAfter = time.Time{}
			a.reader.Go(func() { // it looks at every flow
				began := time.Now()
				much, err := a.options.Expire()
				a.expired <- expiry{time.Since(began), much, err}
			})
		case e := <-a.expired:
			pause := expireRest * e.took
			if !e.much {
				pause = max(pause, expireSeldom-expireEvery/2) // the next tick after that
			}
			expireAfter = time.Now().Add(pause)
			if e.err != nil {
				a.log.Error("expiry of flows failed", "err", e.err)
			}
		}
	}
}

// miss takes packets that the switch cannot judge, in the goroutine that read them where it is
// nobody else's turn: to wake another takes as long as to ask about them.
func (a *Agent) miss(misses []dataplane.Miss) {
	for _, m := range misses {
		select {
		case a.missed <- m:
		default:
			a.options.Switch.Discard(m, dataplane.HoldLimit)
		}
	}
	if a.turn.TryLock() {
		defer a.turn.Unlock()
		a.takeMissed()
		return
	}
	a.wake()
}

// takeMissed takes the misses that wait now: those that come meanwhile wait for another
// turn, or nobody else would have one. Who calls it has the turn.
func (a *Agent) takeMissed() {
	for left := len(a.missed); left > 0 && !a.over(); {
		events := a.waiting(min(missBatch, left))
		if len(events) == 0 {
			return
		}
		left -= len(events)
		a.measures.missed(events)
		a.step(events...)
	}
	if len(a.missed) > 0 {
		a.wake()
	}
}

// wake has the loop take what has missed.
func (a *Agent) wake() {
	select {
	case a.late <- struct{}{}:
	default:
	}
}

// waiting returns at most so many of the misses that wait.
func (a *Agent) waiting(most int) (events []Event) {
	for len(events) < most {
		select {
		case m := <-a.missed:
			events = append(events, Missed{m})
		default:
			return events
		}
	}
	return events
}

// stopping is what is told to Core last: what has missed until now, if it is kept.
func (a *Agent) stopping() []Event {
	if a.options.Rest == nil {
		return []Event{Stopping{}}
	}
	if err := a.options.Rest(); err != nil {
		a.log.Error("first packets that are under way are lost", "err", err)
		return []Event{Stopping{}}
	}
	return append(a.waiting(missQueue), Stopping{Kept: true})
}

// take waits for its turn and takes a step.
func (a *Agent) take(events ...Event) {
	a.turn.Lock()
	defer a.turn.Unlock()
	a.step(events...)
}

// refused keeps a drop, and tells Core of it if somebody wants to know.
func (a *Agent) refused(d dataplane.Drop) {
	a.turn.Lock()
	defer a.turn.Unlock()
	a.drops.add(a.dropRecord(d))
	if a.core.Observes() {
		a.step(Dropped{d})
	}
}

// step lets Core decide and does what it says. Who calls it has the turn.
func (a *Agent) step(events ...Event) {
	for len(events) > 0 {
		effects := a.core.Step(time.Now(), events...)
		events = nil
		for _, e := range effects {
			switch e := e.(type) {
			case Send:
				a.send(e.Message)
			case Save:
				if a.options.Save == nil {
					events = append(events, Written{e.Seq})
					continue
				}
				a.reader.Go(func() { // a disk takes its time
					if err := a.options.Save(e.Saved); err != nil {
						a.log.Error("state was not written; a restart would begin anew", "err", err)
					}
					a.written <- Written{e.Seq}
				})
			case Inject:
				if err := a.options.Switch.Inject(e.Miss); err != nil {
					a.log.Error("a held packet could not go back", "port", e.Miss.Port, "err", err)
				}
			case Discard:
				a.options.Switch.Discard(e.Miss, e.Reason)
			case Leave:
				if a.session != nil {
					a.session.cancel(errSilent)
				}
			case ReadFlows:
				a.reader.Go(func() { // a full table takes a while to read
					a.flows <- ReadFlowsOf(a.options.Switch)
				})
			case ReadCarried:
				a.reader.Go(func() {
					flows, err := a.options.Switch.Carried(e.Port)
					a.flows <- CarriedRead{e, flows, err}
				})
			case Adopt:
				a.reader.Go(func() { // each flow is entered by a program
					err := a.options.Switch.Adopt(e.Port, e.Flows)
					if err != nil {
						a.log.Warn("the switch refused flows of an endpoint that moves here", "endpoint", e.Endpoint, "flows", len(e.Flows), "err", firstOf(err))
					}
					a.flows <- Adopted{e, err}
				})
			case Apply:
				began := time.Now()
				err := a.apply(e.Ops)
				a.measures.applied(time.Since(began), err)
				if err != nil {
					a.log.Error("the switch refused a change; it will be tried again", "err", err)
				}
				events = append(events, Applied{e.Seq, err})
			}
		}
	}
}

// apply readies devices and changes the switch. A port whose device cannot be
// readied fails alone.
func (a *Agent) apply(ops []dataplane.Op) error {
	if a.options.Prepare == nil {
		return a.options.Switch.Apply(ops)
	}
	var errs []error
	good := make([]dataplane.Op, 0, len(ops))
	for _, op := range ops {
		if set, ok := op.(dataplane.SetPort); ok {
			p := set.Port
			if err := a.options.Prepare(Device{p.Device, p.Ifindex, p.Kind}); err != nil {
				errs = append(errs, &dataplane.OpError{Op: op, Err: err})
				continue
			}
		}
		good = append(good, op)
	}
	if err := a.options.Switch.Apply(good); err != nil {
		if errs != nil && !namesOps(err) {
			// Nothing says which op failed, so none of them is in force.
			for _, op := range good {
				errs = append(errs, &dataplane.OpError{Op: op, Err: err})
			}
		} else {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func namesOps(err error) bool {
	faults := map[target]fault{}
	collectFaults(err, faults)
	return len(faults) > 0
}

func (a *Agent) send(m control.Up) {
	if u, ok := m.(*control.EndpointUpdate); ok {
		a.log.Info("port", "endpoint", u.Endpoint, "state", stateNames[u.State], "device", u.Device, "epoch", u.Epoch, "detail", u.Detail)
	}
	if a.session == nil {
		return
	}
	if err := a.session.send(m); err != nil {
		a.session.cancel(err) // which is told as the reason why it ended
		return
	}
	a.measures.sent(m, time.Now())
}

// call runs f as the owner of Core, if its turn comes before ctx is done.
func (a *Agent) call(ctx context.Context, f func()) error {
	done := make(chan error, 1)
	go func() {
		a.turn.Lock()
		defer a.turn.Unlock()
		if a.over() {
			done <- errors.New("the dswitch is stopping")
			return
		}
		f()
		done <- nil
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// over reports whether nothing is stepped any more. Who calls it has the turn.
func (a *Agent) over() bool {
	select {
	case <-a.stopped:
		return true
	default:
		return false
	}
}
