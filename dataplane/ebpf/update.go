package ebpf

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// update sets what a map has for a key, both of which are as the map has them. It returns at
// once (package atonce): first packets wait for some.
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
