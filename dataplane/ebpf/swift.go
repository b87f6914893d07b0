package ebpf

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// What a first packet waits for calls the kernel without telling Go's scheduler. Who
// tells it in a program that was idle first wakes another thread, which watches over
// system calls, and that takes longer than such a call.

// swiftly reads from the tap or writes to it.
func swiftly(call, fd uintptr, p []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// update is m.Update of a key and value that are as the map has them.
func update[K, V any](m *ebpf.Map, key K, value V) error {
	if unsafe.Sizeof(key) != uintptr(m.KeySize()) || unsafe.Sizeof(value) != uintptr(m.ValueSize()) {
		panic(fmt.Sprintf("ebpf: %T and %T are not what is in %v", key, value, m))
	}
	var pins runtime.Pinner
	defer pins.Unpin()
	pins.Pin(&key)
	pins.Pin(&value)
	request := struct {
		fd         uint32
		_          uint32
		key, value uint64
		flags      uint64
	}{fd: uint32(m.FD()), key: uint64(uintptr(unsafe.Pointer(&key))), value: uint64(uintptr(unsafe.Pointer(&value)))}
	_, _, errno := unix.RawSyscall(unix.SYS_BPF, unix.BPF_MAP_UPDATE_ELEM, uintptr(unsafe.Pointer(&request)), unsafe.Sizeof(request))
	runtime.KeepAlive(m)
	if errno != 0 {
		return errno
	}
	return nil
}
