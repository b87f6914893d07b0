package ebpf

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"

	"dove.network/dataplane"
)

// layout names what the maps look like (maps.h). Maps of another one are taken
// over where readable has it (upgrade.go).
const layout = "v5"

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
	s.newSweeper()
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
		TurnTicks:     turnTicks,
	}
	if s.old != "" {
		settings.Joining = 1
	}
	settings.MissBurst = settings.MissInterval * uint64(s.options.MissBurst)
	settings.EventBurst = settings.EventInterval * eventBurst
	if err := update(s.maps.Config, uint32(0), settings); err != nil {
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
	if err := update(s.maps.PortStates, uint32(0), all); err != nil {
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
