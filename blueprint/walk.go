package blueprint

import (
	"fmt"
	"slices"
	"strings"

	"dove.network/dove"
	"go.yaml.in/yaml/v4"
)

// node is a YAML node with the path that leads to it.
type node struct {
	*yaml.Node
	path string
}

func (n node) place() place { return place{n.path, n.Line, n.Column} }

// isNull reports whether nothing was written.
func (n node) isNull() bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// sort names what the node is, as a person would.
func (n node) sort() string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.isNull():
		return "nothing"
	}
	return quote(n.Value)
}

// field is one key and value of a mapping.
type field struct {
	name       string
	key, value node
}

// shape says which keys a mapping may have.
type shape struct {
	what        string // "a group", for messages
	known       []string
	unsupported []string
	example     string // how it is written
}

// mapping returns the fields of n in the order of the text, each key once.
// Nothing at all counts as an empty mapping; ok is false if n is something else.
func (f *faults) mapping(n node, what, example string) (fields []field, ok bool) {
	if n.isNull() {
		return nil, true
	}
	if n.Kind != yaml.MappingNode {
		f.add(dove.Invalid, n.place(), fmt.Sprintf("%s must be a mapping, not %s", what, n.sort()), "write "+example)
		return nil, false
	}
	seen := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		key := node{n.Content[i], n.path}
		name, ok := f.text(key, "a key")
		if !ok {
			continue
		}
		key.path = strings.TrimPrefix(n.path+"."+short(name), ".")
		if line, twice := seen[name]; twice {
			f.add(dove.Invalid, key.place(), fmt.Sprintf("key %s appears twice", quote(name)), fmt.Sprintf("it was given in line %d", line))
			continue
		}
		seen[name] = key.Line
		fields = append(fields, field{name, key, node{n.Content[i+1], key.path}})
	}
	return fields, true
}

// short keeps a path printable whatever the key.
func short(name string) string {
	if dove.CheckName(strings.ToLower(name)) == nil {
		return name
	}
	return quote(name)
}

// fields returns the known fields of n by key; it refuses every other key by name.
func (f *faults) fields(n node, s shape) (map[string]node, bool) {
	all, ok := f.mapping(n, s.what, s.example)
	known := map[string]node{}
	for _, e := range all {
		switch {
		case slices.Contains(s.known, e.name):
			known[e.name] = e.value
		case slices.Contains(s.unsupported, e.name):
			f.add(dove.Unsupported, e.key.place(), fmt.Sprintf("%q of %s is not supported: this version cannot enforce it", e.name, s.what), "leave it out")
		default:
			f.add(dove.Invalid, e.key.place(), fmt.Sprintf("unknown key %s in %s", quote(e.name), s.what), f.nearest(e.name, slices.Values(s.known)))
		}
	}
	return known, ok
}

// text returns a scalar as it is written; numbers and booleans are names, too.
func (f *faults) text(n node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.isNull() {
		f.add(dove.Invalid, n.place(), fmt.Sprintf("%s must be a word, not %s", what, n.sort()), "")
		return "", false
	}
	return n.Value, true
}

// name returns a scalar that may name something.
func (f *faults) name(n node, what string) (string, bool) {
	s, ok := f.text(n, what)
	if !ok {
		return "", false
	}
	if err := dove.CheckName(s); err != nil {
		f.add(dove.Invalid, n.place(), err.Error(), "")
		return "", false
	}
	return s, true
}

// oneOrMore returns the items of a list; a single word is a list of one.
func (f *faults) oneOrMore(n node, what, example string) []node {
	switch {
	case n.Kind == yaml.ScalarNode && !n.isNull():
		return []node{n}
	case n.Kind != yaml.SequenceNode:
		f.add(dove.Invalid, n.place(), fmt.Sprintf("%s must be a list, not %s", what, n.sort()), "write "+example)
	case len(n.Content) == 0:
		f.add(dove.Invalid, n.place(), what+" is an empty list", "write "+example)
	}
	return items(n)
}

// items returns the items of a sequence node.
func items(n node) []node {
	var all []node
	if n.Kind == yaml.SequenceNode {
		for i, c := range n.Content {
			all = append(all, node{c, fmt.Sprintf("%s[%d]", n.path, i)})
		}
	}
	return all
}
