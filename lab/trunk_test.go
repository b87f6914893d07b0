package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"dove.network/api"
	"dove.network/dove"
	"dove.network/packet"
)

// TestTrunk makes a sub-port of a running endpoint, whose guest then speaks under its
// tag: it resolves an address on another host and opens a connection there.
func TestTrunk(t *testing.T) {
	l, _, _ := played(t, "trunk")
	sub := dove.Endpoint{Tenant: "acme", ID: "web-1-sub"}
	e, err := l.api.PutEndpoint(t.Context(), sub, api.EndpointSpec{Groups: []string{"shop/web"}, Parent: "web-1", VLAN: 7}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.WaitReceipt(t.Context(), e.Revision); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); e.State != "active"; time.Sleep(10 * time.Millisecond) {
		if e, err = l.api.Endpoint(t.Context(), sub); err != nil || time.Now().After(end) {
			t.Fatalf("%+v, %v", e, err)
		}
	}
	mac, err := dove.ParseMAC(e.MAC)
	if err != nil {
		t.Fatal(err)
	}
	g, _ := l.Guest(dove.Endpoint{Tenant: "acme", ID: "web-1"})
	app, _ := l.Guest(dove.Endpoint{Tenant: "acme", ID: "app-1"})
	ends := packet.Ends{SrcMAC: mac, Src: netip.MustParseAddr(e.Addresses[0]), Dst: app.Addrs[0]}
	err = g.ns.Do(func() error {
		answer, err := askTagged(g.nic, 7, packet.ARPRequest(mac, ends.Src, ends.Dst), func(p packet.Packet) bool { return p.Kind == packet.ARP && p.Src == ends.Dst })
		if err != nil {
			return fmt.Errorf("ask for %v: %w", ends.Dst, err)
		}
		if ends.DstMAC = answer.SrcMAC; ends.DstMAC != app.MAC {
			return fmt.Errorf("%v is at %v, want %v", ends.Dst, ends.DstMAC, app.MAC)
		}
		_, err = askTagged(g.nic, 7, packet.TCP(ends, 4000, 8080, packet.SYN, nil), func(p packet.Packet) bool {
			return p.Src == ends.Dst && p.SrcPort == 8080 && p.Flags == packet.SYN|packet.ACK
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// askTagged sends a frame with a tag from a device, again and again, until one comes
// with that tag which is the answer.
func askTagged(device string, vlan uint16, frame []byte, is func(packet.Packet) bool) (packet.Packet, error) {
	own, err := linkByName(device)
	if err != nil {
		return packet.Packet{}, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return packet.Packet{}, err
	}
	defer unix.Close(fd)
	const all = 0x0300 // ETH_P_ALL in network order
	err = errors.Join(unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: own.index, Protocol: all}),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}))
	if err != nil {
		return packet.Packet{}, err
	}
	tagged := packet.Tag(frame, vlan)
	b, aux := make([]byte, 1<<16), make([]byte, 128)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if err := unix.Sendto(fd, tagged, 0, &unix.SockaddrLinklayer{Ifindex: own.index, Halen: 6}); err != nil {
			return packet.Packet{}, err
		}
		for {
			n, size, _, _, err := unix.Recvmsg(fd, b, aux, 0)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				return packet.Packet{}, err
			}
			if p, _ := packet.Parse(b[:n]); tagOf(aux[:size]) == vlan && is(p) {
				return p, nil
			}
		}
	}
	return packet.Packet{}, fmt.Errorf("no answer with tag %d came", vlan)
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
