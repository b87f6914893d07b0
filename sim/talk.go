package sim

import (
	"fmt"
	"strings"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/world"
)

// Talk is a flow that goes on while other things happen. Whatever of it a switch
// lets pass is held against the oracle in that moment.
type Talk struct {
	Packet
	sim  *Sim
	id   uint64
	x    *exchange
	port uint16 // or echo identifier
}

// Begin sends the first packet of a flow, and waits for nothing; nil if the sender
// is not plugged in.
func (s *Sim) Begin(p Packet) *Talk {
	g := s.plugged(p.From)
	if g == nil {
		return nil
	}
	s.talk++
	s.port = max(s.port+1, firstPort)
	t := &Talk{Packet: p, sim: s, id: s.talk, x: &exchange{from: g}, port: s.port}
	s.talks[t.id] = t.x
	s.jot("%s begins %d: %s", g.at(), t.id, p)
	t.send(false)
	return t
}

// Again goes on with the flow, and forgets what became of what was sent before.
func (t *Talk) Again() {
	t.x.reached, t.x.answered, t.x.ended, t.x.via = nil, nil, nil, [2]*host{}
	t.sim.jot("%s goes on with %d", t.x.from.at(), t.id)
	t.send(true)
}

func (t *Talk) send(later bool) {
	g := t.x.from
	if g.host == nil {
		return
	}
	t.x.at[0] = g.stand()
	m, frame := mark{t.id, g.serial}, request(t.Probe, later, t.port)
	clear(g.waiting)
	g.send(t.Src, t.Dst, func(e packet.Ends) []byte { return frame(e, m.bytes()) })
}

// End forgets the flow: what is still under way is not looked at.
func (t *Talk) End() { delete(t.sim.talks, t.id) }

// Reached reports whether what was sent last has arrived at a guest, Answered whether
// its answer has come back.
func (t *Talk) Reached() bool  { return len(t.x.reached) > 0 }
func (t *Talk) Answered() bool { return len(t.x.answered) > 0 }

// stand is a host at a moment, and up to which revision it is known to enforce all then.
type stand struct {
	host     *host
	enforces dove.Revision
}

// stand is where a guest sends.
func (g *guest) stand() stand {
	if g.host == nil {
		return stand{}
	}
	return stand{g.host, g.host.floor()}
}

// Right reports whether who was reached has the address now, and both ends have talked
// where they are bound, on hosts that had heard all of the tenant. What a host carries that has not heard
// yet of what was taken from it, or of other classes, says nothing of what will be carried when it has.
func (t *Talk) Right() bool {
	return t.Reached() && t.sim.meant(t.Packet, t.x.reached[0]) &&
		t.sim.current(t.x.from, t.x.at[0]) && t.sim.current(t.x.reached[0], t.x.at[1])
}

// current reports whether a guest's endpoint is bound to a host, which enforced all of its tenant.
func (s *Sim) current(g *guest, at stand) bool {
	e, ok := s.World().Endpoint(g.endpoint)
	return ok && at.host != nil && e.BoundTo(at.host.name) && s.Untouched(e.Tenant, at.enforces)
}

// Hosts are where the ends were that have talked; "" if nobody was reached.
func (t *Talk) Hosts() (from, to dove.HostName) {
	if from, to := t.x.at[0].host, t.x.at[1].host; t.Reached() && from != nil && to != nil {
		return from.name, to.name
	}
	return "", ""
}

// Became says what became of what was sent last.
func (t *Talk) Became() string {
	var all []string
	for _, d := range t.x.ended {
		all = append(all, d.String())
	}
	return fmt.Sprintf("reached %d guests, %d answers, %s", len(t.x.reached), len(t.x.answered), strings.Join(all, ", "))
}

// Meant says what the oracle says of a first packet now, and whether whoever gets
// it answers and may.
func (s *Sim) Meant(p Packet) (f Finding, answers bool) {
	f = judge(s.World(), byOracle, s.Plugged, p)
	protocol, port, _ := p.Probe.Over(p.Dst)
	from, _ := s.World().Endpoint(p.From)
	to, ok := whose(s.World(), from, p.Dst)
	return f, ok && answerable(protocol, port) && !byOracle(s.World(), p, from, to, protocol, port).Stateless
}

// tickHosts is how often Pass tells agents that time passes; members hear it each second.
const tickHosts = 250 * time.Millisecond

// Pass lets time pass as programs see it, with whatever is under way.
func (s *Sim) Pass(d time.Duration) {
	until := s.now.Add(d)
	for next := s.now.Truncate(tickHosts).Add(tickHosts); !next.After(until); next = next.Add(tickHosts) {
		s.pass(next.Sub(s.now))
		s.tick(next)
	}
	s.pass(until.Sub(s.now))
	s.dropped, s.lost, s.asked = nil, nil, nil
}

// tick tells the cores what time it is: agents now, members at each whole second.
func (s *Sim) tick(now time.Time) {
	if now.Truncate(time.Second).Equal(now) {
		for _, m := range s.members {
			m.tick()
			m.checkForsaken()
		}
		s.tryAgain()
	}
	for _, h := range s.hosts {
		h.tick()
	}
}

// Faults are what must never be and was since the last time.
func (s *Sim) Faults() error { return s.report() }

// StepClock sets the clock of a host forward. Programs measure time without
// the clock, so one that is set back matters after a restart only: RestartAgent with it.
func (s *Sim) StepClock(name dove.HostName, by time.Duration) {
	h := s.host(name)
	if h.ahead += by; by < 0 {
		s.RestartAgent(name)
	}
}

// StepMemberClock does so with member number n.
func (s *Sim) StepMemberClock(n int, by time.Duration) error {
	m := s.members[n]
	m.ahead += by
	if by < 0 && !m.dead {
		return s.KillMember(n, true)
	}
	return nil
}

// SlowMember has member number n hear of each change so much later than others.
func (s *Sim) SlowMember(n int, by time.Duration) { s.members[n].slow = by }

// Homes says which member has the session of each host, as far as one has.
func (s *Sim) Homes() map[dove.HostName]string {
	homes := map[dove.HostName]string{}
	for _, h := range s.hosts {
		if h.current() {
			homes[h.name] = h.at().name
		}
	}
	return homes
}

// Unsettled says why the latest revision's receipt is not complete, "" if it is.
func (s *Sim) Unsettled() string {
	latest := s.World().Revision()
	for _, m := range s.members {
		if !m.well() {
			return m.name + " is not well"
		}
		if r := m.core.Receipt(latest); !r.Complete || len(r.Unconfirmed) > 0 {
			return fmt.Sprintf("%s says of the receipt of revision %d: %+v", m.name, latest, r)
		}
	}
	return ""
}

// Carried reports whether a move is as far that its next step loses nothing.
func (s *Sim) Carried(e world.Endpoint) bool {
	to := e.Other(e.Source())
	for _, m := range s.members {
		for _, status := range m.core.SessionsOf([]dove.HostName{to}) {
			for _, u := range status.Endpoints {
				if u.Endpoint == e.Full() && u.Epoch == e.Epoch && u.State == control.EndpointActive && u.Carried {
					return true
				}
			}
		}
	}
	return false
}

// Untouched reports whether nothing of a tenant has changed since a revision.
func (s *Sim) Untouched(t dove.Tenant, since dove.Revision) bool {
	for i := len(s.eras) - 1; i >= 0 && s.eras[i].world.Revision() > since; i-- {
		if s.eras[i].touches(t) {
			return false
		}
	}
	return true
}
