package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/privtest"
)

// block is an indented part of the tutorial: a command and what is to be seen of
// it, or, without a command, of the one that goes on in the second terminal.
type block struct {
	line    int
	command string
	want    []string
}

// blocks reads the tutorial.
func blocks(text string) (all []block) {
	open := false // nothing but empty lines since one that was indented
	for i, line := range strings.Split(text, "\n") {
		said, indented := strings.CutPrefix(line, "    ")
		command, typed := strings.CutPrefix(said, "$ ")
		switch {
		case !indented:
			open = open && line == ""
			continue
		case typed:
			all = append(all, block{line: i + 1, command: command})
		case !open:
			all = append(all, block{line: i + 1, want: []string{said}})
		default:
			last := &all[len(all)-1]
			last.want = append(last.want, said)
		}
		open = true
	}
	return all
}

// varies are what differs from run to run, and what stands for it.
var varies = []struct {
	is *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:]+Z`), "DATE"},
	{regexp.MustCompile(`\d\d:\d\d:\d\d\.\d+`), "TIME"},
	{regexp.MustCompile(`\b02(:[0-9a-f]{2}){5}\b`), "MAC"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "ID"},
	{regexp.MustCompile(`\b([0-9.]+ ?(h|m|s|ms|µs|ns))+\b`), "TIME"},
	{regexp.MustCompile(`(^|[\s,(])\d+($|[\s,):])`), "${1}N${2}"},
	{regexp.MustCompile(`(^|[\s,(])\d+($|[\s,):])`), "${1}N${2}"}, // those that share a space with another
	{regexp.MustCompile(`\bhosts? (was|were) told`), "hosts told"},
	{regexp.MustCompile(`\s+`), " "},
}

func plain(line string) string {
	for _, v := range varies {
		line = v.is.ReplaceAllString(line, v.as)
	}
	return strings.TrimSpace(line)
}

// lacks returns the first line that is not among those that were seen, after where
// the line before it was if they are in order; "" if all are there.
func lacks(want, seen []string, inOrder bool) string {
	for _, w := range want {
		i := slices.IndexFunc(seen, func(s string) bool { return plain(s) == plain(w) })
		switch {
		case i < 0:
			return w
		case inOrder:
			seen = seen[i+1:]
		}
	}
	return ""
}

// shell is a terminal: a bash that is told one command after another.
type shell struct {
	in    io.WriteCloser
	lines chan string
	seen  []string // of the command that follow waits for
}

const done = "---done---"

func newShell(t *testing.T, dir string, env ...string) *shell {
	cmd := exec.CommandContext(t.Context(), "bash")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &shell{in: in, lines: make(chan string, 1000)}
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
		_ = w.Close()
		_ = r.Close()
	})
	return s
}

// patience bounds how long a terminal may say nothing that was waited for.
const patience = time.Minute

// begin types a command.
func (s *shell) begin(t *testing.T, command string) {
	t.Helper()
	if _, err := fmt.Fprintln(s.in, command); err != nil {
		t.Fatal(err)
	}
	s.seen = nil
}

// until reads on until enough has been seen.
func (s *shell) until(t *testing.T, what string, enough func() bool) {
	t.Helper()
	for late := time.After(patience); !enough(); {
		select {
		case line, open := <-s.lines:
			if !open {
				t.Fatalf("%s: the terminal is gone, and said:\n%s", what, strings.Join(s.seen, "\n"))
			}
			s.seen = append(s.seen, line)
		case <-late:
			t.Fatalf("%s: not in %v; seen so far:\n%s", what, patience, strings.Join(s.seen, "\n"))
		}
	}
}

// run returns what a command says.
func (s *shell) run(t *testing.T, command string) []string {
	t.Helper()
	s.begin(t, command+"\necho "+done)
	s.until(t, command, func() bool { return len(s.seen) > 0 && s.seen[len(s.seen)-1] == done })
	return s.seen[:len(s.seen)-1]
}

// saved is how the tutorial's token is told.
var saved = regexp.MustCompile(`token ([0-9a-f]{12}) is in`)

// TestTutorial types what docs/tutorial.md says into a terminal, and sees what it
// says, in a lab of another name.
func TestTutorial(t *testing.T) {
	privtest.Require(t)
	text, err := os.ReadFile("../../docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	token := saved.FindSubmatch(text)
	if token == nil {
		t.Fatal("the tutorial saves no token")
	}
	bin, dir, name := t.TempDir(), t.TempDir(), fmt.Sprintf("tut-%d", os.Getpid())
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-w", "-o", bin+"/", "dove.network/cmd/...").CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	open := func() *shell {
		s := newShell(t, dir, "PATH="+bin+":"+os.Getenv("PATH"))
		s.run(t, fmt.Sprintf(`dovelab() { local c=$1; shift; command dovelab $c --name %s "$@"; }`, name))
		return s
	}
	t.Cleanup(func() { // after a failure, too
		_ = exec.Command(bin+"/dovelab", "down", "--name", name).Run()
	})
	first, second := open(), open()
	ours := []string{"/run/dovelab/lab/", "/run/dovelab/" + name + "/"}
	var heard []block // what the second terminal is to say
	typed := 0
	for _, b := range blocks(string(text)) {
		at := fmt.Sprintf("line %d: %s", b.line, b.command)
		switch {
		case b.command == "":
			heard = append(heard, b)
		case strings.HasPrefix(b.command, "make ") || strings.HasPrefix(b.command, "export PATH="): // done already
		case strings.HasSuffix(b.command, " flows -f"):
			second.begin(t, b.command)
			second.until(t, at, func() bool { return lacks(b.want, second.seen, false) == "" })
		default:
			if strings.HasSuffix(b.command, " down") { // it had all the time until here
				for _, h := range heard {
					second.until(t, fmt.Sprintf("line %d", h.line), func() bool { return lacks(h.want, second.seen, false) == "" })
				}
				for _, c := range []struct{ command, code string }{
					{"h1 -- sh -c 'exit 7'", "7"}, {"acme/web-1 true", "0"}, {"h1 -- no-such-command", "127"}, {"h1 -- /etc", "126"}, {"h9 -- true", "2"},
				} {
					if said := first.run(t, "dovelab exec "+c.command+"; echo $?"); said[len(said)-1] != c.code {
						t.Errorf("dovelab exec %s: %q, want %s at last", c.command, said, c.code)
					}
				}
			}
			typed++
			said := first.run(t, strings.NewReplacer(ours...).Replace(b.command))
			for i, line := range said {
				said[i] = strings.ReplaceAll(line, name, "lab")
				if told := saved.FindStringSubmatch(line); told != nil {
					ours = append(ours, string(token[1]), told[1])
				}
			}
			if missing := lacks(b.want, said, true); missing != "" {
				t.Fatalf("%s does not say\n%s\nbut\n%s", at, missing, strings.Join(said, "\n"))
			}
		}
	}
	if typed < 35 || len(heard) == 0 {
		t.Errorf("only %d commands were found in the tutorial, and %d times what a second terminal says", typed, len(heard))
	}
}
