package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"dove.network/api"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/lab/bench"
)

// Subject is who is measured.
const Subject = "dove"

// What bench control measures; the names are those of its JSON.
var (
	questionRate    = bench.Kind{Name: "questions_per_core_s", Unit: "answers/s", Higher: true}
	newQuestionRate = bench.Kind{Name: "new_questions_per_core_s", Unit: "answers/s", Higher: true}
	questionP50     = bench.Kind{Name: "question_p50_us", Unit: "us"}
	questionP99     = bench.Kind{Name: "question_p99_us", Unit: "us"}
	changeRate      = bench.Kind{Name: "changes_per_s", Unit: "changes/s", Higher: true}
	singleRate      = bench.Kind{Name: "changes_single_per_s", Unit: "changes/s", Higher: true}
	loadRate        = bench.Kind{Name: "made_per_s", Unit: "endpoints/s", Higher: true}
	perEndpoint     = bench.Kind{Name: "bytes_per_endpoint", Unit: "B"}
	coldStart       = bench.Kind{Name: "cold_start_s", Unit: "s"}
	handoverTime    = bench.Kind{Name: "handover_s", Unit: "s"}
)

// of is a metric at a size, as enforce_p50_ms_1e3.
func of(name, unit string, size int) bench.Kind {
	digits := strconv.Itoa(size)
	trimmed := strings.TrimRight(digits, "0")
	return bench.Kind{Name: fmt.Sprintf("%s_%se%d", name, trimmed, len(digits)-len(trimmed)), Unit: unit}
}

// ControlBench measures a dpc by a fleet without switches.
type ControlBench struct {
	Out       io.Writer // progress, line by line
	Software  string    // the version that is measured, for the report
	DPC       string    // the program
	Endpoints int
	Hosts     int
	Seconds   int      // of each load
	Prober    []string // the command that runs Probe with a folder
	Storms    []string // measures what these do to others, and nothing else; may be empty
	OVN       bool     // measure its central daemons too, where they are installed
}

// Limits of what can be asked for.
const (
	EndpointsMax = 4_000_000
	HostsMax     = 16_000 // each is a connection of two processes
)

// How the loads are.
const (
	batch      = 64  // questions in one request
	askersAt   = 32  // requests at once
	changePart = 100 // endpoints in one request that changes them
	changersAt = 2
	singlesAt  = 64
	holders    = 16 // hosts that hold what changes
	enforced   = 60 // changes whose receipts are waited for, at each size
)

// run is one benchmark on its way.
type run struct {
	*ControlBench
	ctx    context.Context
	fleet  *fleet
	aside  *fleet // of another dpc; in storms
	report *bench.Report
	begun  time.Time
	random *rand.Rand // of one goroutine
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.Out, "%6.1f s  %s\n", time.Since(r.begun).Seconds(), fmt.Sprintf(format, args...))
}

func (r *run) record(k bench.Kind, value float64) {
	r.report.Record(k, Subject, value)
	r.say("%s: %s %s", k.Name, bench.Figure(value), k.Unit)
}

// Run makes a dpc with its state in a folder of its own, measures it, and removes both.
func (b *ControlBench) Run(ctx context.Context) (report *bench.Report, err error) {
	r := &run{ControlBench: b, ctx: ctx, report: &bench.Report{}, begun: time.Now(), random: rand.New(rand.NewPCG(1, 2))}
	if r.report.Environment, err = bench.Here(b.Software); err != nil {
		return nil, err
	}
	r.report.Environment.Rounds = 1
	r.report.Environment.Settings = map[string]string{"endpoints": strconv.Itoa(b.Endpoints), "hosts": strconv.Itoa(b.Hosts), "seconds": strconv.Itoa(b.Seconds)}
	dir, err := os.MkdirTemp("", "dove-fleet-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d, err := newDPC(ctx, b.DPC, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	if _, err := d.start(ctx); err != nil {
		return nil, err
	}
	empty, err := d.anonymous()
	if err != nil {
		return nil, err
	}
	r.say("%d hosts join", b.Hosts)
	if r.fleet, err = newFleet(ctx, d, b.Hosts); err != nil {
		return nil, err
	}
	defer r.fleet.close()
	if _, err := r.fleet.open(ctx); err != nil {
		return nil, err
	}
	r.say("%d sessions are open", b.Hosts)
	if len(b.Storms) > 0 {
		if err := r.grow(b.Endpoints); err != nil {
			return nil, err
		}
		var stop func() error
		if stop, err = r.standAside(filepath.Join(dir, "aside")); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, stop()) }()
	} else {
		for _, size := range sizes(b.Endpoints) {
			if err := r.size(size); err != nil {
				return nil, err
			}
		}
	}
	measures := []func() error{r.questions, r.latency, r.changes, r.singles, func() error { return r.restart(empty) }, r.handover}
	if len(b.Storms) > 0 {
		measures = nil
	}
	for _, name := range Storms() { // death is last: it leaves no session behind
		if slices.Contains(b.Storms, name) {
			measures = append(measures, func() error { return r.storm(name) })
		}
	}
	for _, measure := range measures {
		if err := measure(); err != nil {
			return nil, err
		}
	}
	return r.report, nil
}

