package ebpf

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"dove.network/dataplane"
)

// port is an open port and the programs on its device.
type port struct {
	dataplane.Port
	links   []link.Link
	permits map[netip.Prefix]*permit
}

// key is what the programs know a guest's port by.
func (p *port) key() dswitchPortKey {
	return dswitchPortKey{Ifindex: uint32(p.Ifindex), Vlan: p.VLAN}
}

// alone reports whether no other port has the port's device.
func (s *Switch) alone(p *port) bool {
	for _, o := range s.ports {
		if o != p && o.Ifindex == p.Ifindex {
			return false
		}
	}
	return true
}

// dest is what the port's address is in the kernel.
func (p *port) dest(a netip.Addr, n dataplane.Network) dswitchDest {
	d := dswitchDest{
		Vni:     uint32(n.VNI),
		Addr:    addrWords(a),
		Kind:    uint8(dswitchDestKindDEST_VETH),
		Uid:     uint64(p.UID),
		Ifindex: uint32(p.Ifindex),
		Port:    uint32(p.ID),
		Mac:     p.MAC,
		Mtu:     n.MTU,
	}
	if p.Kind == dataplane.Tap {
		d.Kind, d.Flags = uint8(dswitchDestKindDEST_TAP), destOnTap
	}
	if p.VLAN != 0 {
		d.Kind, d.Vlan = uint8(dswitchDestKindDEST_TAGGED), p.VLAN
	}
	if p.Standby {
		d.Kind = uint8(dswitchDestKindDEST_STANDBY)
	}
	for _, own := range p.Addresses {
		if own.Addr == a {
			d.Class = uint16(own.Class)
		}
	}
	return d
}

func (s *Switch) checkPort(p dataplane.Port) error {
	if err := s.config.CheckPort(p); err != nil {
		return err
	}
	switch {
	case p.Kind != dataplane.Veth && p.Kind != dataplane.Tap:
		return fmt.Errorf("port %d: device %s must be a veth or a tap", p.ID, p.Device)
	case p.Ifindex <= 0:
		return fmt.Errorf("port %d: device %s needs its interface index", p.ID, p.Device)
	}
	if _, ok := s.networks[p.VNI]; !ok {
		return fmt.Errorf("port %d is on network %d, which this switch does not have: set the network first", p.ID, p.VNI)
	}
	for _, a := range p.Addresses {
		key := dataplane.PeerKey{VNI: p.VNI, Addr: a.Addr}
		if id, ok := s.owners[key]; ok && id != p.ID {
			return fmt.Errorf("port %d: port %d has address %v already: delete it first", p.ID, id, a.Addr)
		}
	}
	for id, o := range s.ports {
		if id != p.ID && o.Ifindex == p.Ifindex && o.VLAN == p.VLAN {
			return p.Taken(id)
		}
	}
	return nil
}

func (s *Switch) setPort(want dataplane.Port) error {
	if s.testing && want.Ifindex == 0 {
		want.Ifindex = testIfindex(want.ID)
	}
	if err := s.checkPort(want); err != nil {
		return err
	}
	want.Addresses, want.Allowed = slices.Clone(want.Addresses), slices.Clone(want.Allowed)
	held := s.ports[want.ID]
	if held != nil && (held.VNI != want.VNI || held.Ifindex != want.Ifindex || held.VLAN != want.VLAN) {
		if err := s.delPort(want.ID); err != nil {
			return err
		}
		held = nil
	}
	if held == nil {
		held = &port{}
		s.ports[want.ID] = held
	}
	was := held.Port
	gone := was.Addresses
	held.Port = want
	for _, a := range gone {
		delete(s.owners, dataplane.PeerKey{VNI: want.VNI, Addr: a.Addr})
	}
	for _, a := range want.Addresses {
		s.owners[dataplane.PeerKey{VNI: want.VNI, Addr: a.Addr}] = want.ID
	}
	if err := s.writePort(held); err != nil {
		return err
	}
	for _, a := range slices.Concat(gone, want.Addresses) {
		if err := s.putAll(dataplane.PeerKey{VNI: want.VNI, Addr: a.Addr}); err != nil {
			return err
		}
	}
	if err := s.putPermits(held, was); err != nil {
		return err
	}
	if held.links == nil && !s.testing {
		if err := s.attachPort(held); err != nil {
			return fmt.Errorf("port %d: %w", want.ID, err)
		}
	}
	return nil
}

