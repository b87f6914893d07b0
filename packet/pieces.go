package packet

import (
	"encoding/binary"

	"dove.network/dove"
)

// Fragments cuts an IPv4 or IPv6 frame without extension headers into fragments
// of at most size bytes of payload, a multiple of 8. The don't-fragment bit goes.
func Fragments(frame []byte, size int, id uint32) [][]byte {
	v4 := binary.BigEndian.Uint16(frame[12:14]) == etherTypeIPv4
	at := ethernetSize + ipv6Size
	if v4 {
		at = ethernetSize + int(frame[ethernetSize]&0xf)*4
	}
	var pieces [][]byte
	payload := frame[at:]
	for offset := 0; offset < len(payload); offset += size {
		part := payload[offset:min(offset+size, len(payload))]
		more := offset+size < len(payload)
		piece := append([]byte(nil), frame[:at]...)
		ip := piece[ethernetSize:]
		if v4 {
			binary.BigEndian.PutUint16(ip[2:], uint16(at-ethernetSize+len(part)))
			binary.BigEndian.PutUint16(ip[4:], uint16(id))
			binary.BigEndian.PutUint16(ip[6:], fragmentField(offset/8, more, 0x2000))
			ip[10], ip[11] = 0, 0
			binary.BigEndian.PutUint16(ip[10:], ^fold(sum(0, ip)))
		} else {
			header := []byte{ip[6], 0, 0, 0, 0, 0, 0, 0}
			binary.BigEndian.PutUint16(header[2:], fragmentField(offset, more, 1))
			binary.BigEndian.PutUint32(header[4:], id)
			binary.BigEndian.PutUint16(ip[4:], uint16(len(header)+len(part)))
			ip[6] = fragment
			piece = append(piece, header...)
		}
		pieces = append(pieces, append(piece, part...))
	}
	return pieces
}

func fragmentField(offset int, more bool, bit uint16) uint16 {
	if more {
		return uint16(offset) | bit
	}
	return uint16(offset)
}

// Extend puts an extension header of the given protocol between an IPv6 header
// and what follows it. The body's length with the two bytes that it is behind is a
// multiple of 8, for authentication headers of 4.
func Extend(frame []byte, p dove.Protocol, body []byte) []byte {
	at := ethernetSize + ipv6Size
	extended := append([]byte(nil), frame[:at]...)
	size := len(body) + 2
	units := size/8 - 1
	if p == authentication {
		units = size/4 - 2
	}
	extended = append(extended, frame[ethernetSize+6], byte(units))
	extended = append(append(extended, body...), frame[at:]...)
	extended[ethernetSize+6] = byte(p)
	binary.BigEndian.PutUint16(extended[ethernetSize+4:], uint16(len(extended)-at))
	return extended
}
