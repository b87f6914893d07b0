package blueprint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
		return 1.0, nil // the schema asks of no number which it is: PriorityMax is tested elsewhere
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
		"allow", "deny", "provider", "baseline", "egress", "any", "In", "Exists", "tcp/http", "tcp/8080-web", "tcp/a--b", "tcp/http-alternative", "2026-12-31T00:00:00Z", "2026-12-31T00:00:00+14:00", "2026-12-31", 10.0, 1000001,
		map[string]any{"prefixes": "0.0.0.0/0"}, map[string]any{"prefixes": []any{"10.0.0.0/8"}, "except": []any{"10.1.0.0/16"}}, map[string]any{"egress": "allow"}, map[string]any{"matchLabels": map[string]any{"k8s.io/a_b": ""}},
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

// The schema's idea of numbers in words is exactly the parser's.
func TestSchemaCounts(t *testing.T) {
	traffic := compiler().MustCompile(SchemaID + "#/$defs/traffic")
	for _, c := range []struct {
		format string
		most   int
	}{{"tcp/%d", 66000}, {"udp/1-%d", 66000}, {"icmp/%d", 1000}, {"icmpv6/7/%d", 1000}, {"proto/%d", 1000}} {
		for n := range c.most {
			text := fmt.Sprintf(c.format, n)
			_, fault := parseTraffic(text)
			taken := fault == nil || fault.kind == dove.Unsupported // an extension header is a protocol
			if err := traffic.Validate(text); taken != (err == nil) {
				t.Errorf("%s: taken by Parse: %t, schema: %v", text, taken, err)
			}
		}
	}
	subnet := compiler().MustCompile(SchemaID + "#/$defs/subnet")
	for bits := range 140 {
		for text, sound := range map[string]bool{
			fmt.Sprintf("10.0.0.0/%d", bits): bits > 0 && bits <= 32-MinHostBits,
			fmt.Sprintf("fd00::/%d", bits):   bits > 0 && bits <= 128-MinHostBits,
		} {
			if err := subnet.Validate(text); sound != (err == nil) {
				t.Errorf("%s: sound: %t, schema: %v", text, sound, err)
			}
		}
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
		{routerShape, definitions["router"]},
		{routeShape, definitions["route"]},
		{outsideShape, definitions["outside"]},
		{groupShape, definitions["group"]},
		{selectorShape, definitions["selector"]},
		{requirementShape, definitions["requirement"]},
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
