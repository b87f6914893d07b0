package agent

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// flowRequest is a request for the flows of a port that has not been answered.
type flowRequest struct {
	from  time.Time // not tried before
	tries int
}

// adoption is what the other host of an endpoint carried to this one, under the
// epoch of the assignment.
type adoption struct {
	over bool // the last part is here
	seq  uint64
	part tally // of what comes now
	last tally // of what came last
}

// tally counts carried flows: those that are here, and those that are not and why
// the first of them is not.
type tally struct {
	flows, lost int
	why         string
}

func (t *tally) lose(n int, why string) {
	if n > 0 && t.lost == 0 {
		t.why = why
	}
	t.lost += n
}

// carryRequest has the flows of a port read, if it is asked about as it is now.
func (c *Core) carryRequest(m *control.CarryRequest) {
	a := c.assignments[m.Endpoint]
	if a == nil || a.Epoch != m.Epoch || a.Other == (control.Tunnel{}) {
		return // bindings that are no more, or not yet: the DPC asks again
	}
	if c.flowRequests[m.Endpoint] == nil {
		c.flowRequests[m.Endpoint] = &flowRequest{}
	}
}

// readCarried has the flows of a port read that is in force as its assignment
// has it, of one at a time.
func (c *Core) readCarried() {
	if c.reading {
		return
	}
	for _, name := range slices.SortedFunc(maps.Keys(c.flowRequests), compareEndpoints) {
		k, a := c.flowRequests[name], c.assignments[name]
		if !c.now.Before(k.from) && a.id != 0 && c.tracker.inForce(target{kind: kindPort, port: a.id}) {
			c.reading = true
			c.emit(ReadCarried{a.id, name, a.Epoch})
			return
		}
	}
}

// carriedRead sends the DPC the flows of a port, in parts; of too many, those
// that are idle the longest are left out.
func (c *Core) carriedRead(e CarriedRead) {
	c.reading = false
	k, a := c.flowRequests[e.Endpoint], c.assignments[e.Endpoint]
	if k == nil {
		return
	}
	switch {
	case a.Epoch != e.Epoch || a.id != e.Port:
		return // of what the port was before: it is read again
	case e.Err != nil:
		k.tries++
		k.from = c.now.Add(retryAfter(k.tries))
		return
	}
	delete(c.flowRequests, e.Endpoint)
	out := &control.Carry{Endpoint: e.Endpoint, Epoch: e.Epoch}
	if n := len(e.Flows) - control.CarryMax; n > 0 {
		slices.SortFunc(e.Flows, func(a, b dataplane.FlowState) int { return cmp.Compare(a.Idle, b.Idle) })
		e.Flows, out.Lost = e.Flows[:control.CarryMax], uint64(n)
	}
	for part := range slices.Chunk(e.Flows, control.CarryBatch) {
		if len(out.Flows) > 0 {
			out.More = true
			c.send(out)
			out = &control.Carry{Endpoint: e.Endpoint, Epoch: e.Epoch}
		}
		for _, f := range part {
			out.Flows = append(out.Flows, control.FlowState{Tuple: control.Tuple(f.Tuple), State: uint8(f.State), Idle: f.Idle, UIDs: f.UIDs})
		}
	}
	c.send(out)
}

// carried takes over flows that the other host of an endpoint carried, if its
// port is in force: if not, the DPC hears so and asks for them again.
func (c *Core) carried(m *control.Carry) {
	a := c.assignments[m.Endpoint]
	if a == nil || a.Epoch != m.Epoch || a.id == 0 {
		return
	}
	flows := make([]dataplane.FlowState, len(m.Flows))
	for i, f := range m.Flows {
		flows[i] = dataplane.FlowState{Tuple: dataplane.Tuple(f.Tuple), State: dataplane.FlowBits(f.State), Idle: f.Idle, UIDs: f.UIDs}
	}
	c.adopts = append(c.adopts, Adopt{a.id, m.Endpoint, m.Epoch, flows, m.Lost, !m.More})
}

// adopt gives carried flows to the switch, one part after the other.
func (c *Core) adopt() {
	for !c.adopting && len(c.adopts) > 0 {
		next := c.adopts[0]
		c.adopts = slices.Delete(c.adopts, 0, 1)
		if a := c.assignments[next.Endpoint]; a != nil && a.Epoch == next.Epoch && a.id == next.Port {
			c.adopting = true
			c.emit(next)
		}
	}
}

// adopted notes what became of carried flows. They count as taken over once the
// rows that came before them are in the switch too.
func (c *Core) adopted(e Adopted) {
	c.adopting = false
	a := c.assignments[e.Endpoint]
	if a == nil || a.Epoch != e.Epoch || a.id != e.Port || errors.Is(e.Err, dataplane.ErrNoPort) {
		return
	}
	part := &a.adopted.part
	part.lose(int(min(e.Lost, 1<<30)), "more than are carried")
	refused := min(dataplane.Refused(e.Err), len(e.Flows))
	if refused > 0 {
		part.lose(refused, firstOf(e.Err).Error())
	}
	part.flows += len(e.Flows) - refused
	if e.Last {
		a.adopted.last, a.adopted.part = a.adopted.part, tally{}
		a.adopted.over, a.adopted.seq = true, c.covering()
		c.touch(a)
	}
}

// firstOf returns the first of joined errors.
func firstOf(err error) error {
	if all, ok := err.(interface{ Unwrap() []error }); ok && len(all.Unwrap()) > 0 {
		return all.Unwrap()[0]
	}
	return err
}

// forgetMove forgets what was carried under other bindings.
func (c *Core) forgetMove(a *assignment) {
	delete(c.flowRequests, a.Endpoint)
	a.adopted = adoption{}
}

// addMove adds to an EndpointUpdate how far the endpoint's move is here; ok is
// false while what was carried is not in force.
func (c *Core) addMove(a *assignment, u *control.EndpointUpdate) (ok bool) {
	u.Standby = a.Standby
	if u.State != control.EndpointActive || !a.adopted.over {
		return true
	}
	if a.adopted.seq > c.done {
		return false
	}
	u.Carried, u.Flows = true, uint32(min(a.adopted.last.flows, control.CarryMax))
	if n := a.adopted.last.lost; n > 0 {
		u.Detail = fmt.Sprintf("%d flows were not taken over: %s", n, a.adopted.last.why)
	}
	return true
}

// Events and effects of a move.
type (
	// ReadCarried wants what is carried of a port's flows.
	ReadCarried struct {
		Port     dataplane.PortID
		Endpoint dove.Endpoint
		Epoch    dove.Epoch
	}
	// CarriedRead answers ReadCarried.
	CarriedRead struct {
		ReadCarried
		Flows []dataplane.FlowState
		Err   error
	}
	// Adopt gives a port flows that another host carried; there is one at a
	// time. Last says that there are no more.
	Adopt struct {
		Port     dataplane.PortID
		Endpoint dove.Endpoint
		Epoch    dove.Epoch
		Flows    []dataplane.FlowState
		Lost     uint64 // that the other host did not carry
		Last     bool
	}
	// Adopted answers Adopt. Err is the switch's.
	Adopted struct {
		Adopt
		Err error
	}
)

func (ReadCarried) effect() {}
func (CarriedRead) event()  {}
func (Adopt) effect()       {}
func (Adopted) event()      {}
