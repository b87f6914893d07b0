package sim

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dove.network/scenario"
)

var update = flag.Bool("update", false, "write what every scenario says into scenarios/golden")

// TestGolden runs every scenario at the soft level, which can carry out all
// steps, and compares what happened in each with what scenarios/golden says.
// The files are for reading: each is its scenario with what became of every step.
func TestGolden(t *testing.T) {
	golden := "../scenarios/golden"
	all := scenarios(t)
	for name, s := range all {
		text, err := os.ReadFile(filepath.Join("../scenarios", name+".dove"))
		if err != nil {
			t.Fatal(err)
		}
		stage, err := NewStage("soft", s)
		if err != nil {
			t.Fatal(err)
		}
		var says []string
		scenario.Run(t.Context(), s, stage, func(step scenario.Step, said string, err error) {
			if err != nil {
				t.Errorf("%s:%d: %v", name, step.Line, err)
			}
			says = append(says, said)
		})
		told := scenario.Narrate(text, s, says)
		file := filepath.Join(golden, name+".txt")
		if *update {
			if err := os.WriteFile(file, told, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		meant, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if !bytes.Equal(told, meant) {
			t.Errorf("%s: meant -, said +; if it is right, run: go test ./sim -run TestGolden -update\n%s", file,
				cmp.Diff(strings.Split(string(meant), "\n"), strings.Split(string(told), "\n")))
		}
	}
	files, err := filepath.Glob(golden + "/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if all[strings.TrimSuffix(filepath.Base(file), ".txt")] == nil {
			t.Errorf("%s is of no scenario: remove it", file)
		}
	}
}
