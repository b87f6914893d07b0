package api

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

func TestFilters(t *testing.T) {
	r := newRig(t)
	r.populate()
	for i := range 40 {
		r.ok(nil, fmt.Sprintf("PUT /v1/hosts/x%02d", i), fmt.Sprintf(`{"vtep":"192.0.2.%d"}`, 100+i))
	}
	r.ok(nil, "DELETE /v1/tenants/acme/endpoints/db-1/binding", "")
	r.backend.sessions = []control.SessionStatus{
		{Host: "acme-1", Told: 7, Acked: 7, Endpoints: []control.EndpointUpdate{{Endpoint: dove.Endpoint{Tenant: "acme", ID: "web-1"}, Epoch: r.epoch("web-1"), State: control.EndpointActive}}},
		{Host: "x07", Told: 7, Acked: 5},
	}
	for path, want := range map[string][]string{
		"/v1/tenants?prefix=a":                                   {"acme"},
		"/v1/tenants?prefix=":                                    {"acme", "bolt"},
		"/v1/tenants?prefix=zz":                                  nil,
		"/v1/tenants/acme/networks?domain=shop":                  {"back", "front"},
		"/v1/tenants/acme/networks?blueprint=shop":               {"front"},
		"/v1/tenants/acme/blueprints?domain=shop":                {"shop"},
		"/v1/tenants/acme/endpoints?state=active":                {"web-1"},
		"/v1/tenants/acme/endpoints?state=unbound":               {"db-1"},
		"/v1/tenants/bolt/endpoints?state=unknown":               {"db-1", "web-1"},
		"/v1/tenants/acme/endpoints?address=10.0.1.3":            {"db-1"},
		"/v1/tenants/acme/endpoints?address=fd00:0:0:1::2":       {"web-1"},
		"/v1/tenants/acme/endpoints?host=acme-1&network=back":    nil,
		"/v1/tenants/acme/endpoints?host=bolt-1":                 nil,
		"/v1/tenants/acme/endpoints?group=shop/db&network=front": {"db-1"},
		"/v1/hosts?connected=true":                               {"acme-1", "x07"},
		"/v1/hosts?connected=true&behind=false":                  {"acme-1"},
		"/v1/hosts?behind=true":                                  {"x07"},
		"/v1/hosts?connected=false&limit=2":                      {"bolt-1", "x00"},
		"/v1/hosts?connected=false&behind=true":                  nil,
	} {
		var page List[struct{ Name, ID string }]
		r.ok(&page, "GET "+path, "")
		var got []string
		for _, item := range page.Items {
			got = append(got, item.Name+item.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	for _, path := range []string{"/v1/hosts?connected=maybe", "/v1/tenants/acme/endpoints?address=x", "/v1/tenants/acme/endpoints?state=asleep"} {
		r.refused(422, "GET "+path, "")
	}
	// A name of nothing is refused with those that there are, of this tenant only.
	for path, want := range map[string]string{
		"networks?domain=other":     `query.domain unknown domain "other" (there is "shop")`,
		"networks?blueprint=other":  `query.blueprint unknown blueprint "other" (there is "shop")`,
		"blueprints?domain=x":       `query.domain unknown domain "x" (there is "shop")`,
		"endpoints?network=x":       `query.network unknown network "x" (there are "back", "front")`,
		"endpoints?group=db":        `query.group group "db" does not say of which blueprint (write blueprint/group)`,
		"endpoints?group=x/db":      `query.group unknown blueprint "x" (there is "shop")`,
		"endpoints?group=shop/x":    `query.group unknown group "x" in blueprint "shop" (there are "db", "web")`,
		"endpoints?host=h9":         `query.host unknown host "h9" (there are "acme-1", "bolt-1", "x00", "x01", "x02", "x03", "x04", "x05" and more)`,
		"flows?endpoint=x":          `query.endpoint unknown endpoint "x" (there are "db-1", "web-1")`,
		"flows?rule=x":              `query.rule "x" names no rule (write blueprint/policy, blueprint/group/members or default-deny)`,
		"flows?rule=shop/x":         `query.rule unknown policy "x" in blueprint "shop" (there is "web-db")`,
		"flows?rule=shop/x/members": `query.rule unknown group "x" in blueprint "shop" (there are "db", "web")`,
		"flows/watch?rule=x/web-db": `query.rule unknown blueprint "x" (there is "shop")`,
		"flows/watch?endpoint=x":    `query.endpoint unknown endpoint "x" (there are "db-1", "web-1")`,
	} {
		p := r.refused(422, "GET /v1/tenants/acme/"+path, "")
		if len(p.Errors) != 1 || fmt.Sprintf("%s %s (%s)", p.Errors[0].Path, p.Errors[0].Message, p.Errors[0].Hint) != want {
			t.Errorf("%s: %+v, want %s", path, p.Errors, want)
		}
	}
	for _, rule := range []string{"default-deny", "shop/web/members", "shop/web-db"} {
		r.ok(nil, "GET /v1/tenants/acme/flows?rule="+rule, "")
	}

	var status Status
	answer := r.ok(&status, "GET /v1/status", "")
	if status.Tenants != 2 || status.Endpoints != 4 || status.Hosts != 42 || status.Sessions != 2 ||
		status.Behind.Count != 1 || !slices.Equal(status.Behind.First, []dove.HostName{"x07"}) || status.Absent.Count != 40 || len(status.Absent.First) != someMax || len(answer.text) > 1000 {
		t.Errorf("status %s", answer.text)
	}
}

func (r *rig) epoch(id dove.EndpointID) dove.Epoch {
	e, _ := r.backend.World().Endpoint(dove.Endpoint{Tenant: "acme", ID: id})
	return e.Epoch
}

// TestAtLeast: who says how new an answer must be needs no store for it.
func TestAtLeast(t *testing.T) {
	r := newRig(t)
	r.populate()
	now := r.backend.World().Revision()
	r.backend.down = dove.Errorf(dove.Unavailable, "the store does not answer")
	for _, path := range []string{
		"/v1/tenants", "/v1/tenants/acme", "/v1/tenants/acme/networks", "/v1/tenants/acme/networks/back", "/v1/tenants/acme/routers", "/v1/tenants/acme/blueprints",
		"/v1/tenants/acme/blueprints/shop", "/v1/tenants/acme/endpoints", "/v1/tenants/acme/endpoints/web-1", "/v1/hosts", "/v1/hosts/acme-1", "/v1/tokens",
	} {
		r.refused(503, "GET "+path, "")
		r.ok(nil, fmt.Sprintf("GET %s?at-least=%d", path, now), "")
		r.refused(503, fmt.Sprintf("GET %s?at-least=%d", path, now+1), "")
	}
	r.ok(nil, "GET /v1/tenants/acme/resolutions?from=web-1&to=db-1", "") // as a dSwitch is answered
	r.backend.down = nil
	r.refused(404, fmt.Sprintf("GET /v1/tenants?at-least=%d", now+1), "")
}

func TestTokens(t *testing.T) {
	r := newRig(t)
	var all List[Token]
	if r.ok(&all, "GET /v1/tokens", ""); len(all.Items) != 1 {
		t.Fatalf("tokens %+v", all)
	}
	first := all.Items[0]
	last := r.refused(409, "DELETE /v1/tokens/"+first.ID, "")
	if !strings.Contains(last.Detail, "make another") {
		t.Errorf("the last token: %+v", last)
	}
	var second APIToken
	r.ok(&second, "POST /v1/tokens", "")
	answer := r.ok(&all, "GET /v1/tokens", "")
	i := slices.IndexFunc(all.Items, func(t Token) bool { return t.ID == second.ID })
	if len(all.Items) != 2 || i < 0 || all.Items[i].Created.IsZero() || strings.Contains(answer.text, strings.Split(second.Token, ".")[2]) {
		t.Errorf("tokens %s", answer.text)
	}
	r.refused(412, "DELETE /v1/tokens/"+second.ID, "", `If-Match: "1"`)
	// Two that delete each other's: the second one finds that it is the last.
	r.ok(nil, "DELETE /v1/tokens/"+first.ID, "", "Authorization: Bearer "+second.Token)
	r.refused(401, "DELETE /v1/tokens/"+second.ID, "")
	r.refused(409, "DELETE /v1/tokens/"+second.ID, "", "Authorization: Bearer "+second.Token)
}

func TestResolve(t *testing.T) {
	r := newRig(t)
	r.ok(nil, "PUT /v1/tenants/acme", "")
	r.ok(nil, "PUT /v1/tenants/acme/blueprints/shop", strings.Replace(shop, "groups:\n", "groups:\n  vault: {network: front, isolated: true}\n", 1))
	r.ok(nil, "PUT /v1/tenants/acme/networks/back", `{"domain":"shop","subnets":["10.0.2.0/24"]}`)
	for i, host := range []string{"h1", "h2"} {
		var made JoinToken
		r.ok(&made, "POST /v1/hosts/"+host+"/token", "")
		token, err := auth.ParseToken(auth.JoinToken, made.Token)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := auth.Join(t.Context(), r.server.URL, token, made.Host, netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})); err != nil {
			t.Fatal(err)
		}
	}
	r.ok(nil, "PUT /v1/hosts/h3", `{"vtep":"192.0.2.3"}`)
	for id, spec := range map[string]string{
		"web-1":  `{"groups":["shop/web"],"host":"h1","addresses":["10.0.1.11"]}`,
		"db-1":   `{"groups":["shop/db"],"host":"h2","addresses":["10.0.1.12","fd00:0:0:1::12"]}`,
		"safe":   `{"groups":["shop/vault"],"host":"h2","addresses":["10.0.1.13"]}`,
		"idle":   `{"groups":["shop/db"],"addresses":["10.0.1.14"]}`,
		"new":    `{"groups":["shop/db"],"host":"h3","addresses":["10.0.1.15"]}`,
		"back-1": `{"groups":["shop/db"],"network":"back","host":"h2","addresses":["10.0.2.11"]}`,
	} {
		r.ok(nil, "PUT /v1/tenants/acme/endpoints/"+id, spec)
	}
	for query, want := range map[string]struct{ status, detail, host string }{
		"from=web-1&to=db-1":            {"found", "", "h2"},
		"from=db-1&to=front/10.0.1.11":  {"found", "", "h1"},
		"from=10.0.1.11&to=10.0.1.12":   {"found", "", "h2"},
		"from=web-1&to=safe":            {"found", "", ""},
		"from=web-1&to=idle":            {"no-endpoint", "bound to no host", ""},
		"from=web-1&to=new":             {"no-endpoint", "has not joined", ""},
		"from=web-1&to=10.0.1.99":       {"no-endpoint", "nobody has", ""},
		"from=web-1&to=front/10.0.1.99": {"no-endpoint", "nobody has", ""},
		"from=web-1&to=back-1":          {"no-route", "nobody has 10.0.2.11 on network acme/front", ""},
		"from=idle&to=db-1":             {"refused", "bound to no host", ""},
		"from=new&to=db-1":              {"refused", "has not joined", ""},
	} {
		var got Resolution
		a := r.ok(&got, "GET /v1/tenants/acme/resolutions?"+query, "")
		if got.Status != want.status || !strings.Contains(got.Detail, want.detail) || got.Revision != r.backend.World().Revision() {
			t.Errorf("%s: %s", query, a.text)
			continue
		}
		if (got.Status == "found") != (got.Peer != nil && got.Forth != nil && got.Back != nil) {
			t.Errorf("%s: %s", query, a.text)
		} else if got.Peer != nil && (string(got.Peer.Host) != want.host || got.Peer.Withheld != (want.host == "") || got.Peer.Withheld != (got.Peer.VTEP == "") || got.Peer.Withheld != (got.Peer.Why != "")) {
			t.Errorf("%s: peer %+v", query, got.Peer)
		}
	}
	var got Resolution
	r.ok(&got, "GET /v1/tenants/acme/resolutions?from=web-1&to=db-1", "")
	var why Why
	r.ok(&why, "GET /v1/tenants/acme/why?from=web-1&to=db-1&proto=tcp&port=5432&live=false", "")
	if got.Forth.Digest != why.Forth || got.Back.Digest != why.Back || !slices.Contains(got.Forth.Ranges, "tcp/5432-5432 allow shop/web-db") || got.Forth.Default != "deny default-deny" || got.Forth.From != got.Back.To {
		t.Errorf("forth %+v, back %+v, why %+v", got.Forth, got.Back, why)
	}
	r.refused(404, "GET /v1/tenants/acme/resolutions?from=nobody&to=db-1", "")
	r.refused(404, "GET /v1/tenants/acme/resolutions?from=web-1&to=nobody", "")
	r.refused(422, "GET /v1/tenants/acme/resolutions?from=web-1&to=fd00:0:0:1::12", "")
	r.refused(422, "GET /v1/tenants/acme/resolutions?from=web-1&to=a/b/c", "")
	r.refused(404, "GET /v1/tenants/acme/resolutions?from=web-1&to=nowhere/10.0.1.2", "")
	r.refused(404, "GET /v1/tenants/acme/resolutions?from=web-1&to=fe80::1%25eth0", "")
	r.refused(422, "GET /v1/tenants/acme/resolutions?from=web-1", "")
}

// TestEnded reads which policies have ended: those that the DPC has ended, not those
// that are about to.
func TestEnded(t *testing.T) {
	r := newRig(t)
	r.ok(nil, "PUT /v1/tenants/acme", "")
	text := fmt.Sprintf(`{apiVersion: dove/v1, kind: Blueprint, name: shop, networks: {net: {subnets: [10.0.0.0/24]}}, groups: {all: {network: net}},
policies: [{name: past, from: all, to: all, allow: [tcp/1], until: %q}, {name: soon, from: all, to: all, allow: [tcp/2], until: %q}, {name: stay, from: all, to: all, allow: [tcp/3]}]}`,
		r.now.Add(-time.Hour).Format(time.RFC3339), r.now.Add(time.Hour).Format(time.RFC3339))
	r.ok(nil, "PUT /v1/tenants/acme/blueprints/shop", text, "Content-Type: application/yaml")
	is := func(want ...string) {
		t.Helper()
		var b Blueprint
		r.ok(&b, "GET /v1/tenants/acme/blueprints/shop", "")
		var all List[Blueprint]
		r.ok(&all, "GET /v1/tenants/acme/blueprints", "")
		if !slices.Equal(b.Ended, want) || !slices.Equal(all.Items[0].Ended, want) {
			t.Errorf("ended are %v and %v, want %v", b.Ended, all.Items[0].Ended, want)
		}
	}
	is("past")
	r.now = r.now.Add(2 * time.Hour)
	is("past")
	if _, err := r.backend.Edit(t.Context(), func(w *world.World) (dove.Txn, error) {
		return edit.SweepEdge(w, dove.Domain{Tenant: "acme", Name: "shop"}, r.now)
	}); err != nil {
		t.Fatal(err)
	}
	is("past", "soon")
}
