package controller

import (
	"maps"

	"dove.network/control"
	"dove.network/dove"
)

// port is an endpoint that a session was assigned, and what its host says of it under that
// epoch. There are as many as endpoints: what few have is elsewhere.
type port struct {
	given
	state   control.EndpointState // 0: the host has said nothing
	standby bool
	carried bool
	device  string
	more    *portMore // nil: nothing of it
}

type portMore struct {
	detail string
	flows  uint32
}

// given is what is kept of an assignment that a session was sent: the world says the rest.
type given struct {
	epoch  dove.Epoch
	moves  bool // the endpoint has another binding, to a host that can be reached
	digest control.Digest
}

func givenOf(a *control.Assign) given {
	return given{a.Epoch, a.Other != (control.Tunnel{}), a.Digest()}
}

// says takes what a host says of a port of that epoch.
func (p *port) says(u control.EndpointUpdate) {
	p.state, p.standby, p.carried, p.more = u.State, u.Standby, u.Carried, nil
	if p.device != u.Device {
		p.device = u.Device
	}
	if u.Detail != "" || u.Flows != 0 {
		p.more = &portMore{u.Detail, u.Flows}
	}
}

// said returns what the host of a session says of an endpoint.
func (s *session) said(name dove.Endpoint) (control.EndpointUpdate, bool) {
	p := s.ports[name]
	if p == nil || p.state == 0 {
		return control.EndpointUpdate{}, false
	}
	u := control.EndpointUpdate{Endpoint: name, Epoch: p.epoch, State: p.state, Device: p.device, Standby: p.standby, Carried: p.carried}
	if p.more != nil {
		u.Detail, u.Flows = p.more.detail, p.more.flows
	}
	return u, true
}

// taken is the last binding of an endpoint that a session was told is no more, and the
// revision that told it. No later binding has as low an epoch.
type taken struct {
	epoch    dove.Epoch
	revision dove.Revision
}

func (s *session) take(name dove.Endpoint, epoch dove.Epoch, at dove.Revision) {
	if s.taken == nil {
		s.taken = map[dove.Endpoint]taken{}
	}
	s.taken[name] = taken{max(epoch, s.taken[name].epoch), at}
}

// crossed reports whether what a host says of an endpoint under an epoch may have been said
// before the host knew that this is over: no claim, and what holds is on its way.
func (s *session) crossed(name dove.Endpoint, epoch dove.Epoch) bool {
	t, ok := s.taken[name]
	return ok && epoch <= t.epoch
}

// knows forgets what a host has acknowledged: from now on it speaks by what holds.
func (s *session) knows(acked dove.Revision) {
	maps.DeleteFunc(s.taken, func(_ dove.Endpoint, t taken) bool { return t.revision <= acked })
	if len(s.taken) == 0 {
		s.taken = nil
	}
}
