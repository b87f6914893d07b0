package blueprint

import (
	"errors"
	"strings"
	"testing"

	"dove.network/dove"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// head makes a document of a few lines that are sound but for what a test puts there.
const head = "apiVersion: dove/v1\nkind: Blueprint\nname: shop\n"

// What is wrong with a document's shape is refused by schema and Parse alike.
func TestStructuralFaults(t *testing.T) {
	policy := func(s string) string { return head + "groups: {a: {}, b: {}}\npolicies: [" + s + "]\n" }
	network := func(s string) string { return head + "networks: {n: {subnets: " + s + "}}\n" }
	for name, text := range map[string]string{
		"a list":                 "[]",
		"a word":                 "shop",
		"no head":                "name: shop\n",
		"no name":                "apiVersion: dove/v1\nkind: Blueprint\n",
		"another version":        "apiVersion: dove/v2\nkind: Blueprint\nname: shop\n",
		"another kind":           "apiVersion: dove/v1\nkind: Network\nname: shop\n",
		"a name in capitals":     "apiVersion: dove/v1\nkind: Blueprint\nname: Shop\n",
		"a name too long":        "apiVersion: dove/v1\nkind: Blueprint\nname: " + strings.Repeat("a", dove.NameMax+1) + "\n",
		"a name with a hyphen":   "apiVersion: dove/v1\nkind: Blueprint\nname: -shop\n",
		"no domain":              head + "domain:\n",
		"an empty domain":        head + "domain: ''\n",
		"an unknown word":        head + "netwroks: {}\n",
		"an unsupported word":    head + "services: {}\n",
		"networks as a list":     head + "networks: [n]\n",
		"a network's name":       head + "networks: {N: {subnets: 10.0.1.0/24}}\n",
		"no subnets":             head + "networks: {n: {}}\n",
		"a network of nothing":   head + "networks: {n: }\n",
		"a network with a word":  head + "networks: {n: {subnets: 10.0.1.0/24, mtu: 1500}}\n",
		"empty subnets":          network("[]"),
		"subnets as a mapping":   network("{}"),
		"an address":             network("10.0.1.1"),
		"a number":               network("10"),
		"a length too long":      network("10.0.1.0/31"),
		"a length too long, v6":  network("'fd00::/127'"),
		"the widest subnet":      network("0.0.0.0/0"),
		"a zone":                 network("'fd00::%eth0/64'"),
		"a subnet twice":         network("[10.0.1.0/24, 10.0.1.0/24]"),
		"groups as a list":       head + "groups: [a]\n",
		"a group as a word":      head + "groups: {a: b}\n",
		"a group's name":         head + "groups: {a_b: {}}\n",
		"a group with a word":    head + "groups: {a: {rate: 1}}\n",
		"a group's network":      head + "groups: {a: {network: }}\n",
		"isolated perhaps":       head + "groups: {a: {isolated: perhaps}}\n",
		"isolated in quotes":     head + "groups: {a: {isolated: 'true'}}\n",
		"policies as a mapping":  head + "policies: {p: {}}\n",
		"a policy of nothing":    policy("~"),
		"a policy as a word":     policy("p"),
		"no policy name":         policy("{from: a, to: b, allow: any}"),
		"no from":                policy("{name: p, to: b, allow: any}"),
		"no to":                  policy("{name: p, from: a, allow: any}"),
		"neither allow nor deny": policy("{name: p, from: a, to: b}"),
		"a policy with a word":   policy("{name: p, from: a, to: b, allow: any, rate: 1}"),
		"from nothing":           policy("{name: p, from: , to: b, allow: any}"),
		"from an empty list":     policy("{name: p, from: [], to: b, allow: any}"),
		"from a list of lists":   policy("{name: p, from: [[a]], to: b, allow: any}"),
		"from an address":        policy("{name: p, from: 10.0.1.0/24, to: b, allow: any}"),
		"from too deep":          policy("{name: p, from: a/b/c, to: b, allow: any}"),
		"allow nothing":          policy("{name: p, from: a, to: b, allow: }"),
		"allow an empty list":    policy("{name: p, from: a, to: b, allow: []}"),
		"a port alone":           policy("{name: p, from: a, to: b, allow: 443}"),
		"another protocol":       policy("{name: p, from: a, to: b, allow: http}"),
		"a protocol in capitals": policy("{name: p, from: a, to: b, allow: TCP/443}"),
		"port 0":                 policy("{name: p, from: a, to: b, allow: tcp/0}"),
		"port 65536":             policy("{name: p, from: a, to: b, allow: tcp/65536}"),
		"a range to 65536":       policy("{name: p, from: a, to: b, allow: udp/1-65536}"),
		"two ports":              policy("{name: p, from: a, to: b, allow: 'tcp/80,443'}"),
		"half a range":           policy("{name: p, from: a, to: b, allow: tcp/80-}"),
		"an ICMP type":           policy("{name: p, from: a, to: b, allow: icmp/256}"),
		"an ICMP code":           policy("{name: p, from: a, to: b, allow: icmpv6/1/256}"),
		"protocol 0":             policy("{name: p, from: a, to: b, allow: proto/0}"),
		"protocol 256":           policy("{name: p, from: a, to: b, allow: proto/256}"),
		"any port":               policy("{name: p, from: a, to: b, allow: any/80}"),
		"traffic twice":          policy("{name: p, from: a, to: b, allow: [any, any]}"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse("acme", []byte(text)); err == nil {
				t.Errorf("Parse takes\n%s", text)
			}
			err := conforms([]byte(text))
			if _, isShape := errors.AsType[*jsonschema.ValidationError](err); !isShape {
				t.Errorf("the schema takes it, or was not asked: %v\n%s", err, text)
			}
		})
	}
}

