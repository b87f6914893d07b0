package controller

import (
	"maps"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

// reobserveEvery is how long a host that refused to be observed is left alone.
const reobserveEvery = 10 * time.Second

// live is who wants to know what hosts do now, and which Inspect asks it.
type live struct {
	last    uint64 // Inspect
	routes  map[uint64]*route
	watched map[dove.Tenant]*watched
	askers  map[uint64]dove.Tenant // that observe, by number
	polls   map[uint64]poll        // StatusRequests, by ID
}

// route leads from the Reports of one Inspect to who asked.
type route struct {
	at      place
	host    dove.HostName
	asker   uint64   // of a single question
	watched *watched // or of an observation
	fellow  string   // or a member, by its Relay
	relay   uint64
	goes    bool // the Relay observes
}

// watched is a tenant that is observed: by each host at most once, however many
// want to know.
type watched struct {
	tenant dove.Tenant
	askers []uint64 // in order
	hosts  map[dove.HostName]*observing
}

// observing is the observation of a tenant by a host that has endpoints of it.
type observing struct {
	inspect uint64 // 0: the host has no session, or refused
	answers bool   // it has reported
	tried   time.Time
	at      place // where
}

func newLive() live {
	return live{routes: map[uint64]*route{}, watched: map[dove.Tenant]*watched{}, askers: map[uint64]dove.Tenant{}, polls: map[uint64]poll{}}
}

// asked begins to ask hosts. Who asks hears first which hosts have endpoints of
// the tenant (of a probe, the one host), then of each: a Report, or none if it
// has no session.
func (c *Core) asked(e Asked) {
	switch {
	case e.Probe != nil:
		c.question(e.Asker, []dove.HostName{e.Host}, control.Inspect{Probe: e.Probe})
	case e.FlowsOf != "":
		c.question(e.Asker, slices.Sorted(maps.Keys(hostsOf(c.world, e.FlowsOf))), control.Inspect{FlowsOf: e.FlowsOf})
	case e.ShadowsOf != "":
		c.question(e.Asker, slices.Sorted(maps.Keys(hostsOf(c.world, e.ShadowsOf))), control.Inspect{ShadowsOf: e.ShadowsOf})
	default:
		c.watch(e.Asker, e.Observe)
	}
}

func (c *Core) question(asker uint64, hosts []dove.HostName, m control.Inspect) {
	c.effects = append(c.effects, Asks{[]uint64{asker}, hosts})
	for _, host := range hosts {
		if at, ok := c.placeOf(host); ok {
			c.inspect(at, host, m, &route{asker: asker})
		} else {
			c.tell(host, nil, asker)
		}
	}
}

// inspect sends a question and keeps the way back; it returns its ID.
func (c *Core) inspect(at place, host dove.HostName, m control.Inspect, r *route) uint64 {
	c.live.last++
	m.ID = c.live.last
	r.at, r.host = at, host
	c.live.routes[m.ID] = r
	c.inquire(r, m)
	return m.ID
}

// inquire says something to the host of a route.
func (c *Core) inquire(r *route, m control.Inspect) {
	if r.at.member != "" {
		c.tellFellow(r.at.member, &control.Relay{ID: m.ID, Host: r.host, Inspect: m})
		return
	}
	c.send(c.sessions[control.SessionID(r.at.session)], &m)
}

func (c *Core) tell(host dove.HostName, r *control.Report, askers ...uint64) {
	c.effects = append(c.effects, Told{slices.Clone(askers), host, r, c.world})
}

// hostsOf returns the hosts with a dSwitch that have endpoints of a tenant.
func hostsOf(w *world.World, t dove.Tenant) map[dove.HostName]bool {
	hosts := map[dove.HostName]bool{}
	for e := range w.Endpoints(t) {
		for _, h := range e.Bindings() {
			hosts[h] = true
		}
	}
	maps.DeleteFunc(hosts, func(h dove.HostName, _ bool) bool { return foreign(w, h) })
	return hosts
}

// foreign reports whether a host has no dSwitch that could be asked.
func foreign(w *world.World, name dove.HostName) bool {
	h, _ := w.Host(name)
	return h.Foreign
}

func (c *Core) watch(asker uint64, t dove.Tenant) {
	w := c.live.watched[t]
	if w == nil {
		w = &watched{tenant: t, hosts: map[dove.HostName]*observing{}}
		c.live.watched[t] = w
	}
	w.askers = append(w.askers, asker)
	slices.Sort(w.askers)
	c.live.askers[asker] = t
	hosts := hostsOf(c.world, t)
	c.effects = append(c.effects, Asks{[]uint64{asker}, slices.Sorted(maps.Keys(hosts))})
	for _, host := range slices.Sorted(maps.Keys(w.hosts)) { // others observe already
		switch o := w.hosts[host]; {
		case o.inspect == 0:
			c.tell(host, nil, asker)
		case o.answers:
			c.tell(host, &control.Report{ID: o.inspect}, asker)
		}
	}
	c.spread(w, hosts)
}

// spread observes a tenant on those of the hosts that have endpoints of it now,
// and no longer on the others. It reports whether that changed anything.
func (c *Core) spread(w *watched, hosts map[dove.HostName]bool) (changed bool) {
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		o := w.hosts[host]
		switch has := c.has(host, w.tenant); {
		case o != nil && !has:
			c.stopObserving(o)
			delete(w.hosts, host)
		case o == nil && has:
			w.hosts[host] = &observing{}
			c.observe(w, host)
		default:
			continue
		}
		changed = true
	}
	return changed
}

