package tree_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDependencies wants a line of reason for every direct dependency.
func TestDependencies(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	record, err := os.ReadFile("docs/adr/0005-dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	direct := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(mod), -1)
	if len(direct) == 0 {
		t.Fatal("go.mod names no direct dependency")
	}
	for _, d := range direct {
		if !strings.Contains(string(record), "`"+d[1]+"`") {
			t.Errorf("%s is a direct dependency without a reason in docs/adr/0005-dependencies.md", d[1])
		}
	}
}
