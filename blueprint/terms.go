package blueprint

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"dove.network/dove"
	"go.yaml.in/yaml/v4"
)

const (
	yamlSequence = yaml.SequenceNode
	yamlScalar   = yaml.ScalarNode
)

// oneOf reads one of a few words.
func oneOf[T fmt.Stringer](p *parser, n node, what string, words ...T) T {
	s, ok := p.text(n, what)
	var known []string
	for _, w := range words {
		if ok && w.String() == s {
			return w
		}
		known = append(known, w.String())
	}
	if ok {
		p.add(dove.Invalid, n.place(), fmt.Sprintf("%s is %s", what, quote(s)), "write "+strings.Join(known[:len(known)-1], ", ")+" or "+known[len(known)-1])
	}
	return words[0]
}

var defaultShape = shape{
	what:    "a default",
	known:   []string{"egress", "ingress"},
	example: "default: allow or default: {ingress: deny}",
}

// defaults reads what a group says of packets that no policy decides about: one
// word for both directions, or one for each.
func (p *parser) defaults(n node) (egress, ingress Default) {
	if n.Kind == yaml.ScalarNode && !n.isNull() {
		both := oneOf(p, n, "default", DefaultAllow, DefaultDeny)
		return both, both
	}
	if n.isNull() {
		p.add(dove.Invalid, n.place(), "default is empty", "write "+defaultShape.example)
		return DefaultNone, DefaultNone
	}
	keys, ok := p.fields(n, defaultShape)
	if ok && len(keys) == 0 {
		p.add(dove.Invalid, n.place(), "default says nothing", "write "+defaultShape.example)
	}
	if v, given := keys["egress"]; given {
		egress = oneOf(p, v, "egress", DefaultAllow, DefaultDeny)
	}
	if v, given := keys["ingress"]; given {
		ingress = oneOf(p, v, "ingress", DefaultAllow, DefaultDeny)
	}
	return egress, ingress
}

// readTerms reads what a policy says beside who and what.
func (p *parser) readTerms(at node, keys map[string]node, policy *Policy) {
	if v, given := keys["side"]; given {
		policy.Side = oneOf(p, v, "side", Egress, Ingress)
	}
	if v, given := keys["family"]; given {
		policy.Family = oneOf(p, v, "family", IPv4, IPv6)
	}
	switch v, given := keys["priority"]; {
	case given && p.b.Tier == Tenant:
		p.add(dove.Invalid, v.place(), "priority is for policies of tier provider or baseline", "leave it out: among a tenant's policies deny beats allow")
	case given:
		policy.Priority = p.priority(v)
	case p.b.Tier != Tenant:
		p.add(dove.Invalid, at.place(), "a policy of tier "+p.b.Tier.String()+" has no priority", fmt.Sprintf("write priority: and a number up to %d; the lowest comes first", PriorityMax))
	}
	if v, given := keys["log"]; given {
		policy.Log = p.boolean(v, "log")
		p.b.places[item{kind: itemLog, name: policy.Name}] = v.place()
	}
	if v, given := keys["shadow"]; given {
		policy.Shadow = p.boolean(v, "shadow")
		p.b.places[item{kind: itemShadow, name: policy.Name}] = v.place()
	}
	if v, given := keys["until"]; given {
		policy.Until = p.until(v)
	}
}

func (p *parser) priority(n node) uint32 {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" {
		if v, err := strconv.ParseUint(n.Value, 10, 32); err == nil && v <= PriorityMax {
			return uint32(v)
		}
	}
	p.add(dove.Invalid, n.place(), fmt.Sprintf("priority must be a number from 0 to %d, not %s", PriorityMax, n.sort()), "")
	return 0
}

// moment is a date and time as RFC 3339 has it, which time.Parse does not insist on.
var moment = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})$`)

func (p *parser) until(n node) time.Time {
	s, ok := p.text(n, "until")
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	t = t.UTC()
	if err != nil || !moment.MatchString(s) || t.Year() < 1970 || t.Year() > 9999 {
		p.add(dove.Invalid, n.place(), fmt.Sprintf("until is %s", quote(s)), `write a date and time: "2026-12-31T00:00:00Z"`)
		return time.Time{}
	}
	return t
}
