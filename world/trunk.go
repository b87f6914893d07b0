package world

import (
	"cmp"
	"iter"

	"dove.network/dove"
)

// bySubPort orders the sub-ports of one parent by VLAN.
func bySubPort(a, b *packed) int {
	return cmp.Or(a.under(dove.Endpoint{Tenant: b.alike.tenant, ID: b.rare.parent}), cmp.Compare(a.rare.vlan, b.rare.vlan), byEndpoint(a, b))
}

// SubPorts yields the sub-ports of an endpoint, in order of their VLANs.
func (w *World) SubPorts(parent dove.Endpoint) iter.Seq[Endpoint] {
	return endpointsOf(w.byParent.within(func(p *packed) int { return p.under(parent) }))
}

// ParentOf is the name of the endpoint whose sub-port it is.
func (e Endpoint) ParentOf() dove.Endpoint { return dove.Endpoint{Tenant: e.Tenant, ID: e.Parent} }

// Trunk is the endpoint whose device it has: its parent, or itself.
func (e Endpoint) Trunk() dove.EndpointID { return cmp.Or(e.Parent, e.ID) }
