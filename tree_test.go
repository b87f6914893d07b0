// Package tree_test holds the rules of the tree as tests: who may import whom,
// and that every package says what it knows.
package tree_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "dove.network/"

// layers gives each package its layer. Imports point to lower layers only;
// within a layer only as beside lists.
var layers = map[string]int{
	"dove":               0,
	"blueprint":          1,
	"verdict":            1,
	"packet":             1,
	"scenario":           1,
	"policy":             2,
	"oracle":             2,
	"oracle/worlds":      2,
	"imports":            2,
	"imports/kubernetes": 2,
	"imports/openstack":  2,
	"world":              3,
	"edit":               3,
	"resolver":           3,
	"explain":            3,
	"plan":               3,
	"control":            3,
	"control/controlpb":  3,
	"dataplane":          3,
	"backup":             3,
	"controller":         4,
	"agent":              4,
	"store/etcd":         5,
	"store/memory":       5,
	"store/storetest":    5,
	"dataplane/soft":     5,
	"dataplane/ebpf":     5,
	"vif":                5,
	"auth":               5,
	"control/stream":     5,
	"api":                5,
	"api/client":         5,
	"lab/bench":          5,
	"sim":                6,
	"sim/fleet":          6,
	"lab":                6,
	"lab/fleet":          6,
	"cmd/dpc":            7,
	"cmd/dswitch":        7,
	"cmd/dovectl":        7,
	"cmd/dovelab":        7,
	"config":             1,
	"daemon":             1,
	"lobby":              1,
	"atonce":             1,
	"manual":             1,
	"daemon/daemontest":  1,
	"privtest":           1,
}

// beside lists the imports that are allowed within one layer.
var beside = map[string][]string{
	"scenario":           {"blueprint"},
	"oracle/worlds":      {"oracle"},
	"imports/kubernetes": {"imports"},
	"imports/openstack":  {"imports"},
	"plan":               {"world", "dataplane"},
	"edit":               {"world", "plan", "dataplane"},
	"resolver":           {"world", "control"},
	"explain":            {"world", "resolver"},
	"control":            {"control/controlpb"},
	"control/stream":     {"auth"},
	"api":                {"auth"},
	"api/client":         {"auth", "api"},
	"sim/fleet":          {"sim"},
}

// never lists imports that the layers would allow and the design forbids.
var never = map[string][]string{
	"blueprint":      {"policy"},
	"verdict":        {"blueprint"},
	"policy":         {"oracle"},
	"oracle":         {"policy", "verdict"},
	"imports":        {"policy", "oracle"},
	"world":          {"control"},
	"explain":        {"control"},
	"control":        {"policy"},
	"agent":          {"policy", "oracle", "blueprint", "world"},
	"store/etcd":     {"blueprint", "world", "policy", "control", "controller", "edit", "resolver"},
	"store/memory":   {"blueprint", "world", "policy", "control", "controller", "edit", "resolver"},
	"dataplane/soft": {"agent", "control", "policy"},
	"dataplane/ebpf": {"agent", "control", "policy"},
	"vif":            {"control"},
	"api":            {"controller"},
	"cmd/dswitch":    {"store/etcd", "store/memory", "api", "controller", "world", "policy", "blueprint"},
}

// sources yields every non-generated, non-test Go file by package folder.
func sources(t *testing.T) map[string][]*ast.File {
	t.Helper()
	fset := token.NewFileSet()
	out := map[string][]*ast.File{}
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && p != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "conformance" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		if f.Name.Name != "main" || strings.HasPrefix(p, "cmd/") {
			dir := path.Clean(filepath.ToSlash(filepath.Dir(p)))
			out[dir] = append(out[dir], f)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLayers(t *testing.T) {
	for _, pkg := range slices.Sorted(maps.Keys(sources(t))) {
		if _, ok := layers[pkg]; !ok {
			t.Errorf("package %s has no layer: place it in tree_test.go and in ARCHITECTURE.md", pkg)
		}
	}
	for pkg, files := range sources(t) {
		for _, f := range files {
			for _, im := range f.Imports {
				to, ours := strings.CutPrefix(strings.Trim(im.Path.Value, `"`), module)
				if !ours {
					continue
				}
				up := layers[to] > layers[pkg]
				across := layers[to] == layers[pkg] && !slices.Contains(beside[pkg], to)
				if up || across || slices.Contains(never[pkg], to) {
					t.Errorf("%s (layer %d) must not import %s (layer %d)", pkg, layers[pkg], to, layers[to])
				}
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	for pkg, files := range sources(t) {
		long := 0
		for _, f := range files {
			if f.Doc != nil {
				long = max(long, len(f.Doc.Text()))
			}
		}
		if long < 80 {
			t.Errorf("package %s does not say what it knows: write its package comment", pkg)
		}
	}
}