// What only the parser can see; docs/blueprint.md says so.
func TestFaultsBeyondTheSchema(t *testing.T) {
	policy := func(s string) string { return head + "groups: {a: {}, b: {}}\npolicies: [" + s + "]\n" }
	for name, text := range map[string]string{
		"a key twice":              head + "groups: {a: {}, a: {}}\n",
		"an unknown group":         policy("{name: p, from: a, to: c, allow: any}"),
		"an unknown network":       head + "groups: {a: {network: n}}\n",
		"an unknown blueprint":     policy("{name: p, from: a, to: other/b, allow: any}"),
		"a policy's name twice":    policy("{name: p, from: a, to: b, allow: any}, {name: p, from: b, to: a, allow: any}"),
		"a group twice":            policy("{name: p, from: [a, shop/a], to: b, allow: any}"),
		"traffic in two ways":      policy("{name: p, from: a, to: b, allow: [icmp, icmpv6]}"),
		"allowed and denied":       policy("{name: p, from: a, to: b, allow: any, deny: any}"),
		"a range backwards":        policy("{name: p, from: a, to: b, allow: tcp/90-80}"),
		"an extension header":      policy("{name: p, from: a, to: b, allow: proto/44}"),
		"a number for a name":      head + "domain: 1.5\n",
		"bits beyond the length":   head + "networks: {n: {subnets: 10.0.1.1/24}}\n",
		"no address":               head + "networks: {n: {subnets: 300.0.1.0/24}}\n",
		"loopback":                 head + "networks: {n: {subnets: 127.0.0.0/24}}\n",
		"subnets that overlap":     head + "networks: {n: {subnets: [10.0.0.0/16, 10.0.1.0/24]}}\n",
		"networks that differ":     head + "networks: {n: {subnets: 10.0.1.0/24}, m: {subnets: 10.0.2.0/24}}\ngroups: {a: {network: n}, b: {network: m}}\npolicies: [{name: p, from: a, to: b, allow: any}]\n",
		"a network made elsewhere": head + "networks: {theirs: {subnets: 10.0.1.0/24}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if err := conforms([]byte(text)); err != nil {
				t.Errorf("the schema sees it: %v", err)
			}
			b, err := Parse("acme", []byte(text))
			if err == nil {
				err = Check(b, Context{Networks: map[string]ExistingNetwork{"theirs": {Blueprint: "other", Domain: "other"}}})
			}
			if err == nil {
				t.Error("nobody refuses it")
			}
		})
	}
}
