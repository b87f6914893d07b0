package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dove.network/dove"
	"dove.network/lab/bench"
	"dove.network/scenario"
)

// Lossless keeps known flows going between guests on two hosts, or three, while
// dswitches and the DPC are killed and started again, policies are edited and a
// guest moves from host to host, and accounts for each packet.
type Lossless struct {
	Out         io.Writer // progress, line by line
	Software    string    // the version that is measured, for the report
	Restarts    int       // of dswitches, each host's in turn
	Edits       int       // of policies; none forbids the flows. Half of them while a dswitch is down
	GroupEdits  int       // of what groups the guests are in; none forbids the flows
	Moves       int       // of the guest that all talk with, from host to host
	DPCRestarts int
	Rate        int // numbered packets each second, each way
	Rules       int // ranges of ports that policy tells apart beside those of the flows
	LargeEdits  int // that write all of Rules anew

	lab     *Lab
	flows   []*flow
	guard   *intruder
	pauses  *pauses
	also    doing // in the end, in tests
	epoch   time.Time
	story   story
	edited  int
	more    map[string]int // how many edits of each kind
	faults  []string
	session []float64 // ms from a dswitch's start to its session

	firsts, firstsLost int // packets between addresses that a host did not know when its dswitch was restarted
}

// episode is something that was done to the lab under traffic.
type episode struct {
	name         string
	began, ended time.Duration
}

// Ports of the flows.
const (
	numberedPort = 9001
	checkedPort  = 9002
)

var (
	losslessTenant = dove.Tenant("acme")
	losslessLeft   = dove.Endpoint{Tenant: losslessTenant, ID: "left"}
	losslessRight  = dove.Endpoint{Tenant: losslessTenant, ID: "right"}
	losslessHosts  = []dove.HostName{"h1", "h2", "h3"} // the third only if a guest moves
)

// blueprint is what the tenant means after the edits so far: the flows are
// allowed one way, always, by a rule whose name and whose other ports change.
func (x *Lossless) blueprint() string {
	rule, more := "talk", ""
	if x.more["rule"]%2 == 1 {
		rule = "speak"
	}
	if x.more["port"]%2 == 1 {
		more = ", tcp/443, udp/53"
	}
	second := ""
	if x.more["second"]%2 == 1 {
		second = fmt.Sprintf("  - {name: again, from: left, to: [right, more-right], allow: [%s]}\n", x.ports())
	}
	more += x.manyPorts()
	return fmt.Sprintf(`apiVersion: dove/v1
kind: Blueprint
name: shop
networks:
  net: {subnets: [10.0.1.0/24, "fd00:0:0:1::/64"]}
groups:
  left: {network: net}
  right: {network: net}
  more-left: {network: net}
  more-right: {network: net}
policies:
  - {name: %s, from: left, to: right, allow: [%s%s]}
%s`, rule, x.ports(), more, second)
}

// groups is what an endpoint is a member of after the edits so far.
func (x *Lossless) groups(e dove.Endpoint) []dove.Group {
	name := string(e.ID)
	all := []dove.Group{{Tenant: e.Tenant, Blueprint: "shop", Name: name}}
	if x.more[name]%2 == 1 {
		all = append(all, dove.Group{Tenant: e.Tenant, Blueprint: "shop", Name: "more-" + name})
	}
	return all
}

// What edits change, in turn.
var (
	edits      = []string{"port", "rule", "second"}
	groupEdits = []string{string(losslessLeft.ID), string(losslessRight.ID)}
)

// edit makes the next edit of one of these kinds and says what it was.
func (x *Lossless) edit(ctx context.Context, st *Stage, kinds []string) (dove.Revision, string, error) {
	kind := slices.MinFunc(kinds, func(a, b string) int { return x.more[a] - x.more[b] })
	x.edited++
	x.more[kind]++
	if e := (dove.Endpoint{Tenant: losslessTenant, ID: dove.EndpointID(kind)}); st.guest(e) != nil {
		rev, err := st.change(ctx, scenario.SetGroups{Endpoint: e, Groups: x.groups(e)})
		return rev, fmt.Sprintf("edit %d, of the groups of %s", x.edited, kind), err
	}
	rev, err := st.change(ctx, scenario.ApplyBlueprint{Tenant: losslessTenant, Text: x.blueprint()})
	return rev, fmt.Sprintf("edit %d, of the %s rule", x.edited, map[string]string{"port": "ports of a", "rule": "name of a", "second": "second"}[kind]), err
}

