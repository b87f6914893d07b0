package api

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// Router joins networks of one domain.
type Router struct {
	Tenant     dove.Tenant   `json:"tenant"`
	Name       string        `json:"name"`
	Domain     string        `json:"domain" doc:"That of its networks."`
	Blueprint  string        `json:"blueprint,omitempty" doc:"The blueprint that makes it; missing if it was made by itself."`
	Interfaces []Interface   `json:"interfaces" nullable:"false"`
	Routes     []Route       `json:"routes" nullable:"false"`
	Revision   dove.Revision `json:"revision" doc:"The revision since which the resource has been as it is."`
}

// Interface is a router's on a network.
type Interface struct {
	Network   string   `json:"network"`
	MAC       string   `json:"mac" doc:"Decided by the DPC."`
	Addresses []string `json:"addresses" nullable:"false" doc:"One in each subnet of the network."`
}

// Route is a static route.
type Route struct {
	To  string   `json:"to" maxLength:"64" doc:"A prefix, 0.0.0.0/0 and ::/0 for all that nothing else leads to."`
	Via []string `json:"via" nullable:"false" maxItems:"8" doc:"Addresses of endpoints on the router's networks. A flow takes one of them."`
}

// RouterSpec is what a router is made of.
type RouterSpec struct {
	Domain    string              `json:"domain,omitempty" maxLength:"63" doc:"Missing: that of its networks."`
	Networks  []string            `json:"networks" nullable:"false" maxItems:"64" doc:"Those that it joins."`
	Addresses map[string][]string `json:"addresses,omitempty" doc:"By network, at most one in each subnet; where there is none, the subnet's first."`
	Routes    []Route             `json:"routes,omitempty" maxItems:"256"`
}

func renderRouter(w *world.World) func(world.Router, dove.Revision) Router {
	return func(r world.Router, since dove.Revision) Router {
		out := Router{
			Tenant: r.Tenant, Name: r.Name, Domain: r.Domain, Blueprint: r.Blueprint,
			Interfaces: []Interface{}, Routes: []Route{}, Revision: since,
		}
		for _, f := range r.Interfaces {
			n, _ := w.Network(r.NetworkOf(f))
			out.Interfaces = append(out.Interfaces, Interface{f.Network, f.MAC.String(), addressTexts(f.Gateways(n))})
		}
		for _, t := range r.Routes {
			out.Routes = append(out.Routes, Route{t.To.String(), addressTexts(t.Via)})
		}
		return out
	}
}

func addressTexts(all []netip.Addr) []string {
	out := []string{}
	for _, a := range all {
		out = append(out, a.String())
	}
	return out
}

// RouterPath names a router in a request.
type RouterPath struct {
	Tenant dove.Tenant `path:"tenant" maxLength:"63"`
	Router string      `path:"router" maxLength:"63"`
}

func (in RouterPath) name() dove.Router { return dove.Router{Tenant: in.Tenant, Name: in.Router} }

// RouterFilter chooses among a tenant's routers; what is "" does not matter.
type RouterFilter struct {
	Network   string `query:"network" maxLength:"63" doc:"Only those that join this network."`
	Blueprint string `query:"blueprint" maxLength:"63" doc:"Only those that this blueprint makes."`
}

func (s *server) routers() {
	const path = "/v1/tenants/{tenant}/routers"
	tags := []string{"routers"}
	registerTenant(s, huma.Operation{
		OperationID: "list-routers", Method: http.MethodGet, Path: path, Tags: tags,
		Summary: "List a tenant's routers",
	}, func(ctx context.Context, in *struct {
		TenantPath
		Page
		RouterFilter
	}) (*listAnswer[Router], error) {
		w, err := s.readTenant(ctx, in.Tenant, in.Freshness)
		if err != nil {
			return nil, err
		}
		n := names{w: w, tenant: in.Tenant}
		n.network(in.Network)
		if in.Blueprint != "" {
			n.blueprint("blueprint", in.Blueprint)
		}
		if err := n.err(); err != nil {
			return nil, err
		}
		chosen := where(w.Routers(in.Tenant),
			func(r world.Router) bool { _, on := r.On(in.Network); return in.Network == "" || on },
			func(r world.Router) bool { return in.Blueprint == "" || r.Blueprint == in.Blueprint })
		return list(w, in.Page, chosen, func(r world.Router) string { return r.Name }, asOf(w, renderRouter(w))), nil
	})
	registerTenant(s, huma.Operation{
		OperationID: "get-router", Method: http.MethodGet, Path: path + "/{router}", Tags: tags,
		Summary: "Read a router",
	}, func(ctx context.Context, in *struct {
		RouterPath
		Freshness
	}) (*Answer[Router], error) {
		w, err := s.readTenant(ctx, in.Tenant, in.Freshness)
		if err != nil {
			return nil, err
		}
		r, ok := w.Router(in.name())
		return one(w, "router", in.name(), r, ok, renderRouter(w))
	})
	registerTenant(s, huma.Operation{
		OperationID: "put-router", Method: http.MethodPut, Path: path + "/{router}", Tags: tags,
		Summary:     "Make a router by itself, or change it as a whole",
		Description: "Routers that a blueprint makes are changed there. What can be reached from a network must not overlap, and what a policy needs cannot go.",
	}, func(ctx context.Context, in *struct {
		RouterPath
		Conditions
		Body RouterSpec
	}) (*Written[Router], error) {
		request := edit.RouterRequest{Tenant: in.Tenant, Name: in.Router, Domain: in.Body.Domain, Networks: in.Body.Networks, Addresses: in.Body.Addresses}
		for _, r := range in.Body.Routes {
			request.Routes = append(request.Routes, edit.RouteRequest(r))
		}
		return write(ctx, s, world.RouterKey(in.name()), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, world.Router, error) {
			return edit.PutRouter(w, request, ifMatch)
		}, func(r world.Router, since dove.Revision) Router { return renderRouter(s.Backend.World())(r, since) })
	})
	registerTenant(s, huma.Operation{
		OperationID: "delete-router", Method: http.MethodDelete, Path: path + "/{router}", Tags: tags,
		Summary:     "Delete a router",
		Description: "Refused while a blueprint makes it or a policy needs it.",
	}, func(ctx context.Context, in *struct {
		RouterPath
		Conditions
	}) (*Written[Done], error) {
		return s.remove(ctx, world.RouterKey(in.name()), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, error) {
			return edit.DeleteRouter(w, in.name(), ifMatch)
		})
	})
}
