package world

import (
	"cmp"
	"slices"

	"dove.network/dove"
)

// Limits of a History.
const (
	HistoryMax      = 4096     // deltas
	HistoryBytesMax = 64 << 20 // of documents in them, about
)

// History is what the latest revisions changed, without what is secret or only
// a means. It never changes: Add gives the next one, and may be called once of each.
type History struct {
	since, until dove.Revision
	deltas       []Delta
	bytes        int
}

// NewHistory returns the history that knows nothing of a revision and before.
func NewHistory(r dove.Revision) *History { return &History{since: r, until: r} }

// Since returns the oldest revision after which all is known.
func (h *History) Since() dove.Revision { return h.since }

// Until returns the latest revision.
func (h *History) Until() dove.Revision { return h.until }

// After returns what changed after a revision, in order; false if that is no
// longer known, or still to come.
func (h *History) After(r dove.Revision) ([]Delta, bool) {
	if r < h.since || r > h.until {
		return nil, false
	}
	at, _ := slices.BinarySearchFunc(h.deltas, r+1, func(d Delta, r dove.Revision) int { return cmp.Compare(d.Revision, r) })
	return h.deltas[at:], true
}

// Add returns the history with one more delta, and without the oldest ones if
// they are too many. Nothing before another incarnation is remembered.
func (h *History) Add(d Delta) *History {
	if d.Meta {
		return NewHistory(d.Revision)
	}
	d.JoinTokens, d.APITokens, d.Classes, d.VNIs, d.Domains, d.Claims, d.Members = nil, nil, nil, nil, nil, nil, nil
	next := &History{h.since, d.Revision, append(h.deltas, d), h.bytes + d.bytes()}
	for len(next.deltas) > HistoryMax || next.bytes > HistoryBytesMax {
		next.since = next.deltas[0].Revision
		next.bytes -= next.deltas[0].bytes()
		next.deltas = next.deltas[1:]
	}
	return next
}

// documentBytes is about what a document takes that has no text.
const documentBytes = 512

// bytes says about how much memory the delta keeps.
func (d Delta) bytes() int {
	n := documentBytes * (1 + len(d.Tenants) + len(d.Networks) + len(d.Routers) + len(d.Endpoints) + len(d.Hosts) + len(d.Blueprints))
	for _, c := range d.Blueprints {
		for _, b := range []*Blueprint{c.Old, c.New} {
			if b != nil {
				n += len(b.Text)
			}
		}
	}
	return n
}
