package lab

import (
	"cmp"
	"net"

	"golang.org/x/sys/unix"
)

// retransmits returns how many segments the connection had to send again, its
// SYN included (tcp_info.tcpi_total_retrans, linux/tcp.h).
func retransmits(c *net.TCPConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info *unix.TCPInfo
	var infoErr error
	err = raw.Control(func(fd uintptr) {
		info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err != nil || infoErr != nil {
		return 0, cmp.Or(err, infoErr)
	}
	return int(info.Total_retrans), nil
}
