package lab

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"dove.network/packet"
)

// tagged joins the device of a sub-port's guest to the card of its parent's guest, as a VLAN
// device does (kernels may lack those): what it sends goes out there under its tag, and
// what comes there with the tag is its.
type tagged struct {
	ns      *Namespace // of the guest
	device  string
	vlan    uint16
	tap     int          // with virtio_net_hdr, which the guest's kernel leaves empty
	socket  int          // of the parent's cards, with virtio_net_hdr
	card    atomic.Int64 // index of the one that it sends by
	closed  atomic.Bool
	pumping sync.WaitGroup
}

const netHeader = 10 // bytes of a virtio_net_hdr

// tag gives a guest its device on its parent's card.
func (l *Lab) tag(g *Guest) error {
	tap, err := openTap(g.ns, g.nic)
	if err != nil {
		return err
	}
	t := &tagged{ns: g.ns, device: g.nic, vlan: g.vlan, tap: tap}
	if err := unix.IoctlSetInt(tap, unix.TUNSETOFFLOAD, 0); err != nil { // checksums and segments are its kernel's work
		return errors.Join(fmt.Errorf("have %s finish its packets: %w", g.Name(), err), unix.Close(tap))
	}
	if err := g.parent.ns.Do(t.listen); err != nil {
		return errors.Join(fmt.Errorf("listen on the card of %s: %w", g.parent.Name(), err), unix.Close(tap))
	}
	g.tagged = t
	t.pumping.Go(t.out)
	t.pumping.Go(t.in)
	return errors.Join(g.ns.IP(fmt.Sprintf("link set %s address %s mtu %d", g.nic, g.MAC, g.MTU)))
}

// follow has the sub-ports of a guest send by the card that it has now.
func (l *Lab) follow(g *Guest) error {
	subs := slices.DeleteFunc(slices.Clone(l.guests), func(o *Guest) bool { return o.parent != g })
	if len(subs) == 0 {
		return nil
	}
	return g.ns.Do(func() error {
		card, err := linkByName(g.nic)
		for _, o := range subs {
			o.Host = g.Host
			o.tagged.card.Store(int64(card.index))
		}
		return err
	})
}

// listen opens the socket, in the namespace at hand.
func (t *tagged) listen() (err error) {
	const all = 0x0300 // ETH_P_ALL in network order
	if t.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	err = errors.Join(unix.SetsockoptInt(t.socket, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.SetsockoptInt(t.socket, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(t.socket, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptTimeval(t.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.Bind(t.socket, &unix.SockaddrLinklayer{Protocol: all}))
	if err != nil {
		err = errors.Join(err, unix.Close(t.socket))
	}
	return err
}

// out sends what the guest sends, until its device is gone.
func (t *tagged) out() {
	buffer := make([]byte, frameMax)
	for {
		n, err := unix.Read(t.tap, buffer)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || n < netHeader:
			return
		default:
			frame := append(make([]byte, netHeader), packet.Tag(buffer[netHeader:n], t.vlan)...)
			// A card that is down takes nothing: the frame is lost, as on a wire.
			_ = unix.Sendto(t.socket, frame, 0, &unix.SockaddrLinklayer{Ifindex: int(t.card.Load()), Halen: 6})
		}
	}
}

// in gives the guest what comes with its tag.
func (t *tagged) in() {
	buffer, control := make([]byte, frameMax), make([]byte, 128)
	for !t.closed.Load() {
		n, size, _, _, err := unix.Recvmsg(t.socket, buffer, control, 0)
		if err == nil && tagOf(control[:size]) == t.vlan {
			_, _ = unix.Write(t.tap, buffer[:n]) // if it is gone, out notices
		}
	}
}

// close takes the device away.
func (t *tagged) close() error {
	if t == nil {
		return nil
	}
	t.closed.Store(true)
	_ = t.ns.IP("link del " + t.device) // it may be gone already
	t.pumping.Wait()
	return errors.Join(unix.Close(t.tap), unix.Close(t.socket))
}

// tagOf reads the tag that the kernel keeps beside a frame, 0 if there is none.
func tagOf(control []byte) uint16 {
	type auxData struct { // struct tpacket_auxdata
		status, length, snap uint32
		mac, net, tci, tpid  uint16
	}
	const valid = 1 << 4 // TP_STATUS_VLAN_VALID
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		if m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= int(unsafe.Sizeof(auxData{})) {
			if a := (*auxData)(unsafe.Pointer(&m.Data[0])); a.status&valid != 0 {
				return a.tci & 0xfff
			}
		}
	}
	return 0
}
