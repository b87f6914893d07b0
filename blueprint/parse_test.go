package blueprint

import (
	"net/netip"
	"strings"
	"testing"

	"dove.network/dove"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const shop = `# the shop, as a person writes it
apiVersion: dove/v1
kind: Blueprint
name: shop
networks:
  front:
    subnets:
      - fd00:0:0:1::/64
      - 10.0.1.0/24
groups:
  web: {network: front}
  app: {network: front}
  db:  {network: front, isolated: true}
  ops:
policies:
  - {name: web-app, from: web, to: app, allow: [tcp/8080, tcp/443]}
  - name: app-db
    from: [web, app]
    to: db
    allow: tcp/5432
  - {name: admin, from: ops, to: [web, shop/app, billing/ledger], allow: [any], deny: [icmp, tcp/1-1023, proto/47]}
`

func group(blueprint, name string) dove.Group {
	return dove.Group{Tenant: "acme", Blueprint: blueprint, Name: name}
}

func shopValue() *Blueprint {
	return &Blueprint{
		Tenant: "acme", Name: "shop", Domain: "shop",
		Networks: []Network{{"front", []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("fd00:0:0:1::/64")}}},
		Groups:   []Group{{Name: "app", Network: "front"}, {Name: "db", Network: "front", Isolated: true}, {Name: "ops"}, {Name: "web", Network: "front"}},
		Policies: []Policy{
			{
				Name: "admin", From: []dove.Group{group("shop", "ops")},
				To:    []dove.Group{group("billing", "ledger"), group("shop", "app"), group("shop", "web")},
				Allow: []Traffic{{Protocol: dove.ProtocolAny, Last: 65535}},
				Deny:  []Traffic{{Protocol: dove.ProtocolICMP, First: 0, Last: 65535}, {Protocol: dove.ProtocolTCP, First: 1, Last: 1023}, {Protocol: 47, First: 0, Last: 65535}, {Protocol: dove.ProtocolICMPv6, First: 0, Last: 65535}},
			},
			{Name: "app-db", From: []dove.Group{group("shop", "app"), group("shop", "web")}, To: []dove.Group{group("shop", "db")}, Allow: []Traffic{{Protocol: dove.ProtocolTCP, First: 5432, Last: 5432}}},
			{Name: "web-app", From: []dove.Group{group("shop", "web")}, To: []dove.Group{group("shop", "app")}, Allow: []Traffic{{Protocol: dove.ProtocolTCP, First: 443, Last: 443}, {Protocol: dove.ProtocolTCP, First: 8080, Last: 8080}}},
		},
	}
}

func TestParse(t *testing.T) {
	got, err := Parse("acme", []byte(shop))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*shopValue(), *got, cmpopts.IgnoreUnexported(Blueprint{}), cmpopts.EquateComparable(netip.Prefix{})); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if !got.Equal(shopValue()) {
		t.Error("equal values are not Equal")
	}
}

