package edit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"dove.network/dove"
	"dove.network/world"
)

// Rest is how long a freed class id or VNI is not given out again.
const Rest = 24 * time.Hour

// change is a transaction in the making.
type change struct {
	w       *world.World
	reads   map[string]bool
	txn     dove.Txn
	classes []world.ClassAlloc // that it decides, besides
}

func begin(w *world.World) *change { return &change{w: w, reads: map[string]bool{}} }

// read relies on the documents being as the world has them.
func (c *change) read(keys ...string) {
	for _, k := range keys {
		if !c.reads[k] {
			c.reads[k] = true
			c.txn.Reads = append(c.txn.Reads, dove.Read{Key: k, Revision: c.w.DocRevision(k)})
		}
	}
}

// put writes documents and relies on what they replace. Of several with one key
// the last is written.
func (c *change) put(docs ...world.Document) {
	for _, d := range docs {
		c.read(d.Key())
		put := world.Put(d)
		if i := slices.IndexFunc(c.txn.Puts, func(p dove.Put) bool { return p.Key == put.Key }); i >= 0 {
			c.txn.Puts[i] = put
			continue
		}
		c.txn.Puts = append(c.txn.Puts, put)
	}
}

// delete removes documents and relies on what they were.
func (c *change) delete(keys ...string) {
	c.read(keys...)
	c.txn.Deletes = append(c.txn.Deletes, keys...)
}

// done returns the transaction in canonical order if it is within the limits. If
// it decides more class ids than fit, the error is a *lacking.
func (c *change) done() (dove.Txn, error) {
	if len(c.classes) > newClassesMax {
		last, err := c.finish()
		if err != nil {
			return dove.Txn{}, err
		}
		return dove.Txn{}, c.lacks(last)
	}
	c.settle()
	return c.finish()
}

// settle makes the class ids that it decides a part of the transaction.
func (c *change) settle() {
	for _, a := range c.classes {
		c.read(a.Key())
		c.txn.Puts = append(c.txn.Puts, world.Put(a))
	}
	c.classes = nil
}

func (c *change) finish() (dove.Txn, error) {
	t := c.txn
	slices.SortFunc(t.Reads, func(a, b dove.Read) int { return strings.Compare(a.Key, b.Key) })
	slices.SortFunc(t.Puts, func(a, b dove.Put) int { return strings.Compare(a.Key, b.Key) })
	slices.Sort(t.Deletes)
	if err := t.Check(); err != nil {
		return dove.Txn{}, err
	}
	return t, nil
}

// same reports whether two documents say the same.
func same(a, b world.Document) bool { return bytes.Equal(world.Put(a).Value, world.Put(b).Value) }

// match checks the revision that the writer believes the document to have: nil
// for no belief, 0 for "does not exist".
func match(w *world.World, what, key string, ifMatch *dove.Revision) error {
	if ifMatch == nil {
		return nil
	}
	switch is := w.DocRevision(key); {
	case is == *ifMatch:
		return nil
	case is == 0:
		return dove.Errorf(dove.Conflict, "%s does not exist, and is not at revision %d: read it again", what, *ifMatch)
	case *ifMatch == 0:
		return dove.Errorf(dove.Conflict, "%s exists at revision %d: read it, or leave out the condition", what, is)
	default:
		return dove.Errorf(dove.Conflict, "%s is at revision %d, not %d: read it again", what, is, *ifMatch)
	}
}

// problems gathers all that is wrong with one request.
type problems struct {
	kind   dove.Kind
	faults []dove.Fault
}

// add notes a fault. A request that is wrong in itself is Invalid, whatever else
// it contradicts; else the first kind stands.
func (p *problems) add(kind dove.Kind, path, hint, format string, args ...any) {
	if len(p.faults) == 0 || kind == dove.Invalid {
		p.kind = kind
	}
	p.faults = append(p.faults, dove.Fault{Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// join takes over the faults of another error, which may be nil.
func (p *problems) join(err *dove.Error) {
	if err == nil {
		return
	}
	if len(p.faults) == 0 || err.Kind == dove.Invalid {
		p.kind = err.Kind
	}
	p.faults = append(p.faults, err.Faults...)
}

// err returns all faults as one error about what, or nil.
func (p *problems) err(what string) error {
	if len(p.faults) == 0 {
		return nil
	}
	return dove.Refusal(p.kind, what+" is refused", p.faults, 0)
}
