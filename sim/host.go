package sim

import (
	"fmt"
	"time"

	"dove.network/agent"
	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dataplane/soft"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/scenario"
)

// host is a machine: the core of its agent and its switch; of a foreign one a
// bridge in place of both.
type host struct {
	sim      *Sim
	name     dove.HostName
	identity control.Identity
	core     *agent.Core
	saved    agent.Saved // what the agent wrote down last
	sw       *soft.Switch
	holds    contents // what the switch was told and took
	applying bool     // ops are on their way to it
	devices  map[slot]*guest
	ifindex  int
	bridge   *bridge // of a foreign one

	route    *agent.Route
	trying   bool // it will dial
	vain     int  // attempts since something changed
	welcomed bool // in this session
	waited   bool // its Hello, for a member that was behind
	sent     *control.Elsewhere
	session  control.SessionID            // 0 while there is none
	seen     dove.Revision                // newest that any message of the session was of
	frontier dove.Revision                // last that was told in the session
	number   uint64                       // the greatest of a Hello
	enforced dove.Revision                // at least that, of all that concerns it
	ahead    time.Duration                // of the true time, its clock is
	unsure   bool                         // what it holds, or what is meant, is not what was compared last
	bindings map[dove.Endpoint]dove.Epoch // as it was assigned them last
	denies   control.PeerKey              // whom it denies what it misses now, though another host let that out
	doubts   map[uint64]doubted           // requests about that
}

// AddHost joins a host to the fleet and opens its session.
func (s *Sim) AddHost(name dove.HostName) error { return s.AddHosts(name) }

// AddHosts joins hosts to the fleet, and has all of them open a session then.
func (s *Sim) AddHosts(names ...dove.HostName) error {
	for _, name := range names {
		if err := s.addHost(name); err != nil {
			return err
		}
	}
	for _, name := range names {
		s.Connect(name)
	}
	return s.Settle()
}

func (s *Sim) addHost(name dove.HostName) error {
	id, err := join(s, name, len(s.hosts)+len(s.foreign)+1)
	if err != nil {
		return err
	}
	h := &host{
		sim: s, name: name, identity: id,
		sw:    soft.New(dataplane.Config{VTEP: id.VTEP, Underlay: "none"}, s.Now),
		holds: newContents(), unsure: true,
		devices: map[slot]*guest{}, bindings: map[dove.Endpoint]dove.Epoch{}, doubts: map[uint64]doubted{},
	}
	h.core = agent.NewCore(h.config(), agent.Restored{})
	h.route = s.newRoute(h)
	s.hosts = append(s.hosts, h)
	s.byName[name], s.byVTEP[id.VTEP] = h, h
	return nil
}

// newRoute is the route of an agent that starts.
func (s *Sim) newRoute(h *host) *agent.Route {
	return agent.NewRoute(h.name, []string{s.members[0].address()}, h.saved.Members, func(d time.Duration) time.Duration { return time.Duration(s.random.Int64N(int64(d))) })
}

func (h *host) config() agent.Config {
	return agent.Config{Host: h.name, VTEP: h.identity.VTEP, Software: "sim"}
}

// react feeds events to the agent and carries out what it wants, in order.
func (h *host) react(events ...agent.Event) {
	if h.bridge != nil || h.stopped() {
		return
	}
	for _, e := range h.core.Step(h.sim.now.Add(h.ahead), events...) {
		switch e := e.(type) {
		case agent.Send:
			if hello, ok := e.Message.(*control.Hello); ok {
				h.number = max(h.number, hello.Number)
				h.sim.wires[h.session].number = hello.Number
			}
			if r, ok := e.Message.(*control.PolicyRequest); ok {
				h.doubt(r)
			}
			h.sim.send(message{h, h.session, e.Message, nil})
		case agent.Save:
			core := h.core
			h.sim.soon(func() {
				if h.core == core { // else the agent died before
					h.saved = e.Saved
					h.react(agent.Written{Seq: e.Seq})
				}
			})
		case agent.Inject:
			h.inject(e.Miss)
		case agent.Discard:
			h.sw.Discard(e.Miss, e.Reason)
			h.dropped(drop{reason: e.Reason, from: e.Miss.Direction}, e.Miss.Frame)
		case agent.Leave:
			if session := h.session; !h.sim.sole() {
				h.sim.soon(func() {
					if h.session == session {
						h.sim.broken(h, nil)
					}
				})
			}
		case agent.ReadFlows:
			core := h.core
			h.sim.soon(func() {
				if h.core == core {
					h.react(agent.ReadFlowsOf(h.sw))
				}
			})
		case agent.ReadCarried:
			core := h.core
			h.sim.soon(func() {
				if h.core == core {
					flows, err := h.sw.Carried(e.Port)
					h.react(agent.CarriedRead{ReadCarried: e, Flows: flows, Err: err})
				}
			})
		case agent.Adopt:
			err := h.sw.Adopt(e.Port, e.Flows)
			if err != nil {
				h.sim.fault("the switch of %s refuses flows of %s: %w", h.name, e.Endpoint, err)
			}
			h.react(agent.Adopted{Adopt: e, Err: err})
		case agent.Apply:
			core := h.core
			h.applying = true
			h.sim.at(h.sim.now.Add(h.sim.delay()), func() {
				if h.core == core { // else the agent died before
					h.applying = false
					h.apply(e)
				}
			})
		}
	}
}

func (h *host) apply(a agent.Apply) {
	err := h.sw.Apply(a.Ops)
	if err != nil {
		h.sim.fault("the switch of %s refuses: %w", h.name, err)
	}
	for _, op := range a.Ops {
		h.holds.take(op, h.sim.now)
	}
	h.unsure = true
	h.sim.jot("%s applies %d: %d ops", h.name, a.Seq, len(a.Ops))
	h.react(agent.Applied{Seq: a.Seq, Err: err})
}

