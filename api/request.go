package api

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// RequestKept is how long the answer to a write with an Idempotency-Key is kept.
const RequestKept = edit.RequestKept

// idempotencyKey is the header that gives a write an id.
const idempotencyKey = "Idempotency-Key"

// caller is who asks, and what: it travels in the context of a handler.
type caller struct {
	token        string      // id
	tenant       dove.Tenant // that the token is of, "": an administrator's
	method, path string      // the path with its query
	body         hash.Hash   // of what was read of the body
}

type callerKey struct{}

// called returns the context of an operation with its caller.
func called(ctx huma.Context, by world.APIToken) huma.Context {
	url := ctx.URL()
	c := &caller{by.ID, by.Tenant, ctx.Method(), url.RequestURI(), sha256.New()}
	return huma.WithValue(&hashed{ctx, c.body}, callerKey{}, c)
}

// hashed is a request whose body is hashed as it is read.
type hashed struct {
	humaContext
	body hash.Hash
}

// humaContext has a name that is not that of its method Context.
type humaContext = huma.Context

// BodyReader is for huma.
func (h *hashed) BodyReader() io.Reader { return io.TeeReader(h.humaContext.BodyReader(), h.body) }

// Unwrap is for huma.
func (h *hashed) Unwrap() huma.Context { return h.humaContext }

// actsForTenant reports whether who asks acts for a tenant alone.
func actsForTenant(ctx context.Context) bool { return ctx.Value(callerKey{}).(*caller).tenant != "" }

// request returns a write as package edit knows it.
func (s *server) request(ctx context.Context, c Conditions) edit.Request {
	by := ctx.Value(callerKey{}).(*caller)
	all := sha256.New()
	for _, part := range []string{by.method, by.path, c.IfMatch, c.IfNoneMatch, string(by.body.Sum(nil))} {
		all.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		io.WriteString(all, part)
	}
	return edit.Request{Token: by.token, ID: c.IdempotencyKey, Fingerprint: all.Sum(nil), Now: s.Now()}
}

// misplacedKey reports an Idempotency-Key on what cannot be kept: answers that
// show a secret, and what writes nothing.
func misplacedKey(ctx huma.Context) bool {
	if ctx.Method() == http.MethodGet || ctx.Header(idempotencyKey) == "" {
		return false
	}
	for _, p := range ctx.Operation().Parameters {
		if p.In == "header" && p.Name == idempotencyKey {
			return false
		}
	}
	return true
}