func TestFormat(t *testing.T) {
	want := `apiVersion: dove/v1
kind: Blueprint
name: shop
networks:
  front: {subnets: [10.0.1.0/24, "fd00:0:0:1::/64"]}
groups:
  app: {network: front}
  db: {network: front, isolated: true}
  ops: {}
  web: {network: front}
policies:
  - {name: admin, from: ops, to: [billing/ledger, app, web], allow: [any], deny: [icmp, tcp/1-1023, proto/47]}
  - {name: app-db, from: [app, web], to: db, allow: [tcp/5432]}
  - {name: web-app, from: web, to: app, allow: [tcp/443, tcp/8080]}
`
	if d := cmp.Diff(want, string(Format(shopValue()))); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestParseTraffic(t *testing.T) {
	every := func(p dove.Protocol) []Traffic { return []Traffic{{Protocol: p, First: 0, Last: 65535}} }
	for text, want := range map[string][]Traffic{
		"any":            every(dove.ProtocolAny),
		"tcp":            every(dove.ProtocolTCP),
		"tcp/80":         {{Protocol: dove.ProtocolTCP, First: 80, Last: 80}},
		"tcp/8000-8080":  {{Protocol: dove.ProtocolTCP, First: 8000, Last: 8080}},
		"udp/1-65535":    {{Protocol: dove.ProtocolUDP, First: 1, Last: 65535}},
		"sctp/65535":     {{Protocol: dove.ProtocolSCTP, First: 65535, Last: 65535}},
		"icmp":           {{Protocol: dove.ProtocolICMP, First: 0, Last: 65535}, {Protocol: dove.ProtocolICMPv6, First: 0, Last: 65535}},
		"icmpv4":         every(dove.ProtocolICMP),
		"icmpv6":         every(dove.ProtocolICMPv6),
		"icmp/8":         {{Protocol: dove.ProtocolICMP, First: 8 << 8, Last: 8<<8 | 255}},
		"icmpv4/8/0":     {{Protocol: dove.ProtocolICMP, First: 8 << 8, Last: 8 << 8}},
		"icmpv6/255/255": {{Protocol: dove.ProtocolICMPv6, First: 65535, Last: 65535}},
		"proto/6":        every(dove.ProtocolTCP),
		"proto/255":      every(255),
	} {
		got, fault := parseTraffic(text)
		if fault != nil {
			t.Errorf("%s: %s", text, fault.message)
		} else if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", text, d)
		}
	}
}

func TestLimits(t *testing.T) {
	_, err := Parse("acme", []byte("# "+strings.Repeat("x", MaxBytes)))
	if dove.KindOf(err) != dove.TooLarge {
		t.Errorf("beyond MaxBytes: %v", err)
	}
	_, err = Parse("acme", []byte("name: a\n# \xff\n"))
	if dove.KindOf(err) != dove.Invalid || !strings.Contains(err.Error(), "2:3: the text is not UTF-8") {
		t.Errorf("not UTF-8: %v", err)
	}
	var bomb strings.Builder
	bomb.WriteString("a: &a [x, x]\n")
	for c := 'b'; c <= 'z'; c++ {
		bomb.WriteString(string(c) + ": &" + string(c) + strings.Replace(" [*?, *?]\n", "?", string(c-1), 2))
	}
	_, err = Parse("acme", []byte(bomb.String()))
	if dove.KindOf(err) != dove.Invalid || !strings.Contains(err.Error(), "alias *a is not allowed") {
		t.Errorf("alias bomb: %v", err)
	}
}

// A big document with the worst of names must not take long to refuse.
func TestManyFaults(t *testing.T) {
	var text strings.Builder
	text.WriteString("apiVersion: dove/v1\nkind: Blueprint\nname: shop\ngroups:\n")
	word := func(i int) string {
		letters := []byte("aaaaaaaaaaaaaaaaaaaa")
		for j := range 14 {
			letters[j] += byte(i >> j & 1)
		}
		return string(letters)
	}
	for i := range 8000 {
		text.WriteString("  " + word(i) + ": {}\n")
	}
	text.WriteString("policies:\n")
	for i := range 8000 {
		text.WriteString("  - {name: " + word(i) + ", from: zzzz" + word(i)[4:] + ", to: zz" + word(i)[2:] + ", allow: any}\n")
	}
	if text.Len() > MaxBytes {
		t.Fatalf("%d bytes", text.Len())
	}
	_, err := Parse("acme", []byte(text.String()))
	if err == nil || !strings.Contains(err.Error(), "100 faults, 15900 more are not shown") {
		t.Errorf("%.300v", err)
	}
}

func TestRuleNames(t *testing.T) {
	b := shopValue()
	if got := b.RuleName(b.Policies[0]); got != "shop/admin" {
		t.Error(got)
	}
	if got := GroupRuleName(group("shop", "web")); got != "shop/web/members" {
		t.Error(got)
	}
}
