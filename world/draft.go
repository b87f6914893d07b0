package world

import "dove.network/dove"

// Draft is a World that changes in place, for one owner who tries what a change would make
// of it. The World that it began with stays as it is.
type Draft struct{ d *draft }

// Draft returns a draft that is as the World is.
func (w *World) Draft() *Draft {
	d := w.draft(w.revision)
	d.quiet = true
	return &Draft{d}
}

// World returns the draft as it stands. It is what it is until the next Apply.
func (d *Draft) World() *World { return &d.d.World }

// Apply writes and deletes documents as World.Apply does; the revision stays. After an
// error the draft is of no more use.
func (d *Draft) Apply(docs []dove.Doc) error {
	for _, doc := range docs {
		if err := d.d.apply(doc); err != nil {
			return err
		}
	}
	d.d.compile()
	d.d.delta = Delta{Revision: d.d.revision}
	clear(d.d.changed)
	return nil
}
