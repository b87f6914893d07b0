package blueprint

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dove.network/dove"
)

// Context is what a blueprint is checked against: the world of its tenant.
type Context struct {
	// Blueprints are the tenant's, of every domain. One with the name of the
	// checked blueprint is its earlier version and does not count.
	Blueprints []*Blueprint
	// Networks are the tenant's existing ones by name.
	Networks map[string]ExistingNetwork
	// Routers are the tenant's existing ones by name.
	Routers map[string]ExistingRouter
	// Ended is the moment up to which policies of the checked blueprint's domain have
	// ended for good: those contradict nothing any more.
	Ended time.Time
}

// ExistingNetwork says whose a network is. Blueprint is "" if none makes it.
type ExistingNetwork struct {
	Blueprint string
	Domain    string
	Subnets   []netip.Prefix
}

// ExistingRouter says whose a router is, and what. Blueprint is "" if none makes it.
type ExistingRouter struct {
	Blueprint string
	Domain    string
	Router    Router
}

// Check reports every name in b that the tenant's world does not have or has
// elsewhere, and everything there that would no longer fit. The error is a
// *dove.Error like Parse's, with the lines of the text that b was parsed from;
// its kind is Invalid for names that do not exist, Conflict for a contradiction:
// also for what could be reached from one network and overlaps, for a policy
// between networks that no router joins, and for two policies of one priority that
// disagree.
func Check(b *Blueprint, ctx Context) error {
	c := newChecker(b, ctx)
	c.checkNetworks()
	c.checkRouters()
	c.checkFabric()
	for i, p := range b.Policies {
		sound := c.checkEnds(item{kind: itemFrom, name: p.Name}, fmt.Sprintf("policies[%d].from", i), p.From)
		sound = c.checkEnds(item{kind: itemTo, name: p.Name}, fmt.Sprintf("policies[%d].to", i), p.To) && sound
		if f, t, ok := apart(p, c.networks, c.fabric.joined); ok && sound {
			at := b.place(item{kind: itemTo, name: p.Name, ref: t}, fmt.Sprintf("policies[%d].to", i))
			c.add(dove.Conflict, at, routed(b.Name, f, t, c.networks), routedHint)
		}
	}
	c.checkPriorities()
	c.checkDependents()
	return c.err()
}

// CheckRouters reports what in the world of a tenant's domain does not fit
// together, with kind Conflict: for changes of networks and routers that no
// blueprint makes. ctx is the world as it would be.
func CheckRouters(domain dove.Domain, ctx Context) error {
	c := newChecker(&Blueprint{Tenant: domain.Tenant, Domain: domain.Name}, ctx)
	c.checkFabric()
	c.checkDependents()
	return c.err()
}

// CheckDelete reports what in the tenant's world still needs b, with kind Conflict.
func CheckDelete(b *Blueprint, ctx Context) error {
	c := newChecker(&Blueprint{Tenant: b.Tenant, Name: b.Name, Domain: b.Domain}, ctx)
	c.checkFabric()
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
	groups   map[string][]string   // names of each blueprint's groups and outsides
	networks map[dove.Group]string // default network of each group of the tenant; outsides have none
	known    map[string]bool       // names of the domain's networks
	fabric   *fabric               // of the domain, as it would be
}

// own reports whether the checked blueprint is the one named.
func (c *checker) own(blueprint string) bool { return c.b.Name != "" && blueprint == c.b.Name }

func newChecker(b *Blueprint, ctx Context) *checker {
	c := &checker{b: b, ctx: ctx, domains: map[string]string{}, groups: map[string][]string{}, networks: map[dove.Group]string{}, known: map[string]bool{}}
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
		for _, x := range o.Outside {
			c.groups[o.Name] = append(c.groups[o.Name], x.Name)
			c.networks[o.GroupOf(x.Name)] = ""
		}
	}
	networks := map[string][]netip.Prefix{}
	for name, e := range ctx.Networks {
		if e.Domain == b.Domain && !c.own(e.Blueprint) {
			networks[name] = e.Subnets
		}
	}
	for _, n := range b.Networks {
		networks[n.Name] = n.Subnets
	}
	for name := range networks {
		c.known[name] = true
	}
	routers := slices.Clone(b.Routers)
	for _, e := range ctx.Routers {
		if e.Domain == b.Domain && !c.own(e.Blueprint) {
			routers = append(routers, e.Router)
		}
	}
	c.fabric = newFabric(networks, routers)
	return c
}

