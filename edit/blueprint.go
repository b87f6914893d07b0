package edit

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/world"
)

// PutBlueprint takes over a tenant's blueprint as a whole: the text, and the
// networks that it makes. Name is that of the request, "" if it names none; it
// must be the text's. Faults have the lines of the text.
func PutBlueprint(w *world.World, t dove.Tenant, name string, text []byte, now time.Time, ifMatch *dove.Revision) (dove.Txn, world.Blueprint, error) {
	return PutPlanned(w, t, name, text, now, ifMatch, "")
}

// PutPlanned is PutBlueprint, and if it is given the token of a plan, only while
// that is true or there is nothing to change. The error, dove.Conflict, names what
// changed since.
func PutPlanned(w *world.World, t dove.Tenant, name string, text []byte, now time.Time, ifMatch *dove.Revision, planned string) (dove.Txn, world.Blueprint, error) {
	one, c, err := putBlueprint(w, t, name, text, now, ifMatch)
	all := []decided{one}
	if err == nil {
		err = c.intend(all, now)
	}
	if err == nil {
		err = c.bind(all, text, planned)
	}
	if err != nil {
		return dove.Txn{}, world.Blueprint{}, err
	}
	txn, err := c.done()
	return txn, one.doc, err
}

// footprint is what a blueprint does to networks.
type footprint struct {
	blueprint *blueprint.Blueprint
	made      []*world.Network // new or changed
	gone      []world.Network
	routers   []world.Router // new or changed
	closed    []world.Router // gone
	takes     bool           // whether something goes that endpoints could be in
}

// decided is a blueprint that is to be written.
type decided struct {
	footprint footprint
	doc       world.Blueprint
}

// putBlueprint reads a text and decides.
func putBlueprint(w *world.World, t dove.Tenant, name string, text []byte, now time.Time, ifMatch *dove.Revision) (decided, *change, error) {
	if _, exists := w.Tenant(t); !exists {
		return decided{}, nil, missingTenant(t)
	}
	b, err := w.Parse(t, string(text))
	if err != nil {
		return decided{}, nil, err
	}
	return decide(w, b, name, text, now, ifMatch)
}

// decide decides all but what follows from the blueprints of a domain together,
// which intend does.
func decide(w *world.World, b *blueprint.Blueprint, name string, text []byte, now time.Time, ifMatch *dove.Revision) (decided, *change, error) {
	none := func(err error) (decided, *change, error) { return decided{}, nil, err }
	t := b.Tenant
	if name != "" && b.Name != name {
		var p problems
		p.add(dove.Invalid, "name", "use one name for both", "the text is of blueprint %q, the request of %q", b.Name, name)
		return none(p.err("the blueprint"))
	}
	doc := world.Blueprint{Tenant: t, Name: b.Name, Domain: b.Domain, Text: string(text)}
	if err := match(w, fmt.Sprintf("blueprint %q", b.Name), doc.Key(), ifMatch); err != nil {
		return none(err)
	}
	f, c := footprint{blueprint: b}, begin(w)
	old, exists := w.Blueprint(t, b.Name)
	if exists && old.Text == doc.Text {
		return decided{f, old}, c, nil
	}
	var p problems
	p.join(refusal(blueprint.Check(b, contextOf(w, b.DomainOf()))))
	overtaken(&p, w, b, now)
	f.judge(&p, w, w.Parsed(t, b.Name))
	if err := p.err(fmt.Sprintf("blueprint %q", b.Name)); err != nil {
		return none(err)
	}
	c.read(world.TenantKey(t))
	c.put(world.Ledger{Tenant: t}, doc)
	if err := c.carry(f, w.Parsed(t, b.Name), now); err != nil {
		return none(err)
	}
	return decided{f, doc}, c, nil
}

// DeleteBlueprint removes a blueprint and the networks that it makes, if no
// endpoint and no other blueprint needs them or its groups.
func DeleteBlueprint(w *world.World, t dove.Tenant, name string, now time.Time, ifMatch *dove.Revision) (dove.Txn, error) {
	key := world.BlueprintKey(t, name)
	if err := match(w, fmt.Sprintf("blueprint %q", name), key, ifMatch); err != nil {
		return dove.Txn{}, err
	}
	old := w.Parsed(t, name)
	if old == nil {
		return dove.Txn{}, dove.Errorf(dove.NotFound, "tenant %q has no blueprint %q", t, name)
	}
	f := footprint{blueprint: &blueprint.Blueprint{Tenant: t, Name: name, Domain: old.Domain}}
	var p problems
	p.join(refusal(blueprint.CheckDelete(old, contextOf(w, old.DomainOf()))))
	f.judge(&p, w, old)
	if err := p.err(fmt.Sprintf("deleting blueprint %q", name)); err != nil {
		return dove.Txn{}, err
	}
	c := begin(w)
	c.put(world.Ledger{Tenant: t})
	c.delete(key)
	if err := c.carry(f, old, now); err != nil {
		return dove.Txn{}, err
	}
	if err := c.redomain([]*blueprint.Blueprint{old}, nil, now); err != nil {
		return dove.Txn{}, err
	}
	return c.done()
}

