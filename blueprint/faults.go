package blueprint

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"dove.network/dove"
)

// MaxFaults is how many faults one error lists; it says how many more there are.
const MaxFaults = 100

// place is where a part of a document stands in its text.
type place struct {
	path         string
	line, column int
}

// at returns the place of a part of what stands at p, if it has none of its own.
func (p place) at(path string) place { return place{path, p.line, p.column} }

// faults gathers what is wrong with a document.
type faults struct {
	list []dove.Fault
	more int       // beyond MaxFaults
	kind dove.Kind // the gravest so far
}

// add notes a fault. A wrong document stays Invalid even if it also contradicts
// others or asks for what cannot be enforced.
func (f *faults) add(kind dove.Kind, at place, message, hint string) {
	if len(f.list) == 0 || gravity(kind) > gravity(f.kind) {
		f.kind = kind
	}
	if len(f.list) == MaxFaults {
		f.more++
		return
	}
	f.list = append(f.list, dove.Fault{Path: at.path, Line: at.line, Column: at.column, Message: message, Hint: hint})
}

func gravity(k dove.Kind) int {
	return slices.Index([]dove.Kind{dove.Unsupported, dove.Conflict, dove.Invalid}, k)
}

// err returns all faults as one error in the order of the text, or nil.
func (f *faults) err() error {
	if len(f.list) == 0 {
		return nil
	}
	slices.SortStableFunc(f.list, func(a, b dove.Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	message := "the blueprint is not valid"
	switch f.kind {
	case dove.Conflict:
		message = "the blueprint contradicts what exists"
	case dove.Unsupported:
		message = "the blueprint asks for what this version cannot enforce"
	}
	return dove.Refusal(f.kind, message, f.list, f.more)
}

// quote prints a piece of the tenant's text, shortened.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		return fmt.Sprintf("%.*q...", most, s)
	}
	return fmt.Sprintf("%q", s)
}

// nearest returns a hint that names the known word most like s, or lists them
// all if they are few. The order of known does not matter. There is none once
// no more faults are listed, since a hint costs more than a fault.
func (f *faults) nearest(s string, known iter.Seq[string]) string {
	const few = 12
	if len(f.list) == MaxFaults {
		return ""
	}
	if best := dove.Nearest(s, known); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	var all []string
	for k := range known {
		if all = append(all, k); len(all) > few {
			return ""
		}
	}
	if len(all) == 0 {
		return "there are none"
	}
	slices.Sort(all)
	return "known are " + strings.Join(all, ", ")
}
