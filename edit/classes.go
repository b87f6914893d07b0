package edit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/policy"
	"dove.network/verdict"
	"dove.network/world"
)

// allocate decides the class ids of signatures, by key, that have none. The choice
// is the only one in the domain, and while it is, no id that rests is deleted.
func (c *change) allocate(domain dove.Domain, keys []string) error {
	missing := slices.DeleteFunc(keys, func(key string) bool {
		_, exists := c.w.ClassAlloc(domain, key)
		return exists
	})
	if has := c.w.ClassCount(domain); len(missing) > policy.ClassesMax-has {
		resting := 0
		for a := range c.w.Classes(domain) {
			if a.FreedAt != nil {
				resting++
			}
		}
		return dove.Errorf(dove.TooLarge, "domain %s would need %d new classes beside %d, of which %d rest for %s, and may have %d: use fewer combinations of groups, prefixes and named ports",
			domain, len(missing), has, resting, Rest, policy.ClassesMax)
	}
	next, chosen := c.w.ClassNext(domain), map[dove.Class]bool{}
	for _, key := range missing {
		class, _ := policy.FreeClass(func(id dove.Class) bool {
			_, used := c.w.SignatureOf(domain, id)
			return used || chosen[id]
		}, next.Next)
		next.Next, chosen[class] = class+1, true
		c.classes = append(c.classes, world.ClassAlloc{Tenant: domain.Tenant, Domain: domain.Name, Class: class, Signature: key})
	}
	c.put(next)
	return nil
}

// intend writes what follows from blueprints that are written.
func (c *change) intend(written []decided, now time.Time) error {
	if c.txn.Empty() {
		return nil
	}
	var gone, made []*blueprint.Blueprint
	for _, d := range written {
		if old := c.w.Parsed(d.doc.Tenant, d.doc.Name); old != nil {
			gone = append(gone, old)
		}
		made = append(made, d.footprint.blueprint)
	}
	return c.redomain(gone, made, now)
}

// redomain writes what follows from other blueprints of domains: the edge, which no
// policy may outlive, and the class ids of endpoints that they put into other
// classes. Gone and made are blueprints as they were and will be.
func (c *change) redomain(gone, made []*blueprint.Blueprint, now time.Time) error {
	domains := map[dove.Domain]bool{}
	for _, b := range slices.Concat(gone, made) {
		domains[b.DomainOf()] = true
	}
	for _, domain := range slices.SortedFunc(maps.Keys(domains), func(a, b dove.Domain) int { return strings.Compare(a.Name, b.Name) }) {
		var all []*blueprint.Blueprint
		for b := range c.w.ParsedOf(domain.Tenant) {
			if b.Domain == domain.Name && !slices.Contains(gone, b) {
				all = append(all, b)
			}
		}
		for _, b := range made {
			if b.DomainOf() == domain {
				all = append(all, b)
			}
		}
		edge := c.edge(domain, all, now)
		intent := c.w.Compile(all, edge)
		if intent.Classifies(c.w.Domain(domain)) {
			if err := c.fits(domain, intent, nil); err != nil {
				return err
			}
			continue
		}
		if err := c.holds(domain, intent); err != nil {
			return err
		}
		keys := c.w.Signatures(domain, intent)
		if err := c.fits(domain, intent, keys); err != nil {
			return err
		}
		if err := c.allocate(domain, slices.Sorted(maps.Keys(keys))); err != nil {
			return err
		}
	}
	return nil
}

// fits refuses what policies would say of a pair of classes and no switch could hold,
// if it is not so already. Signatures are those of all endpoints, nil if they are
// those that have classes.
func (c *change) fits(domain dove.Domain, intent *policy.Domain, signatures map[string]policy.Signature) error {
	if !intent.MayBeLarge() {
		return nil
	}
	if signatures == nil {
		signatures = map[string]policy.Signature{}
		for a := range c.w.Classes(domain) {
			if s, ok := c.w.SignatureOf(domain, a.Class); ok && a.FreedAt == nil {
				signatures[a.Signature] = s
			}
		}
	}
	all := make([]policy.Signature, 0, len(signatures))
	for _, key := range slices.Sorted(maps.Keys(signatures)) {
		all = append(all, signatures[key])
	}
	src, dst, found := intent.TooLarge(all)
	if !found || c.w.Domain(domain).Overflows(src, dst) {
		return nil
	}
	return dove.Errorf(dove.TooLarge, "what policies say of packets from %s to %s fits no switch: more than %d ranges of ports, or %d bytes with the names of policies; let rules name ranges in place of many single ports",
		inWords(src), inWords(dst), verdict.IntervalsMax, verdict.EncodedMax)
}

// inWords names the endpoints of a signature.
func inWords(s policy.Signature) string {
	names := make([]string, len(s.Groups))
	for i, g := range s.Groups {
		names[i] = g.Blueprint + "/" + g.Name
	}
	text := cmp.Or(strings.Join(names, "+"), "endpoints of no group")
	if s.Prefix.IsValid() {
		text += " in " + s.Prefix.String()
	}
	return text
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
