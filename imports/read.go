package imports

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"dove.network/blueprint"
	"dove.network/dove"
	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// Limits of a text.
const (
	MaxBytes = 4 << 20
	maxDepth = 64 // nested lists and mappings
)

// Faults gathers what is wrong with a text.
type Faults struct {
	list []dove.Fault
	more int
	kind dove.Kind
}

// Add notes a fault. Path says where in the document that begins in that line; 0
// is unknown.
func (f *Faults) Add(kind dove.Kind, line int, path, hint, format string, args ...any) {
	if len(f.list) == 0 || kind == dove.Invalid {
		f.kind = kind
	}
	if len(f.list) == blueprint.MaxFaults {
		f.more++
		return
	}
	message, column := fmt.Sprintf(format, args...), 0
	if path != "" {
		message = path + ": " + message
	}
	if line > 0 {
		column = 1
	}
	f.list = append(f.list, dove.Fault{Line: line, Column: column, Message: message, Hint: hint})
}

// Err returns all faults as one error in the order of the text, or nil.
func (f *Faults) Err(what string) error {
	if len(f.list) == 0 {
		return nil
	}
	slices.SortStableFunc(f.list, func(a, b dove.Fault) int { return cmp.Compare(a.Line, b.Line) })
	return dove.Refusal(f.kind, what+" cannot be translated", f.list, f.more)
}

// Source is a document of a text.
type Source struct {
	node *yaml.Node
	Line int // where it begins
}

// Sources reads the documents of a text, YAML or JSON, at least one. Aliases and tags
// are refused: they let a short text stand for a huge one. So are empty items of
// lists: without them what is left of a list could say more.
func Sources(text []byte, f *Faults) []Source {
	if len(text) > MaxBytes {
		f.Add(dove.TooLarge, 0, "", "import it in parts", "the text is longer than the %d bytes that are allowed", MaxBytes)
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		panic(fmt.Sprintf("yaml loader options: %v", err))
	}
	var all []Source
	for {
		var n yaml.Node
		err := loader.Load(&n)
		switch {
		case errors.Is(err, io.EOF):
			if len(all) == 0 && len(f.list) == 0 {
				f.Add(dove.Invalid, 0, "", "", "the text says nothing")
			}
			return all
		case err != nil:
			line, message := 0, err.Error()
			if e, ok := errors.AsType[*yaml.LoadError](err); ok {
				line, message = e.Mark.Line, e.Message
			}
			f.Add(dove.Invalid, line, "", "", "not YAML or JSON: %s", message)
			return all
		}
		if !plain(&n, f) || len(n.Content) != 1 || n.Content[0].ShortTag() == "!!null" {
			continue // the faults are noted; an empty document says nothing
		}
		all = append(all, Source{n.Content[0], n.Content[0].Line})
	}
}

func plain(n *yaml.Node, f *Faults) bool {
	ok := true
	switch {
	case n.Kind == yaml.AliasNode:
		f.Add(dove.Invalid, n.Line, "", "write the value out", "alias *%s is not allowed", n.Value)
		return false
	case n.ShortTag() == "!!merge":
		f.Add(dove.Invalid, n.Line, "", "write the values out", "merge key << is not allowed")
		ok = false
	case n.Style&yaml.TaggedStyle != 0:
		f.Add(dove.Invalid, n.Line, "", "leave it out", "tag %s is not allowed", n.ShortTag())
		ok = false
	}
	for _, c := range n.Content {
		if n.Kind == yaml.SequenceNode && c.ShortTag() == "!!null" {
			f.Add(dove.Invalid, c.Line, "", "write it or leave it out", "an item of a list is empty")
			ok = false
		}
		ok = plain(c, f) && ok
	}
	return ok
}

// Word returns what the document says under a key, if that is one word.
func (s Source) Word(key string) string {
	if n := s.child(key); n != nil && n.Kind == yaml.ScalarNode {
		return n.Value
	}
	return ""
}

// Items returns the items of the list under a key, which must be there.
func (s Source) Items(key string, f *Faults) []Source {
	n := s.child(key)
	if n == nil || n.Kind != yaml.SequenceNode {
		f.Add(dove.Invalid, s.Line, key, "", "it is not a list")
		return nil
	}
	var all []Source
	for _, c := range n.Content {
		all = append(all, Source{c, c.Line})
	}
	return all
}

func (s Source) child(key string) *yaml.Node {
	for i := 0; s.node.Kind == yaml.MappingNode && i+1 < len(s.node.Content); i += 2 {
		if s.node.Content[i].Value == key {
			return s.node.Content[i+1]
		}
	}
	return nil
}

var (
	unknownField = regexp.MustCompile(`field (\S+) not found in type (?:\w+\.)?(\w+)`)
	goType       = regexp.MustCompile("cannot construct !!(\\w+) (`.*`) into .*")
)

// Decode reads the document into a struct, in the words of its yaml tags. Strict
// refuses every field that the struct does not have. It reports whether what the
// struct has was read, so that all of its faults can be found at once.
func (s Source) Decode(into any, strict bool, f *Faults) bool {
	var options []yaml.Option
	if strict {
		options = append(options, yaml.WithKnownFields())
	}
	err := s.node.Load(into, options...)
	if err == nil {
		return true
	}
	all, ok := errors.AsType[*yaml.LoadErrors](err)
	if !ok {
		f.Add(dove.Invalid, s.Line, "", "", "%v", err)
		return false
	}
	read := true
	for _, e := range all.Errors {
		read = read && unknownField.MatchString(e.Message)
		switch {
		case unknownField.MatchString(e.Message):
			m := unknownField.FindStringSubmatch(e.Message)
			f.Add(dove.Invalid, e.Mark.Line, "", "this version does not know what it means: leave it out", "unknown field %q in %s", m[1], spaced(m[2]))
		case goType.MatchString(e.Message):
			m := goType.FindStringSubmatch(e.Message)
			f.Add(dove.Invalid, e.Mark.Line, "", "", "%s does not belong here: something else is wanted than a %s", m[2], m[1])
		default:
			f.Add(dove.Invalid, e.Mark.Line, "", "", "%s", e.Message)
		}
	}
	return read
}

// spaced reads the name of a Go type as words.
func spaced(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}
