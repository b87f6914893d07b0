package lab

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// relay joins two taps as the monitor of a virtual machine joins a machine's
// network card to its tap on the host: frames pass both ways with their
// virtio_net_hdr, so whole GSO packets and unfinished checksums do too. It ends when
// either device does.
type relay struct {
	ends    [2]tap
	threads [2]int // of the pumps
	pumping sync.WaitGroup
	delay   atomic.Int64 // of every frame either way, ns
	late    [2]chan frame
}

// frame is one that is delayed.
type frame struct {
	due   time.Time
	bytes []byte
}

// lateMax is how many frames are delayed at once; those beyond are lost.
const lateMax = 4096

type tap struct {
	ns     *Namespace
	device string
	fd     int
}

// frameMax is a GSO packet with its headers, and its virtio_net_hdr.
const frameMax = 1<<16 + 256

// newRelay makes a tap in each namespace and joins them.
func newRelay(a *Namespace, deviceA string, b *Namespace, deviceB string) (*relay, error) {
	first, err := openTap(a, deviceA)
	if err != nil {
		return nil, err
	}
	second, err := openTap(b, deviceB)
	if err != nil {
		return nil, errors.Join(err, unix.Close(first))
	}
	r := &relay{ends: [2]tap{{a, deviceA, first}, {b, deviceB, second}}}
	// Else pumps wait for each other, not for frames: who comes back from a system
	// call needs one of these, and those who sleep in one keep theirs for a while.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + len(r.ends))
	for i := range 2 {
		r.late[i] = make(chan frame, lateMax)
		started := make(chan int)
		r.pumping.Go(func() { r.pump(i, started) })
		r.pumping.Go(func() { r.linger(i) })
		r.threads[i] = <-started
	}
	return r, nil
}

// bind lets the pumps run on these CPUs only.
func (r *relay) bind(cpus *unix.CPUSet) error {
	var errs []error
	for _, id := range r.threads {
		if err := unix.SchedSetaffinity(id, cpus); err != nil {
			errs = append(errs, fmt.Errorf("bind a relay to a CPU: %w", err))
		}
	}
	return errors.Join(errs...)
}

// openTap makes a tap that goes away with its descriptor.
func openTap(ns *Namespace, device string) (fd int, err error) {
	err = ns.Do(func() error {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		request, err := unix.NewIfreq(device)
		if err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err == nil {
			err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("make tap %s: %w", device, err), unix.Close(fd))
		}
		return nil
	})
	return fd, err
}

// slow delays all frames from now on; 0 ends it.
func (r *relay) slow(by time.Duration) { r.delay.Store(int64(by)) }

// linger passes delayed frames on.
func (r *relay) linger(i int) {
	for f := range r.late[i] {
		time.Sleep(time.Until(f.due))
		_, _ = unix.Write(r.ends[1-i].fd, f.bytes) // the pump of the other way notices a device that is gone
	}
}

// pump passes frames on, on a thread of its own as a monitor's is, until one of
// the devices is gone. It tells which thread.
func (r *relay) pump(i int, thread chan<- int) {
	defer close(r.late[i])
	from, to := r.ends[i].fd, r.ends[1-i].fd
	runtime.LockOSThread() // and never unlocked: the thread may be bound to a CPU
	thread <- unix.Gettid()
	buffer := make([]byte, frameMax)
	for {
		n, err := unix.Read(from, buffer)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return
		case r.delay.Load() > 0:
			select {
			case r.late[i] <- frame{time.Now().Add(time.Duration(r.delay.Load())), bytes.Clone(buffer[:n])}:
			default:
			}
		default:
			// A device that is down takes nothing: the frame is lost, as on a wire.
			if _, err := unix.Write(to, buffer[:n]); errors.Is(err, unix.EBADFD) {
				return
			}
		}
	}
}

// close takes both devices away, which ends their readers.
func (r *relay) close() error {
	if r == nil {
		return nil
	}
	for _, t := range r.ends {
		_ = t.ns.IP("link del " + t.device) // it may be gone already
	}
	r.pumping.Wait()
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) - len(r.ends))
	return errors.Join(unix.Close(r.ends[0].fd), unix.Close(r.ends[1].fd))
}
