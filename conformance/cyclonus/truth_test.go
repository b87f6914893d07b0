package main

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"dove.network/privtest"
)

// bin holds the programs under test.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "dove-truth-")
	if err != nil {
		panic(err)
	}
	bin = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

const short = 30 // cases

// TestTruthTables is the short form of make truth-tables.
func TestTruthTables(t *testing.T) {
	privtest.Require(t)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "./cmd/dpc", "./cmd/dswitch", "./cmd/dovectl")
	build.Dir = "../.." // in the module that they are of
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	got, err := run(t.Context(), options{bin: bin, name: fmt.Sprintf("truth-%d", os.Getpid()), most: short, out: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	if got.Wrong > 0 || got.Cases < short || got.Cells < short*432 {
		t.Errorf("%d of %d cells of %d cases are wrong; want 0 of at least %d of %d", got.Wrong, got.Cells, got.Cases, short*432, short)
	}
	// The same cases where nothing judges packets must come out wrong, but for the
	// few in which all is allowed, or the tables would be worth nothing.
	flat, err := run(t.Context(), options{bin: bin, name: fmt.Sprintf("flat-%d", os.Getpid()), flat: true, most: short, out: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	if flat.Cells != got.Cells || flat.passed > short/10 {
		t.Errorf("on a flat bridge %d of %d cases are right, %d cells", flat.passed, flat.Cases, flat.Cells)
	}
}
