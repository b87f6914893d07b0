package edit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/plan"
	"dove.network/world"
)

// Planned is what blueprints would change.
type Planned struct {
	Base      dove.Revision // of the world that it was planned on
	Documents []PlannedDocument
	Reach     *plan.Difference
	// NewClasses are those that endpoints would come into and that do not exist yet, whatever steps they take.
	NewClasses int
	// Token stands for the text and for all that was read for Reach: while
	// PutPlanned or PutBlueprints takes it, the plan is still true.
	Token string
}

// PlannedDocument is what one of them would change by itself.
type PlannedDocument struct {
	Blueprint *blueprint.Blueprint          // as it would be
	Changes   []blueprint.Change            // of the document
	Networks  []world.Change[world.Network] // made, changed, deleted; VNIs may come out otherwise
	VNIs      []dove.VNI                    // that would be decided
}

// Plan says what PutBlueprints would change now, or why it would be refused.
func Plan(w *world.World, t dove.Tenant, text []byte, now time.Time) (Planned, error) {
	all, c, err := judge(w, t, text, now)
	if err != nil {
		return Planned{}, err
	}
	out := Planned{Base: w.Revision()}
	for _, d := range all {
		out.Documents = append(out.Documents, d.planned(w))
	}
	c.settle()
	next, err := preview(w, c.txn)
	if err != nil {
		return Planned{}, err
	}
	domains := domainsOf(w, all)
	for _, d := range domains {
		out.NewClasses += next.ClassCount(d) - w.ClassCount(d)
	}
	out.Reach = plan.Compare(w, next, domains...)
	out.Token = token(w, w.Revision(), domains, text)
	return out, nil
}

func (d decided) planned(w *world.World) PlannedDocument {
	f := d.footprint
	out := PlannedDocument{Blueprint: f.blueprint, Changes: blueprint.Compare(w.Parsed(d.doc.Tenant, d.doc.Name), f.blueprint)}
	for _, n := range f.gone {
		out.Networks = append(out.Networks, world.Change[world.Network]{Old: new(n)})
	}
	for _, n := range f.made {
		c := world.Change[world.Network]{New: n}
		if old, exists := w.Network(n.Full()); exists {
			c.Old = &old
		} else {
			out.VNIs = append(out.VNIs, n.VNI)
		}
		out.Networks = append(out.Networks, c)
	}
	return out
}

// Validate says why PutBlueprints would refuse a text now, if it would.
func Validate(w *world.World, t dove.Tenant, text []byte, now time.Time) ([]world.Blueprint, error) {
	all, _, err := judge(w, t, text, now)
	return docsOf(all), err
}

// judge is decideAll, and refuses what would not fit, however many steps it may take.
func judge(w *world.World, t dove.Tenant, text []byte, now time.Time) ([]decided, *change, error) {
	all, c, err := decideAll(w, t, text, now)
	if err == nil {
		_, err = c.done()
	}
	if _, lacks := errors.AsType[*lacking](err); lacks {
		err = nil
	}
	return all, c, err
}

// bind has a change of a text rely on all that its plan read, and refuses it if
// the plan is not true any more. Without a plan it stays as it is.
func (c *change) bind(all []decided, text []byte, planned string) error {
	if planned == "" || c.txn.Empty() {
		return nil
	}
	domains := domainsOf(c.w, all)
	base, _, _ := strings.Cut(planned, "-")
	at, err := strconv.ParseInt(base, 10, 64)
	if err != nil || at < 0 {
		return dove.Errorf(dove.Invalid, "%q is no token of a plan: give the token of the plan as it is", planned)
	}
	if token(c.w, dove.Revision(at), domains, text) != planned {
		return dove.Errorf(dove.Conflict, "the plan of revision %d is not true any more: %s: plan again", at, since(c.w, dove.Revision(at), domains))
	}
	// Memberships, addresses and routers are written with these documents.
	for _, d := range domains {
		c.read(c.w.ClassNext(d).Key(), world.EdgeKey(d))
	}
	return nil
}

// domainsOf returns the domains of which blueprints are and will be, each once.
func domainsOf(w *world.World, blueprints []decided) []dove.Domain {
	var once []dove.Domain
	add := func(d dove.Domain) {
		if !slices.Contains(once, d) {
			once = append(once, d)
		}
	}
	for _, b := range blueprints {
		add(dove.Domain{Tenant: b.doc.Tenant, Name: b.doc.Domain})
		if old := w.Parsed(b.doc.Tenant, b.doc.Name); old != nil {
			add(old.DomainOf())
		}
	}
	return once
}

// preview returns the world that a transaction would make.
func preview(w *world.World, txn dove.Txn) (*world.World, error) {
	next := w.Revision() + 1
	var docs []dove.Doc
	for _, p := range txn.Puts {
		docs = append(docs, dove.Doc{Key: p.Key, Value: p.Value, Revision: next})
	}
	for _, key := range txn.Deletes {
		docs = append(docs, dove.Doc{Key: key, Revision: next})
	}
	out, _, err := w.Apply(next, docs)
	return out, err
}

// token stands for a text and for what plans of some domains read: which policies
// have ended, and documents as they are, but of endpoints not where they are bound.
func token(w *world.World, base dove.Revision, domains []dove.Domain, text []byte) string {
	sum := sha256.New()
	note := func(parts ...string) {
		for _, p := range parts {
			fmt.Fprintf(sum, "%d %s", len(p), p)
		}
	}
	note(string(text))
	for _, d := range domains {
		note(w.Edge(d).String())
	}
	for d := range readOf(w, domains) {
		if e, ok := d.(world.Endpoint); ok {
			e.Host, e.Standby, e.Activated, e.Epoch, e.Device = "", "", false, 0, ""
			note(e.Key(), string(world.Put(e).Value))
			continue
		}
		note(d.Key(), strconv.FormatInt(int64(w.DocRevision(d.Key())), 10))
	}
	return fmt.Sprintf("%d-%s", base, hex.EncodeToString(sum.Sum(nil)[:16]))
}

// readOf yields the documents on which plans of some domains rely.
func readOf(w *world.World, domains []dove.Domain) iter.Seq[world.Document] {
	return func(yield func(world.Document) bool) {
		for _, d := range domains {
			for b := range w.Blueprints(d.Tenant) {
				if b.Domain == d.Name && !yield(b) {
					return
				}
			}
			for r := range w.Routers(d.Tenant) {
				if r.Domain == d.Name && !yield(r) {
					return
				}
			}
			for n := range w.Networks(d.Tenant) {
				if n.DomainOf() != d {
					continue
				}
				if !yield(n) {
					return
				}
				for e := range w.EndpointsIn(n.Full()) {
					if !yield(e) {
						return
					}
				}
			}
		}
	}
}

// since names what was written after a revision, of what plans rely on.
func since(w *world.World, base dove.Revision, domains []dove.Domain) string {
	var names []string
	for d := range readOf(w, domains) {
		if w.DocRevision(d.Key()) > base {
			names = append(names, strings.TrimPrefix(d.Key(), world.Prefix))
		}
	}
	for _, d := range domains {
		if w.DocRevision(world.EdgeKey(d)) > base {
			names = append(names, strings.TrimPrefix(world.EdgeKey(d), world.Prefix))
		}
	}
	if len(names) == 0 {
		return "it is of another text, or something that it relied on was deleted"
	}
	slices.Sort(names)
	const most = 10
	more := ""
	if n := len(names) - most; n > 0 {
		names, more = names[:most], fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(names, ", ") + more + " changed since"
}
