package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"dove.network/dove"
	"dove.network/world"
)

var (
	problemGoType   = reflect.TypeFor[Problem]()
	blueprintGoType = reflect.TypeFor[Blueprint]()
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

// edit runs one write of the document under key. It returns the revision at
// which the document has been as it is now: of the write, or of an earlier one if
// the write changes nothing.
func (s *server) edit(ctx context.Context, key string, c Conditions, decide func(w *world.World, ifMatch *dove.Revision) (dove.Txn, error)) (dove.Revision, error) {
	ifMatch, err := c.revision()
	if err != nil {
		return 0, s.problem(err)
	}
	ctx, cancel := context.WithTimeout(ctx, editTimeout)
	defer cancel()
	var before dove.Revision // of the document in the World that was decided on last
	var empty bool
	revision, err := s.Backend.Edit(ctx, func(w *world.World) (dove.Txn, error) {
		before = w.DocRevision(key)
		txn, err := decide(w, ifMatch)
		empty = len(txn.Puts)+len(txn.Deletes) == 0
		return txn, err
	})
	if err != nil {
		if e, ok := errors.AsType[*dove.Error](err); ok && e.Kind == dove.Conflict && ifMatch != nil && *ifMatch != before {
			return 0, newProblem(http.StatusPreconditionFailed, e.Kind, e.Message, e.Faults)
		}
		return 0, s.problem(err)
	}
	if empty && before > 0 {
		return before, nil
	}
	return revision, nil
}

// Answer is a response that is one resource.
type Answer[T any] struct {
	ETag string `header:"ETag" doc:"The revision of the resource, for If-Match."`
	Body T
}

func answer[T any](body T, revision dove.Revision) *Answer[T] {
	return &Answer[T]{etag(revision), body}
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
		return nil, s.problem(err)
	}
	if w.Revision() < must.AtLeast {
		return nil, s.problem(tooEarly(must.AtLeast, w))
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

// RequestKept is how long the answer to a write with an Idempotency-Key is kept.
const RequestKept = 24 * time.Hour
