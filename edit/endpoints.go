package edit

import (
	"errors"
	"fmt"
	"slices"

	"dove.network/dove"
	"dove.network/world"
)

// PutEndpoints is PutEndpoint for several, in their order: each is decided on what those
// before it leave. The transaction makes as many, from the first on, as one carries; docs
// are those. If any of all is refused, nothing is made: the error has all faults, under
// their places in the requests, of which the first has that number.
func PutEndpoints(w *world.World, requests []EndpointRequest, chances []Chance, first int) (txn dove.Txn, docs []world.Endpoint, err error) {
	batch := NewBatch(w)
	full := false
	var p problems
	for i, r := range requests {
		var doc world.Endpoint
		one, err := batch.Decide(func(w *world.World) (txn dove.Txn, err error) {
			txn, doc, err = PutEndpoint(w, r, chances[i], nil)
			return txn, err
		})
		if err != nil {
			e, ok := errors.AsType[*dove.Error](err)
			if !ok {
				return dove.Txn{}, nil, err
			}
			p.within(fmt.Sprintf("items[%d]", first+i), 0, e)
			continue
		}
		if !full && batch.Add(one) {
			docs = append(docs, doc)
			continue
		}
		if !full {
			full, txn = true, batch.Txn()
			txn.Puts = slices.Clone(txn.Puts)
		}
		batch.take(one) // only to check the rest
	}
	if err := p.err("the list of endpoints"); err != nil {
		return dove.Txn{}, nil, err
	}
	if !full {
		txn = batch.Txn()
	}
	return txn, docs, nil
}

// within takes over the faults of another error, about what is at a place and begins
// so many lines below the first one.
func (p *problems) within(place string, below int, e *dove.Error) {
	faults := e.Faults
	if len(faults) == 0 {
		faults = []dove.Fault{{Message: e.Message}}
	}
	inside := &dove.Error{Kind: e.Kind}
	for _, f := range faults {
		if f.Path != "" {
			f.Path = "." + f.Path
		}
		f.Path = place + f.Path
		if f.Line > 0 {
			f.Line += below
		}
		inside.Faults = append(inside.Faults, f)
	}
	p.join(inside)
}