// sizes are the powers of ten from a thousand on, and the whole.
func sizes(endpoints int) (all []int) {
	for n := 1000; n < endpoints; n *= 10 {
		all = append(all, n)
	}
	return append(all, endpoints)
}

// grow makes endpoints until there are so many.
func (r *run) grow(endpoints int) error {
	begun, before := time.Now(), r.fleet.made
	if err := r.fleet.grow(r.ctx, endpoints, func(made int) { r.say("%d endpoints", made) }); err != nil {
		return err
	}
	rate := float64(endpoints-before) / time.Since(begun).Seconds()
	r.say("%d endpoints, %.0f a second", endpoints, rate)
	if endpoints == r.Endpoints {
		r.record(loadRate, rate)
	}
	return nil
}

// size grows the world and measures how fast one change of it is enforced: an endpoint
// goes to another host, and some hosts hold where it is.
func (r *run) size(endpoints int) error {
	f := r.fleet
	if err := r.grow(endpoints); err != nil {
		return err
	}
	var took, told, policy []float64
	for range enforced {
		n := r.random.IntN(endpoints)
		for range holders {
			if err := r.hold(f.peer(r.random, n), n); err != nil {
				return err
			}
		}
		name, _, _ := f.endpoint(n)
		to := f.hosts[r.random.IntN(len(f.hosts))].name
		ms, err := r.enforce(func() (dove.Revision, error) {
			begun := time.Now()
			e, err := f.dpc.client.BindEndpoint(r.ctx, name, to, nil)
			told = append(told, float64(time.Since(begun).Microseconds())/1000)
			return e.Revision, err
		})
		if err != nil {
			return err
		}
		took = append(took, ms)
		if err := r.back(n); err != nil {
			return err
		}
	}
	for edition := range enforced / 4 {
		ms, err := r.enforce(func() (dove.Revision, error) {
			b, err := f.dpc.client.PutBlueprint(r.ctx, tenant, "shop", intent(edition+1), nil)
			return b.Revision, err
		})
		if err != nil {
			return err
		}
		policy = append(policy, ms)
	}
	r.record(of("enforce_p50_ms", "ms", endpoints), bench.Percentile(took, 50))
	r.record(of("enforce_p99_ms", "ms", endpoints), bench.Percentile(took, 99))
	r.record(of("enforce_policy_p50_ms", "ms", endpoints), bench.Percentile(policy, 50))
	r.record(of("central_p50_ms", "ms", endpoints), bench.Percentile(told, 50))
	return r.compare(endpoints)
}

