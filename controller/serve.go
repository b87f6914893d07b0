package controller

import (
	"cmp"
	"context"
	"slices"
	"time"

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

// Following reports whether the member has loaded the documents and follows them. While it
// does not, it knows of no sessions.
func (m *Member) Following() bool { return m.following.Load() }

// statusWithin bounds how long the member, and then others, may take to tell of sessions.
const statusWithin = 2 * time.Second

// look returns what the Core knows, none if it does not tell in time.
func look[T any](m *Member, of func(*Core) T) (known T) {
	ctx, cancel := context.WithTimeout(context.Background(), statusWithin)
	defer cancel()
	told := make(chan T, 1)
	if m.ask(ctx, func() { told <- of(m.core) }) == nil {
		known = <-told
	}
	return known
}

// Receipt says how far a revision got. It is empty if the member does not run.
func (m *Member) Receipt(revision dove.Revision) control.Receipt {
	r := look(m, func(c *Core) control.Receipt { return c.Receipt(revision) })
	r.Revision = revision
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
	return append(look(m, (*Core).Sessions), m.poll(nil)...)
}

// Members returns how this member is, and after it the others that it knows.
func (m *Member) Members() []control.MemberStatus { return look(m, (*Core).Members) }

// SessionsOf returns what is known of the sessions of hosts, with whichever
// member, in their order; those without one are left out, and those whose member does not
// tell in time.
func (m *Member) SessionsOf(hosts ...dove.HostName) []control.SessionStatus {
	return m.sessionsOf(hosts, func(c *Core) []control.SessionStatus { return c.SessionsOf(hosts) })
}

// PortsOf is SessionsOf where of what is known of endpoints only some matter.
func (m *Member) PortsOf(names []dove.Endpoint, hosts ...dove.HostName) []control.SessionStatus {
	return m.sessionsOf(hosts, func(c *Core) []control.SessionStatus { return c.PortsOf(names, hosts) })
}

func (m *Member) sessionsOf(hosts []dove.HostName, here func(*Core) []control.SessionStatus) []control.SessionStatus {
	some := look(m, here)
	if len(some) < len(hosts) {
		some = append(some, m.poll(hosts)...)
		slices.SortStableFunc(some, func(a, b control.SessionStatus) int {
			return cmp.Compare(slices.Index(hosts, a.Host), slices.Index(hosts, b.Host))
		})
	}
	return some
}
