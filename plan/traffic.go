package plan

import (
	"slices"
	"strings"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/verdict"
)

// Traffic is what a Line is about: a range of one protocol, or every protocol
// but some.
type Traffic struct {
	blueprint.Traffic
	Except []dove.Protocol // ascending; only of dove.ProtocolAny
}

// Has reports whether the first packet of a flow is such; the port is as in verdict.Table.Lookup.
func (t Traffic) Has(protocol dove.Protocol, port uint16) bool {
	if t.Protocol == dove.ProtocolAny {
		return !slices.Contains(t.Except, protocol)
	}
	return t.Protocol == protocol && t.First <= port && port <= t.Last
}

// String writes it as a blueprint does, and "any but tcp, udp" where that has no
// word. Port 0, which nothing uses, is not told.
func (t Traffic) String() string {
	if t.Protocol.HasPorts() && t.First == 0 && 0 < t.Last && t.Last < 65535 {
		t.First = 1
	}
	var text strings.Builder
	text.WriteString(t.Traffic.String())
	for i, p := range t.Except {
		text.WriteString([]string{" but ", ", "}[min(i, 1)] + blueprint.Traffic{Protocol: p, Last: 65535}.String())
	}
	return text.String()
}

// Texts writes a list: all of both ICMPs is "icmp", as in a blueprint.
func Texts(list []Traffic) []string {
	whole := func(p dove.Protocol) func(Traffic) bool {
		return func(t Traffic) bool { return t.Traffic == blueprint.Traffic{Protocol: p, Last: 65535} }
	}
	both := slices.ContainsFunc(list, whole(dove.ProtocolICMP)) && slices.ContainsFunc(list, whole(dove.ProtocolICMPv6))
	var out []string
	for _, t := range list {
		switch {
		case both && whole(dove.ProtocolICMP)(t):
			out = append(out, "icmp")
		case both && whole(dove.ProtocolICMPv6)(t):
		default:
			out = append(out, t.String())
		}
	}
	return out
}

// opinion is what one state says of some packets.
type opinion struct {
	allow bool
	rule  string
}

// turn is what becomes of some traffic, and who says so.
type turn struct {
	op            Op
	before, after string
}

// piece is one turn with all its traffic between two classes. key is the same
// for equal pieces.
type piece struct {
	turn
	traffic []Traffic
	key     string
}

// pieces compares two tables, of which nil stands for networks that are not
// joined: what passed and will not, and the reverse. They are in a fixed order.
func pieces(before, after *verdict.Table) []piece {
	if before.Equal(after) {
		return nil
	}
	var protocols []dove.Protocol
	for _, t := range []*verdict.Table{before, after} {
		if t != nil {
			for _, s := range t.Sections {
				protocols = append(protocols, s.Protocol)
			}
		}
	}
	slices.Sort(protocols)
	protocols = slices.Compact(protocols)

	found := map[turn][]Traffic{}
	note := func(b, a opinion, t Traffic) {
		if b.allow == a.allow {
			return
		}
		op := Removed
		if a.allow {
			op = Added
		}
		found[turn{op, b.rule, a.rule}] = append(found[turn{op, b.rule, a.rule}], t)
	}
	for _, p := range protocols {
		bs, as := intervals(before, p), intervals(after, p)
		for first := 0; first <= 65535; {
			b, a := bs[0], as[0]
			last := min(b.Last, a.Last)
			// Neighbours that turn alike are one range.
			t := Traffic{Traffic: blueprint.Traffic{Protocol: p, First: uint16(first), Last: last}}
			bo, ao := say(before, b.Verdict), say(after, a.Verdict)
			note(bo, ao, t)
			if b.Last == last {
				bs = bs[1:]
			}
			if a.Last == last {
				as = as[1:]
			}
			first = int(last) + 1
		}
	}
	rest := Traffic{Traffic: blueprint.Traffic{Last: 65535}, Except: protocols}
	if before == nil || after == nil || before.Default.Allow != after.Default.Allow {
		b, a := opinion{false, Unrouted}, opinion{false, Unrouted}
		if before != nil {
			b = say(before, before.Default)
		}
		if after != nil {
			a = say(after, after.Default)
		}
		note(b, a, rest)
	}
	var out []piece
	for t, list := range found {
		p := piece{turn: t, traffic: condense(list)}
		p.key = t.op.String() + "\x00" + t.before + "\x00" + t.after + "\x00" + strings.Join(exact(p.traffic), "\x00")
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b piece) int { return strings.Compare(a.key, b.key) })
	return out
}

// intervals returns what a table says of a protocol, one interval if it has no section.
func intervals(t *verdict.Table, p dove.Protocol) []verdict.Interval {
	if t == nil {
		return []verdict.Interval{{Last: 65535}}
	}
	for _, s := range t.Sections {
		if s.Protocol == p {
			return s.Intervals
		}
	}
	return []verdict.Interval{{Last: 65535, Verdict: t.Default}}
}

func say(t *verdict.Table, v verdict.Verdict) opinion {
	if t == nil {
		return opinion{false, Unrouted}
	}
	return opinion{v.Allow, t.Name(v)}
}

// condense joins neighbouring ranges, and protocols that turn whole with the rest.
func condense(list []Traffic) []Traffic {
	var out []Traffic
	for _, t := range list {
		if n := len(out); n > 0 && out[n-1].Protocol == t.Protocol && int(out[n-1].Last)+1 == int(t.First) {
			out[n-1].Last = t.Last
			continue
		}
		out = append(out, t)
	}
	rest := &out[len(out)-1]
	if rest.Protocol != dove.ProtocolAny {
		return out
	}
	like := func(t Traffic) bool {
		return t.Protocol != dove.ProtocolAny && t.First == 0 && t.Last == 65535
	}
	except := slices.Clone(rest.Except)
	for _, t := range out {
		if like(t) {
			except = slices.DeleteFunc(except, func(p dove.Protocol) bool { return p == t.Protocol })
		}
	}
	if rest.Except = except; len(except) == 0 {
		rest.Except = nil
	}
	return slices.DeleteFunc(out, like)
}

// exact writes each entry with all that it says.
func exact(list []Traffic) []string {
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = t.Traffic.String()
		for _, p := range t.Except {
			out[i] += "-" + p.String()
		}
	}
	return out
}
