package kubernetes_test

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/imports/kubernetes"
	"dove.network/oracle"
	"dove.network/policy"
)

// workload is a pod of the tests, or what is outside.
type workload struct {
	addr   netip.Addr
	labels map[string]string
	ports  map[string]dove.Port
}

// pods are one of namespace front (team=web) and two of back (team=db), one of
// lab without labels, one with IPv6, an endpoint that is no pod, and one far away.
func pods(t *testing.T) map[string]workload {
	t.Helper()
	all := map[string]workload{
		"endpoint": {addr: netip.MustParseAddr("10.0.9.1"), labels: map[string]string{"app": "web"}},
		"far":      {addr: netip.MustParseAddr("192.0.2.7")},
	}
	for name, p := range map[string]struct {
		addr, namespace string
		ofNamespace     map[string]string
		ofPod           map[string]string
		http            string
	}{
		"web":   {"10.0.1.1", "front", map[string]string{"team": "web"}, map[string]string{"app": "web"}, "tcp/8080"},
		"db":    {"10.0.2.1", "back", map[string]string{"team": "db"}, map[string]string{"app": "db"}, "tcp/80"},
		"cache": {"10.0.2.17", "back", map[string]string{"team": "db"}, map[string]string{"app": "cache"}, "udp/80"},
		"lab":   {"10.0.3.1", "lab", nil, nil, "sctp/7"},
		"six":   {"fd00::1", "front", map[string]string{"team": "web"}, map[string]string{"app": "six"}, "tcp/9090"},
	} {
		labels, err := kubernetes.Labels(p.namespace, p.ofNamespace, p.ofPod)
		if err != nil {
			t.Fatal(err)
		}
		port, err := dove.ParsePort(p.http)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = workload{netip.MustParseAddr(p.addr), labels, map[string]dove.Port{"http": port}}
	}
	return all
}

