package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"dove.network/api"
	"dove.network/dove"
)

func TestFlowsOfAllPages(t *testing.T) {
	var asked []string
	c := connect(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI())
		if r.FormValue("after") == "" {
			answer(w, api.Flows{Revision: 3, Items: []api.LiveFlow{{Packets: 1}}, Next: "x/y", Unanswered: []dove.HostName{"h2", "h1"}, Lost: 7})
		} else {
			answer(w, api.Flows{Revision: 4, Items: []api.LiveFlow{{Packets: 2}}, Unanswered: []dove.HostName{"h2"}, Lost: 2})
		}
	}))
	got, err := c.Flows(t.Context(), "acme", api.FlowFilter{Endpoint: "web-1", Rule: "shop/x", Protocol: "tcp"})
	if err != nil || got.Revision != 4 || len(got.Items) != 2 || got.Lost != 7 || !slices.Equal(got.Unanswered, []dove.HostName{"h1", "h2"}) || got.Next != "" {
		t.Errorf("%+v, %v", got, err)
	}
	const path = "/v1/tenants/acme/flows?"
	if want := []string{path + "endpoint=web-1&protocol=tcp&rule=shop%2Fx", path + "after=x%2Fy&endpoint=web-1&protocol=tcp&rule=shop%2Fx"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q", asked)
	}
}

func TestWhyWithAndWithoutSwitches(t *testing.T) {
	var asked string
	c := connect(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RawQuery
		answer(w, api.Why{Live: []api.WhyLive{{Role: "both"}}})
	}))
	flow := api.Flow{From: "a", To: "b", Proto: "icmp"}
	if why, err := c.Why(t.Context(), "acme", flow); err != nil || len(why.Live) != 1 || asked != "from=a&proto=icmp&to=b" {
		t.Errorf("%+v, %v, asked %s", why, err, asked)
	}
	if _, err := c.WhyIntended(t.Context(), "acme", flow); err != nil || asked != "from=a&live=false&proto=icmp&to=b" {
		t.Errorf("%v, asked %s", err, asked)
	}
}

func TestWatchFlows(t *testing.T) {
	const line = `{"event":"new","at":"2026-11-23T00:00:00Z","from":"web-1"}` + "\n"
	tests := []struct {
		what   string
		status int
		body   string
		events int
		kind   dove.Kind
		text   string
	}{
		{"the server stops", 200, line + line + `{"error":{"status":503,"kind":"unavailable","detail":"the member stops"}}` + "\n", 2, dove.Unavailable, "the member stops"},
		{"the connection ends", 200, line, 1, dove.Unavailable, "ended the watch"},
		{"no JSON", 200, line + "<html>\n" + line, 1, dove.Internal, "cannot be read"},
		{"a line without end", 200, line + strings.Repeat("x", 2*lineMax), 1, dove.TooLarge, "longer than"},
		{"too many", 503, `{"status":503,"kind":"unavailable","detail":"64 others"}`, 0, dove.Unavailable, "64 others"},
	}
	for _, test := range tests {
		c := connect(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RequestURI() != "/v1/tenants/acme/flows/watch?endpoint=web-1" {
				t.Errorf("asked %s", r.URL.RequestURI())
			}
			if test.status != 200 {
				w.Header().Set("Content-Type", "application/problem+json")
			}
			w.WriteHeader(test.status)
			io.WriteString(w, test.body)
		}))
		events, ended := 0, error(nil)
		for e, err := range c.WatchFlows(t.Context(), "acme", api.FlowFilter{Endpoint: "web-1"}) {
			if err != nil {
				ended = err
			} else if events++; e.Event != "new" || e.From != "web-1" {
				t.Errorf("%s: %+v", test.what, e)
			}
		}
		if events != test.events || dove.KindOf(ended) != test.kind || !strings.Contains(fmt.Sprint(ended), test.text) {
			t.Errorf("%s: %d events, then %v", test.what, events, ended)
		}
	}
}

func TestWatchEndsWithItsContextAndItsLoop(t *testing.T) {
	gone := make(chan bool, 2)
	c := connect(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"event":"host","at":"2026-11-23T00:00:00Z","host":"h1","answers":false}`+"\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		gone <- true
	}))
	for e, err := range c.WatchFlows(t.Context(), "acme", api.FlowFilter{}) {
		if err != nil || e.Answers == nil || *e.Answers {
			t.Errorf("%+v, %v", e, err)
		}
		break
	}
	<-gone
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ended error
	for _, err := range c.WatchFlows(ctx, "acme", api.FlowFilter{}) {
		cancel()
		ended = err
	}
	<-gone
	if !errors.Is(ended, context.Canceled) {
		t.Errorf("%v", ended)
	}
}
