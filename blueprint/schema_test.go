package blueprint

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"dove.network/dove"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"
)

// compiler knows the schema; compiling checks it against its meta-schema.
var compiler = sync.OnceValue(func() *jsonschema.Compiler {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		panic(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(SchemaID, document); err != nil {
		panic(err)
	}
	return c
})

var compiled = sync.OnceValue(func() *jsonschema.Schema { return compiler().MustCompile(SchemaID) })

// conforms returns what the schema has against a text, or why it cannot be asked.
func conforms(text []byte) error {
	root, err := load(text)
	if err != nil {
		return err
	}
	value, err := valueOf(root)
	if err != nil {
		return err
	}
	return compiled().Validate(value)
}

// valueOf turns a node into what an editor's YAML reader would ask a schema about.
func valueOf(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.MappingNode:
		object := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			if n.Content[i].Kind != yaml.ScalarNode {
				return nil, errors.New("a key is no word")
			}
			value, err := valueOf(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			object[n.Content[i].Value] = value
		}
		return object, nil
	case yaml.SequenceNode:
		list := []any{}
		for _, c := range n.Content {
			value, err := valueOf(c)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	}
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), nil
	case "!!int", "!!float":
		return 1.0, nil // the schema asks of no number which it is
	}
	return n.Value, nil
}

// takesWhatParseTakes fails if the schema refuses a text that Parse takes.
func takesWhatParseTakes(t interface{ Errorf(string, ...any) }, text []byte) (taken bool) {
	if _, err := Parse("acme", text); err != nil {
		return false
	}
	if err := conforms(text); err != nil {
		t.Errorf("Parse takes it, the schema does not: %v\n%s", err, text)
	}
	return true
}

// Every document of the tree: examples, scenarios, golden files and the pages
// that show blueprints.
func TestSchemaTakesTheTree(t *testing.T) {
	for _, source := range []struct {
		files string
		text  *regexp.Regexp // finds documents
		least int            // documents that must be found and sound
	}{
		{"../examples/*.yaml", regexp.MustCompile(`(?s)^(.*)$`), 4},
		{"../scenarios/*.dove", regexp.MustCompile(`(?ms)\bblueprint \S+ <<END\n(.*?)^END$`), 20},
		{"testdata/faults/*.txt", regexp.MustCompile(`(?ms)^-- (?:blueprint|other).*? --\n(.*?)(?:^-- )`), 5},
		{"../docs/*.md", regexp.MustCompile("(?ms)^```yaml\n(apiVersion.*?)^```$"), 1},
		{"../README.md", regexp.MustCompile("(?ms)^```yaml\n(apiVersion.*?)^```$"), 1},
	} {
		files, err := filepath.Glob(source.files)
		if err != nil {
			t.Fatal(err)
		}
		sound := 0
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range source.text.FindAllSubmatch(data, -1) {
				if takesWhatParseTakes(t, m[1]) {
					sound++
				}
			}
		}
		if sound < source.least {
			t.Errorf("%s: %d sound blueprints found, want at least %d", source.files, sound, source.least)
		}
	}
}

func TestSchemaTakesRandomBlueprints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := Format(blueprints().Draw(t, "blueprint"))
		if !takesWhatParseTakes(t, text) {
			t.Fatalf("Parse refuses what Format printed:\n%s", text)
		}
	})
}

