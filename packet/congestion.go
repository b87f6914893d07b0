package packet

import "encoding/binary"

// ECN is the lower two bits of a TOS or traffic class (RFC 3168): what routers
// on the way may say of congestion, if the sender understands it.
const (
	ecnMask   = 3
	congested = 3
)

// Unmarkable reports whether the underlay says congestion of a packet whose
// sender would not understand: it is dropped instead (RFC 6040, section 4.2).
func Unmarkable(inner, outer uint8) bool { return outer&ecnMask == congested && inner&ecnMask == 0 }

// Marked is the TOS of an inner packet after the outer header's mark.
func Marked(inner, outer uint8) uint8 {
	if outer&ecnMask == congested {
		return inner | congested
	}
	return inner
}

// MarkCongested hands the outer header's mark on to the inner frame, if there is
// one: as Linux does, of the underlay's ECN nothing else is copied.
func MarkCongested(frame []byte, outer uint8) {
	if Marked(0, outer) == 0 {
		return
	}
	switch ip := frame[ethernetSize:]; binary.BigEndian.Uint16(frame[12:14]) {
	case etherTypeIPv4:
		setTOS(ip, ip[1]|congested)
	case etherTypeIPv6:
		ip[1] |= congested << 4
	}
}

// setTOS changes the TOS of an IPv4 header and keeps its checksum as right or
// wrong as it was (RFC 1624).
func setTOS(ip []byte, tos uint8) {
	setWord(ip, 0, uint16(ip[0])<<8|uint16(tos), 10)
}

// setWord changes the word at a place of what the checksum at another covers.
func setWord(b []byte, at int, is uint16, checkAt int) {
	was, check := binary.BigEndian.Uint16(b[at:]), ^binary.BigEndian.Uint16(b[checkAt:])
	binary.BigEndian.PutUint16(b[at:], is)
	binary.BigEndian.PutUint16(b[checkAt:], ^fold(uint32(check)+uint32(^was)+uint32(is)))
}
