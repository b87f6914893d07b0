package controller

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

// aheadMost is how far the numbers of a host's sessions may be ahead of the clock here. Who uses them up
// to that leaves all numbers that time brings to who has the host's name next; whose clock is
// as far ahead takes no certificate of a member for valid.
const aheadMost = 2 * 365 * 24 * time.Hour

// welcome says why a session must not open, nil if it may.
func (c *Core) welcome(id control.Identity, h *control.Hello) *control.Refusal {
	var err *dove.Error
	switch {
	case h.Version != control.Version:
		err = dove.Errorf(dove.Unsupported, "the dSwitch speaks version %d of the protocol, this member speaks %d: run the same version of DOVE", h.Version, control.Version)
	case time.Unix(0, int64(h.Number)).Sub(c.now) > aheadMost:
		err = dove.Errorf(dove.Unavailable, "host %s numbers its session by a clock that is more than %.0f days ahead: set it", h.Host, aheadMost.Hours()/24)
	case h.Host != id.Host || h.VTEP != id.VTEP:
		err = dove.Errorf(dove.Forbidden, "the dSwitch says that it is host %s at %s, its certificate says %s at %s", h.Host, h.VTEP, id.Host, id.VTEP)
	default:
		err = c.admit(id)
	}
	if err != nil {
		return &control.Refusal{Kind: err.Kind, Message: err.Message}
	}
	newest := c.ledger.Newest(h.Host)
	for _, u := range c.unopened {
		if u.identity.Host == h.Host {
			newest = max(newest, u.number)
		}
	}
	if newest > h.Number {
		return &control.Refusal{Kind: dove.Unavailable, Message: fmt.Sprintf("host %s has opened a later session", h.Host), Later: newest}
	}
	return nil
}

// admit checks a certificate against the host that it names.
func (c *Core) admit(id control.Identity) *dove.Error {
	host, ok := c.world.Host(id.Host)
	switch {
	case !ok:
		return dove.Errorf(dove.Forbidden, "there is no host %s: create it and join again", id.Host)
	case host.Serial == "" || host.Serial != id.Serial:
		return dove.Errorf(dove.Forbidden, "the certificate of host %s is not the one that it joined with last: join again", id.Host)
	case host.VTEP != id.VTEP:
		return dove.Errorf(dove.Forbidden, "host %s is at %s, its certificate says %s: join again", id.Host, host.VTEP, id.VTEP)
	}
	return nil
}

// lacks sends a session that opens the pairs of classes that are new to it.
func (c *Core) lacks(s *session, h *control.Hello, changed []control.Peer) []*control.Expect {
	held := make([]control.PairKey, len(h.Pairs))
	for i, p := range h.Pairs {
		held[i] = p.Key
	}
	return c.interest.Expect(s.id, nil, c.interest.Lacks(s.id, changed, held))
}

// received reacts to what a dSwitch says.
func (c *Core) received(s *session, m control.Up) {
	switch m := m.(type) {
	case *control.PolicyRequest:
		switch {
		case c.stale:
			c.hesitate(s, m, "the member has lost touch with its store")
		case len(c.others()) > 0 && c.doubtful(s, m):
			if s.doubts == doubtsMax {
				c.hesitate(s, m, "too many requests wait for the store")
				return
			}
			s.doubts++
			c.effects = append(c.effects, Confirm{s.id, m})
		default:
			c.answer(s, m)
		}
	case *control.EndpointUpdate:
		c.claim(s, *m)
	case *control.Ack:
		was := c.ledger.Presence(s.id)
		if err := c.ledger.Ack(s.id, m.Revision, m.Failed, c.now); err != nil {
			c.end(s, dove.Invalid, err.Error())
			return
		}
		s.knows(m.Revision)
		if is := c.ledger.Presence(s.id); is.Phase != was.Phase {
			c.present(is)
		} else if !slices.Equal(is.Failed, was.Failed) {
			is.Failed = m.Failed // the others know the rest, and it may be much
			c.present(is)
		}
	case *control.Release:
		c.interest.Release(s.id, m.Expected, m.Peers, m.Pairs)
	case *control.Claim:
		c.announced(s, m)
	case *control.Report:
		c.reported(place{session: uint64(s.id)}, m)
	case *control.Carry:
		c.carried(s, m)
	case *control.Heartbeat:
	default:
		c.end(s, dove.Invalid, fmt.Sprintf("%T does not belong in an open session", m))
	}
}

// answer resolves the questions of a request. Interest is entered with the
// answer, at the same world: what changes later is told.
func (c *Core) answer(s *session, m *control.PolicyRequest) {
	answered := make([]control.Answered, 0, len(m.Questions))
	for _, q := range m.Questions {
		a := c.interest.Resolve(s.id, q)
		for i := range a.Peers {
			if p := &a.Peers[i]; p.Absent || !c.interest.HoldsPeer(s.id, p.Key) {
				c.interest.Peer(s.id, p)
			}
		}
		c.expect(s.identity.Host, a, true)
		a.Pairs = slices.DeleteFunc(a.Pairs, func(p control.Pair) bool {
			if c.interest.HoldsPair(s.id, p.Key) {
				return true
			}
			c.interest.Pair(s.id, p)
			return false
		})
		answered = append(answered, a)
	}
	var batch []control.Down
	for _, part := range control.Parts(m.ID, c.world.Revision(), answered) {
		batch = append(batch, part)
	}
	c.send(s, batch...)
	if peers, _, pairs := c.interest.Held(s.id); peers+pairs > control.HeldMax {
		c.end(s, dove.TooLarge, fmt.Sprintf("the dSwitch holds more than %d rows: let it release some", control.HeldMax))
	}
}

