package api

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

// Backend is what the API needs of a DPC member.
type Backend interface {
	// World returns what the member knows now; before it has loaded anything, a
	// World of incarnation 0.
	World() *world.World
	// Following reports whether it follows the documents: else it loads them.
	Following() bool
	// Read returns a World that is no older than any write that ended before
	// Read was called, whoever made it.
	Read(context.Context) (*world.World, error)
	// Edit commits the transaction that f makes of the present World, running f
	// again if the World changed meanwhile, and returns the revision once the
	// member has applied it. An error of f is returned as it is.
	Edit(ctx context.Context, f func(*world.World) (dove.Txn, error)) (dove.Revision, error)
	// Receipt says how far a revision got.
	Receipt(dove.Revision) control.Receipt
	// WaitReceipt returns the receipt once it is complete, or as it is when ctx is done.
	WaitReceipt(context.Context, dove.Revision) control.Receipt
	// Sessions returns the member's sessions.
	Sessions() []control.SessionStatus
	// SessionsOf returns those of hosts, as far as they have one.
	SessionsOf(hosts ...dove.HostName) []control.SessionStatus
	// PortsOf is SessionsOf where of what is known of endpoints only some matter.
	PortsOf(names []dove.Endpoint, hosts ...dove.HostName) []control.SessionStatus
	// Members returns how this member is and the others that it knows.
	Members() []control.MemberStatus
	// Changes returns what the latest revisions changed, and a channel that is
	// closed once there is more.
	Changes() (*world.History, <-chan struct{})
	// Inspect asks a host what its switch would do with the first packet of a
	// flow. The error is dove.NotFound if the host has no session here, and
	// dove.Unavailable if it does not answer in time.
	Inspect(context.Context, dove.HostName, control.Tuple) (control.Report, error)
	// Flows asks all hosts with endpoints of a tenant for its flows, and names
	// those that do not answer in time.
	Flows(context.Context, dove.Tenant) (control.FlowList, error)
	// Shadows asks them what rules in shadow would say, and names those likewise.
	Shadows(context.Context, dove.Tenant) (control.ShadowList, error)
	// Observe yields what happens to a tenant's flows until the context is done
	// or the member stops. The error, dove.Unavailable, is about too many who observe.
	Observe(context.Context, dove.Tenant) (iter.Seq[control.FlowNews], error)
}

// Store is what the API asks of where the documents are.
type Store interface {
	// Admit makes place for the etcd member inside another DPC member's process,
	// and returns the addresses of those that are there, none if documents are in an
	// etcd elsewhere.
	Admit(ctx context.Context, address string) ([]string, error)
	// Dismiss takes such a member out; nothing happens if there is none.
	Dismiss(ctx context.Context, address string) error
	// Health says how the store is.
	Health(context.Context) (StoreHealth, error)
	// Room returns the reason why nothing may be added, nil if there is none.
	Room() error
	// Load gives all documents under a prefix in pages, and the revision at which
	// they stood together.
	Load(ctx context.Context, prefix string, page func([]dove.Doc) error) (dove.Revision, error)
}

// Config is what a handler is made of. All fields must be set.
type Config struct {
	Backend   Backend
	Store     Store
	Authority *auth.Authority
	Member    string // the name of this DPC member
	Version   string // of the program
	Now       func() time.Time
	Random    io.Reader // for tokens, ids and serial numbers
	Log       *slog.Logger
}

// Limits of a request.
const (
	TextMax     = 1<<20 + 64<<10 // bytes of a blueprint's text on its way in; its own limit is lower, what is imported may be longer
	BodyMax     = 64 << 10       // bytes of every other body
	BodyTimeout = 30 * time.Second
	WaitMax     = 5 * time.Minute // for a receipt
	PageMax     = 1000            // items of a list at once
	WatchersMax = 256             // who watch changes at one member

	readTimeout  = 10 * time.Second // for the store's answer
	editTimeout  = 30 * time.Second
	readyTimeout = time.Second
)

