package controller

import (
	"slices"
	"testing"

	"dove.network/dove"
	"dove.network/world"
)

// TestAStreamEndsWithItsCertificate ends a stream when the document of its member
// names another certificate, though it is the same member.
func TestAStreamEndsWithItsCertificate(t *testing.T) {
	r := newRig(t)
	fellow := world.Member{Name: "dpc-2", UID: 2, Serial: "a2"}
	r.edit(dove.Txn{Puts: []dove.Put{world.Put(world.Member{Name: "dpc-1", UID: 1, Serial: "a1"}), world.Put(fellow)}}, nil)
	step := func(e Event) []Effect {
		t.Helper()
		effects, err := r.core.Step(r.now, e)
		if err != nil {
			t.Fatal(err)
		}
		return effects
	}
	change := func(m world.Member) bool {
		revision := r.core.World().Revision() + 1
		effects := step(Changed{revision, documents(dove.Txn{Puts: []dove.Put{world.Put(m)}}, revision)})
		return slices.ContainsFunc(effects, func(e Effect) bool { return e == PeerEnd{"dpc-2"} })
	}
	step(PeerOpened{"dpc-2", 1})
	fellow.Draining = true
	if change(fellow) {
		t.Error("the stream ends, though the certificate is the same")
	}
	fellow.Serial = "b2"
	if !change(fellow) {
		t.Error("the stream goes on under a certificate that is no longer the member's")
	}
	fellow.Serial = "c2"
	if change(fellow) {
		t.Error("a stream is ended that is over")
	}
}
