package controller

import (
	"fmt"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

// carrying is what a session was asked to carry of an endpoint that moves, and
// for which session. Of the flows themselves nothing is kept.
type carrying struct {
	epoch dove.Epoch
	to    place
	asked time.Time
	flows int  // handed on
	late  bool // what began meanwhile
	last  bool // and asked for when all knew of the activation
	over  bool // all of it is handed on
	there bool // the other host has said that it has them: what follows is an answer to having been asked again
}

// recent is how long a flow may have been idle that is carried late. The other host
// remembers a closed one for 10 s, so none comes to life again of which that host has
// seen the end and this one has not.
const recent = control.CarryAgain + 2*time.Second

// carryLate is how long a host may take to carry what it was asked for of an endpoint that is no
// longer bound to it.
const carryLate = time.Minute

// carry asks the host that an endpoint moves from for its flows, if that has its
// session here, once both
// hosts have its port as the present bindings want it and for as long as the other
// host does not say that it has them. After an activation it goes on until all of
// the tenant know of that: until then flows may begin at the host where the endpoint was.
func (c *Core) carry(name dove.Endpoint) {
	e, ok := c.world.Endpoint(name)
	if !ok || e.Standby == "" {
		return
	}
	from, to := c.hosts[e.Source()], c.partyOf(e.Other(e.Source()))
	if from == nil || to == nil || !enforces(from.said, e, e.Source()) || !enforces(to.said, e, e.Other(e.Source())) {
		return
	}
	was := from.carries[name]
	if was != nil && (was.epoch != e.Epoch || was.to != to.at) {
		was = nil
	}
	other, _ := to.said(name)
	has := other.Carried
	if has && !e.Activated {
		if was != nil {
			was.there = true
		}
		return
	}
	aware := has && c.aware(e)
	lately := was != nil && !was.there && c.now.Sub(was.asked) < control.CarryAgain
	if has && was != nil && was.last && was.over || lately && !(aware && !was.last) {
		return
	}
	from.carries[name] = &carrying{epoch: e.Epoch, to: to.at, asked: c.now, late: has, last: aware}
	c.send(from, &control.CarryRequest{Endpoint: name, Epoch: e.Epoch})
}

// aware reports whether all hosts with a session that may send to an endpoint have
// acknowledged where it is. Its own two are told by then.
func (c *Core) aware(e world.Endpoint) bool {
	r := c.Receipt(c.world.DocRevision(e.Key()))
	if len(r.Members) > 0 {
		return false
	}
	hosts := slices.DeleteFunc(r.Pending, func(h dove.HostName) bool { _, ok := c.placeOf(h); return !ok })
	hosts = append(hosts, c.ledger.Opening()...)
	for _, u := range r.Unknown {
		hosts = append(hosts, u.Host)
	}
	for _, h := range hosts {
		for other := range c.world.EndpointsOn(h) {
			if other.Tenant == e.Tenant {
				return false
			}
		}
	}
	return true
}

// late reports whether an endpoint moved away from a session's host, and of its flows those
// are still to be carried that began there while not all knew.
func (c *Core) late(s *session, name dove.Endpoint) bool {
	if !c.moving[name] {
		return false
	}
	e, ok := c.world.Endpoint(name)
	if !ok || !e.Activated || e.Standby != s.identity.Host || !enforces(s.said, e, s.identity.Host) {
		return false
	}
	to, k := c.partyOf(e.Host), s.carries[name]
	return to != nil && enforces(to.said, e, e.Host) && !(k != nil && k.epoch == e.Epoch && k.to == to.at && k.last && k.over)
}

// enforces reports whether a host says that an endpoint's port is open, in the
// part that its present bindings give it there.
func enforces(said func(dove.Endpoint) (control.EndpointUpdate, bool), e world.Endpoint, host dove.HostName) bool {
	u, ok := said(e.Full())
	return ok && u.State == control.EndpointActive && u.Epoch == e.Epoch && u.Standby == (e.Standby == host)
}

// carryAgain asks once more where no answer did what it should.
func (c *Core) carryAgain() {
	for _, s := range c.inOrder() {
		for _, name := range sortedEndpoints(s.carries) {
			if _, bound := s.ports[name]; !bound && c.now.Sub(s.carries[name].asked) > carryLate {
				delete(s.carries, name)
				continue
			}
			c.carry(name)
		}
	}
}

// carried hands on to the other host what a host carries: only what was asked
// for, and only flows of the endpoint.
func (c *Core) carried(s *session, m *control.Carry) {
	deny := func(format string, args ...any) {
		c.effects = append(c.effects, Denied{Session: s.id, Host: s.identity.Host, Endpoint: m.Endpoint, Detail: fmt.Sprintf(format, args...)})
	}
	e, ok := c.world.Endpoint(m.Endpoint)
	k := s.carries[m.Endpoint]
	if !ok || k == nil || k.epoch != m.Epoch || k.epoch != e.Epoch || e.Standby == "" || !e.BoundTo(s.identity.Host) {
		a, bound := s.ports[m.Endpoint] // it may have been asked under bindings that are no more
		if asked := k != nil && k.epoch >= m.Epoch; !asked && (!bound || a.epoch <= m.Epoch) {
			deny("nobody asked for its flows under epoch %d", m.Epoch)
		}
		return
	}
	if k.there {
		return
	}
	n, _ := c.world.Network(e.NetworkOf())
	for _, f := range m.Flows {
		if !concerns(e, n.VNI, f) {
			deny("flow %+v is none of the endpoint's", f)
			return
		}
	}
	if k.flows += len(m.Flows); k.flows > 2*control.CarryMax { // twice: a request may come again while the first is answered
		deny("%d flows are more than it may carry", k.flows)
		return
	}
	k.over = !m.More
	if k.late {
		some := *m
		some.Flows = slices.DeleteFunc(slices.Clone(m.Flows), func(f control.FlowState) bool { return f.Idle > recent })
		m = &some
	}
	if k.to.member != "" {
		c.tellFellow(k.to.member, &control.Handover{Host: e.Other(s.identity.Host), Session: k.to.session, Carry: *m})
	} else if to := c.sessions[control.SessionID(k.to.session)]; to != nil {
		c.handOn(to, e, n.VNI, m)
	}
}

// handOn brings a session flows that are carried, and first what these need.
func (c *Core) handOn(to *session, e world.Endpoint, vni dove.VNI, m *control.Carry) {
	var batch []control.Down
	for _, e := range c.needed(to, e, vni, m.Flows) {
		batch = append(batch, e)
	}
	c.send(to, append(batch, m)...)
}

// handover hands on what another member checked, if it is for the bindings and the
// session that are known here.
func (c *Core) handover(m *control.Handover) {
	s := c.hosts[m.Host]
	e, ok := c.world.Endpoint(m.Carry.Endpoint)
	n, is := c.world.Network(e.NetworkOf())
	if s != nil && ok && is && s.number == m.Session && e.Epoch == m.Carry.Epoch && e.BoundTo(m.Host) {
		c.handOn(s, e, n.VNI, &m.Carry)
	}
}

// needed brings the host that flows are carried to the rows that their next
// packets need there.
func (c *Core) needed(to *session, e world.Endpoint, vni dove.VNI, flows []control.FlowState) []*control.Expect {
	var peers []control.Peer
	var pairs []control.Pair
	asked := map[control.Question]bool{}
	hasPeer, hasPair := map[control.PeerKey]bool{}, map[control.PairKey]bool{}
	for _, f := range flows {
		q := control.Question{VNI: vni, Local: f.Tuple.Src, Peer: f.Tuple.Dst, Outgoing: true}
		if f.UIDs[0] != e.UID {
			q.Local, q.Peer, q.Outgoing = q.Peer, q.Local, false
		}
		q.Class = c.world.AddressClass(e, q.Local)
		if asked[q] {
			continue
		}
		asked[q] = true
		a := c.view.Resolve(to.identity.Host, q)
		for _, p := range a.Peers {
			_, own := c.world.EndpointOn(e.NetworkOf(), p.Key.Addr)
			if !p.Absent && !hasPeer[p.Key] && (p.VTEP != to.identity.VTEP || !own) {
				hasPeer[p.Key] = true
				peers = append(peers, p)
			}
		}
		for _, p := range a.Pairs {
			if !hasPair[p.Key] {
				hasPair[p.Key] = true
				pairs = append(pairs, p)
			}
		}
	}
	return c.interest.Expect(to.id, peers, pairs)
}

// left brings hosts that endpoints moved away from the rows of these, for the
// guests that stay and talk to them: the switch has them before the port closes.
func (c *Core) left(delta world.Delta, news map[control.SessionID][]control.Down) {
	for _, change := range delta.Endpoints {
		was, is := change.Old, change.New
		if was == nil || is == nil || was.Standby == "" || is.Host == "" || is.BoundTo(was.Standby) {
			continue
		}
		s := c.hosts[was.Standby]
		n, ok := c.world.Network(is.NetworkOf())
		if s == nil || !ok {
			continue
		}
		var rows []control.Peer
		for _, a := range is.Addresses {
			if row := c.view.Peer(s.identity.Host, control.PeerKey{VNI: n.VNI, Addr: a}); !row.Absent {
				rows = append(rows, row)
			}
		}
		for _, e := range c.interest.Expect(s.id, rows, nil) {
			news[s.id] = append(news[s.id], e)
		}
	}
}

// concerns reports whether a flow is one of the endpoint.
func concerns(e world.Endpoint, vni dove.VNI, f control.FlowState) bool {
	t := f.Tuple
	return t.VNI == vni && (f.UIDs[0] == e.UID && e.Has(t.Src) || f.UIDs[1] == e.UID && e.Has(t.Dst))
}
