package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

// card is the guest's end of a device that several ports share: frames as a driver
// has them, with their virtio_net_hdr, and the VLAN ids of their tags.
type card interface {
	read(b []byte) (frame []byte, vlan uint16, err error)
	write(frame []byte, vlan uint16)
}

// A trunk is a card whose frames go to a tap for each VLAN, each in a guest of its
// own, as the VLAN devices of a guest's kernel would have them.
type trunkGuests struct {
	card    card
	guests  map[uint16]*guest
	strays  atomic.Int64 // frames of a VLAN that nobody has
	longest atomic.Int64 // of the tagged frames that the card got
}

// plugTrunk makes guests, by the VLANs of their ports on one device.
func (h *host) plugTrunk(t *testing.T, kind dataplane.DeviceKind, device string, numbers map[uint16]byte) *trunkGuests {
	t.Helper()
	trunk := &trunkGuests{guests: map[uint16]*guest{}}
	if kind == dataplane.Veth {
		box := newNamespace(t, device)
		box.ip(t, fmt.Sprintf("link add eth0 type veth peer name %s netns %s", device, h.name))
		if err := box.do(func() error { return silence("eth0") }); err != nil { // of this kernel's own the card sends nothing
			t.Fatal(err)
		}
		box.ip(t, "link set eth0 mtu 1500 up")
		trunk.card = newPacketCard(t, box, "eth0")
	} else {
		trunk.card = newTapCard(t, h.namespace, device)
	}
	taps := map[uint16]tapCard{}
	for vlan, n := range numbers {
		g := &guest{namespace: newNamespace(t, fmt.Sprint("g", n)), host: h, number: n}
		taps[vlan] = newTapCard(t, g.namespace, "eth0")
		g.configure(t)
		trunk.guests[vlan] = g
	}
	for vlan, g := range trunk.guests {
		h.openPort(t, g, device, kind, vlan)
	}
	h.awaitUp(t, device)
	for vlan, tap := range taps {
		go func() {
			b := make([]byte, 1<<17)
			for {
				frame, _, err := tap.read(b)
				if err != nil {
					return
				}
				trunk.card.write(frame, vlan)
			}
		}()
	}
	go func() {
		b := make([]byte, 1<<17)
		for {
			frame, vlan, err := trunk.card.read(b)
			if err != nil {
				return
			}
			if n := int64(len(frame)); vlan != 0 && n > trunk.longest.Load() {
				trunk.longest.Store(n)
			}
			if tap, ok := taps[vlan]; ok {
				tap.write(frame, 0)
			} else {
				trunk.strays.Add(1)
			}
		}
	}()
	for _, g := range trunk.guests {
		g.awaitUp(t, "eth0")
	}
	return trunk
}

// tapCard has tags in its frames.
type tapCard struct{ file io.ReadWriter }

func newTapCard(t *testing.T, n *namespace, name string) tapCard {
	t.Helper()
	var c tapCard
	if err := n.do(func() error {
		f, _, err := openUp(name)
		if err == nil {
			t.Cleanup(func() { f.Close() })
			c.file = f
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c tapCard) read(b []byte) ([]byte, uint16, error) {
	n, err := c.file.Read(b)
	if err != nil || n < vnetSize+18 || binary.BigEndian.Uint16(b[vnetSize+12:]) != 0x8100 {
		return b[:max(n, 0)], 0, err
	}
	vlan := binary.BigEndian.Uint16(b[vnetSize+14:]) & 0xfff
	shiftHeader(b, -4)
	return append(b[:vnetSize+12], b[vnetSize+16:n]...), vlan, nil
}

func (c tapCard) write(frame []byte, vlan uint16) {
	c.file.Write(inBand(frame, vlan)) // a device that is down loses packets
}

// inBand puts a tag into a frame behind its virtio_net_hdr.
func inBand(frame []byte, vlan uint16) []byte {
	if vlan == 0 || len(frame) < vnetSize+14 {
		return frame
	}
	b := slices.Concat(frame[:vnetSize], packet.Tag(frame[vnetSize:], vlan))
	shiftHeader(b, 4)
	return b
}

// shiftHeader has the offsets of a virtio_net_hdr say that a tag more or less is
// before what they are of.
func shiftHeader(b []byte, by int) {
	for _, at := range []int{2, 6} { // hdr_len, csum_start
		if v := binary.NativeEndian.Uint16(b[at:]); v != 0 {
			binary.NativeEndian.PutUint16(b[at:], uint16(int(v)+by))
		}
	}
}

// packetCard is a socket on the guest's end of a veth.
type packetCard struct {
	file *os.File
	conn syscall.RawConn
}

const (
	packetVnetHdr        = 15 // PACKET_VNET_HDR
	packetIgnoreOutgoing = 23
	auxVLAN              = 1 << 4 // TP_STATUS_VLAN_VALID
)

func newPacketCard(t *testing.T, n *namespace, device string) packetCard {
	t.Helper()
	var c packetCard
	err := n.do(func() error {
		d, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		c.file = os.NewFile(uintptr(fd), device)
		t.Cleanup(func() { c.file.Close() })
		for _, option := range []int{packetVnetHdr, packetIgnoreOutgoing, unix.PACKET_AUXDATA} {
			if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, option, 1); err != nil {
				return err
			}
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
			return err
		}
		const all = 0x0300 // ETH_P_ALL in network order
		return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: d.Index, Protocol: all})
	})
	if err == nil {
		c.conn, err = c.file.SyscallConn()
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c packetCard) read(b []byte) (frame []byte, vlan uint16, err error) {
	aux := make([]byte, 128)
	var n, size int
	waited := c.conn.Read(func(fd uintptr) bool {
		n, size, _, _, err = unix.Recvmsg(int(fd), b, aux, 0)
		return err != unix.EAGAIN
	})
	if err = errors.Join(waited, err); err != nil {
		return nil, 0, err
	}
	messages, err := unix.ParseSocketControlMessage(aux[:size])
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= int(unsafe.Sizeof(auxData{})) {
			if a := (*auxData)(unsafe.Pointer(&m.Data[0])); a.status&auxVLAN != 0 {
				vlan = a.tci & 0xfff
			}
		}
	}
	return b[:n], vlan, err
}

