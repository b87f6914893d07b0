package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// Tenant is an owner of blueprints, networks and endpoints.
type Tenant struct {
	Name     dove.Tenant   `json:"name"`
	Revision dove.Revision `json:"revision" doc:"The revision since which the resource has been as it is."`
}

func renderTenant(t world.Tenant, since dove.Revision) Tenant { return Tenant{t.Name, since} }

// TenantPath names a tenant in a request.
type TenantPath struct {
	Tenant dove.Tenant `path:"tenant" maxLength:"63"`
}

// TenantFilter chooses among tenants; what is "" does not matter.
type TenantFilter struct {
	Prefix string `query:"prefix" maxLength:"63" doc:"Only those whose names begin so."`
}

func (s *server) tenants() {
	register(s, huma.Operation{
		OperationID: "list-tenants", Method: http.MethodGet, Path: "/v1/tenants", Tags: []string{"tenants"},
		Summary: "List tenants",
	}, func(ctx context.Context, in *struct {
		Page
		TenantFilter
	}) (*listAnswer[Tenant], error) {
		w, err := s.read(ctx, in.Freshness)
		if err != nil {
			return nil, err
		}
		chosen := where(w.Tenants(), func(t world.Tenant) bool { return strings.HasPrefix(string(t.Name), in.Prefix) })
		return list(w, in.Page, chosen, func(t world.Tenant) string { return string(t.Name) }, asOf(w, renderTenant)), nil
	})
	registerTenant(s, huma.Operation{
		OperationID: "get-tenant", Method: http.MethodGet, Path: "/v1/tenants/{tenant}", Tags: []string{"tenants"},
		Summary: "Read a tenant",
	}, func(ctx context.Context, in *struct {
		TenantPath
		Freshness
	}) (*Answer[Tenant], error) {
		w, err := s.readTenant(ctx, in.Tenant, in.Freshness)
		if err != nil {
			return nil, err
		}
		return one(w, "tenant", in.Tenant, world.Tenant{Name: in.Tenant}, true, renderTenant)
	})
	register(s, huma.Operation{
		OperationID: "put-tenant", Method: http.MethodPut, Path: "/v1/tenants/{tenant}", Tags: []string{"tenants"},
		Summary: "Make a tenant",
	}, func(ctx context.Context, in *struct {
		TenantPath
		Conditions
	}) (*Written[Tenant], error) {
		return write(ctx, s, world.TenantKey(in.Tenant), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, world.Tenant, error) {
			return edit.PutTenant(w, in.Tenant, ifMatch)
		}, renderTenant)
	})
	register(s, huma.Operation{
		OperationID: "delete-tenant", Method: http.MethodDelete, Path: "/v1/tenants/{tenant}", Tags: []string{"tenants"},
		Summary:     "Delete a tenant",
		Description: "Refused while the tenant owns blueprints, networks or endpoints.",
	}, func(ctx context.Context, in *struct {
		TenantPath
		Conditions
	}) (*Written[Done], error) {
		return s.remove(ctx, world.TenantKey(in.Tenant), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, error) {
			return edit.DeleteTenant(w, in.Tenant, ifMatch)
		})
	})
}
