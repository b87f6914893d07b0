package soft

import (
	"dove.network/dataplane"
	"dove.network/packet"
)

// arrival is a guest's frame without its tag, at the port of the device that has the
// tag's VLAN. False: no port has it; then it is at the one without, if there is one.
func (s *Switch) arrival(device dataplane.PortID, frame []byte) (*transit, bool) {
	t := &transit{direction: dataplane.FromGuest, frame: frame}
	at := s.ports[device]
	vlan, inner, ok := packet.Untag(frame)
	if at != nil && ok {
		t.port = s.sharing(at, vlan)
	}
	switch {
	case t.port != nil:
		t.frame, t.inner = inner, inner
	case at != nil:
		ok, t.port = false, s.sharing(at, 0)
	}
	if t.port != nil {
		t.tuple.VNI = t.port.VNI
	}
	return t, ok
}

// sharing returns the port with a VLAN on the device that a port has.
func (s *Switch) sharing(p *port, vlan uint16) *port {
	if p.VLAN == vlan {
		return p
	}
	for _, o := range s.ports {
		if p.Ifindex != 0 && o.Ifindex == p.Ifindex && o.VLAN == vlan {
			return o
		}
	}
	return nil
}

// send and receive switch a frame of a guest and of the wire.
func (s *Switch) send(t *transit) (dataplane.Outcome, []byte) {
	o, frame := s.fromGuest(t)
	return o, s.leave(t, o, frame)
}

func (s *Switch) receive(t *transit) (dataplane.Outcome, []byte) {
	o, frame := s.fromWire(t)
	return o, s.leave(t, o, frame)
}

// leave puts the tag on what goes to a guest of a port with one.
func (s *Switch) leave(t *transit, o dataplane.Outcome, frame []byte) []byte {
	switch {
	case frame == nil:
	case o.Action == dataplane.Delivered:
		return packet.Tag(frame, s.ports[o.Port].VLAN)
	case o.Action != dataplane.Tunneled && t.direction == dataplane.FromGuest:
		return packet.Tag(frame, t.port.VLAN)
	}
	return frame
}
