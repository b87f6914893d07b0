// Command dovectl is what tenants and operators type: it applies blueprints,
// puts endpoints into groups and on hosts, admits hosts, waits until a revision
// is enforced everywhere, asks why one endpoint reaches another or not, and
// follows what changes and what flows.
//
// It translates: each command is one or two calls of the API, and its answer as
// a table, JSON or YAML. It decides nothing, and keeps nothing but the file that
// says which DPC to ask and with whose token. Results go to standard output;
// progress, questions and faults go to standard error.
package main

//go:generate env DOVE_CONFIG=~/.config/dove/config.yaml DOVE_TENANT= go run . manual ../../docs/commands/dovectl.md

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"dove.network/dove"
	"golang.org/x/sys/unix"
)

// version is set by the linker.
var version = "unknown"

// Exit codes. The help of the root command repeats them.
const (
	exitOK         = 0
	exitFailure    = 1
	exitRefused    = 2 // the command line or the document is at fault
	exitIncomplete = 3 // wait: not every host enforces the revision
	exitDenied     = 4 // why: the packet would not arrive
	exitDiffers    = 5 // why: a switch does not do what is intended
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		asks:      isTerminal(os.Stdin) && isTerminal(os.Stderr),
		colourOut: isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == "",
		colourErr: isTerminal(os.Stderr) && os.Getenv("NO_COLOR") == "",
		width:     widthOf(os.Stdout),
		file:      os.Getenv("DOVE_CONFIG"),
		tenant:    os.Getenv("DOVE_TENANT"),
	}
	if folder, err := os.UserConfigDir(); err == nil && a.file == "" {
		a.file = filepath.Join(folder, "dove", "config.yaml")
	}
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// widthOf is how many columns a terminal has; 0 if f is none.
func widthOf(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// coded is an error with its own exit code. Its error is nil where the result
// that was printed says everything.
type coded struct {
	code int
	error
}

func (c coded) Error() string {
	if c.error == nil {
		return fmt.Sprintf("exit code %d", c.code)
	}
	return c.error.Error()
}

func (c coded) Unwrap() error { return c.error }

// exitCode says how the program ends with the error.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if c, ok := errors.AsType[coded](err); ok {
		return c.code
	}
	e, ok := errors.AsType[*dove.Error](err)
	switch {
	case !ok:
		return exitFailure
	case len(e.Faults) > 0, e.Kind == dove.Invalid, e.Kind == dove.Unsupported, e.Kind == dove.TooLarge:
		return exitRefused
	}
	return exitFailure
}
