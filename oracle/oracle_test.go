package oracle

import (
	"net/netip"
	"testing"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
)

// The oracle is what all else is compared with, so its own answers are written
// out by hand, on one document that has every rule of the language.
const shop = `
apiVersion: dove/v1
kind: Blueprint
name: shop
groups:
  web: {}
  app: {}
  db: {isolated: true}
policies:
  - {name: web-app, from: web, to: app, allow: [tcp/8080-8089, icmp]}
  - {name: app-db, from: app, to: db, allow: [tcp/5432]}
  - {name: app-db-too, from: app, to: db, allow: [tcp]}
  - {name: no-admin, from: [web, app], to: [app, db], deny: [tcp/8088, udp/53]}
  - {name: tunnel, from: db, to: app, allow: [proto/47, icmpv6/128]}
  - {name: ops, from: [base/ops], to: [web, app, db], allow: [any]}
`

const base = `
apiVersion: dove/v1
kind: Blueprint
name: base
domain: shop
groups:
  ops: {}
policies:
  - {name: quiet, from: ops, to: ops, deny: [udp]}
`

func TestDecide(t *testing.T) {
	var all []*blueprint.Blueprint
	for _, text := range []string{shop, base} {
		b, err := blueprint.Parse("acme", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	groups := func(names ...string) []dove.Group {
		var list []dove.Group
		for _, name := range names {
			g, err := dove.ParseGroup("acme/" + name)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, g)
		}
		return list
	}
	web, app, db, ops := groups("shop/web"), groups("shop/app"), groups("shop/db"), groups("base/ops")

	tests := []struct {
		name     string
		src, dst []dove.Group
		protocol dove.Protocol
		port     uint16
		allow    bool
		rule     string
	}{
		{"a policy", web, app, dove.ProtocolTCP, 8080, true, "shop/web-app"},
		{"the end of its range", web, app, dove.ProtocolTCP, 8089, true, "shop/web-app"},
		{"before its range", web, app, dove.ProtocolTCP, 8079, false, DefaultDeny},
		{"after its range", web, app, dove.ProtocolTCP, 8090, false, DefaultDeny},
		{"another protocol", web, app, dove.ProtocolUDP, 8080, false, DefaultDeny},
		{"backwards", app, web, dove.ProtocolTCP, 8080, false, DefaultDeny},
		{"icmp is both", web, app, dove.ProtocolICMPv6, 128 << 8, true, "shop/web-app"},
		{"deny beats allow", web, app, dove.ProtocolTCP, 8088, false, "shop/no-admin"},
		{"deny names itself", web, db, dove.ProtocolUDP, 53, false, "shop/no-admin"},
		{"deny beats membership", app, app, dove.ProtocolTCP, 8088, false, "shop/no-admin"},
		{"membership", app, app, dove.ProtocolTCP, 1, true, "shop/app/members"},
		{"isolated", db, db, dove.ProtocolTCP, 5432, false, DefaultDeny},
		{"least name of two", app, db, dove.ProtocolTCP, 5432, true, "shop/app-db"},
		{"the wider of two", app, db, dove.ProtocolTCP, 5433, true, "shop/app-db-too"},
		{"a protocol by number", db, app, 47, 0, true, "shop/tunnel"},
		{"a type of ICMP", db, app, dove.ProtocolICMPv6, 128<<8 | 3, true, "shop/tunnel"},
		{"another type of ICMP", db, app, dove.ProtocolICMPv6, 129 << 8, false, DefaultDeny},
		{"a type of the other ICMP", db, app, dove.ProtocolICMP, 128 << 8, false, DefaultDeny},
		{"a group of another blueprint", ops, db, dove.ProtocolSCTP, 7, true, "shop/ops"},
		{"no group", nil, app, dove.ProtocolTCP, 8080, false, DefaultDeny},
		{"to no group", ops, nil, dove.ProtocolTCP, 8080, false, DefaultDeny},
		{"several groups", groups("shop/db", "shop/web"), app, dove.ProtocolTCP, 8081, true, "shop/web-app"},
		{"several groups, one open", groups("shop/db", "base/ops"), groups("base/ops", "shop/db"), dove.ProtocolTCP, 1, true, "base/ops/members"},
		{"a deny of another blueprint", ops, groups("base/ops", "shop/app"), dove.ProtocolUDP, 9, false, "base/quiet"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := Decide(all, time.Time{}, Packet{Src: End{Groups: tt.src}, Dst: End{Groups: tt.dst}, Protocol: tt.protocol, Port: tt.port})
			if want := (Answer{Allow: tt.allow, Rule: tt.rule}); a != want {
				t.Errorf("%+v, want %+v", a, want)
			}
		})
	}
}

