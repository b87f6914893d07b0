package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// shape is what endpoints of a walk may be beside one with a device and two addresses.
type shape struct {
	trunks bool // some are sub-ports of others
	routes bool // some are next hops to prefixes beyond their network
	lends  bool // some are allowed an address and a prefix within it
}

// shapeOf draws one for a seed.
func shapeOf(seed uint64) shape {
	return shape{trunks: seed&1 != 0, routes: seed&2 != 0}
}

// lend allows some endpoints an address and a prefix that are none of their own.
func (w *walk) lend() error {
	w.lends = true
	for _, t := range tenants {
		for _, e := range slices.Collect(w.World().Endpoints(t)) {
			if w.r.IntN(3) > 0 {
				continue
			}
			i := int(e.Addresses[0].As4()[3]) - 3
			request := edit.EndpointRequest{Tenant: t, ID: e.ID, Allowed: []edit.AllowedRequest{
				{Prefix: address4(pool + i).String()}, {Prefix: fmt.Sprintf("fd00:0:0:1:%x::/80", 3+i)}}}
			w.lead(&request, i)
			chance := w.chance()
			if err := w.commit("lend to "+e.Full().String(), func(now *world.World) (dove.Txn, error) {
				return first(edit.PutEndpoint(now, request, chance, nil))
			}); err != nil {
				return err
			}
			if err := w.plugIn(e.Full()); err != nil {
				return err
			}
		}
	}
	return nil
}

// speaksFrom are an endpoint's own addresses, and one of each prefix that it is allowed,
// unless a route leads to that over others alone: then it depends on who is known.
func (w *walk) speaksFrom(e world.Endpoint) []netip.Addr {
	all := slices.Clone(e.Addresses)
	for _, a := range e.Allowed {
		hop := func(o world.Endpoint) bool { return o.Full() == e.Full() }
		if addr := a.Prefix.Addr(); !routed(addr) || slices.ContainsFunc(owners(w.World(), e, addr), hop) {
			all = append(all, addr)
		}
	}
	return all
}

// beyond are prefixes that no network has.
var beyond = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("fd00:9::/64")}

func routed(a netip.Addr) bool {
	return slices.ContainsFunc(beyond, func(p netip.Prefix) bool { return p.Contains(a) })
}

// nextHops is how many of the first addresses of a tenant's network routes lead over.
const nextHops = 4

// route has a router lead to what is beyond, over those of the first addresses whose
// endpoints are allowed it.
func (w *walk) route(t dove.Tenant) error {
	if !w.routes {
		return nil
	}
	var via4, via6 []string
	for i := range nextHops {
		via4 = append(via4, address4(i).String())
		via6 = append(via6, fmt.Sprintf("%q", address6(i)))
	}
	text := fmt.Appendf(nil, `{apiVersion: dove/v1, kind: Blueprint, name: paths, domain: %s, routers: {out: {networks: [net], routes: [{to: %s, via: [%s]}, {to: %q, via: [%s]}]}}}`,
		w.intent[t].Blueprints[0].Domain, beyond[0], strings.Join(via4, ", "), beyond[1], strings.Join(via6, ", "))
	return w.commit("routes of "+string(t), func(now *world.World) (dove.Txn, error) {
		return first(edit.PutBlueprint(now, t, "", text, w.now, nil))
	})
}

// reroute changes over which of the first addresses one of the routes leads.
func (w *walk) reroute(b *blueprint.Blueprint) {
	r := b.Routers[0]
	r.Routes = slices.Clone(r.Routes)
	t := &r.Routes[w.r.IntN(len(r.Routes))]
	v6 := t.To.Addr().Is6()
	t.Via = nil
	for i := range nextHops {
		switch {
		case len(t.Via) > 0 && w.r.IntN(3) == 0:
		case v6:
			t.Via = append(t.Via, address6(i))
		default:
			t.Via = append(t.Via, address4(i))
		}
	}
	b.Routers = []blueprint.Router{r}
}

// lead allows most endpoints at one of the first addresses what is beyond.
func (w *walk) lead(request *edit.EndpointRequest, i int) {
	if !w.routes || i >= nextHops || w.r.IntN(4) == 0 {
		return
	}
	for _, p := range beyond {
		request.Allowed = append(request.Allowed, edit.AllowedRequest{Prefix: p.String()})
	}
}

// share makes some endpoints a sub-port of another one, instead of one with a device.
func (w *walk) share(request *edit.EndpointRequest) {
	if !w.trunks || w.r.IntN(2) == 0 {
		return
	}
	var parents []dove.EndpointID
	for e := range w.World().Endpoints(request.Tenant) {
		if e.Parent == "" && e.Standby == "" {
			parents = append(parents, e.ID)
		}
	}
	if len(parents) > 0 {
		request.Parent, request.VLAN = parents[w.r.IntN(len(parents))], uint16(w.ids)
		request.Host, request.Device = "", ""
	}
}

// trunk lists who shares an endpoint's device, the one that has it first.
func (w *walk) trunk(e world.Endpoint) []world.Endpoint {
	if e.Parent != "" {
		return trunk(w.World(), e.ParentOf())
	}
	return trunk(w.World(), e.Full())
}

// targets are the addresses of a family that packets are sent to.
func (w *walk) targets(v6 bool) (all []netip.Addr) {
	for i := range pool {
		if v6 {
			all = append(all, address6(i))
		} else {
			all = append(all, address4(i))
		}
	}
	for i := range pool {
		switch {
		case !w.lends:
		case v6:
			all = append(all, netip.MustParseAddr(fmt.Sprintf("fd00:0:0:1:%x::", 3+i)))
		default:
			all = append(all, address4(pool+i))
		}
	}
	if w.routes {
		for _, p := range beyond {
			if p.Addr().Is6() == v6 {
				all = append(all, p.Addr(), p.Addr().Next())
			}
		}
	}
	return all
}
