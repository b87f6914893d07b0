package oracle

import (
	"testing"

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
			allow, rule := Decide(all, tt.src, tt.dst, tt.protocol, tt.port)
			if allow != tt.allow || rule != tt.rule {
				t.Errorf("%t (%s), want %t (%s)", allow, rule, tt.allow, tt.rule)
			}
		})
	}
}
