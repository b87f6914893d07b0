package sim

import (
	"slices"

	"dove.network/agent"
	"dove.network/dove"
	"dove.network/scenario"
)

// Disturb kills, stops or starts a program, or cuts or heals a link; other
// actions are nothing to it. What follows from it is under way then.
func (s *Sim) Disturb(a scenario.Action) error {
	switch a := a.(type) {
	case scenario.Stop: // its sessions end while it can still say so
		if a.Program.Host == "" {
			for _, h := range s.hosts {
				s.Cut(h.name)
			}
		} else {
			s.Cut(a.Program.Host)
		}
	case scenario.Cut:
		if a.Link.To == "" {
			s.Cut(a.Link.Host)
		}
	}
	s.outage.Follow(a)
	switch a := a.(type) {
	case scenario.Kill:
		if a.Program.Host == "" {
			return s.RestartMember()
		}
		s.RestartAgent(a.Program.Host)
	case scenario.Start:
		if a.Program.Host != "" {
			s.RestartAgent(a.Program.Host)
			return nil
		}
		if err := s.RestartMember(); err != nil {
			return err
		}
		for _, h := range s.hosts {
			s.Connect(h.name)
		}
	case scenario.Heal:
		if a.Link.To == "" {
			s.Connect(a.Link.Host)
		}
	}
	return nil
}

// stopped reports whether nobody hears what happens on the host.
func (h *host) stopped() bool {
	return h.sim.outage.Stopped(scenario.Program{Host: h.name})
}

// heldUp reports whether only hosts that the member cannot reach hold a receipt up.
func (s *Sim) heldUp(revision dove.Revision) bool {
	pending := s.chief().core.Receipt(revision).Pending
	return len(pending) > 0 && !slices.ContainsFunc(pending, func(h dove.HostName) bool { return s.outage.Adrift(h) == "" })
}

// running reports whether the member is there to react.
func (s *Sim) running() bool { return !s.outage.Stopped(scenario.Program{}) }

// lose notes that a packet ended where no switch counts it.
func (s *Sim) lose(where string) {
	s.lost = append(s.lost, where)
	s.jot("a packet is lost %s", where)
}

// patience is longer than any agent holds a packet.
const patience = 2 * agent.HoldFor

// expire lets time pass for what is held in vain while something is stopped or cut.
func (s *Sim) expire() {
	if s.outage.Any() != "" {
		s.Sleep(patience)
	}
}
