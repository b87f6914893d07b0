package edit

import (
	"fmt"
	"iter"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/world"
)

// CreateAPIToken keeps a token that makes its bearer an administrator, or one who
// acts for a tenant.
func CreateAPIToken(w *world.World, token world.APIToken) (dove.Txn, error) {
	var p problems
	checkToken(&p, token.ID, token.Digest)
	if err := p.err("the token"); err != nil {
		return dove.Txn{}, err
	}
	if _, exists := w.APIToken(token.ID); exists {
		return dove.Txn{}, dove.Errorf(dove.Exists, "token %q exists: draw another id", token.ID)
	}
	c := begin(w)
	if token.Tenant != "" {
		if _, exists := w.Tenant(token.Tenant); !exists {
			return dove.Txn{}, missingTenant(token.Tenant)
		}
		c.read(world.TenantKey(token.Tenant))
		c.put(world.Ledger{Tenant: token.Tenant})
	}
	c.put(token)
	return c.done()
}

// DeleteAPIToken ends what a token is good for. The last administrator's stays:
// nobody could make another.
func DeleteAPIToken(w *world.World, id string, ifMatch *dove.Revision) (dove.Txn, error) {
	if err := match(w, fmt.Sprintf("token %q", id), world.APITokenKey(id), ifMatch); err != nil {
		return dove.Txn{}, err
	}
	t, exists := w.APIToken(id)
	if !exists {
		return dove.Txn{}, dove.Errorf(dove.NotFound, "there is no token %q", id)
	}
	c := begin(w)
	c.delete(t.Key())
	if t.Tenant != "" {
		return c.done()
	}
	for other := range tokensOf(w, "") {
		if other.ID != id {
			c.read(other.Key()) // two that delete each other's are not both right
			return c.done()
		}
	}
	return dove.Txn{}, dove.Errorf(dove.Conflict, "token %q is the last administrator's: make another first, and use that", id)
}

// tokensOf yields the tokens of a tenant, or with "" those of administrators.
func tokensOf(w *world.World, t dove.Tenant) iter.Seq[world.APIToken] {
	return func(yield func(world.APIToken) bool) {
		for a := range w.APITokens() {
			if a.Tenant == t && !yield(a) {
				return
			}
		}
	}
}

// OwnTier refuses, dove.Forbidden, that a tenant writes or deletes a blueprint
// of the tiers above and below its own, which are its operator's. Made is what the
// blueprint would be, nil if it is deleted.
func OwnTier(w *world.World, t dove.Tenant, name string, made *blueprint.Blueprint) error {
	for _, b := range []*blueprint.Blueprint{w.Parsed(t, name), made} {
		if b != nil && b.Tier != blueprint.Tenant {
			return dove.Errorf(dove.Forbidden, "blueprint %q is of tier %s, which is the administrators': a tenant's token writes tier tenant", name, b.Tier)
		}
	}
	return nil
}
