package blueprint

import (
	"strings"
	"testing"
	"time"

	"dove.network/dove"
)

// Policies of one tier and priority that disagree about what both can match are
// refused, whichever of their blueprints is written.
func TestPrioritiesThatDisagree(t *testing.T) {
	tenant := func(b string) *Blueprint {
		return parse(t, `name: shop
networks: {n: {subnets: [10.0.1.0/24]}}
outside: {office: {prefixes: [10.9.0.0/24], except: [10.9.0.128/25]}, branch: {prefixes: [10.9.0.128/26]}}
groups: {a: {selector: {matchLabels: {app: a}}}, b: {selector: {matchLabels: {app: `+b+`}}}, c: {}, d: {}}
`)
	}
	head := "name: op\ndomain: shop\ntier: provider\npolicies:\n"
	line := func(name, from, to, rest string) string {
		return "  - {name: " + name + ", from: " + from + ", to: " + to + ", " + rest + "}\n"
	}
	tests := []struct{ name, p, o, want string }{
		{"groups that share members", line("p", "shop/c", "any", "allow: tcp/80, priority: 5"), line("q", "shop/d", "any", "deny: tcp/80-90, priority: 5"), "op/q and op/p of priority 5 disagree: tcp/80 from shop/d in shop/c to any is one's deny and the other's allow"},
		{"another priority", line("p", "shop/c", "any", "allow: tcp/80, priority: 5"), line("q", "shop/d", "any", "deny: tcp/80, priority: 6"), ""},
		{"selectors that exclude each other", line("p", "shop/a", "any", "allow: tcp/80, priority: 5"), line("q", "shop/b", "any", "deny: tcp/80, priority: 5"), ""},
		{"what the one outside is without", line("p", "shop/office", "any", "allow: tcp/80, priority: 5"), line("q", "shop/branch", "any", "deny: tcp/80, priority: 5"), ""},
		{"an outside and a group", line("p", "shop/office", "any", "pass: tcp/80, priority: 5"), line("q", "shop/a", "any", "deny: any, priority: 5"), "tcp/80 from shop/a in shop/office"},
		{"one action", line("p", "shop/c", "any", "allow: tcp/80, priority: 5"), line("q", "any", "any", "allow: any, priority: 5"), ""},
		{"other ports", line("p", "shop/c", "any", "allow: tcp/80, priority: 5"), line("q", "any", "any", "deny: [tcp/81, udp], priority: 5"), ""},
		{"a named port may be any", line("p", "shop/c", "any", "allow: tcp/http, priority: 5"), line("q", "any", "any", "deny: tcp/81, priority: 5"), "tcp/http from shop/c"},
		{"one of many ports", line("p", "shop/c", "any", "allow: [icmp/3, tcp/10-90, tcp/20, tcp/95, udp/7], priority: 5"), line("q", "shop/c", "any", "deny: [icmp/8, tcp/5, tcp/91-94, udp/1-6, udp/7-9], priority: 5"), "udp/7 from shop/c"},
		{"none of many ports", line("p", "shop/c", "any", "allow: [icmp/3, tcp/10-90, tcp/20, tcp/95, udp/7, udp/dns], priority: 5"), line("q", "shop/c", "any", "deny: [icmp/8, tcp/5, tcp/91-94, sctp, proto/47], priority: 5"), ""},
		{"both say two things", line("p", "shop/c", "any", "allow: tcp/1, deny: udp/1, priority: 5"), line("q", "shop/c", "any", "allow: udp/1, deny: tcp/2, priority: 5"), "udp/1 from shop/c"},
		{"other sides", line("p", "shop/c", "any", "allow: tcp/80, priority: 5, side: egress"), line("q", "any", "any", "deny: any, priority: 5, side: ingress"), ""},
		{"other families", line("p", "shop/c", "any", "allow: tcp/80, priority: 5, family: ipv4"), line("q", "any", "any", "deny: any, priority: 5, family: ipv6"), ""},
		{"one's side", line("p", "shop/c", "any", "allow: tcp/80, priority: 5"), line("q", "any", "any", "deny: any, priority: 5, side: ingress"), "disagree"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			said := func(err error) {
				t.Helper()
				if (err != nil) != (tt.want != "") || err != nil && (dove.KindOf(err) != dove.Conflict || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("%v, want an error that says %q", err, tt.want)
				}
			}
			others := Context{Blueprints: []*Blueprint{tenant("b")}, Networks: map[string]ExistingNetwork{"n": {Blueprint: "shop", Domain: "shop"}}}
			said(Check(parse(t, head+tt.p+tt.o), others))
			others.Blueprints = append(others.Blueprints, parse(t, strings.Replace(head, "op", "zoo", 1)+tt.p))
			tt.want = strings.NewReplacer("op/q and op/p", "op/q and zoo/p").Replace(tt.want)
			said(Check(parse(t, head+tt.o), others))
		})
	}

	// One that has ended contradicts nothing, one that will end does.
	for ended, want := range map[string]bool{"2026-01-01T00:00:00Z": false, "2025-12-31T23:59:59Z": true} {
		at, err := time.Parse(time.RFC3339, ended)
		if err != nil {
			t.Fatal(err)
		}
		other := parse(t, strings.Replace(head, "op", "zoo", 1)+line("p", "shop/c", "any", `allow: tcp/80, priority: 5, until: "2026-01-01T00:00:00Z"`))
		err = Check(parse(t, head+line("q", "shop/c", "any", "deny: any, priority: 5")), Context{Blueprints: []*Blueprint{tenant("b"), other}, Ended: at})
		if (err != nil) != want {
			t.Errorf("ended up to %s: %v", ended, err)
		}
	}

	// Nobody writes the policies, but the selectors that kept them apart.
	op := parse(t, head+line("p", "shop/a", "any", "allow: tcp/80, priority: 5")+line("q", "shop/b", "any", "deny: tcp/80, priority: 5"))
	if err := Check(tenant("b"), Context{Blueprints: []*Blueprint{op}}); err != nil {
		t.Errorf("selectors that exclude each other still: %v", err)
	}
	err := Check(tenant("a"), Context{Blueprints: []*Blueprint{op}})
	if dove.KindOf(err) != dove.Conflict || !strings.Contains(err.Error(), "6:9: groups: policies op/p and op/q of priority 5 disagree: tcp/80") {
		t.Errorf("selectors that meet now: %v", err)
	}
	// A blueprint that has no part in it is not held up.
	if err := Check(parse(t, "name: z\ndomain: shop\n"), Context{Blueprints: []*Blueprint{op, tenant("a")}}); err != nil {
		t.Errorf("another blueprint: %v", err)
	}
}

// A text from before "any" had a meaning may have a group of that name: it is read
// as it was meant, and not taken anew.
func TestGroupCalledAny(t *testing.T) {
	b := parse(t, "name: shop\ngroups: {any: {}, web: {}}\npolicies: [{name: p, from: any, to: web, allow: tcp/80}]\n")
	if got := b.Policies[0].From[0]; got != group("shop", "any") {
		t.Errorf("any is %v", got)
	}
	if err := Check(b, Context{}); dove.KindOf(err) != dove.Invalid || !strings.Contains(err.Error(), "any") {
		t.Errorf("it is taken: %v", err)
	}
}
