package ebpf

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/verdict"
)

// layout names what the maps look like (maps.h). Maps of another one are taken
// over where readable has it (upgrade.go).
const layout = "v3"

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
	MissQueue    int    // misses read and not yet taken from Misses, default 1024
	DropQueue    int    // drops read and not yet taken from Drops, default 1024

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
	if o.MissQueue == 0 {
		o.MissQueue = 1024
	}
	if o.DropQueue == 0 {
		o.DropQueue = 1024
	}
	if o.read == nil {
		o.read = loadDswitch
	}
}

// Switch is a switch in the kernel. Its methods may be called from several
// goroutines; those that touch devices (Apply, Remove) from a thread in the
// switch's network namespace.
type Switch struct {
	options  Options
	config   dataplane.Config
	pins     string // PinDir/layout
	linkDir  string // where links are pinned
	testing  bool
	spec     *ebpf.CollectionSpec
	old      string // pins of an older layout that are being taken over
	maps     dswitchMaps
	programs dswitchPrograms
	links    []link.Link // all but the ports'
	grace    *ebpf.Map   // updated to wait for an RCU grace period
	inner    *ebpf.Map
	up       *os.File
	ring     *ringbuf.Reader
	readers  sync.WaitGroup
	hops     *hops
	room     netlink.Link // nil if there is none
	misses   chan dataplane.Miss
	drops    chan dataplane.Drop
	claims   chan dataplane.Claim
	hints    chan dataplane.Hint

	walking     sync.Mutex // through the flow tables; taken after mu
	mu          sync.Mutex
	networks    map[dove.VNI]dataplane.Network
	vteps       map[netip.Addr]dataplane.SetVTEP
	vtepNumbers map[netip.Addr]uint32 // places in vtep_addrs, of all that ever were
	ports       map[dataplane.PortID]*port
	owners      map[dataplane.PeerKey]dataplane.PortID // addresses of ports
	peers       map[dataplane.PeerKey]dataplane.Peer
	places      map[dataplane.PeerKey]*place                     // what of these is in the kernel
	renew       map[dataplane.PeerKey]bool                       // to get a new generation at the next put
	absent      map[dataplane.PeerKey]uint64                     // until when, CLOCK_MONOTONIC ns
	routers     map[dataplane.PeerKey]dove.MAC                   // addresses of gateways
	here        map[dataplane.PeerKey]map[dataplane.PeerKey]bool // routed peers of this host, by where they are
	pairs       map[dataplane.PairKey]*pair
	tables      map[verdict.Digest]*table
	tableNames  map[uint32][]string // by table id
	shares      map[uint32]*share   // by domain
	rules       int                 // entries of all tables
	lastTable   uint32
	unused      []verdict.Digest
	erased      []uint32 // table ids, oldest first
	dests       *slots
	pairSlots   *slots
	changed     bool // something was taken away or replaced since the last grace period

	tally *tally
}

var _ dataplane.Switch = (*Switch)(nil)

