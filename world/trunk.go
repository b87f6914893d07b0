package world

import (
	"cmp"
	"iter"

	"dove.network/dove"
)

// bySubPort orders the sub-ports of one parent by VLAN.
func bySubPort(a, b *held[Endpoint]) int {
	return cmp.Or(a.doc.under(dove.Endpoint{Tenant: b.doc.Tenant, ID: b.doc.Parent}), cmp.Compare(a.doc.VLAN, b.doc.VLAN), byEndpoint(a, b))
}

// under orders by tenant and parent.
func (e *Endpoint) under(parent dove.Endpoint) int {
	return cmp.Or(cmp.Compare(e.Tenant, parent.Tenant), cmp.Compare(e.Parent, parent.ID))
}

// SubPorts yields the sub-ports of an endpoint, in order of their VLANs.
func (w *World) SubPorts(parent dove.Endpoint) iter.Seq[Endpoint] {
	return docs(w.byParent.within(func(h *held[Endpoint]) int { return h.doc.under(parent) }))
}

// ParentOf is the name of the endpoint whose sub-port it is.
func (e Endpoint) ParentOf() dove.Endpoint { return dove.Endpoint{Tenant: e.Tenant, ID: e.Parent} }

// Trunk is the endpoint whose device it has: its parent, or itself.
func (e Endpoint) Trunk() dove.EndpointID { return cmp.Or(e.Parent, e.ID) }
