package ebpf

import (
	"testing"

	"github.com/vishvananda/netlink"

	"dove.network/dataplane"
)

// TestRoom has guest ports in the bridge that is never up, but those that are in
// another, and takes them out again.
func TestRoom(t *testing.T) {
	h := newHosts(t, 1)[0]
	h.answers = func(dataplane.Miss) []dataplane.Op { return nil }
	one := h.plug(t, 1, dataplane.Veth)
	master := func(device string) (name string) {
		t.Helper()
		err := h.do(func() error {
			l, err := netlink.LinkByName(device)
			if err != nil || l.Attrs().MasterIndex == 0 {
				return err
			}
			m, err := netlink.LinkByIndex(l.Attrs().MasterIndex)
			name = m.Attrs().Name
			if m.Attrs().OperState == netlink.OperUp {
				t.Errorf("%s, which has %s, is up", name, device)
			}
			if port, err := netlink.LinkGetProtinfo(l); name == "dsw-room" && (err != nil || !port.Isolated) {
				t.Errorf("%s is not isolated in %s: %+v, %v", device, name, port, err)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	if got := master(one.port.Device); got != "dsw-room" {
		t.Errorf("a guest's port is in %q", got)
	}
	h.ip(t, "link add theirs type bridge")
	h.ip(t, "link set "+one.port.Device+" master theirs")
	h.apply(t, dataplane.DelPort{ID: one.port.ID})
	if got := master(one.port.Device); got != "theirs" {
		t.Errorf("a port that was in another bridge was left in %q", got)
	}
	h.apply(t, dataplane.SetPort{Port: one.port})
	if got := master(one.port.Device); got != "theirs" {
		t.Errorf("a port of another bridge is now in %q", got)
	}
	h.ip(t, "link set "+one.port.Device+" nomaster")
	h.apply(t, dataplane.DelPort{ID: one.port.ID}, dataplane.SetPort{Port: one.port})
	if got := master(one.port.Device); got != "dsw-room" {
		t.Errorf("a port plugged again is in %q", got)
	}
	h.apply(t, dataplane.DelPort{ID: one.port.ID})
	if got := master(one.port.Device); got != "" {
		t.Errorf("a deleted port is left in %q", got)
	}
}
