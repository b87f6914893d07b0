package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/auth"
	"dove.network/control"
	"dove.network/controller"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/store/memory"
	"dove.network/world"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

// rig is a DPC member over a store in memory, its API behind TLS, and a folder
// with the administrator's configuration.
type rig struct {
	t      *testing.T
	member *controller.Member
	dir    string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	now := time.Now()
	authority, err := auth.NewAuthority("test", now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.IssueServer("dpc1", nil, now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	store := memory.New()
	t.Cleanup(func() { store.Close() })
	r := &rig{t: t, member: controller.NewMember("dpc1", store, log), dir: t.TempDir()}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.member.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the member: %v", err)
		}
	})
	token, err := auth.NewToken(auth.AdminToken, auth.Pin{}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, write := range []func(*world.World) (dove.Txn, error){
		func(w *world.World) (dove.Txn, error) {
			return edit.Initialize(w, world.Meta{Incarnation: 0xd07e, CreatedAt: now})
		},
		func(w *world.World) (dove.Txn, error) {
			return edit.CreateAPIToken(w, world.APIToken{ID: token.ID, Digest: token.Digest()})
		},
	} {
		if _, err := r.member.Edit(t.Context(), write); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewUnstartedServer(api.New(api.Config{
		Backend: r.member, Store: inside{store}, Authority: authority, Member: "dpc1", Version: "9.9",
		Now: time.Now, Random: rand.Reader, Log: log,
	}))
	server.TLS = auth.APITLS(cert)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	conf := client.Config{Server: server.URL, Token: token.Text(), CA: string(authority.CertificatePEM())}
	if err := conf.Save(filepath.Join(r.dir, "admin.yaml")); err != nil {
		t.Fatal(err)
	}
	return r
}

// join makes the document of a DPC member.
func (r *rig) join(name string) {
	r.t.Helper()
	doc := world.Member{
		Name: name, UID: dove.UID(len(name)), API: name + ".example:7443", Control: name + ".example:7444", Peer: name + ".example:7447", Etcd: name + ".example:7448",
		Serial: "ab", Joined: time.Unix(1e9, 0).UTC(),
	}
	if _, err := r.member.Edit(r.t.Context(), func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutMember(w, doc, true)
		return txn, err
	}); err != nil {
		r.t.Fatal(err)
	}
}

// inside is a store in memory as one whose etcd members admit and dismiss all.
type inside struct{ *memory.Store }

func (inside) Admit(context.Context, string) ([]string, error) {
	return []string{"dpc1.example:7448"}, nil
}
func (inside) Dismiss(context.Context, string) error { return nil }
func (inside) Health(context.Context) (api.StoreHealth, error) {
	return api.StoreHealth{Leader: "dpc1"}, nil
}
func (inside) Room() error { return nil }

// host is one that connects and never acknowledges anything. If it says
// something, it answers what it is asked: that it lets any packet pass by that
// rule ("deny RULE": does not), and carries a flow of each kind it was asked about.
// One that "obeys" has all that it is told in force at once.
type host struct {
	ctx      context.Context
	stop     context.CancelFunc
	up       chan control.Up
	open     chan struct{} // closed with the Welcome
	says     string
	asked    []control.Tuple
	assigned control.Assign // last
}

func (h *host) Send(messages ...control.Down) error {
	var errs []error
	for _, d := range messages {
		errs = append(errs, h.hear(d))
	}
	return errors.Join(errs...)
}

func (h *host) Stop()         { h.stop() }
func (h *host) Waiting() bool { return false }

// TrySend leaves it to Send, which waits until what the host says is taken.
func (h *host) TrySend(...control.Down) (bool, error) { return false, nil }

