package controller

import (
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
