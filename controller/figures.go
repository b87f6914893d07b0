package controller

import (
	"iter"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/resolver"
)

// OverdueAfter is how long hosts may take to enforce a change before its receipt
// counts as overdue.
const OverdueAfter = 10 * time.Second

// Figures are sums over what a Core knows.
type Figures struct {
	Revision    dove.Revision // of the world
	Sessions    int
	Peers       int // rows that all sessions hold together
	Absent      int
	Pairs       int
	Hosts       int // that have joined
	Unconfirmed int // that have endpoints and no session
	Pending     int // revisions that some session has not acknowledged
	Overdue     int // of these, older than OverdueAfter
	Members     int // others that are reached
	// Age is how long ago all was applied that the store had then, 0 if nobody ever said.
	Age time.Duration
	// Behind is how many revisions the slowest session here has not acknowledged.
	Behind dove.Revision
}

// Figures sums up, in time proportional to hosts and sessions.
func (c *Core) Figures(now time.Time) Figures {
	f := Figures{
		Revision: c.world.Revision(), Sessions: len(c.sessions), Unconfirmed: len(c.unconfirmed()),
		Members: len(c.fellows), Behind: c.world.Revision() - min(c.ledger.Own(), c.world.Revision()),
	}
	if !c.heardOf.IsZero() {
		f.Age = max(0, now.Sub(c.heardOf))
	}
	for id := range c.sessions {
		peers, absent, pairs := c.interest.Held(id)
		f.Peers += peers - absent
		f.Absent += absent
		f.Pairs += pairs
	}
	for h := range c.world.Hosts() {
		if resolver.Joined(h) {
			f.Hosts++
		}
	}
	for r := range c.ledger.Unsettled() {
		f.Pending++
		if now.Sub(r.Committed) > OverdueAfter {
			f.Overdue++
		}
	}
	return f
}

// settled yields the receipts after a revision that all live sessions acknowledged.
func (c *Core) settled(after dove.Revision) iter.Seq[control.Receipt] {
	return func(yield func(control.Receipt) bool) {
		for r := range c.ledger.After(after) {
			if !r.Complete || !yield(r) {
				return
			}
		}
	}
}
