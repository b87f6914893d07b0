// Package api is the public contract over HTTPS: what tenants and operators can
// ask a DPC member, as resources under /v1, described by the OpenAPI document
// that it serves (and that openapi.yaml repeats).
//
// New builds a handler over a Backend, which a controller's member satisfies.
// Handlers are thin: a read renders the World that the Backend returns, a write
// lets package edit decide inside Backend.Edit. Every write accepts If-Match (or
// If-None-Match: *), returns the revision that made it true, and carries it as
// ETag. Errors are RFC 9457 problem documents whose errors list every fault.
//
// A write with an id (Idempotency-Key) happens once: write, which all writes go
// through, finds what came of it before. A watch writes lines of JSON as there is
// something to tell; it reads what the Backend remembers at its own pace.
//
// Some answers are asked of hosts while the client waits (flows, the live part of
// why); what did not answer is named in them. Watches answer with one line of
// JSON after the other.
//
// Who asks is told by a bearer token, except for joining hosts, whose join token
// is in the request. A tenant's token is good for operations that are registered for
// tenants, where the path names that tenant; all else wants an administrator's. The package knows no store and no session, only what the
// Backend says of them; what is allowed and what a write means is not decided here.
package api
