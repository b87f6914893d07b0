package lab

import (
	"context"
	"fmt"
	"slices"
	"time"

	"dove.network/api"
	"dove.network/packet"
	"dove.network/scenario"
)

// announced is how long whoever announces an address waits for the DPC to say that
// it is its own: a second from the last change, and what the change takes.
const announced = 5 * time.Second

// announce has a guest tell its network that an address is its own, again and
// again as those do who take over, until the DPC says so. What is not for it to
// have it announces once, and the DPC must not say so.
func (st *Stage) announce(ctx context.Context, a scenario.Announce) (string, error) {
	g := st.guest(a.Endpoint)
	frame := packet.Announcement(g.MAC, a.Address)
	for wait := time.Now().Add(announced); ; {
		if err := g.ns.Do(func() error { return sendFrame(g.nic, frame, g.ns, false) }); err != nil {
			return "", err
		}
		e, err := st.Lab.api.Endpoint(ctx, a.Endpoint)
		if err != nil {
			return "", err
		}
		mine := slices.Contains(e.Claimed, a.Address.String())
		theirs := !slices.ContainsFunc(e.Allowed, func(p api.AllowedPrefix) bool { return p.Prefix == a.Address.String() })
		switch {
		case mine && theirs:
			return "", fmt.Errorf("%s is %s's, which is not allowed it", a.Address, a.Endpoint)
		case theirs:
			return "nobody listens: it is not for it to have", nil
		case mine:
			status, err := st.Lab.api.Status(ctx)
			if err != nil {
				return "", err
			}
			return st.settle(ctx, status.Revision)
		case time.Now().After(wait):
			return "", fmt.Errorf("%s announced %s for %s, and it is still another's", a.Endpoint, a.Address, announced)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
