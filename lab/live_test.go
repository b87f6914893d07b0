package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dove.network/api"
	"dove.network/dove"
	"dove.network/scenario"
)

// TestLive asks real switches what they do: the flow that they carry, the
// packets that they refuse, what they would do, and what they say when they do not answer.
func TestLive(t *testing.T) {
	const more = `flow talk acme/web-1 -> acme/app-1 tcp/8080
expect acme/web-1 -> acme/app-1 tcp/22 deny
`
	s, err := scenario.Parse([]byte(small + more))
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, "live")
	st, err := NewStage(t.Context(), l, s)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	seen := make(chan string, 100)
	watching := make(chan error, 1)
	scenario.Run(ctx, s, st, func(step scenario.Step, _ string, err error) {
		if err != nil {
			t.Fatalf("line %d: %v", step.Line, err)
		}
		if step.Action.String() != s.Steps[2].Action.String() {
			return
		}
		// Both endpoints are there: from now on somebody watches.
		answers := make(chan bool, 2)
		go func() {
			for e, err := range l.api.WatchFlows(ctx, "acme", api.FlowFilter{Protocol: "tcp"}) {
				switch {
				case err != nil:
					watching <- err
					return
				case e.Event == "host" && *e.Answers:
					answers <- true
				default:
					seen <- fmt.Sprintf("%s %s-%s:%d %s by %s", e.Event, e.From, e.To, e.DstPort, strings.TrimSpace(e.Rule+" "+e.Reason), e.Host)
				}
			}
		}()
		<-answers
		<-answers
	})
	missing := map[string]bool{ // a drop is told at once, a flow when the table is read next
		"new web-1-app-1:8080 shop/web-app by h1":         true,
		"denied web-1-app-1:22 default-deny policy by h1": true,
	}
	for len(missing) > 0 {
		select {
		case got := <-seen:
			delete(missing, got)
		case err := <-watching:
			t.Fatalf("the watch ended: %v", err)
		case <-ctx.Done():
			t.Fatalf("nobody saw: %v", missing)
		}
	}

	flows, err := l.api.Flows(ctx, "acme", api.FlowFilter{Endpoint: "app-1", Rule: "shop/web-app"})
	if err != nil || len(flows.Unanswered) > 0 || !slices.ContainsFunc(flows.Items, func(f api.LiveFlow) bool {
		return f.From == "web-1" && f.To == "app-1" && f.DstPort == 8080 && f.Network == "net" && f.Packets > 0 && slices.Equal(f.Hosts, []dove.HostName{"h1", "h2"})
	}) {
		t.Errorf("flows: %+v, %v", flows, err)
	}
	why := func(port string) string {
		t.Helper()
		w, err := l.api.Why(ctx, "acme", api.Flow{From: "web-1", To: "app-1", Proto: "tcp", Port: port})
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, x := range w.Live {
			if x.State == "answered" && (x.Forth != w.Forth || x.Back != w.Back) {
				t.Errorf("%s holds other tables than are meant: %+v", x.Host, x)
			}
			all = append(all, fmt.Sprintf("%s %s %s %s agrees=%v flow=%v", x.Role, x.State, x.Standing, x.Rule, x.Agrees, x.Flow != nil))
		}
		return strings.Join(all, ", ")
	}
	if got := why("8080"); got != "sender answered allow shop/web-app agrees=true flow=true, receiver answered allow shop/web-app agrees=true flow=true" {
		t.Error(got)
	}
	if got := why("22"); got != "sender answered deny default-deny agrees=true flow=false, receiver answered deny default-deny agrees=true flow=false" {
		t.Error(got)
	}

	// One that is stopped is named, and the other still answers.
	h2, _ := l.Host("h2")
	h2.sw.pause(t)
	if got := why("8080"); got != "sender answered allow shop/web-app agrees=true flow=true, receiver no-answer   agrees=false flow=false" {
		t.Error(got)
	}
	if flows, err = l.api.Flows(ctx, "acme", api.FlowFilter{}); err != nil || !slices.Equal(flows.Unanswered, []dove.HostName{"h2"}) || len(flows.Items) == 0 {
		t.Errorf("flows while h2 is stopped: %+v, %v", flows, err)
	}
	if err := h2.sw.signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got := why("8080"); !strings.HasSuffix(got, "receiver answered allow shop/web-app agrees=true flow=true") {
		t.Error(got)
	}
}
