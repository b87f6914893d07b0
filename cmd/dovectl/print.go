package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"dove.network/dove"
	"go.yaml.in/yaml/v4"
)

// Colours, as the parameters of the terminal's sequence.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func paint(on bool, colour, s string) string {
	if !on {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// emit prints a result in the form that was asked for; table prints it as text.
func (a *app) emit(v any, table func(io.Writer)) error {
	if a.form == "table" {
		var text bytes.Buffer
		table(&text)
		_, err := io.WriteString(a.out, layout(text.String(), a.width))
		return err
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	if a.form == "yaml" {
		// By way of JSON: one set of names.
		var n yaml.Node
		if err := yaml.Load(text, &n); err != nil {
			return fmt.Errorf("print the result: %w", err)
		}
		plain(&n)
		if text, err = yaml.Dump(&n); err != nil {
			return fmt.Errorf("print the result: %w", err)
		}
	}
	_, err = fmt.Fprintln(a.out, strings.TrimRight(string(text), "\n"))
	return err
}

// emitLine prints one of many results as it comes: a line of text, a line of JSON,
// or a YAML document.
func (a *app) emitLine(v any, text string) error {
	switch a.form {
	case "json":
		return json.NewEncoder(a.out).Encode(v)
	case "yaml":
		if _, err := io.WriteString(a.out, "---\n"); err != nil {
			return err
		}
		return a.emit(v, nil)
	}
	if text == "" {
		return nil
	}
	_, err := io.WriteString(a.out, layout(text, a.width))
	return err
}

// plain takes JSON's style from YAML nodes.
func plain(n *yaml.Node) {
	n.Style = 0
	switch {
	case n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "\n"):
		n.Style = yaml.LiteralStyle
	case (n.Kind == yaml.SequenceNode || n.Kind == yaml.MappingNode) && len(n.Content) == 0:
		n.Style = yaml.FlowStyle
	}
	for _, c := range n.Content {
		plain(c)
	}
}

// row prints one line of a table; what is "" shows as a dash.
func row(w io.Writer, cells ...any) {
	for i, c := range cells {
		s := fmt.Sprint(c)
		if s == "" {
			s = "-"
		}
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, s)
	}
	fmt.Fprintln(w)
}

// several prints names in one cell.
func several[T ~string](names []T) string {
	var s []string
	for _, n := range names {
		s = append(s, string(n))
	}
	return strings.Join(s, ",")
}

// fileError is a fault of a document that came from a file.
type fileError struct {
	file string
	error
}

func (e fileError) Unwrap() error { return e.error }

// complain prints why the program fails. Faults of a document are printed as
// compilers do, FILE:LINE:COLUMN: MESSAGE (HINT), one a line.
func (a *app) complain(err error) {
	label := paint(a.colourErr, red, "dovectl: ")
	e, ok := errors.AsType[*dove.Error](err)
	if !ok {
		fmt.Fprintln(a.err, label+err.Error())
		return
	}
	where := "  "
	if f, ok := errors.AsType[fileError](err); ok {
		where = f.file + ":"
	} else {
		fmt.Fprintln(a.err, label+e.Message)
	}
	for _, f := range e.Faults {
		fmt.Fprintln(a.err, a.fault(where, f))
	}
	if where != "  " {
		fmt.Fprintln(a.err, label+e.Message)
	}
}

// named spells what a fault is about as it was typed: what the API takes as a
// query mostly is a flag here.
func (a *app) named(path string) string {
	name, query := strings.CutPrefix(path, "query.")
	if query && a.cmd != nil && a.cmd.Flags().Lookup(name) != nil {
		return "--" + name
	}
	return name
}

func (a *app) fault(where string, f dove.Fault) string {
	message := f.Message
	switch {
	case f.Line > 0:
		where += fmt.Sprintf("%d:%d:", f.Line, f.Column)
	case f.Path != "":
		message = a.named(f.Path) + ": " + message
	}
	if f.Hint != "" {
		message += " (" + f.Hint + ")"
	}
	if where == "  " {
		return where + message
	}
	return paint(a.colourErr, bold, where) + " " + message
}
