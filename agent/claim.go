package agent

import (
	"net/netip"
	"time"

	"dove.network/control"
	"dove.network/dataplane"
)

// A guest that announces addresses without a pause must not use up what its host may say: of a
// port's announcements claimsMax are told at once, and later one each claimEvery.
const (
	claimEvery = 250 * time.Millisecond
	claimsMax  = 16
)

// claimed tells the DPC that a guest announced an address. Whether that is one
// for several to have, and whose it is, the DPC says; without a session nobody
// is told, nor of too many: the guest's next announcement counts.
func (c *Core) claimed(claim dataplane.Claim) {
	a := c.ports[claim.Port]
	if a == nil || !c.session.open || a.Standby {
		return
	}
	for _, x := range a.Allowed {
		if x.Prefix == netip.PrefixFrom(claim.Addr, claim.Addr.BitLen()) {
			counts := max(0, a.claims.Sub(c.now)) + claimEvery
			if counts > claimsMax*claimEvery {
				return
			}
			a.claims = c.now.Add(counts)
			c.send(&control.Claim{Endpoint: a.Endpoint, Epoch: a.Epoch, Addr: claim.Addr})
			return
		}
	}
}
