package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dove"
)

func subPortOf(id, parent string, vlan uint16, vni dove.VNI, address string) *control.Assign {
	a := assignOf(id, vni, address, 20)
	a.Parent, a.VLAN = dove.EndpointID(parent), vlan
	return a
}

// TestSubPortsFollowTheirParent plugs sub-ports while their parent has a device, in
// whatever order the DPC tells of them.
func TestSubPortsFollowTheirParent(t *testing.T) {
	r := newRig(t)
	r.open()
	expect := func(want ...string) {
		t.Helper()
		if d := cmp.Diff(want, r.states(), cmpopts.SortSlices(func(a, b string) bool { return a < b })); d != "" {
			t.Fatalf("states (-want +got):\n%s", d)
		}
	}
	vlans := func(want map[uint16]int) {
		t.Helper()
		got := map[uint16]int{}
		for _, op := range r.has {
			if p, ok := op.(dataplane.SetPort); ok {
				got[p.Port.VLAN] = p.Port.Ifindex
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("devices by VLAN (-want +got):\n%s", d)
		}
	}
	lacks := " 1 waiting endpoint red/vm, whose sub-port it is, has no port"
	r.step(Received{subPortOf("db", "vm", 7, 6, "10.0.1.1")}, Received{assignOf("vm", 5, "10.0.0.1", 20)}, Received{subPortOf("log", "vm", 9, 5, "10.0.0.9")})
	expect("red/db"+lacks, "red/log"+lacks, "red/vm 1 waiting there is no device tapvm or dvvm")
	if err := r.core.CheckPlug(dove.Endpoint{Tenant: "red", ID: "db"}, "eth7"); dove.KindOf(err) != dove.Conflict {
		t.Errorf("a sub-port is plugged by itself: %v", err)
	}
	r.step(deviceOf("dvdb", 3)) // its own default name is nobody's
	expect()
	r.step(deviceOf("dvvm", 4))
	expect("red/db 1 active dvvm", "red/log 1 active dvvm", "red/vm 1 active dvvm")
	vlans(map[uint16]int{0: 4, 7: 4, 9: 4})
	r.step(deviceOf("dvvm", 5)) // made anew
	vlans(map[uint16]int{0: 5, 7: 5, 9: 5})
	expect()
	r.restart()
	vlans(map[uint16]int{0: 5, 7: 5, 9: 5})
	r.open()
	r.step(Received{subPortOf("db", "vm", 7, 6, "10.0.1.1")}, Received{subPortOf("log", "vm", 9, 5, "10.0.0.9")}, Received{assignOf("vm", 5, "10.0.0.1", 20)})
	vlans(map[uint16]int{0: 5, 7: 5, 9: 5})
	r.states()

	// One of the VLAN of another waits until that has gone.
	r.step(Received{subPortOf("new", "vm", 7, 6, "10.0.1.2")})
	r.states()
	r.step(Received{&control.Unassign{Endpoint: dove.Endpoint{Tenant: "red", ID: "db"}, Epoch: 1}})
	expect("red/new 1 active dvvm")
	r.step(DeviceGone{"dvvm"})
	expect("red/new"+lacks, "red/log"+lacks, "red/vm 1 waiting there is no device tapvm or dvvm")
	vlans(map[uint16]int{})
	r.step(deviceOf("dvvm", 6), Received{&control.Unassign{Endpoint: dove.Endpoint{Tenant: "red", ID: "vm"}, Epoch: 1}})
	vlans(map[uint16]int{})
}

// TestSubPortsWaitForAFailedParent has the switch refuse the parent's port.
func TestSubPortsWaitForAFailedParent(t *testing.T) {
	r := newRig(t)
	r.open()
	r.fail = func(op dataplane.Op) error {
		if p, ok := op.(dataplane.SetPort); ok && p.Port.VLAN == 0 {
			return dove.Errorf(dove.Internal, "no")
		}
		return nil
	}
	r.step(Received{assignOf("vm", 5, "10.0.0.1", 20)}, Received{subPortOf("db", "vm", 7, 6, "10.0.1.1")}, deviceOf("dvvm", 4))
	if len(r.core.ports) != 0 {
		t.Fatalf("ports %v", r.core.ports)
	}
	r.fail = nil
	r.sleep(retryMax)
	r.step(Tick{})
	if len(r.core.ports) != 2 {
		t.Fatalf("ports %v", r.core.ports)
	}
}
