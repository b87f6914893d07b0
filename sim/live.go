package sim

import (
	"slices"

	"dove.network/control"
	"dove.network/controller"
	"dove.network/dove"
)

// Inspect has the member ask a host what its switch would do with the first
// packet of a flow. Nil: the host has no session.
func (s *Sim) Inspect(host dove.HostName, t control.Tuple) *control.Finding {
	reports := s.inquire(controller.Asked{Host: host, Probe: &t})[host]
	if len(reports) != 1 || reports[0] == nil {
		return nil
	}
	return reports[0].Finding
}

// Flows has the member ask all hosts of a tenant for its flows, as each tells them.
// A host without session has none.
func (s *Sim) Flows(t dove.Tenant) map[dove.HostName][]control.FlowReport {
	flows := map[dove.HostName][]control.FlowReport{}
	for host, reports := range s.inquire(controller.Asked{FlowsOf: t}) {
		for _, r := range reports {
			if r != nil {
				flows[host] = append(flows[host], r.Flows...)
			}
		}
	}
	return flows
}

// inquire asks and goes on until nothing is under way.
func (s *Sim) inquire(a controller.Asked) map[dove.HostName][]*control.Report {
	a.Asker = s.observe(a)
	for s.step() {
	}
	said := map[dove.HostName][]*control.Report{}
	for _, t := range s.hearing(a.Asker) {
		said[t.Host] = append(said[t.Host], t.Report)
	}
	s.chief().step(controller.Ceased{Asker: a.Asker})
	return said
}

// observe has the member ask, and returns who is told.
func (s *Sim) observe(a controller.Asked) (asker uint64) {
	s.asker++
	a.Asker = s.asker
	s.chief().step(a)
	return a.Asker
}

// hearing takes what an asker was told since the last time.
func (s *Sim) hearing(asker uint64) (told []controller.Told) {
	s.said = slices.DeleteFunc(s.said, func(t controller.Told) bool {
		its := slices.Contains(t.Askers, asker)
		if its {
			told = append(told, t)
		}
		return its
	})
	return told
}

// sessionsOf asks the first member for what members know of a host's session.
func (s *Sim) sessionsOf(host dove.HostName) []control.SessionStatus {
	m := s.chief()
	if all := m.core.SessionsOf([]dove.HostName{host}); len(all) > 0 || s.sole() {
		return all
	}
	s.asker++
	s.standing = nil
	m.step(controller.Polled{Asker: s.asker, Hosts: []dove.HostName{host}})
	for s.step() {
	}
	return s.standing
}