// compare measures what OVN's central daemons, where they are installed, take until one
// change of a port is worked out; no chassis takes part. They run no longer than that.
func (r *run) compare(ports int) (err error) {
	if !r.OVN || ports > ovnMost || !ovnInstalled() {
		return nil
	}
	dir, err := os.MkdirTemp(r.fleet.dpc.dir, "ovn-")
	if err != nil {
		return err
	}
	o, err := startOVN(r.ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.stop()) }()
	if err := o.grow(r.ctx, r.fleet, ports); err != nil {
		return err
	}
	var took []float64
	for i := range enforced / 4 {
		ms, err := o.change(r.ctx, r.fleet, r.random.IntN(ports), ports+i)
		if err != nil {
			return err
		}
		took = append(took, ms)
	}
	k := of("central_p50_ms", "ms", ports)
	r.report.Record(k, OVN, bench.Percentile(took, 50))
	r.say("%s of OVN: %s %s", k.Name, bench.Figure(bench.Percentile(took, 50)), k.Unit)
	return nil
}

// hold has the host of an endpoint ask about another one.
func (r *run) hold(from, about int) error {
	_, err := r.fleet.hosts[r.fleet.at(from)].ask(r.ctx, []control.Question{r.fleet.question(from, about)})
	return err
}

// back puts an endpoint where it was made.
func (r *run) back(n int) error {
	name, _, _ := r.fleet.endpoint(n)
	_, err := r.fleet.dpc.client.BindEndpoint(r.ctx, name, r.fleet.hosts[r.fleet.at(n)].name, nil)
	return err
}

// enforceWithin bounds how long hosts may take to enforce a change.
const enforceWithin = time.Minute

// enforce returns how many milliseconds passed from a write on until all hosts had
// acknowledged it.
func (r *run) enforce(write func() (dove.Revision, error)) (float64, error) {
	begun := time.Now()
	revision, err := write()
	if err != nil {
		return 0, err
	}
	receipt, err := r.fleet.dpc.client.Receipt(r.ctx, revision, enforceWithin)
	if err != nil {
		return 0, err
	}
	if !receipt.Complete {
		return 0, fmt.Errorf("revision %d is not enforced after %s: %d hosts are pending, %d unconfirmed", revision, enforceWithin, len(receipt.Pending), len(receipt.Unconfirmed))
	}
	return float64(time.Since(begun).Microseconds()) / 1000, nil
}

