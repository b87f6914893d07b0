package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dove.network/dove"
	"dove.network/scenario"
)

const (
	newcomerPort = 9030 // of first packets
	newcomers    = 8    // of them at a restart, as fast as the sender can
)

// newcomer is a guest that nobody has heard of, on another host than the one that
// is restarted: what is sent between it and a guest there are first packets, for which
// that host must ask.
type newcomer struct {
	name dove.Endpoint
	conn [2]*net.UDPConn // the sender's and the receiver's
	sent int64
}

// invite makes one.
func (x *Lossless) invite(ctx context.Context, st *Stage, i int, h *Host) (*newcomer, error) {
	at := slices.IndexFunc(x.lab.guests, func(g *Guest) bool { return g.Host == h.Name })
	other := slices.IndexFunc(x.lab.hosts, func(o *Host) bool { return o != h })
	if at < 0 {
		return nil, fmt.Errorf("no guest is on %s", h.Name)
	}
	resident := x.lab.guests[at]
	n := &newcomer{name: dove.Endpoint{Tenant: losslessTenant, ID: dove.EndpointID(fmt.Sprintf("new-%d", i+1))}}
	peer := losslessRight // what it is like
	if resident.Endpoint != losslessLeft {
		peer = losslessLeft
	}
	_, err := st.Do(ctx, scenario.CreateEndpoint{Endpoint: n.name, Host: dove.HostName(x.lab.hosts[other].Name),
		Groups: []dove.Group{{Tenant: losslessTenant, Blueprint: "shop", Name: string(peer.ID)}}})
	if err != nil {
		return nil, err
	}
	from, to := resident, st.guest(n.name)
	if peer == losslessLeft {
		from, to = to, from
	}
	// Its first packet is the datagram and not a question for its neighbour.
	if err := from.ns.IP(fmt.Sprintf("neigh replace %s lladdr %s dev %s", to.Addr(false), to.MAC, from.nic)); err != nil {
		return nil, err
	}
	a, b := netip.AddrPortFrom(from.Addr(false), newcomerPort), netip.AddrPortFrom(to.Addr(false), newcomerPort)
	left, err := from.peer(a, b)
	if err != nil {
		return nil, err
	}
	right, err := to.peer(b, a)
	if err != nil {
		return nil, errors.Join(err, left.Close())
	}
	n.conn[0], n.conn[1] = left, right
	return n, nil
}

// send sends the next first packets.
func (n *newcomer) send(count int) error {
	message := make([]byte, datagramSize)
	for range count {
		binary.BigEndian.PutUint64(message, uint64(n.sent))
		if _, err := n.conn[0].Write(message); err != nil {
			return err
		}
		n.sent++
	}
	return nil
}

// leave waits until all has come that was sent, and sends the newcomer away.
func (x *Lossless) leave(ctx context.Context, st *Stage, n *newcomer) error {
	if err := n.conn[1].SetReadDeadline(time.Now().Add(passesWithin)); err != nil {
		return err
	}
	var came []int64
	for message := make([]byte, datagramSize); len(came) < int(n.sent); {
		size, err := n.conn[1].Read(message)
		if err != nil {
			break // too late
		}
		if size == datagramSize {
			came = append(came, int64(binary.BigEndian.Uint64(message)))
		}
	}
	var want []int64
	for i := range n.sent {
		want = append(want, i)
	}
	if !slices.Equal(came, want) {
		x.fault("of %d first packets of %s came, in this order: %s", n.sent, n.name, strings.Trim(fmt.Sprint(came), "[]"))
	}
	x.firsts += int(n.sent)
	x.firstsLost += int(n.sent) - len(came)
	_, err := st.Do(ctx, scenario.DeleteEndpoint{Endpoint: n.name})
	return errors.Join(n.conn[0].Close(), n.conn[1].Close(), err)
}