type server struct {
	Config
	api      huma.API
	watchers atomic.Int64 // of changes
}

// New returns the handler of the API, its description and its documentation.
func New(c Config) http.Handler {
	mux, _ := build(c)
	return withProblems(mux)
}

// Description returns the OpenAPI document of the API as YAML.
func Description() ([]byte, error) {
	_, api := build(Config{Version: "1"})
	return api.OpenAPI().YAML()
}

const bearer = "bearer"

func build(c Config) (*http.ServeMux, huma.API) {
	s := &server{Config: c}
	mux := http.NewServeMux()
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	s.api = humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "DOVE",
				Version:     c.Version,
				Description: "Tenants describe their networks; the DPC sees to it that hosts enforce them. Every write returns the revision that made it true: ask for the receipt of a revision to know when every host enforces it.",
			},
			Components: &huma.Components{
				Schemas: registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					bearer: {Type: "http", Scheme: "bearer", Description: "An administrator's token, dove-admin.ID.SECRET, or where the role tenant is enough, one of the tenant that the path names, dove-tenant.ID.SECRET."},
				},
			},
			Tags: []*huma.Tag{
				{Name: "tenants"}, {Name: "blueprints"}, {Name: "networks"}, {Name: "routers"}, {Name: "endpoints"}, {Name: "flows"},
				{Name: "hosts"}, {Name: "members"}, {Name: "revisions"}, {Name: "system"},
			},
		},
		OpenAPIPath:                  "/openapi",
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{asProblem},
	})
	s.api.UseMiddleware(s.authorize)
	s.tenants()
	s.networks()
	s.routers()
	s.blueprints()
	s.imports()
	s.endpoints()
	s.moves()
	s.hosts()
	s.tokens()
	s.members()
	s.backups()
	s.resolutions()
	s.revisions()
	s.watch()
	s.why()
	s.flows()
	s.shadows()
	// huma describes its own errors, which asProblem replaces.
	delete(registry.Map(), "ErrorModel")
	delete(registry.Map(), "ErrorDetail")
	serveDocs(mux)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", s.ready)
	return mux, s.api
}

// The roles of bearers. Whoever may do what a tenant may is the administrator, too.
const (
	administrator = "administrator"
	asTenant      = "tenant" // of the path, if it names one
)

// register adds an operation that needs an administrator's token and describes its errors.
func register[I, O any](s *server, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	op.Security = []map[string][]string{{bearer: {administrator}}}
	registerOpen(s, op, handler)
}

// registerTenant adds an operation for which a token of the tenant in its path is
// enough: what it shows and writes is that tenant's alone.
func registerTenant[I, O any](s *server, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	op.Security = []map[string][]string{{bearer: {asTenant}}}
	registerOpen(s, op, handler)
}

// registerOpen adds an operation that needs no bearer token.
func registerOpen[I, O any](s *server, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	if op.MaxBodyBytes == 0 {
		op.MaxBodyBytes = BodyMax
	}
	op.BodyReadTimeout = BodyTimeout
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{
		Description: "What went wrong",
		Content: map[string]*huma.MediaType{
			problemType: {Schema: s.schema(reflect.TypeFor[Problem]())},
		},
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		if err != nil {
			return nil, s.problem(err)
		}
		return out, nil
	})
}

// schema describes a type once for all that have it.
func (s *server) schema(t reflect.Type) *huma.Schema {
	return s.api.OpenAPI().Components.Schemas.Schema(t, true, "")
}

