package scenario

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// PassMax is the longest time that a Pass may last: at some levels somebody waits for it.
const PassMax = 5 * time.Minute

// Pass lets whole seconds go by. It is done when what was to end meanwhile has
// ended wherever the DPC reaches, if the DPC runs.
type Pass struct{ Time time.Duration }

func (Pass) action() {}

func (a Pass) String() string { return fmt.Sprintf("pass %ds", a.Time/time.Second) }

// moment is how the text of a document writes a time to come.
var moment = regexp.MustCompile(`\bnow\+([0-9]{1,6})s\b`)

// At returns the text as it is applied at a time: now+40s in it is the whole
// second 40 seconds later, or the last one before that.
func (a ApplyBlueprint) At(now time.Time) string {
	return moment.ReplaceAllStringFunc(a.Text, func(s string) string {
		n, err := strconv.Atoi(moment.FindStringSubmatch(s)[1])
		if err != nil {
			panic(fmt.Sprintf("scenario: %q has no number: %v", s, err))
		}
		return now.Add(time.Duration(n) * time.Second).UTC().Truncate(time.Second).Format(time.RFC3339)
	})
}

// pass takes a time in whole seconds.
func (l *line) pass() Action {
	w := l.next("a time")
	d, err := time.ParseDuration(w.text)
	if err != nil || d < time.Second || d > PassMax || d%time.Second != 0 {
		l.fault(w, "write pass 40s", "%s is no time of whole seconds, from 1s to %s", shorten(w.text), PassMax)
	}
	return Pass{d}
}
