package controller

import (
	"context"
	"sync"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// Bounds of sessions that open.
const (
	HelloTimeout = 30 * time.Second // for all messages of a Hello
	LargeHellos  = 16               // Hellos of several messages that are received at once
	largeWithin  = 5 * time.Second  // for such a one, once it has its place

	// A host may open openBurst sessions at once, and one more each openEvery; for every
	// openRows rows that it holds, a session counts as one more.
	openBurst = 64
	openEvery = 250 * time.Millisecond
	openRows  = control.RowsMax

	openHosts = 1 << 14 // hosts that are remembered, before those are forgotten that came long ago
)

// openings are the hosts that open sessions, or did so lately.
type openings struct {
	large chan struct{} // places of large Hellos

	mu    sync.Mutex
	hosts map[dove.HostName]*opening
}

// opening is what one host does.
type opening struct {
	stop  func() // ends the connection that waits for its Hello; nil if there is none
	turn  uint64 // of that connection
	opens pace
	said  pace
}

func newOpenings() *openings {
	return &openings{large: make(chan struct{}, LargeHellos), hosts: map[dove.HostName]*opening{}}
}

// begin has a host open a session, which ends the connection of the host that waits for
// its Hello, if there is one. The error is dove.Unavailable if the host does so too often. Done must
// be called once, with the rows that it holds.
func (o *openings) begin(host dove.HostName, now time.Time, stop func()) (done func(rows int) (overtaken bool), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.of(host, now)
	if over := h.opens.counts(now) - (openBurst-1)*openEvery; over > 0 {
		return nil, dove.Errorf(dove.Unavailable, "host %s opens sessions too often: it may again in %s", host, over.Round(time.Millisecond))
	}
	h.opens.charge(now, openEvery)
	if h.stop != nil {
		h.stop()
	}
	h.turn++
	h.stop = stop
	turn := h.turn
	return func(rows int) bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		h.opens.charge(now, time.Duration(rows/openRows)*openEvery)
		if h.turn != turn {
			return true
		}
		h.stop = nil
		return false
	}, nil
}

// of returns what a host does.
func (o *openings) of(host dove.HostName, now time.Time) *opening {
	h := o.hosts[host]
	if h == nil {
		if len(o.hosts) >= openHosts {
			for name, other := range o.hosts {
				if other.stop == nil && other.opens.counts(now)+other.said.counts(now) == 0 {
					delete(o.hosts, name)
				}
			}
		}
		h = &opening{}
		o.hosts[host] = h
	}
	return h
}

// receiveHello waits HelloTimeout for all of a Hello: until a session opens,
// nothing else ends one that says no more. Of those of several messages so many are
// received at a time, each within largeWithin.
func (o *openings) receiveHello(ctx context.Context, conn control.MemberConn) (*control.Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, HelloTimeout)
	defer cancel()
	p := &patientConn{MemberConn: conn, ctx: ctx, places: o.large}
	p.late = time.AfterFunc(HelloTimeout, conn.Stop)
	hello, err := control.ReceiveHello(p)
	if p.placed {
		<-o.large
	}
	if !p.late.Stop() {
		return nil, dove.Errorf(dove.Unavailable, "the Hello was not complete in time: within %s, and %s from its second message on", HelloTimeout, largeWithin)
	}
	return hello, err
}

// patientConn takes a place before it receives a second message.
type patientConn struct {
	control.MemberConn
	ctx    context.Context
	places chan struct{}
	late   *time.Timer
	begun  bool
	placed bool
}

func (c *patientConn) Recv() (control.Up, error) {
	if c.begun && !c.placed {
		select {
		case c.places <- struct{}{}:
			c.placed = true
			c.late.Reset(largeWithin)
		case <-c.ctx.Done():
			return nil, dove.Errorf(dove.Unavailable, "too many others open sessions: try again")
		}
	}
	c.begun = true
	return c.MemberConn.Recv()
}
