package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"dove.network/api/client"
	"dove.network/dove"
	"dove.network/lab/bench"
	"dove.network/scenario"
)

// Trial strikes a DPC of three members and three hosts with real faults, one at a
// time and two at once, under load, and holds all that can be seen against what
// was promised: known flows lose nothing, nothing comes that a receipt says is
// forbidden, and the API is linearizable.
type Trial struct {
	Out      io.Writer // progress, line by line
	Software string    // the version that is measured, for the report
	Seed     uint64    // of what strikes whom; 0: one is drawn
	Rounds   int       // of every kind of fault alone
	Pairs    int       // of two at once
	Strike   []string  // kinds of faults that strike at once in all pairs; none: they are drawn
	Short    bool      // four pairs of faults instead, and each as short as can be
	Rate     int       // numbered packets of each known flow a second, each way

	lab     *Lab
	st      *Stage
	epoch   time.Time
	random  *rand.Rand
	flows   []*flow
	askers  []*Guest // one on each host
	gate    *gate
	history *history
	invited int
	story   story
	report  *bench.Report
	faults  []string
	waits   map[string][]float64 // of new flows, by kind
	passed  verdict
}

const (
	trialTenant = dove.Tenant("acme")
	trialDisk   = 320 // MiB of each member
	shortHold   = 4 * time.Second
	recovery    = time.Minute // bounds how long all may take to be well again
)

var trialHosts = []dove.HostName{"h1", "h2", "h3"}

// trialBlueprint is what the known and the new flows are allowed by.
const trialBlueprint = `apiVersion: dove/v1
kind: Blueprint
name: trial
networks:
  net: {subnets: [10.4.0.0/16, "fd00:0:0:4::/64"]}
groups:
  known: {network: net}
  asker: {network: net}
  pool: {network: net}
policies:
  - {name: known, from: known, to: known, allow: [udp/9001-9003]}
  - {name: fresh, from: asker, to: pool, allow: [udp/9040]}
`

// What the report tells.
var (
	afterMajority = bench.Kind{Name: "new_flows_after_majority_ms", Unit: "ms"} // since a majority of members was together again
	afterFault    = bench.Kind{Name: "new_flows_after_fault_ms", Unit: "ms"}    // since the fault, a majority was together all the time
	afterHost     = bench.Kind{Name: "new_flows_after_host_ms", Unit: "ms"}     // since the host's own program could work again
	settledKind   = bench.Kind{Name: "settled_ms", Unit: "ms"}                  // from the end of the last fault until all is as before
	operations    = bench.Kind{Name: "operations", Unit: "operations", Higher: true}
	refusals      = bench.Kind{Name: "operations_refused", Unit: "operations"}
	noAnswers     = bench.Kind{Name: "operations_unanswered", Unit: "operations"}
	watchedKind   = bench.Kind{Name: "forbidden_watched_s", Unit: "s", Higher: true}
	editsKind     = bench.Kind{Name: "edits", Unit: "edits", Higher: true}
)

// Run builds the lab, strikes, and reports. Faults says whether all held.
func (t *Trial) Run(ctx context.Context, opt Options) (_ *bench.Report, err error) {
	t.report = &bench.Report{}
	if t.report.Environment, err = bench.Here(t.Software); err != nil {
		return nil, err
	}
	if t.Seed == 0 {
		t.Seed = rand.Uint64()
	}
	t.random, t.waits = rand.New(rand.NewPCG(t.Seed, 0)), map[string][]float64{}
	fmt.Fprintf(t.Out, "Building three members and three hosts; seed %d\n", t.Seed)
	opt.DPCs, opt.Relays, opt.DiskMiB = 3, true, trialDisk
	if t.lab, err = New(ctx, opt); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.lab.Close()) }()
	defer func() {
		for _, f := range t.flows {
			_ = f.close()
		}
	}()
	if err := t.build(ctx); err != nil {
		return nil, err
	}
	before, err := t.lab.dropped(ctx)
	if err != nil {
		return nil, err
	}
	t.epoch = time.Now()
	t.gate.epoch, t.history.epoch = t.epoch, t.epoch
	for _, f := range t.flows {
		f.epoch = t.epoch
		f.begin()
	}
	load, end := context.WithCancel(ctx)
	var working sync.WaitGroup
	defer working.Wait()
	defer end()
	for worker := range historyWorkers {
		r := rand.New(rand.NewPCG(t.Seed, uint64(worker)+1))
		working.Go(func() { t.history.work(load, worker, r) })
	}
	working.Go(func() {
		if err := t.gate.run(load, rand.New(rand.NewPCG(t.Seed, 1<<32))); err != nil {
			t.gate.fault("%v", err)
		}
	})
	for _, blows := range t.schedule() {
		if err := t.episode(ctx, blows); ctx.Err() != nil {
			return nil, ctx.Err()
		} else if err != nil {
			t.fault("it could not go on: %v", err)
			break
		}
	}
	end()
	working.Wait()
	t.finish(ctx, before)
	return t.report, nil
}

