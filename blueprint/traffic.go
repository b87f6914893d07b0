package blueprint

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dove.network/dove"
)

// fault is a trouble whose place the caller knows.
type fault struct {
	kind          dove.Kind
	message, hint string
}

func invalid(hint, format string, args ...any) *fault {
	return &fault{dove.Invalid, fmt.Sprintf(format, args...), hint}
}

// every is the range of a Traffic that says nothing of ports or ICMP types.
func every(p dove.Protocol) Traffic { return Traffic{Protocol: p, Last: 65535} }

// unseen are the numbers of IPv6 extension headers, which the switch does not carry.
var unseen = []dove.Protocol{43, 44, 60, 135, 139, 140}

// PortNameMax is the longest name of a port, as IANA has it.
const PortNameMax = 15

// CheckPortName reports whether s may name a port of an endpoint: up to
// PortNameMax of a-z, 0-9 and single inner hyphens, with a letter among them.
func CheckPortName(s string) error {
	bad := func(r rune) bool { return r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }
	letter := func(r rune) bool { return r >= 'a' && r <= 'z' }
	if s == "" || len(s) > PortNameMax || strings.ContainsFunc(s, bad) || !strings.ContainsFunc(s, letter) ||
		s[0] == '-' || s[len(s)-1] == '-' || strings.Contains(s, "--") {
		return fmt.Errorf("%s cannot name a port: write 1 to %d of a-z, 0-9 and single inner hyphens, with a letter", quote(s), PortNameMax)
	}
	return nil
}

const trafficHint = "write tcp/443, udp/5000-5099, icmp, icmp/8, icmpv6/128, sctp, proto/47 or any"

// parseTraffic reads one entry of allow or deny.
func parseTraffic(s string) ([]Traffic, *fault) {
	head, rest, parts := strings.Cut(s, "/")
	switch head {
	case "any":
		if parts {
			return nil, invalid("write any", "%s: any takes no ports", quote(s))
		}
		return []Traffic{every(dove.ProtocolAny)}, nil
	case "proto":
		return parseNumber(s, rest)
	case "icmp", "icmpv4", "icmpv6":
		return parseICMP(s, head, rest, parts)
	case "tcp", "udp", "sctp":
		protocol, _ := dove.ParseProtocol(head)
		if !parts {
			return []Traffic{every(protocol)}, nil
		}
		if CheckPortName(rest) == nil {
			return []Traffic{{Protocol: protocol, Port: rest}}, nil
		}
		first, last, f := parsePorts(s, head, rest)
		if f != nil {
			return nil, f
		}
		return []Traffic{{Protocol: protocol, First: first, Last: last}}, nil
	}
	if _, err := strconv.ParseUint(head, 10, 64); err == nil {
		return nil, invalid("write tcp/"+head+" or udp/"+head, "%s has no protocol before the port", quote(s))
	}
	hint := trafficHint
	if best := dove.Nearest(head, slices.Values([]string{"tcp", "udp", "sctp", "icmp", "icmpv4", "icmpv6", "any", "proto"})); best != "" {
		hint = fmt.Sprintf("did you mean %q?", best)
	}
	return nil, invalid(hint, "unknown protocol in %s", quote(s))
}

func parseNumber(s, number string) ([]Traffic, *fault) {
	n, err := strconv.ParseUint(number, 10, 8)
	if err != nil || n == 0 {
		return nil, invalid("write proto/47, with an IP protocol number from 1 to 255", "%s is no protocol", quote(s))
	}
	if p := dove.Protocol(n); slices.Contains(unseen, p) {
		return nil, &fault{dove.Unsupported, quote(s) + " is an IPv6 extension header: this version carries none", "leave it out"}
	}
	return []Traffic{every(dove.Protocol(n))}, nil
}

// parsePorts reads a port from 1 to 65535, or two with a hyphen.
func parsePorts(s, head, ports string) (first, last uint16, f *fault) {
	low, high, isRange := strings.Cut(ports, "-")
	if !isRange {
		high = low
	}
	a, err1 := strconv.ParseUint(low, 10, 16)
	b, err2 := strconv.ParseUint(high, 10, 16)
	switch {
	case err1 != nil || err2 != nil:
		hint := fmt.Sprintf("write %[1]s/80 or %[1]s/8000-8080, ports are from 1 to 65535", head)
		if strings.Contains(ports, ",") {
			hint = "write one entry for each port"
		}
		return 0, 0, invalid(hint, "%s: %s is no port or range of ports", quote(s), quote(ports))
	case a == 0:
		return 0, 0, invalid("write "+head+" for every port", "%s: there is no port 0", quote(s))
	case a > b:
		return 0, 0, invalid(fmt.Sprintf("write %s/%d-%d", head, b, a), "%s: the range ends before it starts", quote(s))
	}
	return uint16(a), uint16(b), nil
}

// parseICMP reads icmp, icmp/TYPE or icmp/TYPE/CODE. Types differ between the
// two protocols, so only the bare word stands for both.
func parseICMP(s, head, rest string, parts bool) ([]Traffic, *fault) {
	protocol := dove.ProtocolICMP
	if head == "icmpv6" {
		protocol = dove.ProtocolICMPv6
	}
	if !parts {
		if head == "icmp" {
			return []Traffic{every(dove.ProtocolICMP), every(dove.ProtocolICMPv6)}, nil
		}
		return []Traffic{every(protocol)}, nil
	}
	kind, code, hasCode := strings.Cut(rest, "/")
	t, err := strconv.ParseUint(kind, 10, 8)
	if err != nil {
		return nil, invalid("write icmp/8 for the echo of IPv4, icmpv6/128 for that of IPv6", "%s: %s is no ICMP type from 0 to 255", quote(s), quote(kind))
	}
	if !hasCode {
		return []Traffic{{Protocol: protocol, First: uint16(t) << 8, Last: uint16(t)<<8 | 255}}, nil
	}
	c, err := strconv.ParseUint(code, 10, 8)
	if err != nil {
		return nil, invalid(fmt.Sprintf("write %s/%d for every code", head, t), "%s: %s is no ICMP code from 0 to 255", quote(s), quote(code))
	}
	return []Traffic{{Protocol: protocol, First: uint16(t)<<8 | uint16(c), Last: uint16(t)<<8 | uint16(c)}}, nil
}

// String prints an entry as a tenant writes it. All of ICMP alone is "icmpv4".
func (t Traffic) String() string {
	name := t.Protocol.String()
	if t == every(t.Protocol) {
		switch {
		case t.Protocol == dove.ProtocolICMP:
			return "icmpv4"
		case name[0] <= '9':
			return "proto/" + name
		}
		return name
	}
	switch {
	case t.Port != "":
		return name + "/" + t.Port
	case t.Protocol.IsICMP() && t.First == t.Last:
		return fmt.Sprintf("%s/%d/%d", name, t.First>>8, t.First&255)
	case t.Protocol.IsICMP() && t.First&255 == 0 && t.Last == t.First|255:
		return fmt.Sprintf("%s/%d", name, t.First>>8)
	case t.First == t.Last:
		return fmt.Sprintf("%s/%d", name, t.First)
	}
	return fmt.Sprintf("%s/%d-%d", name, t.First, t.Last)
}

// Compare orders entries by protocol, first and last port, and the port's name.
func (t Traffic) Compare(o Traffic) int {
	return cmp.Or(cmp.Compare(t.Protocol, o.Protocol), cmp.Compare(t.First, o.First), cmp.Compare(t.Last, o.Last), cmp.Compare(t.Port, o.Port))
}