// has reports whether a host with a dSwitch has an endpoint of a tenant.
func (c *Core) has(host dove.HostName, t dove.Tenant) bool {
	if foreign(c.world, host) {
		return false
	}
	for e := range c.world.EndpointsOn(host) {
		if e.Tenant == t {
			return true
		}
	}
	return false
}

// observe asks a host to be told of a tenant's flows.
func (c *Core) observe(w *watched, host dove.HostName) {
	o := w.hosts[host]
	o.tried, o.answers, o.at = c.now, false, place{}
	if at, ok := c.placeOf(host); ok {
		o.at = at
		o.inspect = c.inspect(at, host, control.Inspect{Observe: w.tenant}, &route{watched: w})
	} else {
		c.tell(host, nil, w.askers...)
	}
}

func (c *Core) stopObserving(o *observing) {
	if r := c.live.routes[o.inspect]; r != nil {
		delete(c.live.routes, o.inspect)
		c.inquire(r, control.Inspect{ID: o.inspect, Stop: true})
	}
	o.inspect, o.answers = 0, false
}

// ceased forgets who asked.
func (c *Core) ceased(asker uint64) {
	for _, id := range slices.Sorted(maps.Keys(c.live.routes)) {
		if r := c.live.routes[id]; r.watched == nil && r.fellow == "" && r.asker == asker {
			delete(c.live.routes, id)
			if r.at.member != "" {
				c.inquire(r, control.Inspect{ID: id, Stop: true}) // or it keeps the way back for ever, if the host does not answer
			}
		}
	}
	maps.DeleteFunc(c.live.polls, func(_ uint64, p poll) bool { return p.asker == asker })
	w := c.live.watched[c.live.askers[asker]]
	delete(c.live.askers, asker)
	if w == nil {
		return
	}
	w.askers = slices.DeleteFunc(w.askers, func(a uint64) bool { return a == asker })
	if len(w.askers) > 0 {
		return
	}
	for _, host := range slices.Sorted(maps.Keys(w.hosts)) {
		c.stopObserving(w.hosts[host])
	}
	delete(c.live.watched, w.tenant)
}

// reported passes on what a host says to who asked it. What nobody asked, or
// asks no longer, is ignored.
func (c *Core) reported(at place, m *control.Report) {
	r := c.live.routes[m.ID]
	switch {
	case r == nil || r.at != at:
	case r.fellow != "":
		if !r.goes && !m.More || r.goes && m.Refused != "" {
			delete(c.live.routes, m.ID)
		}
		c.tellFellow(r.fellow, &control.Relayed{ID: r.relay, Host: r.host, Report: m})
	case r.watched == nil:
		if !m.More {
			delete(c.live.routes, m.ID)
		}
		c.tell(r.host, m, r.asker)
	default:
		o := r.watched.hosts[r.host]
		o.answers = m.Refused == ""
		if !o.answers {
			delete(c.live.routes, m.ID)
			o.inspect = 0
		}
		c.tell(r.host, m, r.watched.askers...)
	}
}

// relay asks a host for another member.
func (c *Core) relay(name string, m *control.Relay) {
	if m.Inspect.Stop {
		c.stopRelays(func(r *route) bool { return r.fellow == name && r.relay == m.ID })
		return
	}
	s := c.hosts[m.Host]
	if s == nil {
		c.tellFellow(name, &control.Relayed{ID: m.ID, Host: m.Host})
		return
	}
	c.inspect(place{session: uint64(s.id)}, m.Host, m.Inspect, &route{fellow: name, relay: m.ID, goes: m.Inspect.Observe != ""})
}

