package controller

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// Limits of those who ask what hosts do now.
const (
	WatchersMax = 64  // that observe flows at a time
	ListersMax  = 16  // that list flows at a time
	ProbersMax  = 256 // that ask about one packet at a time

	boxEvents = 1 << 16 // flows and events that wait for one asker
	boxHost   = 32      // Reports of one host that wait for one asker
)

// mailbox holds what an asker has not taken yet. Too much of it is counted and
// left out, so that nobody waits for a slow asker.
type mailbox struct {
	asked Asked
	more  chan struct{} // has something whenever there is something to take

	mu      sync.Mutex
	effects []Effect // Asks and Told
	reports map[dove.HostName]int
	events  int
	lost    uint64
}

func newMailbox(a Asked) *mailbox {
	return &mailbox{asked: a, more: make(chan struct{}, 1), reports: map[dove.HostName]int{}}
}

// put never blocks.
func (b *mailbox) put(e Effect) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t, ok := e.(Told); ok && t.Report != nil {
		n := len(t.Report.Events) + len(t.Report.Flows)
		if b.events+n > boxEvents || b.reports[t.Host] >= boxHost {
			b.lost = addLost(b.lost, uint64(n))
			return
		}
		b.events += n
		b.reports[t.Host]++
	}
	b.effects = append(b.effects, e)
	select {
	case b.more <- struct{}{}:
	default:
	}
}

func (b *mailbox) take() (effects []Effect, lost uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	effects, lost = b.effects, b.lost
	b.effects, b.lost, b.events = nil, 0, 0
	clear(b.reports)
	return effects, lost
}

// deliver hands on what hosts say; what nobody waits for is dropped.
func (m *Member) deliver(askers []uint64, e Effect) {
	for _, asker := range askers {
		if box := m.boxes[asker]; box != nil {
			box.put(e)
		}
	}
}

// inquire has the Core ask. The asker must end it by release, once.
func (m *Member) inquire(ctx context.Context, a Asked) (box *mailbox, release func(), err error) {
	a.Asker = m.ids.Add(1)
	box = newMailbox(a)
	if err := m.postIn(ctx, laneAsked, func() {
		m.boxes[a.Asker] = box
		m.mustStep(a)
	}); err != nil {
		return nil, nil, err
	}
	return box, func() {
		_ = m.postIn(context.WithoutCancel(ctx), laneAsked, func() { // if the member has stopped, there is nothing to forget
			delete(m.boxes, a.Asker)
			m.mustStep(Ceased{a.Asker})
		})
	}, nil
}

// resume has a new Core know who asked the one before.
func (m *Member) resume() {
	for _, asker := range slices.Sorted(maps.Keys(m.boxes)) {
		m.mustStep(m.boxes[asker].asked)
	}
}

// enter takes one of a number of places, if there is one.
func enter(places chan struct{}, what string) (leave func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	default:
		return nil, dove.Errorf(dove.Unavailable, "%d others %s at this member already: try again later, or ask another member", cap(places), what)
	}
}

// Inspect asks a host what its switch would do with the first packet of a flow.
// The Report has a Finding, which is the host's claim. The error is
// dove.NotFound if the host has no session here, and dove.Unavailable if it
// does not answer in time.
func (m *Member) Inspect(ctx context.Context, host dove.HostName, t control.Tuple) (control.Report, error) {
	leave, err := enter(m.probers, "ask hosts about packets")
	if err != nil {
		return control.Report{}, err
	}
	defer leave()
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, dove.Errorf(dove.Unavailable, "host %s did not answer within %s", host, answerWithin))
	defer cancel()
	box, release, err := m.inquire(ctx, Asked{Host: host, Probe: &t})
	if err != nil {
		return control.Report{}, causeOf(ctx, err)
	}
	defer release()
	for {
		if err := m.await(ctx, box); err != nil {
			return control.Report{}, err
		}
		effects, _ := box.take()
		for _, e := range effects {
			told, ok := e.(Told)
			switch {
			case !ok:
			case told.Report == nil:
				return control.Report{}, dove.Errorf(dove.NotFound, "host %s has no session", host)
			case told.Report.Finding == nil:
				return control.Report{}, dove.Errorf(dove.Unavailable, "host %s does not say: %q", host, told.Report.Refused)
			default:
				return checkedFinding(*told.Report, t), nil
			}
		}
	}
}

