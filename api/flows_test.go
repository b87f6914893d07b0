package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/explain"
)

// liveRig has two endpoints of tenant a on two hosts.
func liveRig(t *testing.T) *rig {
	r := newRig(t)
	for _, h := range []string{"h1", "h2"} {
		r.ok(nil, "PUT /v1/hosts/"+h, fmt.Sprintf(`{"vtep":"192.0.2.%s"}`, h[1:]))
	}
	r.ok(nil, "PUT /v1/tenants/a", "")
	r.ok(nil, "PUT /v1/tenants/a/blueprints/shop", shop, "Content-Type: application/yaml")
	r.ok(nil, "PUT /v1/tenants/a/endpoints/web-1", `{"groups":["shop/web"],"host":"h1"}`)
	r.ok(nil, "PUT /v1/tenants/a/endpoints/db-1", `{"groups":["shop/db"],"host":"h2"}`)
	return r
}

func TestWhyAsksTheSwitches(t *testing.T) {
	r := liveRig(t)
	const ask = "GET /v1/tenants/a/why?from=web-1&to=db-1&proto=tcp&port=5432"
	why := func(query string) Why {
		t.Helper()
		var out Why
		r.ok(&out, ask+query, "")
		if !out.Allowed || out.Rule != "shop/web-db" {
			t.Fatalf("the intended verdict must not depend on hosts: %+v", out)
		}
		return out
	}
	states := func(w Why) string {
		var all []string
		for _, l := range w.Live {
			all = append(all, fmt.Sprintf("%s %s %s %s %v", l.Role, l.Host, l.State, l.Standing, l.Agrees))
		}
		return strings.Join(all, ", ")
	}
	if got := states(why("")); got != "sender h1 no-session  false, receiver h2 no-session  false" {
		t.Error(got)
	}
	if got := why("&live=false"); got.Live != nil {
		t.Errorf("not asked for: %+v", got.Live)
	}
	intended := why("&live=false")
	var asked []control.Tuple
	finding := map[dove.HostName]control.Finding{
		"h1": {Standing: control.StandingAllow, Rule: "shop/web-db", Forth: control.Digest{1}, Flow: &control.FlowReport{Tuple: control.Tuple{SrcPort: 4000}, Packets: 7, Idle: time.Second}},
		"h2": {Standing: control.StandingDeny, Rule: "shop/old", Detail: "the switch refused the table"},
	}
	answers := make(chan control.Tuple, 2)
	r.backend.inspect = func(host dove.HostName, tuple control.Tuple) (control.Report, error) {
		answers <- tuple
		return control.Report{Seen: 7, Finding: new(finding[host])}, nil
	}
	got := why("")
	asked = append(asked, <-answers, <-answers)
	want := []WhyLive{
		{
			Host: "h1", Role: "sender", State: "answered", Standing: "allow", Rule: "shop/web-db", Seen: 7, Agrees: true,
			Forth: "01000000000000000000000000000000", Flow: &WhyFlow{SrcPort: 4000, Packets: 7, Idle: time.Second},
		},
		{Host: "h2", Role: "receiver", State: "answered", Standing: "deny", Rule: "shop/old", Seen: 7, Detail: "the switch refused the table"},
	}
	if d := cmp.Diff(want, got.Live); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, tuple := range asked {
		if tuple.VNI != intended.From.VNI || tuple.Src.String() != intended.From.Address || tuple.Dst.String() != intended.To.Address ||
			tuple.Protocol != dove.ProtocolTCP || tuple.DstPort != 5432 || tuple.SrcPort != 0 {
			t.Errorf("asked about %+v", tuple)
		}
	}
	r.backend.inspect = func(host dove.HostName, _ control.Tuple) (control.Report, error) {
		if host == "h1" {
			return control.Report{}, dove.Errorf(dove.Unavailable, "host h1 did not answer within 2s")
		}
		return control.Report{Finding: &control.Finding{Standing: control.StandingAsk}}, nil
	}
	if got := states(why("")); got != "sender h1 no-answer  false, receiver h2 answered would-ask true" {
		t.Error(got)
	}
	r.ok(nil, "DELETE /v1/tenants/a/endpoints/db-1/binding", "")
	if got := states(why("")); got != "sender h1 no-answer  false, receiver  not-bound  false" {
		t.Error(got)
	}
	r.ok(nil, "PUT /v1/tenants/a/endpoints/db-1/binding", `{"host":"h1"}`)
	if got := states(why("")); got != "both h1 no-answer  false" {
		t.Error(got)
	}
	r.refused(422, ask+"&live=perhaps", "")
}