// authorize requires the token that an operation does, and leaves a trace of every
// request but GET.
func (s *server) authorize(ctx huma.Context, next func(huma.Context)) {
	by := world.APIToken{ID: "nobody"}
	if len(ctx.Operation().Security) > 0 {
		var err error
		if by, err = s.bearer(ctx.Header("Authorization")); err == nil {
			err = within(by, ctx)
		}
		if err != nil {
			if dove.KindOf(err) == dove.Unauthorized {
				ctx.SetHeader("WWW-Authenticate", `Bearer realm="dove"`)
			}
			huma.WriteErr(s.api, ctx, statuses[dove.KindOf(err)], err.Error())
			return
		}
	}
	if misplacedKey(ctx) {
		huma.WriteErr(s.api, ctx, http.StatusUnprocessableEntity, "this operation takes no Idempotency-Key: its answer is not kept, so leave the header out")
		return
	}
	if wrongMedia(ctx) {
		huma.WriteErr(s.api, ctx, http.StatusUnsupportedMediaType, "policy is text: send it with Content-Type: application/yaml, or application/json")
		return
	}
	next(called(ctx, by))
	if ctx.Method() != http.MethodGet {
		url := ctx.URL()
		s.Log.Info("request", "method", ctx.Method(), "path", url.Path, "status", ctx.Status(), "token", by.ID, "from", ctx.RemoteAddr())
	}
}

// within refuses a tenant's token what is not of that tenant.
func within(by world.APIToken, ctx huma.Context) error {
	op := ctx.Operation()
	switch {
	case by.Tenant == "":
		return nil
	case !slices.Contains(op.Security[0][bearer], asTenant):
		return dove.Errorf(dove.Forbidden, "this token is of tenant %q, and %s is for administrators", by.Tenant, op.OperationID)
	case strings.Contains(op.Path, "{tenant}") && ctx.Param("tenant") != string(by.Tenant):
		return dove.Errorf(dove.Forbidden, "this token is of tenant %q alone: ask for what is that tenant's", by.Tenant)
	}
	return nil
}

// bearer returns what is kept of the token that somebody shows.
func (s *server) bearer(header string) (world.APIToken, error) {
	scheme, text, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return world.APIToken{}, dove.Errorf(dove.Unauthorized, "send a token: Authorization: Bearer dove-admin.ID.SECRET")
	}
	token, err := auth.ParseAPIToken(text)
	if err != nil {
		return world.APIToken{}, err
	}
	w := s.Backend.World()
	if w.Incarnation() == 0 || !s.Backend.Following() {
		return world.APIToken{}, dove.Errorf(dove.Unavailable, "the DPC member loads the documents: try again, or ask another one")
	}
	stored, _ := w.APIToken(token.ID)
	if !token.Matches(stored.Digest) || (stored.Tenant != "") != (token.Kind == auth.TenantToken) {
		return world.APIToken{}, dove.Errorf(dove.Unauthorized, "the token is not known: it may have been deleted, or belong to another installation")
	}
	return stored, nil
}

func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if _, err := s.Backend.Read(ctx); err != nil {
		http.Error(w, "not ready: the store does not answer", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ready\n")
}

// withProblems gives the router's own refusals (no such path, wrong method) the
// shape of all others, and sets what every answer has.
func withProblems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		handler, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r) // sets the path's values, which handler does not
			return
		}
		refusal := &refused{header: http.Header{}}
		handler.ServeHTTP(refusal, r)
		if refusal.status < http.StatusBadRequest { // a redirect to the clean path
			mux.ServeHTTP(w, r)
			return
		}
		detail := "there is nothing at " + r.URL.Path + ": /docs lists what there is"
		if allow := refusal.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
			detail = r.URL.Path + " does not take " + r.Method + ", but " + allow
		}
		writeProblem(w, newProblem(refusal.status, kindOfStatus(refusal.status), detail, nil))
	})
}

// refused is a ResponseWriter that keeps only how the router refused.
type refused struct {
	header http.Header
	status int
}

func (r *refused) Header() http.Header         { return r.header }
func (r *refused) WriteHeader(status int)      { r.status = status }
func (r *refused) Write(b []byte) (int, error) { return len(b), nil }
