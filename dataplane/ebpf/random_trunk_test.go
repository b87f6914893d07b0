package ebpf

import (
	"slices"

	"dove.network/dataplane"
	"dove.network/packet"
)

// trunk puts a port on a device that others may have too, mostly under a VLAN.
func (w *twins) trunk(p *dataplane.Port) {
	switch p.ID {
	case 1:
		p.Ifindex = 11
	case 2:
		p.Ifindex, p.VLAN = 12, one[uint16](w.r, 0, 0, 5) // with it, nothing has what comes without
	default:
		if w.chance(80) {
			p.Ifindex, p.VLAN = 11, one[uint16](w.r, 7, 9, 4094)
		}
	}
}

// tagged makes a port's frame as its guest writes it, mostly.
func (w *twins) tagged(p dataplane.Port, frame []byte) []byte {
	vlan := p.VLAN
	if w.chance(7) {
		vlan = one[uint16](w.r, 0, 5, 7, 9, 4094, 4095)
	}
	if vlan == 0 && !w.chance(5) {
		return frame
	}
	b := slices.Concat(frame[:12], []byte{0x81, 0, byte(vlan >> 8), byte(vlan)}, frame[12:])
	if w.chance(20) {
		b[14] |= byte(w.r.IntN(16)) << 4 // a priority
	}
	switch w.r.IntN(40) {
	case 0:
		b = slices.Concat(b[:12], one(w.r, []byte{0x81, 0, 0, 7}, []byte{0x88, 0xa8, 0, 7}), b[12:])
	case 1:
		b[12], b[13] = 0x88, 0xa8
	case 2:
		b = b[:14+w.r.IntN(6)] // cut short
	}
	return b
}

// whose is the port that a frame of a device is of, as far as it can be told.
func (w *twins) whose(device dataplane.PortID, frame []byte) dataplane.Port {
	vlan, _, _ := packet.Untag(frame)
	at := w.ports[device]
	for _, p := range w.ports {
		if p.Ifindex != 0 && p.Ifindex == at.Ifindex && p.VLAN == vlan {
			return p
		}
	}
	return at
}