// A sound document with any one part replaced by anything of a list: whatever
// Parse still takes, the schema takes.
func TestSchemaTakesChangedBlueprints(t *testing.T) {
	parts := []any{
		nil, true, false, "true", 0, 1, -1, 1.5, "", "a", "A", "a-", "other/a", "/a", "a/", "a/b/c", "10.0.0.1", "10.0.1.0/24", "10.0.1.0/31", "10.0.1.0/024",
		"10.0.0.1.0/24", "300.0.1.0/24", "fd00::/64", "fd00::/126", "fd00::/127", "FD00:0::/16", "::ffff:10.0.0.0/120", "64:ff9b::192.0.2.0/120", "fe80::1%eth0/64",
		"any", "any/1", "tcp", "TCP", "tcp/", "tcp/0", "tcp/080", "tcp/65535", "tcp/65536", "tcp/1-2", "tcp/2-1", "tcp/0001-00065535", "tcp/1-", "tcp/1,2", "tcp/+1",
		"icmp/255/255", "icmp/256", "icmpv4/08", "icmpv6/1/2/3", "proto/0", "proto/255", "proto/0255", "proto/0256", "proto/44",
		[]any{}, []any{nil}, []any{"a"}, []any{"a", "a"}, []any{"tcp/1", "any"}, []any{[]any{"a"}}, []any{"sctp/09"}, []any{"10.8.0.0/30", "fd08::/9"},
		map[string]any{}, map[string]any{"a": nil}, map[string]any{"a": map[string]any{}}, map[string]any{"network": "a", "isolated": true}, map[string]any{"subnets": "10.9.0.0/16"},
	}
	root, err := load([]byte(shop))
	if err != nil {
		t.Fatal(err)
	}
	document, err := valueOf(root)
	if err != nil {
		t.Fatal(err)
	}
	sound := 0
	inTurn(document, parts, func() {
		text, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		if takesWhatParseTakes(t, text) {
			sound++
		}
	})
	if sound < 100 {
		t.Errorf("only %d changed documents are sound: they show nothing", sound)
	}
}

// inTurn puts each part at each place within value, calls each, and puts back
// what was there.
func inTurn(value any, parts []any, each func()) {
	at := func(old any, set func(any)) {
		for _, p := range parts {
			set(p)
			each()
		}
		set(old)
		inTurn(old, parts, each)
	}
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			at(v[key], func(p any) { v[key] = p })
		}
	case []any:
		for i := range v {
			at(v[i], func(p any) { v[i] = p })
		}
	}
}

// head makes a document of a few lines that are sound but for what a test puts there.
const head = "apiVersion: dove/v1\nkind: Blueprint\nname: shop\n"

// What is wrong with a document's shape is refused by schema and Parse alike.
func TestStructuralFaults(t *testing.T) {
	policy := func(s string) string { return head + "groups: {a: {}, b: {}}\npolicies: [" + s + "]\n" }
	network := func(s string) string { return head + "networks: {n: {subnets: " + s + "}}\n" }
	for name, text := range map[string]string{
		"a list":                 "[]",
		"a word":                 "shop",
		"nothing":                "~",
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
		"a policy with a word":   policy("{name: p, from: a, to: b, allow: any, log: true}"),
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
				err = Check(b, Context{Networks: map[string]ExistingNetwork{"theirs": {"other", "other"}}})
			}
			if err == nil {
				t.Error("nobody refuses it")
			}
		})
	}
}

// The schema knows the words that the parser knows, describes each, and its
// examples are sound.
func TestSchemaWords(t *testing.T) {
	var document map[string]any
	if err := json.Unmarshal(Schema(), &document); err != nil {
		t.Fatal(err)
	}
	if document["$id"] != SchemaID {
		t.Errorf("$id is %v", document["$id"])
	}
	definitions := document["$defs"].(map[string]any)
	for _, c := range []struct {
		shape  shape
		schema any
	}{
		{documentShape, document},
		{networkShape, definitions["network"]},
		{groupShape, definitions["group"]},
		{policyShape, definitions["policy"]},
	} {
		properties := c.schema.(map[string]any)["properties"].(map[string]any)
		if d := cmp.Diff(slices.Sorted(slices.Values(c.shape.known)), slices.Sorted(maps.Keys(properties))); d != "" {
			t.Errorf("words of %s: -parser +schema:\n%s", c.shape.what, d)
		}
		for name, p := range properties {
			for _, key := range []string{"title", "description"} {
				if s, _ := p.(map[string]any)[key].(string); s == "" {
					t.Errorf("%s of %s has no %s", name, c.shape.what, key)
				}
			}
		}
	}
	walkSchema(document, "", func(at string, s map[string]any) {
		examples, _ := s["examples"].([]any)
		for _, e := range examples {
			if err := compiler().MustCompile(SchemaID + "#" + at).Validate(e); err != nil {
				t.Errorf("example of %s: %v", at, err)
			}
		}
	})
}

// walkSchema calls each for every object in a schema, with the pointer to it.
func walkSchema(value any, at string, each func(at string, s map[string]any)) {
	object, ok := value.(map[string]any)
	if !ok {
		return
	}
	each(at, object)
	for key, v := range object {
		if key != "examples" {
			walkSchema(v, at+"/"+key, each)
		}
	}
}
