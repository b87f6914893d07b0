package openstack_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/imports/openstack"
	"dove.network/oracle"
	"dove.network/policy"
)

// rule is a security group rule of Neutron: "group direction ethertype" and the rest as JSON.
func rule(id, words, rest string) string {
	w := strings.Fields(words)
	if rest != "" {
		rest = ", " + rest
	}
	return `{"id": "` + id + `", "security_group_id": "` + w[0] + `", "direction": "` + w[1] + `", "ethertype": "` + w[2] + `"` + rest + `}`
}

// TestMeaning: what Neutron says of security groups holds of their translation, in
// the oracle and in tables. Groups are web, db and none.
func TestMeaning(t *testing.T) {
	const out4, out6 = "web egress IPv4", "web egress IPv6"
	tests := []struct {
		name  string
		rules []string
		right string
	}{
		{"no rules", nil, `
			web db tcp/80 no
			far db tcp/80 no
			db db2 tcp/80 no`},
		{"both ends", []string{rule("1", "db ingress IPv4", `"protocol": "tcp", "port_range_min": 80, "port_range_max": 89, "remote_ip_prefix": "10.0.0.0/8"`), rule("2", out4, ``)}, `
			web db tcp/85 yes
			web db tcp/90 no
			db2 db tcp/85 no
			far db tcp/85 no
			web6 db6 tcp/85 no`},
		{"from everywhere", []string{rule("1", "db ingress IPv4", `"protocol": "udp"`)}, `
			far db udp/1 yes
			far db tcp/1 no
			far6 db6 udp/1 no`},
		{"remote groups of both families", []string{rule("1", "db ingress IPv4", `"remote_group_id": "web"`), rule("2", "db ingress IPv6", `"remote_group_id": "web"`), rule("3", out4, ""), rule("4", out6, "")}, `
			web db tcp/80 yes
			web6 db6 udp/80 yes
			far db tcp/80 no
			db db2 tcp/80 no`},
		{"a remote group of one family", []string{rule("1", "db ingress IPv4", `"remote_group_id": "web"`), rule("3", out4, ""), rule("4", out6, "")}, `
			web db tcp/80 yes
			web6 db6 tcp/80 no`},
		{"a group of its own members", []string{rule("1", "db ingress IPv4", `"protocol": "icmp", "remote_group_id": "db"`), rule("2", "db egress IPv4", `"protocol": "icmp", "remote_group_id": "db"`)}, `
			db db2 icmp/8 yes
			db db2 tcp/8 no
			web db icmp/8 no`},
		{"type and code", []string{rule("1", "db ingress IPv4", `"protocol": "icmp", "port_range_min": 8, "port_range_max": 0`), rule("2", "db ingress IPv6", `"protocol": "icmp", "port_range_min": 128`)}, `
			far db icmp/8 yes
			far db icmp/13 no
			far6 db6 icmpv6/128 yes
			far6 db6 icmpv6/129 no`},
		{"address groups", []string{rule("1", "db ingress IPv4", `"remote_address_group_id": "office"`), rule("2", "db ingress IPv6", `"remote_address_group_id": "empty"`)}, `
			far db tcp/80 yes
			web db tcp/80 no
			far6 db6 tcp/80 no`},
		{"without port security", []string{rule("1", "db ingress IPv4", "")}, `
			open db tcp/80 yes
			db open tcp/80 no
			web open tcp/80 no`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			translation, err := openstack.Translate(options, []byte(`{"security_groups": [{"id": "web", "name": "web"}, {"id": "db", "name": "db"}],
				"security_group_rules": [`+strings.Join(test.rules, ", ")+`],
				"address_groups": [{"id": "office", "addresses": ["192.0.2.0/24"]}, {"id": "empty", "addresses": ["192.0.2.0/24"]}],
				"ports": [{"id": "web", "security_groups": ["web"]}, {"id": "db", "security_groups": ["db"]}, {"id": "open", "port_security_enabled": false}]}`))
			if err != nil {
				t.Fatal(err)
			}
			documents := []*blueprint.Blueprint{translation.Documents[0].Blueprint}
			compiled := policy.Compile(documents, time.Time{})
			ends := map[string]oracle.End{}
			for name, e := range map[string]struct{ addr, like string }{
				"web": {"10.0.0.1", "web"}, "db": {"10.0.0.2", "db"}, "db2": {"10.0.0.3", "db"}, "far": {"192.0.2.1", ""}, "open": {"10.0.0.4", "open"},
				"web6": {"fd00::1", "web"}, "db6": {"fd00::2", "db"}, "far6": {"2001:db8::1", ""},
			} {
				end := oracle.End{Addr: netip.MustParseAddr(e.addr), Open: e.like == ""} // what is nobody's has no say at its end
				for _, x := range translation.Endpoints {
					if x.Name == e.like {
						end.Groups, end.Open = x.Groups, x.Open
					}
				}
				ends[name] = end
			}
			for line := range strings.Lines(strings.TrimSpace(test.right)) {
				words := strings.Fields(line)
				src, dst := ends[words[0]], ends[words[1]]
				kind, number, _ := strings.Cut(words[2], "/")
				protocol, err := dove.ParseProtocol(kind)
				if err != nil {
					t.Fatal(err)
				}
				var port uint16
				for _, digit := range number {
					port = port*10 + uint16(digit-'0')
				}
				if protocol.IsICMP() {
					port <<= 8
				}
				said := oracle.Decide(documents, time.Time{}, oracle.Packet{Src: src, Dst: dst, Protocol: protocol, Port: port})
				signature := func(e oracle.End) policy.Signature {
					return compiled.Signature(policy.Member{Groups: e.Groups, Open: e.Open}, e.Addr)
				}
				table := compiled.Table(signature(src), signature(dst))
				verdict := table.Lookup(protocol, port)
				if want := words[3] == "yes"; said.Allow != want || verdict.Allow != want {
					t.Errorf("%s: the oracle says %t (%s), the table %t (%s)", strings.TrimSpace(line), said.Allow, said.Rule, verdict.Allow, table.Name(verdict))
				}
			}
		})
	}
}

// TestStateless: a reply to a stateless group passes by that group's own rules only.
func TestStateless(t *testing.T) {
	for _, stateful := range []string{"true", "false"} {
		translation, err := openstack.Translate(options, []byte(`{"security_groups": [{"id": "web", "name": "web", "stateful": `+stateful+`}],
			"security_group_rules": [`+rule("1", "web ingress IPv4", `"protocol": "tcp"`)+`], "ports": [{"id": "web", "security_groups": ["web"]}]}`))
		if err != nil {
			t.Fatal(err)
		}
		compiled := policy.Compile([]*blueprint.Blueprint{translation.Documents[0].Blueprint}, time.Time{})
		web := compiled.Signature(policy.Member{Groups: translation.Endpoints[0].Groups}, netip.MustParseAddr("10.0.0.1"))
		far := compiled.Signature(policy.Member{Open: true}, netip.MustParseAddr("192.0.2.1"))
		if _, ingress := compiled.Halves(far, web); ingress.Stateful != (stateful == "true") {
			t.Errorf("with stateful %s the half is stateful: %t", stateful, ingress.Stateful)
		}
	}
}
