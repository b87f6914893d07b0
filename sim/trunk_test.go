package sim

import (
	"testing"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/scenario"
	"dove.network/world"
)

// TestATrunkMovesAsOne has an endpoint with two sub-ports talk, move live to another host
// and go on there: who reaches whom depends on networks and groups, and not on the
// device that they share.
func TestATrunkMovesAsOne(t *testing.T) {
	s := New(3)
	x := newShop(t, s, `{apiVersion: dove/v1, kind: Blueprint, name: shop, networks: {front: {subnets: [10.0.1.0/24]}, back: {subnets: [10.0.2.0/24, "fd00:2::/64"]}},
  groups: {web: {network: front}, db: {network: back}, log: {network: back}}, policies: [{name: l, from: db, to: log, allow: udp/53}]}`, "h1", "h2")
	vm := x.endpoint(edit.EndpointRequest{ID: "vm", Groups: []string{"shop/web"}, Host: "h1"})
	db := x.endpoint(edit.EndpointRequest{ID: "vm-db", Groups: []string{"shop/db"}, Parent: "vm", VLAN: 7, MAC: vm.MAC.String()})
	log := x.endpoint(edit.EndpointRequest{ID: "vm-log", Groups: []string{"shop/log"}, Parent: "vm", VLAN: 4094})
	far := x.endpoint(edit.EndpointRequest{ID: "far", Groups: []string{"shop/db"}, Host: "h2"})
	web := x.endpoint(edit.EndpointRequest{ID: "web", Groups: []string{"shop/web"}, Host: "h2"})

	all := func(when string) {
		t.Helper()
		for _, c := range []struct {
			from, to world.Endpoint
			why      dataplane.Reason
		}{
			{vm, web, 0}, {web, vm, 0}, {db, far, 0}, {far, db, 0}, {far, log, 0}, {db, log, 0},
			{log, db, dataplane.Policy}, {log, far, dataplane.Policy}, {db, vm, dataplane.NoRoute}, {vm, db, dataplane.NoRoute},
		} {
			for i := range min(len(c.from.Addresses), len(c.to.Addresses)) {
				got, why := x.reached(c.from, c.from.Addresses[i], c.to.Addresses[i])
				if want := map[bool]dove.EndpointID{true: c.to.ID}[c.why == 0]; got != want || why != c.why {
					t.Errorf("%s: %s to %s reaches %q (%s), want %q (%s)", when, c.from.ID, c.to.Addresses[i], got, why, want, c.why)
				}
			}
		}
	}
	all("at first")
	if got, why := x.reached(db, vm.Addresses[0], web.Addresses[0]); got != "" || why == 0 {
		t.Errorf("a sub-port speaks as its parent, and reaches %q", got)
	}

	x.move(edit.PrepareEndpoint, "h2", "vm", "vm-db", "vm-log")
	all("prepared")
	// What the sub-ports say to each other meanwhile goes with them.
	flow, _, err := simulated{s}.open(Packet{From: db.Full(), Src: db.Addresses[0], Dst: log.Addresses[0], Probe: scenario.Probe{Protocol: dove.ProtocolUDP, Port: 53}})
	x.must(err)
	x.move(edit.ActivateEndpoint, "h2", "vm", "vm-db", "vm-log")
	if passes, says, err := flow.passes(true); err != nil || !passes {
		t.Errorf("activated: %s (%v)", says, err)
	}
	all("activated")
	x.move(edit.FinishEndpoint, "h1", "vm", "vm-db", "vm-log")
	all("finished")
	x.RestartAgent("h2")
	x.must(x.Settle())
	all("after a restart of the agent")

	x.Unplug(vm.Full())
	x.must(x.Settle())
	if got, why := x.reached(db, db.Addresses[0], far.Addresses[0]); got != "" || why != dataplane.NoPort {
		t.Errorf("without its parent's device a sub-port reaches %q (%s)", got, why)
	}
}
