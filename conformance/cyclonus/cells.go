package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mattfenwick/cyclonus/pkg/connectivity"
	"github.com/mattfenwick/cyclonus/pkg/connectivity/probe"
	"github.com/mattfenwick/cyclonus/pkg/generator"
)

// cell is a question of a truth table.
type cell struct {
	from, to string // pod as namespace/name, and an address
	protocol string
	port     int
}

// answer is what became of a question, by each who can say.
type answer struct {
	loop          bool // to itself: no packet leaves the pod
	packet        said
	dpc, switches *said  // nil where nobody was asked
	tries         int    // how often it was asked again
	first         string // why, the first time
}

// said is one answer, and in whose words. An unclear one is none: neither a
// verdict to let pass nor one to drop was seen in time.
type said struct {
	allowed, unclear bool
	detail           string
}

// why says who has not answered, or by another rule; "" if all have.
func (a answer) why() string {
	switch {
	case a.loop:
	case a.packet.unclear:
		return "packet: " + a.packet.detail
	case a.switches != nil && a.switches.unclear:
		return "dSwitches: " + a.switches.detail
	}
	return ""
}

func (a answer) unclear() bool { return a.why() != "" }

// judge lists what was not as the truth table has it. An answer that is none is wrong.
func (a answer) judge(truth bool) []string {
	var wrong []string
	for name, s := range map[string]*said{"packet": &a.packet, "DPC": a.dpc, "dSwitches": a.switches} {
		switch {
		case s == nil:
		case s.unclear:
			wrong = append(wrong, fmt.Sprintf("%s: unclear (%s)", name, s.detail))
		case s.allowed != truth:
			wrong = append(wrong, fmt.Sprintf("%s: allowed %t (%s)", name, s.allowed, s.detail))
		}
	}
	slices.Sort(wrong)
	return wrong
}

// skip is a case that was not run.
type skip struct {
	Case   string `json:"case"`
	Reason string `json:"reason"`
}

// tally is what results/truth-tables.json has.
type tally struct {
	Cases   int     `json:"cases"`
	Cells   int     `json:"cells"`
	Wrong   int     `json:"wrong"`
	Skipped []skip  `json:"skipped"`
	Seconds float64 `json:"seconds"`

	steps  int
	passed int // cases without a wrong cell
	again  int // cells that were asked again, as nobody had answered in time
	mute   int // of those, cells that nobody ever answered: they are wrong
}

// choose lists the cases to run and those that are not. With most > 0 it takes as many, spread evenly.
func choose(ip string, exclude []string, most int) (run []*generator.TestCase, skipped []skip) {
	all := generator.NewTestCaseGenerator(true, ip, namespaces, nil, nil).GenerateAllTestCases()
	skipped = []skip{}
	for _, c := range all {
		i := slices.IndexFunc(exclude, func(tag string) bool { return c.Tags[tag] })
		if i >= 0 {
			skipped = append(skipped, skip{c.Description, "tagged " + exclude[i]})
			continue
		}
		run = append(run, c)
	}
	if most > 0 && most < len(run) {
		var some []*generator.TestCase
		for i := range most {
			some = append(some, run[i*len(run)/most])
		}
		run = some
	}
	return run, skipped
}

// play runs a case and compares each cell. Say gets a line for each that is wrong.
func play(c *cluster, interpreter *connectivity.Interpreter, test *generator.TestCase, t *tally, say func(string)) error {
	for _, step := range test.Steps {
		step.Probe.Mode = generator.ProbeModePodIP
	}
	result := interpreter.ExecuteTestCase(test)
	if result.Err != nil {
		return fmt.Errorf("case %q: %w", test.Description, result.Err)
	}
	t.Cases++
	before := t.Wrong
	for i, step := range result.Steps {
		t.steps++
		truth := step.SimulatedProbe
		for _, key := range truth.Wrapped.Keys() {
			for _, r := range truth.Get(key.From, key.To).JobResults {
				if r.Combined != probe.ConnectivityAllowed && r.Combined != probe.ConnectivityBlocked {
					continue // no such port: nothing was asked
				}
				a, ok := c.take(cell{r.Job.FromKey, r.Job.ToIP, string(r.Job.Protocol), r.Job.ResolvedPort})
				if ok && a.loop {
					continue
				}
				t.Cells++
				wrong := []string{"nobody answered"}
				if ok {
					wrong = a.judge(r.Combined == probe.ConnectivityAllowed)
				}
				if a.tries > 0 {
					t.again++
					say(fmt.Sprintf("  step %d: %s -> %s %s/%d asked again %d times: %s", i+1, key.From, key.To, r.Job.Protocol, r.Job.ResolvedPort, a.tries, a.first))
				}
				if a.unclear() {
					t.mute++
				}
				if len(wrong) > 0 {
					t.Wrong++
					say(fmt.Sprintf("  step %d: %s -> %s %s/%d should be %s; %s", i+1, key.From, key.To, r.Job.Protocol, r.Job.ResolvedPort, r.Combined, strings.Join(wrong, "; ")))
				}
			}
		}
	}
	if t.Wrong == before {
		t.passed++
	}
	return nil
}