// auxData is struct tpacket_auxdata.
type auxData struct {
	status, length, snap uint32
	mac, net, tci, tpid  uint16
}

func (c packetCard) write(frame []byte, vlan uint16) { c.file.Write(inBand(frame, vlan)) }

// TestTrunkTraffic has the guests of a trunk behind a veth and of one behind a tap talk
// to each other, those of one device too.
func TestTrunkTraffic(t *testing.T) { overEach(t, trunkTraffic) }

func trunkTraffic(t *testing.T, hosts []*host) {
	table := allowing(allowed("web", dove.ProtocolTCP, 80, 80), allowed("ping", dove.ProtocolICMP, 0x800, 0x800),
		allowed("ping6", dove.ProtocolICMPv6, 0x8000, 0x8000))
	where := map[byte]netip.Addr{}
	for n := byte(1); n <= 6; n++ {
		where[n] = hosts[(n-1)/3].vtep
	}
	for _, h := range hosts {
		h.answers = everyone(where, table)
	}
	trunks := []*trunkGuests{
		hosts[0].plugTrunk(t, dataplane.Veth, "trunk1", map[uint16]byte{0: 1, 7: 2, 4094: 3}),
		hosts[1].plugTrunk(t, dataplane.Tap, "trunk2", map[uint16]byte{0: 4, 7: 5, 9: 6}),
	}
	guests := map[byte]*guest{}
	for _, trunk := range trunks {
		for _, g := range trunk.guests {
			guests[g.number] = g
			for _, a := range guestAddrs(g.number) {
				g.listen(t, netip.AddrPortFrom(a, 80))
			}
		}
	}
	for from, g := range guests {
		for to := range guests {
			if from == to {
				continue
			}
			for _, a := range guestAddrs(to) {
				if err := g.ping(a, 1400); err != nil {
					t.Errorf("guest %d pings %v: %v", from, a, err)
				}
				c, err := g.dial(t, netip.AddrPortFrom(a, 80), 5*time.Second)
				if err != nil {
					t.Fatalf("guest %d to %v: %v", from, a, err)
				}
				exchange(t, c, 1<<19)
				c.Close()
			}
		}
	}
	for i, h := range hosts {
		counts, err := h.sw.Counts()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts {
			if c.Reason != dataplane.NotUnicast { // what guests' own IPv6 says to its link
				t.Errorf("%s refused what is allowed: %+v", h.name, c)
			}
		}
		if n := trunks[i].strays.Load(); n != 0 {
			t.Errorf("%s sent %d frames with tags that nobody has", h.name, n)
		}
		if n := trunks[i].longest.Load(); n < 10000 {
			t.Errorf("the longest tagged frame from %s had %d bytes: large ones were cut", h.name, n)
		}
	}

	// The next run of the switch finds its ports as they were.
	again := hosts[1]
	if err := again.sw.Close(); err != nil {
		t.Fatal(err)
	}
	<-again.ended
	again.open(t)
	for vlan, g := range trunks[1].guests {
		if p := again.sw.ports[g.port.ID]; p == nil || p.VLAN != vlan || p.Ifindex != g.port.Ifindex || p.Kind != dataplane.Tap {
			t.Errorf("after a restart the port of guest %d is %+v", g.number, p)
		}
		again.apply(t, dataplane.SetPort{Port: g.port})
		if err := g.ping(guestAddr4(1), 8); err != nil {
			t.Errorf("guest %d after a restart: %v", g.number, err)
		}
	}

	// One port closes, and the device and the others stay.
	gone := trunks[1].guests[7]
	hosts[1].apply(t, dataplane.DelPort{ID: gone.port.ID})
	before := hosts[1].count(t, dataplane.UnknownTag, "")
	if err := gone.ping(guestAddr4(4), 8); err == nil {
		t.Error("a guest without a port is heard")
	}
	if !hosts[1].counted(t, dataplane.UnknownTag, "", before) {
		t.Error("a tag that nobody has was not counted")
	}
	if err := guests[6].ping(guestAddr4(4), 8); err != nil {
		t.Errorf("beside a port that closed: %v", err)
	}
	hosts[1].apply(t, dataplane.DelPort{ID: guests[4].port.ID})
	if err := guests[6].ping(guestAddr4(3), 8); err != nil {
		t.Errorf("without a port that has no tag: %v", err)
	}
}