// writePort fills in what the programs know of a port beside its addresses.
func (s *Switch) writePort(p *port) error {
	id := uint32(p.ID)
	var state dswitchPortState
	if err := s.maps.PortStates.Lookup(id, &state); err != nil {
		return fmt.Errorf("port %d: map port_states: %w", p.ID, err)
	}
	n := s.networks[p.VNI]
	if err := s.maps.DomainStates.Update(n.Domain, dswitchDomainState{}, ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("port %d: map domain_states: %w", p.ID, err)
	}
	if state.Ifindex != uint32(p.Ifindex) || state.Vlan != uint32(p.VLAN) || state.Budget != s.options.FlowsPerPort || state.Vni != uint32(p.VNI) || state.Domain != n.Domain {
		if state.Vni != uint32(p.VNI) {
			state.Life++
		}
		state.Ifindex, state.Budget, state.Vni = uint32(p.Ifindex), s.options.FlowsPerPort, uint32(p.VNI)
		state.Domain, state.Vlan = n.Domain, uint32(p.VLAN)
		if err := update(s.maps.PortStates, id, state); err != nil {
			return fmt.Errorf("port %d: map port_states: %w", p.ID, err)
		}
	}
	v := dswitchPort{Id: id, Vni: uint32(p.VNI), Domain: n.Domain, Mtu: n.MTU, Kind: uint8(p.Kind), Life: uint8(state.Life), Mac: p.MAC, Flags: portFlags(p.Port)}
	if err := update(s.maps.Ports, p.key(), v); err != nil {
		return fmt.Errorf("port %d: map ports: %w", p.ID, err)
	}
	return nil
}

// PORT_ALLOWED and PORT_OPEN.
const (
	portAllowed = 1 << iota
	portOpen
)

func portFlags(p dataplane.Port) (flags uint8) {
	if len(p.Allowed) > 0 || p.Open {
		flags = portAllowed
	}
	if p.Open {
		flags |= portOpen
	}
	return flags
}

// delPort closes a port. Its device is taken down before the programs leave it:
// the host's stack must not see a guest's frame. A device that others have stays.
func (s *Switch) delPort(id dataplane.PortID) error {
	p := s.ports[id]
	if p == nil {
		return nil
	}
	var errs []error
	if !s.testing {
		errs = append(errs, s.detachPort(p))
	}
	errs = append(errs, remove(s.maps.Ports, p.key()))
	_, err := s.collect(&p.Port)
	errs = append(errs, err)
	delete(s.ports, id)
	s.changed = true
	s.closed++
	for _, a := range p.Addresses {
		key := dataplane.PeerKey{VNI: p.VNI, Addr: a.Addr}
		delete(s.owners, key)
		errs = append(errs, s.putAll(key)) // a peer may have it too
	}
	was := p.Port
	p.Open, p.Allowed = false, nil
	errs = append(errs, s.putPermits(p, was))
	var state dswitchPortState
	if err := s.maps.PortStates.Lookup(uint32(id), &state); err != nil {
		return errors.Join(append(errs, fmt.Errorf("port %d: map port_states: %w", id, err))...)
	}
	state.Ifindex = 0
	return errors.Join(append(errs, update(s.maps.PortStates, uint32(id), state))...)
}

// Links are pinned under these names, with the interface index after a dash.
const (
	pinGuestIn  = "guest_in"
	pinGuestOut = "guest_out"
)

// attachPort puts the programs on a port's device and brings it up. The host's
// own stack stays quiet on it.
func (s *Switch) attachPort(p *port) error {
	l, err := netlink.LinkByIndex(p.Ifindex)
	if err != nil {
		return fmt.Errorf("device %s with index %d: %w", p.Device, p.Ifindex, err)
	}
	if err := silence(l.Attrs().Name); err != nil {
		return err
	}
	in, err := s.attach(pinGuestIn, p.Ifindex, s.programs.GuestIn, ebpf.AttachTCXIngress)
	if err != nil {
		return err
	}
	out, err := s.attach(pinGuestOut, p.Ifindex, s.programs.GuestOut, ebpf.AttachTCXEgress)
	if err != nil {
		return errors.Join(err, in.Unpin(), in.Close())
	}
	for _, l := range p.links {
		l.Close() // as it was pinned before
	}
	p.links = []link.Link{in, out}
	s.giveRoom(l)
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("bring device %s up: %w", l.Attrs().Name, err)
	}
	return nil
}

