package agent

import (
	"net/netip"

	"dove.network/control"
	"dove.network/dataplane"
)

// claimed tells the DPC that a guest announced an address. Whether that is one
// for several to have, and whose it is, the DPC says; without a session nobody
// is told, and the guest's next announcement counts.
func (c *Core) claimed(claim dataplane.Claim) {
	a := c.ports[claim.Port]
	if a == nil || !c.session.open || a.Standby {
		return
	}
	for _, x := range a.Allowed {
		if x.Prefix == netip.PrefixFrom(claim.Addr, claim.Addr.BitLen()) {
			c.send(&control.Claim{Endpoint: a.Endpoint, Epoch: a.Epoch, Addr: claim.Addr})
			return
		}
	}
}