// build makes the world and its guests.
func (t *Trial) build(ctx context.Context) (err error) {
	if t.st, err = NewStage(ctx, t.lab, &scenario.Scenario{Hosts: trialHosts}); err != nil {
		return err
	}
	t.st.ports = Ports{UDP: []uint16{freshPort}}
	if err := t.lab.openDesk(); err != nil {
		return err
	}
	var members []*client.Client
	for _, m := range t.lab.members {
		c, err := t.lab.fromDesk(m)
		if err != nil {
			return err
		}
		members = append(members, c)
	}
	t.gate = &gate{members: members, tenant: trialTenant, name: "gate"}
	t.history = &history{members: members, tenant: trialTenant, group: "trial/known", hosts: trialHosts}
	do := func(a scenario.Action) {
		if err == nil {
			if _, failed := t.st.Do(ctx, a); failed != nil {
				err = fmt.Errorf("%s: %w", a, failed)
			}
		}
	}
	guest := func(id string, host dove.HostName, group string) *Guest {
		name := dove.Endpoint{Tenant: trialTenant, ID: dove.EndpointID(id)}
		blueprint, group, _ := strings.Cut(group, "/")
		do(scenario.CreateEndpoint{Endpoint: name, Host: host, Groups: []dove.Group{{Tenant: trialTenant, Blueprint: blueprint, Name: group}}})
		return t.st.guest(name)
	}
	do(scenario.ApplyBlueprint{Tenant: trialTenant, Text: trialBlueprint})
	do(scenario.ApplyBlueprint{Tenant: trialTenant, Text: string(t.gate.text(0))})
	var known []*Guest
	for i, h := range trialHosts {
		known = append(known, guest(fmt.Sprintf("known-%d", i+1), h, "trial/known"))
		t.askers = append(t.askers, guest(fmt.Sprintf("asker-%d", i+1), h, "trial/asker"))
	}
	t.gate.from = []*Guest{guest("outside-1", "h1", "gate/outside"), guest("outside-3", "h3", "gate/outside")}
	t.gate.to = guest("inside-2", "h2", "gate/inside")
	if err != nil {
		return err
	}
	for i, from := range known {
		to := known[(i+1)%len(known)]
		pair, err := numbered(ctx, from, to, numberedPort+uint16(i), i%2 == 1, t.Rate)
		if err != nil {
			return err
		}
		for _, f := range pair {
			f.name = fmt.Sprintf("%s, %s to %s", f.name, from.Host, to.Host)
		}
		t.flows = append(t.flows, pair...)
	}
	return nil
}

// schedule is what strikes, episode by episode.
func (t *Trial) schedule() (all [][]*blow) {
	members, hosts := t.lab.members, t.lab.hosts
	one := func(kind string) *blow {
		if slices.Contains(hostBlows, kind) {
			return t.upon(kind, hosts[t.random.IntN(len(hosts))])
		}
		return t.against(kind, members[t.random.IntN(len(members))])
	}
	if t.Short {
		return [][]*blow{
			{t.against(blowKill, members[0]), t.against(blowCut, members[1])},
			{t.against(blowStop, members[2]), t.upon(blowKillSwitch, hosts[t.random.IntN(len(hosts))])},
			{t.against(blowFull, members[1]), t.against(blowDeaf, members[2])},
			{t.against(blowSlow, members[0]), t.upon(blowLost, hosts[t.random.IntN(len(hosts))])},
		}
	}
	kinds := BlowKinds()
	for range t.Rounds {
		t.random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		for _, k := range kinds {
			all = append(all, []*blow{one(k)})
		}
	}
	for n := range t.Pairs {
		at := t.Strike
		if len(at) == 0 { // every second time two members, so that there is no majority
			second := hostBlows
			if n%2 == 0 {
				second = memberBlows
			}
			at = []string{memberBlows[t.random.IntN(len(memberBlows))], second[t.random.IntN(len(second))]}
		}
		m, h := t.random.Perm(len(members)), t.random.Perm(len(hosts))
		var blows []*blow
		for i, kind := range at {
			if slices.Contains(hostBlows, kind) {
				blows = append(blows, t.upon(kind, hosts[h[i]]))
			} else {
				blows = append(blows, t.against(kind, members[m[i]]))
			}
		}
		all = append(all, blows)
	}
	return all
}

