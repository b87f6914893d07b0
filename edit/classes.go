package edit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/policy"
	"dove.network/world"
)

// newClassesMax is how many class ids one write may decide: what else it changes
// must fit beside them.
const newClassesMax = 100

// allocate decides the class ids of signatures, by key, that have none, and calls
// back those that rest. The choice is the only one in the domain.
func (c *change) allocate(domain dove.Domain, keys []string) error {
	next := c.w.ClassNext(domain)
	var chosen []dove.Class
	missing := 0
	for _, key := range keys {
		if _, exists := c.w.ClassAlloc(domain, key); !exists {
			missing++
		}
	}
	if missing > newClassesMax {
		return dove.Errorf(dove.TooLarge, "domain %q would need %d new classes at once, and %d are the most: change selectors, prefixes or names of ports in smaller steps", domain, missing, newClassesMax)
	}
	for _, key := range keys {
		alloc, exists := c.w.ClassAlloc(domain, key)
		switch {
		case exists && alloc.FreedAt == nil:
			c.read(alloc.Key())
			continue
		case exists:
			alloc.FreedAt = nil
		default:
			class, ok := policy.FreeClass(func(id dove.Class) bool {
				_, used := c.w.SignatureOf(domain, id)
				return used || slices.Contains(chosen, id)
			}, next.Next)
			if !ok {
				return dove.Errorf(dove.TooLarge, "domain %q has %d classes, and no more are possible: use fewer combinations of groups", domain, policy.ClassesMax)
			}
			alloc = world.ClassAlloc{Tenant: domain.Tenant, Domain: domain.Name, Class: class, Signature: key}
			next.Next, chosen = class+1, append(chosen, class)
		}
		c.put(alloc)
	}
	c.put(next)
	return nil
}

// intend writes what follows from other blueprints of domains: the edge, which no
// policy may outlive, and the class ids of endpoints that they put into other
// classes. Gone and made are the blueprint before and after, either may be nil.
func (c *change) intend(gone, made *blueprint.Blueprint, now time.Time) error {
	domains := map[dove.Domain]bool{}
	for _, b := range []*blueprint.Blueprint{gone, made} {
		if b != nil {
			domains[b.DomainOf()] = true
		}
	}
	for _, domain := range slices.SortedFunc(maps.Keys(domains), func(a, b dove.Domain) int { return strings.Compare(a.Name, b.Name) }) {
		var all []*blueprint.Blueprint
		for b := range c.w.ParsedOf(domain.Tenant) {
			if b.Domain == domain.Name && (gone == nil || b.Name != gone.Name) {
				all = append(all, b)
			}
		}
		if made != nil && made.DomainOf() == domain {
			all = append(all, made)
		}
		edge := c.edge(domain, all, now)
		intent := policy.Compile(all, edge)
		if intent.Classifies(c.w.Domain(domain)) {
			continue
		}
		keys := map[string]bool{}
		for n := range c.w.Networks(domain.Tenant) {
			if n.Domain != domain.Name {
				continue
			}
			for e := range c.w.EndpointsIn(n.Full()) {
				for key := range e.Signatures(intent) {
					if a, exists := c.w.ClassAlloc(domain, key); !exists || a.FreedAt != nil {
						keys[key] = true
					}
				}
			}
		}
		if err := c.allocate(domain, slices.Sorted(maps.Keys(keys))); err != nil {
			return err
		}
	}
	return nil
}

// edge moves the edge of a domain to the last moment at which a policy ended, and
// returns it.
func (c *change) edge(domain dove.Domain, blueprints []*blueprint.Blueprint, now time.Time) time.Time {
	is := c.w.Edge(domain)
	want := is
	for _, b := range blueprints {
		for _, p := range b.Policies {
			if !p.Until.After(now) && p.Until.After(want) {
				want = p.Until
			}
		}
	}
	if !want.Equal(is) {
		c.put(world.Edge{Tenant: domain.Tenant, Domain: domain.Name, At: want})
	}
	return want
}

// overtaken refuses policies that would end in the future and yet never be in
// force: the edge of their domain, which does not go back, is beyond.
func overtaken(p *problems, w *world.World, b *blueprint.Blueprint, now time.Time) {
	edge := w.Edge(b.DomainOf())
	for i, x := range b.Policies {
		if x.Until.After(now) && !x.Until.After(edge) {
			p.add(dove.Conflict, fmt.Sprintf("policies[%d].until", i), "write a later one",
				"policy %q would end at %s, and policies of domain %q have ended up to %s: a clock was ahead", x.Name, x.Until.Format(time.RFC3339), b.Domain, edge.Format(time.RFC3339))
		}
	}
}

// SweepEdge ends the policies of a domain whose time is up.
func SweepEdge(w *world.World, domain dove.Domain, now time.Time) (dove.Txn, error) {
	c := begin(w)
	var all []*blueprint.Blueprint
	for b := range w.ParsedOf(domain.Tenant) {
		if b.Domain == domain.Name {
			all = append(all, b)
		}
	}
	c.edge(domain, all, now)
	if len(all) == 0 && !w.Edge(domain).IsZero() {
		c.delete(world.EdgeKey(domain))
	}
	return c.done()
}

// NextEdge returns when the next policy of any tenant ends after the edge of its
// domain, zero if none does, and the domain.
func NextEdge(w *world.World) (time.Time, dove.Domain) {
	var next time.Time
	var of dove.Domain
	for t := range w.Tenants() {
		for b := range w.ParsedOf(t.Name) {
			edge := w.Edge(b.DomainOf())
			for _, p := range b.Policies {
				if p.Until.After(edge) && (next.IsZero() || p.Until.Before(next)) {
					next, of = p.Until, b.DomainOf()
				}
			}
		}
	}
	return next, of
}
