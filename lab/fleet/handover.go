package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"dove.network/agent"
	"dove.network/dove"
)

// handoverWithin bounds how long hosts may take to find another member.
const handoverWithin = 5 * time.Minute

// opening is a session that a host has opened and that has told it all.
type opening struct {
	host   int
	member string // its address
	at     time.Time
}

// keep keeps a session open with one of some members, as a dSwitch does, until ctx ends.
func (h *host) keep(ctx context.Context, n int, addresses []string, opened chan<- opening) {
	route := agent.NewRoute(h.name, addresses, nil, rand.N[time.Duration])
	for ctx.Err() == nil {
		var pause time.Duration
		at := route.Next()
		switch err := h.open(ctx, at); {
		case err == nil:
			select {
			case opened <- opening{n, at, time.Now()}:
			case <-ctx.Done():
				return
			}
			select {
			case <-h.left:
			case <-ctx.Done():
				return
			}
			if pause = route.Ended(); h.sent != nil {
				pause = route.Sent(h.sent)
			}
		case h.sent != nil:
			pause = route.Sent(h.sent)
		default:
			pause = route.Failed(dove.KindOf(err))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// handover makes the dpc one of three, opens all sessions anew, each with the member that
// its host prefers, and kills the member that has most of them. It measures how long it takes
// until all hosts of that one have a session with another and have been told all there; in
// a storm, how long others' questions take meanwhile.
func (r *run) handover(storm bool) (err error) {
	f := r.fleet
	kept := f.hosts
	if storm {
		kept = kept[:len(kept)-len(f.probed())]
	}
	f.close()
	members := []*dpc{f.dpc}
	for _, name := range []string{"dpc-2", "dpc-3"} {
		d, err := f.dpc.join(r.ctx, name)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.stop()) }()
		took, err := d.start(r.ctx)
		if err != nil {
			return err
		}
		r.say("%s joined and answers after %.1f s", name, took.Seconds())
		members = append(members, d)
	}
	var addresses []string
	for _, d := range members {
		addresses = append(addresses, d.control)
	}
	ctx, cancel := context.WithTimeout(r.ctx, handoverWithin)
	opened := make(chan opening, len(kept))
	var keeping sync.WaitGroup
	defer f.close()
	defer keeping.Wait()
	defer cancel()
	for n, h := range kept {
		h.remember()
		keeping.Go(func() { h.keep(ctx, n, addresses, opened) })
	}
	at := map[int]string{} // with which member each host has its session
	wait := func(done func(opening) bool) error {
		for {
			select {
			case o := <-opened:
				if at[o.host] = o.member; done(o) {
					return nil
				}
			case <-ctx.Done():
				return fmt.Errorf("%d of %d hosts have opened a session: %w", len(at), len(kept), ctx.Err())
			}
		}
	}
	if err := wait(func(opening) bool { return len(at) == len(kept) }); err != nil {
		return err
	}
	// Each holds rows, with which it is to go on elsewhere.
	if err := each(r.ctx, len(kept), askersAt, func(ctx context.Context, i int) error {
		host, list := f.batch(rand.New(rand.NewPCG(4, uint64(i))), i)
		return f.hosts[host].askAgain(ctx, list)
	}); err != nil {
		return err
	}
	count := map[string]int{}
	for _, member := range at {
		count[member]++
	}
	slices.SortFunc(members, func(a, b *dpc) int { return count[b.control] - count[a.control] })
	most := members[0]
	missing := map[int]bool{}
	for n, member := range at {
		if member == most.control {
			missing[n] = true
		}
	}
	var p *prober
	var calm []float64
	if storm {
		if p, err = r.probe(members[1].control); err != nil {
			return err
		}
		defer p.close()
		if calm, err = r.calm(p); err != nil {
			return err
		}
	}
	r.say("%d sessions; %s, which has %d of them, is killed", len(at), most.name, len(missing))
	begun, last := time.Now(), time.Time{}
	most.kill()
	if err := wait(func(o opening) bool {
		if missing[o.host] && o.member != most.control {
			delete(missing, o.host)
			last = o.at
		}
		return len(missing) == 0
	}); err != nil {
		return fmt.Errorf("%s was killed, and %d of its hosts found no other member: %w", most.name, len(missing), err)
	}
	r.record(handoverTime, last.Sub(begun).Seconds())
	if storm {
		during, err := p.between(begun, last)
		if err != nil {
			return err
		}
		r.recordStorm(StormDeath, calm, during)
	}
	return nil
}
