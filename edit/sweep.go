package edit

import (
	"time"

	"dove.network/dove"
	"dove.network/world"
)

// sweepMax is how many documents one sweep changes; the next one goes on.
const sweepMax = 100

// SweepClasses lets class ids rest that no address of the domain has, and
// deletes those that rested long enough. One that is in use again is called back.
// A sweep that deletes is a choice of ids: whoever relies on one that rests is not overtaken by it.
func SweepClasses(w *world.World, d dove.Domain, now time.Time) (dove.Txn, error) {
	signatures := w.Signatures(d, w.Domain(d))
	used := func(a world.ClassAlloc) bool {
		_, is := signatures[a.Signature]
		return is
	}
	networks := 0
	for n := range w.Networks(d.Tenant) {
		if n.Domain == d.Name {
			networks++
		}
	}
	c := begin(w)
	allocs, changes := 0, 0
	for a := range w.Classes(d) {
		allocs++
		if changes == sweepMax {
			break
		}
		switch {
		case used(a) && a.FreedAt != nil:
			a.FreedAt = nil
			c.put(a)
		case !used(a) && a.FreedAt == nil:
			a.FreedAt = new(now.UTC())
			c.put(a)
		case !used(a) && rested(a.FreedAt, now):
			c.delete(a.Key())
		default:
			continue
		}
		changes++
	}
	next := w.ClassNext(d)
	if len(c.txn.Deletes) > 0 {
		c.put(next)
	}
	if networks == 0 && allocs == 0 && w.DocRevision(next.Key()) != 0 {
		c.delete(next.Key())
	}
	return c.done()
}

// Sweep deletes what is of no more use to anybody: VNIs that rested long
// enough, claims of who may not have the address any more, and tokens to join and results of requests that expired. It deletes so
// many at once and is done when it gives an empty transaction.
func Sweep(w *world.World, now time.Time) (dove.Txn, error) {
	c := begin(w)
	for t := range w.JoinTokens() {
		if !now.Before(t.Expires) && len(c.txn.Deletes) < sweepMax {
			c.delete(t.Key())
		}
	}
	for t := range w.MemberTokens() {
		if !now.Before(t.Expires) && len(c.txn.Deletes) < sweepMax {
			c.delete(t.Key())
		}
	}
	for r := range w.RequestsUntil(now) {
		if len(c.txn.Deletes) == sweepMax {
			break
		}
		c.delete(r.Key())
	}
	for claim := range w.AllClaims() {
		if !claimant(w, claim) && len(c.txn.Deletes) < sweepMax {
			c.delete(claim.Key())
		}
	}
	for a := range w.VNIs(0) {
		if rested(a.FreedAt, now) && len(c.txn.Deletes) < sweepMax {
			c.delete(a.Key())
		}
	}
	return c.done()
}