// The rest of the language, by hand as well.
var language = []string{`
apiVersion: dove/v1
kind: Blueprint
name: shop
outside:
  office: {prefixes: [203.0.113.0/24, 10.0.1.0/28], except: [203.0.113.7/32]}
groups:
  all: {selector: {}, isolated: true}
  web: {selector: {matchLabels: {app: web}}, isolated: true}
  old: {selector: {matchExpressions: [{key: app, operator: Exists}, {key: new, operator: DoesNotExist}, {key: app, operator: NotIn, values: [web, db]}]}, isolated: true}
  shut: {isolated: true, default: {ingress: deny}}
  easy: {isolated: true, default: allow}
  plain: {isolated: true, stateless: true}
policies:
  - {name: office, from: office, to: web, allow: tcp/http, log: true}
  - {name: out, from: web, to: any, allow: udp/53, side: egress}
  - {name: in, from: any, to: old, allow: udp/53, side: ingress}
  - {name: ssh, from: all, to: plain, allow: tcp/22, until: "2026-01-01T00:00:00Z"}
  - {name: trial, from: web, to: web, allow: tcp/1, shadow: true}
  - {name: no-nine, from: web, to: web, deny: tcp/9}
`, `
apiVersion: dove/v1
kind: Blueprint
name: first
domain: shop
tier: provider
policies:
  - {name: pass, from: shop/web, to: shop/web, pass: tcp/9, priority: 5}
  - {name: yes, from: shop/web, to: shop/web, allow: tcp/9-10, priority: 6}
  - {name: no, from: shop/web, to: shop/web, deny: tcp/10, priority: 7}
`, `
apiVersion: dove/v1
kind: Blueprint
name: last
domain: shop
tier: baseline
policies:
  - {name: yes, from: any, to: any, allow: tcp/7, priority: 1}
  - {name: no, from: shop/easy, to: shop/easy, deny: tcp/8, priority: 1}
`}

func TestDecideInFull(t *testing.T) {
	var all []*blueprint.Blueprint
	for _, text := range language {
		b, err := blueprint.Parse("acme", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	end := func(app, addr string, groups ...string) End {
		e := End{Addr: netip.MustParseAddr(addr), Labels: map[string]string{}, Ports: map[string]dove.Port{"http": {Protocol: dove.ProtocolTCP, Number: 8080}}}
		if app != "" {
			e.Labels["app"] = app
		}
		for _, g := range groups {
			e.Groups = append(e.Groups, dove.Group{Tenant: "acme", Blueprint: "shop", Name: g})
		}
		return e
	}
	edge := time.Date(2025, 12, 31, 23, 59, 59, 0, time.UTC)
	web, old, no := end("web", "10.0.0.1"), end("x", "10.0.0.2"), end("", "10.0.0.3")
	open := no
	open.Open = true
	newer := old
	newer.Labels = map[string]string{"app": "x", "new": ""}
	for name, c := range map[string]struct {
		src, dst End
		protocol dove.Protocol
		port     uint16
		edge     time.Time
		want     Answer
	}{
		"an address of an outside":       {end("", "203.0.113.6"), web, 6, 8080, edge, Answer{Allow: true, Rule: "shop/office", Log: true}},
		"an address within the network":  {end("", "10.0.1.15"), web, 6, 8080, edge, Answer{Allow: true, Rule: "shop/office", Log: true}},
		"an address beside it":           {end("", "10.0.1.16"), web, 6, 8080, edge, Answer{Rule: DefaultDeny}},
		"an address that is excepted":    {end("", "203.0.113.7"), web, 6, 8080, edge, Answer{Rule: DefaultDeny}},
		"another port than the named":    {end("", "203.0.113.6"), web, 6, 80, edge, Answer{Rule: DefaultDeny}},
		"the named port of another":      {end("", "203.0.113.6"), web, 17, 8080, edge, Answer{Rule: DefaultDeny}},
		"both sides, by two policies":    {web, old, 17, 53, edge, Answer{Allow: true, Rule: "shop/out & shop/in"}},
		"one side only":                  {web, no, 17, 53, edge, Answer{Rule: DefaultDeny}},
		"a label too many":               {web, newer, 17, 53, edge, Answer{Rule: DefaultDeny}},
		"before it ends":                 {no, end("", "10.0.0.9", "plain"), 6, 22, edge, Answer{Allow: true, Rule: "shop/ssh", Stateless: true}},
		"when it ends":                   {no, end("", "10.0.0.9", "plain"), 6, 22, edge.Add(time.Second), Answer{Rule: DefaultDeny, NoReply: true, Stateless: true}},
		"what a shadow would allow":      {web, web, 6, 1, edge, Answer{Rule: DefaultDeny, Shadow: "shop/trial", Would: true}},
		"passed to a tenant's deny":      {web, web, 6, 9, edge, Answer{Rule: "shop/no-nine"}},
		"the provider's first":           {web, web, 6, 10, edge, Answer{Allow: true, Rule: "first/yes"}},
		"baseline":                       {no, web, 6, 7, edge, Answer{Allow: true, Rule: "last/yes"}},
		"shut before baseline":           {no, end("", "10.0.0.9", "shut"), 6, 7, edge, Answer{Rule: "shop/shut/default"}},
		"open after baseline":            {end("", "10.0.0.8", "easy"), end("", "10.0.0.9", "easy"), 6, 8, edge, Answer{Rule: "last/no"}},
		"open where nothing decides":     {end("", "10.0.0.8", "easy"), end("", "10.0.0.9", "easy"), 6, 6, edge, Answer{Allow: true, Rule: "shop/easy/default"}},
		"port security off at one end":   {open, end("", "10.0.0.9", "easy"), 6, 6, edge, Answer{Allow: true, Rule: "port-security-off & shop/easy/default"}},
		"a stateless end denies a reply": {end("", "10.0.0.8", "easy"), end("", "10.0.0.9", "plain"), 6, 6, edge, Answer{Rule: DefaultDeny, NoReply: true, Stateless: true}},
	} {
		t.Run(name, func(t *testing.T) {
			if a := Decide(all, c.edge, Packet{Src: c.src, Dst: c.dst, Protocol: c.protocol, Port: c.port}); a != c.want {
				t.Errorf("%+v, want %+v", a, c.want)
			}
		})
	}
}
