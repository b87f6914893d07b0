package api

import (
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

func TestShadows(t *testing.T) {
	r := liveRig(t)
	r.ok(nil, "PUT /v1/tenants/a/blueprints/trial", `
apiVersion: dove/v1
kind: Blueprint
name: trial
domain: shop
policies:
  - {name: shut, from: shop/web, to: shop/db, deny: tcp/22, shadow: true}
  - {name: open, from: shop/web, to: shop/db, allow: tcp/80, shadow: true}
  - {name: real, from: shop/web, to: shop/db, deny: tcp/23}
`, "Content-Type: application/yaml")
	r.backend.shadows = control.ShadowList{
		Revision: 9, Unanswered: []dove.HostName{"h2"},
		Shadows: []control.LiveShadow{
			{Rule: "forged/rule", Deny: 1 << 40},
			{Rule: "trial/open", Age: time.Hour, Allow: 3},
			{Rule: "trial/open & trial/shut", Age: time.Minute, Allow: 1, Same: 2, Examples: []control.FlowNews{{
				Event: &control.FlowEvent{What: control.FlowDenied, Rule: "default-deny", Tuple: control.Tuple{Protocol: dove.ProtocolTCP, DstPort: 80}},
				From:  dove.Endpoint{Tenant: "a", ID: "web-1"}, Host: "h1",
			}}},
		},
	}
	var all Shadows
	r.ok(&all, "GET /v1/tenants/a/shadows", "")
	if len(all.Items) != 2 || len(all.Unanswered) != 1 || len(all.NoSession) != 1 {
		t.Fatalf("%+v", all)
	}
	open, shut := all.Items[0], all.Items[1]
	if open.Policy != "trial/open" || open.Allow != 4 || open.Same != 2 || open.Deny != 0 || len(open.Examples) != 1 || time.Since(*open.Since) < time.Hour {
		t.Errorf("open: %+v", open)
	}
	if e := open.Examples[0]; e.Allowed || e.Rule != "default-deny" || e.From != "web-1" || e.DstPort != 80 || e.Host != "h1" {
		t.Errorf("its example: %+v", e)
	}
	if shut.Policy != "trial/shut" || shut.Allow != 1 || shut.Same != 2 {
		t.Errorf("shut: %+v", shut)
	}
	for query, n := range map[string]int{"?blueprint=trial": 2, "?blueprint=trial&policy=shut": 1, "?blueprint=shop": 0, "?policy=real": 0} {
		var some Shadows
		r.ok(&some, "GET /v1/tenants/a/shadows"+query, "")
		if len(some.Items) != n {
			t.Errorf("%s: %+v, meant: %d", query, some.Items, n)
		}
	}
	r.refused(422, "GET /v1/tenants/a/shadows?blueprint=none", "")
	r.refused(422, "GET /v1/tenants/a/shadows?policy=none", "")
}

// TestWhySaysWhatIsInShadow beside the verdict.
func TestWhySaysWhatIsInShadow(t *testing.T) {
	r := liveRig(t)
	r.ok(nil, "PUT /v1/tenants/a/blueprints/trial", `
apiVersion: dove/v1
kind: Blueprint
name: trial
domain: shop
policies:
  - {name: shut, from: shop/web, to: shop/db, deny: tcp/5432, shadow: true}
`, "Content-Type: application/yaml")
	var why Why
	r.ok(&why, "GET /v1/tenants/a/why?from=web-1&to=db-1&proto=tcp&port=5432&live=false", "")
	if !why.Allowed || why.Shadow == nil || why.Shadow.Allowed || why.Shadow.Rule != "trial/shut" {
		t.Errorf("%+v", why)
	}
	var other Why
	r.ok(&other, "GET /v1/tenants/a/why?from=web-1&to=db-1&proto=tcp&port=80&live=false", "")
	if other.Shadow != nil {
		t.Errorf("%+v", other)
	}
}
