package kubernetes_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/imports"
	"dove.network/imports/kubernetes"
)

var update = flag.Bool("update", false, "rewrite golden files")

var options = imports.Options{Tenant: "acme", Name: "cluster", Domain: "k8s"}

func TestGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := kubernetes.Translate(options, text)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, d := range got.Documents {
		fmt.Fprintf(&b, "%s---\n", d.Text)
	}
	for _, e := range got.Endpoints {
		fmt.Fprintf(&b, "# endpoint of %s:\n", e.Name)
		for _, key := range slices.Sorted(maps.Keys(e.Labels)) {
			fmt.Fprintf(&b, "#   label %s=%s\n", key, e.Labels[key])
		}
		for _, name := range slices.Sorted(maps.Keys(e.Ports)) {
			fmt.Fprintf(&b, "#   port %s=%s\n", name, e.Ports[name])
		}
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
		t.Errorf("translation of shop.yaml (-want +got):\n%s", diff)
	}
}

// netpol makes the text of a NetworkPolicy.
func netpol(spec string) string {
	return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec: {" + spec + "}\n"
}

// admin makes the text of an AdminNetworkPolicy or its baseline.
func admin(kind, name, spec string) string {
	return "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: " + kind + "\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"
}

func TestRefused(t *testing.T) {
	const (
		subject = "subject: {namespaces: {}}"
		same    = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	)
	tests := []struct {
		name, text string
		kind       dove.Kind
		says       []string // of the faults, in order
	}{
		{"unknown fields, all of them", netpol("podSelector: {}, ingres: [], ingress: [{form: []}]"), dove.Invalid, []string{`4:1: unknown field "ingres"`, `4:1: unknown field "form"`}},
		{"another kind", "apiVersion: v1\nkind: Service\nmetadata: {name: a}", dove.Invalid, []string{`"Service" of "v1" cannot be translated`}},
		{"another version", strings.Replace(netpol("podSelector: {}"), "networking.k8s.io/v1", "networking.k8s.io/v2", 1), dove.Invalid, []string{`"NetworkPolicy" of "networking.k8s.io/v2"`}},
		{"no YAML", "a: [", dove.Invalid, []string{"not YAML or JSON"}},
		{"an alias", "a: &x {}\nb: *x", dove.Invalid, []string{"alias *x is not allowed"}},
		{"twice", netpol("podSelector: {}") + "---\n" + netpol("podSelector: {}"), dove.Invalid, []string{"NetworkPolicy x/p: it is there twice, first in line 1"}},
		{"no name", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nspec: {podSelector: {}}", dove.Invalid, []string{"it has no name"}},
		{"an empty peer", netpol("podSelector: {}, ingress: [{from: [{}]}]"), dove.Invalid, []string{"spec.ingress[0].from[0]: a peer is empty"}},
		{"two peers in one", netpol("podSelector: {}, ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]"), dove.Invalid, []string{"not both"}},
		{"prefixes", netpol("podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.1/8}}, {ipBlock: {cidr: ten}}, {ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/9]}}]}]"), dove.Invalid,
			[]string{"bits set beyond its length (write 10.0.0.0/8)", `"ten" is no prefix`, `"11.0.0.0/9" lies not within it`}},
		{"ports", netpol("podSelector: {}, ingress: [{ports: [{port: 0}, {port: 80, endPort: 70}, {endPort: 3}, {port: http, endPort: 90}, {protocol: ICMP}, {port: NOT_A_NAME}, {port: 70000}]}]"), dove.Invalid,
			[]string{"0-0 are no ports", "ends before it starts", "an endPort without a port", "cannot begin at port", `"ICMP" is no protocol`, "cannot name a port", "70000-70000 are no ports"}},
		{"operators", netpol("podSelector: {matchExpressions: [{key: a, operator: Like, values: [b]}, {key: a, operator: In}, {key: a, operator: Exists, values: [b]}, {key: a b, operator: Exists}]}"), dove.Invalid,
			[]string{`"Like" is no operator`, "operator In with 0 values", "operator Exists with 1 values", "label key"}},
		{"a label for a namespace's", netpol("podSelector: {matchLabels: {namespace/team: a}}"), dove.Invalid, []string{`label "namespace/team" of pods would be taken for one of their namespace`}},
		{"a type", netpol("podSelector: {}, policyTypes: [Inside]"), dove.Invalid, []string{`"Inside" is no policy type`}},
		{"nodes and names", admin("AdminNetworkPolicy", "a", "priority: 1, "+subject+", egress: [{action: Deny, to: [{nodes: {}}]}, {action: Deny, to: [{domainNames: [a.example]}]}]"), dove.Unsupported,
			[]string{"egress[0].peers[0]: nodes are not among", "egress[1].peers[0]: domain names are not among"}},
		{"admin", admin("AdminNetworkPolicy", "a", "priority: 1001, subject: {}, ingress: [{action: Log, from: [{namespaces: {}}]}, {action: Allow}]"), dove.Invalid,
			[]string{"no valid priority", "exactly one of the two", `"Log" is no action here`, "does not say whom it is about"}},
		{"a baseline", admin("BaselineAdminNetworkPolicy", "mine", "priority: 1, "+subject+", ingress: [{action: Pass, from: [{namespaces: {}}]}]"), dove.Invalid, []string{`its name is "default"`, `"Pass" is no action here`}},
		{"a namespace of a cluster's object", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}", dove.Invalid, []string{"is in no namespace"}},
		{"a pod's port", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{ports: [{name: web, containerPort: 99999}]}]}", dove.Invalid, []string{"99999-99999 are no ports"}},
		{"two ports of a name", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{ports: [{name: web, containerPort: 80}]}, {ports: [{name: web, containerPort: 80}, {name: web, containerPort: 81, protocol: UDP}]}]}", dove.Unsupported,
			[]string{`port "web" is tcp/80 and udp/81`}},
		{"empty items", netpol("podSelector: {matchExpressions: [null]}, ingress: [{from: [null], ports: [null]}]"), dove.Invalid, []string{"an item of a list is empty", "an item of a list is empty", "an item of a list is empty"}},
		{"nothing", "# kubectl failed\n---\n", dove.Invalid, []string{"the text says nothing"}},
		{"a list that is none", "apiVersion: v1\nkind: List\nitems: 7\n", dove.Invalid, []string{"items: it is not a list"}},
		{"selectors of one digest", netpol("podSelector: {matchLabels: {app: " + same + "557479}}, ingress: [{from: [{podSelector: {matchLabels: {app: " + same + "1947386}}}]}]"), dove.Invalid, []string{"would have one name, "}},
		{"ten megabytes", strings.Repeat("# nothing\n", 1<<20+1<<19), dove.TooLarge, []string{"longer than the"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := kubernetes.Translate(options, []byte(test.text))
			if err == nil {
				t.Fatalf("translated into %d documents, want a refusal", len(got.Documents))
			}
			if kind := dove.KindOf(err); kind != test.kind {
				t.Errorf("kind %v, want %v", kind, test.kind)
			}
			rest := err.Error()
			for _, s := range test.says {
				_, after, ok := strings.Cut(rest, s)
				if !ok {
					t.Fatalf("the refusal does not say %q (in this order):\n%v", s, err)
				}
				rest = after
			}
		})
	}
}

