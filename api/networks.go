package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// Network is a segment.
type Network struct {
	Tenant    dove.Tenant   `json:"tenant"`
	Name      string        `json:"name"`
	Domain    string        `json:"domain" doc:"Whose classes hold on it; fixed when the network is made."`
	Blueprint string        `json:"blueprint,omitempty" doc:"The blueprint that makes it; missing if it was made by itself."`
	Subnets   []string      `json:"subnets" nullable:"false"`
	VNI       dove.VNI      `json:"vni" doc:"Decided by the DPC."`
	MTU       uint16        `json:"mtu"`
	Revision  dove.Revision `json:"revision" doc:"The revision since which the resource has been as it is."`
}

// NetworkSpec is what a network is made of.
type NetworkSpec struct {
	Domain  string   `json:"domain,omitempty" maxLength:"63" doc:"Needed for a new network."`
	Subnets []string `json:"subnets" nullable:"false" maxItems:"64" doc:"Prefixes, 10.0.1.0/24 or fd00:0:0:1::/64."`
	MTU     uint16   `json:"mtu,omitempty" doc:"Missing: as it is, or the default."`
}

func renderNetwork(n world.Network, since dove.Revision) Network {
	out := Network{
		Tenant: n.Tenant, Name: n.Name, Domain: n.Domain, Blueprint: n.Blueprint,
		Subnets: []string{}, VNI: n.VNI, MTU: n.MTU, Revision: since,
	}
	for _, p := range n.Subnets {
		out.Subnets = append(out.Subnets, p.String())
	}
	return out
}

// NetworkPath names a network in a request.
type NetworkPath struct {
	Tenant  dove.Tenant `path:"tenant" maxLength:"63"`
	Network string      `path:"network" maxLength:"63"`
}

func (in NetworkPath) name() dove.Network { return dove.Network{Tenant: in.Tenant, Name: in.Network} }

// NetworkFilter chooses among a tenant's networks; what is "" does not matter.
type NetworkFilter struct {
	Domain    string `query:"domain" maxLength:"63" doc:"Only those of this domain."`
	Blueprint string `query:"blueprint" maxLength:"63" doc:"Only those that this blueprint makes."`
}

func (s *server) networks() {
	const path = "/v1/tenants/{tenant}/networks"
	tags := []string{"networks"}
	registerTenant(s, huma.Operation{
		OperationID: "list-networks", Method: http.MethodGet, Path: path, Tags: tags,
		Summary: "List a tenant's networks",
	}, func(ctx context.Context, in *struct {
		TenantPath
		Page
		NetworkFilter
	}) (*listAnswer[Network], error) {
		w, err := s.readTenant(ctx, in.Tenant, in.Freshness)
		if err != nil {
			return nil, err
		}
		n := names{w: w, tenant: in.Tenant}
		n.domain(in.Domain)
		if in.Blueprint != "" {
			n.blueprint("blueprint", in.Blueprint)
		}
		if err := n.err(); err != nil {
			return nil, err
		}
		chosen := where(w.Networks(in.Tenant),
			func(n world.Network) bool { return in.Domain == "" || n.Domain == in.Domain },
			func(n world.Network) bool { return in.Blueprint == "" || n.Blueprint == in.Blueprint })
		return list(w, in.Page, chosen, func(n world.Network) string { return n.Name }, asOf(w, renderNetwork)), nil
	})
	registerTenant(s, huma.Operation{
		OperationID: "get-network", Method: http.MethodGet, Path: path + "/{network}", Tags: tags,
		Summary: "Read a network",
	}, func(ctx context.Context, in *struct {
		NetworkPath
		Freshness
	}) (*Answer[Network], error) {
		w, err := s.readTenant(ctx, in.Tenant, in.Freshness)
		if err != nil {
			return nil, err
		}
		n, ok := w.Network(in.name())
		return one(w, "network", in.name(), n, ok, renderNetwork)
	})
	registerTenant(s, huma.Operation{
		OperationID: "put-network", Method: http.MethodPut, Path: path + "/{network}", Tags: tags,
		Summary:     "Make a network by itself, or change it",
		Description: "Networks that a blueprint makes are changed there. Subnets in which endpoints have addresses cannot go.",
	}, func(ctx context.Context, in *struct {
		NetworkPath
		Conditions
		Body NetworkSpec
	}) (*Written[Network], error) {
		request := edit.NetworkRequest{Tenant: in.Tenant, Name: in.Network, Domain: in.Body.Domain, Subnets: in.Body.Subnets, MTU: in.Body.MTU}
		return write(ctx, s, world.NetworkKey(in.name()), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, world.Network, error) {
			return edit.PutNetwork(w, request, s.Now(), ifMatch)
		}, renderNetwork)
	})
	registerTenant(s, huma.Operation{
		OperationID: "delete-network", Method: http.MethodDelete, Path: path + "/{network}", Tags: tags,
		Summary:     "Delete a network",
		Description: "Refused while endpoints are on it or a blueprint makes or names it.",
	}, func(ctx context.Context, in *struct {
		NetworkPath
		Conditions
	}) (*Written[Done], error) {
		return s.remove(ctx, world.NetworkKey(in.name()), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, error) {
			return edit.DeleteNetwork(w, in.name(), s.Now(), ifMatch)
		})
	})
}
