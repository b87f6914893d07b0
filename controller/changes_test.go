package controller

import (
	"testing"
	"testing/synctest"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		before, later := f.member.Changes()
		select {
		case <-later:
			t.Error("there is more, but nothing was written")
		default:
		}
		rev := f.edit(func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutTenant(w, "bolt", nil)
			return txn, err
		})
		<-later
		after, _ := f.member.Changes()
		deltas, ok := after.After(before.Until())
		if !ok || len(deltas) != 1 || deltas[0].Revision != rev || len(deltas[0].Tenants) != 1 || deltas[0].Tenants[0].New.Name != "bolt" {
			t.Errorf("after %d comes %+v, %v", before.Until(), deltas, ok)
		}
		if world := f.member.World(); world.Revision() != after.Until() {
			t.Errorf("the world is of %d, what led to it ends at %d", world.Revision(), after.Until())
		}
		// Another store is another history.
		rev = f.edit(func(w *world.World) (dove.Txn, error) {
			return dove.Txn{Puts: []dove.Put{world.Put(world.Meta{Incarnation: 2})}}, nil
		})
		if after, _ = f.member.Changes(); after.Since() != rev {
			t.Errorf("something is known after %d, though the store of %d is another one", after.Since(), rev)
		}
	})
}