func (h *host) hear(d control.Down) error {
	if _, ok := d.(*control.Welcome); ok {
		close(h.open)
	}
	if h.says == "obeys" {
		h.obey(d)
		return nil
	}
	in, ok := d.(*control.Inspect)
	if !ok || h.says == "" {
		return nil
	}
	out := &control.Report{ID: in.ID, Seen: 7}
	rule, denies := strings.CutPrefix(h.says, "deny ")
	switch {
	case in.Probe != nil:
		out.Finding = &control.Finding{Standing: control.StandingAllow, Rule: rule}
		if denies {
			out.Finding.Standing = control.StandingDeny
		} else {
			h.asked = append(h.asked, *in.Probe)
			out.Finding.Flow = new(h.flow(*in.Probe, rule))
		}
	case in.FlowsOf != "":
		for _, t := range h.asked {
			out.Flows = append(out.Flows, h.flow(t, rule))
		}
	case in.ShadowsOf != "":
		for _, t := range h.asked {
			out.Shadows = append(out.Shadows, control.ShadowReport{Rule: "shop/trial", Age: time.Hour, Allow: 2, Deny: 1, Same: 40, Examples: []control.FlowEvent{
				{What: control.FlowBegun, Tuple: h.flow(t, rule).Tuple, Rule: rule},
				{What: control.FlowDenied, Tuple: h.flow(t, rule).Tuple, Rule: "default-deny", Reason: "policy"},
			}})
		}
	case in.Observe != "":
		for _, t := range h.asked {
			f := h.flow(t, rule)
			out.Events = append(out.Events,
				control.FlowEvent{What: control.FlowBegun, Tuple: f.Tuple, Rule: rule},
				control.FlowEvent{What: control.FlowDenied, Tuple: f.Tuple, Reason: "policy", Rule: "default-deny"},
				control.FlowEvent{What: control.FlowDenied, Tuple: f.Tuple, Reason: "spoofed-source"},
				control.FlowEvent{What: control.FlowEnded, Tuple: f.Tuple, Rule: rule, Packets: f.Packets, Bytes: f.Bytes})
		}
	default:
		return nil
	}
	h.up <- out
	return nil
}

func (h *host) flow(t control.Tuple, rule string) control.FlowReport {
	t.SrcPort = 40000
	return control.FlowReport{Tuple: t, Rule: rule, Idle: 134 * time.Millisecond, Packets: 10, Bytes: 697}
}

func (h *host) Recv() (control.Up, error) {
	select {
	case u := <-h.up:
		return u, nil
	case <-h.ctx.Done():
		return nil, h.ctx.Err()
	}
}

// connect lets a host join, and returns once its session is open: who is asked before that is
// not there.
func (r *rig) connect(name dove.HostName, vtep netip.Addr, says string) {
	r.t.Helper()
	const serial = "5e1a1"
	token := world.JoinToken{ID: "ab", Digest: bytes.Repeat([]byte{7}, 32), Host: name, Expires: time.Now().Add(time.Hour)}
	for _, write := range []func(*world.World) (dove.Txn, error){
		func(w *world.World) (dove.Txn, error) { return edit.CreateJoinToken(w, token) },
		func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.Join(w, edit.JoinRequest{Token: token.ID, Digest: token.Digest, VTEP: vtep, Serial: serial, Now: time.Now()})
			return txn, err
		},
	} {
		if _, err := r.member.Edit(r.t.Context(), write); err != nil {
			r.t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	conn := &host{ctx: ctx, stop: stop, up: make(chan control.Up, 16), open: make(chan struct{}), says: says}
	conn.up <- &control.Hello{Version: control.Version, Host: name, VTEP: vtep, Software: "stuck"}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.member.Converse(ctx, control.Identity{Host: name, VTEP: vtep, Serial: serial}, conn)
	}()
	r.t.Cleanup(func() { stop(); <-ended })
	select {
	case <-conn.open:
	case <-ended:
		r.t.Fatalf("host %s gets no session", name)
	}
}

