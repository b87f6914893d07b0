package controller

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

// What hosts say must not be able to part members: whatever it is, it fits into
// messages that the other one reads.
func TestMembersHearOfHostsThatSayMuch(t *testing.T) {
	r := newRig(t)
	for n, name := range []string{"dpc-1", "dpc-2"} {
		r.edit(dove.Txn{Puts: []dove.Put{world.Put(world.Member{Name: name, UID: dove.UID(n + 1), Serial: name})}}, nil)
	}
	r.step(Changed{control.ReceiptsMax + 1000, nil}) // as many revisions hosts can have failed
	var all []*dswitch
	for n := range 3 {
		r.host(n + 1)
	}
	for n := range 3 {
		all = append(all, r.open(r.host(n+1)))
	}
	r.ack(all...)
	text := strings.Repeat("x", control.TextMax)
	told := r.core.World().Revision()
	fellow := control.NewLedger(told, nil, "dpc-1")
	fellow.Reach("dpc-1", 1, r.now)
	largest, messages := 0, 0
	hear := func(effects []Effect) {
		for _, effect := range effects {
			send, ok := effect.(PeerSend)
			for i := 0; ok && i < len(send.Messages); i++ {
				wire := control.EncodeAcross(send.Messages[i])
				largest, messages = max(largest, proto.Size(wire)), messages+1
				m, err := control.DecodeAcross(wire)
				if err != nil {
					t.Fatal(err)
				}
				if p, ok := m.(*control.Present); ok {
					fellow.Hear("dpc-1", p, r.now)
				}
			}
		}
	}
	step := func(e Event) {
		effects, err := r.core.Step(r.now, e)
		if err != nil {
			t.Fatal(err)
		}
		hear(effects)
	}
	step(PeerOpened{"dpc-2", 1})
	for _, d := range all {
		_, at := r.core.ledger.Frontiers(d.id)
		for first := dove.Revision(1); first+control.FailuresMax < at; first += control.FailuresMax - 1 {
			ack := &control.Ack{Revision: at, Failed: []control.Failure{{}}}
			for i := range dove.Revision(control.FailuresMax - 1) {
				ack.Failed = append(ack.Failed, control.Failure{Revision: first + i, Text: text})
			}
			before := largest
			largest = 0
			step(Received{d.id, ack})
			if largest > 2*control.FailuresMax*control.TextMax {
				t.Fatalf("an Ack of %d failures is %d bytes for another member", control.FailuresMax, largest)
			}
			largest = max(largest, before)
		}
	}
	same := func(when string) {
		t.Helper()
		for _, revision := range []dove.Revision{told - 10, told - 2000, told - 4000} {
			is, known := r.core.Receipt(revision), fellow.Receipt(revision, nil)
			if fmt.Sprint(is.Failed) != fmt.Sprint(known.Failed) {
				t.Errorf("%s: %d hosts failed revision %d, the other member knows of %d", when, len(is.Failed), revision, len(known.Failed))
			}
		}
	}
	same("as it came")
	fellow = control.NewLedger(told, nil, "dpc-1")
	fellow.Reach("dpc-1", 1, r.now)
	step(PeerOpened{"dpc-2", 2})
	same("in the list of all")
	if largest > 8<<20 {
		t.Errorf("a message of %d bytes", largest)
	}
}
