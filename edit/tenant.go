package edit

import (
	"fmt"
	"iter"

	"dove.network/dove"
	"dove.network/world"
)

// Initialize gives a store without one its incarnation.
func Initialize(w *world.World, meta world.Meta) (dove.Txn, error) {
	if w.Incarnation() != 0 {
		return dove.Txn{}, nil
	}
	c := begin(w)
	c.put(meta)
	return c.done()
}

// PutTenant makes a tenant.
func PutTenant(w *world.World, t dove.Tenant, ifMatch *dove.Revision) (dove.Txn, world.Tenant, error) {
	doc := world.Tenant{Name: t}
	var p problems
	checkName(&p, "name", string(t))
	if err := p.err("the tenant"); err != nil {
		return dove.Txn{}, doc, err
	}
	if err := match(w, fmt.Sprintf("tenant %q", t), doc.Key(), ifMatch); err != nil {
		return dove.Txn{}, doc, err
	}
	if _, exists := w.Tenant(t); exists {
		return dove.Txn{}, doc, nil
	}
	c := begin(w)
	c.put(doc, world.Ledger{Tenant: t})
	txn, err := c.done()
	return txn, doc, err
}

// DeleteTenant removes a tenant that owns nothing any more.
func DeleteTenant(w *world.World, t dove.Tenant, ifMatch *dove.Revision) (dove.Txn, error) {
	if err := match(w, fmt.Sprintf("tenant %q", t), world.TenantKey(t), ifMatch); err != nil {
		return dove.Txn{}, err
	}
	if _, exists := w.Tenant(t); !exists {
		return dove.Txn{}, missingTenant(t)
	}
	var p problems
	owned(&p, t, "endpoint", w.Endpoints(t), func(e world.Endpoint) string { return string(e.ID) })
	owned(&p, t, "router", w.Routers(t), func(r world.Router) string { return r.Name })
	owned(&p, t, "network", w.Networks(t), func(n world.Network) string { return n.Name })
	owned(&p, t, "blueprint", w.Blueprints(t), func(b world.Blueprint) string { return b.Name })
	owned(&p, t, "token", tokensOf(w, t), func(a world.APIToken) string { return a.ID })
	if err := p.err(fmt.Sprintf("deleting tenant %q", t)); err != nil {
		return dove.Txn{}, err
	}
	c := begin(w)
	// Whatever the tenant could get meanwhile writes the ledger: endpoints need a network first.
	c.delete(world.TenantKey(t), world.Ledger{Tenant: t}.Key())
	return c.done()
}

// namedMax is how many of many a fault names or counts.
const namedMax = 3

func owned[D any](p *problems, t dove.Tenant, what string, all iter.Seq[D], name func(D) string) {
	names, more := some(all, name)
	if names != "" {
		p.add(dove.Conflict, "", "delete them first", "tenant %q owns %s %s%s", t, what, names, more)
	}
}

// some names the first few of a sequence, and says whether there are more.
func some[D any](all iter.Seq[D], name func(D) string) (names, more string) {
	n := 0
	for d := range all {
		if n == namedMax {
			return names, " and more"
		}
		if n > 0 {
			names += ", "
		}
		names += fmt.Sprintf("%q", name(d))
		n++
	}
	return names, ""
}

func missingTenant(t dove.Tenant) error {
	return dove.Errorf(dove.NotFound, "there is no tenant %q", t)
}

func checkName(p *problems, path, name string) {
	if err := dove.CheckName(name); err != nil {
		p.add(dove.Invalid, path, "", "%v", err)
	}
}
