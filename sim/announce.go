package sim

import (
	"fmt"
	"time"

	"dove.network/controller"
	"dove.network/edit"
	"dove.network/packet"
	"dove.network/scenario"
)

// announce has a guest tell its network that an address is its own, and goes on
// until the DPC may say so, too: once a second an address may change its holder.
func (l simulated) announce(a scenario.Announce) (string, error) {
	g := l.plugged(a.Endpoint)
	e, ok := l.World().Endpoint(a.Endpoint)
	if g == nil || !ok {
		return "", fmt.Errorf("%s is not plugged in", a.Endpoint)
	}
	counts := edit.Claimable(l.World(), e, a.Address)
	g.emit(packet.Announcement(g.mac, a.Address))
	if err := l.Settle(); err != nil {
		return "", err
	}
	for range 2 {
		l.Sleep(controller.ClaimEvery + time.Millisecond)
		if err := l.Settle(); err != nil {
			return "", err
		}
	}
	says, err := l.settle(l.World().Revision())
	claim, ok := l.World().Claim(e.NetworkOf(), a.Address)
	mine := ok && claim.Endpoint == e.ID && claim.UID == e.UID
	switch {
	case err != nil:
		return "", err
	case counts && !mine:
		return "", fmt.Errorf("%s announced %s, and it is still another's", a.Endpoint, a.Address)
	case !counts && !mine:
		return "nobody listens: it is not for it to have", nil
	case !counts:
		return "it has it already", nil
	}
	return "it is its own from now on; " + says, nil
}
