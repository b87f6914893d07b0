package controller

import (
	"cmp"
	"context"
	"slices"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

// World returns the latest world that the member has applied; an empty one
// before the first load.
func (m *Member) World() *world.World { return m.latest.Load().world }

// Read returns a world that holds every change that was committed when Read
// was called, by whatever member.
func (m *Member) Read(ctx context.Context) (*world.World, error) {
	revision, err := m.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	return m.applied(ctx, revision)
}

// applied waits until the member has applied a revision.
func (m *Member) applied(ctx context.Context, revision dove.Revision) (*world.World, error) {
	for {
		p := m.latest.Load()
		if p.world.Revision() >= revision {
			return p.world, nil
		}
		select {
		case <-p.later:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-m.stopped:
			return nil, errStopped
		}
	}
}

// Receipt says how far a revision got. It is empty if the member does not run.
func (m *Member) Receipt(revision dove.Revision) control.Receipt {
	r := control.Receipt{Revision: revision}
	_ = m.ask(context.Background(), func() { r = m.core.Receipt(revision) })
	return r
}

// WaitReceipt returns a revision's receipt when it is complete, or as it
// stands when ctx ends.
func (m *Member) WaitReceipt(ctx context.Context, revision dove.Revision) control.Receipt {
	w := waiter{ctx, revision, make(chan struct{})}
	if m.postIn(ctx, laneAsked, func() { m.waiters = append(m.waiters, w) }) == nil {
		select {
		case <-w.done:
		case <-ctx.Done():
		case <-m.stopped:
		}
	}
	return m.Receipt(revision)
}

// Sessions returns what is known of each session: of those here in the order in
// which they opened, then of those of each other member that tells in time.
func (m *Member) Sessions() []control.SessionStatus {
	var all []control.SessionStatus
	_ = m.ask(context.Background(), func() { all = m.core.Sessions() })
	return append(all, m.poll(nil)...)
}

// Members returns how this member is, and after it the others that it knows.
func (m *Member) Members() []control.MemberStatus {
	var all []control.MemberStatus
	_ = m.ask(context.Background(), func() { all = m.core.Members() })
	return all
}

// SessionsOf returns what is known of the sessions of hosts, with whichever
// member, in their order; those without one are left out, and those whose member does not
// tell in time.
func (m *Member) SessionsOf(hosts ...dove.HostName) []control.SessionStatus {
	var some []control.SessionStatus
	_ = m.ask(context.Background(), func() { some = m.core.SessionsOf(hosts) })
	if len(some) < len(hosts) {
		some = append(some, m.poll(hosts)...)
		slices.SortStableFunc(some, func(a, b control.SessionStatus) int {
			return cmp.Compare(slices.Index(hosts, a.Host), slices.Index(hosts, b.Host))
		})
	}
	return some
}
