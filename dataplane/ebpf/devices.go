package ebpf

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	overlayPort = 4789  // RFC 7348
	upMTU       = 65500 // missed packets of any network and size
	vnetSize    = 10    // struct virtio_net_hdr before each frame of the tap
)

// upOf returns the agent's tap by a descriptor that an earlier run had of it, in
// whose queue is what has missed since; nil if it is not of that tap, or not in this
// network namespace.
func upOf(kept *os.File, name string) (*os.File, netlink.Link, error) {
	if kept == nil {
		return nil, nil, nil
	}
	raw, err := kept.SyscallConn()
	if err != nil {
		return nil, nil, fmt.Errorf("descriptor of tap %s: %w", name, err)
	}
	ours := false
	err = raw.Control(func(fd uintptr) {
		request, err := unix.NewIfreq(name)
		if err != nil || unix.IoctlIfreq(int(fd), unix.TUNGETIFF, request) != nil || request.Name() != name {
			return // of another device, or its device is gone
		}
		ours = request.Uint16()&(unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_VNET_HDR) == upFlags && inThisNamespace(int(fd))
	})
	if err != nil || !ours {
		return nil, nil, errors.Join(err, kept.Close())
	}
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = errors.Join(netlink.LinkSetMTU(l, upMTU), netlink.LinkSetUp(l))
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("tap %s: %w", name, err), kept.Close())
	}
	return kept, l, nil
}

// inThisNamespace reports whether the device of a tap's descriptor is in the network
// namespace of the calling thread.
func inThisNamespace(fd int) bool {
	ns, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNGETDEVNETNS, 0)
	if errno != 0 {
		return false
	}
	defer unix.Close(int(ns))
	var there, here unix.Stat_t
	err := errors.Join(unix.Fstat(int(ns), &there), unix.Stat("/proc/thread-self/ns/net", &here))
	return err == nil && there.Ino == here.Ino && there.Dev == here.Dev
}

const upFlags = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR

// openUp opens the agent's tap, and makes it if it is not there. It outlives
// the agent; while nobody has a descriptor of it, what misses is lost.
func openUp(name string) (*os.File, netlink.Link, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	fail := func(what string, err error) (*os.File, netlink.Link, error) {
		return nil, nil, errors.Join(fmt.Errorf("tap %s: %s: %w", name, what, err), unix.Close(fd))
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return fail("name", err)
	}
	request.SetUint16(upFlags)
	switch err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); {
	case errors.Is(err, unix.EBUSY):
		return fail("another dswitch runs on this host and holds it, or its service manager does: stop that service first", err)
	case err != nil:
		return fail("make it", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fail("make it stay", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6); err != nil {
		return fail("ask for whole GSO packets", err)
	}
	if err := silence(name); err != nil {
		return fail("configure", err)
	}
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = errors.Join(netlink.LinkSetMTU(l, upMTU), netlink.LinkSetUp(l))
	}
	if err != nil {
		return fail("configure", err)
	}
	return os.NewFile(uintptr(fd), name), l, nil
}

// openVXLAN makes the device by which the kernel decapsulates, if it is not
// there: one for all networks and peers, with group policy ids. The kernel
// merges tunneled segments only while it is up.
func openVXLAN(name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		err = netlink.LinkAdd(&netlink.Vxlan{
			LinkAttrs:      netlink.LinkAttrs{Name: name},
			FlowBased:      true,
			GBP:            true,
			Port:           overlayPort,
			UDP6ZeroCSumRx: true,
		})
		if err != nil {
			return nil, fmt.Errorf("make vxlan device %s: %w", name, err)
		}
		l, err = netlink.LinkByName(name)
	}
	if err != nil {
		return nil, fmt.Errorf("vxlan device %s: %w", name, err)
	}
	if v, ok := l.(*netlink.Vxlan); !ok || !v.FlowBased || !v.GBP || v.Port != overlayPort {
		return nil, fmt.Errorf("device %s is there but no vxlan device with external, gbp and port %d: remove or rename it", name, overlayPort)
	}
	if err := silence(name); err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return nil, fmt.Errorf("bring %s up: %w", name, err)
	}
	return l, nil
}

// onBPFFS reports whether a directory is on a BPF file system.
func onBPFFS(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, fmt.Errorf("pin directory %s: %w", dir, err)
	}
	return st.Type == unix.BPF_FS_MAGIC, nil
}
