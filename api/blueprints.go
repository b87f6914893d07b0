package api

import (
	"cmp"
	"context"
	"mime"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/blueprint"
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
	Ended    []string      `json:"ended,omitempty" doc:"Policies whose until has passed: they count for nothing. Missing in the answer to a write."`
	Revision dove.Revision `json:"revision" doc:"The revision since which the resource has been as it is."`
}

// Valid is the answer to blueprints that could be applied.
type Valid struct {
	Valid     bool            `json:"valid"`
	Documents []ValidDocument `json:"documents" nullable:"false" doc:"In the order of the text."`
}

// ValidDocument is one of them.
type ValidDocument struct {
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
		out := Blueprint{Tenant: b.Tenant, Name: b.Name, Domain: b.Domain, Revision: w.DocRevision(b.Key())}
		parsed := w.Parsed(b.Tenant, b.Name)
		edge := w.Edge(parsed.DomainOf())
		for _, p := range parsed.Policies {
			if !p.Until.IsZero() && !p.Until.After(edge) {
				out.Ended = append(out.Ended, p.Name)
			}
		}
		return out
	}
}

// Blueprints are several, as they are since a revision.
type Blueprints struct {
	Revision dove.Revision `json:"revision" doc:"The revision that made it true."`
	Items    []Blueprint   `json:"items" nullable:"false" doc:"In the order of the text, without texts."`
}

// BlueprintFilter chooses among a tenant's blueprints; what is "" does not matter.
type BlueprintFilter struct {
	Domain string `query:"domain" maxLength:"63" doc:"Only those of this domain."`
}

func (s *server) blueprints() {
	const tenant = "/v1/tenants/{tenant}"
	const path = tenant + "/blueprints"
	tags := []string{"blueprints"}
	registerTenant(s, huma.Operation{
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
			return nil, err
		}
		chosen := where(w.Blueprints(in.Tenant), func(b world.Blueprint) bool { return in.Domain == "" || b.Domain == in.Domain })
		return list(w, in.Page, chosen, func(b world.Blueprint) string { return b.Name }, renderBlueprint(w)), nil
	})
	resource := s.schema(reflect.TypeFor[Blueprint]())
	registerTenant(s, huma.Operation{
		OperationID: "get-blueprint", Method: http.MethodGet, Path: path + "/{blueprint}", Tags: tags,
		Summary:     "Read a blueprint",
		Description: "With Accept: application/yaml (or text/plain) the answer is the text alone, as it was given.",
		Responses: map[string]*huma.Response{"200": {
			Description: "OK",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: resource}, "application/yaml": {}},
		}},
	}, s.getBlueprint)
	registerTenant(s, huma.Operation{
		OperationID: "put-blueprint", Method: http.MethodPut, Path: path + "/{blueprint}", Tags: tags,
		Summary:     "Apply a blueprint",
		Description: "The text is taken over as a whole, with the networks that it makes, or refused with every fault.",
		RequestBody: textBody(), MaxBodyBytes: TextMax,
	}, func(ctx context.Context, in *struct {
		BlueprintPath
		Conditions
		Plan string `query:"plan" maxLength:"64" doc:"The token of a plan of this text: if anything that the plan read changed since, nothing is done, and the error names it."`
		TextBody
	}) (*Written[Blueprint], error) {
		return write(ctx, s, in.key(), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, world.Blueprint, error) {
			if err := ownTier(ctx, w, in.Tenant, in.Blueprint, in.RawBody); err != nil {
				return dove.Txn{}, world.Blueprint{}, err
			}
			txn, doc, err := edit.PutPlanned(w, in.Tenant, in.Blueprint, in.RawBody, s.Now(), ifMatch, in.Plan)
			doc.Text = "" // it is the request's: there is no need to keep it twice
			return txn, doc, err
		}, func(doc world.Blueprint, r dove.Revision) Blueprint {
			return Blueprint{Tenant: doc.Tenant, Name: doc.Name, Domain: doc.Domain, Text: string(in.RawBody), Revision: r}
		})
	})
	registerTenant(s, huma.Operation{
		OperationID: "put-blueprints", Method: http.MethodPost, Path: path, Tags: tags,
		Summary: "Apply blueprints",
		Description: "The text has one document, or several that lines with --- part. All are taken over in one revision, or refused with every fault. " +
			"Each may need what others bring, in any order.",
		RequestBody: textBody(), MaxBodyBytes: TextMax,
	}, s.putBlueprints)
	registerTenant(s, huma.Operation{
		OperationID: "delete-blueprint", Method: http.MethodDelete, Path: path + "/{blueprint}", Tags: tags,
		Summary:     "Delete a blueprint and the networks that it makes",
		Description: "Refused while endpoints or other blueprints need its groups or networks.",
	}, func(ctx context.Context, in *struct {
		BlueprintPath
		Conditions
	}) (*Written[Done], error) {
		return s.remove(ctx, in.key(), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, error) {
			if err := ownTier(ctx, w, in.Tenant, in.Blueprint, nil); err != nil {
				return dove.Txn{}, err
			}
			return edit.DeleteBlueprint(w, in.Tenant, in.Blueprint, s.Now(), ifMatch)
		})
	})
	registerTenant(s, huma.Operation{
		OperationID: "validate", Method: http.MethodPost, Path: tenant + "/validate", Tags: tags,
		Summary:     "Check a blueprint, or several, without applying it",
		Description: "Judged with the tenant's other blueprints, networks and endpoints as they are; refused exactly as applying it would be.",
		RequestBody: textBody(), MaxBodyBytes: TextMax,
	}, func(ctx context.Context, in *struct {
		TenantPath
		TextBody
	}) (*struct{ Body Valid }, error) {
		w, err := s.read(ctx, Freshness{})
		if err != nil {
			return nil, err
		}
		if err := ownTier(ctx, w, in.Tenant, "", in.RawBody); err != nil {
			return nil, err
		}
		docs, err := edit.Validate(w, in.Tenant, in.RawBody, s.Now())
		out := Valid{true, []ValidDocument{}}
		for _, doc := range docs {
			out.Documents = append(out.Documents, ValidDocument{doc.Name, doc.Domain})
		}
		if err != nil {
			return nil, err
		}
		return &struct{ Body Valid }{out}, nil
	})
	s.plans()
}