// stopRelays asks no longer for another member.
func (c *Core) stopRelays(which func(*route) bool) {
	for _, id := range slices.Sorted(maps.Keys(c.live.routes)) {
		if r := c.live.routes[id]; r.fellow != "" && which(r) {
			delete(c.live.routes, id)
			if r.goes {
				c.inquire(r, control.Inspect{ID: id, Stop: true})
			}
		}
	}
}

// relayed takes what a host of another member says.
func (c *Core) relayed(name string, m *control.Relayed) {
	r := c.live.routes[m.ID]
	switch {
	case r == nil || r.at.member != name || r.host != m.Host:
	case m.Report == nil:
		c.unanswered(m.ID)
		if r.watched != nil {
			r.watched.hosts[r.host].at = r.at // it will say when the host has a session again
		}
	default:
		report := *m.Report
		report.ID = m.ID
		c.reported(r.at, &report)
	}
}

// liveOpened observes what is watched on the host of a new session too.
func (c *Core) liveOpened(host dove.HostName) {
	for _, t := range slices.Sorted(maps.Keys(c.live.watched)) {
		if w := c.live.watched[t]; w.hosts[host] != nil {
			if o := w.hosts[host]; o.inspect != 0 { // with another member, which will learn that it is over
				c.unanswered(o.inspect)
			}
			c.observe(w, host)
		}
	}
}

// liveClosed tells who asked the host of a session that there is no answer.
func (c *Core) liveClosed(at place) {
	for _, id := range slices.Sorted(maps.Keys(c.live.routes)) {
		if c.live.routes[id].at == at {
			c.unanswered(id)
		}
	}
}

// unanswered ends a question whose host has gone.
func (c *Core) unanswered(id uint64) {
	r := c.live.routes[id]
	delete(c.live.routes, id)
	switch {
	case r.fellow != "":
		c.tellFellow(r.fellow, &control.Relayed{ID: r.relay, Host: r.host})
	case r.watched == nil:
		c.tell(r.host, nil, r.asker)
	default:
		o := r.watched.hosts[r.host]
		o.inspect, o.answers, o.at = 0, false, place{}
		c.tell(r.host, nil, r.watched.askers...)
	}
}

// liveMoved follows the hosts that are asked to the members that have them now.
func (c *Core) liveMoved() {
	for _, id := range slices.Sorted(maps.Keys(c.live.routes)) {
		r := c.live.routes[id]
		if at, _ := c.placeOf(r.host); r.at.member != "" && at != r.at {
			c.unanswered(id)
		}
	}
	for _, t := range slices.Sorted(maps.Keys(c.live.watched)) {
		w := c.live.watched[t]
		for _, host := range slices.Sorted(maps.Keys(w.hosts)) {
			at, ok := c.placeOf(host)
			if o := w.hosts[host]; ok && at.member != "" && o.inspect == 0 && o.at != at {
				c.observe(w, host)
			}
		}
	}
}

// liveParted forgets what another member asked, and what it will not answer.
func (c *Core) liveParted(name string) {
	c.stopRelays(func(r *route) bool { return r.fellow == name })
	c.pollsParted(name)
}

// liveChanged follows endpoints of watched tenants to their hosts, at the cost
// of the hosts that the change is about.
func (c *Core) liveChanged(delta world.Delta) {
	touched := map[dove.Tenant]map[dove.HostName]bool{}
	for _, change := range delta.Endpoints {
		for _, e := range [...]*world.Endpoint{change.Old, change.New} {
			if e == nil || e.Host == "" || c.live.watched[e.Tenant] == nil {
				continue
			}
			if touched[e.Tenant] == nil {
				touched[e.Tenant] = map[dove.HostName]bool{}
			}
			for _, h := range e.Bindings() {
				touched[e.Tenant][h] = true
			}
		}
	}
	for _, t := range slices.Sorted(maps.Keys(touched)) {
		w := c.live.watched[t]
		if c.spread(w, touched[t]) {
			c.effects = append(c.effects, Asks{slices.Clone(w.askers), slices.Sorted(maps.Keys(w.hosts))})
		}
	}
}

// liveTick asks hosts again that refused.
func (c *Core) liveTick() {
	for _, t := range slices.Sorted(maps.Keys(c.live.watched)) {
		w := c.live.watched[t]
		for _, host := range slices.Sorted(maps.Keys(w.hosts)) {
			o := w.hosts[host]
			if _, ok := c.placeOf(host); ok && o.inspect == 0 && c.now.Sub(o.tried) >= reobserveEvery {
				c.observe(w, host)
			}
		}
	}
}
