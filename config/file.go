package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"dove.network/dove"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"
)

// noSettings are flags that ask something of the program rather than set it up.
var noSettings = []string{"config", "check", "help", "version"}

// place is where the file gives a setting, and whether its value was refused.
type place struct {
	line, column int
	refused      bool
}

// parse sets the flags that the file names and the command line does not, and
// returns everything that is wrong with the file. Values that the command line
// overrides are checked too. The places are nil if the text has no settings to
// speak of.
func parse(text []byte, f *pflag.FlagSet) ([]dove.Fault, map[string]place) {
	root, fault := load(text)
	if fault != nil {
		return []dove.Fault{*fault}, nil
	}
	places := map[string]place{}
	if root == nil || root.ShortTag() == "!!null" {
		return nil, places // an empty file sets nothing
	}
	if root.Kind != yaml.MappingNode {
		return []dove.Fault{at(root, "", "the file is not a mapping", "write lines of the form setting: value")}, nil
	}
	var faults []dove.Fault
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		name := key.Value
		flag := f.Lookup(name)
		if flag == nil || slices.Contains(noSettings, name) {
			faults = append(faults, at(key, "", fmt.Sprintf("unknown setting %q", name), nearest(name, f)))
			continue
		}
		if earlier, ok := places[name]; ok {
			faults = append(faults, at(key, name, "it is set twice", fmt.Sprintf("first in line %d", earlier.line)))
			continue
		}
		here := place{line: value.Line, column: value.Column}
		if err := set(flag, value); err != nil {
			here.refused = true
			message := err.Error()
			if e, ok := errors.AsType[*strconv.NumError](err); ok {
				message = fmt.Sprintf("%q is not of type %s: %v", e.Num, flag.Value.Type(), e.Err)
			}
			faults = append(faults, at(value, name, message, flagUsage(flag)))
		}
		places[name] = here
	}
	return faults, places
}

// load reads at most one YAML document.
func load(text []byte) (*yaml.Node, *dove.Fault) {
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		panic(fmt.Sprintf("config: yaml options: %v", err))
	}
	var document, second yaml.Node
	if err := loader.Load(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, syntax(err)
	}
	switch err := loader.Load(&second); {
	case err == nil:
		fault := at(&second, "", "a second document starts here", "give one document")
		return nil, &fault
	case !errors.Is(err, io.EOF):
		return nil, syntax(err)
	}
	return document.Content[0], nil
}

func syntax(err error) *dove.Fault {
	fault := dove.Fault{Message: "not YAML: " + err.Error()}
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		fault.Line, fault.Column, fault.Message = e.Mark.Line, e.Mark.Column, "not YAML: "+e.Message
	}
	return &fault
}

func at(n *yaml.Node, path, message, hint string) dove.Fault {
	return dove.Fault{Path: path, Line: n.Line, Column: n.Column, Message: message, Hint: hint}
}

// set gives the flag the value of a node. A flag of the command line keeps its
// own value, but the file's must be sound nevertheless.
func set(flag *pflag.Flag, n *yaml.Node) error {
	list, isList := flag.Value.(pflag.SliceValue)
	var values []string
	switch {
	case n.Kind == yaml.ScalarNode:
		values = []string{n.Value}
	case n.Kind == yaml.SequenceNode && isList:
		for _, c := range n.Content {
			if c.Kind != yaml.ScalarNode {
				return errors.New("its items must be plain values")
			}
			values = append(values, c.Value)
		}
	case isList:
		return errors.New("it must be a list")
	default:
		return errors.New("it must be a plain value")
	}
	if isList {
		given := list.GetSlice()
		err := list.Replace(values)
		if err != nil || flag.Changed {
			return errors.Join(err, list.Replace(given))
		}
		return nil
	}
	if n.ShortTag() == "!!null" {
		return errors.New("it has no value")
	}
	given := flag.Value.String()
	err := flag.Value.Set(n.Value)
	if err != nil || flag.Changed {
		return errors.Join(err, flag.Value.Set(given))
	}
	return nil
}

// Format prints the settings as a file that Program reads, in the flags' order.
// Values of secret flags are left out.
func Format(f *pflag.FlagSet) ([]byte, error) {
	document := &yaml.Node{Kind: yaml.MappingNode}
	f.VisitAll(func(flag *pflag.Flag) {
		if slices.Contains(noSettings, flag.Name) || flag.Annotations[secretMark] != nil {
			return
		}
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: flag.Name}
		value := scalar(flag)
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			value = &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
			for _, s := range list.GetSlice() {
				value.Content = append(value.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s})
			}
		}
		document.Content = append(document.Content, key, value)
	})
	text, err := yaml.Dump(document)
	if err != nil {
		return nil, fmt.Errorf("print the settings: %w", err)
	}
	return text, nil
}

func scalar(flag *pflag.Flag) *yaml.Node {
	tag := "!!str"
	switch t := flag.Value.Type(); {
	case t == "bool":
		tag = "!!bool"
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "uint"):
		tag = "!!int"
	case strings.HasPrefix(t, "float"):
		tag = "!!float"
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: flag.Value.String()}
	if strings.Contains(n.Value, "\n") {
		n.Style = yaml.LiteralStyle
	}
	return n
}

func flagUsage(flag *pflag.Flag) string {
	_, usage := pflag.UnquoteUsage(flag)
	return usage
}

// nearest hints at the setting that s was probably meant to be.
func nearest(s string, f *pflag.FlagSet) string {
	var known []string
	f.VisitAll(func(flag *pflag.Flag) {
		if !slices.Contains(noSettings, flag.Name) {
			known = append(known, flag.Name)
		}
	})
	if best := dove.Nearest(s, slices.Values(known)); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "--help lists all settings"
}
