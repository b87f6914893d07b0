package blueprint

import (
	"slices"
	"strings"

	"dove.network/dove"
)

// Op says what happened to a part of a blueprint.
type Op uint8

// What can happen.
const (
	Added Op = iota
	Removed
	Changed
)

func (o Op) String() string { return [...]string{"added", "removed", "changed"}[o] }

// Part says which sort of part of a blueprint.
type Part uint8

// The parts, in the order in which Compare lists them.
const (
	PartDomain Part = iota
	PartTier
	PartNetwork
	PartRouter
	PartOutside
	PartGroup
	PartPolicy
)

func (p Part) String() string {
	return [...]string{"domain", "tier", "network", "router", "outside", "group", "policy"}[p]
}

// Change is one difference between two versions of a blueprint. Before and
// After are the part's canonical text, "" where it was or is not there.
type Change struct {
	Op            Op
	Part          Part
	Name          string // "" for the domain and the tier
	Before, After string
}

// String prints the change as one line: "+ group web: {network: front}".
func (c Change) String() string {
	title := strings.TrimSpace(c.Part.String()+" "+c.Name) + ": "
	switch c.Op {
	case Added:
		return "+ " + title + c.After
	case Removed:
		return "- " + title + c.Before
	}
	return "~ " + title + c.Before + " -> " + c.After
}

// Compare lists what differs between two versions: the domain and the tier, then
// networks, routers, outsides, groups and policies by name. Either may be nil: then all of the other was
// removed or added.
func Compare(old, new *Blueprint) []Change {
	var changes []Change
	before, after := old.parts(), new.parts()
	for len(before) > 0 || len(after) > 0 {
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		default:
			order = before[0].compare(after[0])
		}
		switch {
		case order < 0:
			changes = append(changes, Change{Removed, before[0].part, before[0].name, before[0].body, ""})
			before = before[1:]
		case order > 0:
			changes = append(changes, Change{Added, after[0].part, after[0].name, "", after[0].body})
			after = after[1:]
		default:
			if before[0].body != after[0].body {
				changes = append(changes, Change{Changed, after[0].part, after[0].name, before[0].body, after[0].body})
			}
			before, after = before[1:], after[1:]
		}
	}
	return changes
}

// printed is a part as text.
type printed struct {
	part       Part
	name, body string
}

func (p printed) compare(o printed) int {
	if p.part != o.part {
		return int(p.part) - int(o.part)
	}
	return strings.Compare(p.name, o.name)
}

// parts prints all parts of b in order.
func (b *Blueprint) parts() []printed {
	if b == nil {
		return nil
	}
	all := []printed{{PartDomain, "", b.Domain}}
	if b.Tier != Tenant {
		all = append(all, printed{PartTier, "", b.Tier.String()})
	}
	for _, n := range b.Networks {
		all = append(all, printed{PartNetwork, n.Name, n.body()})
	}
	for _, r := range b.Routers {
		all = append(all, printed{PartRouter, r.Name, r.body()})
	}
	for _, o := range b.Outside {
		all = append(all, printed{PartOutside, o.Name, o.body()})
	}
	for _, g := range b.Groups {
		all = append(all, printed{PartGroup, g.Name, g.body()})
	}
	for _, p := range b.Policies {
		all = append(all, printed{PartPolicy, p.Name, "{" + b.policyBody(p) + "}"})
	}
	return all
}

// Equal reports whether two blueprints say the same; where they stood in their
// texts does not matter. Either may be nil.
func (b *Blueprint) Equal(o *Blueprint) bool {
	if b == nil || o == nil {
		return b == o
	}
	return b.Tenant == o.Tenant && b.Name == o.Name && b.Domain == o.Domain && b.Tier == o.Tier &&
		slices.EqualFunc(b.Networks, o.Networks, func(x, y Network) bool {
			return x.Name == y.Name && slices.Equal(x.Subnets, y.Subnets)
		}) &&
		slices.EqualFunc(b.Routers, o.Routers, Router.Equal) &&
		slices.EqualFunc(b.Outside, o.Outside, func(x, y Outside) bool {
			return x.Name == y.Name && slices.Equal(x.Prefixes, y.Prefixes) && slices.Equal(x.Except, y.Except)
		}) &&
		slices.EqualFunc(b.Groups, o.Groups, func(x, y Group) bool { return x.Name == y.Name && x.body() == y.body() }) &&
		slices.EqualFunc(b.Policies, o.Policies, func(x, y Policy) bool {
			return x.Name == y.Name && slices.Equal(x.From, y.From) && slices.Equal(x.To, y.To) &&
				slices.Equal(x.Allow, y.Allow) && slices.Equal(x.Deny, y.Deny) && slices.Equal(x.Pass, y.Pass) &&
				x.Side == y.Side && x.Family == y.Family && x.Priority == y.Priority && x.Log == y.Log && x.Shadow == y.Shadow && x.Until.Equal(y.Until)
		})
}

// RuleName returns the name under which verdicts cite a policy: "blueprint/policy".
func (b *Blueprint) RuleName(p Policy) string { return b.Name + "/" + p.Name }

// GroupRuleName returns the name under which verdicts cite that members of a
// group may talk to each other: "blueprint/group/members".
func GroupRuleName(g dove.Group) string { return g.Blueprint + "/" + g.Name + "/members" }

// DefaultRuleName returns the name under which verdicts cite what a group says
// of packets that no policy decides about: "blueprint/group/default".
func DefaultRuleName(g dove.Group) string { return g.Blueprint + "/" + g.Name + "/default" }
