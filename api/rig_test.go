package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// backend is a DPC member without store and sessions: it applies transactions
// to its world at once, as strictly as a store would.
type backend struct {
	mu       sync.Mutex
	w        *world.World
	history  *world.History
	later    chan struct{}
	sessions []control.SessionStatus
	members  []control.MemberStatus
	receipt  control.Receipt
	loading  bool
	down     error // what Read and Edit say, if not nil
	// What others do after the next Edit decided and before it commits.
	meanwhile func()

	inspect func(dove.HostName, control.Tuple) (control.Report, error)
	flows   control.FlowList
	news    chan control.FlowNews
	shadows control.ShadowList
	told    error // what Flows and Observe say, if not nil
}

func (b *backend) World() *world.World {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.w
}

func (b *backend) Following() bool { return !b.loading }

func (b *backend) Read(context.Context) (*world.World, error) { return b.World(), b.down }

func (b *backend) Edit(ctx context.Context, f func(*world.World) (dove.Txn, error)) (dove.Revision, error) {
	if b.down != nil {
		return 0, b.down
	}
	return b.edit(ctx, edit.InSteps(f))
}

func (b *backend) edit(ctx context.Context, steps *edit.Steps) (dove.Revision, error) {
	decided := b.World()
	txn, last, err := steps.Next(decided)
	if between := b.meanwhile; between != nil {
		b.meanwhile = nil
		between()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil || txn.Empty() {
		if b.w != decided { // a member asks again at a world as late as the request
			b.mu.Unlock()
			defer b.mu.Lock()
			return b.edit(ctx, steps)
		}
		return decided.Revision(), err
	}
	for _, r := range txn.Reads {
		if b.w.DocRevision(r.Key) != r.Revision {
			b.mu.Unlock()
			defer b.mu.Lock()
			return b.edit(ctx, steps)
		}
	}
	rev := b.w.Revision() + 1
	var docs []dove.Doc
	for _, p := range txn.Puts {
		docs = append(docs, dove.Doc{Key: p.Key, Value: p.Value, Revision: rev})
	}
	for _, key := range txn.Deletes {
		docs = append(docs, dove.Doc{Key: key, Revision: rev})
	}
	slices.SortFunc(docs, func(a, b dove.Doc) int { return strings.Compare(a.Key, b.Key) })
	next, delta, err := b.w.Apply(rev, docs)
	if err != nil {
		return 0, err
	}
	b.w, b.history = next, b.history.Add(delta)
	close(b.later)
	b.later = make(chan struct{})
	if !last {
		b.mu.Unlock()
		defer b.mu.Lock()
		return b.edit(ctx, steps)
	}
	return rev, nil
}

func (b *backend) Changes() (*world.History, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.history, b.later
}

func (b *backend) Receipt(r dove.Revision) control.Receipt {
	out := b.receipt
	out.Revision = r
	return out
}

func (b *backend) WaitReceipt(ctx context.Context, r dove.Revision) control.Receipt {
	if !b.receipt.Complete {
		<-ctx.Done()
	}
	return b.Receipt(r)
}

func (b *backend) Sessions() []control.SessionStatus { return b.sessions }
func (b *backend) Members() []control.MemberStatus   { return b.members }
func (b *backend) SessionsOf(hosts ...dove.HostName) []control.SessionStatus {
	return slices.DeleteFunc(slices.Clone(b.sessions), func(s control.SessionStatus) bool { return !slices.Contains(hosts, s.Host) })
}

func (b *backend) PortsOf(names []dove.Endpoint, hosts ...dove.HostName) []control.SessionStatus {
	some := b.SessionsOf(hosts...)
	for i := range some {
		some[i].Endpoints = slices.DeleteFunc(slices.Clone(some[i].Endpoints), func(u control.EndpointUpdate) bool { return !slices.Contains(names, u.Endpoint) })
	}
	return some
}

func (b *backend) Inspect(_ context.Context, host dove.HostName, t control.Tuple) (control.Report, error) {
	if b.inspect == nil {
		return control.Report{}, dove.Errorf(dove.NotFound, "host %s has no session", host)
	}
	return b.inspect(host, t)
}

func (b *backend) Shadows(context.Context, dove.Tenant) (control.ShadowList, error) {
	return b.shadows, b.told
}

func (b *backend) Flows(context.Context, dove.Tenant) (control.FlowList, error) {
	return b.flows, b.told
}

func (b *backend) Observe(ctx context.Context, _ dove.Tenant) (iter.Seq[control.FlowNews], error) {
	return func(yield func(control.FlowNews) bool) {
		for {
			select {
			case n, more := <-b.news:
				if !more || !yield(n) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}, b.told
}

// store is a store of which only the cluster is real.
type store struct {
	nodes  []string // addresses of etcd members
	full   error    // what Room says
	broken error    // what Admit, Dismiss and Health say, and Load after the first page
	docs   []dove.Doc
}

func (s *store) Admit(_ context.Context, address string) ([]string, error) {
	if s.broken != nil || s.nodes == nil {
		return nil, s.broken
	}
	others := slices.Clone(s.nodes)
	s.nodes = append(s.nodes, address)
	return others, nil
}

func (s *store) Dismiss(_ context.Context, address string) error {
	if s.broken == nil {
		s.nodes = slices.DeleteFunc(s.nodes, func(n string) bool { return n == address })
	}
	return s.broken
}

func (s *store) Health(context.Context) (StoreHealth, error) {
	return StoreHealth{Size: 50, Most: 100, Full: 50, Leader: "dpc1"}, s.broken
}

func (s *store) Room() error { return s.full }

func (s *store) Load(_ context.Context, _ string, page func([]dove.Doc) error) (dove.Revision, error) {
	if err := page(s.docs); err != nil {
		return 0, err
	}
	return 7, s.broken
}

// rig is an API behind TLS, and a client of it.
type rig struct {
	t       testing.TB
	backend *backend
	store   *store
	ca      *auth.Authority
	server  *httptest.Server
	client  *http.Client
	token   string
	now     time.Time
	config  Config
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, store: &store{}, backend: &backend{w: world.New(), history: world.NewHistory(0), later: make(chan struct{}), receipt: control.Receipt{Complete: true}}, now: time.Now()}
	var err error
	if r.ca, err = auth.NewAuthority("test", r.now, rand.Reader); err != nil {
		t.Fatal(err)
	}
	cert, err := r.ca.IssueServer("dpc1", nil, r.now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := auth.NewToken(auth.AdminToken, auth.Pin{}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r.token = admin.Text()
	for _, decide := range []func(*world.World) (dove.Txn, error){
		func(w *world.World) (dove.Txn, error) {
			return edit.Initialize(w, world.Meta{Incarnation: 0xfedcba9876543210, CreatedAt: r.now})
		},
		func(w *world.World) (dove.Txn, error) {
			return edit.CreateAPIToken(w, world.APIToken{ID: admin.ID, Digest: admin.Digest()})
		},
	} {
		if _, err := r.backend.Edit(t.Context(), decide); err != nil {
			t.Fatal(err)
		}
	}
	r.config = Config{
		Backend: r.backend, Store: r.store, Authority: r.ca, Member: "dpc1", Version: "test",
		Now: func() time.Time { return r.now }, Random: rand.Reader,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	r.server = httptest.NewUnstartedServer(New(r.config))
	r.server.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(t.Output(), nil), slog.LevelInfo)
	r.server.TLS = auth.APITLS(cert)
	r.server.EnableHTTP2 = true
	r.server.StartTLS()
	t.Cleanup(r.server.Close)
	r.client = &http.Client{Transport: &http.Transport{TLSClientConfig: auth.ClientTLS(r.ca.Certificate()), ForceAttemptHTTP2: true}}
	t.Cleanup(r.client.CloseIdleConnections)
	return r
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	text   string
}

// do sends "METHOD /path" with a body and headers given as "Name: value".
func (r *rig) do(what, body string, headers ...string) reply {
	r.t.Helper()
	method, path, _ := strings.Cut(what, " ")
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.server.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		request.Header.Set(name, value)
	}
	answer, err := r.client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(answer.Body); err != nil {
		r.t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header, text.String()}
}

// ok does and requires success; it reads the answer into out if not nil.
func (r *rig) ok(out any, what, body string, headers ...string) reply {
	r.t.Helper()
	a := r.do(what, body, headers...)
	if a.status != http.StatusOK {
		r.t.Fatalf("%s: %d %s", what, a.status, a.text)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(a.text), out); err != nil {
			r.t.Fatalf("%s: %v in %s", what, err, a.text)
		}
	}
	return a
}

// refused does and requires a problem document with that status.
func (r *rig) refused(status int, what, body string, headers ...string) Problem {
	r.t.Helper()
	a := r.do(what, body, headers...)
	var p Problem
	if err := json.Unmarshal([]byte(a.text), &p); err != nil || a.status != status || p.Status != status ||
		a.header.Get("Content-Type") != "application/problem+json" || p.Title == "" || p.Detail == "" || p.Kind == "" {
		r.t.Errorf("%s: want problem %d, got %d %s %s (%v)", what, status, a.status, a.header.Get("Content-Type"), a.text, err)
	}
	return p
}
