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

// cluster is the dpc as one of three members, and hosts that keep sessions with them.
type cluster struct {
	run       *run
	hosts     []*host
	members   []*dpc
	addresses []string

	opened  chan opening
	at      map[int]string // with which member each host has its session
	scatter func()         // ends all sessions
}

// cluster makes the dpc one of three. Nobody has a session with any of them then.
func (r *run) cluster(hosts []*host) (*cluster, error) {
	r.fleet.close()
	c := &cluster{run: r, hosts: hosts, members: []*dpc{r.fleet.dpc}, addresses: []string{r.fleet.dpc.control}, scatter: func() {}}
	for _, name := range []string{"dpc-2", "dpc-3"} {
		d, err := r.fleet.dpc.join(r.ctx, name)
		var took time.Duration
		if err == nil {
			c.members, c.addresses = append(c.members, d), append(c.addresses, d.control)
			took, err = d.start(r.ctx)
		}
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		r.say("%s joined and answers after %.1f s", name, took.Seconds())
	}
	return c, nil
}

// close ends all sessions, and the members that joined.
func (c *cluster) close() (err error) {
	c.scatter()
	for _, d := range c.members[1:] {
		err = errors.Join(err, d.stop())
	}
	return err
}

// gather opens the sessions of all hosts anew, each with the member that its host prefers. Each
// holds rows then, with which it is to go on elsewhere.
func (c *cluster) gather() error {
	ctx, cancel := context.WithTimeout(c.run.ctx, handoverWithin)
	c.opened, c.at = make(chan opening, len(c.hosts)), map[int]string{}
	var keeping sync.WaitGroup
	c.scatter = func() {
		cancel()
		keeping.Wait()
		for _, h := range c.hosts {
			h.close()
		}
	}
	for n, h := range c.hosts {
		h.remember()
		keeping.Go(func() { h.keep(ctx, n, c.addresses, c.opened) })
	}
	if err := c.wait(func(opening) bool { return len(c.at) == len(c.hosts) }); err != nil {
		return err
	}
	f := c.run.fleet
	return each(c.run.ctx, len(c.hosts), askersAt, func(ctx context.Context, i int) error {
		host, list := f.batch(rand.New(rand.NewPCG(4, uint64(i))), i)
		return f.hosts[host].askAgain(ctx, list)
	})
}

// wait takes note of sessions that open until one was the last.
func (c *cluster) wait(last func(opening) bool) error {
	late := time.After(handoverWithin)
	for {
		select {
		case o := <-c.opened:
			if c.at[o.host] = o.member; last(o) {
				return nil
			}
		case <-late:
			return fmt.Errorf("%d of %d hosts have opened a session in %s", len(c.at), len(c.hosts), handoverWithin)
		case <-c.run.ctx.Done():
			return c.run.ctx.Err()
		}
	}
}

// lose kills the one of some members that has most sessions, and returns since when and until when
// its hosts had none and had not been told all by another one. Nobody has a session any more then.
func (c *cluster) lose(of []*dpc) (lost *dpc, from, to time.Time, err error) {
	defer c.scatter()
	missing := map[*dpc]map[int]bool{}
	for _, d := range of {
		missing[d] = map[int]bool{}
		for n, member := range c.at {
			if member == d.control {
				missing[d][n] = true
			}
		}
	}
	lost = slices.MaxFunc(of, func(a, b *dpc) int { return len(missing[a]) - len(missing[b]) })
	its := missing[lost]
	c.run.say("%d sessions; %s, which has %d of them, is killed", len(c.at), lost.name, len(its))
	if len(its) == 0 {
		return nil, from, to, errors.New("no host has a session with a member that may be killed: give more hosts")
	}
	from = time.Now()
	lost.kill()
	if err := c.wait(func(o opening) bool {
		if its[o.host] && o.member != lost.control {
			delete(its, o.host)
			to = o.at
		}
		return len(its) == 0
	}); err != nil {
		return nil, from, to, fmt.Errorf("%s was killed, and %d of its hosts found no other member: %w", lost.name, len(its), err)
	}
	return lost, from, to, nil
}

// handover measures how long it takes until hosts of a member that is killed have sessions with
// others.
func (r *run) handover() (err error) {
	c, err := r.cluster(r.fleet.hosts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.gather(); err != nil {
		return err
	}
	_, from, to, err := c.lose(c.members)
	if err != nil {
		return err
	}
	r.record(handoverTime, to.Sub(from).Seconds())
	return nil
}
