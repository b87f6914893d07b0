package dove

import (
	"fmt"
	"strconv"
	"strings"
)

// VNI is a 24-bit VXLAN network identifier (RFC 7348). 0 means none.
type VNI uint32

// VNIMax is the largest VNI.
const VNIMax VNI = 1<<24 - 1

// VLANMax is the largest id of a VLAN tag in a guest's frames.
const VLANMax = 4094

// Class stands for addresses that are alike for policy, within one domain. It
// travels in the 16-bit group policy id of the VXLAN-GBP header.
type Class uint16

// Classes that are never assigned to an endpoint's address by policy.
const (
	ClassNone     Class = 0     // no class: nothing is allowed
	ClassInfra    Class = 1     // the fleet itself
	ClassReserved Class = 65535 // never assigned
)

// Revision is the store's version of the world. Revisions compare only within
// one incarnation of the store.
type Revision int64

// UID tells one life of an endpoint from the next one under the same name.
type UID uint64

// Epoch numbers the bindings of an endpoint; a claim with an older one loses.
type Epoch uint64

// Protocol is an IP protocol number (IANA). 0 stands for any protocol in policies.
type Protocol uint8

// Protocols that policies can name.
const (
	ProtocolAny    Protocol = 0
	ProtocolICMP   Protocol = 1
	ProtocolTCP    Protocol = 6
	ProtocolUDP    Protocol = 17
	ProtocolICMPv6 Protocol = 58
	ProtocolSCTP   Protocol = 132
)

var protocolNames = map[Protocol]string{
	ProtocolAny: "any", ProtocolICMP: "icmp", ProtocolTCP: "tcp",
	ProtocolUDP: "udp", ProtocolICMPv6: "icmpv6", ProtocolSCTP: "sctp",
}

func (p Protocol) String() string {
	if s, ok := protocolNames[p]; ok {
		return s
	}
	return strconv.Itoa(int(p))
}

// HasPorts reports whether the protocol's packets start with two 16-bit ports.
func (p Protocol) HasPorts() bool {
	return p == ProtocolTCP || p == ProtocolUDP || p == ProtocolSCTP
}

// IsICMP reports whether the protocol is ICMP or ICMPv6, whose "port" in
// verdicts and flows is type<<8 | code.
func (p Protocol) IsICMP() bool { return p == ProtocolICMP || p == ProtocolICMPv6 }

// ParseProtocol reads a protocol's name or number.
func ParseProtocol(s string) (Protocol, error) {
	for p, name := range protocolNames {
		if s == name {
			return p, nil
		}
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("unknown protocol %q: use tcp, udp, sctp, icmp, icmpv6, any or a number from 1 to 255", s)
	}
	return Protocol(n), nil
}

// MAC is a 48-bit Ethernet address.
type MAC [6]byte

func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// IsUnicast reports whether m is a non-zero individual address.
func (m MAC) IsUnicast() bool { return m[0]&1 == 0 && m != MAC{} }

// ParseMAC reads six hexadecimal bytes with colons.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	if len(s) != 17 {
		return m, fmt.Errorf("MAC address %q is not of the form 02:00:00:00:00:01", s)
	}
	for i := range 6 {
		b, err := strconv.ParseUint(s[i*3:i*3+2], 16, 8)
		if err != nil || (i < 5 && s[i*3+2] != ':') {
			return MAC{}, fmt.Errorf("MAC address %q is not of the form 02:00:00:00:00:01", s)
		}
		m[i] = byte(b)
	}
	return m, nil
}

// MarshalText prints the MAC for JSON and YAML.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText prints.
func (m *MAC) UnmarshalText(b []byte) error {
	v, err := ParseMAC(string(b))
	*m = v
	return err
}

// Port is a port of a protocol that has ports: tcp/80.
type Port struct {
	Protocol Protocol
	Number   uint16 // from 1
}

func (p Port) String() string { return p.Protocol.String() + "/" + strconv.Itoa(int(p.Number)) }

// MarshalText prints the port as ParsePort reads it.
func (p Port) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (p *Port) UnmarshalText(b []byte) error {
	v, err := ParsePort(string(b))
	*p = v
	return err
}

// ParsePort reads tcp/80, udp/53 or sctp/9.
func ParsePort(s string) (Port, error) {
	name, number, _ := strings.Cut(s, "/")
	protocol, err := ParseProtocol(name)
	n, bad := strconv.ParseUint(number, 10, 16)
	if err != nil || bad != nil || n == 0 || !protocol.HasPorts() || protocol.String() != name {
		return Port{}, fmt.Errorf("%q is no port: write tcp/80, udp/53 or sctp/9, from 1 to 65535", s)
	}
	return Port{protocol, uint16(n)}, nil
}
