package ebpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// What an earlier version has pinned in another layout is taken over without a
// gap: while its programs go on, maps of this layout are made beside its own and
// filled from them, field by field, by the names that both layouts' BTF tell
// (convert.go). Then each link gets the new program, what the old ones noted of
// flows in the meantime is noted here too, and the old pins go. Until that is
// done, no flow begins: a packet that no flow lets through is missed and judged
// afterwards, for its flow may be one that only the old programs know, or its
// answer may meet them (settings.joining).
//
// The new pins are made under layout+partSuffix, and the links stay where they
// are pinned until all have the new programs, so a start that was cut short is
// begun again.

// readable are the older layouts whose pins are taken over.
var readable = []string{"v2", "v3", "v4"}

const partSuffix = "-part" // a BPF file system allows no dots

// notCopied are the maps that are written anew, or whose content is of the moment.
var notCopied = []string{dswitchMapConfig, dswitchMapEvents, dswitchMapSampled, dswitchMapTurns}

func linksIn(dir string) string { return filepath.Join(dir, "links") }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// older returns the pins of an older layout that are to be taken over, or "". It
// ends a take-over that was cut short after it could not fail any more.
func (s *Switch) older() (string, error) {
	part := s.pins + partSuffix
	if exists(linksIn(part)) {
		if err := os.Rename(part, s.pins); err != nil {
			return "", fmt.Errorf("go on with pins: %w", err)
		}
	}
	if err := os.RemoveAll(part); err != nil {
		return "", fmt.Errorf("remove pins: %w", err)
	}
	entries, err := os.ReadDir(s.options.PinDir)
	if err != nil {
		return "", fmt.Errorf("pin directory: %w", err)
	}
	found := ""
	for _, e := range entries {
		dir := filepath.Join(s.options.PinDir, e.Name())
		links, err := os.ReadDir(linksIn(dir))
		switch {
		case dir == s.pins || errors.Is(err, fs.ErrNotExist) && !slices.Contains(readable, e.Name()):
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("pin directory: %w", err)
		case len(links) == 0:
			if err := os.RemoveAll(dir); err != nil { // its links have moved on
				return "", fmt.Errorf("remove pins: %w", err)
			}
		case !slices.Contains(readable, e.Name()):
			return "", fmt.Errorf("%s is of another version of dswitch, and this one reads the maps of %s only: run the version that wrote them, or take them down with its dswitch remove, guests lose their connections",
				dir, strings.Join(append(slices.Clone(readable), layout), ", "))
		case exists(s.pins):
			return "", fmt.Errorf("%s and %s are both in use: remove the one that is not, with the dswitch remove of its version", dir, s.pins)
		default:
			found = dir
		}
	}
	return found, nil
}