// putBlueprints applies all documents of a text as one. The revision is that since
// which the tenant's documents are as they are.
func (s *server) putBlueprints(ctx context.Context, in *struct {
	TenantPath
	IdempotencyKey string `header:"Idempotency-Key" minLength:"1" maxLength:"128" pattern:"^[ -~]+$" doc:"The client's id of this write, as put-blueprint has it."`
	Plan           string `query:"plan" maxLength:"64" doc:"The token of a plan of this text: if anything that the plan read changed since, nothing is done, and the error names it."`
	TextBody
}) (*Written[Blueprints], error) {
	return write(ctx, s, world.Ledger{Tenant: in.Tenant}.Key(), Conditions{IdempotencyKey: in.IdempotencyKey}, func(w *world.World, _ *dove.Revision) (dove.Txn, []world.Blueprint, error) {
		if err := ownTier(ctx, w, in.Tenant, "", in.RawBody); err != nil {
			return dove.Txn{}, nil, err
		}
		txn, docs, err := edit.PutBlueprints(w, in.Tenant, in.RawBody, s.Now(), in.Plan)
		for i := range docs {
			docs[i].Text = "" // it is the request's
		}
		return txn, docs, err
	}, func(docs []world.Blueprint, r dove.Revision) Blueprints {
		out := Blueprints{Revision: r, Items: []Blueprint{}}
		for _, doc := range docs {
			out.Items = append(out.Items, Blueprint{Tenant: doc.Tenant, Name: doc.Name, Domain: doc.Domain, Revision: s.Backend.World().DocRevision(doc.Key())})
		}
		return out
	})
}

// ownTier refuses who acts for a tenant what is the administrators', before anything is
// decided, for a decision may write class ids before the last word. Name is what the
// request names, "" for nothing. Of a text the documents without faults are judged: the
// others are refused for these.
func ownTier(ctx context.Context, w *world.World, t dove.Tenant, name string, text []byte) error {
	if !actsForTenant(ctx) {
		return nil
	}
	err := edit.OwnTier(w, t, name, nil)
	parts := blueprint.Split(text)
	if len(parts) > edit.BlueprintsMax {
		return err // it is refused for that
	}
	for _, part := range parts {
		if made, fault := w.Parse(t, string(part.Text)); fault == nil {
			err = cmp.Or(err, edit.OwnTier(w, t, made.Name, made))
		}
	}
	return err
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
