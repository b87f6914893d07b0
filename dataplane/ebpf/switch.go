package ebpf

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/vishvananda/netlink"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/verdict"
)

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
	tap      syscall.RawConn // up
	ring     *ringbuf.Reader
	readers  sync.WaitGroup
	reading  sync.Mutex // held while misses are read
	hops     *hops
	room     netlink.Link // nil if there is none
	drops    chan dataplane.Drop
	claims   chan dataplane.Claim
	hints    chan dataplane.Hint
	notes    chan dataplane.Note

	sweeper     sweeper
	yielding    sync.RWMutex // read-held while yield runs its program, which Close must not take away
	mu          sync.Mutex
	networks    map[dove.VNI]dataplane.Network
	vteps       map[netip.Addr]dataplane.SetVTEP
	vtepNumbers map[netip.Addr]uint32 // places in vtep_addrs, of all that ever were
	ports       map[dataplane.PortID]*port
	owners      map[dataplane.PeerKey]dataplane.PortID // addresses of ports
	lenders     map[dove.UID]bool                      // lives of the ports that are allowed something
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
	shadows     map[shade]*shadow
	stale       bool // the programs count for rules in shadow that no pair has any more
	rules       int  // entries of all tables
	lastTable   uint32
	unused      []verdict.Digest
	erased      []uint32 // table ids, oldest first
	dests       *slots
	pairSlots   *slots
	changed     bool // something was taken away or replaced since the last grace period
	closed      int  // ports of which counters may be left

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
		drops:       make(chan dataplane.Drop, o.DropQueue),
		claims:      make(chan dataplane.Claim, claimQueue),
		hints:       make(chan dataplane.Hint, o.DropQueue),
		notes:       make(chan dataplane.Note, o.DropQueue),
		shadows:     map[shade]*shadow{},
		networks:    map[dove.VNI]dataplane.Network{},
		vteps:       map[netip.Addr]dataplane.SetVTEP{},
		vtepNumbers: map[netip.Addr]uint32{},
		ports:       map[dataplane.PortID]*port{},
		owners:      map[dataplane.PeerKey]dataplane.PortID{},
		lenders:     map[dove.UID]bool{},
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

func (s *Switch) open() error {
	underlay, err := netlink.LinkByName(s.config.Underlay)
	if err != nil {
		return fmt.Errorf("underlay device %s: %w", s.config.Underlay, err)
	}
	vxlan, err := openVXLAN(s.options.VXLANName)
	if err != nil {
		return err
	}
	file, up, err := upOf(s.options.Kept, s.options.UpName)
	if err != nil {
		return err
	}
	kept := file != nil
	if !kept {
		if file, up, err = openUp(s.options.UpName); err != nil {
			return err
		}
	}
	s.up = file // nobody else reads from it: of what is pinned nobody makes use now
	if s.tap, err = file.SyscallConn(); err != nil {
		return fmt.Errorf("tap %s: %w", s.options.UpName, err)
	}
	if !kept && s.options.Keep != nil {
		s.options.Keep(file)
	}
	s.room = openRoom(s.options.RoomName, vxlan)
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

// Rest has what misses from now on wait in the tap, for the next run that gets its
// descriptor. When it returns, so has Misses.
func (s *Switch) Rest() error {
	if err := s.up.SetReadDeadline(time.Now()); err != nil {
		return fmt.Errorf("stop reading %s: %w", s.options.UpName, err)
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	return nil
}

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
	s.reading.Lock()
	defer s.reading.Unlock()
	s.readers.Wait()
	if s.hops != nil {
		s.hops.routes.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.drops)
	close(s.claims)
	close(s.hints)
	close(s.notes)
	for _, l := range s.links {
		errs = append(errs, l.Close())
	}
	for _, p := range s.ports {
		for _, l := range p.links {
			errs = append(errs, l.Close())
		}
	}
	s.sweeper.Lock()
	defer s.sweeper.Unlock()
	s.yielding.Lock()
	defer s.yielding.Unlock()
	return errors.Join(append(errs, s.programs.Close(), s.maps.Close(), s.inner.Close(), s.grace.Close())...)
}

// Remove takes everything down that Open and Apply made, and closes the switch.
// Guest ports are left down.
func (s *Switch) Remove() error {
	s.mu.Lock()
	var errs []error
	for id, p := range s.ports {
		errs = append(errs, s.detachPort(p))
		delete(s.ports, id)
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
