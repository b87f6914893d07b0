// Package atonce makes system calls that return at once, and says nothing of them to
// Go's scheduler. Who does tell it, in a program that was idle, first wakes the thread
// that watches over those in system calls, which takes longer than such a call.
//
// While one lasts its processor runs no other goroutine, and a stop of the world waits
// for it. So a call that can wait must not be made so: the descriptors do not block.
package atonce

import (
	"syscall"
	"unsafe"
)

// Read reads what is there; EAGAIN is returned if nothing is.
func Read(fd uintptr, p []byte) (int, error) { return call(syscall.SYS_READ, fd, p) }

// Write writes what is taken; EAGAIN is returned if nothing is.
func Write(fd uintptr, p []byte) (int, error) { return call(syscall.SYS_WRITE, fd, p) }

func call(number, fd uintptr, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