// TestMeaning: what Kubernetes says of policies holds of their translation, in the
// oracle and in tables.
func TestMeaning(t *testing.T) {
	np := func(namespace, name, spec string) string {
		return "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: {" + spec + "}\n"
	}
	anp := func(name, spec string) string { return "---\n" + admin("AdminNetworkPolicy", name, spec) }
	banp := func(spec string) string { return "---\n" + admin("BaselineAdminNetworkPolicy", "default", spec) }
	const (
		all   = "subject: {namespaces: {}}"
		back  = "subject: {namespaces: {matchLabels: {team: db}}}"
		front = "{namespaces: {matchLabels: {team: web}}}"
		every = "{namespaces: {}}"
	)
	tests := []struct {
		name, text string
		right      string // "from to traffic yes/no", one a line
	}{
		{"nothing is all", "apiVersion: v1\nkind: List\nitems: []\n", `
			web db tcp/80 yes
			far db icmp/8 yes
			db far udp/53 yes
			endpoint web tcp/80 no
			web endpoint tcp/80 no`},
		{"deny all of a direction", np("back", "shut", "podSelector: {}"), `
			web db tcp/80 no
			db web tcp/80 yes
			db cache tcp/80 no
			web lab tcp/80 yes`},
		{"egress is inferred", np("back", "p", "podSelector: {}, ingress: [{}], egress: [{ports: [{port: 53, protocol: UDP}]}]"), `
			web db tcp/80 yes
			db web tcp/80 no
			db web udp/53 yes
			db web icmp/8 no`},
		{"ingress without its type", np("back", "p", "podSelector: {}, policyTypes: [Egress], ingress: [{from: [{podSelector: {}}]}]"), `
			web db tcp/80 yes
			db web tcp/80 no`},
		{"peers add up, ports too, rules too", np("back", "p", "podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: web}}}, {podSelector: {matchLabels: {app: cache}}}], ports: [{port: 80}, {port: 90, endPort: 95}]}, {from: [{namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}]}]"), `
			web db tcp/80 yes
			cache db tcp/93 yes
			web db tcp/96 no
			web db udp/80 no
			lab db udp/80 yes
			endpoint db udp/80 no
			far db udp/80 no
			web cache udp/80 yes`},
		{"both selectors of one peer", np("back", "p", "podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: web}}, podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [six]}]}}]}]"), `
			web db tcp/80 yes
			six db tcp/80 no
			lab db tcp/80 no`},
		{"blocks match pods by address", np("back", "p", "podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.2.0/24, 10.0.3.1/32]}}, {ipBlock: {cidr: 192.0.2.0/24}}]}]"), `
			web db tcp/80 yes
			lab db tcp/80 no
			cache db tcp/80 no
			far db tcp/80 yes`},
		{"named ports are the target's", np("back", "in", "podSelector: {}, ingress: [{ports: [{port: http}, {port: http, protocol: UDP}]}]"), `
			web db tcp/80 yes
			web db udp/80 no
			web cache udp/80 yes
			web cache tcp/80 no
			web db tcp/8080 no`},
		{"named ports of egress", np("back", "out", "podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]"), `
			db web tcp/8080 yes
			db web tcp/80 no
			db far tcp/80 no`},
		{"admin before network policies", np("back", "open", "podSelector: {}, ingress: [{}]") + anp("a", "priority: 5, "+back+", ingress: [{action: Deny, from: ["+front+"], ports: [{portNumber: {port: 80, protocol: TCP}}]}]"), `
			web db tcp/80 no
			web db tcp/81 yes
			lab db tcp/80 yes`},
		{"admin allows what network policies shut", np("back", "shut", "podSelector: {}") + anp("a", "priority: 5, "+back+", ingress: [{action: Allow, from: ["+front+"]}]"), `
			web db tcp/80 yes
			lab db tcp/80 no`},
		{"the lower priority first, whatever the order", anp("second", "priority: 6, "+back+", ingress: [{action: Deny, from: ["+every+"]}]") + anp("first", "priority: 5, "+back+", ingress: [{action: Allow, from: ["+front+"]}]"), `
			web db tcp/80 yes
			lab db tcp/80 no`},
		{"the earlier rule first", anp("a", "priority: 5, "+back+", ingress: [{action: Allow, from: ["+front+"], ports: [{portRange: {start: 80, end: 89}}]}, {action: Deny, from: ["+every+"]}]"), `
			web db tcp/85 yes
			web db tcp/90 no
			lab db tcp/85 no
			far db tcp/85 yes`},
		{"pass goes on with network policies and skips later admins", np("back", "shut", "podSelector: {matchLabels: {app: db}}") + anp("a", "priority: 5, "+back+", ingress: [{action: Pass, from: ["+front+"]}]") + anp("b", "priority: 6, "+back+", ingress: [{action: Deny, from: ["+every+"], ports: [{portNumber: {port: 80}}]}]"), `
			web db tcp/80 no
			web cache tcp/80 yes
			lab cache tcp/80 no
			lab db tcp/81 no`},
		{"egress of admins", anp("a", "priority: 0, "+back+", egress: [{action: Allow, to: [{networks: [192.0.2.0/28]}]}, {action: Deny, to: [{networks: [0.0.0.0/0]}]}]"), `
			db far tcp/80 yes
			db web tcp/80 no
			web db tcp/80 yes`},
		{"named ports of admins are of any protocol", anp("a", "priority: 1000, "+all+", ingress: [{action: Deny, from: ["+every+"], ports: [{namedPort: http}]}]"), `
			web db tcp/80 no
			web cache udp/80 no
			web lab sctp/7 no
			web cache tcp/80 yes`},
		{"the baseline where no network policy selects", np("back", "open", "podSelector: {matchLabels: {app: db}}, ingress: [{}]") + banp(all+", ingress: [{action: Allow, from: ["+every+"], ports: [{portNumber: {port: 81}}]}, {action: Deny, from: ["+every+"]}]"), `
			web db tcp/80 yes
			web cache tcp/80 no
			web cache tcp/81 yes
			far cache tcp/80 yes`},
		{"a network policy shuts before the baseline allows", np("back", "shut", "podSelector: {}") + banp(all+", ingress: [{action: Allow, from: ["+every+"]}]"), `
			web db tcp/80 no
			web lab tcp/80 yes`},
		{"the baseline of egress", banp("subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: db}}}}, egress: [{action: Deny, to: [{pods: {namespaceSelector: {}, podSelector: {}}}]}]"), `
			db web tcp/80 no
			db far tcp/80 yes
			cache web tcp/80 yes`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			translation, err := kubernetes.Translate(options, []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			var documents []*blueprint.Blueprint
			for _, d := range translation.Documents {
				documents = append(documents, d.Blueprint)
			}
			compiled := policy.Compile(documents, time.Time{})
			all := pods(t)
			for line := range strings.Lines(strings.TrimSpace(test.right)) {
				words := strings.Fields(line)
				src, knownSrc := all[words[0]]
				dst, knownDst := all[words[1]]
				if !knownSrc || !knownDst {
					t.Fatalf("%q names nobody of %v", line, slices.Sorted(maps.Keys(all)))
				}
				port, err := dove.ParsePort(words[2])
				if words[2] == "icmp/8" {
					port, err = dove.Port{Protocol: dove.ProtocolICMP, Number: 8 << 8}, nil
				}
				if err != nil {
					t.Fatal(err)
				}
				// Who is nobody's endpoint has no say at its own end.
				said := oracle.Decide(documents, time.Time{}, oracle.Packet{
					Src: oracle.End{Addr: src.addr, Labels: src.labels, Ports: src.ports, Open: src.labels == nil},
					Dst: oracle.End{Addr: dst.addr, Labels: dst.labels, Ports: dst.ports, Open: dst.labels == nil}, Protocol: port.Protocol, Port: port.Number})
				signature := func(w workload) policy.Signature {
					return compiled.Signature(policy.Member{Labels: w.labels, Ports: w.ports, Open: w.labels == nil}, w.addr)
				}
				table := compiled.Table(signature(src), signature(dst))
				verdict := table.Lookup(port.Protocol, port.Number)
				if want := words[3] == "yes"; said.Allow != want || verdict.Allow != want {
					t.Errorf("%s: the oracle says %t (%s), the table %t (%s)\n", strings.TrimSpace(line), said.Allow, said.Rule, verdict.Allow, table.Name(verdict))
				}
			}
		})
	}
}