// contextOf gathers what a blueprint of a domain is checked against.
func contextOf(w *world.World, d dove.Domain) blueprint.Context {
	t := d.Tenant
	ctx := blueprint.Context{Ended: w.Edge(d), Blueprints: slices.Collect(w.ParsedOf(t)), Networks: map[string]blueprint.ExistingNetwork{}, Routers: map[string]blueprint.ExistingRouter{}}
	for n := range w.Networks(t) {
		ctx.Networks[n.Name] = blueprint.ExistingNetwork{Blueprint: n.Blueprint, Domain: n.Domain, Subnets: n.Subnets}
	}
	for r := range w.Routers(t) {
		ctx.Routers[r.Name] = blueprint.ExistingRouter{Blueprint: r.Blueprint, Domain: r.Domain, Router: r.Says()}
	}
	return ctx
}

// judge finds what the blueprint makes and takes away, in place of an old
// version that may be nil, and refuses to take what endpoints are in.
func (f *footprint) judge(p *problems, w *world.World, old *blueprint.Blueprint) {
	b := f.blueprint
	moved := old != nil && old.Domain != b.Domain
	declared := map[string]bool{}
	for _, g := range b.Groups {
		declared[g.Name] = true
	}
	if old != nil {
		f.takes = moved || slices.ContainsFunc(old.Groups, func(g blueprint.Group) bool { return !declared[g.Name] })
	}
	for g := range w.GroupsInUse(b.Tenant, b.Name) {
		names, more := some(w.EndpointsOf(g), endpointName)
		switch {
		case !declared[g.Name]:
			p.add(dove.Conflict, "groups", "keep the group, or take them out of it first", "group %q would vanish, which has endpoints %s%s", g.Name, names, more)
		case moved:
			p.add(dove.Conflict, "domain", "keep the domain, or take them out of the group first", "group %q would leave domain %q, where it has endpoints %s%s", g.Name, old.Domain, names, more)
		}
	}
	wanted, changed := map[string]bool{}, map[string]world.Network{}
	for _, n := range b.Networks {
		wanted[n.Name] = true
		doc := &world.Network{Tenant: b.Tenant, Name: n.Name, Domain: b.Domain, Blueprint: b.Name, Subnets: n.Subnets, MTU: DefaultMTU(w)}
		is, exists := w.Network(doc.Full())
		switch {
		case !exists:
		case is.Blueprint != b.Name || is.Domain != b.Domain:
			continue // Check refused it
		case slices.Equal(is.Subnets, n.Subnets):
			continue
		default:
			doc.VNI, doc.MTU = is.VNI, is.MTU
			f.takes = checkStranded(p, w, is, n.Subnets) || f.takes
		}
		f.made = append(f.made, doc)
		changed[n.Name] = *doc
	}
	f.judgeRouters(p, w, changed)
	for n := range w.Networks(b.Tenant) {
		if n.Blueprint == b.Name && !wanted[n.Name] {
			if names, more := some(w.EndpointsIn(n.Full()), endpointName); names != "" {
				p.add(dove.Conflict, "networks", "keep the network, or delete them first", "network %q would vanish, which has endpoints %s%s", n.Name, names, more)
			}
			f.gone, f.takes = append(f.gone, n), true
		}
	}
}

// carry writes what judge found.
func (c *change) carry(f footprint, old *blueprint.Blueprint, now time.Time) error {
	if f.takes && old != nil {
		c.read(c.w.ClassNext(old.DomainOf()).Key())
	}
	if len(f.routers) > 0 || routed(c.w, f.made) {
		c.put(c.w.ClassNext(f.blueprint.DomainOf()))
	}
	for _, r := range f.closed {
		c.delete(r.Key())
	}
	for _, r := range f.routers {
		c.put(r)
	}
	for _, n := range f.gone {
		c.deleteNetwork(n, now)
	}
	return c.putNetworks(now, f.made...)
}

// refusal returns err as the *dove.Error that it is, or nil.
func refusal(err error) *dove.Error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*dove.Error](err)
	if !ok {
		panic(fmt.Sprintf("edit: a document was refused without faults: %v", err))
	}
	return e
}
