package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"

	"dove.network/api"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/lab/bench"
)

// What storms there are. In each, hosts that have no part in it go on asking.
const (
	StormScan      = "scan"      // hosts ask about all addresses of another tenant's network, as fast as dswitches would
	StormFlood     = "flood"     // they do so as fast as they are answered
	StormClaims    = "claims"    // two endpoints announce the same address, as fast as their hosts can say so
	StormColdStart = "coldstart" // half of the hosts open sessions and hold nothing, again and again
	StormDeath     = "death"     // the one of three members that has most sessions is killed
)

// Storms lists all.
func Storms() []string {
	return []string{StormScan, StormFlood, StormClaims, StormColdStart, StormDeath}
}

// How storms are.
const (
	stormRounds = 5 // calm and storm in turn; fewer if each is shorter
	scanners    = 16
	scanRate    = 1000 // questions of each a second: what a dswitch asks for ten ports that scan
	scanTenant  = "scan"

	coldEvery = 300 * time.Millisecond // a host may open four sessions a second
)

// storm measures how long questions take calm and in the storm, and in the same storm those to the
// dpc aside, which has no part in it: that is what having the machine in common takes.
func (r *run) storm(name string) (err error) {
	before := func() error { return nil }
	var rage func(context.Context) error
	switch name {
	case StormScan:
		rage, err = r.scan(scanRate)
	case StormFlood:
		rage, err = r.scan(0)
	case StormClaims:
		rage, err = r.claims()
	case StormColdStart:
		rage = r.coldStart()
	}
	if err != nil {
		return err
	}
	rages := func() (from, to time.Time, err error) {
		ctx, end := context.WithTimeout(r.ctx, r.span())
		defer end()
		from = time.Now()
		err = rage(ctx)
		return from, time.Now(), err
	}
	if name == StormDeath {
		c, err := r.cluster(r.fleet.hosts[:len(r.fleet.hosts)-len(r.fleet.probed())])
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.close()) }()
		before = c.gather
		rages = func() (from, to time.Time, err error) {
			lost, from, to, err := c.lose(c.members[1:])
			if err == nil {
				_, err = lost.start(r.ctx)
			}
			return from, to, err
		}
	}
	its, err := r.probe(r.fleet)
	if err != nil {
		return err
	}
	defer its.close()
	others, err := r.probe(r.aside)
	if err != nil {
		return err
	}
	defer others.close()
	r.report.Environment.Rounds = min(stormRounds, r.Seconds)
	for range r.report.Environment.Rounds {
		var took [3][]float64
		for i, one := range []struct {
			before func() error
			asks   *prober
			goesOn func() (from, to time.Time, err error)
		}{{before, its, r.calm}, {nil, its, rages}, {before, others, rages}} {
			if one.before != nil {
				if err := one.before(); err != nil {
					return err
				}
			}
			var err error
			if took[i], err = one.asks.while(one.goesOn); err != nil {
				return err
			}
		}
		r.recordStorm(name, took[0], took[1], took[2])
	}
	return nil
}

// span is how long each load runs.
func (r *run) span() time.Duration { return time.Duration(r.Seconds) * time.Second }

// calm has nothing go on.
func (r *run) calm() (from, to time.Time, err error) {
	from = time.Now()
	select {
	case <-time.After(r.span()):
	case <-r.ctx.Done():
		err = r.ctx.Err()
	}
	return from, time.Now(), err
}

func (r *run) recordStorm(name string, calm, storm, aside []float64) {
	for _, p := range []float64{50, 99} {
		us := func(when string, took []float64) float64 {
			is := bench.Percentile(took, p)
			r.record(bench.Kind{Name: fmt.Sprintf("%s_%s_p%g_us", name, when, p), Unit: "us"}, is)
			return is
		}
		ratio := func(what string, is float64) {
			r.record(bench.Kind{Name: fmt.Sprintf("%s_%sp%g_ratio", name, what, p), Unit: "x"}, is)
		}
		before, then, other := us("calm", calm), us("storm", storm), us("aside", aside)
		ratio("", then/before)
		ratio("aside_", other/before)
	}
}

