package controller

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// webToApp is a flow from h1 to h2.
func (f *fleet) webToApp() control.Tuple {
	f.t.Helper()
	n, ok := f.member.World().Network(dove.Network{Tenant: "acme", Name: "front"})
	if !ok {
		f.t.Fatal("there is no network")
	}
	return control.Tuple{
		VNI: n.VNI, Src: netip.MustParseAddr("10.0.0.11"), Dst: netip.MustParseAddr("10.0.0.12"),
		Protocol: dove.ProtocolTCP, DstPort: 8080,
	}
}

// welcomed opens a session and waits until it is open.
func (f *fleet) welcomed(n int) *testSession {
	f.t.Helper()
	s := f.open(n, 0, 4096)
	next[*control.Welcome](f.t, s)
	return s
}

func TestInspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		s := f.welcomed(1)
		probe := f.webToApp()
		other := probe
		other.DstPort = 22
		go func() {
			i := next[*control.Inspect](t, s)
			s.up <- &control.Report{ID: i.ID, Seen: 9, Finding: &control.Finding{
				Standing: control.StandingAllow, Rule: "shop/web-app", Flow: &control.FlowReport{Tuple: other},
			}}
			i = next[*control.Inspect](t, s)
			s.up <- &control.Report{ID: i.ID, Refused: "too busy"}
		}()
		got, err := f.member.Inspect(t.Context(), "h1", probe)
		if err != nil || got.Seen != 9 || got.Finding.Rule != "shop/web-app" || got.Finding.Flow != nil {
			t.Fatalf("%+v, %v: a flow of another tuple must not be believed", got, err)
		}
		if _, err := f.member.Inspect(t.Context(), "h1", probe); dove.KindOf(err) != dove.Unavailable {
			t.Errorf("refused: %v", err)
		}
		if _, err := f.member.Inspect(t.Context(), "h2", probe); dove.KindOf(err) != dove.NotFound {
			t.Errorf("no session: %v", err)
		}
		began := time.Now()
		_, err = f.member.Inspect(t.Context(), "h1", probe)
		if took := time.Since(began); dove.KindOf(err) != dove.Unavailable || took != answerWithin {
			t.Errorf("no answer: %v after %s", err, took)
		}
		synctest.Wait()
		if n := len(f.member.boxes) + len(f.member.probers); n != 0 {
			t.Errorf("%d who asked are remembered", n)
		}
		f.stop()
		<-f.ran
		if _, err := f.member.Inspect(t.Context(), "h1", probe); dove.KindOf(err) != dove.Unavailable {
			t.Errorf("stopped: %v", err)
		}
		s.cancel()
	})
}

func TestFlowsNamesWhoDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		one, two := f.welcomed(1), f.welcomed(2)
		flow := control.FlowReport{Tuple: f.webToApp(), Rule: "shop/web-app"}
		foreign := flow
		foreign.Tuple.VNI++
		answer := func(s *testSession) {
			i := next[*control.Inspect](t, s)
			s.up <- &control.Report{ID: i.ID, Flows: []control.FlowReport{flow}, More: true}
			s.up <- &control.Report{ID: i.ID, Flows: []control.FlowReport{foreign}}
		}
		go answer(one)
		go answer(two)
		began := time.Now()
		got, err := f.member.Flows(t.Context(), "acme")
		if err != nil || len(got.Flows) != 1 || len(got.Flows[0].Hosts) != 2 || len(got.Unanswered) != 0 || time.Since(began) != 0 {
			t.Fatalf("%+v, %v", got, err)
		}
		go answer(one)
		got, err = f.member.Flows(t.Context(), "acme")
		if err != nil || len(got.Flows) != 1 || !slices.Equal(got.Unanswered, []dove.HostName{"h2"}) || time.Since(began) != answerWithin {
			t.Fatalf("%+v, %v", got, err)
		}
		two.cancel()
		<-two.ended
		synctest.Wait()
		go answer(one)
		got, err = f.member.Flows(t.Context(), "acme")
		if err != nil || len(got.Flows) != 1 || !slices.Equal(got.Unanswered, []dove.HostName{"h2"}) || time.Since(began) != answerWithin {
			t.Fatalf("%+v, %v", got, err)
		}
		if got, err = f.member.Flows(t.Context(), "nobody"); err != nil || len(got.Flows)+len(got.Unanswered) != 0 || got.Revision == 0 {
			t.Fatalf("%+v, %v", got, err)
		}

		// Many at once are refused, and none waits for the others.
		refused := make(chan error, 3*ListersMax)
		for range cap(refused) {
			go func() {
				_, err := f.member.Flows(t.Context(), "acme")
				refused <- err
			}()
		}
		n := 0
		for range cap(refused) {
			if err := <-refused; err != nil {
				if dove.KindOf(err) != dove.Unavailable {
					t.Errorf("%v", err)
				}
				n++
			}
		}
		if n != 2*ListersMax {
			t.Errorf("%d were refused", n)
		}
		one.cancel()
	})
}

