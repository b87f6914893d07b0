package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace is a named network namespace (as "ip netns" shows them).
type Namespace struct {
	Name string
	file *os.File
}

// NewNamespace makes a namespace with its loopback up.
func NewNamespace(name string) (*Namespace, error) {
	if err := run("ip", "netns", "add", name); err != nil {
		return nil, err
	}
	f, err := os.Open("/run/netns/" + name)
	if err != nil {
		return nil, err
	}
	n := &Namespace{Name: name, file: f}
	return n, n.IP("link set lo up")
}

// Close lets go of the handle; Delete also removes the namespace.
func (n *Namespace) Close() error { return n.file.Close() }

// IP runs lines of the ip command in the namespace, as one batch.
func (n *Namespace) IP(lines ...string) error {
	return ipBatch(n.Name, lines...)
}

func ipBatch(ns string, lines ...string) error {
	args := []string{"-batch", "-"}
	if ns != "" {
		args = append([]string{"-n", ns}, args...)
	}
	cmd := exec.Command("ip", args...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	return runCmd(cmd)
}

// Sysctl sets kernel variables of the namespace: "net/ipv6/conf/all/accept_dad=0".
func (n *Namespace) Sysctl(settings ...string) error {
	return n.Do(func() error {
		var errs []error
		for _, s := range settings {
			key, value, _ := strings.Cut(s, "=")
			errs = append(errs, os.WriteFile("/proc/sys/"+key, []byte(value), 0))
		}
		return errors.Join(errs...)
	})
}

// Do runs fn on a thread of its own inside the namespace. The thread ends with
// fn, so that no other goroutine can ever run in the wrong namespace. Sockets that fn makes
// stay in the namespace and may be used from anywhere.
func (n *Namespace) Do(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not reused
		if unix.Gettid() == os.Getpid() {
			// the main thread stands for the process and never ends: keep it busy
			// here, so that another one enters
			done <- n.Do(fn)
			runtime.UnlockOSThread()
			return
		}
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter namespace %s: %w", n.Name, err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// Command prepares a command that will run inside the namespace.
func (n *Namespace) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + n.Name, name}, args...)...)
}

// DialContext dials from inside the namespace; address must be numeric.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.Do(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

func run(name string, args ...string) error { return runCmd(exec.Command(name, args...)) }

// runCmd runs a command and puts what it said into the error.
func runCmd(cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}

// link is a network device of a namespace.
type link struct {
	index int
	mac   net.HardwareAddr
}

// linkByName looks a device up in the namespace of the calling thread.
func linkByName(name string) (link, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return link{}, fmt.Errorf("device %s: %w", name, err)
	}
	return link{i.Index, i.HardwareAddr}, nil
}