// Open loads the programs and attaches them, in the network namespace of the
// calling thread. What an earlier run left pinned in PinDir is taken over
// with all that it holds: Held says what. Packets go on meanwhile.
func Open(o Options) (*Switch, error) {
	if err := Check(o); err != nil {
		return nil, err
	}
	o.fill()
	s := newSwitch(o)
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func newSwitch(o Options) *Switch {
	return &Switch{
		options:     o,
		config:      o.Config,
		pins:        filepath.Join(o.PinDir, layout),
		misses:      make(chan dataplane.Miss, o.MissQueue),
		drops:       make(chan dataplane.Drop, o.DropQueue),
		claims:      make(chan dataplane.Claim, claimQueue),
		hints:       make(chan dataplane.Hint, o.DropQueue),
		networks:    map[dove.VNI]dataplane.Network{},
		vteps:       map[netip.Addr]dataplane.SetVTEP{},
		vtepNumbers: map[netip.Addr]uint32{},
		ports:       map[dataplane.PortID]*port{},
		owners:      map[dataplane.PeerKey]dataplane.PortID{},
		peers:       map[dataplane.PeerKey]dataplane.Peer{},
		places:      map[dataplane.PeerKey]*place{},
		renew:       map[dataplane.PeerKey]bool{},
		absent:      map[dataplane.PeerKey]uint64{},
		routers:     map[dataplane.PeerKey]dove.MAC{},
		here:        map[dataplane.PeerKey]map[dataplane.PeerKey]bool{},
		pairs:       map[dataplane.PairKey]*pair{},
		tables:      map[verdict.Digest]*table{},
		tableNames:  map[uint32][]string{},
		shares:      map[uint32]*share{},
		tally:       newTally(),
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

func (s *Switch) open() error {
	underlay, err := netlink.LinkByName(s.config.Underlay)
	if err != nil {
		return fmt.Errorf("underlay device %s: %w", s.config.Underlay, err)
	}
	vxlan, err := openVXLAN(s.options.VXLANName)
	if err != nil {
		return err
	}
	file, up, err := openUp(s.options.UpName)
	if err != nil {
		return err
	}
	s.room = openRoom(s.options.RoomName, vxlan)
	s.up = file // nobody else has it: of what is pinned nobody makes use now
	if s.old, err = s.older(); err != nil {
		return err
	}
	s.linkDir = linksIn(s.pins)
	if s.old != "" {
		s.pins, s.linkDir = s.pins+partSuffix, linksIn(s.old)
	}
	if err := errors.Join(os.MkdirAll(s.pins, 0o700), os.MkdirAll(s.linkDir, 0o700)); err != nil {
		return fmt.Errorf("pin directory: %w", err)
	}
	if err := s.load(false); err != nil {
		return err
	}
	since := uint32(monotonic()/tick) - 1
	if s.old != "" {
		if err := s.copyMaps(); err != nil {
			return fmt.Errorf("take over what is pinned in %s: %w", s.old, err)
		}
	}
	if err := s.configure(underlay.Attrs().Index, up.Attrs().Index, vxlan.Attrs().Index); err != nil {
		return err
	}
	if s.hops, err = openHops(underlay.Attrs().Index); err != nil {
		return err
	}
	if err := s.adopt(); err != nil {
		return fmt.Errorf("take over what is pinned in %s: %w", s.pins, err)
	}
	if s.old != "" {
		if err := s.rewritePorts(); err != nil {
			return fmt.Errorf("take over what is pinned in %s: %w", s.old, err)
		}
	}
	if err := s.dropLinks(); err != nil {
		return err
	}
	if err := s.attachAll(underlay, vxlan, up); err != nil {
		return err
	}
	if s.old != "" {
		if err := s.finishUpgrade(since); err != nil {
			return fmt.Errorf("take over what is pinned in %s: %w", s.old, err)
		}
		s.old = ""
		if err := errors.Join(s.configure(underlay.Attrs().Index, up.Attrs().Index, vxlan.Attrs().Index), s.attachAll(underlay, vxlan, up)); err != nil {
			return err
		}
	}
	if s.ring, err = ringbuf.NewReader(s.maps.Events); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	s.readers.Go(s.readMisses)
	s.readers.Go(s.readDrops)
	s.readers.Go(s.followRoutes)
	return nil
}

// attachAll puts the programs on all devices, those of ports that an earlier run
// left too, and holds their links as they are pinned.
func (s *Switch) attachAll(underlay, vxlan, up netlink.Link) error {
	for _, l := range s.links {
		if err := l.Close(); err != nil {
			return err
		}
	}
	s.links = nil
	// The agent's and the kernel's side first: what wire_in leaves must find vx_in.
	for _, a := range []struct {
		name    string
		ifindex int
		program *ebpf.Program
	}{
		{"up_in", up.Attrs().Index, s.programs.UpIn},
		{"vx_in", vxlan.Attrs().Index, s.programs.VxIn},
		{"wire_in", underlay.Attrs().Index, s.programs.WireIn},
	} {
		l, err := s.attach(a.name, a.ifindex, a.program, ebpf.AttachTCXIngress)
		if err != nil {
			return err
		}
		s.links = append(s.links, l)
	}
	return s.adoptPorts()
}

// load loads the programs, with the pinned maps where there are any. With
// outcomes they leave each packet's for a test to read. Flow tables that are made
// are as large as older ones.
func (s *Switch) load(outcomes bool) error {
	spec, err := s.options.read()
	if err != nil {
		return fmt.Errorf("read the programs: %w", err)
	}
	s.spec = spec
	spec.Maps[dswitchMapFlows4].MaxEntries = s.options.Flows
	spec.Maps[dswitchMapFlows6].MaxEntries = s.options.Flows
	options := &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: s.pins}}
	if s.testing {
		for _, m := range spec.Maps {
			m.Pinning = ebpf.PinNone
		}
		options = nil
	} else {
		for name, held := range pinnedFlows(s.old, s.pins) {
			spec.Maps[name].MaxEntries = held
		}
	}
	if s.config.VTEP.Is6() {
		if err := spec.Variables["outer6"].Set(uint8(1)); err != nil {
			return fmt.Errorf("set the programs up for IPv6: %w", err)
		}
	}
	if outcomes {
		if err := spec.Variables["testing"].Set(uint8(1)); err != nil {
			return fmt.Errorf("set the programs up for tests: %w", err)
		}
	}
	var objects dswitchObjects
	if err := spec.LoadAndAssign(&objects, options); err != nil {
		if errors.Is(err, ebpf.ErrMapIncompatible) {
			return fmt.Errorf("the maps pinned in %s are another version's: remove that directory, guests lose their connections: %w", s.pins, err)
		}
		return fmt.Errorf("load the programs: %w", err)
	}
	s.maps, s.programs = objects.dswitchMaps, objects.dswitchPrograms
	s.dests = newSlots(s.maps.Dests.MaxEntries())
	s.pairSlots = newSlots(s.maps.PairSlots.MaxEntries())
	return s.openGrace()
}

// pinnedFlows says how large the pinned flow tables are.
func pinnedFlows(dirs ...string) map[string]uint32 {
	sizes := map[string]uint32{}
	for _, dir := range dirs {
		for _, name := range []string{dswitchMapFlows4, dswitchMapFlows6} {
			m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
			if err != nil {
				continue // not there: it is made
			}
			sizes[name] = m.MaxEntries()
			m.Close()
		}
	}
	return sizes
}

// configure writes what the programs must know and no op says. It is a map's
// content and not the programs', so that swapped programs find it.
func (s *Switch) configure(underlay, up, vxlan int) error {
	settings := dswitchSettings{
		Vtep:          addrWords(s.config.VTEP),
		Underlay:      uint32(underlay),
		Up:            uint32(up),
		Vxlan:         uint32(vxlan),
		Dscp:          dscp(s.config.DSCP),
		MissInterval:  uint64(time.Second) / uint64(s.options.MissRate),
		EventInterval: uint64(time.Second) / eventRate,
		ErrorInterval: uint64(time.Second) / errorRate,
	}
	if s.old != "" {
		settings.Joining = 1
	}
	settings.MissBurst = settings.MissInterval * uint64(s.options.MissBurst)
	settings.EventBurst = settings.EventInterval * eventBurst
	if err := s.maps.Config.Update(uint32(0), settings, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("map config: %w", err)
	}
	return s.limitFlows()
}

// dscp is how the programs choose the outer header's.
func dscp(d dataplane.DSCP) uint32 {
	if !d.Fixed {
		return copyDSCP
	}
	return uint32(d.Value) << 2
}

const copyDSCP = 0x100 // COPY_DSCP

// limitFlows writes how many flows all ports may have together.
func (s *Switch) limitFlows() error {
	var all dswitchPortState
	if err := s.maps.PortStates.Lookup(uint32(0), &all); err != nil {
		return fmt.Errorf("map port_states: %w", err)
	}
	if all.Budget == s.maps.Flows4.MaxEntries() {
		return nil // the programs that run count beside it
	}
	all.Budget = s.maps.Flows4.MaxEntries()
	if err := s.maps.PortStates.Update(uint32(0), all, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("map port_states: %w", err)
	}
	return nil
}

// Drop events of one port: at once, and a second lastingly.
const (
	eventBurst = 64
	eventRate  = 256
)

// claimQueue is how many claims are read and not yet taken: a guest repeats one.
const claimQueue = 64

// errorRate is how many ICMP errors about one flow pass in a second, lastingly.
const errorRate = 10

// openGrace makes a map in a map: the kernel lets an update of one return only
// when every program that was running then has ended.
func (s *Switch) openGrace() error {
	spec := &ebpf.MapSpec{Name: "grace_inner", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	var err error
	if s.inner, err = ebpf.NewMap(spec); err != nil {
		return fmt.Errorf("map grace_inner: %w", err)
	}
	s.grace, err = ebpf.NewMap(&ebpf.MapSpec{Name: "grace", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: spec})
	if err != nil {
		return fmt.Errorf("map grace: %w", err)
	}
	return nil
}

func (s *Switch) waitForPrograms() error {
	if err := s.grace.Update(uint32(0), s.inner, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	return nil
}

// Misses yields what the kernel could not judge. It is closed by Close.
func (s *Switch) Misses() <-chan dataplane.Miss { return s.misses }

// Drops yields a sample of what was refused. It is closed by Close.
func (s *Switch) Drops() <-chan dataplane.Drop { return s.drops }

// Hints yields a sample of the packets that show that this host or another may
// be behind. It is closed by Close.
func (s *Switch) Hints() <-chan dataplane.Hint { return s.hints }

// Close lets go. Programs, maps and devices stay, and packets of known flows
// pass; Open takes over again.
func (s *Switch) Close() error {
	var errs []error
	if s.up != nil {
		errs = append(errs, s.up.Close())
	}
	if s.ring != nil {
		errs = append(errs, s.ring.Close())
	}
	if s.hops != nil {
		s.hops.changes.Close() // ends followRoutes, which asks for routes
	}
	s.readers.Wait()
	if s.hops != nil {
		s.hops.routes.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.misses)
	close(s.drops)
	close(s.claims)
	close(s.hints)
	for _, l := range s.links {
		errs = append(errs, l.Close())
	}
	for _, p := range s.ports {
		for _, l := range p.links {
			errs = append(errs, l.Close())
		}
	}
	s.walking.Lock()
	defer s.walking.Unlock()
	return errors.Join(append(errs, s.programs.Close(), s.maps.Close(), s.inner.Close(), s.grace.Close())...)
}

// Remove takes everything down that Open and Apply made, and closes the switch.
// Guest ports are left down.
func (s *Switch) Remove() error {
	s.mu.Lock()
	var errs []error
	for _, p := range s.ports {
		errs = append(errs, s.detachPort(p))
	}
	for _, l := range s.links {
		errs = append(errs, l.Unpin())
	}
	s.mu.Unlock()
	errs = append(errs, s.Close(), removePins(s.options.PinDir))
	for _, name := range []string{s.options.UpName, s.options.VXLANName, s.options.RoomName} {
		if l, err := netlink.LinkByName(name); err == nil {
			errs = append(errs, netlink.LinkDel(l))
		}
	}
	return errors.Join(errs...)
}

func removePins(dir string) error {
	if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove pins: %w", err)
	}
	return nil
}
