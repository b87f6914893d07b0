package etcd

import (
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// silence is how long nothing may come over a connection with another member while nobody
// leads; members that are well say something every two seconds.
const silence = 4 * time.Second

// revive ends the connections with other members over which nothing comes, as long as nobody leads,
// so that they are opened anew. Etcd means to do so (rafthttp.ConnReadTimeout), but what
// it dials has no such timeout in this version. After a cut TCP then tries again as late once
// more as the cut was long, and until then nobody can be elected.
func (m *member) revive(log *slog.Logger) {
	if m.peers == nil || m.server.Leader() != 0 {
		return
	}
	addresses := []string{m.peers.Listen}
	for _, its := range m.server.Cluster().Members() {
		addresses = append(addresses, node(uint64(its.ID), its.Name, its.PeerURLs, its.IsLearner).Address)
	}
	var ports []int
	for _, a := range addresses {
		_, port, _ := net.SplitHostPort(a) // etcd has checked them
		if p, err := strconv.Atoi(port); err == nil {
			ports = append(ports, p)
		}
	}
	if n, err := endSilent(ports, silence); n > 0 || err != nil {
		log.Debug("nobody leads the store: connections that say nothing are opened anew", "connections", n, "error", err)
	}
}

// endSilent ends this process's TCP connections that have one of some ports at either end
// and over which nothing has come for so long, and returns how many.
func endSilent(ports []int, silence time.Duration) (n int, err error) {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || !between(fd, ports) {
			continue
		}
		// Its number may be another one's by now: what is looked at and ended is one and the same.
		fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			continue // it was closed
		}
		if between(fd, ports) && silent(fd, silence) && unix.Shutdown(fd, unix.SHUT_RDWR) == nil {
			n++
		}
		_ = unix.Close(fd) // it is a second name
	}
	return n, nil
}

// between reports whether a descriptor is a connection with one of some ports at either end.
func between(fd int, ports []int) bool {
	at, err := unix.Getpeername(fd)
	if err != nil {
		return false
	}
	own, _ := unix.Getsockname(fd) // it has one if it has a peer
	return slices.Contains(ports, portOf(at)) || slices.Contains(ports, portOf(own))
}

// silent reports whether nothing has come over a TCP connection for so long, neither
// bytes nor what acknowledges some.
func silent(fd int, silence time.Duration) bool {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && time.Duration(min(info.Last_data_recv, info.Last_ack_recv))*time.Millisecond >= silence
}

// portOf is the port of a socket's address, 0 if it has none.
func portOf(a unix.Sockaddr) int {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return a.Port
	case *unix.SockaddrInet6:
		return a.Port
	}
	return 0
}