// changing is what differs from run to run, and how transcripts spell it.
var changing = []struct {
	find *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`), "TIME"},
	{regexp.MustCompile(`it took [0-9.]+(µs|ms|s)`), "it took TIME"},
	{regexp.MustCompile(`"took": \d+`), `"took": TIME`},
	{regexp.MustCompile(`(took:\s+)[0-9.]+(µs|ms|s)`), "${1}TIME"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "ADDRESS"},
	{regexp.MustCompile(`dove-join\.\w+\.\w+\.\w+`), "dove-join.ID.SECRET.PIN"},
	{regexp.MustCompile(`\b02(:[0-9a-f]{2}){5}\b`), "MAC"},
	{regexp.MustCompile(`\b[0-9a-f]{16}\b`), "UID"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "ID"},
	{regexp.MustCompile(`ID            CREATED`), "ID  CREATED"},
	{regexp.MustCompile(`\.client-\d+`), ".client-N"},
	{regexp.MustCompile(`dove-member\.\w+\.\w+\.\w+`), "dove-member.ID.SECRET.PIN"},
	{regexp.MustCompile(`dove-admin\.\w+\.\w+`), "dove-admin.ID.SECRET"},
	{regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}`), "CLOCK"},
	{regexp.MustCompile(`connected  \d+s `), "connected  AGE"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "DIGEST"},
}

// printed keeps what a program prints, and interrupts it after some lines.
type printed struct {
	text      bytes.Buffer
	left      int
	interrupt func()
}

func (p *printed) Write(b []byte) (int, error) {
	if n := bytes.Count(b, []byte{'\n'}); p.left > 0 && n > 0 {
		if p.left -= n; p.left <= 0 {
			p.interrupt()
		}
	}
	return p.text.Write(b)
}

// lineWithin bounds a command line: one that follows something prints less than it
// should, and is not interrupted.
const lineWithin = 2 * time.Minute

// dovectl runs one command line and returns all that it printed, and its exit
// code where that is not 0.
func (r *rig) dovectl(line, input string, asks bool) string {
	r.t.Helper()
	line, count, _ := strings.Cut(line, " ^C ")
	ctx, cancel := context.WithTimeout(r.t.Context(), lineWithin)
	defer cancel()
	out := &printed{interrupt: cancel}
	out.left, _ = strconv.Atoi(count)
	a := &app{in: strings.NewReader(input), out: out, err: out, asks: asks, file: filepath.Join(r.dir, "admin.yaml")}
	if code := a.run(ctx, strings.Fields(line)); code != 0 {
		fmt.Fprintf(&out.text, "[exit code %d]\n", code)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		r.t.Fatalf("dovectl %s: %d lines are missing after %s; it printed:\n%s", line, out.left, lineWithin, out.text.String())
	}
	text := strings.ReplaceAll(out.text.String(), r.dir, "DIR")
	for _, c := range changing {
		text = c.find.ReplaceAllString(text, c.as)
	}
	return text
}

