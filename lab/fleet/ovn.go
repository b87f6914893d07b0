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
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// OVN is the subject for comparison: the central daemons of OVN.
const OVN = "ovn-central"

// ovnMost is how many ports OVN is measured with at most.
const ovnMost = 10_000

// ovnSchemas are where Debian's packages keep them.
const ovnSchemas = "/usr/share/ovn"

// ovn is ovn-northd over two databases, with sockets in a folder of their own.
type ovn struct{ dir string }

// ovnInstalled reports whether OVN's central daemons are here.
func ovnInstalled() bool {
	for _, tool := range []string{"ovn-northd", "ovn-nbctl", "ovsdb-server", "ovsdb-tool"} {
		if _, err := exec.LookPath(tool); err != nil {
			return false
		}
	}
	_, err := os.Stat(filepath.Join(ovnSchemas, "ovn-nb.ovsschema"))
	return err == nil
}

func (o *ovn) run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+o.dir, "OVN_RUNDIR="+o.dir, "OVN_NB_DAEMON="+filepath.Join(o.dir, "nbctl.ctl"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args[:min(len(args), 4)], " "), err, out)
	}
	return nil
}

// startOVN runs the daemons and makes a switch with the groups and policies of the fleet.
func startOVN(ctx context.Context, dir string) (*ovn, error) {
	o := &ovn{dir: dir}
	socket := func(name string) string { return "unix:" + filepath.Join(dir, name+".sock") }
	daemon := func(name string, more ...string) []string {
		return append([]string{"--detach", "--no-chdir", "--pidfile=" + filepath.Join(dir, name+".pid"), "--unixctl=" + filepath.Join(dir, name+".ctl"), "--log-file=" + filepath.Join(dir, name+".log"), "-vconsole:off"}, more...)
	}
	steps := [][]string{}
	for _, db := range []string{"nb", "sb"} {
		steps = append(steps, []string{"ovsdb-tool", "create", db + ".db", filepath.Join(ovnSchemas, "ovn-"+db+".ovsschema")},
			append([]string{"ovsdb-server"}, daemon(db, "--remote=p"+socket(db), db+".db")...))
	}
	steps = append(steps, append([]string{"ovn-northd"}, daemon("northd", "--ovnnb-db="+socket("nb"), "--ovnsb-db="+socket("sb"))...),
		append([]string{"ovn-nbctl"}, daemon("nbctl", "--db="+socket("nb"))...), []string{"ovn-nbctl", "ls-add", network})
	for g := range groups {
		steps = append(steps, []string{"ovn-nbctl", "pg-add", fmt.Sprintf("g%d", g)})
	}
	for g := range groups {
		to := fmt.Sprintf("g%d", (g+1)%groups)
		match := fmt.Sprintf("outport == @%s && ip4.src == $g%d_ip4 && (tcp.dst == 443 || tcp.dst == 8000..8100 || udp.dst == 53 || icmp4)", to, g)
		steps = append(steps, []string{"ovn-nbctl", "--type=port-group", "acl-add", to, "to-lport", "1001", match, "allow-related"},
			[]string{"ovn-nbctl", "--type=port-group", "acl-add", to, "to-lport", "1000", "outport == @" + to + " && ip4", "drop"})
	}
	for _, s := range steps {
		if err := o.run(ctx, s[0], s[1:]...); err != nil {
			return nil, errors.Join(err, o.stop())
		}
	}
	return o, nil
}

// stop ends the daemons and waits until they are gone.
func (o *ovn) stop() error {
	var errs []error
	for _, name := range []string{"northd", "nbctl", "nb", "sb"} {
		text, err := os.ReadFile(filepath.Join(o.dir, name+".pid"))
		if err != nil {
			continue // it did not start
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it is gone
		}
		errs = append(errs, unix.PidfdSendSignal(fd, syscall.SIGTERM, nil, 0))
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(stopWithin/time.Millisecond)); n == 0 || err != nil {
			errs = append(errs, err, unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0))
		}
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}

// grow makes so many ports, and waits until northd has seen them.
func (o *ovn) grow(ctx context.Context, f *fleet, until int) error {
	for first := 0; first < until; first += loadPart {
		var args []string
		for n := first; n < min(until, first+loadPart); n++ {
			name, addr, _ := f.endpoint(n)
			args = append(args, "--", "lsp-add", network, string(name.ID), "--", "lsp-set-addresses", string(name.ID), fmt.Sprintf("%s %s", macOf(n), addr))
		}
		if err := o.run(ctx, "ovn-nbctl", args[1:]...); err != nil {
			return err
		}
	}
	for group := range groups {
		var all []string
		for n := range until {
			if name, _, g := f.endpoint(n); g == group {
				all = append(all, string(name.ID))
			}
		}
		if len(all) > 0 {
			if err := o.run(ctx, "ovn-nbctl", append([]string{"pg-set-ports", fmt.Sprintf("g%d", group)}, all...)...); err != nil {
				return err
			}
		}
	}
	return o.run(ctx, "ovn-nbctl", "--wait=sb", "sync")
}

func macOf(n int) string {
	return fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", n>>24&255, n>>16&255, n>>8&255, n&255)
}

// change gives a port another address, and returns how many milliseconds passed until the
// southbound database had all that follows.
func (o *ovn) change(ctx context.Context, f *fleet, n, edition int) (float64, error) {
	name, _, _ := f.endpoint(n)
	begun := time.Now()
	err := o.run(ctx, "ovn-nbctl", "--wait=sb", "lsp-set-addresses", string(name.ID), fmt.Sprintf("%s 10.250.%d.%d", macOf(n), edition>>8&255, edition&255))
	return float64(time.Since(begun).Microseconds()) / 1000, err
}
