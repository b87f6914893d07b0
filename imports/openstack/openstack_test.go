package openstack_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dove.network/dove"
	"dove.network/imports"
	"dove.network/imports/openstack"
)

var update = flag.Bool("update", false, "rewrite golden files")

var options = imports.Options{Tenant: "acme", Name: "neutron"}

func TestGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/shop.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := openstack.Translate(options, text)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, d := range got.Documents {
		b.Write(d.Text)
	}
	for _, e := range got.Endpoints {
		fmt.Fprintf(&b, "# endpoint of %s: groups %v, open %v\n", e.Name, e.Groups, e.Open)
	}
	const golden = "testdata/shop.golden"
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("translation of shop.json (-want +got):\n%s", diff)
	}
}

func TestRefused(t *testing.T) {
	rule := func(fields string) string {
		return `{"security_groups": [{"id": "a", "name": "web", "security_group_rules": [{"id": "r", "direction": "ingress", "ethertype": "IPv4", ` + fields + `}]}]}`
	}
	tests := []struct {
		name, text string
		kind       dove.Kind
		says       []string
	}{
		{"unknown fields, all of them", `{"security_grups": [], "security_groups": [{"id": "a", "nam": "x"}]}`, dove.Invalid, []string{`unknown field "security_grups"`, `unknown field "nam"`}},
		{"no id", `{"security_groups": [{"name": "x"}]}`, dove.Invalid, []string{`security group "x": it has no id`}},
		{"twice", `{"security_groups": [{"id": "x"}, {"id": "x"}]}`, dove.Invalid, []string{"it is there twice"}},
		{"addresses twice", `{"address_groups": [{"id": "x"}, {"id": "x"}]}`, dove.Invalid, []string{"address group x: it is there twice"}},
		{"a rule twice", `{"security_groups": [{"id": "a", "security_group_rules": [{"id": "r", "direction": "ingress"}, {"id": "r", "direction": "egress"}]}]}`, dove.Invalid, []string{"security group rule r: it is there twice"}},
		{"one digest", `{"security_groups": [{"id": "1464110"}, {"id": "1526146"}]}`, dove.Invalid, []string{"would have one name, "}},
		{"a group that is not there", rule(`"remote_group_id": "b"`), dove.Invalid, []string{"security group rule r: remote security group b is not in the text"}},
		{"addresses that are not there", rule(`"remote_address_group_id": "b"`), dove.Invalid, []string{"remote address group b is not in the text"}},
		{"two remotes", rule(`"remote_group_id": "a", "remote_ip_prefix": "10.0.0.0/8"`), dove.Invalid, []string{"a rule has one remote, not 2"}},
		{"the other family's prefix", rule(`"remote_ip_prefix": "2001:db8::/32"`), dove.Invalid, []string{"not of the rule's ethertype"}},
		{"no prefix", rule(`"remote_ip_prefix": "ten"`), dove.Invalid, []string{`"ten" is no prefix`}},
		{"a protocol", rule(`"protocol": "ipx"`), dove.Invalid, []string{`"ipx" is no protocol`}},
		{"ICMPv6 over IPv4", rule(`"protocol": "ipv6-icmp"`), dove.Invalid, []string{"ICMPv6 is not carried by IPv4"}},
		{"half a range", rule(`"protocol": "tcp", "port_range_min": 80`), dove.Invalid, []string{"one end only"}},
		{"an inverted range", rule(`"protocol": "tcp", "port_range_min": 80, "port_range_max": 70`), dove.Invalid, []string{"80-70 is no range of ports"}},
		{"ports without a protocol", rule(`"port_range_min": 80, "port_range_max": 90`), dove.Invalid, []string{"ports without a protocol"}},
		{"ports that nobody sees", rule(`"protocol": "udplite", "port_range_min": 80, "port_range_max": 90`), dove.Unsupported, []string{"not among what switches look at"}},
		{"a type", rule(`"protocol": "icmp", "port_range_min": 256`), dove.Invalid, []string{"256/any is no type and code"}},
		{"a code alone", rule(`"protocol": "icmp", "port_range_max": 1`), dove.Invalid, []string{"an ICMP code without a type"}},
		{"what switches do not carry", rule(`"protocol": "ipv6-route"`), dove.Unsupported, []string{"extension header"}},
		{"a direction", strings.Replace(rule(`"protocol": "tcp"`), "ingress", "sideways", 1), dove.Invalid, []string{`"sideways" is no direction`}},
		{"a port's group", `{"ports": [{"id": "p", "security_groups": ["q"]}]}`, dove.Invalid, []string{"port p: security group q is not in the text"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := openstack.Translate(options, []byte(test.text))
			if err == nil {
				t.Fatalf("translated into %s, want a refusal", got.Documents[0].Text)
			}
			if kind := dove.KindOf(err); kind != test.kind {
				t.Errorf("kind %v, want %v", kind, test.kind)
			}
			for _, s := range test.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("the refusal does not say %q:\n%v", s, err)
				}
			}
		})
	}
}
