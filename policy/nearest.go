package policy

import (
	"math/bits"
	"slices"
	"strings"

	"dove.network/blueprint"
	"dove.network/dove"
)

// Terms of a policy that a packet can fail. Of policies that fail equally many,
// the one that fails the least significant terms is the nearest.
const (
	failSide = 1 << iota
	failFamily
	failPort
	failProtocol
	failTo
	failFrom
)

// Isolated is the term that Nearest names for members of an isolated group.
const Isolated = "isolated"

var failNames = []string{"side", "family", "port", "protocol", "to", "from"}

// Nearest explains a default deny of a packet from src to dst: the rule that
// would have allowed it if the fewest of its terms were different, and those
// terms: "from", "to", "protocol", "port" "family" and "side" (it counts at one end only),
// separated by ", ", or Isolated for members of an isolated group. The port is as
// in verdict.Table.Lookup.
// Only policies that name a group of src in from or one of dst in to are near;
// both strings are empty if there is none. A rule that does allow the packet
// is returned without a term.
func (d *Domain) Nearest(src, dst Signature, protocol dove.Protocol, port uint16) (rule, failed string) {
	best := 0
	from, to := d.Names(src), d.Names(dst)
	for _, i := range d.near(from, to) {
		r := d.rules[i]
		if r.Shadow {
			continue
		}
		ends := 0
		if r.Side != blueprint.BothSides {
			ends |= failSide
		}
		if !r.of(src, dst) {
			ends |= failFamily
		}
		if !meet(r.from, from) {
			ends |= failFrom
		}
		if !meet(r.to, to) {
			ends |= failTo
		}
		for _, t := range r.Allow {
			fails := ends | misses(t, dst, protocol, port)
			if rule == "" || nearer(fails, best) {
				rule, best = r.name, fails
			}
		}
	}
	if rule != "" && best == 0 {
		return rule, ""
	}
	for _, g := range src.Groups {
		if d.groups[g].Isolated && names(dst.Groups, g) {
			return blueprint.GroupRuleName(g), Isolated
		}
	}
	var terms []string
	for bit := len(failNames) - 1; bit >= 0; bit-- {
		if best&(1<<bit) != 0 {
			terms = append(terms, failNames[bit])
		}
	}
	return rule, strings.Join(terms, ", ")
}

// near returns the rules that name one end by one of its names, ascending.
func (d *Domain) near(from, to []dove.Group) []int {
	var found []int
	for _, g := range from {
		found = append(found, d.from[g]...)
	}
	for _, g := range to {
		found = append(found, d.to[g]...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// misses says which terms of one traffic a packet fails. A port counts across
// protocols that have ports: udp/80 is nearer to tcp/80 than udp/53 is. A port by
// name is no port of a target that does not have the name.
func misses(t blueprint.Traffic, dst Signature, protocol dove.Protocol, port uint16) int {
	fails := 0
	m, known := dst.match(t)
	if !known {
		fails |= failPort
	} else if t.Port != "" {
		t.First, t.Last = m.First, m.Last
	}
	if t.Protocol != dove.ProtocolAny && t.Protocol != protocol {
		fails |= failProtocol
	}
	comparable := t.Protocol == protocol || t.Protocol.HasPorts() && protocol.HasPorts()
	if known && comparable && (port < t.First || port > t.Last) {
		fails |= failPort
	}
	return fails
}

func nearer(a, b int) bool {
	if x, y := bits.OnesCount(uint(a)), bits.OnesCount(uint(b)); x != y {
		return x < y
	}
	return a < b
}