// Run builds the lab, lets traffic flow, does what is to be done, and reports.
// Faults says whether all held.
func (x *Lossless) Run(ctx context.Context, opt Options) (_ *bench.Report, err error) {
	report := &bench.Report{}
	if report.Environment, err = bench.Here(x.Software); err != nil {
		return nil, err
	}
	fmt.Fprintf(x.Out, "Building %d hosts with a dswitch each, one dpc, and guests\n", len(x.hosts()))
	if x.lab, err = New(ctx, opt); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, x.lab.Close()) }()
	x.more = map[string]int{}
	defer func() {
		for _, f := range x.flows {
			_ = f.close()
		}
		x.guard.close()
	}()
	st, err := x.build(ctx)
	if err != nil {
		return nil, err
	}
	before, err := x.lab.dropped(ctx)
	if err != nil {
		return nil, err
	}
	x.epoch = time.Now()
	x.pauses = watchPauses(x.epoch)
	defer x.pauses.end()
	for _, f := range x.flows {
		f.epoch = x.epoch
		f.begin()
	}
	fmt.Fprintf(x.Out, "Traffic flows: %d numbered datagrams a second each way, and checked TCP streams\n", x.Rate)
	if err := x.goesOn(ctx); err != nil {
		return nil, err
	}
	for _, do := range x.schedule() {
		if err := x.episode(ctx, st, do); ctx.Err() != nil {
			return nil, ctx.Err()
		} else if err != nil {
			x.fault("it could not go on: %v", err)
			break
		}
	}
	x.finish(ctx, before)
	x.record(report)
	return report, nil
}

// build makes the world and its flows.
func (x *Lossless) build(ctx context.Context) (*Stage, error) {
	st, err := NewStage(ctx, x.lab, &scenario.Scenario{Hosts: x.hosts()})
	if err != nil {
		return nil, err
	}
	for _, a := range []scenario.Action{
		scenario.ApplyBlueprint{Tenant: losslessTenant, Text: x.blueprint()},
		scenario.CreateEndpoint{Endpoint: losslessLeft, Host: "h1", Groups: x.groups(losslessLeft), Allowed: []netip.Prefix{netip.PrefixFrom(losslessLent, 32)}},
		scenario.CreateEndpoint{Endpoint: losslessRight, Host: "h2", Groups: x.groups(losslessRight)},
	} {
		if _, err := st.Do(ctx, a); err != nil {
			return nil, fmt.Errorf("%s: %w", a, err)
		}
	}
	left, right := st.guest(losslessLeft), st.guest(losslessRight)
	x.flows, err = numbered(ctx, left, right, numberedPort, false, x.Rate)
	if err != nil {
		return nil, err
	}
	for _, v6 := range []bool{false, true} {
		f, err := checked(ctx, left, right, checkedPort, v6, v6)
		if err != nil {
			return nil, err
		}
		x.flows = append(x.flows, f)
	}
	if x.guard, err = x.intrude(left, right); err != nil {
		return nil, err
	}
	return st, x.neighbours(ctx, st)
}

// doing is something that is done under traffic; it says what it did.
type doing func(context.Context, *Stage) (string, error)

// schedule spreads all that is to be done over the run.
func (x *Lossless) schedule() []doing {
	meanwhile := min(x.Edits, x.Restarts) / 2 // edits while a dswitch is down: in every second restart
	kinds := []struct {
		want, done int
		do         func(i int) doing
	}{
		{want: x.Restarts, do: func(i int) doing {
			return func(ctx context.Context, st *Stage) (string, error) {
				return x.restart(ctx, st, i, i%2 == 1 && i/2 < meanwhile)
			}
		}},
		{want: x.Edits - meanwhile, do: func(int) doing {
			return func(ctx context.Context, st *Stage) (string, error) {
				rev, name, err := x.edit(ctx, st, edits)
				return name, errors.Join(err, x.enforced(ctx, rev))
			}
		}},
		{want: x.LargeEdits, do: func(int) doing { return x.replaceTables }},
		{want: x.GroupEdits, do: func(int) doing {
			return func(ctx context.Context, st *Stage) (string, error) {
				rev, name, err := x.edit(ctx, st, groupEdits)
				return name, errors.Join(err, x.enforced(ctx, rev))
			}
		}},
		{want: x.Moves, do: func(i int) doing {
			return func(ctx context.Context, st *Stage) (string, error) { return x.move(ctx, st, i) }
		}},
		{want: x.DPCRestarts, do: func(i int) doing {
			return func(ctx context.Context, st *Stage) (string, error) {
				return fmt.Sprintf("restart %d of the dpc", i+1), x.restartDPC(ctx)
			}
		}},
	}
	var all []doing
	for {
		next := -1
		for i, k := range kinds {
			if k.done < k.want && (next < 0 || (2*k.done+1)*kinds[next].want < (2*kinds[next].done+1)*k.want) {
				next = i
			}
		}
		if next < 0 && x.also != nil {
			return append(all, x.also)
		}
		if next < 0 {
			return all
		}
		all = append(all, kinds[next].do(kinds[next].done))
		kinds[next].done++
	}
}

