package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLayout(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		width int
		want  string
	}{
		"columns":                {"A\tB\tC\nlong\tx\ty\n", 0, "A     B  C\nlong  x  y\n"},
		"two tables":             {"a\tb\n\nlonger\tb\n", 0, "a  b\n\nlonger  b\n"},
		"colours take no room":   {"\x1b[31mno\x1b[0m\tb\nyes\tb\n", 0, "\x1b[31mno\x1b[0m   b\nyes  b\n"},
		"no room for a space":    {"a\t\n", 0, "a\n"},
		"letters, not bytes":     {"µ\tb\nab\tb\n", 0, "µ   b\nab  b\n"},
		"a long last cell":       {"key:\tone two three\n", 14, "key:  one two\n      three\n"},
		"a long line":            {"one two three\n", 8, "one two\n  three\n"},
		"a long word":            {"k:\tabcdefghijkl mn\n", 10, "k:  abcdefghijkl\n    mn\n"},
		"too far right to break": {"a long first cell\tone two three\n", 24, "a long first cell  one two three\n"},
		"it fits":                {"k:\tone two\n", 11, "k:  one two\n"},
	} {
		if d := cmp.Diff(c.want, layout(c.text, c.width)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
