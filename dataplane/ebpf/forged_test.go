package ebpf

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/verdict"
)

// sendRaw puts frames on a device as they are.
func (n *namespace) sendRaw(t testing.TB, device string, frames ...[]byte) {
	t.Helper()
	err := n.do(func() error {
		d, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, f := range frames {
			err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: d.Index})
			if err != nil && err != unix.ENOBUFS { // how a drop at egress shows
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (n *namespace) mac(t testing.TB, device string) (mac dove.MAC) {
	t.Helper()
	err := n.do(func() error {
		d, err := net.InterfaceByName(device)
		if err == nil {
			mac = dove.MAC(d.HardwareAddr)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// counted waits until a counter passed a mark. What is sent over a veth is
// received at once, but what the agent gives back comes a little later.
func (h *host) counted(t *testing.T, r dataplane.Reason, rule string, mark uint64) bool {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if h.count(t, r, rule) > mark {
			return true
		}
	}
	return false
}

func TestForged(t *testing.T) { overEach(t, forged) }

func forged(t *testing.T, hosts []*host) {
	h, attacker := hosts[0], hosts[1]
	underlay := netip.PrefixFrom(h.vtep, 0)
	where := map[byte]netip.Addr{1: h.vtep, 2: attacker.vtep, 3: h.vtep, 5: numbered(underlay, 5)}
	table := allowing(allowed("web", dove.ProtocolTCP, 80, 80))
	for _, h := range hosts {
		h.answers = everyone(where, table)
	}
	h.plug(t, 1, dataplane.Veth)
	h.plug(t, 3, dataplane.Tap)
	attacker.plug(t, 2, dataplane.Veth)

	// What this class may, guest 2 may not, whatever it says.
	const favoured = 999
	for _, to := range []byte{1, 3} {
		key := dataplane.PairKey{Domain: testDomain, Src: favoured, Dst: guestClass(to)}
		h.apply(t, dataplane.SetPair{Key: key, Table: allowing(allowed("favour", dove.ProtocolTCP, 443, 443))})
	}
	outer := packet.Outer{
		SrcMAC: attacker.mac(t, "under"), DstMAC: h.mac(t, "under"), Src: attacker.vtep, Dst: h.vtep,
		SrcPort: 0xc123, VNI: testVNI, Class: guestClass(2),
	}
	syn := func(from, to byte, port uint16) []byte {
		e := packet.Ends{SrcMAC: guestMAC(from), DstMAC: guestMAC(to), Src: guestAddr4(from), Dst: guestAddr4(to)}
		return packet.TCP(e, 1234, port, packet.SYN, make([]byte, 100))
	}
	bend := func(change func(o *packet.Outer)) packet.Outer { o := outer; change(&o); return o }
	broken := outer.Encap(syn(2, 1, 80))
	broken[packet.OverlaySize(h.vtep)-8] = 0x08 // no group policy id

	for _, c := range []struct {
		name   string
		frames [][]byte
		reason dataplane.Reason
		rule   string
	}{
		{"unknown outer source", [][]byte{bend(func(o *packet.Outer) { o.Src = numbered(underlay, 99) }).Encap(syn(2, 1, 80))}, dataplane.UnknownVTEP, ""},
		{"no group policy id", [][]byte{broken}, dataplane.BadOverlay, ""},
		{"foreign VNI", [][]byte{bend(func(o *packet.Outer) { o.VNI = 9 }).Encap(syn(2, 1, 80))}, dataplane.UnknownNetwork, ""},
		{"not a port of this host", [][]byte{outer.Encap(syn(2, 77, 80))}, dataplane.NotHere, ""},
		{"wrong class", [][]byte{bend(func(o *packet.Outer) { o.Class = favoured }).Encap(syn(2, 1, 443))}, dataplane.Policy, verdict.DefaultDeny},
		{"wrong class, to a tap", [][]byte{bend(func(o *packet.Outer) { o.Class = favoured }).Encap(syn(2, 3, 443))}, dataplane.Policy, verdict.DefaultDeny},
		{"source of another host", [][]byte{bend(func(o *packet.Outer) { o.Class = guestClass(5) }).Encap(syn(5, 1, 80))}, dataplane.SourceMismatch, ""},
		{"source that is a local port", [][]byte{bend(func(o *packet.Outer) { o.Class = guestClass(3) }).Encap(syn(3, 1, 80))}, dataplane.SourceMismatch, ""},
		{"source that nobody has", [][]byte{outer.Encap(syn(200, 1, 80))}, dataplane.NoEndpoint, ""},
		{"forbidden port", [][]byte{outer.Encap(syn(2, 1, 22))}, dataplane.Policy, verdict.DefaultDeny},
		{"forbidden port, to a tap", [][]byte{outer.Encap(syn(2, 3, 22))}, dataplane.Policy, verdict.DefaultDeny},
		{"forbidden port, in fragments", packet.Fragments(outer.Encap(syn(2, 1, 22)), 64, 0x1234), dataplane.Policy, verdict.DefaultDeny},
		{"ARP through the tunnel", [][]byte{outer.Encap(packet.ARPRequest(guestMAC(2), guestAddr4(2), guestAddr4(1)))}, dataplane.NotUnicast, ""},
	} {
		before := h.count(t, c.reason, c.rule)
		attacker.sendRaw(t, "under", c.frames...)
		if !h.counted(t, c.reason, c.rule, before) {
			counts, _ := h.sw.Counts()
			t.Errorf("%s: not counted as %v: %v", c.name, c.reason, counts)
		}
	}
	before := h.count(t, dataplane.NotSwitched, "")
	h.sendRaw(t, "p1", syn(2, 1, 80))
	if !h.counted(t, dataplane.NotSwitched, "", before) {
		t.Error("what the host itself sent into a port was not counted")
	}
	select {
	case hint := <-h.sw.Hints():
		if hint.Port != 1 || hint.Tuple.Src != guestAddr4(2) || hint.Tuple.Dst != guestAddr4(1) || hint.Tuple.DstPort != 443 {
			t.Errorf("a hint about something else: %+v", hint)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody was told of the wrong class")
	}
	drops := map[dataplane.Reason]bool{}
	for {
		select {
		case d := <-h.sw.Drops():
			drops[d.Reason] = true
			continue
		default:
		}
		break
	}
	for _, r := range []dataplane.Reason{dataplane.UnknownVTEP, dataplane.SourceMismatch, dataplane.Policy} {
		if !drops[r] {
			t.Errorf("no drop was reported for %v", r)
		}
	}
}

func TestGuestCannotSpoof(t *testing.T) {
	h := newHosts(t, 1)[0]
	h.answers = everyone(map[byte]netip.Addr{2: netip.MustParseAddr("192.0.2.9")}, allowing(allowed("web", dove.ProtocolTCP, 80, 80)))
	g := h.plug(t, 1, dataplane.Veth)
	ends := packet.Ends{SrcMAC: guestMAC(1), DstMAC: guestMAC(2), Src: guestAddr4(1), Dst: guestAddr4(2)}
	mac, addr := ends, ends
	mac.SrcMAC[5]++
	addr.Src = guestAddr4(9)
	for _, c := range []struct {
		name   string
		frame  []byte
		reason dataplane.Reason
	}{
		{"MAC", packet.TCP(mac, 1, 80, packet.SYN, nil), dataplane.SpoofedMAC},
		{"address", packet.TCP(addr, 1, 80, packet.SYN, nil), dataplane.SpoofedAddress},
		{"ARP sender", packet.ARPRequest(guestMAC(1), guestAddr4(9), guestAddr4(2)), dataplane.SpoofedAddress},
	} {
		before := h.count(t, c.reason, "")
		g.sendRaw(t, "eth0", c.frame)
		if !h.counted(t, c.reason, "", before) {
			t.Errorf("%s: not counted as %v", c.name, c.reason)
		}
	}
}