// hear takes a message of the member.
func (h *host) hear(m control.Down) {
	if !h.sim.blind {
		h.checkOrder(m)
	}
	h.react(agent.Received{Message: m})
	h.sim.obey(h, m)
}

func (h *host) connected()    { h.react(agent.Connected{}) }
func (h *host) disconnected() { h.react(agent.Disconnected{}) }

func (h *host) tick() {
	if h.stopped() {
		return // nobody tells the switch to
	}
	h.sw.Expire()
	for _, d := range h.sw.TakeDrops() {
		h.react(agent.Dropped{Drop: d})
	}
	for _, n := range h.sw.TakeNotes() {
		h.react(agent.Noted{Note: n})
	}
	h.react(agent.Tick{})
}

// fromGuest lets the switch have a frame that a guest sends.
func (h *host) fromGuest(at slot, frame []byte) {
	if h.bridge != nil {
		if g := h.devices[at]; g != nil {
			h.forward(g, frame)
		}
		return
	}
	out, left := h.sw.FromGuest(h.holds.portOf(at.device), packet.Tag(frame, at.vlan))
	h.became(out, frame, left, dataplane.FromGuest)
	for _, claim := range h.sw.TakeClaims() {
		h.sim.soon(func() { h.react(agent.Claimed{Claim: claim}) })
	}
	if g := h.devices[at]; g != nil && out.Reason == dataplane.TooBig && left != nil {
		left = h.untag(at, left)
		h.sim.soon(func() { g.receive(left) })
	}
}

// fromWire lets the switch have a frame from the underlay.
func (h *host) fromWire(frame []byte) {
	if h.bridge != nil {
		h.admit(frame)
		return
	}
	out, left := h.sw.FromWire(frame)
	h.became(out, frame, left, dataplane.FromOverlay)
	for _, hint := range h.sw.TakeHints() {
		h.sim.soon(func() { h.react(agent.Hinted{Hint: hint}) })
	}
}

func (h *host) inject(m dataplane.Miss) {
	if err := h.sw.Inject(m); err != nil {
		h.sim.fault("the switch of %s takes no packet back: %w", h.name, err)
	}
	for _, sent := range h.sw.TakeInjected() {
		h.became(sent.Outcome, m.Frame, sent.Frame, m.Direction)
	}
}

// became goes on with what the switch made of a frame.
func (h *host) became(out dataplane.Outcome, frame, left []byte, from dataplane.Direction) {
	s := h.sim
	if out.Action == dataplane.Answered && from == dataplane.FromOverlay { // somebody on a foreign host asked
		outer, _, _ := packet.Decap(left)
		s.soon(func() { s.byVTEP[outer.Dst].fromWire(left) })
		return
	}
	s.noted(frame, out)
	switch out.Action {
	case dataplane.Dropped:
		x, asks := s.ofAsker(frame)
		h.dropped(drop{reason: out.Reason, rule: out.Rule, from: from, answer: x != nil && !asks && out.Reason == dataplane.Policy}, frame)
	case dataplane.Passed:
		s.fault("%s leaves a frame to its own stack: % x", h.name, frame)
	case dataplane.Missed:
		if h.stopped() {
			h.sw.TakeMisses()
			s.lose(fmt.Sprintf("on %s, where no dswitch runs to ask", h.name))
			return
		}
		for _, m := range h.sw.TakeMisses() {
			s.soon(func() { h.miss(m) })
		}
	case dataplane.Tunneled:
		inner := left[packet.OverlaySize(out.VTEP):]
		s.judged(inner, out.Rule)
		switch to := s.byVTEP[out.VTEP]; {
		case to == nil:
			s.fault("%s sends to %s, where no host is", h.name, out.VTEP)
		case s.outage.Apart(scenario.Link{Host: h.name, To: to.name}):
			s.lose(fmt.Sprintf("between %s and %s, which are cut", h.name, to.name))
		default:
			s.leaving(h, to, inner)
			s.across(func() { to.fromWire(left) })
		}
	case dataplane.Delivered, dataplane.Answered:
		p := h.holds.ports[out.Port]
		at := slot{p.Device, p.VLAN}
		left = h.untag(at, left)
		s.judged(left, out.Rule)
		g := h.devices[at]
		if g == nil && (h.stopped() || h.applying) {
			s.lose(fmt.Sprintf("on %s, at a device that is gone", h.name))
			return
		}
		if g == nil && at.vlan != 0 && h.session == 0 { // deleted, and the host does not know
			s.lose(fmt.Sprintf("on %s, at a device whose guest does not take VLAN %d", h.name, at.vlan))
			return
		}
		if g == nil {
			s.fault("%s delivers to port %d, which has no guest", h.name, out.Port)
			return
		}
		s.arriving(h, g, left)
		s.soon(func() { g.receive(left) })
	}
}

// untag is what the guest of a slot makes of a frame that it gets.
func (h *host) untag(at slot, frame []byte) []byte {
	vlan, inner, ok := packet.Untag(frame)
	if !ok || vlan != at.vlan {
		h.sim.fault("%s sends a frame with VLAN %d to the guest of VLAN %d of %s", h.name, vlan, at.vlan, at.device)
	}
	return inner
}

// dropped notes a drop for the exchange that is watched.
func (h *host) dropped(d drop, frame []byte) {
	d.host, d.flood = h.name, h.sim.flooding
	h.sim.dropped = append(h.sim.dropped, d)
	if x, _ := h.sim.ofAsker(frame); x != nil {
		x.ended = append(x.ended, d)
		h.sim.jot("%s", d)
	}
}
