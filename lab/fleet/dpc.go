package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"dove.network/api/client"
)

// Times of a dpc.
const (
	startWithin = 10 * time.Minute // a world of millions included
	stopWithin  = time.Minute
	startLook   = 5 * time.Millisecond
)

// dpc is a dpc with a folder of its own, as a process on the loopback device.
type dpc struct {
	name         string
	bin, dir     string
	api, control string // addresses
	peer, etcd   string
	metrics      string
	config       client.Config
	client       *client.Client
	cmd          *exec.Cmd
	ended        chan error
}

// newDPC makes the state of a dpc that has not run yet.
func newDPC(ctx context.Context, bin, dir string) (*dpc, error) {
	d := place(bin, dir, "dpc-1")
	out, err := exec.CommandContext(ctx, bin, "init", "--state", d.state(), "--name", d.name, "--advertise", d.api).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s init: %w: %s", bin, err, out)
	}
	if d.config, err = client.Load(filepath.Join(d.state(), "admin.yaml")); err != nil {
		return nil, err
	}
	d.client, err = client.New(d.config)
	return d, err
}

// join makes the state of a further member of the cluster of d, which runs.
func (d *dpc) join(ctx context.Context, name string) (*dpc, error) {
	n := place(d.bin, d.dir, name)
	token, err := d.client.CreateMemberToken(ctx, name, startWithin)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, d.bin, "join", "-", "--state", n.state(), "--name", name, "--server", d.api,
		"--advertise-api", n.api, "--advertise-control", n.control, "--advertise-peer", n.peer, "--advertise-etcd", n.etcd)
	cmd.Stdin = strings.NewReader(token.Token)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s join: %w: %s", d.bin, err, out)
	}
	n.config = d.config
	n.config.Server = n.api
	n.client, err = client.New(n.config)
	return n, err
}

// lastPort is the last one that place gave.
var lastPort atomic.Int32

// place gives a dpc addresses of which it is certain that nobody else uses them: in a part of the
// loopback network that has as many as there may be processes (2^22), those of this one.
func place(bin, dir, name string) *dpc {
	d := &dpc{bin: bin, dir: dir, name: name}
	pid := os.Getpid()
	for _, address := range []*string{&d.api, &d.control, &d.metrics, &d.peer, &d.etcd} {
		*address = fmt.Sprintf("127.%d.%d.%d:%d", 64+pid>>16, byte(pid>>8), byte(pid), 16<<10+lastPort.Add(1))
	}
	return d
}

func (d *dpc) state() string { return filepath.Join(d.dir, d.name) }
func (d *dpc) log() string   { return filepath.Join(d.dir, d.name+".log") }

// start runs the dpc and returns how long it took until it answered.
func (d *dpc) start(ctx context.Context) (time.Duration, error) {
	log, err := os.OpenFile(d.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	d.cmd = ahead(context.WithoutCancel(ctx), d.bin, "run", "--state", d.state(), "--etcd", d.etcd, "--peer", d.peer, "--api", d.api, "--control", d.control, "--metrics", d.metrics, "--log-level", "warn")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	// Ctrl-C reaches the benchmark alone, and the dpc does not outlive it.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	begun := time.Now()
	if err := d.cmd.Start(); err != nil {
		return 0, err
	}
	d.ended = make(chan error, 1)
	go func() { d.ended <- d.cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		_, err := d.client.Status(ctx)
		if err == nil {
			return time.Since(begun), nil
		}
		select {
		case ended := <-d.ended:
			d.ended <- ended
			return 0, fmt.Errorf("dpc ended (%v); its log ends: %s", ended, d.tail())
		case <-ctx.Done():
			return 0, errors.Join(ctx.Err(), err)
		case <-time.After(startLook):
		}
	}
}

// stop ends the dpc in order, and by force if it takes too long.
func (d *dpc) stop() error {
	if d.cmd == nil {
		return nil
	}
	defer func() { d.cmd = nil }()
	d.client.Close()
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case err := <-d.ended:
		if err != nil {
			return fmt.Errorf("dpc: %w; its log ends: %s", err, d.tail())
		}
		return nil
	case <-time.After(stopWithin):
		_ = d.cmd.Process.Kill()
		<-d.ended
		return fmt.Errorf("dpc did not stop within %s; its log ends: %s", stopWithin, d.tail())
	}
}

// kill ends the dpc at once, as a lost machine does.
func (d *dpc) kill() {
	_ = d.cmd.Process.Kill() // it may have ended
	<-d.ended
	d.cmd = nil
	d.client.Close()
}

// tail returns the last lines of the log.
func (d *dpc) tail() string {
	b, _ := os.ReadFile(d.log())
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// userHZ is in how many ticks a second /proc counts (proc(5)).
const userHZ = 100

// cpu returns how long the dpc has worked, to a hundredth of a second.
func (d *dpc) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may have blanks
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/PID/stat says %q", text)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / userHZ, errors.Join(err1, err2)
}

// anonymous returns the dpc's anonymous memory in bytes: what it maps of files, of
// which the kernel takes back what it needs, does not count.
func (d *dpc) anonymous() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			return kb * 1024, err
		}
	}
	return 0, errors.New("/proc/PID/status has no RssAnon")
}
