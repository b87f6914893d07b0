// Package faulttest keeps the lists of mistakes that tests must notice. A Fault is a piece
// of a source file and what it becomes: it is put into a copy, so that the code under test has
// no switches for it, and a test that compares that code with something else must fail then.
// The package knows nothing of DOVE, nor of how a copy is compiled and tried.
package faulttest

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var all = flag.Bool("faults", false, "try all seeded faults, rather than a few (make faults)")

// All reports whether all faults are to be tried, rather than a few.
func All() bool { return *all }

// Fault is a mistake: in File, relative to some folder, Is becomes Be.
type Fault struct{ Name, File, Is, Be string }

// In returns the text of the fault's file with the fault in it.
func (f Fault) In(text []byte) []byte { return []byte(strings.Replace(string(text), f.Is, f.Be, 1)) }

// Tried are the faults that this run of the tests tries: all, or the first few.
func Tried[F any](faults []F, few int) []F {
	if *all {
		return faults
	}
	return faults[:few]
}

// AreThere keeps a list from rotting where it is not tried: what each fault replaces is
// in its file of the folder once, and no two have one name.
func AreThere[F ~struct{ Name, File, Is, Be string }](t *testing.T, folder string, faults []F) {
	t.Helper()
	names := map[string]bool{}
	for _, f := range faults {
		f := Fault(f)
		source, err := os.ReadFile(filepath.Join(folder, f.File))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), f.Is); n != 1 {
			t.Errorf("%s: %s has %d times %q, meant: once", f.Name, f.File, n, f.Is)
		}
		if names[f.Name] {
			t.Errorf("two faults are named %q", f.Name)
		}
		names[f.Name] = true
	}
}
