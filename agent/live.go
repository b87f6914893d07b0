package agent

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

// Limits of what the DPC may ask about the host.
const (
	inspectsMax  = 256  // Inspects that wait for the flow table
	flowsReport  = 1024 // flows in one Report
	observeEvery = time.Second
)

// live is what the DPC wants to know of the host. All of it ends with the session.
type live struct {
	reading   bool // the flow table
	readAt    time.Time
	asks      []*control.Inspect // for the reading that is under way
	later     []*control.Inspect // for the next one
	observers map[uint64]*observer
	examples  map[dove.Tenant]map[string][]control.FlowEvent // of what rules in shadow would change, by these; oldest first
}

// observer is told what happens to the flows of a tenant.
type observer struct {
	id     uint64
	tenant dove.Tenant
	known  map[control.Tuple]dataplane.Flow // as last read; nil before the first time
	events []control.FlowEvent              // not reported yet
	lost   uint64
	sent   time.Time
}

func (o *observer) add(e control.FlowEvent) {
	if len(o.events) < control.EventsMax {
		o.events = append(o.events, e)
	} else {
		o.lost++
	}
}

// Observes reports whether the DPC wants to hear of drops.
func (c *Core) Observes() bool { return len(c.live.observers) > 0 }

// inspect notes what is asked. Everything but Stop needs the flow table.
func (c *Core) inspect(m *control.Inspect) {
	l := &c.live
	switch {
	case m.Stop:
		delete(l.observers, m.ID)
	case m.Observe != "":
		if l.observers[m.ID] == nil && len(l.observers) >= control.ObserversMax {
			c.refuse(m.ID, "the host is observed as often as it may be: ask again when others have ended")
			return
		}
		if l.observers == nil {
			l.observers = map[uint64]*observer{}
		}
		l.observers[m.ID] = &observer{id: m.ID, tenant: m.Observe}
		l.readAt = time.Time{}
	case len(l.asks)+len(l.later) >= inspectsMax:
		c.refuse(m.ID, "too many questions about the host wait already: ask again later")
	default:
		l.later = append(l.later, m)
	}
}

func (c *Core) refuse(id uint64, why string) {
	c.send(&control.Report{ID: id, Seen: c.seen, Refused: why})
}

// readFlows has the flow table read if somebody waits for it.
func (c *Core) readFlows() {
	l := &c.live
	due := len(l.observers) > 0 && c.now.Sub(l.readAt) >= observeEvery
	if l.reading || len(l.later) == 0 && !due {
		return
	}
	l.asks, l.later = l.later, nil
	l.reading, l.readAt = true, c.now
	c.emit(ReadFlows{})
}

// flowsRead answers who waited for the flow table.
func (c *Core) flowsRead(e FlowsRead) {
	l := &c.live
	asks := l.asks
	l.reading, l.asks = false, nil
	for _, m := range asks {
		switch {
		case m.Probe != nil:
			f := c.find(*m.Probe)
			if e.Err != nil {
				f.Detail = note(f.Detail, unreadable(e.Err))
			} else {
				f.Flow = newest(e.Flows, *m.Probe)
			}
			c.send(&control.Report{ID: m.ID, Seen: c.seen, Finding: f})
		case e.Err != nil:
			c.refuse(m.ID, unreadable(e.Err))
		case m.ShadowsOf != "":
			c.listShadows(m, e.Shadows)
		default:
			c.listFlows(m, e.Flows)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.observers)) {
		if e.Err != nil {
			c.refuse(id, unreadable(e.Err))
			delete(l.observers, id)
			continue
		}
		c.observe(l.observers[id], e.Flows)
	}
}

func unreadable(err error) string { return "the flow table cannot be read: " + err.Error() }

// newest returns the flow of a tuple that sent last, nil if there is none.
func newest(flows []dataplane.Flow, t control.Tuple) *control.FlowReport {
	var best *control.FlowReport
	for _, f := range flows {
		is := control.Tuple(f.Tuple)
		if t.SrcPort == 0 {
			is.SrcPort = 0
		}
		if is == t && (best == nil || cmp.Or(cmp.Compare(f.Idle, best.Idle), cmp.Compare(f.Tuple.SrcPort, best.Tuple.SrcPort)) < 0) {
			best = new(reportOf(f))
		}
	}
	return best
}

