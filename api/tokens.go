package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/auth"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// Token is a token without its secret.
type Token struct {
	ID       string        `json:"id" doc:"The second part of its text."`
	Tenant   dove.Tenant   `json:"tenant,omitempty" doc:"The tenant that its bearer acts for. Missing: an administrator's."`
	Created  time.Time     `json:"created,omitzero" doc:"Missing if it is older than what is known of it."`
	Revision dove.Revision `json:"revision"`
}

// APIToken lets its bearer use the API, as an administrator or for a tenant.
type APIToken struct {
	Token    string        `json:"token" doc:"It is shown only here."`
	ID       string        `json:"id"`
	Tenant   dove.Tenant   `json:"tenant,omitempty"`
	Revision dove.Revision `json:"revision"`
}

func (s *server) tokens() {
	register(s, huma.Operation{
		OperationID: "list-tokens", Method: http.MethodGet, Path: "/v1/tokens", Tags: []string{"system"},
		Summary: "List tokens, without their secrets",
	}, func(ctx context.Context, in *struct{ Page }) (*listAnswer[Token], error) {
		w, err := s.read(ctx, in.Freshness)
		if err != nil {
			return nil, err
		}
		return list(w, in.Page, w.APITokens(), func(t world.APIToken) string { return t.ID }, func(t world.APIToken) Token {
			return Token{t.ID, t.Tenant, t.Created, w.DocRevision(t.Key())}
		}), nil
	})
	register(s, huma.Operation{
		OperationID: "create-token", Method: http.MethodPost, Path: "/v1/tokens", Tags: []string{"system"},
		Summary:     "Make another token",
		Description: "An administrator's, or of a tenant: that is good for what the tenant's own path shows and writes, of blueprints those of tier tenant. Where endpoints are, it does not write.",
	}, s.createToken)
	register(s, huma.Operation{
		OperationID: "delete-token", Method: http.MethodDelete, Path: "/v1/tokens/{id}", Tags: []string{"system"},
		Summary:     "Delete a token",
		Description: "Refused for the last administrator's: nobody could make another.",
	}, func(ctx context.Context, in *struct {
		ID string `path:"id" maxLength:"63"`
		Conditions
	}) (*Written[Done], error) {
		return s.remove(ctx, world.APITokenKey(in.ID), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, error) {
			return edit.DeleteAPIToken(w, in.ID, ifMatch)
		})
	})
}

func (s *server) createToken(ctx context.Context, in *struct {
	Tenant dove.Tenant `query:"tenant" maxLength:"63" doc:"The tenant that its bearer acts for. Missing: an administrator's."`
}) (*Written[APIToken], error) {
	kind := auth.AdminToken
	if in.Tenant != "" {
		kind = auth.TenantToken
	}
	token, err := auth.NewToken(kind, auth.Pin{}, s.Random)
	if err != nil {
		return nil, err
	}
	doc := world.APIToken{ID: token.ID, Digest: token.Digest(), Tenant: in.Tenant, Created: s.Now().UTC().Truncate(time.Second)}
	return write(ctx, s, doc.Key(), Conditions{}, func(w *world.World, _ *dove.Revision) (dove.Txn, world.APIToken, error) {
		txn, err := edit.CreateAPIToken(w, doc)
		return txn, doc, err
	}, func(doc world.APIToken, r dove.Revision) APIToken {
		return APIToken{token.Text(), doc.ID, doc.Tenant, r}
	})
}