func TestSwitchesAgreeOrNot(t *testing.T) {
	r := liveRig(t)
	for _, test := range []struct {
		port     int
		standing control.Standing
		rule     string
		agrees   bool
	}{
		{5432, control.StandingAllow, "shop/web-db", true},
		{5432, control.StandingAllow, "shop/other", false},
		{5432, control.StandingDeny, "default-deny", false},
		{5432, control.StandingAsk, "", true},
		{80, control.StandingAllow, "shop/web-db", false},
		{80, control.StandingDeny, "default-deny", true},
		{80, control.StandingDeny, "shop/other", false},
		{80, control.StandingHidden, "", true},
		{80, control.StandingNotActive, "", true},
	} {
		r.backend.inspect = func(dove.HostName, control.Tuple) (control.Report, error) {
			return control.Report{Finding: &control.Finding{Standing: test.standing, Rule: test.rule}}, nil
		}
		var why Why
		r.ok(&why, fmt.Sprintf("GET /v1/tenants/a/why?from=web-1&to=db-1&proto=tcp&port=%d", test.port), "")
		if why.Live[0].Agrees != test.agrees {
			t.Errorf("%+v: %+v", test, why)
		}
	}
}

// TestDropsAgreeWithWhatKeepsPacketsFromArriving, whatever the switch calls it.
func TestDropsAgreeWithWhatKeepsPacketsFromArriving(t *testing.T) {
	for _, standing := range []control.Standing{control.StandingNoEndpoint, control.StandingHidden, control.StandingUnassigned, control.StandingNotActive} {
		for _, test := range []struct {
			intended explain.Answer
			agrees   bool
		}{
			{explain.Answer{Allowed: true, Rule: "shop/web-db"}, false},
			{explain.Answer{Allowed: true, Rule: "shop/web-db", Obstacles: []string{"db-1 is bound to no host"}}, true},
			{explain.Answer{Rule: "default-deny"}, true},
		} {
			if got := agrees(test.intended, &control.Finding{Standing: standing}); got != test.agrees {
				t.Errorf("%s agrees %v with %+v", standing, got, test.intended)
			}
		}
	}
}

func flowOf(port uint16, protocol dove.Protocol, rule string, from, to dove.EndpointID) control.LiveFlow {
	return control.LiveFlow{
		FlowReport: control.FlowReport{Rule: rule, Packets: 3, Idle: time.Second, Tuple: control.Tuple{
			VNI: 4096, Src: netip.MustParseAddr("10.0.1.2"), Dst: netip.MustParseAddr("10.0.1.3"), Protocol: protocol, SrcPort: port, DstPort: 80,
		}},
		Network: dove.Network{Tenant: "a", Name: "front"}, From: dove.Endpoint{Tenant: "a", ID: from}, To: dove.Endpoint{Tenant: "a", ID: to},
		Hosts: []dove.HostName{"h1", "h2"},
	}
}

func TestFlowsAreFilteredAndPaged(t *testing.T) {
	r := liveRig(t)
	r.backend.flows = control.FlowList{Revision: 9, Unanswered: []dove.HostName{"h3"}, Lost: 4, Flows: []control.LiveFlow{
		flowOf(1000, dove.ProtocolTCP, "shop/web-db", "web-1", "db-1"),
		flowOf(2000, dove.ProtocolTCP, "shop/web-db", "web-1", ""),
		flowOf(3000, dove.ProtocolUDP, "shop/db/members", "db-1", "web-1"),
		flowOf(4000, dove.ProtocolUDP, "shop/db/members", "db-1", "app-1"),
	}}
	ports := func(query string) (out []uint16) {
		t.Helper()
		for next := ""; ; {
			var part Flows
			r.ok(&part, "GET /v1/tenants/a/flows?limit=3&"+query+next, "")
			if part.Revision != 9 || part.Lost != 4 || !slices.Equal(part.Unanswered, r.backend.flows.Unanswered) || !slices.Equal(part.NoSession, part.Unanswered) || len(part.Items) > 3 {
				t.Fatalf("%s: %+v", query, part)
			}
			for _, f := range part.Items {
				out = append(out, f.SrcPort)
			}
			if next = "&after=" + part.Next; part.Next == "" {
				return out
			}
		}
	}
	for query, want := range map[string][]uint16{
		"":                                   {3000, 4000, 1000, 2000},
		"endpoint=web-1":                     {3000, 1000, 2000},
		"endpoint=db-1&rule=shop/db/members": {3000, 4000},
		"protocol=udp":                       {3000, 4000},
		"protocol=17&endpoint=web-1":         {3000},
		"protocol=sctp":                      nil,
		"rule=shop/web-db&protocol=17":       nil,
	} {
		if got := ports(query); !slices.Equal(got, want) && !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	var one Flows
	r.ok(&one, "GET /v1/tenants/a/flows?protocol=tcp&limit=1", "")
	want := LiveFlow{
		FlowEnds: FlowEnds{Network: "front", Protocol: "tcp", Src: "10.0.1.2", SrcPort: 1000, Dst: "10.0.1.3", DstPort: 80, From: "web-1", To: "db-1"},
		Rule:     "shop/web-db", Idle: time.Second, Packets: 3, Hosts: []dove.HostName{"h1", "h2"},
	}
	if d := cmp.Diff([]LiveFlow{want}, one.Items); d != "" || one.Next == "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, path := range []string{"flows", "flows/watch"} {
		for query, status := range map[string]int{"?protocol=any": 422, "?protocol=300": 422, "?colour=red": 422, "?endpoint=" + strings.Repeat("x", 64): 422} {
			r.refused(status, "GET /v1/tenants/a/"+path+query, "")
		}
		r.refused(404, "GET /v1/tenants/b/"+path, "")
		r.backend.told = dove.Errorf(dove.Unavailable, "64 others observe flows at this member already")
		if p := r.refused(503, "GET /v1/tenants/a/"+path, ""); !strings.Contains(p.Detail, "64 others") {
			t.Errorf("%+v", p)
		}
		r.backend.told = nil
	}
}