// TestNames: no two foreign names give one of ours, and the same always gives the same.
func TestNames(t *testing.T) {
	seen := map[string][]string{}
	for _, words := range [][]string{{"a", "b"}, {"a-b"}, {"a--b"}, {"a", "b-c"}, {"a-b", "c"}, {"a", "b--c"}, {"a--b", "c"}, {"a.b", "c"}, {"a", "b.c"}, {"A", "b"},
		{strings.Repeat("x", 60), "y"}, {strings.Repeat("x", 60), "z"}, {"", "x"}, {"ü", "x"}} {
		name := imports.Name(words...)
		if err := dove.CheckName(name); err != nil {
			t.Errorf("%q: %v", words, err)
		}
		if other, taken := seen[name]; taken {
			t.Errorf("%q and %q are both %s", words, other, name)
		}
		seen[name] = words
	}
}

func TestLabels(t *testing.T) {
	if a, b := kubernetes.NamespaceLabel("team"), kubernetes.NamespaceLabel("example.com/team"); a != "namespace/team" || b != "namespace.example.com/team" {
		t.Errorf("labels of namespaces are %q and %q", a, b)
	}
	many := map[string]string{}
	for i := range blueprint.LabelsMax {
		many[fmt.Sprintf("l%d", i)] = ""
	}
	for _, test := range []struct{ ns, pod map[string]string }{
		{nil, map[string]string{"namespace/a": "b"}}, {nil, map[string]string{"namespace.a/b": "c"}}, {nil, many}, {map[string]string{"a b": ""}, nil},
	} {
		if got, err := kubernetes.Labels("x", test.ns, test.pod); err == nil {
			t.Errorf("labels %v are taken", got)
		}
	}
}
