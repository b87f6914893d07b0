package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestNobodyRuns: what asks a dswitch says where none runs.
func TestNobodyRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	for _, what := range []string{"status", "drops", "flows", "counts", "held"} {
		cmd := command()
		cmd.SetArgs([]string{what, "--state", dir})
		err := cmd.ExecuteContext(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), "no dswitch runs with the state folder "+dir+":") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
