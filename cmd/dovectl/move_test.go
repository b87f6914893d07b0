package main

import (
	"net/netip"
	"regexp"
	"testing"

	"dove.network/control"
	"dove.network/dove"
)

// obey does what a dSwitch does with what concerns its endpoints.
func (h *host) obey(d control.Down) {
	switch d := d.(type) {
	case *control.Assign:
		h.assigned = *d
		h.up <- &control.EndpointUpdate{Endpoint: d.Endpoint, Epoch: d.Epoch, State: control.EndpointActive, Standby: d.Standby}
	case *control.CarryRequest:
		a := h.assigned
		flow := control.FlowState{Tuple: control.Tuple{VNI: a.VNI, Src: a.Address[0].Addr, Dst: a.Address[0].Addr.Next(), Protocol: dove.ProtocolUDP, DstPort: 53}, UIDs: [2]dove.UID{a.UID, 7}}
		h.up <- &control.Carry{Endpoint: d.Endpoint, Epoch: d.Epoch, Flows: []control.FlowState{flow}}
	case *control.Carry:
		u := &control.EndpointUpdate{Endpoint: d.Endpoint, Epoch: d.Epoch, State: control.EndpointActive, Standby: h.assigned.Standby, Carried: true, Flows: uint32(len(d.Flows))}
		if !u.Standby && h.assigned.Other.Host == "h2" { // back where it was
			u.Detail = "1 flows were not taken over: no room"
		}
		h.up <- u
	case *control.Frontier:
		h.up <- &control.Ack{Revision: d.Revision}
	}
}

// TestMoveWaits moves an endpoint between hosts that do what they are told: each
// step waits for the one before, and says what came of it.
func TestMoveWaits(t *testing.T) {
	r := newRig(t)
	for i, name := range []dove.HostName{"h1", "h2"} {
		r.connect(name, netip.AddrFrom4([4]byte{192, 0, 2, byte(11 + i)}), "obeys")
	}
	step := func(line, want string) {
		t.Helper()
		if got := r.dovectl("-t acme "+line, "", false); !regexp.MustCompile("^(?s)" + want + "$").MatchString(got) {
			t.Errorf("%s\n%s, want\n%s", line, got, want)
		}
	}
	r.dovectl("tenant create acme", "", false)
	step("network create net --domain shop --subnet 10.0.1.0/24", ".*revision.*")
	step("endpoint create web-1 --network net --host h1 --wait", ".*complete.*")
	step("endpoint prepare web-1 h2 --wait", `(endpoint web-1 is preparing:[^\n]*\n(  [^\n]*\n)*)*endpoint web-1 \(on h1, standby on h2\), prepared after [0-9.µms]+, 1 flows taken over: revision \d+\n`)
	step("endpoint activate web-1 --wait", `(endpoint web-1 is activating[^\n]*\n(  [^\n]*\n)*)*endpoint web-1 \(on h2, standby on h1\), confirmed after [0-9.µms]+, 1 flows taken over: revision \d+\n`)
	step("endpoint activate web-1 --wait", `(endpoint web-1 is [^\n]*\n(  [^\n]*\n)*)*endpoint web-1 \(on h2, standby on h1\), confirmed after .*`) // said again: where it is
	step("endpoint activate web-1 h1 --wait", `(endpoint web-1 is [^\n]*\n(  [^\n]*\n)*)*warning: 1 flows were not taken over: no room\nendpoint web-1 \(on h1, standby on h2\), confirmed after .*`)
	step("endpoint activate web-1 h2 --wait -o json", `(endpoint web-1 is [^\n]*\n(  [^\n]*\n)*)*\{.*"step": "confirmed",\n *"flows": 1,.*`)
	step("endpoint finish web-1 --wait", `(endpoint web-1 is confirmed[^\n]*\n(  [^\n]*\n)*)*endpoint web-1 \(10.0.1.2, on h2\): revision \d+\n.*complete.*`)
	step("host create dead --vtep 192.0.2.99", ".*")
	step("endpoint prepare web-1 dead", ".*")
	step("endpoint activate web-1 --force", `warning: forced though host dead does not say yet whether its port is open\n(warning: forced though [^\n]*\n)*`+
		`warning: endpoint web-1 gets nothing until host dead is ready; to go back: dovectl endpoint activate web-1 h2 --force\nendpoint web-1 \(on dead, standby on h2\).*`)
	step("endpoint activate web-1 h2 --force", `(warning: forced though [^\n]*\n)*endpoint web-1 .*`)
	step("endpoint finish web-1 --force --wait --timeout 1ms", ".*is not complete after 1ms; pending: dead.*") // it may still enforce it
	step("endpoint get web-1", `.*host: +h2\nstate: +active\n.*`)
}
