package world

import (
	"cmp"
	"slices"

	"dove.network/dove"
)

// Change is what became of one document: Old is nil if it was made, New if it was
// deleted. Both belong to Worlds and must not be written to.
type Change[D any] struct{ Old, New *D }

// Delta says what one Apply changed, each list in ascending order of names. A document that
// was written again with equal content is listed too, and so is an endpoint that a
// blueprint gave another class.
type Delta struct {
	Revision   dove.Revision
	Meta       bool // the incarnation changed: nothing known before compares with what comes
	Tenants    []Change[Tenant]
	Blueprints []Change[Blueprint]
	Networks   []Change[Network]
	Routers    []Change[Router]
	Endpoints  []Change[Endpoint]
	Claims     []Change[Claim]
	Hosts      []Change[Host]
	JoinTokens []Change[JoinToken]
	APITokens  []Change[APIToken]
	Classes    []Change[ClassAlloc]
	VNIs       []Change[VNIAlloc]
	Members    []Change[Member]
	// Domains are those whose compiled intent was made anew.
	Domains []dove.Domain
}

// record notes a change, if it is one.
func record[D any](to *[]Change[D], old, new *held[D]) {
	if old == nil && new == nil {
		return
	}
	c := Change[D]{}
	if old != nil {
		c.Old = &old.doc
	}
	if new != nil {
		c.New = &new.doc
	}
	*to = append(*to, c)
}

// settle sorts the lists and joins the changes of one document into one.
func (d *Delta) settle() {
	d.Tenants = settle(d.Tenants, func(a, b *Tenant) int { return cmp.Compare(a.Name, b.Name) })
	d.Blueprints = settle(d.Blueprints, func(a, b *Blueprint) int { return pair(a.Tenant, a.Name, b.Tenant, b.Name) })
	d.Networks = settle(d.Networks, func(a, b *Network) int { return compareNetwork(a.Full(), b.Full()) })
	d.Routers = settle(d.Routers, func(a, b *Router) int { return pair(a.Tenant, a.Name, b.Tenant, b.Name) })
	d.Endpoints = settle(d.Endpoints, func(a, b *Endpoint) int { return pair(a.Tenant, a.ID, b.Tenant, b.ID) })
	d.Claims = settle(d.Claims, func(a, b *Claim) int {
		return cmp.Or(compareNetwork(a.NetworkOf(), b.NetworkOf()), a.Addr.Compare(b.Addr))
	})
	d.Hosts = settle(d.Hosts, func(a, b *Host) int { return cmp.Compare(a.Name, b.Name) })
	d.JoinTokens = settle(d.JoinTokens, func(a, b *JoinToken) int { return cmp.Compare(a.ID, b.ID) })
	d.APITokens = settle(d.APITokens, func(a, b *APIToken) int { return cmp.Compare(a.ID, b.ID) })
	d.Classes = settle(d.Classes, func(a, b *ClassAlloc) int {
		return cmp.Or(compareDomain(a.DomainOf(), b.DomainOf()), cmp.Compare(a.Signature, b.Signature))
	})
	d.VNIs = settle(d.VNIs, func(a, b *VNIAlloc) int { return cmp.Compare(a.VNI, b.VNI) })
	d.Members = settle(d.Members, func(a, b *Member) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(d.Domains, compareDomain)
}

func settle[D any](changes []Change[D], order func(a, b *D) int) []Change[D] {
	slices.SortStableFunc(changes, func(a, b Change[D]) int {
		return order(cmp.Or(a.New, a.Old), cmp.Or(b.New, b.Old))
	})
	kept := changes[:0]
	var last *D
	for _, c := range changes {
		is := cmp.Or(c.New, c.Old)
		if last != nil && order(last, is) == 0 {
			kept[len(kept)-1].New = c.New
		} else {
			kept = append(kept, c)
		}
		last = is
	}
	return slices.DeleteFunc(kept, func(c Change[D]) bool { return c.Old == nil && c.New == nil })
}
