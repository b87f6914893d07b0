package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"dove.network/lab/bench"
)

// What bench dataplane measures; the names are those of its JSON.
var (
	tcpRate   = bench.Kind{Name: "tcp_1_gbps", Unit: "Gbit/s", Higher: true}
	roundP50  = bench.Kind{Name: "rr_p50_us", Unit: "us"}
	roundP99  = bench.Kind{Name: "rr_p99_us", Unit: "us"}
	smallRate = bench.Kind{Name: "udp_small_pps", Unit: "packets/s", Higher: true}
	firstP50  = bench.Kind{Name: "first_packet_p50_us", Unit: "us"}
	firstP99  = bench.Kind{Name: "first_packet_p99_us", Unit: "us"}
)

// DataplaneBench measures what lies between two guests on two hosts: DOVE, and
// beside it nothing but a veth (bare), a Linux bridge with the kernel's VXLAN, and the
// same with a stateful filter.
type DataplaneBench struct {
	Out      io.Writer // progress, line by line
	Software string    // the version that is measured, for the report
	Rounds   int       // how often everything is measured
	Quick    bool      // as short as can be: to see that it works, not how fast
}

// load is one way to make traffic. It returns a value for each of its metrics.
type load struct {
	title   string
	metrics []bench.Kind
	run     func(context.Context, *subject, length) ([]float64, error)
}

var loads = []load{
	{"TCP, one stream", []bench.Kind{tcpRate}, tcpStream},
	{"UDP round trip, both ends polling", []bench.Kind{roundP50, roundP99}, roundTrips},
	{"UDP, 64 bytes", []bench.Kind{smallRate}, smallPackets},
	{"first packet, cold, there and back", []bench.Kind{firstP50, firstP99}, firstPackets},
}

// length says how long a load runs.
type length struct {
	seconds int // 0: as short as can be
	batches int // of first packets
}

// patience is how long a measurement waits for a machine that is busy.
const patience = 4 * time.Second

// Subjects are the names of who is measured, in the order of the table.
var Subjects = []string{dove1, bare, bridged, filtered}

// Baselines are the subjects that the table compares with.
var Baselines = []string{bare, bridged, filtered}

// Run builds the subjects in a lab of its own, measures and cleans up. Each round
// goes through all loads, and each load through all subjects, beginning with another
// one each time: what the machine does meanwhile falls on all of them.
func (b *DataplaneBench) Run(ctx context.Context, opt Options) (report *bench.Report, err error) {
	for _, tool := range []string{"iperf3", "sockperf", "nft", "bridge"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s is not installed: run make setup as root", tool)
		}
	}
	report = &bench.Report{}
	if report.Environment, err = b.environment(); err != nil {
		return nil, err
	}
	fmt.Fprintf(b.Out, "Building two hosts with guests, four times: %s\n", strings.Join(Subjects, ", "))
	l, err := New(ctx, opt)
	if err != nil {
		return nil, err
	}
	subjects := make([]*subject, len(Subjects))
	defer func() {
		for _, s := range subjects {
			err = errors.Join(err, s.close())
		}
		err = errors.Join(err, l.Close())
	}()
	for i, name := range Subjects {
		if subjects[i], err = l.subject(ctx, name); err != nil {
			return nil, fmt.Errorf("build %s: %w", name, err)
		}
	}
	for round := range b.Rounds {
		for _, load := range loads {
			if err := b.measure(ctx, report, load, round, subjects); err != nil {
				return nil, err
			}
		}
	}
	return report, nil
}

func (b *DataplaneBench) environment() (bench.Environment, error) {
	e, err := bench.Here(b.Software)
	e.Rounds = b.Rounds
	e.Settings["underlay_mtu"] = fmt.Sprint(benchMTU)
	e.Settings["guest_mtu"] = fmt.Sprint(benchMTU - 50)
	e.Settings["tcp_congestion_control"] = congestion
	e.Settings["seconds_per_load"] = fmt.Sprint(b.length().seconds)
	e.Settings["first_packets_per_run"] = fmt.Sprint(b.length().batches * coldBatch)
	return e, err
}

func (b *DataplaneBench) length() length {
	if b.Quick {
		return length{0, 1}
	}
	return length{2, 8}
}

// measure puts one load on all subjects in turn.
func (b *DataplaneBench) measure(ctx context.Context, report *bench.Report, load load, round int, subjects []*subject) error {
	fmt.Fprintf(b.Out, "%d/%d  %s\n", round+1, b.Rounds, load.title)
	for i := range subjects {
		s := subjects[(i+round)%len(subjects)]
		quiet := true
		if !b.Quick {
			var err error
			if quiet, err = bench.Quiet(ctx, patience); err != nil {
				return err
			}
		}
		values, err := load.run(ctx, s, b.length())
		if err := errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("%s over %s: %w", load.title, s.name, err)
		}
		report.Environment.Measured++
		fmt.Fprintf(b.Out, "       %-20s", s.name)
		for j, k := range load.metrics {
			report.Record(k, s.name, values[j])
			fmt.Fprintf(b.Out, "  %s %s", bench.Figure(values[j]), k.Unit)
		}
		if !quiet {
			report.Environment.Noisy++
			fmt.Fprint(b.Out, "  (the machine was busy)")
		}
		fmt.Fprintln(b.Out)
	}
	return nil
}
