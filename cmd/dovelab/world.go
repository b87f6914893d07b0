package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dove.network/lab"
	"dove.network/scenario"
)

const defaultName = "lab"

func nameFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("name", defaultName, "name of the lab")
}

func dpcsFlag(cmd *cobra.Command) *int {
	return cmd.Flags().Int("dpcs", 1, "how many members the DPC has")
}

// inventory reads what a running lab has.
func inventory(name string) (lab.Inventory, error) {
	if err := asRoot(); err != nil {
		return lab.Inventory{}, err
	}
	inv, err := lab.ReadInventory(name)
	if err == nil && !held(inv) {
		return inv, fmt.Errorf("lab %q crashed, its guests answer no more: remove what is left with: dovelab down --name %s", name, name)
	}
	return inv, err
}

// held reports whether the process that holds a lab still runs. Its number may
// be another program's by now, which must not be taken for it.
func held(inv lab.Inventory) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", inv.PID)) // empty once it ended
	words := strings.Split(string(line), "\x00")
	return err == nil && slices.Contains(words, "hold") && slices.Contains(words, inv.Name)
}

// ready is the line with which a holder says that its lab runs.
const ready = "ready"

func upCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build the demo's world and leave it running",
		Args:  cobra.NoArgs,
	}
	name, underlay, dpcs := nameFlag(cmd), underlayFlag(cmd), dpcsFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *dpcs < 1 || *dpcs > lab.MembersMax {
			return refused{fmt.Errorf("--dpcs %d is not from 1 to %d", *dpcs, lab.MembersMax)}
		}
		if _, err := options(*name); err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		holder := exec.Command(self, "hold", "--name", *name, "--underlay", underlay.String(), "--dpcs", strconv.Itoa(*dpcs))
		holder.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		out, err := holder.StdoutPipe()
		if err != nil {
			return err
		}
		if err := holder.Start(); err != nil {
			return err
		}
		stop := context.AfterFunc(cmd.Context(), func() { _ = holder.Process.Signal(syscall.SIGTERM) })
		defer stop()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == ready {
				return explain(cmd, *name)
			}
			fmt.Fprintln(cmd.OutOrStdout(), lines.Text())
		}
		_ = holder.Wait()
		return errors.New("the lab did not come up")
	}
	return cmd
}

// explain says what runs and how to play with it.
func explain(cmd *cobra.Command, name string) error {
	inv, err := inventory(name)
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "\nLab %q runs: %d dpc, %d hosts, %d guests.\n\n", name, 1+len(inv.Members), len(inv.Hosts), len(inv.Guests))
	fmt.Fprintf(w, "  dpc  metrics at http://%s/metrics\n", inv.Metrics)
	for _, m := range inv.Members {
		fmt.Fprintf(w, "  %s  metrics at http://%s/metrics\n", m.Name, m.Metrics)
	}
	for _, h := range inv.Hosts {
		fmt.Fprintf(w, "  %s   metrics at http://%s/metrics; socket and logs in %s\n", h.Name, h.Metrics, h.State)
		for _, g := range inv.Guests {
			if g.Host == h.Name {
				fmt.Fprintf(w, "      %-14s %-8s %v\n", g.Endpoint, g.Device, g.Addresses)
			}
		}
	}
	self := "dovelab"
	if _, err := exec.LookPath(self); err != nil {
		self, _ = os.Executable()
	}
	if name != defaultName {
		name = " --name " + name
	} else {
		name = ""
	}
	fmt.Fprintf(w, `
Try:
  %[1]s ask%[2]s acme/web-1 acme/app-1 tcp/8080       # a connection that the blueprint allows
  %[1]s ask%[2]s acme/web-1 acme/db-1 tcp/5432        # one that it does not
  %[1]s ctl%[2]s --tenant acme why web-1 db-1 tcp/5432
  %[1]s ctl%[2]s --tenant acme blueprint get shop > shop.yaml     # edit it, then:
  %[1]s ctl%[2]s --tenant acme apply shop.yaml --wait
  %[1]s exec%[2]s h1 -- %[3]s
  %[1]s exec%[2]s h1 -- curl -s http://%[4]s/metrics      # of its dswitch; also /healthz and /readyz
  %[1]s exec%[2]s acme/web-1 -- ping -c 3 10.0.1.21
  %[1]s down%[2]s
`, self, name, "ip -s link", inv.Hosts[0].Metrics)
	return nil
}

// holdCommand is the process that holds a lab that is up: its guests' servers
// run in it.
func holdCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "hold", Hidden: true, Args: cobra.NoArgs}
	name, underlay, dpcs := nameFlag(cmd), underlayFlag(cmd), dpcsFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		opt, err := options(*name)
		if err != nil {
			return err
		}
		opt.IPv6, opt.DPCs = *underlay == 6, *dpcs
		l, st, _, err := lab.World(cmd.Context(), opt, func(s scenario.Step) {
			line, _, _ := strings.Cut(s.Action.String(), "\n")
			fmt.Println("  ", strings.TrimSuffix(line, " <<END"))
		})
		if l != nil {
			defer func() { err = errors.Join(err, l.Close()) }()
		}
		if st != nil {
			defer st.Close()
		}
		if err != nil {
			fmt.Println("dovelab:", err)
			return err
		}
		if err := l.SaveInventory(); err != nil {
			return err
		}
		fmt.Println(ready)
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		for fd := range 3 { // the terminal may go now
			if err := syscall.Dup2(int(null.Fd()), fd); err != nil {
				return err
			}
		}
		<-cmd.Context().Done()
		return nil
	}
	return cmd
}

func downCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop a lab that is up and remove everything it made",
		Args:  cobra.NoArgs,
	}
	name := nameFlag(cmd)
	all := cmd.Flags().Bool("all", false, "every lab, and what crashed ones left")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := asRoot(); err != nil {
			return err
		}
		names := lab.Running()
		if !*all {
			if _, err := lab.ReadInventory(*name); err != nil {
				return errors.Join(err, lab.Sweep())
			}
			names = []string{*name}
		}
		var errs []error
		for _, n := range names {
			inv, err := lab.ReadInventory(n)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if held(inv) {
				_ = syscall.Kill(inv.PID, syscall.SIGTERM)
			}
			for held(inv) {
				time.Sleep(50 * time.Millisecond)
			}
			// Its lock may outlive its memory by a moment.
			for try := 0; ; try++ {
				err := lab.Sweep()
				if !slices.Contains(lab.Running(), n) {
					fmt.Fprintf(cmd.OutOrStdout(), "lab %q is down\n", n)
				} else if try < 100 && err == nil {
					time.Sleep(50 * time.Millisecond)
					continue
				}
				errs = append(errs, err)
				break
			}
		}
		return errors.Join(append(errs, lab.Sweep())...)
	}
	return cmd
}

func execCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec NODE [--] COMMAND [ARG...]",
		Short: "Run a command inside a node's network namespace",
		Long: `NODE is dpc, a further member of it (dpc-2), a host (h1) or a guest (acme/web-1).
It exits with what the command does, with 127 if there is no such command, 126 if
that cannot be run, and 2 if there is no such node.`,
		Args: cobra.MinimumNArgs(2),
	}
	name := nameFlag(cmd)
	cmd.Flags().SetInterspersed(false)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		inv, err := inventory(*name)
		if err != nil {
			return err
		}
		ns, err := inv.NamespaceOf(args[0])
		if err != nil {
			return refused{err}
		}
		if args[1] == "--" {
			args = slices.Delete(args, 1, 2)
		}
		return become(ns, args[1:]...)
	}
	return cmd
}

func ctlCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ctl [--name LAB] ARG...",
		Short: "Run dovectl against the lab's DPC, as its administrator",
		Long: `ctl runs dovectl with the configuration of the lab's administrator. Whatever
follows --name LAB is dovectl's, flags too: dovelab ctl --help is dovectl's help.`,
		Example: `  dovelab ctl --tenant acme why web-1 db-1 tcp/5432
  dovelab ctl --name two status`,
		DisableFlagParsing: true, // the flags are dovectl's
		RunE: func(_ *cobra.Command, args []string) error {
			name, args, err := takeName(args)
			if err != nil {
				return err
			}
			inv, err := inventory(name)
			if err != nil {
				return err
			}
			bin, err := programs()
			if err != nil {
				return err
			}
			ns, err := inv.NamespaceOf("dpc")
			if err != nil {
				return err
			}
			return become(ns, append([]string{filepath.Join(bin, "dovectl"), "--config", inv.AdminConfig()}, args...)...)
		},
	}
}

// takeName takes a leading --name off a command line that is otherwise another
// program's.
func takeName(args []string) (name string, rest []string, err error) {
	if len(args) == 0 {
		return defaultName, nil, nil
	}
	if name, given := strings.CutPrefix(args[0], "--name="); given {
		return name, args[1:], nil
	}
	if args[0] != "--name" {
		return defaultName, args, nil
	}
	if len(args) == 1 {
		return "", nil, errors.New("--name needs the name of a lab")
	}
	return args[1], args[2:], nil
}

// become replaces this process by a command in a namespace.
func become(ns string, args ...string) error {
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return err
	}
	return syscall.Exec(nsenter, append([]string{"nsenter", "--net=/run/netns/" + ns}, args...), os.Environ())
}

func askCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ask FROM TO PROBE",
		Short: "Open a real connection between guests and say who answered",
		Long: `FROM is a guest, TO a guest or an address, PROBE is tcp/PORT, udp/PORT or ping.
Guests answer with their own name on tcp/8080, tcp/5432 and udp/5353. It exits
with 1 if nobody answers, and with 2 if there is no such guest or probe. "dovelab
ctl why" says whether that is intended.`,
		Example: "  dovelab ask acme/web-1 acme/app-1 tcp/8080\n  dovelab ask acme/web-1 10.0.1.31 ping",
		Args:    cobra.ExactArgs(3),
	}
	name := nameFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		inv, err := inventory(*name)
		if err != nil {
			return err
		}
		from, err := inv.Guest(args[0])
		if err != nil {
			return refused{err}
		}
		var targets []netip.Addr
		if addr, err := netip.ParseAddr(args[1]); err == nil {
			targets = []netip.Addr{addr}
		} else if to, err := inv.Guest(args[1]); err == nil {
			targets = to.Addrs
		} else {
			return refused{err}
		}
		probe, err := scenario.ParseProbe(args[2])
		if err != nil {
			return refused{err}
		}
		replies, errs := make([]lab.Reply, len(targets)), make([]error, len(targets))
		var asking sync.WaitGroup
		for i, to := range targets {
			asking.Go(func() {
				ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
				defer cancel()
				replies[i], errs[i] = from.Ask(ctx, probe, to)
			})
		}
		asking.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		var failed error
		for i, to := range targets {
			if r := replies[i]; r.From != "" {
				fmt.Fprintf(cmd.OutOrStdout(), "%s -> %s %s: %s answered in %.2f ms\n", args[0], to, probe, r.From, float64(r.Took.Microseconds())/1000)
				continue
			}
			failed = errFailed
			fmt.Fprintf(cmd.OutOrStdout(), "%s -> %s %s: no answer within 3 s\n", args[0], to, probe)
		}
		return failed
	}
	return cmd
}