// episode strikes, waits, and heals one blow after the other.
func (t *Trial) episode(ctx context.Context, blows []*blow) error {
	began := time.Since(t.epoch)
	var names []string
	for _, b := range blows {
		names = append(names, b.name)
	}
	name := strings.Join(names, "; ")
	fresh, err := t.invite(ctx)
	if err != nil {
		return fmt.Errorf("before %s: %w", name, err)
	}
	err = t.suffer(ctx, blows, fresh)
	if err == nil {
		err = t.leave(ctx, fresh)
	} else {
		fresh.stop()
		fresh.trying.Wait()
	}
	e := episode{name, began, time.Since(t.epoch)}
	t.story = append(t.story, e)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return err
}

// suffer is an episode without its guests.
func (t *Trial) suffer(ctx context.Context, blows []*blow, fresh *probing) error {
	struck := time.Since(t.epoch)
	hold, away := time.Duration(0), map[*Member]bool{}
	silent := map[*Host]bool{}
	var kinds []string
	for _, b := range blows {
		if err := b.strike(ctx); err != nil {
			return fmt.Errorf("strike: %w", err)
		}
		hold = max(hold, b.hold)
		if b.away != nil {
			away[b.away] = true
		}
		if b.silent != nil {
			silent[b.silent] = true
		}
		kinds = append(kinds, b.kind)
	}
	kind := strings.Join(kinds, "; ")
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(hold):
	}
	majority := len(away) <= 1
	var said []string
	tell := func(k bench.Kind, h *Host, took time.Duration) {
		t.report.Record(k, kind, ms(took))
		t.waits[k.Name] = append(t.waits[k.Name], ms(took))
		said = append(said, fmt.Sprintf("%s %.0f ms", h.Name, ms(took)))
	}
	if majority {
		for _, h := range t.lab.hosts {
			if !silent[h] {
				tell(afterFault, h, fresh.longest(h, struck, time.Since(t.epoch)))
			}
		}
	}
	for i, b := range blows {
		healed := time.Since(t.epoch)
		if err := b.heal(ctx); err != nil {
			return fmt.Errorf("heal %s: %w", b.name, err)
		}
		delete(away, b.away)
		now, whose := len(away) <= 1, t.lab.hosts
		k := afterMajority
		switch {
		case !now:
			continue
		case b.silent != nil:
			delete(silent, b.silent)
			whose, k = []*Host{b.silent}, afterHost
		case majority:
			whose = nil
		}
		majority = true
		for _, h := range whose {
			if silent[h] {
				continue
			}
			err := eventually(ctx, recovery, func() error {
				return unless(fresh.works(h, healed), "no new flow from %s works", h.Name)
			})
			if err != nil {
				return fmt.Errorf("after %s ended: %w", blows[i].name, err)
			}
			tell(k, h, fresh.longest(h, healed, time.Since(t.epoch)))
		}
	}
	last := time.Since(t.epoch)
	if err := eventually(ctx, recovery, func() error { return t.well(ctx) }); err != nil {
		return fmt.Errorf("it is not well again: %w", err)
	}
	t.report.Record(settledKind, kind, ms(time.Since(t.epoch)-last))
	fmt.Fprintf(t.Out, "%6.1fs  %s: new flows waited at most %s; all well %.1f s after the end\n", time.Since(t.epoch).Seconds(), kind,
		strings.Join(said, ", "), (time.Since(t.epoch) - last).Seconds())
	return nil
}

// well returns an error unless every member answers, every host is in session, and
// all enforce all.
func (t *Trial) well(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attemptWithin)
	defer cancel()
	var errs []error
	for _, m := range t.lab.members {
		if !m.runs() {
			return fmt.Errorf("the dpc of %s does not run; its log ends: %s", m.Name, m.dpc.tail())
		}
		c, err := t.lab.fromDesk(m)
		if err != nil {
			return err
		}
		status, err := c.Status(ctx)
		if err == nil {
			r, failed := c.Receipt(ctx, max(status.Revision-1, 1), 0) // the last one may be under way all the time
			err = errors.Join(failed, unless(len(r.Unknown)+len(r.Unconfirmed)+len(r.Members) == 0,
				"the receipt of %s names unknown %v, unconfirmed %v, members %v", m.Name, r.Unknown, r.Unconfirmed, r.Members))
		}
		c.Close()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.Name, err))
		}
	}
	for _, h := range t.lab.hosts {
		s, err := h.sock.Status(ctx)
		errs = append(errs, err, unless(err != nil || s.Session == "open", "the session of %s is %s: %s%s", h.Name, s.Session, s.Refusal, s.Trouble))
		for _, g := range t.lab.guests {
			if g.Host == h.Name && err == nil {
				errs = append(errs, h.open(s, g))
			}
		}
	}
	return errors.Join(errs...)
}