func reportOf(f dataplane.Flow) control.FlowReport {
	return control.FlowReport{Tuple: control.Tuple(f.Tuple), Rule: f.Rule, Idle: f.Idle, Packets: f.Packets, Bytes: f.Bytes}
}

// owns reports whether a network with a port here is the tenant's.
func (c *Core) owns(t dove.Tenant, vni dove.VNI) bool {
	n := c.networks[vni]
	return n != nil && n.name.Tenant == t
}

// listFlows tells the flows of a tenant, in parts; of too many, those that are
// idle the longest are left out.
func (c *Core) listFlows(m *control.Inspect, flows []dataplane.Flow) {
	var all []control.FlowReport
	for _, f := range flows {
		if c.owns(m.FlowsOf, f.Tuple.VNI) {
			all = append(all, reportOf(f))
		}
	}
	byTuple := func(a, b control.FlowReport) int { return a.Tuple.Compare(b.Tuple) }
	var lost uint64
	if n := len(all) - control.HostFlowsMax; n > 0 {
		slices.SortFunc(all, func(a, b control.FlowReport) int { return cmp.Or(cmp.Compare(a.Idle, b.Idle), byTuple(a, b)) })
		all, lost = all[:control.HostFlowsMax], uint64(n)
	}
	slices.SortFunc(all, byTuple)
	for len(all) > flowsReport {
		c.send(&control.Report{ID: m.ID, Seen: c.seen, Flows: all[:flowsReport], More: true})
		all = all[flowsReport:]
	}
	c.send(&control.Report{ID: m.ID, Seen: c.seen, Flows: all, Lost: lost})
}

// observe finds what began and ended since the flow table was read last. The
// first time it only learns what is there.
func (c *Core) observe(o *observer, flows []dataplane.Flow) {
	now := map[control.Tuple]dataplane.Flow{}
	for _, f := range flows {
		if c.owns(o.tenant, f.Tuple.VNI) {
			now[control.Tuple(f.Tuple)] = f
		}
	}
	if o.known == nil {
		o.known, o.sent = now, time.Time{} // the first Report says that there will be more
		return
	}
	var news []control.FlowEvent
	for t, was := range o.known {
		if is, goesOn := now[t]; !goesOn || is.Packets < was.Packets { // fewer: another flow of the same tuple
			news = append(news, control.FlowEvent{What: control.FlowEnded, Tuple: t, Rule: was.Rule, Packets: was.Packets, Bytes: was.Bytes})
		}
	}
	for t, is := range now {
		if was, known := o.known[t]; !known || is.Packets < was.Packets {
			news = append(news, control.FlowEvent{What: control.FlowBegun, Tuple: t, Rule: is.Rule})
		}
	}
	slices.SortFunc(news, func(a, b control.FlowEvent) int {
		return cmp.Or(-cmp.Compare(a.What, b.What), a.Tuple.Compare(b.Tuple)) // what ended made room
	})
	for _, e := range news {
		o.add(e)
	}
	o.known = now
}

// dropped tells observers of a refused packet from or to an address of a port:
// of others the DPC would not know whose they are.
func (c *Core) dropped(d dataplane.Drop) {
	t := control.Tuple(d.Tuple)
	if !t.Src.IsValid() || !t.Dst.IsValid() || t.Src.Is4() != t.Dst.Is4() {
		return
	}
	_, from := c.locals[control.PeerKey{VNI: t.VNI, Addr: t.Src}]
	_, to := c.locals[control.PeerKey{VNI: t.VNI, Addr: t.Dst}]
	if !from && !to {
		return
	}
	for _, o := range c.live.observers {
		if c.owns(o.tenant, t.VNI) {
			o.add(control.FlowEvent{What: control.FlowDenied, Tuple: t, Rule: d.Rule, Reason: d.Reason.String()})
		}
	}
}

// report sends observers what there is to tell, not too often, and now and then
// that there is nothing.
func (c *Core) report() {
	for _, id := range slices.Sorted(maps.Keys(c.live.observers)) {
		o := c.live.observers[id]
		least := control.ReportAtLeast
		if len(o.events) > 0 || o.lost > 0 {
			least = control.ReportAtMost
		}
		if o.known == nil || c.now.Sub(o.sent) < least {
			continue
		}
		c.send(&control.Report{ID: id, Seen: c.seen, Events: o.events, Lost: o.lost})
		o.events, o.lost, o.sent = nil, 0, c.now
	}
}
