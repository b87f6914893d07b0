package api

import (
	"context"
	"mime"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// Blueprint is a tenant's document as it was given.
type Blueprint struct {
	Tenant   dove.Tenant   `json:"tenant"`
	Name     string        `json:"name"`
	Domain   string        `json:"domain"`
	Text     string        `json:"text,omitempty" doc:"As it was given, YAML or JSON. Missing in lists."`
	Revision dove.Revision `json:"revision" doc:"The revision since which the resource has been as it is."`
}

// Plan is what a blueprint would change.
type Plan struct {
	Base      dove.Revision   `json:"base" doc:"The revision that it was planned on: apply with it as If-Match of what the plan names, or plan again."`
	Blueprint string          `json:"blueprint"`
	Domain    string          `json:"domain"`
	Current   dove.Revision   `json:"current" doc:"The revision of the blueprint that it would replace, for If-Match; 0 if there is none."`
	Changes   []PlannedChange `json:"changes" nullable:"false" doc:"Of the document; none if it says the same."`
	Networks  []PlannedChange `json:"networks" nullable:"false" doc:"Networks that would be made, changed or deleted."`
}

// PlannedChange is one difference.
type PlannedChange struct {
	Op     string `json:"op" enum:"added,removed,changed"`
	Part   string `json:"part" doc:"domain, network, router, group or policy."`
	Name   string `json:"name,omitempty"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Valid is the answer to a blueprint that could be applied.
type Valid struct {
	Valid     bool   `json:"valid"`
	Blueprint string `json:"blueprint"`
	Domain    string `json:"domain"`
}

// BlueprintPath names a blueprint in a request.
type BlueprintPath struct {
	Tenant    dove.Tenant `path:"tenant" maxLength:"63"`
	Blueprint string      `path:"blueprint" maxLength:"63"`
}

func (in BlueprintPath) key() string { return world.BlueprintKey(in.Tenant, in.Blueprint) }

func (in BlueprintPath) missing() error {
	return missing("blueprint", string(in.Tenant)+"/"+in.Blueprint)
}

// TextBody is a request whose body is a blueprint's text. It is taken as it is, so
// that faults have its lines and columns.
type TextBody struct {
	RawBody []byte `contentType:"application/yaml"`
}

// wrongMedia reports a body that says that it is no text, where one is wanted.
func wrongMedia(ctx huma.Context) bool {
	content, body := ctx.Header("Content-Type"), ctx.Operation().RequestBody
	if content == "" || body == nil || body.Content["application/yaml"] == nil {
		return false
	}
	media, _, err := mime.ParseMediaType(content)
	return err != nil || body.Content[media] == nil && !textWanted(media)
}

// textBody describes it.
func textBody() *huma.RequestBody {
	return &huma.RequestBody{
		Required:    true,
		Description: "The text, YAML or JSON.",
		Content: map[string]*huma.MediaType{
			"application/yaml": {},
			"application/json": {},
			"text/plain":       {},
		},
	}
}

func renderBlueprint(w *world.World) func(world.Blueprint) Blueprint {
	return func(b world.Blueprint) Blueprint {
		return Blueprint{Tenant: b.Tenant, Name: b.Name, Domain: b.Domain, Revision: w.DocRevision(b.Key())}
	}
}

// BlueprintFilter chooses among a tenant's blueprints; what is "" does not matter.
type BlueprintFilter struct {
	Domain string `query:"domain" maxLength:"63" doc:"Only those of this domain."`
}

func (s *server) blueprints(api huma.API) {
	const tenant = "/v1/tenants/{tenant}"
	const path = tenant + "/blueprints"
	tags := []string{"blueprints"}
	register(api, huma.Operation{
		OperationID: "list-blueprints", Method: http.MethodGet, Path: path, Tags: tags,
		Summary: "List a tenant's blueprints",
	}, func(ctx context.Context, in *struct {
		TenantPath
		Page
		BlueprintFilter
	}) (*listAnswer[Blueprint], error) {
		w, err := s.readTenant(ctx, in.Tenant, in.Freshness)
		if err != nil {
			return nil, err
		}
		n := names{w: w, tenant: in.Tenant}
		n.domain(in.Domain)
		if err := n.err(); err != nil {
			return nil, s.problem(err)
		}
		chosen := where(w.Blueprints(in.Tenant), func(b world.Blueprint) bool { return in.Domain == "" || b.Domain == in.Domain })
		return list(w, in.Page, chosen, func(b world.Blueprint) string { return b.Name }, renderBlueprint(w)), nil
	})
	resource := api.OpenAPI().Components.Schemas.Schema(blueprintGoType, true, "")
	register(api, huma.Operation{
		OperationID: "get-blueprint", Method: http.MethodGet, Path: path + "/{blueprint}", Tags: tags,
		Summary:     "Read a blueprint",
		Description: "With Accept: application/yaml (or text/plain) the answer is the text alone, as it was given.",
		Responses: map[string]*huma.Response{"200": {
			Description: "OK",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: resource}, "application/yaml": {}},
		}},
	}, s.getBlueprint)
	register(api, huma.Operation{
		OperationID: "put-blueprint", Method: http.MethodPut, Path: path + "/{blueprint}", Tags: tags,
		Summary:     "Apply a blueprint",
		Description: "The text is taken over as a whole, with the networks that it makes, or refused with every fault.",
		RequestBody: textBody(), MaxBodyBytes: TextMax,
	}, func(ctx context.Context, in *struct {
		BlueprintPath
		Conditions
		TextBody
	}) (*Written[Blueprint], error) {
		return write(ctx, s, in.key(), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, world.Blueprint, error) {
			txn, doc, err := edit.PutBlueprint(w, in.Tenant, in.Blueprint, in.RawBody, s.Now(), ifMatch)
			doc.Text = "" // it is the request's: there is no need to keep it twice
			return txn, doc, err
		}, func(doc world.Blueprint, r dove.Revision) Blueprint {
			return Blueprint{doc.Tenant, doc.Name, doc.Domain, string(in.RawBody), r}
		})
	})
	register(api, huma.Operation{
		OperationID: "delete-blueprint", Method: http.MethodDelete, Path: path + "/{blueprint}", Tags: tags,
		Summary:     "Delete a blueprint and the networks that it makes",
		Description: "Refused while endpoints or other blueprints need its groups or networks.",
	}, func(ctx context.Context, in *struct {
		BlueprintPath
		Conditions
	}) (*Written[Done], error) {
		return s.remove(ctx, in.key(), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, error) {
			return edit.DeleteBlueprint(w, in.Tenant, in.Blueprint, s.Now(), ifMatch)
		})
	})
	register(api, huma.Operation{
		OperationID: "validate", Method: http.MethodPost, Path: tenant + "/validate", Tags: tags,
		Summary:     "Check a blueprint without applying it",
		Description: "Judged with the tenant's other blueprints, networks and endpoints as they are; refused exactly as applying it would be.",
		RequestBody: textBody(), MaxBodyBytes: TextMax,
	}, func(ctx context.Context, in *struct {
		TenantPath
		TextBody
	}) (*struct{ Body Valid }, error) {
		_, plan, err := s.plan(ctx, in.Tenant, in.RawBody)
		if err != nil {
			return nil, err
		}
		return &struct{ Body Valid }{Valid{true, plan.Blueprint, plan.Domain}}, nil
	})
	register(api, huma.Operation{
		OperationID: "plan", Method: http.MethodPost, Path: tenant + "/plan", Tags: tags,
		Summary:     "Ask what applying a blueprint would change",
		RequestBody: textBody(), MaxBodyBytes: TextMax,
	}, func(ctx context.Context, in *struct {
		TenantPath
		TextBody
	}) (*struct{ Body Plan }, error) {
		w, planned, err := s.plan(ctx, in.Tenant, in.RawBody)
		if err != nil {
			return nil, err
		}
		return &struct{ Body Plan }{renderPlan(w, in.Tenant, planned)}, nil
	})
}

func (s *server) plan(ctx context.Context, t dove.Tenant, text []byte) (*world.World, edit.Planned, error) {
	w, err := s.read(ctx, Freshness{})
	if err != nil {
		return nil, edit.Planned{}, err
	}
	planned, err := edit.Plan(w, t, text, s.Now())
	if err != nil {
		return nil, edit.Planned{}, s.problem(err)
	}
	return w, planned, nil
}

func renderPlan(w *world.World, t dove.Tenant, planned edit.Planned) Plan {
	out := Plan{
		Base: planned.Base, Blueprint: planned.Blueprint, Domain: planned.Domain,
		Current: w.DocRevision(world.BlueprintKey(t, planned.Blueprint)),
		Changes: []PlannedChange{}, Networks: []PlannedChange{},
	}
	for _, c := range planned.Changes {
		out.Changes = append(out.Changes, PlannedChange{c.Op.String(), c.Part.String(), c.Name, c.Before, c.After})
	}
	for _, c := range planned.Networks {
		change := PlannedChange{Op: "changed", Part: "network"}
		if c.Old != nil {
			change.Name, change.Before = c.Old.Name, subnetsText(*c.Old)
		} else {
			change.Op = "added"
		}
		if c.New != nil {
			change.Name, change.After = c.New.Name, subnetsText(*c.New)
		} else {
			change.Op = "removed"
		}
		out.Networks = append(out.Networks, change)
	}
	return out
}

func subnetsText(n world.Network) string {
	var parts []string
	for _, p := range n.Subnets {
		parts = append(parts, p.String())
	}
	return strings.Join(parts, ", ")
}

// getBlueprint answers with the resource or with the text alone.
func (s *server) getBlueprint(ctx context.Context, in *struct {
	BlueprintPath
	Freshness
	Accept string `header:"Accept" doc:"application/yaml or text/plain: the text alone."`
}) (*struct {
	ContentType string `header:"Content-Type"`
	ETag        string `header:"ETag"`
	Body        any
}, error) {
	w, err := s.readTenant(ctx, in.Tenant, in.Freshness)
	if err != nil {
		return nil, err
	}
	b, ok := w.Blueprint(in.Tenant, in.Blueprint)
	if !ok {
		return nil, in.missing()
	}
	out := &struct {
		ContentType string `header:"Content-Type"`
		ETag        string `header:"ETag"`
		Body        any
	}{ETag: etag(w.DocRevision(b.Key()))}
	if textWanted(in.Accept) {
		out.ContentType, out.Body = "application/yaml", []byte(b.Text)
		return out, nil
	}
	resource := renderBlueprint(w)(b)
	resource.Text = b.Text
	out.ContentType, out.Body = "application/json", resource
	return out, nil
}

// textWanted reports whether the first type that Accept names is one of text.
func textWanted(accept string) bool {
	first, _, _ := strings.Cut(accept, ",")
	media, _, err := mime.ParseMediaType(first)
	return err == nil && (media == "application/yaml" || media == "text/yaml" || media == "application/x-yaml" || media == "text/plain")
}
