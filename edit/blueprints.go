package edit

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/world"
)

// BlueprintsMax is how many documents one write takes.
const BlueprintsMax = 16

// PutBlueprints is PutPlanned for all documents of a text, in one transaction: each may
// need what others bring, in any order, but not in a circle. Faults have the lines of the
// whole text. If it does not fit one transaction it is refused.
func PutBlueprints(w *world.World, t dove.Tenant, text []byte, now time.Time, planned string) (dove.Txn, []world.Blueprint, error) {
	all, c, err := decideAll(w, t, text, now)
	if err == nil {
		err = c.bind(all, text, planned)
	}
	if err != nil {
		return dove.Txn{}, nil, err
	}
	txn, err := c.done()
	return txn, docsOf(all), err
}

func docsOf(all []decided) []world.Blueprint {
	docs := make([]world.Blueprint, len(all))
	for i, d := range all {
		docs[i] = d.doc
	}
	return docs
}

// decideAll decides about all documents of a text, in its order.
func decideAll(w *world.World, t dove.Tenant, text []byte, now time.Time) ([]decided, *change, error) {
	parts := blueprint.Split(text)
	if n := len(parts); n > BlueprintsMax {
		return nil, nil, dove.Errorf(dove.TooLarge, "the text has %d documents, and %d are the most: apply it in parts", n, BlueprintsMax)
	}
	if len(parts) == 1 {
		one, c, err := putBlueprint(w, t, "", text, now, nil)
		if err != nil {
			return nil, nil, err
		}
		return []decided{one}, c, c.intend([]decided{one}, now)
	}
	all, txn, err := decideEach(w, t, parts, now)
	if err != nil {
		return nil, nil, err
	}
	c := begin(w)
	c.txn = txn
	for _, r := range txn.Reads {
		c.reads[r.Key] = true
	}
	return all, c, c.intend(all, now)
}

// decideEach decides one document after the other, each on what those before it leave,
// and again those that lacked something, until no more find what they need.
func decideEach(w *world.World, t dove.Tenant, parts []blueprint.Document, now time.Time) ([]decided, dove.Txn, error) {
	all, errs := make([]decided, len(parts)), make([]*dove.Error, len(parts))
	batch, names := NewBatch(w), map[string]bool{}
	blueprints := make([]*blueprint.Blueprint, len(parts))
	var left []int
	if _, exists := w.Tenant(t); !exists {
		return nil, dove.Txn{}, missingTenant(t)
	}
	for i, part := range parts {
		b, err := blueprint.Parse(t, part.Text)
		if err != nil {
			errs[i] = refusal(err)
			continue
		}
		blueprints[i], left = b, append(left, i)
	}
	for before := len(left) + 1; len(left) < before && len(left) > 0; {
		before = len(left)
		var lacking []int
		for _, i := range left {
			d, err := decideOne(batch, names, blueprints[i], parts[i].Text, now)
			if err != nil {
				e, ok := errors.AsType[*dove.Error](err)
				if !ok {
					return nil, dove.Txn{}, err
				}
				errs[i], lacking = e, append(lacking, i)
				continue
			}
			all[i], errs[i] = d, nil
		}
		left = lacking
	}
	var p problems
	for i, e := range errs {
		if e != nil {
			p.within(fmt.Sprintf("documents[%d]", i), parts[i].Line-1, e)
		}
	}
	return all, batch.Txn(), p.err("the text of several blueprints")
}

// decideOne adds a document to a batch that has those of some names.
func decideOne(batch *Batch, names map[string]bool, b *blueprint.Blueprint, text []byte, now time.Time) (decided, error) {
	w, err := batch.World()
	if err != nil {
		return decided{}, err
	}
	one, c, err := decide(w, b, "", text, now, nil)
	if err != nil {
		return decided{}, err
	}
	if names[one.doc.Name] {
		return decided{}, dove.Errorf(dove.Invalid, "blueprint %q is in the text twice: say it once", one.doc.Name)
	}
	txn, err := c.done()
	if err != nil {
		return decided{}, err
	}
	if !txn.Empty() && !batch.Add(txn) {
		if key := batch.twice(txn); key != "" {
			return decided{}, dove.Errorf(dove.Conflict, "blueprint %q writes %s, as another one of the text does: apply it later", one.doc.Name, strings.TrimPrefix(key, world.Prefix))
		}
		return decided{}, dove.Errorf(dove.TooLarge, "with blueprint %q the text touches more than %d documents, or writes more than %d bytes: what does not fit one revision is applied in parts", one.doc.Name, dove.TxnOperationsMax, dove.TxnBytesMax)
	}
	names[one.doc.Name] = true
	return one, nil
}
