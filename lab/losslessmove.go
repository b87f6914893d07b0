package lab

import (
	"context"
	"fmt"
	"net/netip"

	"dove.network/dove"
	"dove.network/scenario"
)

// neighbourShare is by how much less a neighbour is talked to than the guest on
// the right.
const neighbourShare = 10

// hosts are those of the lab.
func (x *Lossless) hosts() []dove.HostName {
	if x.Moves > 0 {
		return losslessHosts
	}
	return losslessHosts[:2]
}

// losslessLent is what the guest on the left is allowed beside its own addresses.
var losslessLent = netip.MustParseAddr("10.0.1.200")

// neighbours adds, if the guest on the left moves, one more guest on each of the
// other hosts than the second, and its flows with them: wherever it is, it talks
// with a guest of its own host and with guests of both others, and with that on the right from an address that it is allowed, too. None of them may
// begin anything with it: what they send back passes because it began.
func (x *Lossless) neighbours(ctx context.Context, st *Stage) error {
	if x.Moves == 0 {
		return nil
	}
	left := st.guest(losslessLeft)
	lent, err := numberedFrom(ctx, left, st.guest(losslessRight), losslessLent, numberedPort+20, max(1, x.Rate/neighbourShare))
	if err != nil {
		return err
	}
	for _, f := range lent {
		f.name += " allowed"
		x.flows = append(x.flows, f)
	}
	for i, at := range []dove.HostName{"h1", "h3"} {
		name := dove.Endpoint{Tenant: losslessTenant, ID: dove.EndpointID("at-" + at)}
		if _, err := st.Do(ctx, scenario.CreateEndpoint{Endpoint: name, Host: at, Groups: x.groups(losslessRight)}); err != nil {
			return err
		}
		flows, err := numbered(ctx, left, st.guest(name), numberedPort+10+uint16(i), false, max(1, x.Rate/neighbourShare))
		if err != nil {
			return err
		}
		stream, err := checked(ctx, left, st.guest(name), checkedPort+10+uint16(i), i == 1, i == 0)
		if err != nil {
			return err
		}
		for _, f := range append(flows, stream) {
			f.name += " " + string(at)
			x.flows = append(x.flows, f)
		}
	}
	return nil
}

// ports are those that the guest on the left may talk to.
func (x *Lossless) ports() string {
	return fmt.Sprintf("udp/%d, tcp/%d, udp/%d-%d, tcp/%d-%d, udp/%d, udp/%d", numberedPort, checkedPort,
		numberedPort+10, numberedPort+11, checkedPort+10, checkedPort+11, newcomerPort, numberedPort+20)
}

// move takes the guest on the left to the next host, and every fourth time back
// before the move is finished.
func (x *Lossless) move(ctx context.Context, st *Stage, i int) (string, error) {
	g := st.guest(losslessLeft)
	from := g.Host
	to := losslessHosts[0]
	for j, h := range losslessHosts {
		if string(h) == from {
			to = losslessHosts[(j+1)%len(losslessHosts)]
		}
	}
	steps := []scenario.Action{scenario.Prepare{Endpoint: losslessLeft, Host: to}, scenario.Activate{Endpoint: losslessLeft}}
	name := fmt.Sprintf("move %d, from %s to %s", i+1, from, to)
	if i%4 == 3 {
		steps = append(steps, scenario.Activate{Endpoint: losslessLeft}, scenario.Activate{Endpoint: losslessLeft})
		name += ", back and there again"
	}
	for _, a := range append(steps, scenario.Finish{Endpoint: losslessLeft}) {
		if _, err := st.Do(ctx, a); err != nil {
			return name, fmt.Errorf("%s: %w", a, err)
		}
		if err := x.goesOn(ctx); err != nil {
			return name, fmt.Errorf("after %s: %w", a, err)
		}
	}
	return name, nil
}
