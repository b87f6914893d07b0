package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/verdict"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// compile parses blueprints of the tenant acme.
func compile(t testing.TB, texts ...string) *Domain {
	t.Helper()
	var all []*blueprint.Blueprint
	for _, text := range texts {
		b, err := blueprint.Parse("acme", []byte("apiVersion: dove/v1\nkind: Blueprint\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return Compile(all, time.Time{})
}

// in returns the signature of an endpoint in groups "blueprint/group" of acme.
func in(groups ...string) Signature {
	var list []dove.Group
	for _, g := range groups {
		parsed, err := dove.ParseGroup("acme/" + g)
		if err != nil {
			panic(err)
		}
		list = append(list, parsed)
	}
	return new(Domain).Signature(Member{Groups: list}, netip.Addr{})
}

const shop = `
name: shop
groups: {web: {}, app: {}, db: {isolated: true}}
policies:
  - {name: web-app, from: web, to: app, allow: [tcp/8080, icmp]}
  - {name: app-db, from: app, to: db, allow: [tcp/5432-5433]}
  - {name: admin, from: [base/ops], to: [web, app, db], allow: [tcp/22]}
  - {name: no-udp, from: [web, app], to: app, deny: [udp]}
`

const base = `
name: base
domain: shop
groups: {ops: {}}
policies:
  - {name: ping, from: ops, to: [shop/web], allow: [icmp/8]}
`

func TestTable(t *testing.T) {
	d := compile(t, shop, base)
	tests := []struct {
		name     string
		src, dst Signature
		want     string
	}{
		{"a policy", in("shop/web"), in("shop/app"), `icmp/0-65535       allow shop/web-app
tcp/0-8079         deny  default-deny
tcp/8080-8080      allow shop/web-app
tcp/8081-65535     deny  default-deny
udp/0-65535        deny  shop/no-udp
icmpv6/0-65535     allow shop/web-app
other              deny  default-deny
`},
		{"backwards", in("shop/app"), in("shop/web"), "other              deny  default-deny\n"},
		{"members", in("shop/web"), in("shop/web"), "other              allow shop/web/members\n"},
		{"members, but for a deny", in("shop/app"), in("shop/app"), `udp/0-65535        deny  shop/no-udp
other              allow shop/app/members
`},
		{"isolated members", in("shop/db"), in("shop/db"), "other              deny  default-deny\n"},
		{"in two groups, one isolated", in("shop/db", "base/ops"), in("base/ops", "shop/db"), "other              allow base/ops/members\n"},
		{"across blueprints", in("base/ops"), in("shop/web"), `icmp/0-2047        deny  default-deny
icmp/2048-2303     allow base/ping
icmp/2304-65535    deny  default-deny
tcp/0-21           deny  default-deny
tcp/22-22          allow shop/admin
tcp/23-65535       deny  default-deny
other              deny  default-deny
`},
		{"no group", in(), in("shop/web"), "other              deny  default-deny\n"},
		{"nobody in a group", in(), in(), "other              deny  default-deny\n"},
		{"an unknown group", in("shop/gone"), in("shop/gone"), "other              deny  default-deny\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := d.Table(tt.src, tt.dst)
			if diff := cmp.Diff(tt.want, table.String()); diff != "" {
				t.Error(diff)
			}
			if !table.EgressStateful || !table.IngressStateful {
				t.Error("policies of blueprints are stateful at both ends")
			}
		})
	}
}

func TestNearest(t *testing.T) {
	d := compile(t, shop, base)
	tests := []struct {
		name         string
		src, dst     Signature
		protocol     dove.Protocol
		port         uint16
		rule, failed string
	}{
		{"port", in("shop/web"), in("shop/app"), dove.ProtocolTCP, 8081, "shop/web-app", "port"},
		{"protocol", in("shop/web"), in("shop/app"), dove.ProtocolSCTP, 8080, "shop/web-app", "protocol"},
		{"a policy denies", in("shop/web"), in("shop/app"), dove.ProtocolUDP, 8080, "", ""},
		{"from", in("shop/web"), in("shop/db"), dove.ProtocolTCP, 5432, "shop/app-db", "from"},
		{"to", in("shop/app"), in("shop/web"), dove.ProtocolTCP, 5433, "shop/app-db", "to"},
		{"two terms", in("shop/web"), in("shop/db"), dove.ProtocolTCP, 23, "shop/web-app", "to, port"},
		{"no ports to compare", in("shop/app"), in("shop/db"), 47, 0, "shop/app-db", "protocol"},
		{"isolated", in("shop/db"), in("shop/db"), dove.ProtocolTCP, 5432, "shop/db/members", Isolated},
		{"no group", in(), in("shop/db"), dove.ProtocolTCP, 22, "shop/admin", "from"},
		{"nothing near", in("shop/db"), in("base/ops"), dove.ProtocolTCP, 22, "", ""},
		{"allowed", in("shop/web"), in("shop/app"), dove.ProtocolTCP, 8080, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			near := d.Nearest(tt.src, tt.dst, tt.protocol, tt.port)
			if near.Rule != tt.rule || near.Terms() != tt.failed {
				t.Errorf("%+v, want %q, %q", near, tt.rule, tt.failed)
			}
		})
	}
}

// TestNearestOfTheWholeLanguage has one packet that fails each term, with words
// for people.
func TestNearestOfTheWholeLanguage(t *testing.T) {
	texts := []string{`
name: shop
outside:
  office: {prefixes: [203.0.113.0/24, 10.0.1.0/28], except: [203.0.113.7/32]}
groups:
  web: {}
  app: {}
  db: {isolated: true}
  gone: {}
  shut: {isolated: true, default: {ingress: deny}}
policies:
  - {name: out, from: web, to: app, allow: [tcp/80], side: egress}
  - {name: admin, from: office, to: db, allow: [tcp/22]}
  - {name: four, from: db, to: web, allow: [tcp/80], family: ipv4}
  - {name: named, from: app, to: db, allow: [tcp/psql]}
  - {name: over, from: app, to: web, allow: [udp/53], until: "2026-01-01T00:00:00Z"}
  - {name: trial, from: app, to: web, allow: [udp/54], shadow: true}
  - {name: never, from: db, to: gone, allow: [udp], deny: [udp/55]}
`, `
name: platform
domain: shop
tier: provider
policies:
  - {name: leave, from: shop/web, to: shop/db, pass: [tcp], priority: 5}
  - {name: late, from: shop/web, to: shop/db, allow: [tcp/443], priority: 9}
`, `
name: floor
domain: shop
tier: baseline
policies:
  - {name: no-telnet, from: any, to: shop/shut, deny: [tcp/23], priority: 1}
  - {name: all, from: any, to: shop/shut, allow: [tcp], priority: 2}
`}
	var all []*blueprint.Blueprint
	for _, text := range texts {
		b, err := blueprint.Parse("acme", []byte("apiVersion: dove/v1\nkind: Blueprint\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	d := Compile(all, time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC))
	at := func(addr string, groups ...string) Signature {
		return d.Signature(Member{Groups: in(groups...).Groups}, netip.MustParseAddr(addr))
	}
	nobody := Signature{Open: true, Prefix: netip.MustParsePrefix("0.0.0.0/0")}
	tests := []struct {
		name     string
		src, dst Signature
		protocol dove.Protocol
		port     uint16
		want     string
	}{
		{"side", at("10.0.0.1", "shop/web"), at("10.0.0.2", "shop/app"), dove.ProtocolTCP, 80,
			"shop/out; side: it counts for egress only, and nothing allows the packet at the target's end (ingress)"},
		{"the side that matters", at("10.0.0.1", "shop/web"), nobody, dove.ProtocolTCP, 80,
			"shop/out; to: it counts for packets to shop/app"},
		{"outside", at("203.0.113.7"), at("10.0.0.3", "shop/db"), dove.ProtocolTCP, 22,
			"shop/admin; from: it counts for packets from shop/office (10.0.1.0/28, 203.0.113.0/24 except 203.0.113.7/32)"},
		{"family", at("fd00::1", "shop/db"), at("fd00::2", "shop/web"), dove.ProtocolTCP, 80,
			"shop/four; family: it counts for packets of ipv4"},
		{"named port", at("10.0.0.2", "shop/app"), at("10.0.0.3", "shop/db"), dove.ProtocolTCP, 5432,
			"shop/named; port: it allows tcp/psql, and the target has no tcp port of that name"},
		{"until", at("10.0.0.2", "shop/app"), at("10.0.0.1", "shop/web"), dove.ProtocolUDP, 53,
			"shop/over; until: its time was up at 2026-01-01T00:00:00Z"},
		{"shadow", at("10.0.0.2", "shop/app"), at("10.0.0.1", "shop/web"), dove.ProtocolUDP, 54,
			"shop/trial; shadow: it is in shadow: it decides nothing"},
		{"what denies itself is not near", at("10.0.0.1", "shop/web"), at("10.0.0.5", "shop/gone"), dove.ProtocolUDP, 55,
			"floor/all; to: it counts for packets to shop/shut; protocol: it allows tcp"},
		{"priority", at("10.0.0.1", "shop/web"), at("10.0.0.3", "shop/db"), dove.ProtocolTCP, 443,
			"platform/late; priority: its priority is 9, and before it platform/leave passes the packet to the tenant's policies"},
		{"default of a group", at("10.0.0.1"), at("10.0.0.4", "shop/shut"), dove.ProtocolTCP, 80,
			"floor/all; default: it is of tier baseline, and before that shop/shut/default denies"},
		{"denied below that default", at("10.0.0.1"), at("10.0.0.4", "shop/shut"), dove.ProtocolTCP, 23,
			""},
		{"isolated", at("10.0.0.3", "shop/db"), at("10.0.0.4", "shop/db"), dove.ProtocolTCP, 22,
			"shop/db/members; isolated: both ends are in shop/db, which is isolated"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			near := d.Nearest(tt.src, tt.dst, tt.protocol, tt.port)
			var says strings.Builder
			says.WriteString(near.Rule)
			for _, f := range near.Failed {
				says.WriteString("; " + f.Term + ": " + f.Words)
			}
			if says.String() != tt.want {
				t.Errorf("%q, want %q", says.String(), tt.want)
			}
		})
	}
}

func TestSignatureKey(t *testing.T) {
	for key, s := range map[string]Signature{
		"groups=":                           in(),
		"groups=acme/shop/web":              in("shop/web"),
		"groups=acme/base/ops,acme/shop/db": in("shop/db", "base/ops", "shop/db"),
		"groups=;open":                      {Open: true},
		"groups=acme/shop/web;prefix=10.0.0.0/8;ports=dns=tcp/53,dns=udp/53,http=tcp/80;open": {
			Groups: in("shop/web").Groups, Prefix: netip.MustParsePrefix("10.0.0.0/8"), Open: true,
			Ports: []NamedPort{{"dns", dove.Port{Protocol: dove.ProtocolTCP, Number: 53}}, {"dns", dove.Port{Protocol: dove.ProtocolUDP, Number: 53}}, {"http", dove.Port{Protocol: dove.ProtocolTCP, Number: 80}}},
		},
	} {
		if s.Key() != key {
			t.Errorf("key %q, want %q", s.Key(), key)
		}
		back, err := ParseSignature(key)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(s, back, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
	for _, key := range []string{
		"", "acme/shop/web", "groups=web", "groups=acme/shop/Web", "groups=acme/shop/web,", "groups=,acme/shop/web",
		"groups=acme/shop/web,acme/shop/db", "groups=acme/shop/web,acme/shop/web", "groups=acme/shop/web;prefix=10.0.0.0/08",
		"groups=;prefix=10.0.0.1/8", "groups=;prefix=", "groups=;ports=", "groups=;ports=b=tcp/1,a=tcp/1", "groups=;ports=a=tcp/0", "groups=;ports=a=icmp/8",
		"groups=;open;prefix=10.0.0.0/8", "groups=;open;open", "groups=;shut", "prefix=10.0.0.0/8", "groups=;",
	} {
		if s, err := ParseSignature(key); err == nil {
			t.Errorf("%q reads as %v", key, s)
		}
	}
}

func TestSignatureLeavesItsInputAlone(t *testing.T) {
	groups := append(in("shop/web").Groups, in("shop/db").Groups...)
	new(Domain).Signature(Member{Groups: groups}, netip.Addr{})
	if groups[0].Name != "web" {
		t.Error("the caller's groups were sorted")
	}
}

func TestFreeClass(t *testing.T) {
	used := map[dove.Class]bool{2: true, 3: true, 65001: true}
	for next, want := range map[dove.Class]dove.Class{
		0: 4, 1: 4, 2: 4, 4: 4, 5: 5, 65000: 65000, 65001: 4, 65002: 4, 65535: 4,
	} {
		if c, ok := FreeClass(func(c dove.Class) bool { return used[c] }, next); c != want || !ok {
			t.Errorf("from %d on: %d, %t, want %d", next, c, ok, want)
		}
	}
	all := map[dove.Class]bool{}
	next := dove.Class(40000)
	for range ClassesMax {
		c, ok := FreeClass(func(c dove.Class) bool { return all[c] }, next)
		if !ok || all[c] || c == dove.ClassNone || c == dove.ClassInfra || c == dove.ClassReserved {
			t.Fatalf("class %d, %t after %d of them", c, ok, len(all))
		}
		all[c] = true
		next = c + 1
	}
	if c, ok := FreeClass(func(c dove.Class) bool { return all[c] }, next); ok {
		t.Errorf("class %d when all %d are used", c, len(all))
	}
}

func TestPairsShareEqualTables(t *testing.T) {
	p := NewPairs(compile(t, shop, base))
	a := p.Table(in("shop/web"), in("shop/app"))
	if p.Table(in("shop/web"), in("shop/app")) != a {
		t.Error("a pair was compiled twice")
	}
	none := p.Table(in(), in("shop/web"))
	if p.Table(in("shop/db"), in("shop/web")) != none {
		t.Error("equal tables are two")
	}

	edited := compile(t, `
name: shop
groups: {web: {}, app: {}, db: {isolated: true}}
policies:
  - {name: web-app, from: web, to: app, allow: [tcp/8080, icmp]}
  - {name: app-db, from: app, to: db, allow: [tcp/5432]}
  - {name: no-udp, from: [web, app], to: app, deny: [udp]}
`)
	before := p.Table(in("shop/app"), in("shop/db"))
	p.Renew(edited)
	if p.Table(in("shop/web"), in("shop/app")) != a {
		t.Error("a table that did not change has another pointer")
	}
	if after := p.Table(in("shop/app"), in("shop/db")); after == before || after.Equal(before) {
		t.Error("a changed table is remembered")
	}
	if v := before.Lookup(dove.ProtocolTCP, 5433); !v.Allow {
		t.Error("the old table changed")
	}
}

// hub is a domain of many policies, of which few touch one pair.
func hub(policies int) *Domain {
	b := &blueprint.Blueprint{Tenant: "acme", Name: "hub", Domain: "hub", Groups: []blueprint.Group{{Name: "all"}}}
	all := []dove.Group{b.GroupOf("all")}
	for i := range policies {
		name := fmt.Sprintf("g%05d", i)
		b.Groups = append(b.Groups, blueprint.Group{Name: name})
		b.Policies = append(b.Policies, blueprint.Policy{
			Name: name, From: all, To: []dove.Group{b.GroupOf(name)},
			Allow: []blueprint.Traffic{{Protocol: dove.ProtocolTCP, First: 443, Last: 443}},
		})
	}
	return Compile([]*blueprint.Blueprint{b}, time.Time{})
}

func TestAPairWalksOnlyPoliciesThatTouchIt(t *testing.T) {
	small, large := hub(10), hub(10000)
	cost := func(d *Domain) float64 {
		return testing.AllocsPerRun(10, func() { d.Table(in("hub/all"), in("hub/g00007")) })
	}
	if a, b := cost(small), cost(large); b > a+2 {
		t.Errorf("a pair costs %v allocations among 10 policies, %v among 10000", a, b)
	}
	d := large
	if found := d.between(in("hub/all"), in("hub/g00007")); len(found) != 1 || d.rules[found[0]].name != "hub/g00007" {
		t.Errorf("rules %v", found)
	}
}

func BenchmarkPairs(b *testing.B) {
	p := NewPairs(hub(100))
	src, dst := in("hub/all"), in("hub/g00007")
	var t *verdict.Table
	for b.Loop() {
		t = p.Table(src, dst)
	}
	_ = t
}