// watch begins a watch and yields its lines.
func (r *rig) watch(ctx context.Context, path string) *bufio.Scanner {
	r.t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.server.URL+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	answer, err := r.client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { answer.Body.Close() })
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "application/jsonl" {
		r.t.Fatalf("%s: %s, %v", path, answer.Status, answer.Header)
	}
	return bufio.NewScanner(answer.Body)
}

func TestFlowsAreWatched(t *testing.T) {
	r := liveRig(t)
	r.backend.news = make(chan control.FlowNews)
	r.backend.sessions = []control.SessionStatus{{Host: "h2"}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines := r.watch(ctx, "/v1/tenants/a/flows/watch?endpoint=web-1") // before there is any line
	tell := func(n control.FlowNews) { n.At = time.Unix(9, 0).UTC(); r.backend.news <- n }
	flow := flowOf(1000, dove.ProtocolTCP, "", "web-1", "db-1")
	event := func(what control.What, from dove.EndpointID) control.FlowNews {
		return control.FlowNews{
			Event: &control.FlowEvent{What: what, Tuple: flow.Tuple, Rule: "shop/x", Packets: 2}, Network: flow.Network,
			From: dove.Endpoint{Tenant: "a", ID: from}, To: flow.To, Host: "h1",
		}
	}
	denied := event(control.FlowDenied, "web-1")
	denied.Event.Reason = "policy"
	const ends = `"network":"front","protocol":"tcp","src":"10.0.1.2","srcPort":1000,"dst":"10.0.1.3","dstPort":80,"from":"web-1","to":"db-1","rule":"shop/x",`
	const at = `"at":"1970-01-01T00:00:09Z",`
	for _, step := range []struct {
		news control.FlowNews
		line string
	}{
		{control.FlowNews{Host: "h2", Answers: false}, `{"event":"host",` + at + `"host":"h2","answers":false}`},
		{control.FlowNews{Host: "h9", Answers: false}, `{"event":"host",` + at + `"reason":"no-session","host":"h9","answers":false}`},
		{event(control.FlowBegun, "web-1"), `{"event":"new",` + at + ends + `"packets":2,"host":"h1"}`},
		{denied, `{"event":"denied",` + at + ends + `"reason":"policy","packets":2,"host":"h1"}`},
		{control.FlowNews{Lost: 5}, `{"event":"lost",` + at + `"count":5}`},
	} {
		go func() {
			tell(event(control.FlowBegun, "db-2")) // of no interest
			tell(step.news)
		}()
		if !lines.Scan() || lines.Text() != step.line {
			t.Fatalf("%q, want %q (%v)", lines.Text(), step.line, lines.Err())
		}
	}
	close(r.backend.news) // the member stops
	var last struct{ Error Problem }
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &last) != nil || last.Error.Status != http.StatusServiceUnavailable {
		t.Errorf("the last line is %q", lines.Text())
	}
	if lines.Scan() {
		t.Errorf("and then %q", lines.Text())
	}
}

// Who may ask no longer hears nothing more, whether or not something happens.
func TestWatchOfFlowsEndsWithItsToken(t *testing.T) {
	r := liveRig(t)
	r.backend.news = make(chan control.FlowNews)
	lines := r.watch(t.Context(), "/v1/tenants/a/flows/watch")
	var other APIToken
	r.ok(&other, "POST /v1/tokens", "")
	first := strings.Split(r.token, ".")[1]
	r.token = other.Token
	r.ok(nil, "DELETE /v1/tokens/"+first, "")
	if !lines.Scan() || !strings.Contains(lines.Text(), `"error"`) || !strings.Contains(lines.Text(), "the token was deleted") {
		t.Errorf("heard %q", lines.Text())
	}
	if lines.Scan() {
		t.Errorf("and then %q", lines.Text())
	}
}
