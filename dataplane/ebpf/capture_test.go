package ebpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

// capture reads n frames of the overlay that a device receives while fn runs.
func (h *host) capture(t *testing.T, device string, n int, fn func()) (frames [][]byte) {
	t.Helper()
	var fd int
	err := h.do(func() error {
		d, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		all := int(packetAll<<8 | packetAll>>8)
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: d.Index})
	})
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	fn()
	buffer := make([]byte, 1<<16)
	for len(frames) < n {
		size, from, err := unix.Recvfrom(fd, buffer, 0)
		if err != nil {
			t.Fatalf("after %d of %d frames: %v", len(frames), n, err)
		}
		if at := from.(*unix.SockaddrLinklayer); at.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if _, _, fault := packet.Decap(buffer[:size]); fault == packet.OK {
			frames = append(frames, bytes.Clone(buffer[:size]))
		}
	}
	return frames
}

const packetAll = 3 // ETH_P_ALL

// dissect has tshark read frames, and returns fields of each: of those that it
// finds more than once, the first, which is the outer one.
func dissect(t *testing.T, frames [][]byte, fields ...string) [][]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "frames.pcap")
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0) // Ethernet
	for _, f := range frames {
		for _, v := range []int{0, 0, len(f), len(f)} {
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
		b = append(b, f...)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-n", "-r", file, "-T", "fields", "-E", "occurrence=f", "-E", "separator=,"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	var faults strings.Builder
	cmd := exec.Command("tshark", args...)
	cmd.Stderr = &faults
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", cmd, err, faults.String())
	}
	var rows [][]string
	for line := range strings.Lines(string(out)) {
		rows = append(rows, strings.Split(strings.TrimSpace(line), ","))
	}
	if len(rows) != len(frames) {
		t.Fatalf("tshark tells of %d frames, given %d", len(rows), len(frames))
	}
	return rows
}

// TestCapture has what is on the underlay read by a program of others.
func TestCapture(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("tshark is missing, nobody else reads what is on the underlay, run make setup: %v", err)
	}
	overEach(t, capture)
}

func capture(t *testing.T, hosts []*host) {
	where := everyone(map[byte]netip.Addr{1: hosts[0].vtep, 2: hosts[1].vtep}, allowing(allowed("udp", dove.ProtocolUDP, 0, 65535)))
	for _, h := range hosts {
		h.answers = where
	}
	one := hosts[0].plug(t, 1, dataplane.Veth)
	hosts[1].plug(t, 2, dataplane.Veth)
	const flows, again = 200, 20
	datagram := func(port uint16, tos byte) []byte {
		b := packet.UDP(packet.Ends{SrcMAC: guestMAC(1), DstMAC: guestMAC(2), Src: guestAddr4(1), Dst: guestAddr4(2)}, port, 53, []byte("payload"))
		b[15] = tos
		return b
	}
	hosts[1].capture(t, "under", 1, func() { one.sendRaw(t, "eth0", datagram(1, 0)) }) // the pair is known from here on
	frames := hosts[1].capture(t, "under", flows+again, func() {
		for i := range flows {
			one.sendRaw(t, "eth0", datagram(uint16(1000+i), 0))
		}
		for range again {
			one.sendRaw(t, "eth0", datagram(999, 0xba)) // expedited, and it understands congestion
			time.Sleep(time.Millisecond)
		}
	})
	fields := []string{"vxlan.vni", "vxlan.gbp", "vxlan.flags", "udp.dstport", "udp.checksum", "udp.srcport"}
	if hosts[0].vtep.Is4() {
		fields = append(fields, "ip.src", "ip.dst", "ip.ttl", "ip.flags.df", "ip.dsfield")
	} else {
		fields = append(fields, "ipv6.src", "ipv6.dst", "ipv6.hlim", "ipv6.nxt", "ipv6.tclass", "ipv6.flow")
	}
	ports := map[string]int{}
	for i, row := range dissect(t, frames, fields...) {
		port, err := strconv.Atoi(row[5])
		if err != nil || port < 0xc000 {
			t.Errorf("source port %q", row[5])
		}
		ports[row[5]]++
		tos := "0x00"
		if i >= flows {
			tos = "0xba"
		}
		want := []string{fmt.Sprint(testVNI), fmt.Sprint(guestClass(1)), "0x8800", "4789", "0x0000", row[5], hosts[0].vtep.String(), hosts[1].vtep.String(), "64"}
		if hosts[0].vtep.Is4() {
			want = append(want, "1", tos)
		} else {
			want = append(want, "17", strings.Replace(tos, "0x", "0x000000", 1), fmt.Sprintf("0x%06x", port))
		}
		if strings.Join(row, " ") != strings.Join(want, " ") {
			t.Errorf("frame %d: tshark reads %q, want %q of %q", i, row, want, fields)
		}
	}
	// One flow has one source port, and many have many.
	if len(ports) < flows*9/10 || len(ports) > flows+1 {
		t.Errorf("%d flows have %d source ports", flows+1, len(ports))
	}
}
