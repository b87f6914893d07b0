package verdict

import "dove.network/dove"

// Match selects packets by what their flow's first packet asks for. Protocol
// ProtocolAny matches every protocol, and then First and Last are 0 and 65535.
// First and Last bound the destination port, or type<<8|code for ICMP and
// ICMPv6, both inclusive. Other protocols have 0 and 65535.
type Match struct {
	Protocol    dove.Protocol
	First, Last uint16
}

// Rule is one line of a half: what it matches, what it says, and the name of
// the policy that said so.
type Rule struct {
	Match Match
	Allow bool
	Name  string
}

// Half is one end's opinion: the egress half of a source or the ingress half
// of a target. A deny rule beats an allow rule; among rules that say the same,
// the least name is the one named. What no rule matches gets Default, named
// DefaultName. A stateful half lets replies of an allowed flow pass.
type Half struct {
	Rules       []Rule
	Default     bool
	DefaultName string
	Stateful    bool
}

// Verdict is what a table says of one packet.
type Verdict struct {
	Allow bool
	Rule  uint16 // index in Table.Names
}

// Interval is a verdict for a closed range of ports (ICMP: type<<8|code).
type Interval struct {
	First, Last uint16
	Verdict     Verdict
}

// Section is what a table says of one protocol: disjoint intervals in
// ascending order that cover 0 to 65535 without a gap.
type Section struct {
	Protocol  dove.Protocol
	Intervals []Interval
}

// Table is the product of two halves: the verdicts for every packet from one
// class to another. Sections are in ascending order of protocol; a protocol
// without a section gets Default. Names[v.Rule] names the rule behind v.
// EgressStateful and IngressStateful say which half needs flow state.
// A Table is immutable; make one with Product or Decode.
type Table struct {
	Default         Verdict
	Sections        []Section
	Names           []string
	EgressStateful  bool
	IngressStateful bool
}

// Digest names a table by its content (SHA-256, first 16 bytes).
type Digest [16]byte

// DefaultDeny names the rule behind a verdict that no policy gave.
const DefaultDeny = "default-deny"
