package api

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/dove"
	"dove.network/world"
)

// watchEvery is how often a watch says where it is.
const watchEvery = 10 * time.Second

// WatchLine is one line of a watch: the changes of one revision. One without
// changes says where the watch is.
type WatchLine struct {
	Revision dove.Revision `json:"revision" doc:"Watch after this one to go on from here."`
	Changes  []WatchChange `json:"changes,omitempty"`
	Error    *Problem      `json:"error,omitempty" doc:"Why there is no more: this line is the last."`
}

// WatchChange is what became of one resource.
type WatchChange struct {
	Op       string      `json:"op" enum:"put,delete"`
	Kind     string      `json:"kind" enum:"tenant,blueprint,network,router,endpoint,host"`
	Tenant   dove.Tenant `json:"tenant,omitempty" doc:"Whose it is; of a tenant its own name."`
	Name     string      `json:"name"`
	Resource any         `json:"resource,omitempty" doc:"With put: the resource as a GET returns it, but without what hosts say of it."`
}

// WatchStart says where a watch begins.
type WatchStart struct {
	After dove.Revision `query:"after" minimum:"1" doc:"The changes after this revision: that of a list, or of the last line of another watch. Missing: those from now on."`
}

func (s *server) watch() {
	line := s.schema(reflect.TypeFor[WatchLine]())
	const description = "One line for each revision that changes what is watched, and now and then one without changes that says which revision the watch is at. To miss nothing, list first and watch after the list's revision. Some thousand revisions back are known; after an older one the answer is 410: list again."
	register(s, huma.Operation{
		OperationID: "watch", Method: http.MethodGet, Path: "/v1/watch", Tags: []string{"revisions"},
		Summary: "Watch what changes", Description: description, Responses: linesResponse(line),
	}, func(ctx context.Context, in *WatchStart) (*huma.StreamResponse, error) {
		return s.watchOf(ctx, "", in.After)
	})
	registerTenant(s, huma.Operation{
		OperationID: "watch-tenant", Method: http.MethodGet, Path: "/v1/tenants/{tenant}/watch", Tags: []string{"tenants"},
		Summary: "Watch what changes of one tenant", Description: description, Responses: linesResponse(line),
	}, func(ctx context.Context, in *struct {
		TenantPath
		WatchStart
	}) (*huma.StreamResponse, error) {
		if _, err := s.readTenant(ctx, in.Tenant, Freshness{max(1, in.After)}); err != nil {
			return nil, err
		}
		return s.watchOf(ctx, in.Tenant, in.After)
	})
}

// watchOf follows the changes of a tenant, or of everything if t is "".
func (s *server) watchOf(ctx context.Context, t dove.Tenant, after dove.Revision) (*huma.StreamResponse, error) {
	if after > 0 {
		if _, err := s.read(ctx, Freshness{after}); err != nil {
			return nil, err
		}
	}
	history, _ := s.Backend.Changes()
	if after == 0 {
		after = history.Until()
	}
	if _, ok := history.After(after); !ok {
		return nil, forgotten(after, history)
	}
	if s.watchers.Add(1) > WatchersMax {
		s.watchers.Add(-1)
		return nil, newProblem(http.StatusServiceUnavailable, dove.Unavailable,
			fmt.Sprintf("%d clients watch this DPC member, and more it does not serve: watch another one, or try again later", WatchersMax), nil)
	}
	context.AfterFunc(ctx, func() { s.watchers.Add(-1) }) // the server ends ctx with the answer
	return lines(s.watchLines(ctx, t, after), nil), nil
}