// standAside makes another dpc with a fleet of its own, as large, which has no part in any storm.
func (r *run) standAside(dir string) (stop func() error, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	d, err := newDPC(r.ctx, r.DPC, dir)
	if err != nil {
		return nil, err
	}
	if _, err := d.start(r.ctx); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	r.say("another dpc has no part in storms")
	if r.aside, err = newFleet(r.ctx, d, r.Hosts); err == nil {
		if _, err = r.aside.open(r.ctx); err == nil {
			err = r.aside.grow(r.ctx, r.Endpoints, func(made int) { r.say("%d endpoints there", made) })
		}
		stop = func() error { r.aside.close(); return d.stop() }
	} else {
		stop = d.stop
	}
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// extra makes an endpoint of a tenant on a host, beside those of the fleet.
func (r *run) extra(t dove.Tenant, group string, host int, allowed ...api.AllowedPrefix) (api.Endpoint, error) {
	name := dove.Endpoint{Tenant: t, ID: dove.EndpointID(fmt.Sprintf("x%d", host))}
	return r.fleet.dpc.client.PutEndpoint(r.ctx, name, api.EndpointSpec{Groups: []string{group}, Host: r.fleet.hosts[host].name, Allowed: allowed}, nil)
}

// scan has some hosts ask so many questions a second about a network of a tenant of its own,
// which has an endpoint on each of them; with a rate of 0 as fast as they are answered.
func (r *run) scan(rate int) (func(context.Context) error, error) {
	f := r.fleet
	const shop = "apiVersion: dove/v1\nkind: Blueprint\nname: shop\nnetworks: {net: {subnets: [10.0.0.0/16]}}\ngroups: {g: {network: net}}\n"
	_, err := f.dpc.client.PutTenant(r.ctx, scanTenant, nil)
	if err == nil {
		_, err = f.dpc.client.PutBlueprint(r.ctx, scanTenant, "shop", []byte(shop), nil)
	}
	if err != nil {
		return nil, err
	}
	n, err := f.dpc.client.Network(r.ctx, dove.Network{Tenant: scanTenant, Name: "net"})
	if err != nil {
		return nil, err
	}
	count := min(scanners, len(f.hosts)/2)
	locals, last := make([]netip.Addr, count), dove.Revision(0)
	for i := range locals {
		e, err := r.extra(scanTenant, "shop/g", i)
		if err != nil {
			return nil, err
		}
		locals[i], last = netip.MustParseAddr(e.Addresses[0]), e.Revision
	}
	if _, err := r.enforce(func() (dove.Revision, error) { return last, nil }); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		return r.rage(ctx, count, func(i int, random *rand.Rand) error {
			at, asked, begun := random.Uint32(), 0, time.Now()
			for ctx.Err() == nil {
				due := batch
				if rate > 0 {
					due = min(int(time.Since(begun)*time.Duration(rate)/time.Second)-asked, batch)
				}
				if due <= 0 {
					time.Sleep(time.Millisecond)
					continue
				}
				list := make([]control.Question, due)
				for k := range list {
					list[k] = control.Question{VNI: n.VNI, Local: locals[i], Peer: netip.AddrFrom4([4]byte{10, 0, byte(at >> 8), byte(at)}), Outgoing: true}
					at++
				}
				if _, err := f.hosts[i].ask(r.ctx, list); err != nil {
					return err
				}
				asked += due
			}
			return nil
		})
	}, nil
}

// rage calls do from many goroutines until ctx is over.
func (r *run) rage(ctx context.Context, atOnce int, do func(i int, random *rand.Rand) error) error {
	return each(r.ctx, atOnce, atOnce, func(all context.Context, i int) error {
		random := rand.New(rand.NewPCG(5, uint64(i)))
		for ctx.Err() == nil && all.Err() == nil {
			if err := do(i, random); err != nil {
				return err
			}
		}
		return nil
	})
}

// claims has two hosts say without a pause that a guest of theirs announces an address.
func (r *run) claims() (func(context.Context) error, error) {
	f := r.fleet
	shared := netip.AddrFrom4([4]byte{10, 255, 0, 1})
	var sent [2]*control.Claim
	for i := range sent {
		e, err := r.extra(tenant, "shop/g0", i, api.AllowedPrefix{Prefix: shared.String()})
		if err != nil {
			return nil, err
		}
		if _, err := r.enforce(func() (dove.Revision, error) { return e.Revision, nil }); err != nil {
			return nil, err
		}
		h := f.hosts[i]
		h.mu.Lock()
		a, ok := h.assigned[dove.Endpoint{Tenant: tenant, ID: e.ID}]
		h.mu.Unlock()
		if !ok {
			return nil, fmt.Errorf("%s was not assigned %s", h.name, e.ID)
		}
		sent[i] = &control.Claim{Endpoint: a.Endpoint, Epoch: a.Epoch, Addr: shared}
	}
	return func(ctx context.Context) error {
		return r.rage(ctx, len(sent), func(i int, _ *rand.Rand) error {
			h := f.hosts[i]
			sent, err := h.conn.TrySend(sent[i])
			switch {
			case err != nil: // what it said was read so slowly that nothing moved for as long as a session may last
				<-h.left
				return h.open(r.ctx, f.dpc.control)
			case !sent: // the dpc does not read
				time.Sleep(time.Millisecond)
			}
			return nil
		})
	}, nil
}

// coldStart has the first half of the hosts forget all and open sessions at once, again and
// again, as often as hosts may.
func (r *run) coldStart() func(context.Context) error {
	f := r.fleet
	half := len(f.hosts) / 2
	return func(ctx context.Context) error {
		for ctx.Err() == nil {
			again := time.After(coldEvery)
			if err := each(r.ctx, half, openersAt, func(_ context.Context, i int) error { f.hosts[i].close(); return nil }); err != nil {
				return err
			}
			if err := each(r.ctx, half, openersAt, func(_ context.Context, i int) error { return f.hosts[i].open(r.ctx, f.dpc.control) }); err != nil {
				return err
			}
			<-again
		}
		return nil
	}
}
