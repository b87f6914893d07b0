package blueprint

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dove.network/dove"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// section is one part of a golden file: "-- title --" and the text below it.
type section struct{ title, text string }

func sections(t testing.TB, file string) []section {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := []section{{}}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		line := lines.Text()
		if title, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(title, " --") {
			all = append(all, section{title: strings.TrimSuffix(title, " --")})
			continue
		}
		all[len(all)-1].text += line + "\n"
	}
	return all
}

// TestFaults runs each file of testdata/faults: what it shows; the blueprint;
// the rest of the tenant's world, if it matters; and the error it earns.
func TestFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/faults/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			all := sections(t, file)
			var text, want string
			var ctx Context
			checked := false
			for _, s := range all[1:] {
				title, rest, _ := strings.Cut(s.title, " ")
				switch title {
				case "blueprint":
					text = s.text
				case "error":
					want = s.text
				case "other":
					o, err := Parse("acme", []byte(s.text))
					if err != nil {
						t.Fatalf("other blueprint %s: %v", rest, err)
					}
					ctx.Blueprints = append(ctx.Blueprints, o)
					checked = true
				case "networks":
					ctx.Networks = existing(t, s.text)
					checked = true
				case "router": // who makes it ("-" for none), and a document that says what
					o, err := Parse("acme", []byte(s.text))
					if err != nil {
						t.Fatalf("existing router %s: %v", rest, err)
					}
					if ctx.Routers == nil {
						ctx.Routers = map[string]ExistingRouter{}
					}
					for _, r := range o.Routers {
						ctx.Routers[r.Name] = ExistingRouter{strings.Trim(rest, "-"), o.Domain, r}
					}
					checked = true
				default:
					t.Fatalf("unknown section %q", s.title)
				}
			}
			got := "none\n"
			b, err := Parse("acme", []byte(text))
			if err == nil && checked {
				err = Check(b, ctx)
			}
			if err != nil {
				got = fmt.Sprintf("%s: %s\n", dove.KindOf(err), err)
			}
			if *update {
				if want != "" {
					all = all[:len(all)-1]
				}
				rewrite(t, file, append(all, section{"error", got}))
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("error differs (-want +got), run with -update to accept:\n%s", d)
			}
		})
	}
}

// existing reads lines of "network blueprint domain subnet...", with "-" for no blueprint.
func existing(t *testing.T, text string) map[string]ExistingNetwork {
	t.Helper()
	networks := map[string]ExistingNetwork{}
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) < 3 {
			t.Fatalf("network line %q", line)
		}
		e := ExistingNetwork{Blueprint: strings.Trim(w[1], "-"), Domain: w[2]}
		for _, s := range w[3:] {
			e.Subnets = append(e.Subnets, netip.MustParsePrefix(s))
		}
		networks[w[0]] = e
	}
	return networks
}

func rewrite(t *testing.T, file string, all []section) {
	t.Helper()
	var w strings.Builder
	for i, s := range all {
		if i > 0 {
			fmt.Fprintf(&w, "-- %s --\n", s.title)
		}
		w.WriteString(s.text)
	}
	if err := os.WriteFile(file, []byte(w.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
