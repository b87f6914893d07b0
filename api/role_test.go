package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"dove.network/dove"
)

// forTenants are the operations for which a tenant's token is enough. Another one
// comes here by a decision, not by itself.
var forTenants = []string{
	"delete-blueprint", "delete-network", "delete-router", "get-blueprint", "get-endpoint", "get-network", "get-receipt", "get-router", "get-tenant",
	"import", "list-blueprints", "list-endpoints", "list-flows", "list-networks", "list-routers", "list-shadows", "plan", "put-blueprint", "put-blueprints", "put-network", "put-router",
	"validate", "watch-flows", "watch-tenant", "why",
}

// tokenOf makes a tenant's token and returns the header with it.
func (r *rig) tokenOf(t dove.Tenant) string {
	r.t.Helper()
	var made APIToken
	r.ok(&made, "POST /v1/tokens?tenant="+string(t), "")
	if made.Tenant != t || !strings.HasPrefix(made.Token, "dove-tenant.") {
		r.t.Fatalf("made %+v", made)
	}
	return "Authorization: Bearer " + made.Token
}

// TestRoles sends every operation with a tenant's token: all are refused for another
// tenant, and those that are not for tenants for its own, before anything else is judged.
func TestRoles(t *testing.T) {
	r := newRig(t)
	r.populate()
	acme, bolt := r.tokenOf("acme"), r.tokenOf("bolt")
	config := r.config
	config.Log = slog.New(slog.DiscardHandler)
	_, api := build(Config{Version: "test"})
	w := &walker{rig: r, handler: New(config), schemas: api.OpenAPI().Components.Schemas}
	var open []string
	for _, w.op = range operations() {
		if len(w.op.Security) == 0 {
			continue
		}
		mine := slices.Equal(w.op.Security[0][bearer], []string{asTenant})
		if mine {
			open = append(open, w.op.OperationID)
		}
		if strings.Contains(w.op.Path, "{tenant}") {
			// good names acme: a bolt's token is refused whatever is asked, and says whose it is.
			for _, body := range []string{w.example(), "", "{", long} {
				a := w.send(t, w.target("", ""), body, w.media(), bolt)
				if a.Code != http.StatusForbidden || !strings.Contains(a.Body.String(), `bolt`) || strings.Contains(a.Body.String(), "web-1") {
					t.Errorf("%s by bolt: %d %.200s", w.op.OperationID, a.Code, a.Body)
				}
			}
			for _, odd := range []string{"Acme", "acme%20", "bolt/../acme", "..%2facme", "*", ""} {
				if a := w.send(t, w.target("tenant", odd), w.example(), w.media(), bolt); a.Code < 300 {
					t.Errorf("%s of %q by bolt: %d %.200s", w.op.OperationID, odd, a.Code, a.Body)
				}
			}
		} else if mine && w.op.OperationID != "get-receipt" {
			t.Errorf("%s is for tenants, and its path names none", w.op.OperationID)
		}
		if strings.Contains(w.op.OperationID, "watch") {
			continue // they never end
		}
		a := w.send(t, w.target("", ""), w.example(), w.media(), acme)
		if forbidden := a.Code == http.StatusForbidden; forbidden == mine {
			t.Errorf("%s by acme itself: %d %.200s", w.op.OperationID, a.Code, a.Body)
		}
	}
	slices.Sort(open)
	if !slices.Equal(open, forTenants) {
		t.Errorf("for tenants are\n%q, meant\n%q", open, forTenants)
	}
}

// TestTiers lets a tenant write its own tier alone, whatever it calls the blueprint.
func TestTiers(t *testing.T) {
	r := newRig(t)
	r.ok(nil, "PUT /v1/tenants/acme", "")
	acme := r.tokenOf("acme")
	const yaml = "Content-Type: application/yaml"
	text := func(name, tier string) string {
		return fmt.Sprintf("{apiVersion: dove/v1, kind: Blueprint, name: %s, domain: shop, tier: %s, policies: [{name: p, from: any, to: any, deny: tcp/23%s}]}",
			name, tier, map[bool]string{true: ", priority: 1"}[tier != "tenant"])
	}
	at := func(name string) string { return "/v1/tenants/acme/blueprints/" + name }
	r.ok(nil, "PUT "+at("shop"), shop, yaml, acme)
	for _, tier := range []string{"provider", "baseline"} {
		r.ok(nil, "PUT "+at("law-"+tier), text("law-"+tier, tier), yaml)
		before := r.backend.World().Revision()
		for what, body := range map[string]string{
			"PUT " + at("mine"):                    text("mine", tier),
			"PUT " + at("shop"):                    text("shop", tier),
			"PUT " + at("law-"+tier):               text("law-"+tier, "tenant"),
			"PUT " + at("law-"+tier) + "?plan=1-a": text("law-"+tier, tier), // the same text
			"DELETE " + at("law-"+tier):            "",
			"POST /v1/tenants/acme/plan":           text("mine", tier),
			"POST /v1/tenants/acme/validate":       text("mine", tier),
			"POST /v1/tenants/acme/blueprints":     text("other", "tenant") + "\n---\n" + text("mine", tier),
		} {
			if p := r.refused(403, what, body, yaml, acme); !strings.Contains(p.Detail, tier) {
				t.Errorf("%s: %+v", what, p)
			}
		}
		if now := r.backend.World().Revision(); now != before {
			t.Errorf("what was refused moved the world from %d to %d", before, now)
		}
		r.ok(nil, "GET "+at("law-"+tier), "", acme)
		r.ok(nil, "DELETE "+at("law-"+tier), "")
	}
	r.ok(nil, "DELETE "+at("shop"), "", acme)
}

// TestTenantToken makes and ends tokens of tenants.
func TestTenantToken(t *testing.T) {
	r := newRig(t)
	r.refused(404, "POST /v1/tokens?tenant=acme", "")
	r.ok(nil, "PUT /v1/tenants/acme", "")
	acme := r.tokenOf("acme")
	r.refused(403, "POST /v1/tokens", "", acme)
	r.refused(403, "POST /v1/tokens?tenant=acme", "", acme)
	r.refused(403, "GET /v1/tokens", "", acme)
	var all List[Token]
	r.ok(&all, "GET /v1/tokens", "")
	i := slices.IndexFunc(all.Items, func(t Token) bool { return t.Tenant == "acme" })
	if len(all.Items) != 2 || i < 0 {
		t.Fatalf("tokens %+v", all.Items)
	}
	mine, admin := all.Items[i].ID, all.Items[1-i].ID
	// Whoever says that it is an administrator's is not believed.
	r.refused(401, "GET /v1/tenants/acme", "", strings.Replace(acme, "dove-tenant", "dove-admin", 1))
	// It is no other administrator, and a tenant with one is not gone.
	r.refused(409, "DELETE /v1/tokens/"+admin, "")
	if p := r.refused(409, "DELETE /v1/tenants/acme", ""); !strings.Contains(fmt.Sprint(p), "token") {
		t.Errorf("%+v", p)
	}
	r.ok(nil, "GET /v1/tenants/acme", "", acme)
	r.ok(nil, "DELETE /v1/tokens/"+mine, "")
	r.refused(401, "GET /v1/tenants/acme", "", acme)
	r.ok(nil, "DELETE /v1/tenants/acme", "")
}
