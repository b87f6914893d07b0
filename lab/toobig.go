package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// jumbo is the MTU of a guest whose device carries more than its network.
const jumbo = 9000

// tooBig gives the guests of checks devices that carry more than their network,
// which they keep, and has each sender learn that from what it sends in one piece.
func (l *Lab) tooBig(ctx context.Context, checks []Check) (string, error) {
	var lines []string
	for _, c := range checks {
		for _, g := range []*Guest{c.From, c.To} {
			if g == nil {
				continue
			}
			host, _, err := l.machine(g.Host)
			if err != nil {
				return "", err
			}
			if err := errors.Join(host.IP(fmt.Sprintf("link set %s mtu %d", g.Device, jumbo)), g.ns.IP(fmt.Sprintf("link set %s mtu %d", g.nic, jumbo))); err != nil {
				return "", err
			}
		}
		mtu, err := c.From.learn(ctx, netip.AddrPortFrom(c.Addr, c.Probe.Port), c.Size)
		meant := c.From.MTU
		if c.To != nil {
			meant = min(meant, c.To.MTU)
		}
		if err == nil && mtu != meant {
			err = fmt.Errorf("%s: told that %d bytes may be sent, meant: %d", c, mtu, meant)
		}
		if err != nil {
			return "", err
		}
		lines = append(lines, fmt.Sprintf("%s: too big, and the sender is told that %d bytes may be sent", c.Addr, mtu))
	}
	return strings.Join(lines, "\n"), nil
}

// learn sends a datagram of size bytes that may not be cut up, until the guest's
// kernel knows a smaller MTU of the path, and returns that.
func (g *Guest) learn(ctx context.Context, to netip.AddrPort, size uint16) (mtu int, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	conn, err := g.ns.DialContext(ctx, "udp", to.String())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	level, discover, option, mode := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_MTU, unix.IP_PMTUDISC_DO
	if to.Addr().Is6() {
		level, discover, option, mode = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_MTU, unix.IPV6_PMTUDISC_DO
	}
	control := func(do func(fd int) error) error {
		var failed error
		return errors.Join(raw.Control(func(fd uintptr) { failed = do(int(fd)) }), failed)
	}
	if err := control(func(fd int) error { return unix.SetsockoptInt(fd, level, discover, mode) }); err != nil {
		return 0, err
	}
	for wait := time.NewTicker(20 * time.Millisecond); ; {
		// It may be larger than what the kernel has learnt meanwhile.
		if _, err := conn.Write([]byte(g.padded(size))); err != nil && !errors.Is(err, syscall.EMSGSIZE) {
			return 0, err
		}
		err := control(func(fd int) (err error) {
			mtu, err = unix.GetsockoptInt(fd, level, option)
			return err
		})
		if err != nil || mtu < jumbo {
			return mtu, err
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%s is not told that %d bytes are too big for %s", g.Name(), size, to)
		case <-wait.C:
		}
	}
}
