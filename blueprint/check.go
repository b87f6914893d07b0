package blueprint

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"dove.network/dove"
)

// Context is what a blueprint is checked against: the world of its tenant.
type Context struct {
	// Blueprints are the tenant's, of every domain. One with the name of the
	// checked blueprint is its earlier version and does not count.
	Blueprints []*Blueprint
	// Networks are the tenant's existing ones by name.
	Networks map[string]ExistingNetwork
}

// ExistingNetwork says whose a network is. Blueprint is "" if none makes it.
type ExistingNetwork struct {
	Blueprint string
	Domain    string
}

// Check reports every name in b that the tenant's world does not have or has
// elsewhere, and everything there that would no longer fit. The error is a
// *dove.Error like Parse's, with the lines of the text that b was parsed from;
// its kind is Invalid for names that do not exist, Conflict for a contradiction,
// Unsupported for what this version cannot enforce.
func Check(b *Blueprint, ctx Context) error {
	c := newChecker(b, ctx)
	c.checkNetworks()
	for i, p := range b.Policies {
		sound := c.checkEnds(item{kind: itemFrom, name: p.Name}, fmt.Sprintf("policies[%d].from", i), p.From)
		sound = c.checkEnds(item{kind: itemTo, name: p.Name}, fmt.Sprintf("policies[%d].to", i), p.To) && sound
		if f, t, ok := apart(p, c.networks); ok && sound {
			at := b.place(item{kind: itemTo, name: p.Name, ref: t}, fmt.Sprintf("policies[%d].to", i))
			c.add(dove.Unsupported, at, routed(b.Name, f, t, c.networks), "put both groups on one network")
		}
	}
	c.checkDependents()
	return c.err()
}

// CheckDelete reports what in the tenant's world still needs b, with kind Conflict.
func CheckDelete(b *Blueprint, ctx Context) error {
	c := newChecker(&Blueprint{Tenant: b.Tenant, Name: b.Name, Domain: b.Domain}, ctx)
	c.checkDependents()
	return c.err()
}

// checker compares one blueprint with a context.
type checker struct {
	faults
	b        *Blueprint
	ctx      Context
	others   []*Blueprint          // in order of name, without earlier versions of b
	domains  map[string]string     // of each blueprint by name
	groups   map[string][]string   // names of each blueprint's groups
	networks map[dove.Group]string // default network of each group of the tenant
}

func newChecker(b *Blueprint, ctx Context) *checker {
	c := &checker{b: b, ctx: ctx, domains: map[string]string{}, groups: map[string][]string{}, networks: map[dove.Group]string{}}
	for _, o := range ctx.Blueprints {
		if o.Tenant == b.Tenant && o.Name != b.Name {
			c.others = append(c.others, o)
		}
	}
	slices.SortFunc(c.others, func(x, y *Blueprint) int { return strings.Compare(x.Name, y.Name) })
	for _, o := range append(slices.Clone(c.others), b) {
		c.domains[o.Name] = o.Domain
		for _, g := range o.Groups {
			c.groups[o.Name] = append(c.groups[o.Name], g.Name)
			c.networks[o.GroupOf(g.Name)] = g.Network
		}
	}
	return c
}

// checkNetworks checks those that b makes and those that its groups name.
func (c *checker) checkNetworks() {
	known := map[string]bool{}
	for _, n := range c.b.Networks {
		known[n.Name] = true
		at := c.b.place(item{kind: itemNetwork, name: n.Name}, "networks."+n.Name)
		e, exists := c.ctx.Networks[n.Name]
		switch {
		case !exists:
		case e.Blueprint == "":
			c.add(dove.Conflict, at, fmt.Sprintf("network %q exists and no blueprint makes it", n.Name), "leave it out here; groups may name it")
		case e.Blueprint != c.b.Name:
			c.add(dove.Conflict, at, fmt.Sprintf("network %q is made by blueprint %q", n.Name, e.Blueprint), "leave it out here or choose another name")
		case e.Domain != c.b.Domain:
			at := c.b.place(item{kind: itemDomain}, "domain")
			c.add(dove.Conflict, at, fmt.Sprintf("network %q was made in domain %q, which is fixed", n.Name, e.Domain), "keep the domain, or delete the blueprint first")
		}
	}
	for name, e := range c.ctx.Networks {
		if e.Domain == c.b.Domain && e.Blueprint != c.b.Name {
			known[name] = true
		}
	}
	for _, g := range c.b.Groups {
		if g.Network == "" || known[g.Network] {
			continue
		}
		at := c.b.place(item{kind: itemGroupNetwork, name: g.Name}, "groups."+g.Name+".network")
		if e, exists := c.ctx.Networks[g.Network]; exists && e.Blueprint != c.b.Name {
			c.add(dove.Conflict, at, fmt.Sprintf("network %q is of domain %q, this blueprint of %q", g.Network, e.Domain, c.b.Domain), "policy does not cross domains")
		} else {
			c.add(dove.Invalid, at, fmt.Sprintf("unknown network %q", g.Network), c.nearest(g.Network, maps.Keys(known)))
		}
	}
}