// restart kills a host's dswitch, or stops it in order, starts it again after some
// traffic, first packets among it, and waits until it is in session, has its guest's
// port, and all these have arrived.
func (x *Lossless) restart(ctx context.Context, st *Stage, i int, edit bool) (string, error) {
	h := x.lab.hosts[(i+i/2)%2] // h1, h2, h2, h1: so that each is down during edits
	name := fmt.Sprintf("restart %d of a dswitch, on %s", i+1, h.Name)
	guest, err := x.invite(ctx, st, i, h)
	if err != nil {
		return name, err
	}
	if i%3 == 2 { // in order: what it holds then is not lost either
		name += " in order"
		if err := errors.Join(guest.send(newcomers/2), h.sw.stop(), guest.send(newcomers/2)); err != nil {
			return name, err
		}
	} else if err := errors.Join(h.sw.kill(), guest.send(newcomers)); err != nil {
		return name, err
	}
	if err := x.goesOn(ctx); err != nil {
		return name, err
	}
	var rev dove.Revision
	if edit {
		kinds := edits
		if i%4 == 3 && x.GroupEdits > 0 {
			kinds = groupEdits
		}
		made, what, err := x.edit(ctx, st, kinds)
		rev, name = made, name+", with "+what
		if err != nil {
			return name, err
		}
		if err := x.goesOn(ctx); err != nil {
			return name, err
		}
	}
	began := time.Now()
	if err := h.run(x.lab); err != nil {
		return name, err
	}
	if err := x.lab.waitSession(ctx, h); err != nil {
		return name, err
	}
	x.session = append(x.session, ms(time.Since(began)))
	for _, g := range x.lab.guests {
		if g.Host == h.Name {
			if err := x.lab.waitPort(ctx, g, true); err != nil {
				return name, err
			}
		}
	}
	return name, errors.Join(x.enforced(ctx, rev), x.leave(ctx, st, guest))
}

func (x *Lossless) restartDPC(ctx context.Context) error {
	if err := x.lab.members[0].dpc.kill(); err != nil {
		return err
	}
	if err := x.goesOn(ctx); err != nil {
		return err
	}
	if err := x.lab.RunMember(ctx, x.lab.members[0]); err != nil {
		return err
	}
	for _, h := range x.lab.hosts {
		if err := x.lab.waitSession(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

// enforced waits until every host enforces a revision; 0 is always enforced.
func (x *Lossless) enforced(ctx context.Context, rev dove.Revision) error {
	if rev == 0 {
		return nil
	}
	return eventually(ctx, catchUp, func() error {
		r, err := x.lab.receipt(ctx, rev)
		return errors.Join(err, unless(r.Complete, "revision %d: pending %v, unconfirmed %v", rev, r.Pending, r.Unconfirmed))
	})
}

// goesOn waits until more has arrived on every flow.
func (x *Lossless) goesOn(ctx context.Context) error {
	for _, f := range x.flows {
		before := f.received()
		err := eventually(ctx, passesWithin, func() error {
			return unless(f.received() >= before+10, "%s stands still at %d of %d", f.name, f.received(), f.sent.Load())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// episode does something under traffic and remembers when.
func (x *Lossless) episode(ctx context.Context, st *Stage, do doing) error {
	began, missed := time.Since(x.epoch), x.missing()
	name, err := do(ctx, st)
	if err == nil {
		err = x.goesOn(ctx)
	}
	e := episode{name, began, time.Since(x.epoch)}
	x.story = append(x.story, e)
	fmt.Fprintf(x.Out, "%6.1fs  %s, %.0f ms", e.ended.Seconds(), e.name, ms(e.ended-e.began))
	if n := x.missing() - missed; n > 0 {
		fmt.Fprintf(x.Out, ": %d packets are missing", n)
	}
	fmt.Fprintln(x.Out)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return err
}

func (x *Lossless) missing() (n int) {
	for _, f := range x.flows {
		n += f.missing()
	}
	return n
}

// story is all that was done, in order.
type story []episode

// when names what was done at a time.
func (x story) when(at time.Duration) string {
	i, inside := slices.BinarySearchFunc(x, at, func(e episode, at time.Duration) int {
		switch {
		case e.ended < at:
			return -1
		case e.began > at:
			return 1
		}
		return 0
	})
	switch {
	case inside:
		return fmt.Sprintf("%.0f ms into %s", ms(at-x[i].began), x[i].name)
	case i > 0:
		return "after " + x[i-1].name
	}
	return "before anything was done"
}

// dropped counts all that the lab and this machine say they dropped.
func (l *Lab) dropped(ctx context.Context) (map[string]int64, error) {
	all := map[string]int64{}
	for _, h := range l.hosts {
		counts, err := h.sock.Counts(ctx)
		if err != nil {
			return nil, err
		}
		for _, c := range counts {
			if c.Reason != "" && c.Reason != "not-dropped" {
				all[fmt.Sprintf("dswitch on %s: %s", h.Name, strings.TrimSpace(c.Reason+" "+c.Rule))] += int64(c.Packets)
			}
		}
	}
	spaces := []*Namespace{l.fabric}
	for _, h := range l.hosts {
		spaces = append(spaces, h.ns)
	}
	for _, g := range l.guests {
		spaces = append(spaces, g.ns)
	}
	for _, n := range spaces {
		if err := n.deviceDrops(all); err != nil {
			return nil, err
		}
	}
	backlog, err := backlogDrops()
	all[backlogName] = backlog
	return all, err
}

const backlogName = "backlogs of the CPUs, of all that this machine does"
