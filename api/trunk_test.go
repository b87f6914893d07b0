package api

import (
	"slices"
	"strings"
	"testing"

	"dove.network/control"
	"dove.network/dove"
)

// TestTrunk makes a sub-port, and moves it with its parent: no step is done before
// both are ready.
func TestTrunk(t *testing.T) {
	r := newRig(t)
	r.populate()
	r.ok(nil, "PUT /v1/hosts/acme-2", `{"vtep":"192.0.2.77"}`)
	const at = "/v1/tenants/acme/endpoints/"
	var parent, sub Endpoint
	r.ok(&parent, "GET "+at+"web-1", "")
	before := parent.Revision
	r.refused(422, "PUT "+at+"web-1-db", `{"groups":[],"network":"`+parent.Network+`","parent":"web-1","vlan":4095}`)
	r.ok(&sub, "PUT "+at+"web-1-db", `{"groups":[],"network":"`+parent.Network+`","parent":"web-1","vlan":7}`)
	if sub.Parent != "web-1" || sub.VLAN != 7 || sub.Host != parent.Host {
		t.Errorf("%+v", sub)
	}
	r.ok(&parent, "GET "+at+"web-1", "")
	if !slices.Equal(parent.SubPorts, []SubPort{{"web-1-db", 7}}) || parent.Revision <= before {
		t.Errorf("its parent says %+v", parent)
	}
	for request, body := range map[string]string{"DELETE " + at + "web-1": "", "PUT " + at + "web-1-db/binding": `{"host":"acme-2"}`, "PUT " + at + "web-1-db/bindings/acme-2": ""} {
		r.refused(409, request, body)
	}

	says := func(subPort control.EndpointUpdate) {
		r.backend.sessions = nil
		for _, host := range []dove.HostName{"acme-1", "acme-2"} {
			u := control.EndpointUpdate{Endpoint: dove.Endpoint{Tenant: "acme", ID: "web-1"}, Epoch: r.epoch("web-1"), State: control.EndpointActive}
			if host == "acme-2" {
				u.Standby, u.Carried, u.Flows = true, true, 7
			}
			other := subPort
			other.Endpoint.Tenant, other.Endpoint.ID, other.Epoch, other.Standby = "acme", "web-1-db", r.epoch("web-1-db"), u.Standby
			other.Carried = other.Carried && u.Standby
			r.backend.sessions = append(r.backend.sessions, control.SessionStatus{Host: host, Endpoints: []control.EndpointUpdate{u, other}})
		}
	}
	r.ok(nil, "PUT "+at+"web-1/bindings/acme-2", "")
	r.backend.receipt = control.Receipt{Complete: true}
	says(control.EndpointUpdate{State: control.EndpointWaiting})
	r.ok(&parent, "GET "+at+"web-1", "")
	if m := parent.Move; m.Step != "preparing" || m.Carried || len(m.Waits) == 0 || !strings.HasPrefix(m.Waits[0], "its sub-port web-1-db: host acme-1: its port is waiting") {
		t.Errorf("%+v", m)
	}
	r.refused(409, "POST "+at+"web-1/bindings/acme-2/activate", "")
	says(control.EndpointUpdate{State: control.EndpointActive, Carried: true, Flows: 3})
	parent = Endpoint{}
	r.ok(&parent, "GET "+at+"web-1", "")
	if m := parent.Move; m.Step != "prepared" || !m.Carried || m.Flows != 10 || len(m.Waits) != 0 {
		t.Errorf("%+v", m)
	}
	r.ok(nil, "POST "+at+"web-1/bindings/acme-2/activate", "")
	r.ok(&sub, "GET "+at+"web-1-db", "")
	if sub.Host != "acme-2" || sub.Standby != "acme-1" {
		t.Errorf("the sub-port is %+v", sub)
	}
}
