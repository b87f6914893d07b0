package config

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dove.network/dove"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/cobra"
)

// settings are those of a made-up program with one of each kind of value.
type settings struct {
	State  string
	VTEP   netip.Addr
	DPCs   []string
	Port   uint16
	Hold   time.Duration
	Kernel bool
	Token  string
}

var defaults = settings{State: "/var/lib/dove", DPCs: []string{"a", "b"}, Port: 4789, Hold: time.Second}

func (s *settings) check() error {
	var faults []dove.Fault
	if !s.VTEP.IsValid() {
		faults = append(faults, dove.Fault{Path: "vtep", Message: "it is missing"})
	}
	if s.Port == 0 {
		faults = append(faults, dove.Fault{Path: "port", Message: "0 is no port"})
	}
	if len(faults) > 0 {
		return &dove.Error{Kind: dove.Invalid, Message: "x", Faults: faults}
	}
	return nil
}

// try runs the program and returns what it ran with (nil if it did not), and
// what it printed.
func try(t *testing.T, file string, args ...string) (got *settings, out string, err error) {
	t.Helper()
	s := defaults
	cmd := &cobra.Command{Use: "program", SilenceErrors: true, SilenceUsage: true}
	f := cmd.Flags()
	f.StringVar(&s.State, "state", s.State, "`FOLDER` for what must survive")
	f.TextVar(&s.VTEP, "vtep", s.VTEP, "underlay `ADDRESS`")
	f.StringSliceVar(&s.DPCs, "dpc", s.DPCs, "`ADDRESSES` of controllers")
	f.Uint16Var(&s.Port, "port", s.Port, "UDP `PORT`")
	f.DurationVar(&s.Hold, "hold", s.Hold, "how long to hold a packet")
	f.BoolVar(&s.Kernel, "kernel", s.Kernel, "use the kernel's decapsulation")
	f.StringVar(&s.Token, "token", s.Token, "secret")
	Secret(f, "token")
	Program(cmd, s.check, func(_ context.Context, log *slog.Logger) error {
		got = &s
		log.Debug("started", "state", s.State)
		return nil
	})
	if file != "" {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	var b bytes.Buffer
	cmd.SetOut(&b)
	cmd.SetErr(&b)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return got, b.String(), err
}

func TestOrder(t *testing.T) {
	vtep := netip.MustParseAddr("192.0.2.1")
	for name, c := range map[string]struct {
		file string
		args []string
		want settings
	}{
		"flags over file over defaults": {
			file: "vtep: 192.0.2.9\nport: 5000\nstate: /file\n",
			args: []string{"--vtep", "192.0.2.1", "--state=/flag"},
			want: settings{State: "/flag", VTEP: vtep, DPCs: []string{"a", "b"}, Port: 5000, Hold: time.Second},
		},
		"everything from the file": {
			file: "state: /s\nvtep: 192.0.2.1\ndpc: [x, y, z]\nport: 1\nhold: 3m\nkernel: true\ntoken: t\n",
			want: settings{State: "/s", VTEP: vtep, DPCs: []string{"x", "y", "z"}, Port: 1, Hold: 3 * time.Minute, Kernel: true, Token: "t"},
		},
		"one value for a list": {
			file: "dpc: x",
			args: []string{"--vtep=192.0.2.1"},
			want: settings{State: "/var/lib/dove", VTEP: vtep, DPCs: []string{"x"}, Port: 4789, Hold: time.Second},
		},
		"list of the command line": {
			file: "dpc: [x]",
			args: []string{"--vtep=192.0.2.1", "--dpc=y,z", "--dpc=w"},
			want: settings{State: "/var/lib/dove", VTEP: vtep, DPCs: []string{"y", "z", "w"}, Port: 4789, Hold: time.Second},
		},
		"JSON": {
			file: `{"vtep": "192.0.2.1", "port": 7}`,
			want: settings{State: "/var/lib/dove", VTEP: vtep, DPCs: []string{"a", "b"}, Port: 7, Hold: time.Second},
		},
		"comments only": {
			file: "# nothing\n",
			args: []string{"--vtep=192.0.2.1"},
			want: settings{State: "/var/lib/dove", VTEP: vtep, DPCs: []string{"a", "b"}, Port: 4789, Hold: time.Second},
		},
	} {
		got, _, err := try(t, c.file, c.args...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(c.want, *got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		args []string
		want string // without the first line
	}{
		"all at once": {
			file: "vtpe: 1.2.3.4\nport: 70000\nhold: [1s]\ndpc: {a: b}\nzebra: 1\nstate:\nport: 3\nlog-level: loud\n",
			want: `
  1:1: unknown setting "vtpe" (did you mean "vtep"?)
  2:7: port: "70000" is not of type uint16: value out of range (UDP PORT)
  3:7: hold: it must be a plain value (how long to hold a packet)
  4:6: dpc: it must be a list (ADDRESSES of controllers)
  5:1: unknown setting "zebra" (--help lists all settings)
  6:7: state: it has no value (FOLDER for what must survive)
  7:1: port: it is set twice (first in line 2)
  8:12: log-level: slog: level string "loud": unknown name (LEVEL from which on to log: debug, info, warn or error)
  vtep: it is missing`,
		},
		"what the check says has its place": {file: "state: /x\nport: 0\n", want: "\n  vtep: it is missing\n  2:7: port: 0 is no port"},
		"unless a flag said it":             {file: "port: 5\n", args: []string{"--port=0"}, want: "\n  vtep: it is missing\n  port: 0 is no port"},
		"a flag does not hide a bad value": {file: "port: x\n", args: []string{"--port=1", "--vtep=192.0.2.1"}, want: `
  1:7: port: "x" is not of type uint16: invalid syntax (UDP PORT)`},
		"no file":             {want: "\n  vtep: it is missing"},
		"a list":              {file: "- a\n", want: "\n  1:1: the file is not a mapping (write lines of the form setting: value)"},
		"two documents":       {file: "port: 1\n---\nport: 2\n", want: "\n  2:1: a second document starts here (give one document)"},
		"the file names file": {file: "config: x\nvtep: 192.0.2.1\n", want: "\n  1:1: unknown setting \"config\" (--help lists all settings)"},
	} {
		got, _, err := try(t, c.file, c.args...)
		if got != nil {
			t.Errorf("%s: the program ran", name)
		}
		if dove.KindOf(err) != dove.Invalid {
			t.Errorf("%s: %v is not of kind invalid", name, err)
			continue
		}
		_, said, _ := strings.Cut(err.Error(), "\n")
		if diff := cmp.Diff(strings.TrimPrefix(c.want, "\n"), said); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
	if _, _, err := try(t, "", "--config", filepath.Join(t.TempDir(), "none.yaml")); dove.KindOf(err) != dove.Invalid || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a missing file: %v", err)
	}
	if _, _, err := try(t, "a: [\n"); dove.KindOf(err) != dove.Invalid || !strings.Contains(err.Error(), "not YAML: ") {
		t.Errorf("broken YAML: %v", err)
	}
}

func TestCheck(t *testing.T) {
	const want = `state: /var/lib/dove
vtep: 192.0.2.1
dpc: [a, b]
port: 9
hold: 1s
kernel: true
log-level: DEBUG
log-format: json
`
	got, out, err := try(t, "port: 9\nkernel: true\ntoken: hush\n", "--vtep=192.0.2.1", "--log-level=debug", "--log-format=json", "--check")
	if err != nil || got != nil {
		t.Fatalf("--check: ran %v, error %v", got != nil, err)
	}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, again, err := try(t, out, "--check"); err != nil || again != want {
		t.Errorf("what --check printed reads back as\n%s%v", again, err)
	}
	if _, _, err := try(t, "port: 0\n", "--check"); dove.KindOf(err) != dove.Invalid {
		t.Errorf("--check of bad settings: %v", err)
	}
}

func TestLogger(t *testing.T) {
	for args, says := range map[string]string{
		"--log-level=debug":                   "level=DEBUG msg=started state=/var/lib/dove",
		"--log-level=debug --log-format=JSON": `"level":"DEBUG","msg":"started","state":"/var/lib/dove"}`,
		"--log-level=info":                    "",
	} {
		_, out, err := try(t, "", append(strings.Fields(args), "--vtep=192.0.2.1")...)
		if err != nil || !strings.Contains(out, says) || (says == "") != (out == "") {
			t.Errorf("%s: printed %q, %v", args, out, err)
		}
	}
}
