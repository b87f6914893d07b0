package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"

	"dove.network/lab/bench"
)

// What bench dataplane measures; the names are those of its JSON.
var (
	tcpRate   = bench.Kind{Name: "tcp_1_gbps", Unit: "Gbit/s", Higher: true}
	tcpRate4  = bench.Kind{Name: "tcp_4_gbps", Unit: "Gbit/s", Higher: true}
	tcpRate16 = bench.Kind{Name: "tcp_16_gbps", Unit: "Gbit/s", Higher: true}
	tcpCost   = bench.Kind{Name: "cpu_s_per_gbit", Unit: "s"}
	roundP50  = bench.Kind{Name: "rr_p50_us", Unit: "us"}
	roundP99  = bench.Kind{Name: "rr_p99_us", Unit: "us"}
	wokenP50  = bench.Kind{Name: "rr_block_p50_us", Unit: "us"}
	smallRate = bench.Kind{Name: "udp_small_pps", Unit: "packets/s", Higher: true}
	openRate  = bench.Kind{Name: "conn_per_s", Unit: "connections/s", Higher: true}
	firstP50  = bench.Kind{Name: "first_packet_p50_us", Unit: "us"}
	firstP99  = bench.Kind{Name: "first_packet_p99_us", Unit: "us"}
	knownP50  = bench.Kind{Name: "known_packet_p50_us", Unit: "us"}
	knownP99  = bench.Kind{Name: "known_packet_p99_us", Unit: "us"}
)

// DataplaneBench measures what lies between two guests: DOVE, and beside it
// nothing but a veth (bare), a Linux bridge with the kernel's VXLAN, the same with a
// stateful filter, and Open vSwitch in user space.
type DataplaneBench struct {
	Out      io.Writer // progress, line by line
	Software string    // the version that is measured, for the report
	Rounds   int       // how often everything is measured
	Shapes   []string  // of ShapeNames; none: the first
	Flows    int       // at once in the shape "flows"; 0: a million
	Quick    bool      // as short as can be: to see that it works, not how fast
}

// load is one way to make traffic. It returns a value for each of its metrics.
type load struct {
	title   string
	metrics []bench.Kind
	run     func(context.Context, *subject, length) ([]float64, error)
	tries   int // for a second each, of which the median counts; 0: one of its own length
}

var (
	oneStream  = load{"TCP, one stream", []bench.Kind{tcpRate, tcpCost}, tcpStream, tries}
	streams4   = load{"TCP, 4 streams", []bench.Kind{tcpRate4}, tcpStreams(4), tries}
	streams16  = load{"TCP, 16 streams", []bench.Kind{tcpRate16}, tcpStreams(16), tries}
	polling    = load{"UDP round trip, both ends polling", []bench.Kind{roundP50, roundP99}, roundTrips, pollingTries}
	woken      = load{"UDP round trip, both ends asleep in between, on one CPU", []bench.Kind{wokenP50}, wokenTrips, tries}
	tiny       = load{"UDP, 64 bytes", []bench.Kind{smallRate}, smallPackets, tries}
	connecting = load{"TCP connections, a byte each way", []bench.Kind{openRate}, connections, tries}
	crowd      = load{"many flows", []bench.Kind{flowsAnswered, oneFlowRate, allFlowsRate, flowsShare}, manyFlows, 0}
	firstSeen  = load{"first packet, cold, there and back", []bench.Kind{firstP50, firstP99, knownP50, knownP99}, firstPackets, 0}
)

var shapes = []shape{
	{name: "hosts", title: "guests on two hosts, MTU 1500", mtu: 1500,
		loads: []load{oneStream, streams4, streams16, polling, woken, tiny, connecting, firstSeen}},
	{name: "local", suffix: "_local", title: "both guests on one host", mtu: 1500, local: true,
		loads: []load{oneStream, polling, tiny, connecting}},
	{name: "tap", suffix: "_tap", title: "guests behind taps, as virtual machines are", mtu: 1500, taps: true,
		loads: []load{oneStream, polling, woken, tiny, connecting}},
	{name: "9000", suffix: "_9000", title: "guests on two hosts, MTU 9000", mtu: 9000,
		loads: []load{oneStream, polling, tiny}},
	{name: "first", suffix: "_alone", title: "first packets alone, of guests on two hosts", mtu: 1500, loads: []load{firstSeen}},
	{name: "flows", title: "many flows at once between two hosts", mtu: 1500, flows: 1_000_000, loads: []load{crowd}},
}

// ShapeNames are what can be chosen of how guests lie.
func ShapeNames() []string {
	names := make([]string, len(shapes))
	for i, f := range shapes {
		names[i] = f.name
	}
	return names
}

// length says how long a load runs.
type length struct {
	seconds int // 0: as short as can be
	batches int // of first packets
}

// patience is how long a measurement waits for a machine that is busy.
const patience = 4 * time.Second

// Subjects are the names of who is measured, in the order of the table. The last
// takes part where Open vSwitch is installed, and where it can.
var Subjects = []string{dove1, bare, bridged, filtered, ovs}

// Baselines are the subjects that the table compares with.
var Baselines = []string{bare, bridged, filtered}

// takesPart says whether a subject is measured in a shape.
func (f shape) takesPart(subject string) bool {
	if f.flows > 0 {
		return subject == dove1 // the others have no bound of flows to keep
	}
	if subject != ovs {
		return true
	}
	_, err := exec.LookPath("ovs-vswitchd")
	return err == nil && !f.local && !f.taps
}

