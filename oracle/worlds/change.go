package worlds

import (
	"math/rand/v2"
	"slices"

	"dove.network/blueprint"
)

// Change changes one thing in a blueprint, of which other copies stay as they are; false if there is nothing
// to change: a tier that says nothing any more.
func Change(r *rand.Rand, b *blueprint.Blueprint) bool {
	b.Policies, b.Groups = slices.Clone(b.Policies), slices.Clone(b.Groups)
	switch {
	case len(b.Policies)+len(b.Groups) == 0:
		return false
	case len(b.Policies) == 0 || r.IntN(5) == 0:
		redescribe(r, b)
		return true
	}
	i := r.IntN(len(b.Policies))
	switch p := &b.Policies[i]; r.IntN(4) {
	case 0:
		p.From, p.To = p.To, p.From
	case 1:
		p.Allow, p.Deny = p.Deny, p.Allow
	case 2:
		p.Allow, p.Deny = append(slices.Clone(p.Allow), p.Deny...), nil
		slices.SortFunc(p.Allow, blueprint.Traffic.Compare)
	default:
		b.Policies = slices.Delete(b.Policies, i, i+1)
	}
	return true
}

// redescribe changes what a group or an outside is, which may put endpoints into
// other classes.
func redescribe(r *rand.Rand, b *blueprint.Blueprint) {
	if len(b.Outside) > 0 && r.IntN(2) == 0 {
		b.Outside = slices.Clone(b.Outside)
		o, other := &b.Outside[r.IntN(len(b.Outside))], b.Outside[r.IntN(len(b.Outside))]
		o.Prefixes, o.Except = other.Prefixes, nil
		return
	}
	if len(b.Groups) == 0 {
		return
	}
	g, other := &b.Groups[r.IntN(len(b.Groups))], b.Groups[r.IntN(len(b.Groups))]
	switch r.IntN(3) {
	case 0:
		g.Isolated = !g.Isolated
	case 1:
		g.Selector = other.Selector
	default:
		g.Egress, g.Ingress = other.Ingress, other.Egress
	}
}