// expect tells the hosts of a peer, before its asker is answered, who is about to
// send, so that the packet does not wait there too. They are told only what
// they would be if they asked, of a packet that policy may let through. Hosts with
// another member are told by that, if the asker has its session here.
func (c *Core) expect(asker dove.HostName, a control.Answered, here bool) {
	q := a.Answer.Question
	if a.Answer.Status != control.Found || !q.Outgoing || !a.Pairs[0].Table.AllowsAny() {
		return
	}
	peer := &a.Peers[0]
	c.expectFrom(asker, &a, peer.Host, cmp.Or(peer.VNI, q.VNI))
	for i := range peer.Ways {
		c.expectFrom(asker, &a, peer.Ways[i].Host, peer.Ways[i].VNI)
	}
	if !here || len(c.fellows) == 0 {
		return
	}
	hosts := []dove.HostName{peer.Host}
	for _, w := range peer.Ways {
		hosts = append(hosts, w.Host)
	}
	var told []string
	for _, h := range hosts {
		if at, ok := c.placeOf(h); ok && at.member != "" && !slices.Contains(told, at.member) {
			told = append(told, at.member)
			c.tellFellow(at.member, &control.Ahead{Asker: asker, Question: q})
		}
	}
}

// expectFrom tells one host, which knows the sender as its peer's network does.
func (c *Core) expectFrom(asker dove.HostName, a *control.Answered, host dove.HostName, vni dove.VNI) {
	to := c.hosts[host]
	if to == nil || host == asker {
		return
	}
	key := control.PeerKey{VNI: vni, Addr: a.Answer.Question.Local}
	lacks := func(p control.Pair) bool { return !c.interest.HoldsPair(to.id, p.Key) }
	if c.interest.HoldsPeer(to.id, key) && !slices.ContainsFunc(a.Pairs, lacks) {
		return
	}
	sender := c.view.Peer(host, key)
	if !sender.VTEP.IsValid() || sender.Host != asker {
		return
	}
	if peers, _, pairs := c.interest.Held(to.id); peers+pairs >= control.HeldMax/2 {
		return
	}
	var pairs []control.Pair
	for _, p := range a.Pairs {
		if row := c.view.Pair(host, p.Key); row.Table != nil {
			pairs = append(pairs, row)
		}
	}
	for _, m := range c.interest.Expect(to.id, []control.Peer{sender}, pairs) {
		c.send(to, m)
	}
}

// claim notes what a host says of an endpoint, if it is the host's by the
// present binding. An older message never wins: one that crossed the news of that is
// passed over, after any other the host is told again what holds.
func (c *Core) claim(s *session, u control.EndpointUpdate) {
	p := s.ports[u.Endpoint]
	if p != nil && p.epoch == u.Epoch {
		if p.carried && u.Carried && p.more != nil { // what follows late is a part
			u.Flows, u.Detail = max(u.Flows, p.more.flows), cmp.Or(u.Detail, p.more.detail)
		}
		p.says(u)
		if p.moves {
			c.tellState(u.Endpoint, s)
			c.carry(u.Endpoint)
		}
		return
	}
	if s.crossed(u.Endpoint, u.Epoch) {
		return
	}
	denied := Denied{Session: s.id, Host: s.identity.Host, Endpoint: u.Endpoint}
	if p == nil {
		denied.Detail = "the endpoint is not bound to the host"
		c.effects = append(c.effects, denied)
		c.send(s, &control.Unassign{Revision: c.world.Revision(), Endpoint: u.Endpoint, Epoch: u.Epoch})
		return
	}
	denied.Detail = fmt.Sprintf("the binding has epoch %d, the claim %d", p.epoch, u.Epoch)
	c.effects = append(c.effects, denied)
	e, _ := c.world.Endpoint(u.Endpoint)
	if again := assignment(c.world, e, s.identity.Host); again != nil {
		p.given = givenOf(again)
		c.send(s, again)
	}
}

// assignment is an endpoint as one of its hosts must plug it; nil if it has no network.
func assignment(w *world.World, e world.Endpoint, host dove.HostName) *control.Assign {
	n, ok := w.Network(e.NetworkOf())
	if !ok {
		return nil
	}
	a := &control.Assign{
		Revision: w.Revision(), Endpoint: e.Full(), UID: e.UID, Epoch: e.Epoch,
		VNI: n.VNI, Network: n.Full(), Domain: n.DomainOf(), MTU: n.MTU,
		MAC: e.MAC, Device: e.Device, Subnets: n.Subnets, Standby: e.Standby == host,
	}
	if other, ok := w.Host(e.Other(host)); ok {
		a.Other = tunnel(&other)
	}
	for r := range w.RoutersOn(n.Full()) {
		if f, ok := r.On(n.Name); ok {
			a.Gateways = append(a.Gateways, control.Gateway{MAC: f.MAC, Addrs: f.Gateways(n)})
		}
	}
	a.Open, a.Parent, a.VLAN = e.Open, e.Parent, e.VLAN
	a.Allowed = allowed(w, e, n.DomainOf())
	if e.Open {
		a.Class = w.AddressClass(e, e.Addresses[0])
	}
	for _, addr := range e.Addresses {
		a.Address = append(a.Address, control.Address{Addr: addr, Class: w.AddressClass(e, addr)})
	}
	return a
}
