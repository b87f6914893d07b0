package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"dove.network/api"
	"dove.network/dove"
)

// Foreign is a machine without dSwitch: a bridge for each network, with the
// kernel's own VXLAN device, which floods to all hosts what it has not learned.
type Foreign struct {
	Name string
	VTEP netip.Addr

	ns       *Namespace
	networks map[dove.VNI]bool // that it has a bridge of
}

// AddForeign makes a machine without dSwitch and declares it. It knows the hosts
// that were added before.
func (l *Lab) AddForeign(ctx context.Context, name string) error {
	f := &Foreign{Name: name, VTEP: l.opt.addr(byte(foreignNumber + len(l.foreign))), networks: map[dove.VNI]bool{}}
	var err error
	if f.ns, err = l.namespace(name); err != nil {
		return err
	}
	l.foreign = append(l.foreign, f)
	if err := l.connect(f.ns, name, f.VTEP); err != nil {
		return err
	}
	_, err = l.api.PutHost(ctx, dove.HostName(name), api.HostSpec{VTEP: f.VTEP, Foreign: true, Plain: true}, nil)
	return err
}

// attach puts a guest's device on the bridge of its network.
func (l *Lab) attach(g *Guest, f *Foreign) error {
	bridge, tunnel := fmt.Sprintf("br%d", g.VNI), fmt.Sprintf("vx%d", g.VNI)
	if !f.networks[g.VNI] {
		checksum := ""
		if f.VTEP.Is6() {
			checksum = " udp6zerocsumrx" // RFC 6935, as dSwitches send
		}
		errs := []error{f.ns.IP("link add "+bridge+" type bridge",
			fmt.Sprintf("link add %s mtu %d type vxlan id %d local %s dstport 4789%s", tunnel, g.MTU, g.VNI, f.VTEP, checksum),
			fmt.Sprintf("link set %s master %s up", tunnel, bridge), "link set "+bridge+" up")}
		for _, h := range l.hosts {
			errs = append(errs, run("bridge", "-n", f.ns.Name, "fdb", "append", "00:00:00:00:00:00", "dev", tunnel, "dst", h.VTEP.String()))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		f.networks[g.VNI] = true
	}
	return f.ns.IP(fmt.Sprintf("link set %s master %s up", g.Device, bridge))
}

// machine returns the namespace of a host, foreign or not, and what it is if it
// is foreign.
func (l *Lab) machine(name string) (*Namespace, *Foreign, error) {
	if h, ok := l.Host(name); ok {
		return h.ns, nil, nil
	}
	for _, f := range l.foreign {
		if f.Name == name {
			return f.ns, f, nil
		}
	}
	return nil, nil, fmt.Errorf("there is no host %q in the lab", name)
}
