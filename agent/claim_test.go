package agent

import (
	"net/netip"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
)

// TestAGuestThatAnnouncesWithoutAPause has its first announcements told at once, and later ones as
// often as one each claimEvery; another port's are told meanwhile.
func TestAGuestThatAnnouncesWithoutAPause(t *testing.T) {
	c := NewCore(Config{Host: "h1", VTEP: addr("192.0.2.1")}, Restored{})
	c.session.open, c.now = true, time.Unix(1000, 0)
	shared := control.Allowed{Prefix: netip.MustParsePrefix("10.0.0.100/32")}
	for port := range dataplane.PortID(2) {
		c.ports[port+1] = &assignment{Assign: control.Assign{Allowed: []control.Allowed{shared}}}
	}
	told := func(port dataplane.PortID, times int) int {
		c.out = nil
		for range times {
			c.claimed(dataplane.Claim{Port: port, Addr: shared.Prefix.Addr()})
		}
		return len(c.out)
	}
	if got := told(1, 1000); got != claimsMax {
		t.Errorf("%d of 1000 announcements are told at once, want %d", got, claimsMax)
	}
	if got := told(2, 1); got != 1 {
		t.Error("another guest's announcement is not told")
	}
	c.now = c.now.Add(3 * claimEvery)
	if got := told(1, 1000); got != 3 {
		t.Errorf("%d announcements are told after the time of three", got)
	}
	c.now = c.now.Add(time.Hour)
	if got := told(1, 1000); got != claimsMax {
		t.Errorf("%d announcements are told after an hour, want %d", got, claimsMax)
	}
}
