package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/blueprint"
	"dove.network/dove"
)

// Problem is an error as clients see it (RFC 9457). Errors lists all faults of
// the request at once.
type Problem struct {
	Type   string       `json:"type" doc:"about:blank: Title and Kind say all there is."`
	Title  string       `json:"title" doc:"What the status code means."`
	Status int          `json:"status" doc:"The HTTP status code."`
	Kind   string       `json:"kind" doc:"The kind of failure: invalid, not-found, exists, conflict, forbidden, unauthorized, too-large, unsupported, unavailable or internal."`
	Detail string       `json:"detail" doc:"What went wrong, in one sentence."`
	Errors []dove.Fault `json:"errors,omitempty" doc:"Every fault of the request: path, line and column (from 1) where known, message, and a hint."`
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus is for huma.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is for huma.
func (p *Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

// statuses gives each kind of error its HTTP status.
var statuses = map[dove.Kind]int{
	dove.Internal:     http.StatusInternalServerError,
	dove.Invalid:      http.StatusUnprocessableEntity,
	dove.NotFound:     http.StatusNotFound,
	dove.Exists:       http.StatusConflict,
	dove.Conflict:     http.StatusConflict,
	dove.Forbidden:    http.StatusForbidden,
	dove.Unauthorized: http.StatusUnauthorized,
	dove.TooLarge:     http.StatusRequestEntityTooLarge,
	dove.Unsupported:  http.StatusUnprocessableEntity,
	dove.Unavailable:  http.StatusServiceUnavailable,
}

func newProblem(status int, kind dove.Kind, detail string, faults []dove.Fault) *Problem {
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Kind: kind.String(), Detail: detail, Errors: faults,
	}
}

// problem turns an error of the backend into what the client may know of it.
func (s *server) problem(err error) error {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*dove.Error](err); ok && e.Kind != dove.Internal {
		return newProblem(statuses[e.Kind], e.Kind, e.Message, e.Faults)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return newProblem(http.StatusServiceUnavailable, dove.Unavailable, "the answer did not come in time: try again", nil)
	}
	s.Log.Error("request failed", "error", err)
	return newProblem(http.StatusInternalServerError, dove.Internal, "the DPC failed: its log says why", nil)
}

// kindOfStatus names what huma and the router find wrong before a handler runs.
func kindOfStatus(status int) dove.Kind {
	switch status {
	case http.StatusNotFound:
		return dove.NotFound
	case http.StatusUnauthorized:
		return dove.Unauthorized
	case http.StatusRequestEntityTooLarge:
		return dove.TooLarge
	case http.StatusRequestTimeout, http.StatusServiceUnavailable:
		return dove.Unavailable
	case http.StatusInternalServerError:
		return dove.Internal
	}
	return dove.Invalid
}

// asProblem gives huma's own errors our shape. It is a transformer of responses.
func asProblem(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	var faults []dove.Fault
	for _, e := range m.Errors {
		if e != nil {
			faults = append(faults, dove.Fault{Path: strings.TrimPrefix(e.Location, "body."), Message: e.Message})
		}
	}
	detail := m.Detail
	if m.Status == http.StatusRequestEntityTooLarge {
		detail = fmt.Sprintf("the request's body is too large: a blueprint has at most %d bytes, a list of endpoints %d, anything else %d", blueprint.MaxBytes, TextMax, BodyMax)
	}
	return newProblem(m.Status, kindOfStatus(m.Status), detail, faults), nil
}
