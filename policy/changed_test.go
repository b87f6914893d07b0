package policy_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/oracle/worlds"
	"dove.network/policy"
)

var seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the random tests")

// TestRenewedPairsAreThoseOfTheDomain: what Pairs remembers across a change is what
// the changed domain says, and it does remember: just the pairs that Changed tells are made again.
func TestRenewedPairsAreThoseOfTheDomain(t *testing.T) {
	t.Logf("go test ./policy -run %s -seed %d", t.Name(), *seed)
	r := rand.New(rand.NewPCG(*seed, 0))
	kept, again, all := 0, 0, 0
	for n := range 15 {
		w := worlds.Rich(r, "acme")
		p := policy.NewPairs(policy.Compile(w.Blueprints, w.Edge))
		before := policy.Compile(w.Blueprints, w.Edge)
		var signatures []policy.Signature
		for _, m := range w.Members {
			for _, a := range worlds.Addrs {
				signatures = append(signatures, before.Signature(policy.Member{Groups: m.Groups, Labels: m.Labels, Ports: m.Ports, Open: m.Open}, a))
			}
		}
		slices.SortFunc(signatures, func(a, b policy.Signature) int { return strings.Compare(a.Key(), b.Key()) })
		signatures = slices.CompactFunc(signatures, func(a, b policy.Signature) bool { return a.Key() == b.Key() })
		for range 3 {
			tables := map[[2]int]any{}
			for i, src := range signatures {
				for j, dst := range signatures {
					tables[[2]int{i, j}] = p.Table(src, dst)
				}
			}
			next, edge := edited(r, w)
			after := policy.Compile(next, edge)
			shift, made := p.Renew(after), p.Compiled()
			touched, sides := 0, make([]policy.Side, len(signatures))
			for i, s := range signatures {
				sides[i] = shift.Side(s)
			}
			for i, src := range signatures {
				for j, dst := range signatures {
					all++
					touches := sides[i].Differs(sides[j])
					if touches {
						touched++
					}
					got, want := p.Table(src, dst), after.Table(src, dst)
					switch is := any(got) == tables[[2]int{i, j}]; {
					case is:
						kept++
					case !touches:
						t.Fatalf("world %d: the table of %s to %s is another, and the change does not touch them", n, src.Key(), dst.Key())
					}
					if got.Digest() != want.Digest() {
						t.Fatalf("world %d, %s to %s: remembered\n%sbut it is\n%s%s", n, src.Key(), dst.Key(), got, want, w)
					}
				}
			}
			if again := p.Compiled() - made; again != touched {
				t.Fatalf("world %d: a change that touches %d pairs has %d made again", n, touched, again)
			}
			again += touched
			w.Blueprints, w.Edge = next, edge
		}
	}
	t.Logf("of %d tables %d stayed, and %d were made again", all, kept, again)
	if again == 0 || again == all {
		t.Errorf("of %d tables %d were made again", all, again)
	}
}

// edited changes one thing in a world's intent.
func edited(r *rand.Rand, w *worlds.World) ([]*blueprint.Blueprint, time.Time) {
	all, edge := slices.Clone(w.Blueprints), w.Edge
	at := r.IntN(len(all))
	b := *all[at]
	b.Policies, b.Groups, b.Outside = slices.Clone(b.Policies), slices.Clone(b.Groups), slices.Clone(b.Outside)
	switch r.IntN(6) {
	case 0:
		edge = worlds.Edges[r.IntN(len(worlds.Edges))]
	case 1:
		if len(b.Policies) > 0 {
			i := r.IntN(len(b.Policies))
			b.Policies = slices.Delete(b.Policies, i, i+1)
		}
	case 2:
		if len(b.Policies) > 0 {
			p := &b.Policies[r.IntN(len(b.Policies))]
			switch r.IntN(6) {
			case 0:
				p.From, p.To = p.To, p.From
			case 1:
				p.Side = blueprint.Side(r.IntN(3))
			case 2:
				p.Allow, p.Deny = p.Deny, p.Allow
			case 3:
				p.Log = !p.Log
			case 4:
				p.Shadow = !p.Shadow
			case 5:
				p.Priority++
			}
		}
	case 3:
		if len(b.Groups) > 0 {
			g := &b.Groups[r.IntN(len(b.Groups))]
			switch r.IntN(3) {
			case 0:
				g.Isolated = !g.Isolated
			case 1:
				g.Stateless = !g.Stateless
			case 2:
				g.Egress, g.Ingress = blueprint.Default(r.IntN(3)), blueprint.Default(r.IntN(3))
			}
		}
	case 4:
		if len(b.Outside) > 0 {
			o := &b.Outside[r.IntN(len(b.Outside))]
			o.Prefixes = slices.Clone(o.Prefixes)[:max(1, len(o.Prefixes)-1)]
			o.Except = nil
		}
	case 5:
		if len(b.Policies) > 0 {
			p := b.Policies[r.IntN(len(b.Policies))]
			p.Name = "new"
			p.From, p.To = p.To, p.From
			b.Policies = append(b.Policies, p)
		}
	}
	all[at] = &b
	return all, edge
}

