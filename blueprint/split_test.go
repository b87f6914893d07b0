package blueprint

import (
	"fmt"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	for text, want := range map[string]string{
		"":                                `[1 ""]`,
		"a: 1\n":                          `[1 "a: 1\n"]`,
		"---\na: 1\n":                     `[1 "---\na: 1\n"]`,
		"# c\n---\na: 1\n---\n# d\n":      `[1 "# c\n---\na: 1\n---\n# d\n"]`,
		"a: 1\n---\nb: 2":                 `[1 "a: 1\n" 3 "b: 2"]`,
		"a: 1\r\n--- \r\nb: 2\r\n":        `[1 "a: 1\r\n" 3 "b: 2\r\n"]`,
		"\n\n---\na\n---\n---\n#\n\nb":    `[4 "a\n" 7 "#\n\nb"]`,
		"a: |\n  ---\n  x\n--- x\n----\n": `[1 "a: |\n  ---\n  x\n--- x\n----\n"]`,
	} {
		got := []any{}
		for _, d := range Split([]byte(text)) {
			got = append(got, d.Line, fmt.Sprintf("%q", d.Text))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%q: %v, want %s", text, got, want)
		}
	}
}

// TestEmptyDocuments: lines of --- too many part nothing.
func TestEmptyDocuments(t *testing.T) {
	const doc = "apiVersion: dove/v1\nkind: Blueprint\nname: x\n"
	for _, text := range []string{doc + "---\n", "---\n---\n" + doc, "# a\n---\n" + doc + "---\n# c\n---\n", doc + "...\n"} {
		if b, err := Parse("acme", []byte(text)); err != nil || b.Name != "x" {
			t.Errorf("%q: %v, %v", text, b, err)
		}
	}
	for _, text := range []string{"---\n---\n", "null\n", "---\n~\n---\n"} {
		if _, err := Parse("acme", []byte(text)); err == nil || !strings.Contains(err.Error(), "the document is empty") {
			t.Errorf("%q: %v", text, err)
		}
	}
	// What says something is none of them, whatever it says that it is.
	for _, text := range []string{doc + "--- !!null {kind: Blueprint}\n", doc + "--- !!null x\n", "--- !!null {kind: Blueprint}\n---\n" + doc} {
		if b, err := Parse("acme", []byte(text)); err == nil || strings.Contains(err.Error(), "empty") {
			t.Errorf("%q: %v, %v", text, b, err)
		}
	}
}
