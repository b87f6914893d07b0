// Package tree_test holds the rules of the tree as tests: who may import whom,
// and that every package says what it knows.
package tree_test

import (
	"bytes"
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
	"faulttest":          1,
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

// TestArchitecture holds the table of ARCHITECTURE.md against the layers. What is not in it
// is named below it: it serves tests, or is generated.
func TestArchitecture(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile("`([a-z/]+)`")
	table, layer := map[string]int{}, ""
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 {
			continue
		}
		layer = cmp.Or(strings.TrimSpace(cells[1]), layer)
		n, _ := strconv.Atoi(layer)
		for _, m := range quoted.FindAllStringSubmatch(cells[2], -1) {
			table[m[1]] = n
		}
	}
	for pkg, layer := range layers {
		n, ok := table[pkg]
		switch {
		case ok && n != layer:
			t.Errorf("ARCHITECTURE.md has package %s in layer %d, tree_test.go in %d", pkg, n, layer)
		case !ok && !strings.Contains(string(text), "`"+pkg+"`"):
			t.Errorf("ARCHITECTURE.md does not name package %s", pkg)
		}
		delete(table, pkg)
	}
	for pkg := range table {
		t.Errorf("ARCHITECTURE.md names package %s, which has no layer", pkg)
	}
}

// TestLargePackages: who makes a package larger than a reader holds in mind says why.
func TestLargePackages(t *testing.T) {
	const most, record = 3000, "docs/adr/0008-large-packages.md"
	reasons, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range sources(t) {
		lines := 0
		files, _ := filepath.Glob(pkg + "/*.go")
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(name, "_test.go") && !bytes.Contains(text, []byte("// Code generated ")) {
				lines += bytes.Count(text, []byte("\n"))
			}
		}
		if lines > most && !strings.Contains(string(reasons), "`"+pkg+"`") {
			t.Errorf("package %s has %d lines: split it, or say in %s why not", pkg, lines, record)
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
