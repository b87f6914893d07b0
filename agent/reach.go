package agent

import (
	"context"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// beside is how long a member may say nothing until the next one is tried beside it.
const beside = 2 * time.Second

// attempt is one to open a session with the member at an address.
type attempt struct {
	address string
	began   time.Time
	conn    control.HostConn
	kill    func() // ends the session out of order
	err     error
}

// reach opens a session with the member that admits one first. It tries them as the route says,
// and waits for none that says nothing: a member that is stopped, busy or has lost
// touch with its store may be well again before all others. A session ends in order even if ctx is
// done, so it lives in a context of its own. The error is that of ctx.
func (a *Agent) reach(ctx context.Context, route *Route) (conn control.HostConn, kill func(), err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	came := make(chan attempt)
	under := map[string]bool{} // way, one with each member
	try := func(address string) {
		under[address] = true
		began := time.Now()
		go func() {
			life, kill := context.WithCancel(context.WithoutCancel(ctx))
			dialled := context.AfterFunc(ctx, kill)
			conn, err := a.options.Dial(life, address)
			dialled()
			select {
			case came <- attempt{address, began, conn, kill, err}:
			case <-ctx.Done(): // another one was first
				kill()
			}
		}()
	}
	first, going := "", false // what the route has us wait for, if we do
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-next.C:
			if first = route.Next(); going || under[first] {
				going = false
				next.Reset(route.Failed(dove.Unavailable))
				continue
			}
			going = true
			try(first)
			next.Reset(beside)
		case c := <-came:
			delete(under, c.address)
			if c.err == nil {
				route.At(c.address)
				return c.conn, c.kill, nil
			}
			c.kill()
			a.failed(c.err)
			if going && c.address == first {
				going = false
				next.Reset(route.Failed(dove.KindOf(c.err)))
			} else if time.Since(c.began) >= beside && dove.KindOf(c.err) == dove.Unavailable {
				try(c.address) // it takes its time; who refuses at once waits for its turn
			}
		}
	}
}
