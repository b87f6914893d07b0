package ebpf

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"dove.network/dataplane"
)

// Options say where a switch works and how much it may hold. Zero fields have
// the stated defaults. How many entries the flow tables have is decided when
// their maps are made, and stays so while the pins are there.
type Options struct {
	Config       dataplane.Config
	PinDir       string // on a BPF file system; of this switch alone
	UpName       string // the agent's tap, default dsw-up
	VXLANName    string // the kernel's decapsulation, default dsw-vx
	RoomName     string // a bridge that is never up (room.go), default dsw-room
	Flows        uint32 // entries of the flow table, per address family, default 65536
	FlowsPerPort uint32 // of these, begun at one port, default 16384
	MissBurst    uint32 // misses of one port at once, default 64
	MissRate     uint32 // misses of one port a second, lastingly, default 1000
	DropQueue    int    // drops read and not yet taken from Drops, default 1024

	// Kept is the descriptor of the agent's tap that an earlier run gave to Keep, or
	// nil. Open takes it if it is that, with all that has missed since, and else
	// closes it and gives Keep another.
	Kept *os.File
	// Keep has a descriptor outlive the program; nil: what misses while none runs is lost.
	Keep func(*os.File)

	read func() (*ebpf.CollectionSpec, error) // tests: the programs, default those of dswitch.c
}

func (o *Options) fill() {
	set := func(field *uint32, value uint32) {
		if *field == 0 {
			*field = value
		}
	}
	set(&o.Flows, 65536)
	set(&o.FlowsPerPort, 16384)
	set(&o.MissBurst, 64)
	set(&o.MissRate, 1000)
	if o.UpName == "" {
		o.UpName = "dsw-up"
	}
	if o.VXLANName == "" {
		o.VXLANName = "dsw-vx"
	}
	if o.RoomName == "" {
		o.RoomName = "dsw-room"
	}
	if o.DropQueue == 0 {
		o.DropQueue = 1024
	}
	if o.read == nil {
		o.read = loadDswitch
	}
}

// Check finds out whether Open can succeed on this machine, before anything but
// the pin directory is made.
func Check(o Options) error {
	o.fill()
	major, minor, err := kernelRelease()
	if err != nil {
		return err
	}
	if major < 6 || major == 6 && minor < 6 {
		return fmt.Errorf("the kernel is %d.%d: the switch needs Linux 6.6 or newer", major, minor)
	}
	if !o.Config.VTEP.IsValid() {
		return errors.New("no VTEP address: give this host's address in the underlay, IPv4 or IPv6")
	}
	if err := os.MkdirAll(o.PinDir, 0o700); err != nil {
		return fmt.Errorf("pin directory (is a BPF file system mounted there? ip netns exec hides it, dswitch --netns does not): %w", err)
	}
	if ok, err := onBPFFS(o.PinDir); err != nil {
		return err
	} else if !ok {
		return fmt.Errorf("bpffs is not mounted at %s: mount -t bpf bpf /sys/fs/bpf, and give a directory below", o.PinDir)
	}
	return rlimit.RemoveMemlock()
}
