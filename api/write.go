package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

func writeProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p) // the client may be gone: nobody to tell
}

// Conditions say what a writer believes of the resource.
type Conditions struct {
	IfMatch     string `header:"If-Match" doc:"The revision that the resource must be at, as its ETag says. Otherwise the write is refused with 412."`
	IfNoneMatch string `header:"If-None-Match" enum:"*" doc:"*: the resource must not exist. Otherwise the write is refused with 412."`
	// The id of the write, "" for none.
	IdempotencyKey string `header:"Idempotency-Key" minLength:"1" maxLength:"128" pattern:"^[ -~]+$" doc:"The client's id of this write. Of several with one id and one token the first is done, and the others get its answer, for 24 hours; another write under the id is refused. Refused writes are not kept."`
}

func (c Conditions) revision() (*dove.Revision, error) {
	if c.IfNoneMatch != "" {
		if c.IfMatch != "" {
			return nil, dove.Errorf(dove.Invalid, "If-Match and If-None-Match contradict each other: send one")
		}
		return new(dove.Revision(0)), nil
	}
	if c.IfMatch == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(strings.Trim(c.IfMatch, `"`), 10, 64)
	if err != nil || n <= 0 {
		return nil, dove.Errorf(dove.Invalid, "If-Match must be one ETag of this API, a revision such as \"17\", not %q", c.IfMatch)
	}
	return new(dove.Revision(n)), nil
}

func etag(r dove.Revision) string { return fmt.Sprintf("%q", strconv.FormatInt(int64(r), 10)) }

// errNothing says that a request with an id changes nothing.
var errNothing = errors.New("nothing is to be changed")

// write runs one write of the document under key. decide makes of a World the
// transaction and the document as it will be, render the answer of the document
// and the revision since which it is as it is: that of the write, or an earlier one if
// the write changes nothing. A write with an id that was done before is not done again.
func write[D, T any](
	ctx context.Context, s *server, key string, c Conditions,
	decide func(w *world.World, ifMatch *dove.Revision) (dove.Txn, D, error),
	render func(D, dove.Revision) T,
) (*Written[T], error) {
	ifMatch, err := c.revision()
	if err != nil {
		return nil, err
	}
	request := s.request(ctx, c)
	ctx, cancel := context.WithTimeout(ctx, editTimeout)
	defer cancel()
	var doc D
	var before, since dove.Revision // of the document in the World that was decided on last
	var replayed, late bool
	decided := func(w *world.World) (txn dove.Txn, err error) {
		before, since, replayed = w.DocRevision(key), 0, false
		if c.IdempotencyKey != "" {
			var result json.RawMessage
			if result, since, replayed, err = request.Replay(w); err != nil {
				return txn, err
			}
			if replayed {
				doc = *new(D) // another attempt may have decided before it was too late
				return txn, json.Unmarshal(result, &doc)
			}
		}
		if txn, doc, err = decide(w, ifMatch); err != nil {
			return txn, err
		}
		if txn.Empty() {
			if since = before; c.IdempotencyKey != "" && !late {
				return txn, errNothing // at a world that may be overtaken: what is kept of the request would make it true
			}
		}
		if c.IdempotencyKey != "" {
			return request.Keep(w, txn, doc, since)
		}
		return txn, nil
	}
	revision, err := s.edit(ctx, decided)
	if errors.Is(err, errNothing) { // it was decided at a world as late as the request
		late = true
		revision, err = s.edit(ctx, decided)
	}
	if err != nil {
		if e, ok := errors.AsType[*dove.Error](err); ok && e.Kind == dove.Conflict && ifMatch != nil && *ifMatch != before {
			return nil, newProblem(http.StatusPreconditionFailed, e.Kind, e.Message, e.Faults)
		}
		return nil, err
	}
	if since == 0 {
		since = revision
	}
	out := &Written[T]{ETag: etag(since), Body: render(doc, since)}
	if replayed {
		out.Replayed = "true"
	}
	return out, nil
}

// edit is Backend.Edit as long as the store has room for what is added to it.
func (s *server) edit(ctx context.Context, f func(*world.World) (dove.Txn, error)) (dove.Revision, error) {
	return s.Backend.Edit(ctx, func(w *world.World) (dove.Txn, error) {
		txn, err := f(w)
		if edit.Grows(txn, err) {
			err = cmp.Or(s.Store.Room(), err)
		}
		return txn, err
	})
}