// finish ends the traffic and finds what did not hold.
func (t *Trial) finish(ctx context.Context, before map[string]int64) {
	for _, f := range t.flows {
		close(f.stop)
	}
	end := time.Now().Add(underWay)
	var own, lost int64
	for _, f := range t.flows {
		f.finish(end)
		drops, err := f.drops()
		if err != nil {
			t.fault("%s: %v", f.name, err)
		}
		f.dropped = drops
		own += drops
	}
	for _, f := range t.flows {
		if err := f.close(); err != nil {
			t.fault("%s: close: %v", f.name, err)
		}
		for _, err := range f.faults {
			t.fault("%s: %v", f.name, err)
		}
		for i, g := range f.book.gaps() {
			if i == namedLoss {
				t.fault("%s: and others", f.name)
				break
			}
			t.fault("%s: lost %d..%d, %s", f.name, g.first, g.last, t.story.when(g.at))
		}
		lost += int64(len(f.book.missing))
		t.report.Record(sentKind, f.name, float64(f.sent.Load()))
		t.report.Record(lostKind, f.name, float64(len(f.book.missing)))
	}
	if lost > 0 {
		after, err := t.lab.dropped(ctx)
		if err != nil {
			t.fault("ask who dropped them: %v", err)
		}
		t.faults = append(t.faults, culprits(before, after)...)
	}
	if own > 0 {
		t.fault("the run is invalid: receivers dropped %d packets themselves, as this machine is too busy for this rate", own)
	}
	t.passed = t.gate.judge(t.story.when)
	t.history.check()
	t.faults = append(append(t.faults, t.gate.faults...), t.history.faults...)
	if t.passed.watched < time.Second || t.passed.came == 0 {
		t.fault("the run is invalid: packets that must not come were watched for %v, %d that may came", t.passed.watched, t.passed.came)
	}
	answered, refused, unknown := t.history.counts()
	t.report.Record(operations, "API", float64(answered))
	t.report.Record(refusals, "API", float64(refused))
	t.report.Record(noAnswers, "API", float64(unknown))
	t.report.Record(watchedKind, "packets", t.passed.watched.Seconds())
	t.report.Record(sentKind, "packets", float64(t.passed.sent))
	t.report.Record(editsKind, "packets", float64(t.passed.edits))
	e := &t.report.Environment
	e.Rounds, e.Measured = 1, len(t.story)
	for k, v := range map[string]any{"seed": t.Seed, "rounds": t.Rounds, "pairs": t.Pairs, "packets_per_s": t.Rate} {
		e.Settings[k] = fmt.Sprint(v)
	}
}

func (t *Trial) fault(format string, args ...any) {
	t.faults = append(t.faults, fmt.Sprintf(format, args...))
}

// Faults returns what did not hold, of a run that is over.
func (t *Trial) Faults() []string { return t.faults }

// Summary tells the outcome of a run that is over.
func (t *Trial) Summary() string {
	var text strings.Builder
	var sent, lost int64
	for _, f := range t.flows {
		sent += f.sent.Load()
		lost += int64(len(f.book.missing))
	}
	answered, refused, unknown := t.history.counts()
	fmt.Fprintf(&text, "known flows: %d packets sent, %d lost\n", sent, lost)
	fmt.Fprintf(&text, "forbidden packets: %d sent by turns allowed and not, %d came; watched %.0f s while nothing was to come, over %d edits\n",
		t.passed.sent, t.passed.came, t.passed.watched.Seconds(), t.passed.edits)
	fmt.Fprintf(&text, "API: %d operations answered, %d refused by their condition, %d without an answer\n", answered, refused, unknown)
	for _, k := range []struct{ kind, says string }{
		{afterMajority.Name, "since a majority of members was together again"},
		{afterFault.Name, "since a fault that left a majority"},
		{afterHost.Name, "since their host's dswitch could work again"},
	} {
		if all := t.waits[k.kind]; len(all) > 0 {
			fmt.Fprintf(&text, "new flows waited at most, %s: p50 %.0f ms, worst %.0f ms, of %d\n", k.says, bench.Percentile(all, 50), slices.Max(all), len(all))
		}
	}
	return text.String()
}