func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		s := f.welcomed(1)
		ctx, cancel := context.WithCancel(t.Context())
		seq, err := f.member.Observe(ctx, "acme")
		if err != nil {
			t.Fatal(err)
		}
		news := make(chan control.FlowNews)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for n := range seq {
				news <- n
			}
		}()
		if n := <-news; n.Host != "h2" || n.Answers {
			t.Fatalf("%+v", n)
		}
		i := next[*control.Inspect](t, s)
		tuple := f.webToApp()
		s.up <- &control.Report{ID: i.ID, Events: []control.FlowEvent{{What: control.FlowBegun, Tuple: tuple, Rule: "shop/web-app"}}}
		if n := <-news; n.Host != "h1" || !n.Answers || n.Event != nil {
			t.Fatalf("%+v", n)
		}
		if n := <-news; n.Event == nil || n.Event.What != control.FlowBegun || n.To.ID != "app-1" || n.Host != "h1" {
			t.Fatalf("%+v", n)
		}

		// A reader that is slow loses, and is told; the session goes on.
		flood := &control.Report{ID: i.ID}
		for range control.EventsMax {
			flood.Events = append(flood.Events, control.FlowEvent{What: control.FlowDenied, Tuple: tuple, Reason: "policy"})
		}
		const many = 200
		for range many {
			s.up <- flood
		}
		synctest.Wait()
		events, lost := 0, uint64(0)
		for lost == 0 {
			switch n := <-news; {
			case n.Event != nil:
				events++
			default:
				lost += n.Lost
			}
		}
		for uint64(events)+lost < many*control.EventsMax {
			if n := <-news; n.Event != nil {
				events++
			} else {
				lost += n.Lost
			}
		}
		if uint64(events)+lost != many*control.EventsMax {
			t.Errorf("%d events and %d lost of %d", events, lost, many*control.EventsMax)
		}

		// A silent host is told of, and so is one whose session ends.
		began := time.Now()
		if n := <-news; n.Host != "h1" || n.Answers || time.Since(began) > silentAfter+time.Second {
			t.Fatalf("%+v after %s", n, time.Since(began))
		}
		s.up <- &control.Report{ID: i.ID}
		if n := <-news; n.Host != "h1" || !n.Answers {
			t.Fatalf("%+v", n)
		}
		s.cancel()
		if n := <-news; n.Host != "h1" || n.Answers {
			t.Fatalf("%+v", n)
		}
		s = f.welcomed(1)
		i = next[*control.Inspect](t, s)
		s.up <- &control.Report{ID: i.ID}
		if n := <-news; n.Host != "h1" || !n.Answers {
			t.Fatalf("%+v", n)
		}
		cancel()
		<-ended
		if stop := next[*control.Inspect](t, s); !stop.Stop || stop.ID != i.ID {
			t.Fatalf("%+v", stop)
		}
		synctest.Wait()
		if n := len(f.member.boxes) + len(f.member.watchers); n != 0 {
			t.Errorf("%d who observed are remembered", n)
		}
		s.cancel()
	})
}

func TestObserversOfAMemberAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		for n := range WatchersMax {
			if _, err := f.member.Observe(ctx, "acme"); err != nil {
				t.Fatalf("observer %d: %v", n, err)
			}
		}
		if _, err := f.member.Observe(ctx, "acme"); dove.KindOf(err) != dove.Unavailable {
			t.Fatalf("one too many: %v", err)
		}
		cancel() // none of them ever looked
		synctest.Wait()
		if _, err := f.member.Observe(t.Context(), "acme"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := len(f.member.boxes); n != 1 {
			t.Errorf("%d observers are remembered", n)
		}
	})
}

// When the member loads its world anew, those who observe go on.
func TestObserversOutliveALostWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		s := f.welcomed(1)
		seq, err := f.member.Observe(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		news := make(chan control.FlowNews)
		go func() {
			for n := range seq {
				news <- n
			}
			close(news)
		}()
		<-news // h2 does not answer
		s.up <- &control.Report{ID: next[*control.Inspect](t, s).ID}
		if n := <-news; n.Host != "h1" || !n.Answers {
			t.Fatalf("%+v", n)
		}
		// As follow does: another Core, that nobody asked anything.
		if err := f.member.ask(t.Context(), func() {
			f.member.endAll("test")
			f.member.core = NewCore("dpc-1", f.member.World())
			f.member.resume()
		}); err != nil {
			t.Fatal(err)
		}
		if n := <-news; n.Host != "h1" || n.Answers {
			t.Fatalf("%+v", n)
		}
		s = f.welcomed(1)
		s.up <- &control.Report{ID: next[*control.Inspect](t, s).ID}
		if n := <-news; n.Host != "h1" || !n.Answers {
			t.Fatalf("%+v", n)
		}
		s.cancel()
		f.stop()
		for range news { // it ends with the member
		}
	})
}
