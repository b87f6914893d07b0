// Command dovelab runs several DOVE hosts on one machine, each in a network
// namespace with the real programs: the demo, a world to play with, scenarios. It wires
// package lab and sim to a command line and knows nothing itself.
package main

//go:generate go run . manual ../../docs/commands/dovelab.md

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"dove.network/manual"
)

var version = "unknown" // set by the build

// errFailed says that checks did not hold; they have been printed already.
var errFailed = errors.New("not everything held")

// refused says that the command line names what does not exist.
type refused struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	root := &cobra.Command{
		Use:   "dovelab",
		Short: "Several DOVE hosts on one machine, with the real programs",
		Long: `dovelab makes hosts, workloads and an underlay in network namespaces, runs a
real dpc and a real dswitch on each host, and sends real packets. It needs root
and Linux 6.6 or newer, touches nothing outside its own namespaces and
/run/dovelab, and removes everything it made, also after a crash.`,
		Example: `  dovelab demo                                   # the whole story, about a minute
  dovelab up                                     # the same world, to play with
  dovelab ask acme/web-1 acme/app-1 tcp/8080     # a real connection between guests
  dovelab ctl --tenant acme why web-1 app-1 tcp/8080
  dovelab exec h1 -- ip link
  dovelab down
  dovelab run scenarios/*.dove                   # scenarios, at every level
  dovelab bench dataplane                        # figures, beside what DOVE replaces
  dovelab lossless                               # restarts and edits under traffic: is any packet lost?
  dovelab trial                                  # faults of members and hosts: does all hold?
  dovelab sim                                    # a fleet in virtual time, in which everything goes wrong`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetVersionTemplate("dovelab {{.Version}}\n")
	root.AddCommand(demoCommand(), upCommand(), holdCommand(), downCommand(), execCommand(), ctlCommand(), askCommand(), runCommand(), benchCommand(), losslessCommand(), trialCommand(), simCommand(), manual.Command())
	manual.Plain(root)
	code, err := manual.Execute(ctx, root, os.Args[1:])
	stop()
	if _, ok := errors.AsType[refused](err); ok {
		code = manual.Refused
	}
	if err != nil && !errors.Is(err, errFailed) {
		fmt.Fprintln(os.Stderr, "dovelab:", err)
	}
	os.Exit(code)
}

// programs is the folder with dpc, dswitch and dovectl: beside this program.
func programs() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(self)
	for _, name := range []string{"dpc", "dswitch", "dovectl"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("%s is not beside dovelab in %s: build them all with: make build", name, dir)
		}
	}
	return dir, nil
}
