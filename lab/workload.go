package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
)

// API is where the lab's DPC is told what to do.
func (l *Lab) API() *client.Client { return l.api }

// AddGuest makes an endpoint as the spec says and its workload on the spec's host,
// which listens on the ports. It returns once the endpoint's port is open, with
// the revision whose receipt says that all hosts know of it.
func (l *Lab) AddGuest(ctx context.Context, name dove.Endpoint, spec api.EndpointSpec, ports Ports) (*Guest, dove.Revision, error) {
	g := &Guest{Endpoint: name, Host: string(spec.Host), Device: l.NextDevice()}
	spec.Device = g.Device
	e, err := l.api.PutEndpoint(ctx, name, spec, nil)
	if err != nil {
		return nil, 0, err
	}
	if err := l.fill(ctx, g, e); err != nil {
		return nil, 0, err
	}
	if err := l.Plug(g); err != nil {
		return nil, 0, err
	}
	return g, e.Revision, errors.Join(g.Serve(ports), l.waitPort(ctx, g, true))
}

// fill gives a guest what the DPC decided about its endpoint.
func (l *Lab) fill(ctx context.Context, g *Guest, e api.Endpoint) (err error) {
	g.Network = e.Network
	if g.MAC, err = dove.ParseMAC(e.MAC); err != nil {
		return err
	}
	for _, s := range e.Addresses {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return err
		}
		g.Addrs = append(g.Addrs, a)
	}
	n, err := l.api.Network(ctx, dove.Network{Tenant: e.Tenant, Name: e.Network})
	if err != nil {
		return err
	}
	g.MTU, g.VNI = int(n.MTU), n.VNI
	for _, s := range n.Subnets {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return err
		}
		g.Subnets = append(g.Subnets, p)
	}
	return nil
}

// RemoveGuest deletes an endpoint and takes its workload away.
func (l *Lab) RemoveGuest(ctx context.Context, g *Guest) (dove.Revision, error) {
	rev, err := l.api.DeleteEndpoint(ctx, g.Endpoint, nil)
	return rev, errors.Join(err, l.Unplug(g))
}

// AddFlatGuest makes a workload whose device is on the underlay's bridge itself:
// no switch and no policy is between it and others. It shows what a check is
// worth.
func (l *Lab) AddFlatGuest(name dove.Endpoint, addrs []netip.Addr, ports Ports) (g *Guest, err error) {
	g = &Guest{Endpoint: name, Device: l.NextDevice(), MTU: l.opt.MTU, Addrs: addrs, nic: "eth0"}
	for _, a := range addrs {
		g.Subnets = append(g.Subnets, netip.PrefixFrom(a, a.BitLen()))
	}
	g.MAC = dove.MAC{2, 0, 0, 0, byte(l.ports >> 8), byte(l.ports)}
	if err := l.house(g); err != nil {
		return nil, err
	}
	if _, err := join(g.ns, g.nic, g.MAC.String(), l.fabric, g.Device, g.MTU, false); err != nil {
		return nil, err
	}
	if err := l.fabric.IP(fmt.Sprintf("link set %s master fab0 up", g.Device)); err != nil {
		return nil, err
	}
	if err := g.address(); err != nil {
		return nil, err
	}
	l.guests = append(l.guests, g)
	return g, g.Serve(ports)
}
