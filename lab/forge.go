package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"dove.network/dove"
	"dove.network/packet"
	"dove.network/scenario"
	"golang.org/x/sys/unix"
)

// forge sends one packet with a lie in it and waits until the drop is counted
// under its reason; the intended guest must not have been reached.
func (st *Stage) forge(ctx context.Context, a scenario.Forge) error {
	from, to := st.guest(a.From), st.guest(a.To)
	src, dst := from.Addr(false), to.Addr(false)
	v6 := !src.IsValid() || !dst.IsValid()
	if v6 {
		src, dst = from.Addr(true), to.Addr(true)
	}
	if a.Probe.Protocol != dove.ProtocolTCP && a.Probe.Protocol != dove.ProtocolUDP {
		return fmt.Errorf("forge %s: %w", a.Probe, scenario.ErrCannot)
	}
	ends := packet.Ends{SrcMAC: from.MAC, DstMAC: to.MAC, Src: src, Dst: dst}
	fromHost, _ := st.Lab.Host(from.Host)
	toHost, _ := st.Lab.Host(to.Host)
	class, err := classOf(ctx, fromHost, from, src)
	if err != nil {
		return err
	}
	outer := packet.Outer{Src: fromHost.VTEP, Dst: toHost.VTEP, VNI: to.VNI, Class: class}
	sender, at := fromHost.ns, toHost // who tells the lie, and who must notice
	switch a.Lie {
	case scenario.SpoofedMAC:
		ends.SrcMAC[5] ^= 0x55
		sender, at = from.ns, fromHost
	case scenario.SpoofedAddress:
		ends.Src = src.Next()
		sender, at = from.ns, fromHost
	case scenario.WrongClass:
		if outer.Class, err = classOf(ctx, toHost, to, dst); err != nil {
			return err
		}
		if outer.Class == class {
			return fmt.Errorf("%s and %s are of one class: %w", a.From, a.To, scenario.ErrCannot)
		}
	case scenario.WrongNetwork:
		outer.VNI ^= 0x800000
	case scenario.UnknownVTEP:
		outer.Src, sender = st.Lab.opt.addr(dpcNumber), st.Lab.members[0].ns
	case scenario.WrongVTEP:
		for _, h := range st.Lab.hosts {
			if h != fromHost && h != toHost {
				outer.Src, sender = h.VTEP, h.ns
			}
		}
		if sender == fromHost.ns {
			return fmt.Errorf("%s needs a third host: %w", a.Lie, scenario.ErrCannot)
		}
	}
	before, err := counted(ctx, at, a.Reason)
	if err != nil {
		return err
	}
	reached := to.reached()
	frame := packet.TCP(ends, 40000, a.Probe.Port, packet.SYN, nil)
	if a.Probe.Protocol == dove.ProtocolUDP {
		frame = packet.UDP(ends, 40000, a.Probe.Port, []byte("forged 0"))
	}
	device := from.nic
	if sender != from.ns {
		device = "u0"
		frame = outer.Encap(frame)
	}
	if err := sender.Do(func() error { return sendFrame(device, frame, at.ns, sender != from.ns) }); err != nil {
		return err
	}
	err = eventually(ctx, answerTimeout, func() error {
		now, err := counted(ctx, at, a.Reason)
		return errors.Join(err, unless(now > before, "%s counted no drop as %s", at.Name, a.Reason))
	})
	return errors.Join(err, unless(to.reached() == reached, "the forged packet reached %s", to.Name()))
}

// reached counts the packets that servers of the guest answered.
func (g *Guest) reached() int {
	n := 0
	for _, k := range g.Askers() {
		n += k
	}
	return n
}

// counted returns how many packets a host has dropped for a reason.
func counted(ctx context.Context, h *Host, reason string) (uint64, error) {
	counts, err := h.sock.Counts(ctx)
	var n uint64
	for _, c := range counts {
		if c.Reason == reason {
			n += c.Packets
		}
	}
	return n, err
}

// classOf asks a guest's dswitch for the class of one of its addresses.
func classOf(ctx context.Context, h *Host, g *Guest, a netip.Addr) (dove.Class, error) {
	s, err := h.sock.Status(ctx)
	if err != nil {
		return 0, err
	}
	for _, p := range s.Ports {
		if p.Endpoint != g.Name() {
			continue
		}
		for _, b := range p.Addresses {
			if b.Addr == a {
				return b.Class, nil
			}
		}
	}
	return 0, fmt.Errorf("%s has no class for %s of %s", h.Name, a, g.Name())
}

// sendFrame sends a whole Ethernet frame from a device of this namespace. A
// frame for the underlay gets the MAC addresses of its two ends first.
func sendFrame(device string, frame []byte, to *Namespace, underlay bool) error {
	own, err := linkByName(device)
	if err != nil {
		return err
	}
	if underlay {
		var peer link
		err := to.Do(func() (err error) {
			peer, err = linkByName("u0")
			return err
		})
		if err != nil {
			return err
		}
		copy(frame[0:6], peer.mac)
		copy(frame[6:12], own.mac)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: own.index, Halen: 6})
}
