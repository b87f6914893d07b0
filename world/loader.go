package world

import (
	"slices"
	"strings"

	"dove.network/dove"
)

// Loader makes the World of all documents of a store in one pass, without saying what
// changed. Endpoints, of which there are millions, come to their places together in the end.
type Loader struct {
	d         *draft
	endpoints []*packed
	kinds     map[likes]*alike
}

// likes names what is alike.
type likes struct {
	network dove.Network
	kind    string
}

// NewLoader returns a loader that has no documents.
func NewLoader() *Loader {
	d := New().draft(0)
	d.quiet = true
	return &Loader{d: d, kinds: map[likes]*alike{}}
}

// Add takes documents that exist, in any order, each once. After an error, which is as
// that of World.Apply, the loader is of no more use.
func (l *Loader) Add(docs []dove.Doc) error {
	for _, doc := range docs {
		if !strings.HasPrefix(doc.Key, endpointFolder) || doc.Value == nil {
			if err := l.d.apply(doc); err != nil {
				return err
			}
			continue
		}
		e, err := readEndpoint(doc)
		if err != nil {
			return err
		}
		name := likes{e.NetworkOf(), e.kind()}
		a := l.kinds[name]
		if a == nil {
			a = newAlike(e, name.kind)
			l.kinds[name] = a
		}
		l.endpoints = append(l.endpoints, pack(e, a, doc.Revision))
	}
	return nil
}

// World returns the World of all that was added, at the revision at which it stood together.
// It is called once.
func (l *Loader) World(at dove.Revision) (*World, error) {
	d, all := l.d, l.endpoints
	slices.SortFunc(all, byEndpoint)
	for i := 1; i < len(all); i++ {
		if all[i-1].full() == all[i].full() {
			return nil, dove.Errorf(dove.Internal, "endpoint %s was loaded twice", all[i].full())
		}
	}
	fill(&d.endpoints, all, (*packed).once, (*packed).itself)
	fill(&d.byNetwork, all, (*packed).once, (*packed).itself)
	fill(&d.byMAC, all, (*packed).once, (*packed).itself)
	fill(&d.byKind, all, (*packed).spans, (*packed).spot)
	fill(&d.byParent, all, (*packed).parents, (*packed).itself)
	fill(&d.byHost, all, (*packed).bindings, (*packed).binding)
	fill(&d.byAddress, all, (*packed).locations, d.location)
	fill(&d.byAllowed, all, (*packed).permissions, (*packed).permission)
	fill(&d.byGroup, all, (*packed).memberships, (*packed).membership)
	d.compile()
	w := d.World
	w.revision = at
	return &w, nil
}

// fill puts all that endpoints are found by in a tree that is empty.
func fill[T any](t *tree[T], endpoints []*packed, count func(*packed) int, item func(*packed, int) T) {
	items := make([]T, 0, len(endpoints))
	for _, p := range endpoints {
		for i := range count(p) {
			items = append(items, item(p, i))
		}
	}
	if !slices.IsSortedFunc(items, t.order) {
		slices.SortFunc(items, t.order)
	}
	t.build(items)
}
