package vif

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"

	"dove.network/dataplane"
	"dove.network/dove"
)

// Prepare readies a device to be a port: the host's stack neither asks nor
// answers on it, and it is up. A veth whose other end is in this namespace is
// refused, because its guest would be the host itself.
func Prepare(d Device) error {
	link, err := netlink.LinkByIndex(d.Ifindex)
	if err != nil {
		return fmt.Errorf("device %s: %w", d.Name, err)
	}
	if link.Attrs().Name != d.Name {
		return fmt.Errorf("device %s is called %s now", d.Name, link.Attrs().Name)
	}
	if d.Kind == dataplane.Veth && link.Attrs().NetNsID < 0 {
		return fmt.Errorf("device %s: its other end is in the host's own namespace; move it into the guest's (ip link set PEER netns GUEST)", d.Name)
	}
	path := "/proc/sys/net/ipv6/conf/" + d.Name + "/disable_ipv6"
	if err := os.WriteFile(path, []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("device %s: turn IPv6 of the host off: %w", d.Name, err)
	}
	if err := netlink.LinkSetARPOff(link); err != nil {
		return fmt.Errorf("device %s: turn ARP of the host off: %w", d.Name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("device %s: set up: %w", d.Name, err)
	}
	return nil
}

// UnderlayDevice is the device that carries an underlay address.
type UnderlayDevice struct {
	Name    string
	Ifindex int
	MTU     int // bytes
}

// Underlay finds the device that has an address. Its error is of kind
// dove.NotFound if none has.
func Underlay(addr netip.Addr) (UnderlayDevice, error) {
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return UnderlayDevice{}, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		if ip, ok := netip.AddrFromSlice(a.IP); !ok || ip.Unmap() != addr {
			continue
		}
		link, err := netlink.LinkByIndex(a.LinkIndex)
		if err != nil {
			return UnderlayDevice{}, fmt.Errorf("device of address %s: %w", addr, err)
		}
		return UnderlayDevice{link.Attrs().Name, a.LinkIndex, link.Attrs().MTU}, nil
	}
	return UnderlayDevice{}, dove.Errorf(dove.NotFound, "no device here has the underlay address %s: give it to one (ip addr add) or correct --underlay", addr)
}