func (s *Switch) detachPort(p *port) error {
	alone := s.alone(p)
	if l, err := netlink.LinkByIndex(p.Ifindex); err == nil && alone {
		if err := netlink.LinkSetDown(l); err != nil && !errors.Is(err, unix.ENODEV) { // it went away just now
			return fmt.Errorf("take device %s down: %w", l.Attrs().Name, err)
		}
		if err := s.takeRoom(l); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("take device %s out of %s: %w", l.Attrs().Name, s.options.RoomName, err)
		}
	}
	var errs []error
	for _, l := range p.links {
		if alone {
			errs = append(errs, l.Unpin())
		}
		errs = append(errs, l.Close())
	}
	p.links = nil
	return errors.Join(errs...)
}

// silence keeps the host's IPv6 from speaking on a device by itself.
func silence(name string) error {
	err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", name, "disable_ipv6"), []byte("1"), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6 is silent
		return fmt.Errorf("disable IPv6 on %s: %w", name, err)
	}
	return nil
}

func (s *Switch) linkPath(name string, ifindex int) string {
	return filepath.Join(s.linkDir, name+"-"+strconv.Itoa(ifindex))
}

// attach puts a program on a device, or in the place of the one that an earlier
// run put there, in one step and without a gap.
func (s *Switch) attach(name string, ifindex int, program *ebpf.Program, at ebpf.AttachType) (link.Link, error) {
	path := s.linkPath(name, ifindex)
	held, err := link.LoadPinnedLink(path, nil)
	if err == nil {
		if attachedTo(held) == ifindex {
			if err := held.Update(program); err != nil {
				return nil, errors.Join(fmt.Errorf("swap %s on interface %d: %w", name, ifindex, err), held.Close())
			}
			return held, nil
		}
		// The device is gone; another one may have its index by now.
		if err := errors.Join(held.Unpin(), held.Close()); err != nil {
			return nil, fmt.Errorf("remove stale %s: %w", path, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load link %s: %w", path, err)
	}
	if err := alone(name, ifindex, at); err != nil {
		return nil, err
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: program, Attach: at})
	if err != nil {
		return nil, fmt.Errorf("attach %s to interface %d: %w", name, ifindex, err)
	}
	if err := l.Pin(path); err != nil {
		return nil, errors.Join(fmt.Errorf("pin link %s: %w", path, err), l.Close())
	}
	return l, nil
}

// alone refuses a device that has a program of that name which is not pinned
// here: two switches on one device would judge each packet twice, the second
// what the first had decapsulated or dropped.
func alone(name string, ifindex int, at ebpf.AttachType) error {
	attached, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: at})
	if err != nil {
		return fmt.Errorf("look for programs on interface %d: %w", ifindex, err)
	}
	for _, a := range attached.Programs {
		p, err := ebpf.NewProgramFromID(a.ID)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile
		}
		if err != nil {
			return fmt.Errorf("look at program %d on interface %d: %w", a.ID, ifindex, err)
		}
		info, err := p.Info()
		if err := errors.Join(err, p.Close()); err != nil {
			return fmt.Errorf("look at program %d on interface %d: %w", a.ID, ifindex, err)
		}
		if info.Name == name {
			return fmt.Errorf("interface %d has the %s of another dswitch already: stop that one and take its programs down with: dswitch remove --pins FOLDER, with the folder that it ran with", ifindex, name)
		}
	}
	return nil
}

// attachedTo returns the interface that a link is on, 0 if that is gone.
func attachedTo(l link.Link) int {
	info, err := l.Info()
	if err != nil || info.TCX() == nil {
		return 0
	}
	return int(info.TCX().Ifindex)
}

// dropLinks removes the pinned links whose device is gone.
func (s *Switch) dropLinks() error {
	entries, err := os.ReadDir(s.linkDir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(s.linkDir, e.Name())
		l, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			errs = append(errs, fmt.Errorf("load link %s: %w", path, err))
			continue
		}
		if attachedTo(l) == 0 {
			errs = append(errs, l.Unpin())
		}
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// kernelRelease reads the running kernel's major and minor version.
func kernelRelease() (major, minor int, err error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return 0, 0, fmt.Errorf("ask for the kernel's release: %w", err)
	}
	release := unix.ByteSliceToString(uts.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return 0, 0, fmt.Errorf("kernel release %q is not of the form major.minor: %w", release, err)
	}
	return major, minor, nil
}
