package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

var update = flag.Bool("update", false, "rewrite openapi.yaml")

const shop = `apiVersion: dove/v1
kind: Blueprint
name: shop
networks:
  front: {subnets: [10.0.1.0/24, "fd00:0:0:1::/64"]}
groups:
  web: {network: front}
  db: {network: front}
policies:
  - {name: web-db, from: web, to: db, allow: [tcp/5432]}
`

func TestDescription(t *testing.T) {
	got, err := Description()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("openapi.yaml", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("openapi.yaml is not what the code says: run go test ./api -update and read the difference")
	}
	again, err := Description()
	if err != nil || !bytes.Equal(got, again) {
		t.Errorf("two descriptions differ (%v)", err)
	}
}

func TestLife(t *testing.T) {
	r := newRig(t)
	var tenant Tenant
	made := r.ok(&tenant, "PUT /v1/tenants/acme", "")
	if again := r.ok(nil, "PUT /v1/tenants/acme", ""); again.text != made.text || made.header.Get("ETag") != again.header.Get("ETag") {
		t.Errorf("the same tenant again: %s, then %s", made.text, again.text)
	}

	var plan Plan
	r.ok(&plan, "POST /v1/tenants/acme/plan", shop, "Content-Type: application/yaml")
	if doc := plan.Documents[0]; doc.Blueprint != "shop" || doc.Current != 0 || len(doc.Networks) != 1 || doc.Networks[0].Op != "added" || len(doc.Changes) == 0 {
		t.Errorf("plan %+v", plan)
	}
	var valid Valid
	r.ok(&valid, "POST /v1/tenants/acme/validate", shop, "Content-Type: text/plain")
	var bp Blueprint
	r.ok(&bp, "PUT /v1/tenants/acme/blueprints/shop", shop, "Content-Type: application/yaml", "If-None-Match: *")
	if bp.Text != shop || bp.Revision == 0 {
		t.Errorf("blueprint %+v", bp)
	}
	text := r.ok(nil, "GET /v1/tenants/acme/blueprints/shop", "", "Accept: application/yaml")
	if text.text != shop || text.header.Get("Content-Type") != "application/yaml" || text.header.Get("ETag") != etag(bp.Revision) {
		t.Errorf("text comes back as %v", text)
	}
	var read Blueprint
	r.ok(&read, "GET /v1/tenants/acme/blueprints/shop", "")
	if !reflect.DeepEqual(read, bp) {
		t.Errorf("reads %+v, wrote %+v", read, bp)
	}
	var network Network
	r.ok(&network, "GET /v1/tenants/acme/networks/front", "")
	if network.Blueprint != "shop" || network.VNI == 0 || !slices.Equal(network.Subnets, []string{"10.0.1.0/24", "fd00:0:0:1::/64"}) {
		t.Errorf("network %+v", network)
	}

	r.ok(nil, "PUT /v1/hosts/h1", `{"vtep":"192.0.2.1"}`)
	var e Endpoint
	first := r.ok(&e, "PUT /v1/tenants/acme/endpoints/web-1", `{"groups":["shop/web"],"host":"h1"}`)
	if !slices.Equal(e.Addresses, []string{"10.0.1.2", "fd00:0:0:1::2"}) || e.Network != "front" || e.State != "unknown" || e.Epoch == 0 {
		t.Errorf("endpoint %+v", e)
	}
	r.backend.sessions = []control.SessionStatus{{Host: "h1", Endpoints: []control.EndpointUpdate{
		{Endpoint: dove.Endpoint{Tenant: "acme", ID: "web-1"}, Epoch: e.Epoch, State: control.EndpointActive, Device: "tapweb-1"},
	}}}
	if r.ok(&e, "GET /v1/tenants/acme/endpoints/web-1", ""); e.State != "active" {
		t.Errorf("endpoint %+v", e)
	}
	e = Endpoint{}
	r.ok(&e, "DELETE /v1/tenants/acme/endpoints/web-1/binding", "")
	if e.Host != "" || e.State != "unbound" {
		t.Errorf("unbound endpoint %+v", e)
	}
	r.ok(&e, "PUT /v1/tenants/acme/endpoints/web-1/binding", `{"host":"h1"}`)
	if e.Host != "h1" || e.State != "unknown" { // what the host said was of an earlier epoch
		t.Errorf("bound endpoint %+v", e)
	}
	r.refused(412, "DELETE /v1/tenants/acme/endpoints/web-1", "", "If-Match: "+first.header.Get("ETag"))
	r.refused(409, "DELETE /v1/tenants/acme", "")
	r.refused(409, "DELETE /v1/hosts/h1", "")
	r.refused(409, "DELETE /v1/tenants/acme/blueprints/shop", "")
	r.refused(409, "DELETE /v1/tenants/acme/networks/front", "")
	r.ok(nil, "DELETE /v1/tenants/acme/endpoints/web-1", "", "If-Match: "+etag(e.Revision))
	r.ok(nil, "DELETE /v1/tenants/acme/blueprints/shop", "")
	r.ok(nil, "PUT /v1/tenants/acme/networks/back", `{"domain":"shop","subnets":["10.0.2.0/24"]}`)
	r.ok(nil, "PUT /v1/tenants/acme/networks/front", `{"domain":"shop","subnets":["10.0.1.0/24","fd00:0:0:1::/64"]}`)
	r.refused(409, "PUT /v1/tenants/acme/routers/core", `{"networks":["back","front"],"addresses":{"back":["10.0.9.9"]}}`)
	r.ok(nil, "PUT /v1/tenants/acme/routers/core", `{"networks":["back","front"]}`)
	r.ok(nil, "PUT /v1/tenants/acme/routers/core", `{"networks":["back","front"],"routes":[{"to":"10.9.0.0/16","via":["10.0.2.9"]}]}`)
	var router Router
	r.ok(&router, "GET /v1/tenants/acme/routers/core", "")
	if router.Domain != "shop" || len(router.Interfaces) != 2 || !slices.Equal(router.Interfaces[1].Addresses, []string{"10.0.1.1", "fd00:0:0:1::1"}) || len(router.Routes) != 1 || router.Routes[0].To != "10.9.0.0/16" {
		t.Errorf("router %+v", router)
	}
	r.refused(409, "DELETE /v1/tenants/acme/networks/back", "")
	r.ok(nil, "DELETE /v1/tenants/acme/routers/core", "")
	r.ok(nil, "DELETE /v1/tenants/acme/networks/front", "")
	r.ok(nil, "DELETE /v1/tenants/acme/networks/back", "")
	r.ok(nil, "DELETE /v1/hosts/h1", "")
	done := r.ok(nil, "DELETE /v1/tenants/acme", "")
	if want := etag(r.backend.w.Revision()); done.header.Get("ETag") != want {
		t.Errorf("the last write has ETag %s, not %s", done.header.Get("ETag"), want)
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	r.ok(nil, "PUT /v1/tenants/acme", "")
	r.ok(nil, "PUT /v1/tenants/acme/blueprints/shop", shop)
	before := r.backend.World().Revision()
	yaml := "Content-Type: application/yaml"

	r.refused(404, "GET /v1/tenants/nobody", "")
	r.refused(404, "GET /v1/tenants/nobody/endpoints", "")
	r.refused(404, "GET /v1/tenants/acme/endpoints/nothing", "")
	r.refused(404, "GET /v1/hosts/nothing", "")
	r.refused(404, "GET /v1/nothing", "")
	r.refused(404, "DELETE /v1/tenants/nobody", "")
	r.refused(405, "PATCH /v1/tenants/acme", "")
	r.refused(422, "PUT /v1/tenants/Acme", "")
	r.refused(422, "GET /v1/tenants?limit=0", "")
	r.refused(422, "GET /v1/tenants?limits=1", "")
	r.refused(412, "PUT /v1/tenants/acme", "", "If-None-Match: *")
	r.refused(412, "PUT /v1/tenants/acme", "", "If-Match: \"99\"")
	r.refused(422, "PUT /v1/tenants/acme", "", "If-Match: *")
	r.refused(422, "PUT /v1/tenants/acme", "", "If-Match: \"1\"", "If-None-Match: *")
	r.refused(400, "PUT /v1/hosts/h1", "{")
	r.refused(422, "PUT /v1/hosts/h1", `{"vtep":"nonsense"}`)
	r.refused(422, "PUT /v1/hosts/h1", `{"vtep":"224.0.0.1"}`)
	r.refused(413, "PUT /v1/hosts/h1", `{"vtep":"`+strings.Repeat("1", BodyMax)+`"}`)
	r.refused(413, "PUT /v1/tenants/acme/blueprints/shop", strings.Repeat("#", TextMax), yaml)
	r.refused(400, "PUT /v1/tenants/acme/blueprints/shop", "", yaml)
	r.refused(422, "PUT /v1/tenants/acme/blueprints/other", shop, yaml)
	r.refused(404, "GET /v1/receipts/99999", "")
	r.refused(422, "GET /v1/receipts/1?wait=6m", "")
	r.refused(422, "GET /v1/receipts/one", "")

	unknown := r.refused(422, "PUT /v1/tenants/acme/endpoints/e1", `{"groups":["shop/web"],"hosts":"h1"}`)
	if len(unknown.Errors) != 1 || unknown.Errors[0].Path != "hosts" {
		t.Errorf("unknown key: %+v", unknown.Errors)
	}
	many := r.refused(422, "PUT /v1/tenants/acme/endpoints/e1", `{"groups":["shop/web","shop/wab"],"addresses":["10.9.9.9","x"],"mac":"zz"}`)
	if len(many.Errors) < 4 {
		t.Errorf("not all faults at once: %+v", many.Errors)
	}

	broken := strings.Replace(shop, "to: db", "to: bd, though: [x]", 1)
	broken = strings.Replace(broken, "10.0.1.0/24", "10.0.1.7/24", 1)
	p := r.refused(422, "PUT /v1/tenants/acme/blueprints/shop", broken, yaml)
	at := map[int]bool{}
	for _, f := range p.Errors {
		if f.Line == 0 || f.Column == 0 || f.Path == "" || f.Message == "" {
			t.Errorf("fault without place: %+v", f)
		}
		at[f.Line] = true
	}
	if !at[5] || !at[10] {
		t.Errorf("faults %+v do not name lines 5 and 10", p.Errors)
	}
	if validated := r.refused(422, "POST /v1/tenants/acme/validate", broken, yaml); !slices.Equal(validated.Errors, p.Errors) {
		t.Error("validate and apply disagree")
	}
	unsupported := r.refused(422, "POST /v1/tenants/acme/plan", shop+"services: {fw: {}}\n", yaml)
	if unsupported.Kind != "unsupported" {
		t.Errorf("services: %+v", unsupported)
	}
	if now := r.backend.World().Revision(); now != before {
		t.Errorf("refused requests made revisions %d to %d", before+1, now)
	}

	r.backend.down = dove.Errorf(dove.Unavailable, "the store does not answer")
	r.refused(503, "GET /v1/tenants", "")
	r.refused(503, "PUT /v1/tenants/b", "")
	if a := r.do("GET /readyz", ""); a.status != 503 {
		t.Errorf("ready without a store: %+v", a)
	}
	if a := r.do("GET /healthz", ""); a.status != 200 {
		t.Errorf("not alive without a store: %+v", a)
	}
	r.backend.down = context.DeadlineExceeded
	r.refused(503, "GET /v1/tenants", "")
	r.backend.down = os.ErrPermission
	if p := r.refused(500, "GET /v1/tenants", ""); strings.Contains(p.Detail, "permission") {
		t.Errorf("internal detail reaches the client: %s", p.Detail)
	}
}

func TestBearer(t *testing.T) {
	r := newRig(t)
	other, err := auth.NewToken(auth.AdminToken, auth.Pin{}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mine, err := auth.ParseToken(auth.AdminToken, r.token)
	if err != nil {
		t.Fatal(err)
	}
	forged := mine
	forged.Secret = other.Secret
	for name, header := range map[string]string{
		"nothing": "", "another scheme": "Basic " + r.token, "not a token": "Bearer x", "unknown": "Bearer " + other.Text(),
		"known id, other secret": "Bearer " + forged.Text(), "only the id": "Bearer " + mine.String(),
	} {
		for _, what := range []string{"GET /v1/status", "PUT /v1/tenants/x", "PUT /v1/tenants/x/blueprints/y"} {
			if p := r.refused(401, what, "", "Authorization: "+header); p.Kind != "unauthorized" {
				t.Errorf("%s: %+v", name, p)
			}
		}
	}
	for _, open := range []string{"/v1/version", "/openapi.json", "/openapi.yaml", "/docs", "/docs/docs.js", "/docs/docs.css", "/healthz", "/readyz"} {
		r.ok(nil, "GET "+open, "", "Authorization: ")
	}

	loaded := r.backend.w
	r.backend.w = world.New()
	r.refused(503, "GET /v1/status", "")
	r.backend.w, r.backend.loading = loaded, true
	r.refused(503, "GET /v1/status", "")
	r.backend.loading = false

	var second APIToken
	r.ok(&second, "POST /v1/tokens", "")
	r.ok(nil, "GET /v1/status", "", "Authorization: Bearer "+second.Token)
	r.ok(nil, "DELETE /v1/tokens/"+second.ID, "")
	r.refused(401, "GET /v1/status", "", "Authorization: Bearer "+second.Token)
	r.refused(404, "DELETE /v1/tokens/"+second.ID, "")
}

func TestJoin(t *testing.T) {
	r := newRig(t)
	vtep := netip.MustParseAddr("192.0.2.1")
	token := func(host string) auth.Token {
		var made JoinToken
		r.ok(&made, "POST /v1/hosts/"+host+"/token", `{"seconds":60}`)
		parsed, err := auth.ParseToken(auth.JoinToken, made.Token)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	join := func(token auth.Token, host dove.HostName, vtep string) (*auth.HostCredentials, error) {
		return auth.Join(t.Context(), r.server.URL, token, host, netip.MustParseAddr(vtep))
	}
	used := token("h1")
	credentials, err := join(used, "h1", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	host, _ := r.backend.World().Host("h1")
	if host.Serial != credentials.Identity.Serial || host.VTEP != vtep {
		t.Errorf("the world has %+v, the host %+v", host, credentials.Identity)
	}
	again, err := join(token("h1"), "h1", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	if host, _ := r.backend.World().Host("h1"); host.Serial != again.Identity.Serial || host.Serial == credentials.Identity.Serial {
		t.Errorf("joined again, but serial %s is valid", host.Serial)
	}

	wrongSecret, wrongPin, unused := token("h2"), token("h2"), token("h2")
	wrongSecret.Secret = unused.Secret
	wrongPin.Pin[0] ^= 1
	before := r.backend.World().Revision()
	for name, c := range map[string]struct {
		token auth.Token
		host  dove.HostName
		vtep  string
		says  string
	}{
		"a used token":         {used, "h1", "192.0.2.1", "not valid or was used"},
		"another's secret":     {wrongSecret, "h2", "192.0.2.2", "not valid or was used"},
		"another authority":    {wrongPin, "h2", "192.0.2.2", "somebody is in between"},
		"another host":         {unused, "h3", "192.0.2.2", `for host "h2"`},
		"a VTEP that is taken": {unused, "h2", "192.0.2.1", "192.0.2.1"},
		"a VTEP of nobody":     {unused, "h2", "224.0.0.1", "not one host's"},
	} {
		if _, err := join(c.token, c.host, c.vtep); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v does not say %q", name, err, c.says)
		}
	}
	if now := r.backend.World().Revision(); now != before {
		t.Errorf("refused joins made revisions %d to %d", before+1, now)
	}
	r.now = r.now.Add(61 * time.Second)
	if _, err := join(unused, "h2", "192.0.2.2"); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired token: %v", err)
	}
	r.refused(401, "POST /v1/join", `{"token":"x","host":"h2","vtep":"192.0.2.2","request":"x"}`, "Authorization: ")
	var listed List[Host]
	r.ok(&listed, "GET /v1/hosts", "")
	if len(listed.Items) != 1 || listed.Items[0].Name != "h1" {
		t.Errorf("hosts %+v", listed)
	}
}

func TestReceipt(t *testing.T) {
	r := newRig(t)
	var got control.Receipt
	if r.ok(&got, "GET /v1/receipts/1?wait=5m", ""); !got.Complete || got.Revision != 1 {
		t.Errorf("receipt %+v", got)
	}
	r.backend.receipt = control.Receipt{Told: 2, Pending: []dove.HostName{"h2"}}
	for _, wait := range []string{"", "?wait=0s", "?wait=10ms"} {
		if r.ok(&got, "GET /v1/receipts/1"+wait, ""); got.Complete || !slices.Equal(got.Pending, []dove.HostName{"h2"}) {
			t.Errorf("receipt%s %+v", wait, got)
		}
	}
	var status Status
	if r.ok(&status, "GET /v1/status", ""); status.Incarnation != "fedcba9876543210" || status.Member != "dpc1" || status.Sessions != 0 || status.Behind.First == nil {
		t.Errorf("status %+v", status)
	}
}

func TestLists(t *testing.T) {
	r := newRig(t)
	names := []string{"a", "a-b", "ab", "b", "z9"}
	for _, n := range names {
		r.ok(nil, "PUT /v1/tenants/"+n, "")
	}
	for limit := range 6 {
		var got []string
		for after := ""; ; {
			var page List[Tenant]
			r.ok(&page, "GET /v1/tenants?limit="+string(rune('1'+limit))+"&after="+after, "")
			for _, item := range page.Items {
				got = append(got, string(item.Name))
			}
			if after = page.Next; after == "" {
				break
			}
		}
		if !slices.Equal(got, names) {
			t.Errorf("in parts of %d: %v", limit+1, got)
		}
	}
	r.ok(nil, "PUT /v1/tenants/a/blueprints/shop", shop)
	for _, e := range []string{`web-1 "shop/web"`, `web-2 "shop/web"`, `db-1 "shop/db"`} {
		id, group, _ := strings.Cut(e, " ")
		r.ok(nil, "PUT /v1/tenants/a/endpoints/"+id, `{"groups":[`+group+`]}`)
	}
	for query, want := range map[string]int{"": 3, "?group=shop/web": 2, "?network=front": 3, "?group=shop/db&network=front": 1} {
		var page List[Endpoint]
		if r.ok(&page, "GET /v1/tenants/a/endpoints"+query, ""); len(page.Items) != want {
			t.Errorf("endpoints%s: %d, want %d", query, len(page.Items), want)
		}
	}
}

func TestWhy(t *testing.T) {
	r := newRig(t)
	r.ok(nil, "PUT /v1/tenants/a", "")
	r.ok(nil, "PUT /v1/tenants/a/blueprints/shop", shop)
	r.ok(nil, "PUT /v1/tenants/a/endpoints/web-1", `{"groups":["shop/web"]}`)
	r.ok(nil, "PUT /v1/tenants/a/endpoints/db-1", `{"groups":["shop/db"]}`)
	for query, want := range map[string]struct {
		allowed        bool
		rule, protocol string
		port           uint16
	}{
		"from=web-1&to=db-1&proto=tcp&port=5432":        {true, "shop/web-db", "tcp", 5432},
		"from=db-1&to=web-1&proto=6&port=5432":          {false, "default-deny", "tcp", 5432},
		"from=web-1&to=db-1&proto=icmp":                 {false, "default-deny", "icmp", echoRequest4},
		"from=web-1&to=front/fd00:0:0:1::3&proto=icmp":  {false, "default-deny", "icmpv6", echoRequest6},
		"from=web-1&to=db-1&proto=icmp&port=0":          {false, "default-deny", "icmp", 0},
		"from=10.0.1.2&to=10.0.1.3&proto=tcp&port=5432": {true, "shop/web-db", "tcp", 5432},
		"from=web-1&to=db-1&proto=47":                   {false, "default-deny", "47", 0},
	} {
		var why Why
		r.ok(&why, "GET /v1/tenants/a/why?"+query, "")
		if why.Allowed != want.allowed || why.Rule != want.rule || why.Protocol != want.protocol || why.Port != want.port {
			t.Errorf("%s: %+v", query, why)
		}
		// Neither endpoint is bound to a host.
		if why.Reaches || len(why.Obstacles) != 2 || why.Revision != r.backend.w.Revision() || why.From.Class == 0 || why.Forth == "" {
			t.Errorf("%s: %+v", query, why)
		}
	}
	for query, says := range map[string]string{
		"from=web-1&to=10.0.1.9&proto=tcp&port=1":   "no endpoint has address 10.0.1.9 on network a/front",
		"from=web-1&to=192.0.2.1&proto=tcp&port=1":  "there is no gateway to other addresses",
		"from=192.0.2.1&to=web-1&proto=tcp&port=80": "nobody has address 192.0.2.1",
	} {
		var why Why
		r.ok(&why, "GET /v1/tenants/a/why?"+query, "")
		if why.Reaches || len(why.Obstacles) != 2 || !strings.Contains(why.Obstacles[0], says) || why.From.Tenant != "a" || why.To.Tenant != "a" || why.Forth == "" {
			t.Errorf("%s: %+v", query, why)
		}
	}
	for query, status := range map[string]int{
		"from=web-1&to=db-1&proto=tcp":                  422,
		"from=web-1&to=db-1&proto=tcp&port=65536":       422,
		"from=web-1&to=db-1&proto=tcp&port=x":           422,
		"from=web-1&to=db-1&proto=any":                  422,
		"from=web-1&to=db-1&proto=x":                    422,
		"from=web-1&to=db-1&proto=47&port=1":            422,
		"from=web-1&to=db-1":                            422,
		"from=web-1&to=db-2&proto=tcp&port=1":           404,
		"from=10.0.1.8&to=10.0.1.9&proto=tcp&port=1":    404,
		"from=web-1&to=web-1/10.0.1.9&proto=tcp&port=1": 404,
		"from=Web&to=db-1&proto=tcp&port=1":             422,
		"from=web-1&to=db-1&proto=tcp&port=1&why=x":     422,
	} {
		r.refused(status, "GET /v1/tenants/a/why?"+query, "")
	}
	r.refused(404, "GET /v1/tenants/b/why?from=web-1&to=db-1&proto=tcp&port=1", "")
}

// TestManyEndpoints makes more endpoints at once than a transaction carries.
func TestManyEndpoints(t *testing.T) {
	r := newRig(t)
	r.ok(nil, "PUT /v1/tenants/a", "")
	r.ok(nil, "PUT /v1/tenants/a/blueprints/shop", shop)
	r.ok(nil, "PUT /v1/tenants/a/networks/wide", `{"domain":"shop","subnets":["10.8.0.0/16"]}`)
	items := func(n int, more ...string) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(`{"id":"e%d","groups":["shop/web"],"network":"wide"}`, i)
		}
		return `{"items":[` + strings.Join(append(list, more...), ",") + `]}`
	}
	var page List[Endpoint]
	wrong := r.refused(422, "POST /v1/tenants/a/endpoints", items(300, `{"id":"x","groups":["shop/none"]}`, `{"id":"y","groups":["shop/web"],"network":"wide","addresses":["10.8.0.2"]}`))
	if len(wrong.Errors) < 2 || wrong.Errors[0].Path != "items[300].groups[0]" || wrong.Errors[len(wrong.Errors)-1].Path != "items[301].addresses[0]" {
		t.Errorf("faults: %+v", wrong.Errors)
	}
	if r.ok(&page, "GET /v1/tenants/a/endpoints", ""); len(page.Items) != 0 {
		t.Errorf("%d were made of a list that is refused", len(page.Items))
	}
	var made Endpoints
	r.ok(&made, "POST /v1/tenants/a/endpoints", items(300))
	if r.ok(&page, "GET /v1/tenants/a/endpoints?limit=1000", ""); len(page.Items) != 300 || len(made.Items) != 300 {
		t.Fatalf("%d are there, %d are told", len(page.Items), len(made.Items))
	}
	revisions, addresses := map[dove.Revision]int{}, map[string]bool{}
	for _, e := range page.Items {
		revisions[e.Revision]++
		addresses[e.Addresses[0]] = true
	}
	if len(revisions) != 3 || len(addresses) != 300 || revisions[made.Revision] == 0 || made.Items[299].Revision != made.Revision {
		t.Errorf("revisions %v, %d addresses; told %d", revisions, len(addresses), made.Revision)
	}
	var again Endpoints
	if r.ok(&again, "POST /v1/tenants/a/endpoints", items(300)); again.Revision != made.Revision {
		t.Errorf("a repetition is revision %d, after %d", again.Revision, made.Revision)
	}
	// What others do in between stops it there, and it says how far it came.
	r.backend.meanwhile = func() { // the first part
		r.backend.meanwhile = func() { // the second one
			r.ok(nil, "PUT /v1/tenants/a/endpoints/thief", `{"groups":["shop/web"],"network":"wide","addresses":["10.8.9.9"]}`)
		}
	}
	late := r.refused(409, "POST /v1/tenants/a/endpoints", strings.ReplaceAll(items(200, `{"id":"z","groups":["shop/web"],"network":"wide","addresses":["10.8.9.9"]}`), `"e`, `"f`))
	r.ok(&page, "GET /v1/tenants/a/endpoints?limit=1000", "")
	if done := len(page.Items) - 301; done < 100 || len(late.Errors) != 1 || late.Errors[0].Path != "items[200].addresses[0]" || !strings.Contains(late.Detail, fmt.Sprintf("the first %d of 201 are done", done)) {
		t.Errorf("%d are done, it says %+v", done, late)
	}
}
