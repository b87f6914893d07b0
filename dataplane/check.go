package dataplane

import (
	"errors"
	"fmt"
	"net/netip"

	"dove.network/dove"
)

// Check says why nothing can be at an address of a network.
func (k PeerKey) Check() error {
	if !k.Addr.IsValid() || k.Addr.IsMulticast() || k.Addr.Is4In6() || k.Addr.Zone() != "" {
		return fmt.Errorf("address %v on network %d: a plain unicast address is needed", k.Addr, k.VNI)
	}
	return nil
}

// CheckPort says what a port on this host cannot be, whatever else is there.
func (c Config) CheckPort(p Port) error {
	errs := []error{p.CheckAllowed()}
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("port %d "+format, append([]any{p.ID}, args...)...))
	}
	if p.ID == 0 || p.ID > 65535 || !p.MAC.IsUnicast() {
		fail("with MAC %v: an id from 1 to 65535 and a unicast MAC are needed", p.MAC)
	}
	for _, a := range p.Addresses {
		if err := (PeerKey{VNI: p.VNI, Addr: a.Addr}).Check(); err != nil {
			fail("has %w", err)
		}
	}
	switch {
	case !p.Other.IsValid() && p.Standby:
		fail("is on standby: the VTEP of where it is active is needed")
	case p.Other.IsValid() && p.Other == c.VTEP:
		fail("has its other binding at VTEP %v: another host's is needed", p.Other)
	case p.Other.IsValid() && c.CheckVTEP(p.Other) != nil:
		fail("has its other binding at %w", c.CheckVTEP(p.Other))
	}
	if p.VLAN > dove.VLANMax {
		fail("has VLAN %d: 1 to %d are possible", p.VLAN, dove.VLANMax)
	}
	return errors.Join(errs...)
}

// Taken says that another port has the port's device and VLAN.
func (p Port) Taken(by PortID) error {
	if p.VLAN != 0 {
		return fmt.Errorf("port %d: port %d has VLAN %d of device %s already: delete it first", p.ID, by, p.VLAN, p.Device)
	}
	return fmt.Errorf("port %d: port %d has device %s already: delete it first", p.ID, by, p.Device)
}

// CheckPeer says what a peer cannot be, whatever its key and whatever else is there.
func (c Config) CheckPeer(k PeerKey, p Peer) error {
	errs := []error{p.CheckRoute(k)}
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("peer %v on network %d "+format, append([]any{k.Addr, k.VNI}, args...)...))
	}
	lives := map[dove.UID]bool{p.UID: true}
	for _, w := range p.Ways {
		if w.VTEP.IsValid() && c.CheckVTEP(w.VTEP) != nil {
			fail("has a way by %w", c.CheckVTEP(w.VTEP))
		}
		if lives[w.UID] {
			fail("has two ways to life %v of an endpoint: one is needed", w.UID)
		}
		lives[w.UID] = true
	}
	if !p.MAC.IsUnicast() {
		fail("has MAC %v: a unicast MAC is needed", p.MAC)
	}
	if !p.VTEP.IsValid() && p.Other.IsValid() {
		fail("is hidden, but its other binding at %v is not: give both VTEPs or none", p.Other)
	}
	for _, vtep := range []netip.Addr{p.VTEP, p.Other} {
		if vtep.IsValid() && c.CheckVTEP(vtep) != nil {
			fail("is behind %w", c.CheckVTEP(vtep))
		}
	}
	return errors.Join(errs...)
}
