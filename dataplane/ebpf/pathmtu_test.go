package ebpf

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dove.network/dove"
)

// TestPathMTU has guests whose devices carry more than their network: they are
// told, and their connections go on with what passes.
func TestPathMTU(t *testing.T) { overEach(t, pathMTU) }

func pathMTU(t *testing.T, hosts []*host) {
	table := allowing(allowed("tcp", dove.ProtocolTCP, 0, 65535), allowed("udp", dove.ProtocolUDP, 0, 65535))
	guests := fourGuests(t, hosts, table)
	for n, g := range guests {
		g.host.ip(t, "link set "+g.port.Device+" mtu 9000")
		g.ip(t, "link set eth0 mtu 9000")
		for _, a := range guestAddrs(n) {
			g.listen(t, netip.AddrPortFrom(a, 80))
		}
	}
	for _, pair := range [][2]byte{{1, 2}, {4, 3}, {1, 4}} {
		from, to := guests[pair[0]], pair[1]
		for _, a := range guestAddrs(to) {
			if mtu := from.learnt(t, a); mtu != hosts[0].mtu {
				t.Errorf("guest %d to %v: path MTU %d, want %d", pair[0], a, mtu, hosts[0].mtu)
			}
			c, err := from.dial(t, netip.AddrPortFrom(a, 80), 5*time.Second)
			if err != nil {
				t.Fatalf("guest %d to %v: %v", pair[0], a, err)
			}
			exchange(t, c, 1<<20)
		}
	}
}

// learnt sends a datagram that is too long and may not be fragmented, and
// returns the path MTU that the guest's kernel knows soon after.
func (g *guest) learnt(t *testing.T, to netip.Addr) (mtu int) {
	t.Helper()
	err := g.do(func() error {
		domain, level, discover, option, mode := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_MTU, unix.IP_PMTUDISC_DO
		var at unix.Sockaddr = &unix.SockaddrInet4{Port: 9, Addr: as4(to)}
		if to.Is6() {
			domain, level, discover, option, mode = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_MTU, unix.IPV6_PMTUDISC_DO
			at = &unix.SockaddrInet6{Port: 9, Addr: to.As16()}
		}
		fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, level, discover, mode); err != nil {
			return err
		}
		if err := unix.Connect(fd, at); err != nil {
			return err
		}
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if mtu, err = unix.GetsockoptInt(fd, level, option); err != nil || mtu < 9000 {
				return err
			}
			_, _ = unix.Write(fd, make([]byte, 4000)) // an answer to the last one may be its error
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return mtu
}

func as4(a netip.Addr) (b [4]byte) {
	if a.Is4() {
		b = a.As4()
	}
	return b
}
