package dove

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what sort of failure an error is. One table in each adapter turns
// kinds into what its own protocol says.
type Kind uint8

// The kinds of error.
const (
	Internal     Kind = iota // a fault of ours: a broken invariant or I/O
	Invalid                  // the request is wrong and stays wrong
	NotFound                 // what it names does not exist
	Exists                   // what it would create exists with other content
	Conflict                 // the world changed since it was read, or documents contradict
	Forbidden                // who asks may not
	Unauthorized             // nobody knows who asks
	TooLarge                 // beyond a stated limit
	Unsupported              // well-formed, but this version cannot enforce it
	Unavailable              // try again later
)

var kindNames = [...]string{
	"internal", "invalid", "not-found", "exists", "conflict",
	"forbidden", "unauthorized", "too-large", "unsupported", "unavailable",
}

func (k Kind) String() string { return kindNames[k] }

// Fault is one thing wrong with a document or request. Line and Column count
// from 1; 0 means unknown. Path is a JSON path without the leading "$", for
// example "policies[2].allow[0]".
type Fault struct {
	Path    string `json:"path,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (f Fault) String() string {
	var b strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&b, "%d:%d: ", f.Line, f.Column)
	}
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.Message)
	if f.Hint != "" {
		b.WriteString(" (" + f.Hint + ")")
	}
	return b.String()
}

// Error is a failure that may be shown to whoever asked: its kind, one
// sentence, and all faults at once where a document was at fault.
type Error struct {
	Kind    Kind
	Message string
	Faults  []Fault
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	for _, f := range e.Faults {
		b.WriteString("\n  " + f.String())
	}
	return b.String()
}

// Errorf makes an Error of the given kind.
func Errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Refusal makes an Error of all that is wrong with something: what is said of it, and how
// many faults there are, of which more were left out.
func Refusal(k Kind, what string, all []Fault, more int) *Error {
	switch n := len(all); {
	case more > 0:
		what += fmt.Sprintf(": %d faults, %d more are not shown", n, more)
	case n == 1:
		what += ": 1 fault"
	default:
		what += fmt.Sprintf(": %d faults", n)
	}
	return &Error{Kind: k, Message: what, Faults: all}
}

// KindOf returns the kind of the first Error in err's tree, or Internal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