// copyMaps fills the maps from those of an older layout: the flows last, and the
// programs of that layout go on with them.
func (s *Switch) copyMaps() error {
	var names []string
	for name, m := range s.spec.Maps {
		if m.Pinning == ebpf.PinByName && !slices.Contains(notCopied, name) {
			names = append(names, name)
		}
	}
	isFlows := func(name string) bool { return name == dswitchMapFlows4 || name == dswitchMapFlows6 }
	slices.SortFunc(names, func(a, b string) int {
		if isFlows(a) != isFlows(b) {
			if isFlows(a) {
				return 1
			}
			return -1
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		if err := copyMap(filepath.Join(s.old, name), filepath.Join(s.pins, name), s.spec.Maps[name]); err != nil {
			return fmt.Errorf("map %s: %w", name, err)
		}
	}
	return nil
}

func copyMap(from, to string, spec *ebpf.MapSpec) error {
	old, err := ebpf.LoadPinnedMap(from, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // that layout has none
	}
	if err != nil {
		return err
	}
	defer old.Close()
	new, err := ebpf.LoadPinnedMap(to, nil)
	if err != nil {
		return err
	}
	defer new.Close()
	c, err := newConverter(old, spec)
	if err != nil {
		return err
	}
	if old.Type() == ebpf.PerCPUHash || old.Type() == ebpf.PerCPUArray {
		return c.copyCounters(old, new)
	}
	return c.each(old, func(key, value []byte) error {
		return new.Update(key, value, ebpf.UpdateAny)
	})
}

// rewritePorts writes what an older layout did not have of ports, and counts the
// flows that were copied where it did not.
func (s *Switch) rewritePorts() error {
	domains := map[uint32]bool{}
	var sum dswitchPortState
	for _, p := range s.ports {
		if err := s.writePort(p); err != nil {
			return err
		}
		var state dswitchPortState
		if err := s.maps.PortStates.Lookup(uint32(p.ID), &state); err != nil {
			return fmt.Errorf("port %d: map port_states: %w", p.ID, err)
		}
		sum.Flows += state.Flows
		sum.Unconfirmed += state.Unconfirmed
		domains[s.networks[p.VNI].Domain] = true
	}
	for domain := range domains {
		if err := s.recount(domain); err != nil {
			return err
		}
	}
	var all dswitchPortState
	if err := s.maps.PortStates.Lookup(uint32(0), &all); err != nil {
		return fmt.Errorf("map port_states: %w", err)
	}
	all.Flows, all.Unconfirmed = sum.Flows, sum.Unconfirmed
	if err := update(s.maps.PortStates, uint32(0), all); err != nil {
		return fmt.Errorf("map port_states: %w", err)
	}
	return nil
}

// joinFlows notes what the programs of an older layout noted of flows since a
// tick. None of them runs any more.
func (s *Switch) joinFlows(since uint32) error {
	for _, name := range []string{dswitchMapFlows4, dswitchMapFlows6} {
		m, err := ebpf.LoadPinnedMap(filepath.Join(s.old, name), nil)
		if err != nil {
			return fmt.Errorf("map %s: %w", name, err)
		}
		c, err := newConverter(m, s.spec.Maps[name])
		if err == nil {
			err = c.each(m, func(key, value []byte) error { return s.join(name, key, value, since) })
		}
		if err := errors.Join(err, m.Close()); err != nil {
			return fmt.Errorf("map %s: %w", name, err)
		}
	}
	return nil
}

// join notes one flow, as the maps of this layout have it.
func (s *Switch) join(name string, key, value []byte, since uint32) error {
	var f dswitchFlow
	if err := decode(value, &f); err != nil || int32(f.Last-since) < 0 {
		return err
	}
	args := dswitchAdoptArgs{Port: f.Port, State: uint8(f.State & flowCarried), Proto: f.Proto, Uid: f.Uid, Join: 1}
	if now := uint32(monotonic() / tick); int32(now-f.Last) > 0 {
		args.Idle = now - f.Last
	}
	if name == dswitchMapFlows4 {
		var k dswitchFlow4Key
		if err := decode(key, &k); err != nil {
			return err
		}
		args.Vni, args.Src, args.Dst, args.SrcPort, args.DstPort = k.Vni, mappedWords(k.Lo), mappedWords(k.Hi), k.LoPort, k.HiPort
	} else {
		var k dswitchFlow6Key
		if err := decode(key, &k); err != nil {
			return err
		}
		args.V6, args.Vni, args.Src, args.Dst, args.SrcPort, args.DstPort = 1, k.Vni, k.Lo, k.Hi, k.LoPort, k.HiPort
	}
	if f.Initiator == 1 {
		args.Src, args.Dst, args.SrcPort, args.DstPort = args.Dst, args.Src, args.DstPort, args.SrcPort
		args.Uid[0], args.Uid[1] = args.Uid[1], args.Uid[0]
	}
	_, err := s.adoptRaw(args)
	return err
}

// finishUpgrade ends the take-over of an older layout's pins once all links have the
// programs of this one.
func (s *Switch) finishUpgrade(since uint32) error {
	if err := s.waitForPrograms(); err != nil {
		return err
	}
	if err := s.joinFlows(since); err != nil {
		return err
	}
	final := strings.TrimSuffix(s.pins, partSuffix)
	if err := os.Rename(linksIn(s.old), linksIn(s.pins)); err != nil {
		return fmt.Errorf("move the pinned links: %w", err)
	}
	if err := os.Rename(s.pins, final); err != nil {
		return fmt.Errorf("move pins: %w", err)
	}
	s.pins, s.linkDir = final, linksIn(final)
	return removePins(s.old)
}
