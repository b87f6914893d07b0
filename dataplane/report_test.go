package dataplane

import (
	"os"
	"strings"
	"testing"
)

// TestReasonsAreDocumented: operators are told what each reason of a drop means.
func TestReasonsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n## Why a packet was dropped\n")
	table, _, _ = strings.Cut(table, "\n## ")
	if !found {
		t.Fatal("docs/operations.md does not say why packets are dropped")
	}
	for r := NotDropped + 1; r < reasonEnd; r++ {
		if !strings.Contains(table, "`"+r.String()+"`") {
			t.Errorf("docs/operations.md does not say what %q means", r)
		}
	}
}
