package api

import (
	"encoding/json"
	"iter"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	linesType = "application/jsonl"
	// lineTimeout is how long the reader of a watch may keep a line waiting.
	lineTimeout = 10 * time.Second
)

// lastLine says why there are no more lines.
type lastLine struct {
	Error *Problem `json:"error"`
}

// lines answers with one line of JSON for each item, as it comes, until the
// client is gone or reads too slowly. If the items end before that, the last
// line says why, unless the items did (nil).
func lines[T any](items iter.Seq[T], why *Problem) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		_, w := humago.Unwrap(ctx)
		out := http.NewResponseController(w)
		ctx.SetHeader("Content-Type", linesType)
		ctx.SetStatus(http.StatusOK)
		write := func(line any) bool {
			// Without it a reader that stops reading would be kept for ever.
			// HTTP/2 counts the time between lines, too, unless it is taken back.
			return out.SetWriteDeadline(time.Now().Add(lineTimeout)) == nil &&
				json.NewEncoder(w).Encode(line) == nil && out.Flush() == nil && out.SetWriteDeadline(time.Time{}) == nil
		}
		// The client knows from now on that it watches; the first line may be long in coming.
		if out.Flush() != nil || out.SetWriteDeadline(time.Time{}) != nil {
			return
		}
		for item := range items {
			if !write(item) {
				return
			}
		}
		if ctx.Context().Err() == nil && why != nil {
			write(lastLine{why})
		}
	}}
}

// linesResponse describes an answer of lines.
func linesResponse(line *huma.Schema) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: "One line of JSON for each item, as it comes. A line {\"error\": PROBLEM} is the last.",
		Content:     map[string]*huma.MediaType{linesType: {Schema: line}},
	}}
}
