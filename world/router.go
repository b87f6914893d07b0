package world

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"dove.network/blueprint"
	"dove.network/dove"
)

// joint is a router under one of its networks, by index.
type joint struct {
	router *held[Router]
	i      int
}

func (j joint) network() dove.Network {
	return dove.Network{Tenant: j.router.doc.Tenant, Name: j.router.doc.Interfaces[j.i].Network}
}

// at orders by network.
func (j joint) at(n dove.Network) int { return compareNetwork(j.network(), n) }

func (d *draft) applyRouter(doc dove.Doc, name dove.Router) error {
	old, _ := d.routers.find(routerAt(name))
	new, err := read[Router](doc)
	if err != nil {
		return err
	}
	record(&d.delta.Routers, old, new)
	exchange(old, new, &d.routers)
	if old != nil {
		for i := range old.doc.Interfaces {
			d.byInterface.remove(joint{old, i})
		}
	}
	if new != nil {
		for i := range new.doc.Interfaces {
			d.byInterface.put(joint{new, i})
		}
	}
	return nil
}

// Router returns a router's document.
func (w *World) Router(r dove.Router) (Router, bool) {
	return docOf(w.routers.find(routerAt(r)))
}

// Routers yields a tenant's routers.
func (w *World) Routers(t dove.Tenant) iter.Seq[Router] {
	return docs(w.routers.within(func(h *held[Router]) int { return cmp.Compare(h.doc.Tenant, t) }))
}

// RoutersOn yields the routers that join a network.
func (w *World) RoutersOn(n dove.Network) iter.Seq[Router] {
	return func(yield func(Router) bool) {
		for j := range w.byInterface.within(func(j joint) int { return j.at(n) }) {
			if !yield(j.router.doc) {
				return
			}
		}
	}
}

// On returns the router's interface on a network, by name.
func (r Router) On(network string) (Interface, bool) {
	i, found := slices.BinarySearchFunc(r.Interfaces, network, func(f Interface, n string) int { return cmp.Compare(f.Network, n) })
	if !found {
		return Interface{}, false
	}
	return r.Interfaces[i], true
}

// NetworkOf returns the full name of an interface's network.
func (r Router) NetworkOf(f Interface) dove.Network {
	return dove.Network{Tenant: r.Tenant, Name: f.Network}
}

// Gateways returns the addresses of an interface on its network, one in each
// subnet: those that were given, else the subnet's first.
func (f Interface) Gateways(n Network) []netip.Addr {
	return blueprint.Interface{Network: f.Network, Addresses: f.Addresses}.Gateways(n.Subnets)
}

// Says returns what the router says, as a blueprint has it.
func (r Router) Says() blueprint.Router {
	out := blueprint.Router{Name: r.Name}
	for _, f := range r.Interfaces {
		out.Interfaces = append(out.Interfaces, blueprint.Interface{Network: f.Network, Addresses: f.Addresses})
	}
	for _, t := range r.Routes {
		out.Routes = append(out.Routes, blueprint.Route(t))
	}
	return out
}

// GatewayOn returns the router and its interface that have an address on a network.
func (w *World) GatewayOn(n Network, addr netip.Addr) (Router, Interface, bool) {
	for r := range w.RoutersOn(n.Full()) {
		if f, ok := r.On(n.Name); ok && slices.Contains(f.Gateways(n), addr) {
			return r, f, true
		}
	}
	return Router{}, Interface{}, false
}

// Between returns the router that joins two different networks.
func (w *World) Between(a, b dove.Network) (Router, bool) {
	if a.Tenant != b.Tenant || a == b {
		return Router{}, false
	}
	for r := range w.RoutersOn(a) {
		if _, ok := r.On(b.Name); ok {
			return r, true
		}
	}
	return Router{}, false
}

// Beside yields the networks that a network is joined with by a router, and
// the router, each network once.
func (w *World) Beside(n dove.Network) iter.Seq2[Network, Router] {
	return func(yield func(Network, Router) bool) {
		for r := range w.RoutersOn(n) {
			for _, f := range r.Interfaces {
				if f.Network == n.Name {
					continue
				}
				if other, ok := w.Network(r.NetworkOf(f)); ok && !yield(other, r) {
					return
				}
			}
		}
	}
}
