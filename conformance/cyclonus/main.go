package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mattfenwick/cyclonus/pkg/connectivity"
	"github.com/mattfenwick/cyclonus/pkg/connectivity/probe"
	"github.com/sirupsen/logrus"
	v1 "k8s.io/api/core/v1"

	"dove.network/lab"
)

var namespaces = []string{"x", "y", "z"}

// options say what to run.
type options struct {
	bin     string // folder with the programs
	name    string // of the lab
	flat    bool
	v6      bool
	most    int      // cases, 0: all
	only    string   // cases whose description contains it
	numbers []string // of the cases to run; none: all
	exclude []string // tags
	out     io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := options{name: fmt.Sprintf("truth-%d", os.Getpid()), out: os.Stdout}
	numbers := flag.String("numbers", "", "run cases of these `NUMBERS` in the list, such as 92,105")
	exclude := flag.String("exclude", "", "`TAGS` of cases that are not run")
	results := flag.String("results", "", "`FILE` for the figures, as JSON")
	flag.StringVar(&o.bin, "bin", "bin", "`FOLDER` with dpc, dswitch and dovectl")
	flag.BoolVar(&o.flat, "flat", false, "run without DOVE, on a bridge: this must fail")
	flag.BoolVar(&o.v6, "ipv6", false, "give pods IPv6 addresses")
	flag.IntVar(&o.most, "cases", 0, "run so `MANY` cases, spread evenly; 0: all")
	flag.StringVar(&o.only, "only", "", "run cases whose description contains the `TEXT`")
	flag.Parse()
	o.exclude, o.numbers = list(*exclude), list(*numbers)
	t, err := run(ctx, o)
	if err == nil && *results != "" {
		err = save(*results, t)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "truth tables:", err)
	}
	if err != nil || t.Wrong > 0 || t.Cells == 0 {
		os.Exit(1)
	}
}

func list(s string) []string {
	return slices.DeleteFunc(strings.Split(s, ","), func(s string) bool { return s == "" })
}

func save(file string, t tally) error {
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, append(b, '\n'), 0o644))
}

// newInterpreter returns cyclonus' own. Nothing is tried twice, and nothing waits.
func newInterpreter(c *cluster, resources *probe.Resources) *connectivity.Interpreter {
	out := os.Stdout // it prints what it is given
	defer func() { os.Stdout = out }()
	os.Stdout = nil
	return connectivity.NewInterpreter(c, resources, &connectivity.InterpreterConfig{
		ResetClusterBeforeTestCase: true, VerifyClusterStateBeforeTestCase: true, BatchJobs: true, IgnoreLoopback: true,
	})
}

// newResources makes three pods in each of three namespaces, which serve two
// ports of each protocol, and returns the address of the last.
func newResources(c *cluster) (*probe.Resources, string, error) {
	resources, err := probe.NewDefaultResources(c, namespaces, []string{"a", "b", "c"}, []int{80, 81},
		[]v1.Protocol{v1.ProtocolTCP, v1.ProtocolUDP, v1.ProtocolSCTP}, nil, 5, true, "")
	if err != nil {
		return nil, "", err
	}
	last, err := resources.GetPod("z", "c")
	return resources, last.IP, err
}

// run makes a world and plays the cases in it.
func run(ctx context.Context, o options) (t tally, err error) {
	started := time.Now()
	logrus.SetLevel(logrus.ErrorLevel)
	l, err := lab.New(ctx, lab.Options{Name: o.name, Bin: o.bin})
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	var w world = newFlat(l, o.v6)
	if !o.flat {
		if w, err = newReal(ctx, l, o.v6); err != nil {
			return t, err
		}
	}
	c := newCluster(ctx, w)
	resources, last, err := newResources(c)
	if err != nil {
		return t, err
	}
	interpreter := newInterpreter(c, resources)
	tests, skipped := choose(last, o.exclude, o.most)
	t.Skipped = skipped
	for i, test := range tests {
		if !strings.Contains(test.Description, o.only) || len(o.numbers) > 0 && !slices.Contains(o.numbers, fmt.Sprint(i+1)) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return t, err
		}
		wrong, began := t.Wrong, time.Now()
		var lines []string
		if err := play(c, interpreter, test, &t, func(s string) { lines = append(lines, s) }); err != nil {
			return t, err
		}
		verdict := "right"
		if t.Wrong > wrong {
			verdict = fmt.Sprintf("%d WRONG", t.Wrong-wrong)
		}
		left := time.Since(started) / time.Duration(i+1) * time.Duration(len(tests)-i-1)
		fmt.Fprintf(o.out, "%3d of %d  %-9s %4.1f s, %.0f min left  %s\n", i+1, len(tests), verdict, time.Since(began).Seconds(), left.Minutes(), test.Description)
		const most = 8 // lines of a case
		slices.Sort(lines)
		for _, line := range lines[:min(len(lines), most)] {
			fmt.Fprintln(o.out, line)
		}
	}
	t.Seconds = time.Since(started).Seconds()
	fmt.Fprintf(o.out, "%d cases, %d steps, %d cells, %d wrong; %d cases without a wrong cell; %d skipped; %d cells asked again, of which %d had no answer at last; %.0f s\n",
		t.Cases, t.steps, t.Cells, t.Wrong, t.passed, len(t.Skipped), t.again, t.mute, t.Seconds)
	return t, nil
}