// TestTranscripts runs the command lines of testdata/*.txt, each on a DPC of its
// own, and compares what they print. Lines that start with
//
//	$ dovectl ...      are command lines; "<<< words" at the end is what is typed
//	file NAME          write what follows, up to a line that is a dot, as a document
//	^C N               after a command line: it is interrupted when it has printed N lines
//	connect HOST VTEP  let a host join that never acknowledges anything, and
//	                   answers questions as the rest of the line says (see host)
//	|                  are what was printed
func TestTranscripts(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(here, "testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			r := newRig(t)
			t.Chdir(r.dir)
			got := r.replay(string(want))
			if got == string(want) {
				return
			}
			if !*update {
				t.Errorf("%s (-want +got); go test -update rewrites it:\n%s", file, cmp.Diff(string(want), got))
			} else if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTokens makes a token, uses it to delete the first one, and itself is the last.
func TestTokens(t *testing.T) {
	r := newRig(t)
	run := func(line string, code int, into any) {
		t.Helper()
		var out, complaints bytes.Buffer
		a := &app{out: &out, err: &complaints, file: filepath.Join(r.dir, "admin.yaml")}
		if got := a.run(t.Context(), strings.Fields(line)); got != code {
			t.Fatalf("%s: exit code %d, want %d: %s", line, got, code, complaints.String())
		}
		if err := json.Unmarshal(out.Bytes(), into); into != nil && err != nil {
			t.Fatalf("%s: %v in %s", line, err, out.String())
		}
	}
	var before, after []api.Token
	var made api.APIToken
	mine := " --config " + filepath.Join(r.dir, "mine.yaml")
	run("tokens -o json", exitOK, &before)
	run("token create -o json --save "+filepath.Join(r.dir, "mine.yaml"), exitOK, &made)
	if made.Token != "" || len(before) != 1 {
		t.Errorf("printed %+v; before: %+v", made, before)
	}
	run("token delete "+before[0].ID+mine, exitOK, nil)
	run("tokens", exitFailure, nil)
	run("tokens -o json"+mine, exitOK, &after)
	if len(after) != 1 || after[0].ID != made.ID || after[0].Created.IsZero() {
		t.Errorf("afterwards: %+v, want %s alone", after, made.ID)
	}
	run("token delete "+made.ID+mine, exitFailure, nil)
	// One that deletes the token it has is told so.
	var other api.APIToken
	run("token create -o json"+mine, exitOK, &other)
	var out, complaints bytes.Buffer
	a := &app{out: &out, err: &complaints, file: filepath.Join(r.dir, "mine.yaml")}
	if code := a.run(t.Context(), []string{"token", "delete", made.ID}); code != exitOK || !strings.Contains(complaints.String(), "this was the token in "+a.file) {
		t.Errorf("exit code %d, and says: %s", code, complaints.String())
	}
}

// TestWaitThenShow: with a wait, a document says what is afterwards, once.
func TestWaitThenShow(t *testing.T) {
	r := newRig(t)
	r.dovectl("tenant create acme", "", false)
	r.dovectl("-t acme network create front --domain shop --subnet 10.0.1.0/24", "", false)
	var out, progress bytes.Buffer
	a := &app{out: &out, err: &progress, file: filepath.Join(r.dir, "admin.yaml")}
	code := a.run(t.Context(), strings.Fields("-t acme endpoint create web-1 --network front --wait -o json"))
	var e api.Endpoint
	if err := json.Unmarshal(out.Bytes(), &e); err != nil || code != exitOK || e.ID != "web-1" || e.State != "unbound" {
		t.Errorf("exit code %d, %v: %s", code, err, out.String())
	}
	if !strings.Contains(progress.String(), "is complete") {
		t.Errorf("it waited for nothing: %s", progress.String())
	}
}

// TestHelp reads the help of every command as a terminal of 80 columns shows it.
func TestHelp(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Name() == "completion" { // in cobra's words
			return
		}
		var out bytes.Buffer
		cmd.SetOut(&out)
		if err := cmd.Help(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > columns {
				t.Errorf("%s --help: a line has %d columns: %s", cmd.CommandPath(), n, line)
			}
		}
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk((&app{file: "admin.yaml"}).root())
}

// replay runs a transcript and returns it with what was printed now.
func (r *rig) replay(text string) string {
	var out strings.Builder
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case word == "$":
			fmt.Fprintln(&out, line)
			command, input, asks := strings.Cut(strings.TrimPrefix(rest, "dovectl "), " <<< ")
			for printed := range strings.Lines(r.dovectl(command, input+"\n", asks)) {
				fmt.Fprintln(&out, strings.TrimRight("| "+printed, " \n"))
			}
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "|") {
				i++ // what was printed then
			}
		case word == "file":
			fmt.Fprintln(&out, line)
			var body strings.Builder
			for i++; i < len(lines) && lines[i] != "."; i++ {
				fmt.Fprintln(&body, lines[i])
			}
			fmt.Fprintf(&out, "%s.\n", body.String())
			if err := os.WriteFile(rest, []byte(body.String()), 0o600); err != nil {
				r.t.Fatal(err)
			}
		case word == "member":
			fmt.Fprintln(&out, line)
			r.join(rest)
		case word == "connect":
			fmt.Fprintln(&out, line)
			words := strings.SplitN(rest, " ", 3)
			r.connect(dove.HostName(words[0]), netip.MustParseAddr(words[1]), strings.Join(words[2:], ""))
		default:
			fmt.Fprintln(&out, line)
		}
	}
	return out.String()
}