// watchLines yields the lines of a watch until ctx is done. It holds nothing
// back for a slow reader: who falls behind what is known is told so.
func (s *server) watchLines(ctx context.Context, t dove.Tenant, after dove.Revision) iter.Seq[WatchLine] {
	return func(yield func(WatchLine) bool) {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		if !yield(WatchLine{Revision: after}) {
			return
		}
		for {
			history, later := s.Backend.Changes()
			deltas, ok := history.After(after)
			if !ok {
				yield(WatchLine{Revision: after, Error: forgotten(after, history)})
				return
			}
			if refused := s.revoked(ctx); refused != nil { // by one of the changes that come next, at the earliest
				yield(WatchLine{Revision: after, Error: refused})
				return
			}
			for _, d := range deltas {
				after = d.Revision
				changes := changesOf(s.Backend.World(), d, t)
				if len(changes) > 0 && !yield(WatchLine{Revision: after, Changes: changes}) {
					return
				}
			}
			after = history.Until()
			select {
			case <-later:
			case <-tick.C:
				if !yield(WatchLine{Revision: after}) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// revoked returns a problem if the token of who asks is no longer good.
func (s *server) revoked(ctx context.Context) *Problem {
	by := ctx.Value(callerKey{}).(*caller)
	if _, ok := s.Backend.World().APIToken(by.token); ok {
		return nil
	}
	return newProblem(http.StatusUnauthorized, dove.Unauthorized, "the token was deleted", nil)
}

// whileGood returns a context that is done once the token of who asks is no
// longer good: the cause is the Problem.
func (s *server) whileGood(ctx context.Context) context.Context {
	good, cancel := context.WithCancelCause(ctx)
	go func() {
		for {
			_, later := s.Backend.Changes()
			if refused := s.revoked(good); refused != nil {
				cancel(refused)
				return
			}
			select {
			case <-later:
			case <-good.Done():
				cancel(nil)
				return
			}
		}
	}()
	return good
}

func forgotten(after dove.Revision, history *world.History) *Problem {
	return newProblem(http.StatusGone, dove.NotFound, fmt.Sprintf(
		"what changed after revision %d is no longer known here, only after %d: list again, and watch after the list's revision", after, history.Since()), nil)
}

// changesOf renders a delta, all of it or what is of one tenant.
func changesOf(w *world.World, d world.Delta, t dove.Tenant) []WatchChange {
	var out []WatchChange
	add(&out, "tenant", t, d, d.Tenants, func(doc world.Tenant) (dove.Tenant, string) { return doc.Name, string(doc.Name) }, renderTenant)
	if t == "" {
		add(&out, "host", t, d, d.Hosts, func(doc world.Host) (dove.Tenant, string) { return "", string(doc.Name) }, renderHost(w, nil))
	}
	add(&out, "blueprint", t, d, d.Blueprints, func(doc world.Blueprint) (dove.Tenant, string) { return doc.Tenant, doc.Name },
		func(doc world.Blueprint, since dove.Revision) Blueprint {
			return Blueprint{Tenant: doc.Tenant, Name: doc.Name, Domain: doc.Domain, Text: doc.Text, Revision: since}
		})
	add(&out, "network", t, d, d.Networks, func(doc world.Network) (dove.Tenant, string) { return doc.Tenant, doc.Name }, renderNetwork)
	add(&out, "router", t, d, d.Routers, func(doc world.Router) (dove.Tenant, string) { return doc.Tenant, doc.Name }, renderRouter(w))
	endpoint := renderEndpoint(w, nil, nil)
	add(&out, "endpoint", t, d, d.Endpoints, func(doc world.Endpoint) (dove.Tenant, string) { return doc.Tenant, string(doc.ID) },
		func(doc world.Endpoint, since dove.Revision) Endpoint {
			r := endpoint(doc, since)
			r.State = ""
			return r
		})
	return out
}

// add appends the changes of one kind that are of the tenant t, or all if t is "".
func add[D, T any](out *[]WatchChange, kind string, t dove.Tenant, d world.Delta, changes []world.Change[D], name func(D) (dove.Tenant, string), render func(D, dove.Revision) T) {
	for _, c := range changes {
		line := WatchChange{Op: "put", Kind: kind}
		if line.Tenant, line.Name = name(*cmp.Or(c.New, c.Old)); t != "" && line.Tenant != t {
			continue
		}
		if c.New == nil {
			line.Op = "delete"
		} else {
			line.Resource = render(*c.New, d.Revision)
		}
		*out = append(*out, line)
	}
}
