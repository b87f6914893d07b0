package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"dove.network/dove"
)

// MaxFaults is how many faults one error lists.
const MaxFaults = 100

// word is a piece of a line and the column, from 1, where it begins.
type word struct {
	text   string
	column int
	quoted bool
}

// split cuts a line into words at spaces. A double-quoted word may hold spaces;
// a word that begins with # starts a comment.
func split(line string) ([]word, error) {
	var words []word
	for i := 0; i < len(line); {
		switch c := line[i]; {
		case c == ' ' || c == '\t':
			i++
		case c == '#':
			return words, nil
		case c == '"':
			quoted, err := strconv.QuotedPrefix(line[i:])
			if err != nil {
				return words, fmt.Errorf("the quote in column %d does not end", i+1)
			}
			text, err := strconv.Unquote(quoted)
			if err != nil {
				return words, fmt.Errorf("the quote in column %d: %v", i+1, err)
			}
			words = append(words, word{text, i + 1, true})
			i += len(quoted)
		default:
			end := i + strings.IndexAny(line[i:]+" ", " \t")
			words = append(words, word{line[i:end], i + 1, false})
			i = end
		}
	}
	return words, nil
}

// shorten keeps strange text out of messages.
func shorten(s string) string {
	if len(s) > 60 {
		return fmt.Sprintf("%.60q...", s)
	}
	return fmt.Sprintf("%q", s)
}

// line is what is left to read of a line, and where its faults go.
type line struct {
	p      *parser
	number int
	end    int // column behind the last word
	words  []word
	bad    bool
}

// fault notes one fault of the line; the first spoils it, the rest would only
// repeat it.
func (l *line) fault(at word, hint, format string, args ...any) {
	if !l.bad {
		l.p.fault(l.number, at.column, hint, format, args...)
	}
	l.bad = true
}

// next takes the next word; what says what is missing if there is none.
func (l *line) next(what string) word {
	if len(l.words) == 0 {
		at := word{column: l.end}
		l.fault(at, "", "%s is missing", what)
		return at
	}
	w := l.words[0]
	l.words = l.words[1:]
	return w
}

// options takes the words key=value from among the rest of the line.
func (l *line) options(known ...string) map[string]word {
	values := map[string]word{}
	l.words = slices.DeleteFunc(l.words, func(w word) bool {
		key, value, ok := strings.Cut(w.text, "=")
		if !ok || w.quoted {
			return false
		}
		_, twice := values[key]
		switch {
		case !slices.Contains(known, key):
			l.fault(w, "known are "+strings.Join(known, ", "), "unknown option %s", shorten(key))
		case twice:
			l.fault(w, "", "option %s is given twice", key)
		}
		values[key] = word{value, w.column + len(key) + 1, false}
		return true
	})
	return values
}

// done refuses what is left of the line.
func (l *line) done() {
	if len(l.words) > 0 {
		l.fault(l.words[0], "one line is one step", "%s is too much here", shorten(l.words[0].text))
	}
}

// exactly takes a word that can be only one thing.
func (l *line) exactly(text string) {
	if w := l.next(text); w.text != text {
		l.fault(w, "", "%s stands where %s should", shorten(w.text), text)
	}
}

// name takes a word that names something.
func (l *line) name(what string) string {
	w := l.next(what)
	if err := dove.CheckName(w.text); err != nil {
		l.fault(w, "", "%s: %v", what, err)
	}
	return w.text
}

// endpoint takes a word of the form tenant/id.
func (l *line) endpoint(what string) dove.Endpoint {
	w := l.next(what)
	tenant, id, ok := strings.Cut(w.text, "/")
	if !ok {
		l.fault(w, "", "%s %s is not of the form tenant/%s", what, shorten(w.text), what)
	}
	for _, s := range []string{tenant, id} {
		if err := dove.CheckName(s); err != nil {
			l.fault(w, "", "%s %s: %v", what, shorten(w.text), err)
		}
	}
	return dove.Endpoint{Tenant: dove.Tenant(tenant), ID: dove.EndpointID(id)}
}

// address reads a word as an address.
func (l *line) address(w word) netip.Addr {
	a, err := netip.ParseAddr(w.text)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		l.fault(w, "", "%s is no address", shorten(w.text))
	}
	return a
}

// probe takes a probe.
func (l *line) probe() Probe {
	w := l.next("a probe")
	p, err := ParseProbe(w.text)
	if err != nil {
		l.fault(w, "", "%v", err)
	}
	return p
}
