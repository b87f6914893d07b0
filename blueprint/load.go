package blueprint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"dove.network/dove"
)

// Limits of a document's text.
const (
	MaxBytes = 1 << 20
	MaxDepth = 16 // nested lists and mappings
)

// load reads one YAML or JSON document into nodes without aliases.
func load(text []byte) (*yaml.Node, error) {
	if len(text) > MaxBytes {
		return nil, dove.Errorf(dove.TooLarge, "the blueprint is longer than the %d bytes that are allowed: split it into several of one domain", MaxBytes)
	}
	var f faults
	if !utf8.Valid(text) {
		valid := bytes.ToValidUTF8(text, nil)
		same := 0
		for same < len(valid) && valid[same] == text[same] {
			same++
		}
		f.add(dove.Invalid, place{
			line:   1 + bytes.Count(text[:same], []byte("\n")),
			column: same - bytes.LastIndexByte(text[:same], '\n'),
		}, "the text is not UTF-8", "save it as UTF-8")
		return nil, f.err()
	}
	loader, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(MaxDepth))))
	if err != nil {
		panic(fmt.Sprintf("yaml loader options: %v", err))
	}
	var document *yaml.Node // the one that says something
	for {
		var n yaml.Node
		if err := loader.Load(&n); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			f.syntax(err)
			break
		}
		if n.Kind != yaml.DocumentNode || len(n.Content) != 1 {
			panic(fmt.Sprintf("yaml gave a document of kind %d with %d nodes", n.Kind, len(n.Content)))
		}
		switch content := n.Content[0]; {
		case content.Kind == yaml.ScalarNode && content.Style&yaml.TaggedStyle == 0 && content.ShortTag() == "!!null":
			continue // a line of --- too many
		case document != nil:
			f.add(dove.Invalid, place{line: n.Line, column: n.Column}, "a second document starts here", "give one blueprint at a time")
		default:
			document = content
			f.refuseAliases(document)
			continue
		}
		break
	}
	if document == nil && len(f.list) == 0 {
		f.add(dove.Invalid, place{line: 1, column: 1}, "the document is empty", "start with apiVersion: "+APIVersion)
	}
	return document, f.err()
}

// syntax notes what the YAML reader stumbled over.
func (f *faults) syntax(err error) {
	var at place
	message := err.Error()
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		at.line, at.column = e.Mark.Line, e.Mark.Column
		message = e.Message
		if e.ContextMsg != "" {
			message = e.ContextMsg + ": " + e.Message
		}
	}
	hint := ""
	if strings.Contains(message, "cannot start any token") {
		hint = "YAML indents with spaces, never with tabs"
	}
	f.add(dove.Invalid, at, "not YAML or JSON: "+message, hint)
}

// refuseAliases refuses references to other nodes, which would let a short text
// stand for a huge one, and tags, which say that a value is not what it looks like.
func (f *faults) refuseAliases(n *yaml.Node) {
	at := place{line: n.Line, column: n.Column}
	switch tag := n.ShortTag(); {
	case n.Kind == yaml.AliasNode:
		f.add(dove.Invalid, at, "alias *"+n.Value+" is not allowed", "write the value out")
		return
	case tag == "!!merge":
		f.add(dove.Invalid, at, "merge key << is not allowed", "write the values out")
	case n.Style&yaml.TaggedStyle != 0:
		f.add(dove.Invalid, at, "tag "+quote(tag)+" is not allowed", "leave it out")
	}
	for _, c := range n.Content {
		f.refuseAliases(c)
	}
}