// remove is write where nothing is left of the document.
func (s *server) remove(ctx context.Context, key string, c Conditions, decide func(*world.World, *dove.Revision) (dove.Txn, error)) (*Written[Done], error) {
	return write(ctx, s, key, c, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, struct{}, error) {
		txn, err := decide(w, ifMatch)
		return txn, struct{}{}, err
	}, func(_ struct{}, r dove.Revision) Done { return Done{r} })
}

// Answer is a response that is one resource.
type Answer[T any] struct {
	ETag string `header:"ETag" doc:"The revision of the resource, for If-Match."`
	Body T
}

// one answers with a document that is what kind says and has that name, if it exists.
func one[D world.Document, T any](w *world.World, kind string, name any, d D, exists bool, render func(D, dove.Revision) T) (*Answer[T], error) {
	if !exists {
		return nil, missing(kind, fmt.Sprint(name))
	}
	since := w.DocRevision(d.Key())
	return &Answer[T]{etag(since), render(d, since)}, nil
}

// asOf renders documents as they are at a World.
func asOf[D world.Document, T any](w *world.World, render func(D, dove.Revision) T) func(D) T {
	return func(d D) T { return render(d, w.DocRevision(d.Key())) }
}

// Written is the response to a write.
type Written[T any] struct {
	ETag     string `header:"ETag" doc:"The revision of the resource, for If-Match."`
	Replayed string `header:"Idempotency-Replayed" doc:"true: the write with this Idempotency-Key was done before, and this is its answer."`
	Body     T
}

// Done is the answer to a write that leaves no resource behind.
type Done struct {
	Revision dove.Revision `json:"revision" doc:"The revision that made it true."`
}

// Page says which part of a list is asked for.
type Page struct {
	After string `query:"after" maxLength:"128" doc:"The items after this one, in order of their names: next of the previous answer."`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"1000" doc:"At most so many items."`
	Freshness
}

// List is a part of a list, in order of names.
type List[T any] struct {
	Revision dove.Revision `json:"revision" doc:"The revision that the list is of."`
	Items    []T           `json:"items" nullable:"false"`
	Next     string        `json:"next,omitempty" doc:"Where the next part starts: give it as after. Missing at the end."`
}

type listAnswer[T any] struct{ Body List[T] }

// where keeps of a sequence what all of the tests want.
func where[D any](all iter.Seq[D], tests ...func(D) bool) iter.Seq[D] {
	return func(yield func(D) bool) {
		for d := range all {
			wanted := !slices.ContainsFunc(tests, func(test func(D) bool) bool { return !test(d) })
			if wanted && !yield(d) {
				return
			}
		}
	}
}

// list renders the asked part of a sequence that is in order of names.
func list[D, T any](w *world.World, page Page, all iter.Seq[D], name func(D) string, render func(D) T) *listAnswer[T] {
	out := List[T]{Revision: w.Revision(), Items: []T{}}
	last := ""
	for d := range all {
		n := name(d)
		if n <= page.After && page.After != "" {
			continue
		}
		if len(out.Items) == page.Limit {
			out.Next = last
			break
		}
		out.Items = append(out.Items, render(d))
		last = n
	}
	return &listAnswer[T]{out}
}

// Freshness says how old the answer to a read may be.
type Freshness struct {
	AtLeast dove.Revision `query:"at-least" minimum:"1" doc:"The answer need not be newer than this revision, such as that of one's own write: then the store is not asked. Missing: no older than any write that ended before."`
}

// read returns a World that is as new as it must be.
func (s *server) read(ctx context.Context, must Freshness) (*world.World, error) {
	if w := s.Backend.World(); must.AtLeast > 0 && w.Revision() >= must.AtLeast {
		return w, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	w, err := s.Backend.Read(ctx)
	if err != nil {
		return nil, err
	}
	if w.Revision() < must.AtLeast {
		return nil, tooEarly(must.AtLeast, w)
	}
	return w, nil
}

// tooEarly says that a revision is still to come.
func tooEarly(r dove.Revision, w *world.World) error {
	return dove.Errorf(dove.NotFound, "there is no revision %d yet: the latest is %d", r, w.Revision())
}

// readTenant is read, and requires the tenant.
func (s *server) readTenant(ctx context.Context, t dove.Tenant, must Freshness) (*world.World, error) {
	w, err := s.read(ctx, must)
	if err != nil {
		return nil, err
	}
	if _, ok := w.Tenant(t); !ok {
		return nil, missing("tenant", string(t))
	}
	return w, nil
}

func missing(what, name string) *Problem {
	return newProblem(http.StatusNotFound, dove.NotFound, fmt.Sprintf("there is no %s %q", what, name), nil)
}