// BenchmarkRenew changes one policy of a domain of which many pairs are held, and
// asks for all of them again.
func BenchmarkRenew(b *testing.B) {
	const groups, per = 1000, 20
	build := func(port uint16) *policy.Domain {
		bp := &blueprint.Blueprint{Tenant: "acme", Name: "big", Domain: "big"}
		for g := range groups {
			bp.Groups = append(bp.Groups, blueprint.Group{Name: fmt.Sprintf("g%d", g)})
			for i := range 10 {
				p := blueprint.Policy{Name: fmt.Sprintf("p%d-%d", g, i), Allow: []blueprint.Traffic{{Protocol: dove.ProtocolTCP, First: 1000, Last: 1000 + uint16(i)}}}
				if g == 0 && i == 0 {
					p.Allow[0].Last = port
				}
				p.From, p.To = []dove.Group{bp.GroupOf(fmt.Sprintf("g%d", g))}, []dove.Group{bp.GroupOf(fmt.Sprintf("g%d", (g+i)%groups))}
				bp.Policies = append(bp.Policies, p)
			}
		}
		return policy.Compile([]*blueprint.Blueprint{bp}, time.Time{})
	}
	states := []*policy.Domain{build(1000), build(2000)}
	signature := func(g int) policy.Signature {
		return policy.Signature{Groups: []dove.Group{{Tenant: "acme", Blueprint: "big", Name: fmt.Sprintf("g%d", g%groups)}}}
	}
	p := policy.NewPairs(states[0])
	ask := func() {
		for g := range groups {
			for i := range per {
				p.Table(signature(g), signature(g+i))
			}
		}
	}
	ask()
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		p.Renew(states[n%2])
		ask()
	}
}

// TestAlikeUntil: from an address up to where it says, and not beyond, policies mention the same.
func TestAlikeUntil(t *testing.T) {
	t.Logf("go test ./policy -run %s -seed %d", t.Name(), *seed)
	r := rand.New(rand.NewPCG(*seed, 1))
	further := 0
	for n := range 30 {
		w := worlds.Rich(r, "acme")
		d := policy.Compile(w.Blueprints, w.Edge)
		var addrs []netip.Addr // at which something may begin or end
		for _, all := range []string{"0.0.0.0/0", "::/0"} {
			for _, p := range d.Parts(netip.MustParsePrefix(all)) {
				last := blueprint.LastOf(p)
				for _, a := range []netip.Addr{p.Addr().Prev(), p.Addr(), p.Addr().Next(), last.Prev(), last, last.Next()} {
					if a.IsValid() {
						addrs = append(addrs, a)
					}
				}
			}
		}
		for _, a := range addrs {
			last, is := d.AlikeUntil(a), d.Mentioned(a)
			if last.Less(a) || last.Is4() != a.Is4() {
				t.Fatalf("world %d: from %s until %s", n, a, last)
			}
			for _, b := range addrs {
				if !b.Less(a) && !last.Less(b) && d.Mentioned(b) != is {
					t.Fatalf("world %d: %s is in %s, and %s in %s, alike until %s", n, a, is, b, d.Mentioned(b), last)
				}
			}
			if next := last.Next(); next.IsValid() {
				further++
				if d.Mentioned(next) == is && d.Mentioned(next).IsValid() && d.Mentioned(next).Addr() != next {
					t.Fatalf("world %d: %s is alike until %s, and so is what follows", n, a, last)
				}
			}
		}
	}
	if further == 0 {
		t.Error("nothing ever ended")
	}
}
