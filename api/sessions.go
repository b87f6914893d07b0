package api

import (
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// Session is what a DPC member knows of its session with a dSwitch.
type Session struct {
	Session   control.SessionID `json:"session"`
	Host      dove.HostName     `json:"host"`
	VTEP      string            `json:"vtep"`
	Serial    string            `json:"serial" doc:"Of the certificate that it showed."`
	Software  string            `json:"software"`
	Opened    time.Time         `json:"opened"`
	Paused    time.Duration     `json:"paused,omitempty" doc:"How long it was not read because the host said more than it may, in nanoseconds."`
	Told      dove.Revision     `json:"told" doc:"Everything that concerns the host up to here was sent."`
	Acked     dove.Revision     `json:"acked" doc:"Everything that was sent up to here is enforced in its kernel."`
	Peers     int               `json:"peers" doc:"Answers that it holds: addresses, the absent ones too."`
	Absent    int               `json:"absent"`
	Pairs     int               `json:"pairs" doc:"Answers that it holds: class pairs."`
	Endpoints []SessionEndpoint `json:"endpoints" nullable:"false" doc:"What it said of its assignments."`
}

// SessionEndpoint is what a host said of an endpoint that was assigned to it.
type SessionEndpoint struct {
	Endpoint string     `json:"endpoint" doc:"TENANT/ID"`
	Epoch    dove.Epoch `json:"epoch"`
	State    string     `json:"state" enum:"waiting,active,failed"`
	Device   string     `json:"device,omitempty"`
	Detail   string     `json:"detail,omitempty"`
}

var stateNames = map[control.EndpointState]string{
	control.EndpointWaiting: "waiting", control.EndpointActive: "active", control.EndpointFailed: "failed",
}

func renderSession(c control.SessionStatus) Session {
	out := Session{
		Session: c.Session, Host: c.Host, Serial: c.Serial, Software: c.Software, Opened: c.Opened, Paused: c.Paused,
		Told: c.Told, Acked: c.Acked, Peers: c.Peers, Absent: c.Absent, Pairs: c.Pairs, Endpoints: []SessionEndpoint{},
	}
	if c.VTEP.IsValid() {
		out.VTEP = c.VTEP.String()
	}
	for _, u := range c.Endpoints {
		out.Endpoints = append(out.Endpoints, SessionEndpoint{u.Endpoint.String(), u.Epoch, stateNames[u.State], u.Device, u.Detail})
	}
	return out
}

// Receipt says how far a revision got.
type Receipt struct {
	Revision    dove.Revision   `json:"revision"`
	Complete    bool            `json:"complete" doc:"Every host with a session that it concerns enforces it."`
	Committed   time.Time       `json:"committed,omitzero" doc:"When the member applied it; missing if too long ago."`
	Completed   time.Time       `json:"completed,omitzero"`
	Took        time.Duration   `json:"took,omitzero" doc:"From committed to completed, in nanoseconds."`
	Told        int             `json:"told" doc:"How many hosts it concerned."`
	Pending     []dove.HostName `json:"pending" nullable:"false" doc:"Hosts that were told and have not acknowledged."`
	Failed      []HostFailure   `json:"failed" nullable:"false" doc:"Hosts that could not do something of it, keep closed what that would have opened, and try again."`
	Unconfirmed []dove.HostName `json:"unconfirmed" nullable:"false" doc:"Hosts that have endpoints but no session: they enforce what they knew last."`
	Unknown     []UnknownHost   `json:"unknown,omitempty" doc:"Hosts whose session was with a DPC member that the answering one does not reach: they hold the receipt up until they open a session elsewhere, the member says how far they are, or it is removed."`
	Members     []string        `json:"members,omitempty" doc:"Other DPC members that have not said yet how far hosts with a session there are, or which those are."`
}

// UnknownHost is a host of which only a member can tell that is not reached.
type UnknownHost struct {
	Host   dove.HostName `json:"host"`
	Member string        `json:"member"`
}

// HostFailure says why a host could not do something of a revision.
type HostFailure struct {
	Host   dove.HostName `json:"host"`
	Reason string        `json:"reason"`
}

func renderReceipt(r control.Receipt) Receipt {
	failed := make([]HostFailure, len(r.Failed))
	for i, f := range r.Failed {
		failed[i] = HostFailure(f)
	}
	var unknown []UnknownHost
	for _, u := range r.Unknown {
		unknown = append(unknown, UnknownHost(u))
	}
	return Receipt{
		Revision: r.Revision, Complete: r.Complete, Committed: r.Committed, Completed: r.Completed, Took: r.Took,
		Told: r.Told, Pending: append([]dove.HostName{}, r.Pending...), Failed: failed,
		Unconfirmed: append([]dove.HostName{}, r.Unconfirmed...), Unknown: unknown, Members: r.Members,
	}
}
