package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"dove.network/api"
	"dove.network/dove"
	"dove.network/scenario"
)

// twin is the device of a guest that it has beside the one that it sends from,
// while its endpoint moves: on another host, with the same addresses.
type twin struct {
	host  string
	nic   string // the guest's end
	relay *relay // where the guest has taps
}

// Twin gives a guest another device, on another host. It receives on both and
// sends from the one that it had.
func (l *Lab) Twin(g *Guest, host string) error {
	h, ok := l.Host(host)
	if !ok || g.twin != nil || host == g.Host {
		return fmt.Errorf("another device of %s on host %q: there is no such host, or it has one there", g.Name(), host)
	}
	t := &twin{host: host, nic: "eth1"}
	if g.nic == t.nic {
		t.nic = "eth0"
	}
	var err error
	if t.relay, err = join(g.ns, t.nic, g.MAC.String(), h.ns, g.Device, g.MTU, g.Tap); err != nil {
		return err
	}
	g.twin = t
	lines := []string{"link set " + t.nic + " up"}
	for _, a := range g.Addrs { // without routes: it sends from the other one
		line := fmt.Sprintf("addr add %s/%d dev %s noprefixroute", a, g.bits(a), t.nic)
		if a.Is6() {
			line += " nodad"
		}
		lines = append(lines, line)
	}
	return g.ns.IP(lines...)
}

// GoOn has a guest send from its other device. Each route changes at once, and
// its connections do not notice.
func (l *Lab) GoOn(g *Guest) error {
	t := g.twin
	var lines []string
	for _, a := range g.Addrs {
		to, err := a.Prefix(g.bits(a))
		if err != nil {
			return err
		}
		everywhere := "0.0.0.0/0"
		metric := ""
		if a.Is6() {
			everywhere, metric = "::/0", " metric 256" // that of the route which the kernel made with the address
		}
		lines = append(lines, fmt.Sprintf("route replace %s dev %s src %s%s", to, t.nic, a, metric), fmt.Sprintf("route replace %s dev %s", everywhere, t.nic))
	}
	if err := g.ns.IP(lines...); err != nil {
		return err
	}
	g.twin = &twin{host: g.Host, nic: g.nic, relay: g.relay}
	g.Host, g.nic, g.relay = t.host, t.nic, t.relay
	return l.follow(g)
}

// Untwin takes the device away that a guest does not send from.
func (l *Lab) Untwin(g *Guest) error {
	t := g.twin
	if t == nil {
		return nil
	}
	g.twin = nil
	if t.relay != nil {
		return t.relay.close()
	}
	h, ok := l.Host(t.host)
	if !ok {
		return fmt.Errorf("%s has a device on %q, which is no host", g.Name(), t.host)
	}
	return h.ns.IP("link del " + g.Device)
}

// bits is how long the prefix of the link is that an address is on.
func (g *Guest) bits(a netip.Addr) int {
	for _, s := range g.Subnets {
		if s.Contains(a) {
			return s.Bits()
		}
	}
	return a.BitLen()
}

// prepare makes the first step of a move and waits until it is complete.
func (st *Stage) prepare(ctx context.Context, a scenario.Prepare) (string, error) {
	rev, err := st.change(ctx, a)
	if err != nil {
		return "", err
	}
	g := st.guest(a.Endpoint)
	if err := st.Lab.Twin(g, string(a.Host)); err != nil {
		return "", err
	}
	return st.moved(ctx, rev, a.Endpoint, "prepared")
}

// activate makes the second one; the guest goes on at its other device as soon
// as it may.
func (st *Stage) activate(ctx context.Context, a scenario.Activate) (string, error) {
	rev, err := st.change(ctx, a)
	if err != nil {
		return "", err
	}
	says, err := st.moved(ctx, rev, a.Endpoint, "confirmed")
	if err != nil {
		return "", err
	}
	if err := st.Lab.GoOn(st.guest(a.Endpoint)); err != nil {
		return "", err
	}
	_, err = st.Lab.settled(ctx, a.Endpoint)
	return says, err
}

// finish makes the last one.
func (st *Stage) finish(ctx context.Context, a scenario.Finish) (string, error) {
	rev, err := st.change(ctx, a)
	if err != nil {
		return "", err
	}
	says, err := st.settle(ctx, rev)
	return says, errors.Join(err, st.Lab.Untwin(st.guest(a.Endpoint)))
}

// moved waits until a move is at a step.
func (st *Stage) moved(ctx context.Context, rev dove.Revision, name dove.Endpoint, step string) (string, error) {
	e, err := st.Lab.waitEndpoint(ctx, name, func(e api.Endpoint) bool { return e.Move != nil && e.Move.Step == step })
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("revision %d: %s on %s, standby on %s, %d flows taken over", rev, step, e.Host, e.Standby, e.Move.Flows), nil
}

// settled waits until the next step of a move loses nothing.
func (l *Lab) settled(ctx context.Context, name dove.Endpoint) (api.Endpoint, error) {
	return l.waitEndpoint(ctx, name, func(e api.Endpoint) bool { return e.Move != nil && len(e.Move.Waits) == 0 })
}

func (l *Lab) waitEndpoint(ctx context.Context, name dove.Endpoint, should func(api.Endpoint) bool) (api.Endpoint, error) {
	limited, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	e, err := l.api.WaitEndpoint(limited, name, should)
	if err == nil && !should(e) {
		err = fmt.Errorf("the move of %s is %+v", name, e.Move)
	}
	return e, err
}
