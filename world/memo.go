package world

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/policy"
)

// memo keeps what was read and compiled last, for all Worlds that came of one
// another: who judges a blueprint reads and compiles what is read and compiled again
// when it is written. It changes no answer, only how long one takes. Any goroutine may use it.
type memo struct {
	parsed   [memoMax]atomic.Pointer[parsing]
	compiled [memoMax]atomic.Pointer[compilation]
}

// memoMax is how many of each are kept, at most.
const memoMax = 8

type parsing struct {
	tenant dove.Tenant
	text   string
	is     *blueprint.Blueprint
}

type compilation struct {
	of   []*blueprint.Blueprint // in order of names
	edge time.Time
	is   *policy.Domain
}

var memoSeed = maphash.MakeSeed()

// Parse returns the blueprint that a text says, as blueprint.Parse does. It is
// shared: nobody may change it.
func (w *World) Parse(t dove.Tenant, text string) (*blueprint.Blueprint, error) {
	at := &w.memo.parsed[maphash.String(memoSeed, text)%memoMax]
	if last := at.Load(); last != nil && last.tenant == t && last.text == text {
		return last.is, nil
	}
	b, err := blueprint.Parse(t, []byte(text))
	if err == nil {
		at.Store(&parsing{t, text, b})
	}
	return b, err
}

// stored is Parse of what a document says, which an earlier version may have accepted.
func (w *World) stored(t dove.Tenant, text string) (*blueprint.Blueprint, error) {
	b, err := w.Parse(t, text)
	if err != nil {
		b, err = blueprint.Stored(t, []byte(text))
	}
	return b, err
}

// Compile returns what blueprints of one domain say, in any order, as policy.Compile does.
func (w *World) Compile(blueprints []*blueprint.Blueprint, edge time.Time) *policy.Domain {
	if len(blueprints) == 0 {
		return noIntent
	}
	all := slices.SortedFunc(slices.Values(blueprints), func(a, b *blueprint.Blueprint) int { return strings.Compare(a.Name, b.Name) })
	at := &w.memo.compiled[maphash.Comparable(memoSeed, all[0].DomainOf())%memoMax]
	if last := at.Load(); last != nil && last.edge.Equal(edge) && slices.Equal(last.of, all) {
		return last.is
	}
	is := policy.Compile(all, edge)
	at.Store(&compilation{all, edge, is})
	return is
}
