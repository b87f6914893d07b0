package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/dove"
	"dove.network/imports"
	"dove.network/imports/kubernetes"
	"dove.network/imports/openstack"
)

// Import is what policy in another language comes to.
type Import struct {
	Blueprints []ImportedBlueprint `json:"blueprints" nullable:"false" doc:"In the order in which to apply them."`
	Endpoints  []ImportedEndpoint  `json:"endpoints" nullable:"false" doc:"What the endpoints of the text's workloads must carry, so that the blueprints mean them."`
}

// ImportedBlueprint is a blueprint that could be applied.
type ImportedBlueprint struct {
	Name   string `json:"name"`
	Domain string `json:"domain"`
	Tier   string `json:"tier" enum:"tenant,provider,baseline"`
	Text   string `json:"text"`
}

// ImportedEndpoint is what the endpoint of a workload must carry.
type ImportedEndpoint struct {
	Workload     string            `json:"workload" doc:"In its own language: NAMESPACE/POD, or the id of a port."`
	Groups       []string          `json:"groups" nullable:"false" doc:"Each as BLUEPRINT/GROUP."`
	Labels       map[string]string `json:"labels,omitempty"`
	Ports        map[string]string `json:"ports,omitempty" doc:"Named ports, each as tcp/80."`
	PortSecurity bool              `json:"portSecurity"`
}

// ImportNames say what the blueprints are to be called.
type ImportNames struct {
	Name   string `query:"name" required:"true" maxLength:"63" example:"cluster" doc:"Of the blueprint; where there are several, their names begin with it."`
	Domain string `query:"domain" maxLength:"63" doc:"Missing: the name."`
}

func (s *server) imports() {
	registerTenant(s, huma.Operation{
		OperationID: "import", Method: http.MethodPost, Path: "/v1/tenants/{tenant}/imports/{language}", Tags: []string{"blueprints"},
		Summary: "Translate policy in another language into blueprints",
		Description: "Of kubernetes: NetworkPolicy, AdminNetworkPolicy and BaselineAdminNetworkPolicy; Namespace and Pod say what endpoints carry. " +
			"Of openstack: security groups, address groups and ports, as Neutron's API prints them. Nothing is applied: put-blueprints does that with all texts, parted by lines of ---.",
		RequestBody: textBody(), MaxBodyBytes: imports.MaxBytes + 64<<10,
	}, func(ctx context.Context, in *struct {
		TenantPath
		Language string `path:"language" enum:"kubernetes,openstack"`
		ImportNames
		TextBody
	}) (*struct{ Body Import }, error) {
		if _, err := s.readTenant(ctx, in.Tenant, Freshness{}); err != nil {
			return nil, err
		}
		translate := kubernetes.Translate
		if in.Language == "openstack" {
			translate = openstack.Translate
		}
		t, err := translate(imports.Options{Tenant: in.Tenant, Name: in.Name, Domain: in.Domain}, in.RawBody)
		if err != nil {
			return nil, err
		}
		return &struct{ Body Import }{renderImport(in.Tenant, t)}, nil
	})
}

func renderImport(tenant dove.Tenant, t imports.Translation) Import {
	out := Import{Blueprints: []ImportedBlueprint{}, Endpoints: []ImportedEndpoint{}}
	for _, d := range t.Documents {
		out.Blueprints = append(out.Blueprints, ImportedBlueprint{d.Blueprint.Name, d.Blueprint.Domain, d.Blueprint.Tier.String(), string(d.Text)})
	}
	for _, e := range t.Endpoints {
		end := ImportedEndpoint{Workload: e.Name, Groups: []string{}, Labels: e.Labels, Ports: e.Ports, PortSecurity: !e.Open}
		for _, g := range e.Groups {
			end.Groups = append(end.Groups, strings.TrimPrefix(g.String(), string(tenant)+"/"))
		}
		out.Endpoints = append(out.Endpoints, end)
	}
	return out
}
