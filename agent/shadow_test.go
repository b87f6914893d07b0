package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dove.network/control"
	"dove.network/dataplane"
)

func TestLoggedFlowsAreObserved(t *testing.T) {
	r := web1(t)
	r.meet("10.0.0.7")
	r.step(Received{&control.Inspect{ID: 3, Observe: "red"}})
	r.reports()
	logged := dataplane.Note{Port: 1, Tuple: dataplane.Tuple(tupleTo("10.0.0.7", 9, 22)), Allow: true, Log: true, Rule: "out"}
	elsewhere := logged
	elsewhere.Tuple.VNI = 6
	r.step(Noted{logged}, Noted{elsewhere})
	r.sleep(time.Second)
	r.step(Tick{})
	got := r.reports()
	want := []control.FlowEvent{{What: control.FlowLogged, Tuple: tupleTo("10.0.0.7", 9, 22), Rule: "out"}}
	if len(got) != 1 {
		t.Fatalf("sent %+v", got)
	}
	if d := cmp.Diff(want, got[0].Events, addrs); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestShadowsAreListed(t *testing.T) {
	r := web1(t)
	r.meet("10.0.0.7")
	handle := r.core.networks[5].domain.handle
	ask := func(id uint64) []control.ShadowReport {
		t.Helper()
		r.step(Received{&control.Inspect{ID: id, ShadowsOf: "red"}})
		got := r.reports()
		if len(got) != 1 || got[0].ID != id || got[0].Refused != "" || got[0].More {
			t.Fatalf("sent %+v", got)
		}
		return got[0].Shadows
	}
	note := dataplane.Note{Port: 1, Allow: true, Rule: "out", Would: "shop/trial"}
	for port := range uint16(control.ExamplesMax + 2) {
		note.Tuple = dataplane.Tuple(tupleTo("10.0.0.7", port, 22))
		r.step(Noted{note})
	}
	same := note
	same.WouldAllow = true
	same.Tuple.SrcPort = 99
	r.step(Noted{note}, Noted{same}) // the last one twice, and one that is no example

	r.shadows = []dataplane.Shadow{
		{Domain: handle, Rule: "shop/trial", Since: r.now.Add(-time.Minute), Deny: 7, Same: 1},
		{Domain: handle + 1, Rule: "shop/theirs", Since: r.now, Allow: 1},
	}
	got := ask(1)
	want := control.ShadowReport{Rule: "shop/trial", Age: time.Minute, Deny: 7, Same: 1}
	for port := range uint16(control.ExamplesMax) {
		want.Examples = append(want.Examples, control.FlowEvent{What: control.FlowBegun, Tuple: tupleTo("10.0.0.7", port+2, 22), Rule: "out"})
	}
	if d := cmp.Diff([]control.ShadowReport{want}, got, addrs); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}

	// Of a rule that left the shadow nothing is remembered.
	r.shadows = nil
	if got := ask(2); len(got) != 0 {
		t.Errorf("after it left: %+v", got)
	}
	r.shadows = []dataplane.Shadow{{Domain: handle, Rule: "shop/trial", Since: r.now}}
	if got := ask(3); len(got) != 1 || len(got[0].Examples) != 0 {
		t.Errorf("when it is back: %+v", got)
	}
}

// TestExamplesAreBounded, whatever names a tenant gives its policies.
func TestExamplesAreBounded(t *testing.T) {
	r := web1(t)
	for i := range 3 * shadesMax {
		r.step(Noted{dataplane.Note{Port: 1, Tuple: dataplane.Tuple(tupleTo("10.0.0.7", 1, 22)), Rule: "no", Would: fmt.Sprint("shop/", i), WouldAllow: true}})
	}
	if n := len(r.core.live.examples["red"]); n == 0 || n > shadesMax {
		t.Errorf("%d rules are remembered, meant: at most %d", n, shadesMax)
	}
	r.step(Received{&control.Unassign{Endpoint: assignOf("web-1", 5, "10.0.0.1", 20).Endpoint, Epoch: 5}})
	if len(r.core.domains) != 0 || len(r.core.live.examples) != 0 {
		t.Errorf("of %d tenants examples are remembered where %d domains are", len(r.core.live.examples), len(r.core.domains))
	}
}