// Run measures each shape in a lab of its own.
func (b *DataplaneBench) Run(ctx context.Context, opt Options) (*bench.Report, error) {
	for _, tool := range []string{"iperf3", "sockperf", "nft", "bridge", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s is not installed: run make setup as root", tool)
		}
	}
	chosen := shapes[:1]
	if len(b.Shapes) > 0 {
		chosen = nil
		for _, name := range b.Shapes {
			i := slices.IndexFunc(shapes, func(f shape) bool { return f.name == name })
			if i < 0 {
				return nil, fmt.Errorf("there is no shape %q: use %s", name, strings.Join(ShapeNames(), ", "))
			}
			chosen = append(chosen, shapes[i])
		}
	}
	report := &bench.Report{}
	var err error
	if report.Environment, err = b.environment(); err != nil {
		return nil, err
	}
	for _, f := range chosen {
		if f.flows > 0 && b.Flows > 0 {
			f.flows = b.Flows
		}
		if err := b.shape(ctx, opt, f, report); err != nil {
			return nil, err
		}
	}
	return report, nil
}

// shape builds all subjects in one shape, measures and cleans up. Each round
// goes through all loads, and each load through all subjects, beginning with another
// one each time: what the machine does meanwhile falls on all of them.
func (b *DataplaneBench) shape(ctx context.Context, opt Options, f shape, report *bench.Report) (err error) {
	var subjects []*subject
	for _, name := range Subjects {
		if f.takesPart(name) {
			subjects = append(subjects, &subject{name: name})
		}
	}
	fmt.Fprintf(b.Out, "Building %d times %s\n", len(subjects), f.title)
	l, err := New(ctx, opt)
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range subjects {
			err = errors.Join(err, s.close())
		}
		err = errors.Join(err, l.Close())
	}()
	for i, s := range subjects {
		if subjects[i], err = l.subject(ctx, s.name, f); err != nil {
			return fmt.Errorf("build %s: %w", s.name, err)
		}
	}
	for round := range b.Rounds {
		for _, load := range f.loads {
			if err := b.measure(ctx, report, load, round, subjects); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *DataplaneBench) environment() (bench.Environment, error) {
	e, err := bench.Here(b.Software)
	e.Rounds = b.Rounds
	e.Settings["guest_mtu"] = fmt.Sprintf("that of the underlay less %d", outerBytes)
	e.Settings["tcp_congestion_control"] = congestion
	e.Settings["seconds_per_load"] = fmt.Sprint(b.length().seconds)
	e.Settings["tries_per_load"] = fmt.Sprintf("%d of a second where one sender is the load, or connections are; %d of round trips while both ends poll", tries, pollingTries)
	e.Settings["first_packets_per_run"] = fmt.Sprint(b.length().batches * coldBatch)
	return e, err
}

func (b *DataplaneBench) length() length {
	if b.Quick {
		return length{0, 1}
	}
	return length{2, 24}
}

// measure puts one load on all subjects in turn, and again as often as it is tried.
// A machine has states that last for seconds, so tries of a subject one after the other
// would show one subject in another state than the next.
func (b *DataplaneBench) measure(ctx context.Context, report *bench.Report, load load, round int, subjects []*subject) error {
	fmt.Fprintf(b.Out, "%d/%d  %s\n", round+1, b.Rounds, load.title)
	n, rounds := b.length(), max(1, load.tries)
	if b.Quick {
		rounds = 1
	} else if load.tries > 0 {
		n.seconds = 1
	}
	runs := make(map[*subject][][]float64) // a value of each metric for each try
	busy := make(map[*subject]int)
	for try := range rounds {
		for i := range subjects {
			s := subjects[(i+round+try)%len(subjects)]
			if !b.Quick {
				quiet, err := bench.Quiet(ctx, patience)
				if err != nil {
					return err
				}
				if !quiet {
					busy[s]++
				}
			}
			values, err := load.run(ctx, s, n)
			if err := errors.Join(err, ctx.Err()); err != nil {
				return fmt.Errorf("%s over %s: %w", load.title, s.name, err)
			}
			runs[s] = append(runs[s], values)
		}
	}
	report.Environment.Measured += rounds * len(subjects)
	for _, s := range subjects {
		report.Environment.Noisy += busy[s]
		fmt.Fprintf(b.Out, "       %-20s", s.name)
		for i, k := range load.metrics {
			k.Name += s.suffix
			value := medianOf(runs[s], i)
			report.Record(k, s.name, value)
			fmt.Fprintf(b.Out, "  %s %s", bench.Figure(value), k.Unit)
		}
		if slices.Contains(load.metrics, firstP50) && s.answers != nil {
			a, err := s.answers(ctx)
			if err != nil {
				return err
			}
			fmt.Fprintf(b.Out, "  (of which the DPC's round trip: %s us, %s us)", bench.Figure(us(a.P50)), bench.Figure(us(a.P99)))
		}
		if busy[s] > 0 {
			fmt.Fprintf(b.Out, "  (the machine was busy, in %d of %d)", busy[s], rounds)
		}
		fmt.Fprintln(b.Out)
	}
	return nil
}

// medianOf returns the median of value i of all runs.
func medianOf(runs [][]float64, i int) float64 {
	var values []float64
	for _, r := range runs {
		values = append(values, r[i])
	}
	return bench.Median(values)
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