// checkNetworks checks those that b makes and those that its groups name.
func (c *checker) checkNetworks() {
	for _, n := range c.b.Networks {
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
	for _, g := range c.b.Groups {
		if g.Name == Any.Name {
			c.add(dove.Invalid, c.b.place(item{kind: itemGroups}, "groups"), anyTaken, "choose another name for the group")
		}
		if g.Network != "" {
			c.checkNetwork(g.Network, c.b.place(item{kind: itemGroupNetwork, name: g.Name}, "groups."+g.Name+".network"), "policy does not cross domains")
		}
	}
}

// checkNetwork checks that the domain has a network that the blueprint names.
func (c *checker) checkNetwork(name string, at place, hint string) {
	if c.known[name] {
		return
	}
	if e, exists := c.ctx.Networks[name]; exists && !c.own(e.Blueprint) {
		c.add(dove.Conflict, at, fmt.Sprintf("network %q is of domain %q, this blueprint of %q", name, e.Domain, c.b.Domain), hint)
	} else {
		c.add(dove.Invalid, at, fmt.Sprintf("unknown network %q", name), c.nearest(name, maps.Keys(c.known)))
	}
}

// checkRouters checks those that b makes.
func (c *checker) checkRouters() {
	for _, r := range c.b.Routers {
		at := c.b.place(item{kind: itemRouter, name: r.Name}, "routers."+r.Name)
		switch e, exists := c.ctx.Routers[r.Name]; {
		case !exists:
		case e.Blueprint == "":
			c.add(dove.Conflict, at, fmt.Sprintf("router %q exists and no blueprint makes it", r.Name), "leave it out here, or delete it")
		case e.Blueprint != c.b.Name:
			c.add(dove.Conflict, at, fmt.Sprintf("router %q is made by blueprint %q", r.Name, e.Blueprint), "leave it out here or choose another name")
		}
		for i, name := range r.Networks() {
			where := item{kind: itemRouterNetwork, name: r.Name, ref: dove.Group{Name: name}}
			c.checkNetwork(name, c.b.place(where, fmt.Sprintf("routers.%s.networks[%d]", r.Name, i)), "a router joins networks of one domain")
		}
	}
}

// checkFabric checks that what routers join fits together. A fault stands at
// the first part of it that b makes.
func (c *checker) checkFabric() {
	for _, o := range c.fabric.objections() {
		at := c.b.place(item{kind: itemRouters}, "routers")
		for _, name := range o.networks {
			if slices.ContainsFunc(c.b.Networks, func(n Network) bool { return n.Name == name }) {
				at = c.b.place(item{kind: itemNetwork, name: name}, "networks."+name)
				break
			}
		}
		for _, name := range o.routers {
			if slices.ContainsFunc(c.b.Routers, func(r Router) bool { return r.Name == name }) {
				at = c.b.place(item{kind: itemRouter, name: name}, "routers."+name)
				break
			}
		}
		c.add(dove.Conflict, at, o.message, o.hint)
	}
}

// checkEnds checks the groups that a policy names; it returns false if one is
// not there.
func (c *checker) checkEnds(where item, path string, groups []dove.Group) bool {
	sound := true
	for j, g := range groups {
		if g == Any {
			continue
		}
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
	for _, name := range slices.Sorted(maps.Keys(c.ctx.Routers)) {
		r := c.ctx.Routers[name]
		for _, n := range r.Router.Networks() {
			if e, exists := c.ctx.Networks[n]; exists && c.own(e.Blueprint) && !c.own(r.Blueprint) && !c.known[n] {
				c.add(dove.Conflict, networks, fmt.Sprintf("network %q would vanish: router %q joins it", n, name), "take it out of the router first")
			}
		}
	}
	for _, o := range c.others {
		for _, g := range o.Groups {
			if e, exists := c.ctx.Networks[g.Network]; exists && c.own(e.Blueprint) && !c.known[g.Network] {
				c.add(dove.Conflict, networks, fmt.Sprintf("network %q would vanish: group %s/%s is on it", g.Network, o.Name, g.Name), "change that group first")
			}
		}
		for _, p := range o.Policies {
			c.checkDependent(o, p, groups)
		}
	}
}

func (c *checker) checkDependent(o *Blueprint, p Policy, at place) {
	for _, g := range slices.Concat(p.From, p.To) {
		if !c.own(g.Blueprint) {
			continue
		}
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
	if o.Domain != c.b.Domain {
		return
	}
	if f, t, ok := apart(p, c.networks, c.fabric.joined); ok {
		if !slices.ContainsFunc(slices.Concat(p.From, p.To), func(g dove.Group) bool { return c.own(g.Blueprint) }) { // a router goes
			at = c.b.place(item{kind: itemRouters}, "routers")
		}
		c.add(dove.Conflict, at, fmt.Sprintf("policy %s: %s", o.RuleName(p), routed(c.b.Name, f, t, c.networks)), routedHint)
	}
}

// place returns where a part was read, or the path where Format would print it.
func (b *Blueprint) place(i item, path string) place {
	if p, ok := b.places[i]; ok {
		return p
	}
	return place{path: path}
}
