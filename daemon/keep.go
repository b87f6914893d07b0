package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstKept is the descriptor from which on a service manager hands over those that
// it kept (sd_listen_fds).
const firstKept = 3

// keptMax bounds how many descriptors are taken over.
const keptMax = 64

// takeKept takes what the service manager kept and gave to this process, by name
// (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES). Of several with one name the last counts.
func takeKept(env func(string) string, pid int) (map[string]int, error) {
	text := env("LISTEN_FDS")
	if text == "" || env("LISTEN_PID") != strconv.Itoa(pid) {
		return nil, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > keptMax {
		return nil, fmt.Errorf("LISTEN_FDS=%s is no number of descriptors up to %d: unset it, or let systemd set it", text, keptMax)
	}
	names := strings.Split(env("LISTEN_FDNAMES"), ":")
	kept := map[string]int{}
	for i := range n {
		fd := firstKept + i
		unix.CloseOnExec(fd)
		name := "unknown" // as systemd calls one without a name
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		if old, twice := kept[name]; twice {
			_ = unix.Close(old)
		}
		kept[name] = fd
	}
	return kept, nil
}

// Keeps reports whether there is a service manager that may keep descriptors while
// the program does not run.
func (s Supervisor) Keeps() bool { return s.socket != "" }

// Kept returns the descriptor that an earlier run gave to Keep under this name, or
// nil. It belongs to the caller from then on, and does not block; the service manager
// still has its own.
func (s Supervisor) Kept(name string) *os.File {
	fd, there := s.kept[name]
	if !there {
		return nil
	}
	delete(s.kept, name)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil // it is not open
	}
	return os.NewFile(uintptr(fd), name)
}

// Keep has the service manager keep a duplicate of the descriptor under a name, in place
// of what it kept under that, until the service is stopped for good. Whether
// it does it does not say (FileDescriptorStoreMax= of its unit).
func (s Supervisor) Keep(name string, f *os.File) error {
	if s.socket == "" {
		return nil
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("have %s kept: %w", name, err)
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		sent = errors.Join(s.send("FDSTOREREMOVE=1\nFDNAME="+name, nil),
			s.send("FDSTORE=1\nFDNAME="+name, unix.UnixRights(int(fd))))
	})
	if err = errors.Join(err, sent); err != nil {
		return fmt.Errorf("have %s kept by the service manager: %w", name, err)
	}
	return nil
}

// send sends one message, with control data if there is any.
func (s Supervisor) send(text string, oob []byte) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	raw, err := conn.SyscallConn() // package net has control data sent to a named address alone
	if err == nil {
		var sent error
		err = raw.Write(func(fd uintptr) bool {
			sent = unix.Sendmsg(int(fd), []byte(text), oob, nil, 0)
			return !errors.Is(sent, unix.EAGAIN)
		})
		err = errors.Join(err, sent)
	}
	return errors.Join(err, conn.Close())
}
