package tree_test

import (
	"os"
	"os/exec"
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

// TestSwitchIsLight keeps the store, the API and the controller out of dswitch,
// which runs on every host.
func TestSwitchIsLight(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./cmd/dswitch").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(out)) {
		dep = strings.TrimSpace(dep)
		for _, heavy := range []string{"go.etcd.io/", "google.golang.org/grpc", "github.com/danielgtaylor/huma", "dove.network/api", "dove.network/world", "dove.network/controller", "dove.network/policy"} {
			if strings.HasPrefix(dep, heavy) {
				t.Errorf("dswitch links %s", dep)
			}
		}
	}
}
