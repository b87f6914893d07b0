package ebpf

import (
	"github.com/vishvananda/netlink"
)

// A guest's kernel leaves no room for outer headers in small packets, and so
// each is copied to make some. How much room a device asks its other end for,
// the kernel lets nobody set but the bridge that the device is a port of, and a
// bridge asks for as much as its hungriest port, here the vxlan device. So guest
// ports are made ports of a bridge that is never up: no frame gets to it, since
// guest_in and vx_in leave none to the host, and if one did, a bridge that is
// down forwards nothing. If somebody set it up and took the programs off, it still
// would not: each of its ports is isolated from all others (if_link.h,
// IFLA_BRPORT_ISOLATED).

// openRoom makes the bridge, with the vxlan device in it. Without one, for
// instance because the kernel has no bridges, packets are copied: it returns nil.
func openRoom(name string, vxlan netlink.Link) netlink.Link {
	l, err := netlink.LinkByName(name)
	if err != nil {
		if netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}) != nil {
			return nil
		}
		if l, err = netlink.LinkByName(name); err != nil {
			return nil
		}
	}
	if l.Type() != "bridge" || netlink.LinkSetDown(l) != nil || !enter(vxlan, l) {
		return nil
	}
	return l
}

// enter makes a device an isolated port of the bridge, or leaves it outside.
func enter(l, room netlink.Link) bool {
	if netlink.LinkSetMaster(l, room) != nil {
		return false
	}
	if netlink.LinkSetIsolated(l, true) != nil {
		_ = netlink.LinkSetNoMaster(l)
		return false
	}
	return true
}

// giveRoom has a guest's device leave room, if it is in no other bridge.
func (s *Switch) giveRoom(l netlink.Link) {
	if s.room != nil && l.Attrs().MasterIndex == 0 {
		enter(l, s.room) // else packets are copied
	}
}

// takeRoom takes a guest's device out of the bridge.
func (s *Switch) takeRoom(l netlink.Link) error {
	if s.room == nil || l.Attrs().MasterIndex != s.room.Attrs().Index {
		return nil
	}
	return netlink.LinkSetNoMaster(l)
}
