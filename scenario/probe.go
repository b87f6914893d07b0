package scenario

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"dove.network/dove"
)

// Probe is the first packet of a conversation. Port is the destination port, or
// type<<8|code for ICMP, or 0 for protocols without ports. Protocol ProtocolAny
// (and Port 0) is ping: the echo request of whichever family it is sent over.
type Probe struct {
	Protocol dove.Protocol
	Port     uint16
}

// Ping is the echo request of the family at hand.
var Ping = Probe{}

// Echo requests as type<<8|code.
const (
	echo4 = 8 << 8
	echo6 = 128 << 8
)

// Over returns the probe's protocol and port between addresses of the family of
// a; ok is false if it does not exist there.
func (p Probe) Over(a netip.Addr) (protocol dove.Protocol, port uint16, ok bool) {
	v4 := a.Unmap().Is4()
	switch {
	case p == Ping && v4:
		return dove.ProtocolICMP, echo4, true
	case p == Ping:
		return dove.ProtocolICMPv6, echo6, true
	case p.Protocol == dove.ProtocolICMP:
		return p.Protocol, p.Port, v4
	case p.Protocol == dove.ProtocolICMPv6:
		return p.Protocol, p.Port, !v4
	}
	return p.Protocol, p.Port, true
}

// answered reports whether who gets the probe answers it.
func (p Probe) answered() bool { return p == Ping || p.Protocol.HasPorts() }

func (p Probe) String() string {
	switch {
	case p == Ping:
		return "ping"
	case p.Protocol.IsICMP():
		return fmt.Sprintf("%s/%d/%d", p.Protocol, p.Port>>8, p.Port&255)
	case p.Protocol.HasPorts():
		return fmt.Sprintf("%s/%d", p.Protocol, p.Port)
	}
	return fmt.Sprintf("proto/%d", uint8(p.Protocol))
}

// ParseProbe reads what String prints; the code of an ICMP type may be left out
// if it is 0.
func ParseProbe(s string) (Probe, error) {
	name, rest, _ := strings.Cut(s, "/")
	switch name {
	case "ping":
		if rest == "" && s == "ping" {
			return Ping, nil
		}
	case "tcp", "udp", "sctp":
		protocol, err := dove.ParseProtocol(name)
		if err != nil {
			panic(err)
		}
		if port, err := strconv.ParseUint(rest, 10, 16); err == nil && port > 0 {
			return Probe{protocol, uint16(port)}, nil
		}
	case "icmp", "icmpv6":
		protocol := dove.ProtocolICMP
		if name == "icmpv6" {
			protocol = dove.ProtocolICMPv6
		}
		kind, code, coded := strings.Cut(rest, "/")
		if !coded {
			code = "0"
		}
		t, err1 := strconv.ParseUint(kind, 10, 8)
		c, err2 := strconv.ParseUint(code, 10, 8)
		if err1 == nil && err2 == nil {
			return Probe{protocol, uint16(t<<8 | c)}, nil
		}
	case "proto":
		n, err := strconv.ParseUint(rest, 10, 8)
		if p := dove.Protocol(n); err == nil && n > 0 && !p.HasPorts() && !p.IsICMP() {
			return Probe{p, 0}, nil
		}
	}
	return Probe{}, fmt.Errorf("%q is no probe: write tcp/80, udp/53, sctp/9, icmp/8/0, icmpv6/128/0, proto/47 or ping", s)
}
