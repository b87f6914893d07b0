package verdict

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"dove.network/dove"
)

// Match selects packets by what their flow's first packet asks for. Protocol
// ProtocolAny matches every protocol, and then First and Last are 0 and 65535.
// First and Last bound the destination port, or type<<8|code for ICMP and
// ICMPv6, both inclusive. Other protocols have 0 and 65535.
type Match struct {
	Protocol    dove.Protocol
	First, Last uint16
}

// Action is what a rule says of the packets that it matches.
type Action uint8

// What a rule can say, in order of precedence. Pass, of tier Provider only,
// skips the other rules of that tier.
const (
	Deny Action = iota
	Allow
	Pass
)

// Tier says when a rule counts.
type Tier uint8

// The tiers, in order of precedence. Closed is for what a group says of packets
// that no policy of the tenant decides about.
const (
	Provider Tier = iota
	Tenant
	Closed
	Baseline
)

// Rule is one line of a half: what it matches, what it says, when it counts,
// and the name of the policy that said so. Of one tier the lowest priority comes
// first. Log tells of packets that the half decides about as the rule says. A
// Shadow rule decides nothing: a table says what it would have decided.
type Rule struct {
	Match       Match
	Action      Action
	Tier        Tier
	Priority    uint32
	Name        string
	Log, Shadow bool
}

// Half is one end's opinion: the egress half of a source or the ingress half
// of a target. The first tier, and in it the lowest priority, that has a rule for
// a packet decides; there a deny rule beats an allow rule, and that one a pass. Among
// rules that say the same, the least name is the one named. What no rule matches
// gets Default, named DefaultName. A stateful half lets replies of an allowed flow
// pass; one that is not judges replies as it judges any packet.
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

	// NoReply: a reply of a flow that the other direction opened does not pass
	// either, because a half that is not stateful denies it.
	NoReply bool
	// Log: a rule that says what was decided wants it told.
	Log bool
	// Would is 0 unless rules in shadow would decide: then Names[Would-1] names
	// the rule, and WouldAllow is what it says.
	Would      uint16
	WouldAllow bool
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

	digest Digest // of the encoding; zero in a literal
}

// Digest names a table by its content: the first 16 bytes of the SHA-256 of
// its encoding.
type Digest [16]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// DefaultDeny names the rule behind a verdict that no policy gave.
const DefaultDeny = "default-deny"

// TableTooLarge names the rule behind every verdict of a table that would not
// fit IntervalsMax or EncodedMax: it denies everything.
const TableTooLarge = "table-too-large"

// Limits of one table.
const (
	IntervalsMax = 16384   // intervals in all sections together
	NameMax      = 600     // bytes of one name
	EncodedMax   = 1 << 20 // bytes of the encoding
)

// Lookup says what the table says of a packet: its protocol, and its
// destination port (ICMP and ICMPv6: type<<8|code; others: 0).
func (t *Table) Lookup(protocol dove.Protocol, port uint16) Verdict {
	for i := range t.Sections {
		s := &t.Sections[i]
		if s.Protocol != protocol {
			continue
		}
		at, _ := slices.BinarySearchFunc(s.Intervals, port, func(iv Interval, port uint16) int {
			return cmp.Compare(iv.Last, port)
		})
		return s.Intervals[at].Verdict
	}
	return t.Default
}

// Name returns the name of the rule behind a verdict of this table.
func (t *Table) Name(v Verdict) string { return t.Names[v.Rule] }

// WouldName returns the name of the rule that would decide if those in shadow
// counted, "" if none of these would.
func (t *Table) WouldName(v Verdict) string {
	if v.Would == 0 {
		return ""
	}
	return t.Names[v.Would-1]
}

// Stateful reports whether a reply of any flow that the table allows passes by it.
func (t *Table) Stateful() bool { return t.EgressStateful && t.IngressStateful }

// all yields the verdicts of a table, some more than once.
func (t *Table) all(yield func(Verdict) bool) {
	if !yield(t.Default) {
		return
	}
	for _, s := range t.Sections {
		for _, iv := range s.Intervals {
			if !yield(iv.Verdict) {
				return
			}
		}
	}
}

// Shadows returns, in order, what decides about some packet if rules in shadow count.
func (t *Table) Shadows() []string {
	names := map[string]bool{}
	for v := range t.all {
		if v.Would > 0 {
			names[t.WouldName(v)] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// AllowsAny reports whether any packet at all is allowed.
func (t *Table) AllowsAny() bool {
	for v := range t.all {
		if v.Allow {
			return true
		}
	}
	return false
}

// Digest names the table by its content. Tables made by Product or Decode know
// theirs; that of a literal is computed at each call.
func (t *Table) Digest() Digest {
	if t.digest == (Digest{}) {
		return digestOf(t.Encode())
	}
	return t.digest
}

// Equal reports whether two tables say the same in the same names.
func (t *Table) Equal(o *Table) bool {
	if t == nil || o == nil {
		return t == o
	}
	return t.Digest() == o.Digest()
}

// String draws the table, one line a range, for people and for tests.
func (t *Table) String() string {
	var b strings.Builder
	line := func(what string, v Verdict) {
		word := map[bool]string{false: "deny", true: "allow"}
		fmt.Fprintf(&b, "%-18s %-5s %s", what, word[v.Allow], t.Name(v))
		if v.NoReply {
			b.WriteString(", no reply")
		}
		if v.Log {
			b.WriteString(", log")
		}
		if v.Would > 0 {
			fmt.Fprintf(&b, ", would %s by %s", word[v.WouldAllow], t.WouldName(v))
		}
		b.WriteByte('\n')
	}
	for _, s := range t.Sections {
		for _, iv := range s.Intervals {
			line(fmt.Sprintf("%s/%d-%d", s.Protocol, iv.First, iv.Last), iv.Verdict)
		}
	}
	line("other", t.Default)
	return b.String()
}

func digestOf(encoded []byte) Digest {
	sum := sha256.Sum256(encoded)
	return Digest(sum[:16])
}

// checkName reports what is wrong with a rule's name: names are shown in logs,
// metrics and terminals, wherever a table came from.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a rule's name is empty")
	case len(name) > NameMax:
		return fmt.Errorf("a rule's name is %d bytes long, at most %d are allowed", len(name), NameMax)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("rule name %q holds what cannot be printed", name)
	}
	return nil
}
