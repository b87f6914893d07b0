package soft

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"dove.network/dataplane"
	"dove.network/packet"
)

// arrived is the guest's frame as its receiver is to have it, but for the source.
func (t *transit) arrived(dst end) []byte {
	inner := bytes.Clone(t.inner)
	copy(inner[0:6], dst.mac[:])
	if t.direction == dataplane.FromOverlay {
		packet.MarkCongested(inner, t.outer.TOS)
	}
	return inner
}

// handed delivers what the host of a port's other binding has judged and sent on.
// On standby, too: that host has heard first that the port is active here.
func (s *Switch) handed(t *transit, dst end) (dataplane.Outcome, []byte) {
	return dataplane.Outcome{Action: dataplane.Delivered, Port: dst.port}, t.arrived(dst)
}

// Carried implements dataplane.Switch, in the order of Flows.
func (s *Switch) Carried(id dataplane.PortID) ([]dataplane.FlowState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ports[id] == nil {
		return nil, fmt.Errorf("port %d: %w", id, dataplane.ErrNoPort)
	}
	now := s.clock()
	var flows []dataplane.FlowState
	for key, f := range s.flows {
		p := s.ports[id]
		if f.expired(key.protocol, now) || key.vni != p.VNI || !p.Speaks(f.initiator.addr, f.uids[0]) && !p.Speaks(f.responder.addr, f.uids[1]) {
			continue
		}
		flows = append(flows, dataplane.FlowState{Tuple: f.tuple(key), State: f.bits(), Idle: now.Sub(f.last), UIDs: f.uids})
	}
	slices.SortFunc(flows, func(a, b dataplane.FlowState) int { return compareTuples(a.Tuple, b.Tuple) })
	return flows, nil
}

// Adopt implements dataplane.Switch.
func (s *Switch) Adopt(id dataplane.PortID, flows []dataplane.FlowState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.ports[id]
	if p == nil {
		return fmt.Errorf("port %d: %w", id, dataplane.ErrNoPort)
	}
	var errs []error
	refused := map[dataplane.Reason]int{}
	for _, c := range flows {
		if err := c.Check(p.Port); err != nil {
			errs = append(errs, err)
		} else if full := s.adopt(p, c); full != dataplane.NotDropped {
			refused[full]++
		}
	}
	for _, full := range []dataplane.Reason{dataplane.FlowBudget, dataplane.FlowTableFull} {
		if n := refused[full]; n > 0 {
			errs = append(errs, &dataplane.FlowsError{Flows: n, Err: fmt.Errorf("port %d: no room for %d of %d carried flows: %v", id, n, len(flows), full)})
		}
	}
	return errors.Join(errs...)
}

func (s *Switch) adopt(p *port, c dataplane.FlowState) dataplane.Reason {
	now := s.clock()
	key, from, to := keyOf(c.Tuple)
	f := &flow{
		initiator: from, responder: to, uids: c.UIDs, last: now.Add(-c.Idle),
		replied:   c.State&dataplane.FlowReplied != 0,
		syn:       c.State&dataplane.FlowSYN != 0,
		confirmed: c.State&dataplane.FlowConfirmed != 0,
		fin:       [2]bool{c.State&dataplane.FlowFinInitiator != 0, c.State&dataplane.FlowFinResponder != 0},
		reset:     c.State&dataplane.FlowReset != 0,
	}
	if f.expired(key.protocol, now) {
		return dataplane.NotDropped
	}
	// Of a flow that was begun by who is active here, this host has heard by itself or by the
	// carrier of that one. On standby it has said nothing here, or what is noted here.
	e, ok := s.find(key.vni, from.addr)
	if ok && len(e.further) > 0 {
		e, ok = ofLife(s.ways(e, from.addr), f.uids[0])
	}
	if ok && e.where == local && e.port != p.ID {
		return dataplane.NotDropped
	}
	if held := s.flows[key]; held != nil {
		if held.packets > 0 && !held.expired(key.protocol, now) {
			return dataplane.NotDropped
		}
		s.forget(held)
	}
	if full := s.room(p, f.confirmed); full != dataplane.NotDropped {
		return full
	}
	s.enter(key, f, p)
	f.entry(key).open = true
	return dataplane.NotDropped
}

// inherit leaves a flow of a port that goes to the port of its other end, if that
// is here: the end that goes from here lives on elsewhere, and may be known there already.
func (s *Switch) inherit(f *flow, id dataplane.PortID) {
	heirs := make([]dataplane.PortID, len(f.entries)) // 0: that entry goes
	for i, e := range f.entries {
		heir, goes := s.portWith(f, e.key.vni, e.key.hi, e.key.lo), s.portWith(f, e.key.vni, e.key.lo, e.key.hi)
		if heir.port == id || goes.port != id && heir.port == 0 {
			heir, goes = goes, heir
		}
		switch {
		case goes.port == id && (heir.port == id || heir.routed):
		case goes.port == id && heir.port != 0:
			heirs[i] = heir.port
		case goes.port == id && e.port != id:
			heirs[i] = e.port // of who is but allowed its address
		case goes.port == id:
		case e.port != id:
			heirs[i] = e.port
		case goes.port != 0 || heir.port == 0 || heir.routed:
			s.forget(f)
			return
		default:
			heirs[i] = heir.port
		}
	}
	var kept []entry
	for i, e := range f.entries {
		s.charge(e.port, f, -1)
		if heirs[i] == 0 {
			delete(s.flows, e.key)
			continue
		}
		s.charge(heirs[i], f, 1)
		kept = append(kept, entry{e.key, heirs[i], e.open})
	}
	f.entries = kept
}

func (f *flow) bits() (bits dataplane.FlowBits) {
	for _, b := range [...]struct {
		set bool
		bit dataplane.FlowBits
	}{
		{f.replied, dataplane.FlowReplied},
		{f.fin[0], dataplane.FlowFinInitiator},
		{f.fin[1], dataplane.FlowFinResponder},
		{f.reset, dataplane.FlowReset},
		{f.syn, dataplane.FlowSYN},
		{f.confirmed, dataplane.FlowConfirmed},
	} {
		if b.set {
			bits |= b.bit
		}
	}
	return bits
}

// tuple is the flow in its initiator's direction.
func (f *flow) tuple(key flowKey) dataplane.Tuple {
	return dataplane.Tuple{
		VNI: key.vni, Protocol: key.protocol,
		Src: f.initiator.addr, SrcPort: f.initiator.port, Dst: f.responder.addr, DstPort: f.responder.port,
	}
}

func compareTuples(a, b dataplane.Tuple) int {
	return cmp.Or(
		cmp.Compare(a.VNI, b.VNI), cmp.Compare(a.Protocol, b.Protocol),
		a.Src.Compare(b.Src), cmp.Compare(a.SrcPort, b.SrcPort),
		a.Dst.Compare(b.Dst), cmp.Compare(a.DstPort, b.DstPort),
	)
}
