package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/scenario"
)

// New flows during a trial.
const (
	freshPort  = 9040
	probeAgain = 20 * time.Millisecond // between two datagrams of one probe
	probePause = time.Second           // after a probe that was answered
)

// probe is a flow between two addresses of which the sender's host knew nothing.
type probe struct {
	host        *Host // of the sender
	began, done time.Duration
}

// probing tries new flows from every host, one after the other, during one episode.
type probing struct {
	epoch  time.Time
	pools  []*Guest
	stop   context.CancelFunc
	trying sync.WaitGroup

	mu     sync.Mutex
	open   map[*Host]time.Duration // since when each host's probe is under way
	out    map[*Host]bool          // has no more addresses to try; all were reached
	done   []probe
	faults []error
}

// invite makes a guest with many addresses on every host, of which nobody has
// heard, and begins to try them.
func (t *Trial) invite(ctx context.Context) (*probing, error) {
	t.invited++
	p := &probing{epoch: t.epoch, open: map[*Host]time.Duration{}, out: map[*Host]bool{}}
	for i, h := range t.lab.hosts {
		var addrs []netip.Addr
		for n := range edit.AddressesMax {
			addrs = append(addrs, netip.AddrFrom4([4]byte{10, 4, byte(t.invited), byte(edit.AddressesMax*(i+1) + n)}))
		}
		name := dove.Endpoint{Tenant: trialTenant, ID: dove.EndpointID(fmt.Sprintf("pool-%d-%d", t.invited, i+1))}
		if err := t.do(ctx, scenario.CreateEndpoint{Endpoint: name, Host: dove.HostName(h.Name), Addresses: addrs,
			Groups: []dove.Group{{Tenant: trialTenant, Blueprint: "trial", Name: "pool"}}}); err != nil {
			return nil, fmt.Errorf("make %s: %w", name, err)
		}
		p.pools = append(p.pools, t.st.guest(name))
	}
	ctx, p.stop = context.WithCancel(ctx)
	for i, asker := range t.askers {
		var lines []string
		var fresh []netip.Addr
		for j, pool := range p.pools {
			for _, a := range pool.Addrs {
				// What is new is then the datagram, and not a question for its neighbour.
				lines = append(lines, fmt.Sprintf("neigh replace %s lladdr %s dev %s", a, pool.MAC, asker.nic))
				if j != i {
					fresh = append(fresh, a)
				}
			}
		}
		if err := asker.ns.IP(lines...); err != nil {
			return p, err
		}
		p.trying.Go(func() { p.try(ctx, t.lab.hosts[i], asker, fresh) })
	}
	return p, nil
}

// do makes a change and waits until every host enforces it, as long as all may take to
// be well.
func (t *Trial) do(ctx context.Context, a scenario.Action) error {
	rev, err := t.st.change(ctx, a)
	if err == nil {
		err = t.st.after(ctx, a)
	}
	if err != nil {
		return err
	}
	return eventually(ctx, recovery, func() error {
		_, err := t.lab.WaitReceipt(ctx, rev)
		return err
	})
}

// try opens new flows from a host until ctx is done.
func (p *probing) try(ctx context.Context, h *Host, from *Guest, fresh []netip.Addr) {
	for _, a := range fresh {
		began := time.Since(p.epoch)
		p.mu.Lock()
		p.open[h] = began
		p.mu.Unlock()
		err := from.reach(ctx, netip.AddrPortFrom(a, freshPort))
		now := time.Since(p.epoch)
		p.mu.Lock()
		delete(p.open, h)
		if err == nil {
			p.done = append(p.done, probe{h, began, now})
		} else if ctx.Err() == nil {
			p.faults = append(p.faults, err)
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(probePause):
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out[h] = true
}

// reach sends datagrams of one flow until one is answered.
func (g *Guest) reach(ctx context.Context, to netip.AddrPort) error {
	conn, err := g.ns.DialContext(ctx, "udp4", to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	for buf := make([]byte, datagramMax); ctx.Err() == nil; {
		// An error is that of an earlier datagram.
		_, _ = conn.Write([]byte(g.Name() + " 0"))
		if err := conn.SetReadDeadline(time.Now().Add(probeAgain)); err != nil {
			return err
		}
		if _, err := conn.Read(buf); err == nil {
			return nil
		} else if errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	return ctx.Err()
}

// longest is how long a new flow from a host had to wait at most, of those that were
// under way between two times; from those times on.
func (p *probing) longest(h *Host, since, until time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var most time.Duration
	for _, o := range p.done {
		if o.host == h && o.done > since && o.began < until {
			most = max(most, o.done-max(o.began, since))
		}
	}
	if began, open := p.open[h]; open && began < until {
		most = max(most, time.Since(p.epoch)-max(began, since))
	}
	return most
}

// works reports whether a new flow from a host that was or came under way at a time
// has been answered.
func (p *probing) works(h *Host, since time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if began, open := p.open[h]; open && began <= since {
		return false
	}
	for _, o := range p.done {
		if o.host == h && o.done > since {
			return true
		}
	}
	return p.out[h]
}

// leave ends the probes and sends the guests away.
func (t *Trial) leave(ctx context.Context, p *probing) error {
	p.stop()
	p.trying.Wait()
	errs := p.faults
	for _, g := range p.pools {
		errs = append(errs, t.do(ctx, scenario.DeleteEndpoint{Endpoint: g.Endpoint}))
	}
	return errors.Join(errs...)
}