// checkedFinding leaves out a flow that nobody asked about.
func checkedFinding(r control.Report, t control.Tuple) control.Report {
	f := *r.Finding
	if f.Flow != nil {
		is := f.Flow.Tuple
		if t.SrcPort == 0 {
			is.SrcPort = 0
		}
		if is != t {
			f.Flow = nil
		}
	}
	r.Finding = &f
	return r
}

// await waits until there is something to take.
func (m *Member) await(ctx context.Context, box *mailbox) error {
	select {
	case <-box.more:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-m.stopped:
		return errStopped
	}
}

// causeOf prefers the reason why ctx is done.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Flows asks all hosts with endpoints of a tenant for its flows. Hosts that do
// not answer in time are named, and so is how many flows were left out.
func (m *Member) Flows(ctx context.Context, t dove.Tenant) (control.FlowList, error) {
	leave, err := enter(m.listers, "list flows")
	if err != nil {
		return control.FlowList{}, err
	}
	defer leave()
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	box, release, err := m.inquire(ctx, Asked{FlowsOf: t})
	if err != nil {
		return control.FlowList{}, err
	}
	defer release()
	list := newFlowList(t)
	for !list.complete() && m.await(ctx, box) == nil {
		effects, lost := box.take()
		list.lost = addLost(list.lost, lost)
		for _, e := range effects {
			switch e := e.(type) {
			case Asks:
				list.ask(e.Hosts)
			case Told:
				list.take(e)
			}
		}
	}
	m.deny(list.denied)
	if list.waiting == nil || parent.Err() != nil {
		return control.FlowList{}, dove.Errorf(dove.Unavailable, "the member does not react: try again")
	}
	out := list.list()
	out.Revision = max(out.Revision, m.World().Revision())
	return out, nil
}

// Observe yields what happens to a tenant's flows from now on, until ctx is done
// or the member stops. It may be ranged over once. The error, dove.Unavailable,
// is about too many who observe.
func (m *Member) Observe(ctx context.Context, t dove.Tenant) (iter.Seq[control.FlowNews], error) {
	leave, err := enter(m.watchers, "observe flows")
	if err != nil {
		return nil, err
	}
	box, release, err := m.inquire(ctx, Asked{Observe: t})
	if err != nil {
		leave()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(ctx, func() { release(); leave() })
	watch := newFlowWatch(t)
	return func(yield func(control.FlowNews) bool) {
		defer cancel()
		look := time.NewTicker(time.Second)
		defer look.Stop()
		for {
			select {
			case <-box.more:
			case <-look.C:
			case <-ctx.Done():
				return
			case <-m.stopped:
				return
			}
			for _, n := range watch.read(box, time.Now()) {
				if !yield(n) {
					return
				}
			}
			m.deny(watch.denied)
		}
	}, nil
}

// read makes news of all that waits.
func (f *flowWatch) read(box *mailbox, now time.Time) (news []control.FlowNews) {
	effects, lost := box.take()
	for _, e := range effects {
		switch e := e.(type) {
		case Asks:
			f.ask(now, e.Hosts)
		case Told:
			news = append(news, f.take(now, e)...)
		}
	}
	if lost > 0 {
		news = append(news, control.FlowNews{At: now, Lost: lost})
	}
	return append(news, f.look(now)...)
}

// deny notes what hosts told that was not theirs to tell.
func (m *Member) deny(denied map[dove.HostName]int) {
	for _, d := range claims(denied) {
		_ = m.postIn(context.Background(), laneAsked, func() { // if the member has stopped, nobody reads its log
			if s := m.core.hosts[d.Host]; s != nil {
				d.Session = s.id
			}
			m.measures.denied.Inc()
			m.denied(d)
		})
	}
}
