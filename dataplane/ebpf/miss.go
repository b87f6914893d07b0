package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"dove.network/atonce"
	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
)

// A missed frame's MACs say what it needs to come back (ask in forward.h): the
// destination 02, d0 + direction + missBack, port (2 bytes), want, the port's life; from the overlay the
// source its own last two bytes, VTEP number (2 bytes), class (2 bytes).
const (
	missPrefix    = 0x02
	missDirection = 0xd0
	missBack      = 2 // it was given back once, and misses still
	wantAt        = vnetSize + 4
)

// missBatch is how many misses are given to take at once; the first time it is all that
// waited for a reader, for what an agent gave back as it stopped may be the last of it.
const (
	missBatch = 64
	missFirst = 1024
)

// Misses gives what the kernel could not judge to take, in its order, until Rest or Close; what
// was given back before and misses still is older than what was not, and comes first of what is taken at once.
// One may call it at a time.
func (s *Switch) Misses(take func([]dataplane.Miss)) {
	s.reading.Lock()
	defer s.reading.Unlock()
	buffer := make([]byte, vnetSize+1<<16)
	for most := missFirst; ; most = missBatch {
		var misses, back []dataplane.Miss
		var failed error
		err := s.tap.Read(func(fd uintptr) bool {
			for len(back)+len(misses) < most {
				var n int
				if n, failed = atonce.Read(fd, buffer); failed != nil {
					break
				}
				switch m, ok := s.missOf(buffer[:n]); {
				case !ok || s.claimed(m): // not ok: the host's own stack spoke
				case m.Frame[vnetSize+1]&missBack != 0:
					back = append(back, m)
				default:
					misses = append(misses, m)
				}
			}
			return len(back)+len(misses) > 0 || failed != unix.EAGAIN
		})
		if misses = append(back, misses...); len(misses) > 0 {
			take(misses)
		}
		if err != nil || failed != nil && failed != unix.EAGAIN {
			return // closed, or at rest
		}
	}
}

// claimed reports whether a guest claims an address by what was read, which is told then.
func (s *Switch) claimed(m dataplane.Miss) bool {
	if m.Want != dataplane.WantClaim {
		return false
	}
	select {
	case s.claims <- dataplane.Claim{Port: m.Port, Addr: m.Local}:
	default:
	}
	return true
}

// missOf reads what came by the tap: a frame behind its virtio_net_hdr.
func (s *Switch) missOf(b []byte) (dataplane.Miss, bool) {
	if len(b) < vnetSize+14 {
		return dataplane.Miss{}, false
	}
	frame := b[vnetSize:]
	if frame[0] != missPrefix || frame[1]&^(1|missBack) != missDirection {
		return dataplane.Miss{}, false
	}
	m := dataplane.Miss{
		Port:      dataplane.PortID(binary.BigEndian.Uint16(frame[2:4])),
		Direction: dataplane.Direction(frame[1] & 1),
		Want:      dataplane.Want(frame[4]),
		Frame:     append([]byte(nil), b...),
	}
	p, _ := packet.Parse(frame) // the kernel has found no fault in it
	m.Tuple = dataplane.Tuple{VNI: s.vniOf(m.Port), Src: p.Src, Dst: p.Dst, Protocol: p.Protocol, SrcPort: p.SrcPort, DstPort: p.DstPort}
	m.Local, m.Peer = p.Src, p.Dst
	if m.Direction == dataplane.FromOverlay {
		m.Local, m.Peer = p.Dst, p.Src
	}
	return m, true
}

func (s *Switch) vniOf(id dataplane.PortID) dove.VNI {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.ports[id]; p != nil {
		return p.VNI
	}
	return 0
}

// Inject implements dataplane.Switch.
func (s *Switch) Inject(m dataplane.Miss) error {
	if s.testing {
		_, _, err := s.ReInject(m)
		return err
	}
	m.Frame[wantAt] = byte(m.Want) // that may have changed
	// The kernel carries it as far as it gets before this returns.
	err := s.giveBack(m.Frame)
	if err != nil {
		err = fmt.Errorf("give a missed packet back on %s: %w", s.options.UpName, err)
	}
	return errors.Join(err, s.yield(m))
}

func (s *Switch) giveBack(frame []byte) (err error) {
	if s.tap.Write(func(fd uintptr) bool {
		_, err = atonce.Write(fd, frame)
		return err != unix.EAGAIN
	}) != nil {
		return os.ErrClosed
	}
	return err
}

// Discard implements dataplane.Switch.
func (s *Switch) Discard(m dataplane.Miss, r dataplane.Reason) {
	d := dataplane.Drop{At: time.Now(), Port: m.Port, Direction: m.Direction, Reason: r, Tuple: m.Tuple}
	size := len(m.Frame) - vnetSize
	if m.Direction == dataplane.FromOverlay {
		size += packet.OverlaySize(s.config.VTEP)
	}
	if s.tally.discard(d, size) {
		s.report(d)
	}
	_ = s.yield(m) // what fails heals after TurnFor
}

// tupleOf reads a tuple of the kernel. Packets whose addresses were not read
// have none.
func tupleOf(e *dswitchEvent) dataplane.Tuple {
	t := dataplane.Tuple{VNI: dove.VNI(e.Vni), Protocol: dove.Protocol(e.Proto), SrcPort: e.SrcPort, DstPort: e.DstPort}
	if e.Src != [4]uint32{} || e.Dst != [4]uint32{} {
		t.Src, t.Dst = mappedAddr(e.Src), mappedAddr(e.Dst)
	}
	return t
}

// overlayFrame makes of an overlay packet what vx_in would have made of it: the
// frame that goes to the agent.
func (s *Switch) overlayFrame(frame []byte, port dataplane.PortID, want dataplane.Want) ([]byte, error) {
	outer, inner, fault := packet.Decap(frame)
	if fault != packet.OK {
		return nil, fmt.Errorf("a missed overlay packet has a fault: %v", fault)
	}
	s.mu.Lock()
	number := s.vtepNumbers[outer.Src]
	s.mu.Unlock()
	var state dswitchPortState
	if err := s.maps.PortStates.Lookup(uint32(port), &state); err != nil {
		return nil, fmt.Errorf("port %d: map port_states: %w", port, err)
	}
	b := append([]byte(nil), inner...)
	packet.MarkCongested(b, outer.TOS)
	b[0], b[1], b[4], b[5] = missPrefix, missDirection+byte(dataplane.FromOverlay), byte(want), byte(state.Life)
	binary.BigEndian.PutUint16(b[2:], uint16(port))
	b[6], b[7] = b[10], b[11]
	binary.BigEndian.PutUint16(b[8:], uint16(number))
	binary.BigEndian.PutUint16(b[10:], uint16(outer.Class))
	return b, nil
}
