package packet

import (
	"encoding/binary"
	"slices"
)

const (
	tagSize       = 4
	etherTypeVLAN = 0x8100 // IEEE 802.1Q
	etherTypeQinQ = 0x88a8 // IEEE 802.1ad
	vlanIDs       = 0xfff  // of a tag; the rest is a priority
)

func isTag(etherType []byte) bool {
	t := binary.BigEndian.Uint16(etherType)
	return t == etherTypeVLAN || t == etherTypeQinQ
}

// Untag returns the VLAN id of a frame's tag and a copy of the frame without it. A frame
// without tag is of VLAN 0, as is one whose tag tells a priority alone. False: the tag
// is cut short, another one follows, or it is a provider's.
func Untag(frame []byte) (vlan uint16, inner []byte, ok bool) {
	if len(frame) < ethernetSize || !isTag(frame[12:14]) {
		return 0, frame, true
	}
	if len(frame) < ethernetSize+tagSize || binary.BigEndian.Uint16(frame[12:14]) != etherTypeVLAN || isTag(frame[16:18]) {
		return 0, frame, false
	}
	return binary.BigEndian.Uint16(frame[14:16]) & vlanIDs, slices.Concat(frame[:12], frame[16:]), true
}

// Tag returns the frame with a tag of that VLAN id, itself if that is 0.
func Tag(frame []byte, vlan uint16) []byte {
	if vlan == 0 {
		return frame
	}
	tag := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, etherTypeVLAN), vlan&vlanIDs)
	return slices.Concat(frame[:12], tag, frame[12:])
}