// checkEnds checks the groups that a policy names; it returns false if one is
// not there.
func (c *checker) checkEnds(where item, path string, groups []dove.Group) bool {
	sound := true
	for j, g := range groups {
		where.ref = g
		message, kind, hint := c.missing(g)
		if message != "" {
			c.add(kind, c.b.place(where, fmt.Sprintf("%s[%d]", path, j)), message, hint)
			sound = false
		}
	}
	return sound
}

// missing says why b cannot name a group, or "".
func (c *checker) missing(g dove.Group) (message string, kind dove.Kind, hint string) {
	domain, exists := c.domains[g.Blueprint]
	_, declared := c.networks[g]
	switch {
	case !exists:
		return fmt.Sprintf("group %q: unknown blueprint %q", relative(c.b.Name, g), g.Blueprint), dove.Invalid, c.nearest(g.Blueprint, maps.Keys(c.domains))
	case domain != c.b.Domain:
		return fmt.Sprintf("group %q is of domain %q, this blueprint of %q", relative(c.b.Name, g), domain, c.b.Domain), dove.Conflict, "policy does not cross domains"
	case !declared:
		return fmt.Sprintf("unknown group %q in blueprint %q", g.Name, g.Blueprint), dove.Invalid, c.nearest(g.Name, slices.Values(c.groups[g.Blueprint]))
	}
	return "", 0, ""
}

// checkDependents checks what other blueprints say about groups and networks of b.
func (c *checker) checkDependents() {
	networks := c.b.place(item{kind: itemNetworks}, "networks")
	groups := c.b.place(item{kind: itemGroups}, "groups")
	makes := map[string]bool{}
	for _, n := range c.b.Networks {
		makes[n.Name] = true
	}
	for _, o := range c.others {
		for _, g := range o.Groups {
			if e, exists := c.ctx.Networks[g.Network]; exists && e.Blueprint == c.b.Name && !makes[g.Network] {
				c.add(dove.Conflict, networks, fmt.Sprintf("network %q would vanish: group %s/%s is on it", g.Network, o.Name, g.Name), "change that group first")
			}
		}
		for _, p := range o.Policies {
			c.checkDependent(o, p, groups)
		}
	}
}

func (c *checker) checkDependent(o *Blueprint, p Policy, at place) {
	names := false
	for _, g := range slices.Concat(p.From, p.To) {
		if g.Blueprint != c.b.Name {
			continue
		}
		names = true
		_, declared := c.networks[g]
		switch {
		case !declared:
			c.add(dove.Conflict, at, fmt.Sprintf("group %q would vanish: policy %s names it", g.Name, o.RuleName(p)), "change that policy first")
			return
		case o.Domain != c.b.Domain:
			c.add(dove.Conflict, at, fmt.Sprintf("group %q would be in domain %q: policy %s of domain %q names it", g.Name, c.b.Domain, o.RuleName(p), o.Domain), "change that policy first")
			return
		}
	}
	if f, t, ok := apart(p, c.networks); ok && names {
		c.add(dove.Unsupported, at, fmt.Sprintf("policy %s: %s", o.RuleName(p), routed(c.b.Name, f, t, c.networks)), "put both groups on one network")
	}
}

// place returns where a part was read, or the path where Format would print it.
func (b *Blueprint) place(i item, path string) place {
	if p, ok := b.places[i]; ok {
		return p
	}
	return place{path: path}
}