// during calls do from many goroutines until the time is over, and returns how long that
// took. Each has a source of chance of its own.
func (r *run) during(atOnce int, do func(context.Context, *rand.Rand) error) (time.Duration, error) {
	begun := time.Now()
	end := begun.Add(time.Duration(r.Seconds) * time.Second)
	err := each(r.ctx, atOnce, atOnce, func(ctx context.Context, i int) error {
		random := rand.New(rand.NewPCG(3, uint64(i)))
		for time.Now().Before(end) && ctx.Err() == nil {
			if err := do(ctx, random); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return time.Since(begun), err
}

// questions measures how many answers a second of the dpc's CPU time gives, in batches: of
// new questions, each of which has the dpc tell another host whom to expect, and of
// questions that were asked before.
func (r *run) questions() error {
	f := r.fleet
	if err := r.rate(newQuestionRate, func(random *rand.Rand) (int, []control.Question) { return f.batch(random, random.IntN(len(f.hosts))) }); err != nil {
		return err
	}
	type request struct {
		at   int
		list []control.Question
	}
	known := make([]request, 4*min(len(f.hosts), askersAt))
	for i := range known {
		at, list := f.batch(r.random, i%len(f.hosts))
		if _, err := f.hosts[at].ask(r.ctx, list); err != nil {
			return err
		}
		known[i] = request{at, list}
	}
	return r.rate(questionRate, func(random *rand.Rand) (int, []control.Question) {
		q := known[random.IntN(len(known))]
		return q.at, q.list
	})
}

// batch returns questions of a host about peers by chance.
func (f *fleet) batch(random *rand.Rand, at int) (int, []control.Question) {
	list := make([]control.Question, batch)
	for i := range list {
		from := f.onHost(random, at)
		list[i] = f.question(from, f.peer(random, from))
	}
	return at, list
}

// rate measures how many answers a second of the dpc's CPU time gives.
func (r *run) rate(k bench.Kind, next func(*rand.Rand) (host int, list []control.Question)) error {
	f := r.fleet
	var answers, found atomic.Int64
	before, err := f.dpc.cpu()
	if err != nil {
		return err
	}
	took, err := r.during(min(askersAt, len(f.hosts)), func(ctx context.Context, random *rand.Rand) error {
		at, list := next(random)
		n, err := f.hosts[at].ask(ctx, list)
		answers.Add(int64(len(list)))
		found.Add(int64(n))
		return err
	})
	if err != nil {
		return err
	}
	after, err := f.dpc.cpu()
	if err != nil {
		return err
	}
	if found.Load() < answers.Load() {
		return fmt.Errorf("of %d questions about endpoints only %d found one", answers.Load(), found.Load())
	}
	r.say("%.0f answers a second, %.2f CPUs of the dpc", float64(answers.Load())/took.Seconds(), (after-before).Seconds()/took.Seconds())
	r.record(k, float64(answers.Load())/(after-before).Seconds())
	return nil
}

// latency measures how long one question takes while the dpc has little else to do.
func (r *run) latency() error {
	f := r.fleet
	var all []float64
	_, err := r.during(1, func(ctx context.Context, random *rand.Rand) error {
		at := random.IntN(len(f.hosts))
		from := f.onHost(random, at)
		question := []control.Question{f.question(from, f.peer(random, from))}
		begun := time.Now()
		_, err := f.hosts[at].ask(ctx, question)
		all = append(all, float64(time.Since(begun).Nanoseconds())/1000)
		return err
	})
	if err != nil {
		return err
	}
	r.record(questionP50, bench.Percentile(all, 50))
	r.record(questionP99, bench.Percentile(all, 99))
	return nil
}

// changes measures how many endpoints a second can change their hosts, durably, in lists;
// what they tell the hosts is part of it, until the last is acknowledged.
func (r *run) changes() error {
	f := r.fleet
	var done, last atomic.Int64
	begun := time.Now()
	if _, err := r.during(changersAt, func(ctx context.Context, random *rand.Rand) error {
		part := make([]api.NamedEndpointSpec, min(changePart, f.made))
		first := random.IntN(f.made - len(part) + 1)
		for i := range part {
			part[i] = f.spec(first+i, random.IntN(len(f.hosts)))
		}
		made, err := f.dpc.client.PutEndpoints(ctx, tenant, part)
		done.Add(int64(len(part)))
		if r := int64(made.Revision); r > last.Load() {
			last.Store(r)
		}
		return err
	}); err != nil {
		return err
	}
	if _, err := r.enforce(func() (dove.Revision, error) { return dove.Revision(last.Load()), nil }); err != nil {
		return err
	}
	r.record(changeRate, float64(done.Load())/time.Since(begun).Seconds())
	return nil
}

// singles measures the same with a request for each.
func (r *run) singles() error {
	f := r.fleet
	var done atomic.Int64
	took, err := r.during(singlesAt, func(ctx context.Context, random *rand.Rand) error {
		name, _, _ := f.endpoint(random.IntN(f.made))
		_, err := f.dpc.client.BindEndpoint(ctx, name, f.hosts[random.IntN(len(f.hosts))].name, nil)
		done.Add(1)
		return err
	})
	if err != nil {
		return err
	}
	r.record(singleRate, float64(done.Load())/took.Seconds())
	return nil
}

// restart stops the dpc, starts it over what it kept, and has the fleet come back.
func (r *run) restart(empty float64) error {
	f, d := r.fleet, r.fleet.dpc
	sessions, err := d.anonymous()
	if err != nil {
		return err
	}
	r.say("%.0f MiB after all that", sessions/(1<<20))
	f.close()
	if err := d.stop(); err != nil {
		return err
	}
	took, err := d.start(r.ctx)
	if err != nil {
		return err
	}
	r.record(of("start_s", "s", f.made), took.Seconds())
	alone, err := d.anonymous()
	if err != nil {
		return err
	}
	r.record(of("rss_mib", "MiB", f.made), alone/(1<<20))
	r.record(perEndpoint, (alone-empty)/float64(f.made))
	if took, err = f.open(r.ctx); err != nil {
		return err
	}
	r.record(coldStart, took.Seconds())
	if sessions, err = d.anonymous(); err != nil {
		return err
	}
	r.record(of("rss_sessions_mib", "MiB", f.made), sessions/(1<<20))
	return nil
}
