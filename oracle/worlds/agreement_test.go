package worlds_test

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
	"dove.network/oracle"
	"dove.network/oracle/worlds"
	"dove.network/policy"
	"dove.network/verdict"
)

var (
	seed  = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the random worlds")
	count = flag.Int("worlds", 300, "how many random worlds to compare")
)

func random(t *testing.T) *rand.Rand {
	t.Logf("go test ./oracle/worlds -run '%s' -seed %d", t.Name(), *seed)
	return rand.New(rand.NewPCG(*seed, 0))
}

// compiler is the way from blueprints to a table, with a place between any two
// steps where a seeded fault can sit. The zero value is the real thing.
type compiler struct {
	blueprint func(*blueprint.Blueprint) // of a deep copy
	groups    func([]dove.Group) []dove.Group
	half      func(*verdict.Half) // of a deep copy
	table     func(*verdict.Table)
}

// disagreement compares all pairs of a world with the oracle and describes the
// first difference, or returns "".
func (c compiler) disagreement(w *worlds.World) string {
	domain := policy.Compile(c.mutated(w.Blueprints))
	probes := worlds.Probes(w.Blueprints)
	for i, src := range w.Members {
		for j, dst := range w.Members {
			table, err := c.compile(domain, src, dst)
			if err != nil {
				return err.Error()
			}
			if !table.EgressStateful || !table.IngressStateful {
				return fmt.Sprintf("endpoint %d to %d: stateful %t, %t", i, j, table.EgressStateful, table.IngressStateful)
			}
			for _, p := range probes {
				allow, rule := oracle.Decide(w.Blueprints, src, dst, p.Protocol, p.Port)
				v := table.Lookup(p.Protocol, p.Port)
				if v.Allow != allow || table.Name(v) != rule {
					return fmt.Sprintf("endpoint %d to %d, %s/%d: oracle says %t (%s), table says %t (%s)\n%s",
						i, j, p.Protocol, p.Port, allow, rule, v.Allow, table.Name(v), table)
				}
			}
		}
	}
	return ""
}

func (c compiler) mutated(blueprints []*blueprint.Blueprint) []*blueprint.Blueprint {
	if c.blueprint == nil {
		return blueprints
	}
	var out []*blueprint.Blueprint
	for _, b := range blueprints {
		b := *b
		b.Groups = slices.Clone(b.Groups)
		b.Policies = slices.Clone(b.Policies)
		c.blueprint(&b)
		out = append(out, &b)
	}
	return out
}

func (c compiler) compile(domain *policy.Domain, src, dst []dove.Group) (*verdict.Table, error) {
	if c.groups != nil {
		src, dst = c.groups(src), c.groups(dst)
	}
	egress, ingress := domain.Halves(domain.Signature(src, netip.Addr{}), domain.Signature(dst, netip.Addr{}))
	for _, h := range []*verdict.Half{&egress, &ingress} {
		if c.half != nil {
			h.Rules = slices.Clone(h.Rules)
			c.half(h)
		}
	}
	table, err := verdict.Decode(verdict.Product(egress, ingress).Encode())
	if err == nil && c.table != nil {
		c.table(table)
	}
	return table, err
}

func TestOracleAndTablesAgree(t *testing.T) {
	r := random(t)
	pairs, allowed := 0, 0
	for n := range *count {
		w := worlds.Random(r, "acme")
		if d := (compiler{}).disagreement(w); d != "" {
			t.Fatalf("world %d: %s\n%s", n, d, w)
		}
		domain := policy.Compile(w.Blueprints)
		for _, src := range w.Members {
			for _, dst := range w.Members {
				pairs++
				if domain.Table(domain.Signature(src, netip.Addr{}), domain.Signature(dst, netip.Addr{})).AllowsAny() {
					allowed++
				}
			}
		}
	}
	t.Logf("%d worlds, %d pairs, %d of them may talk in some way", *count, pairs, allowed)
	if allowed == 0 || allowed == pairs {
		t.Errorf("the worlds are dull: %d of %d pairs may talk", allowed, pairs)
	}
}

// Tables depend on what blueprints mean, not on how they or the groups of an
// endpoint are ordered.
func TestOrderDoesNotMatter(t *testing.T) {
	r := random(t)
	for n := range *count / 3 {
		w := worlds.Random(r, "acme")
		shuffled := compiler{blueprint: func(b *blueprint.Blueprint) {
			for i, p := range b.Policies {
				b.Policies[i].From, b.Policies[i].To = slices.Clone(p.From), slices.Clone(p.To)
				slices.Reverse(b.Policies[i].From)
				slices.Reverse(b.Policies[i].To)
			}
			r.Shuffle(len(b.Policies), func(i, j int) { b.Policies[i], b.Policies[j] = b.Policies[j], b.Policies[i] })
			r.Shuffle(len(b.Groups), func(i, j int) { b.Groups[i], b.Groups[j] = b.Groups[j], b.Groups[i] })
		}}.mutated(w.Blueprints)
		slices.Reverse(shuffled)
		one, other := policy.Compile(w.Blueprints), policy.Compile(shuffled)
		for _, src := range w.Members {
			for _, dst := range w.Members {
				backwards := slices.Concat(dst, dst)
				slices.Reverse(backwards)
				a := one.Table(one.Signature(src, netip.Addr{}), one.Signature(dst, netip.Addr{}))
				b := other.Table(other.Signature(src, netip.Addr{}), other.Signature(backwards, netip.Addr{}))
				if a.Digest() != b.Digest() {
					t.Fatalf("world %d, %v to %v: in another order\n%s instead of\n%s%s", n, src, dst, b, a, w)
				}
			}
		}
	}
}

// Nearest must name a rule that fails just the terms it says, and no policy
// near the packet may fail fewer.
func TestNearestIsTrueAndNearest(t *testing.T) {
	r := random(t)
	for n := range *count / 6 {
		w := worlds.Random(r, "acme")
		d := policy.Compile(w.Blueprints)
		for _, src := range w.Members {
			for _, dst := range w.Members {
				for _, p := range worlds.Probes(w.Blueprints) {
					if _, rule := oracle.Decide(w.Blueprints, src, dst, p.Protocol, p.Port); rule != oracle.DefaultDeny {
						continue
					}
					rule, failed := d.Nearest(d.Signature(src, netip.Addr{}), d.Signature(dst, netip.Addr{}), p.Protocol, p.Port)
					fewest, found := 5, failed == policy.Isolated
					for name, terms := range failing(w.Blueprints, src, dst, p) {
						for _, t := range terms {
							fewest = min(fewest, len(t))
							found = found || name == rule && strings.Join(t, ", ") == failed
						}
					}
					terms := len(strings.FieldsFunc(failed, func(r rune) bool { return r == ',' }))
					if rule == "" && fewest < 5 || rule != "" && (!found || terms == 0 || terms > fewest) {
						t.Fatalf("world %d, %v to %v, %s/%d: nearest is %q, failing %q, though another fails %d\n%s", n, src, dst, p.Protocol, p.Port, rule, failed, fewest, w)
					}
				}
			}
		}
	}
}

// failing lists, for each policy that names one end, the terms that each of
// its allowed traffics fails.
func failing(blueprints []*blueprint.Blueprint, src, dst []dove.Group, p worlds.Probe) map[string][][]string {
	in := func(side, groups []dove.Group) bool {
		return slices.ContainsFunc(side, func(g dove.Group) bool { return slices.Contains(groups, g) })
	}
	out := map[string][][]string{}
	for _, b := range blueprints {
		for _, rule := range b.Policies {
			from, to := in(rule.From, src), in(rule.To, dst)
			if !from && !to {
				continue
			}
			for _, t := range rule.Allow {
				var terms []string
				if !from {
					terms = append(terms, "from")
				}
				if !to {
					terms = append(terms, "to")
				}
				other := t.Protocol != p.Protocol && t.Protocol != dove.ProtocolAny
				if other {
					terms = append(terms, "protocol")
				}
				if (!other || t.Protocol.HasPorts() && p.Protocol.HasPorts()) && (p.Port < t.First || p.Port > t.Last) {
					terms = append(terms, "port")
				}
				out[b.RuleName(rule)] = append(out[b.RuleName(rule)], terms)
			}
		}
	}
	return out
}

// Worlds serve other tests as text: it must say the same.
func TestWorldsCanBeAppliedAsText(t *testing.T) {
	r := random(t)
	for n := range *count {
		w := worlds.Random(r, "acme")
		ctx := blueprint.Context{Networks: map[string]blueprint.ExistingNetwork{}}
		for _, b := range w.Blueprints {
			text := blueprint.Format(b)
			parsed, err := blueprint.Parse("acme", text)
			if err != nil {
				t.Fatalf("world %d: %v\n%s", n, err, text)
			}
			if !parsed.Equal(b) {
				t.Fatalf("world %d: the text says\n%s instead of\n%s", n, blueprint.Format(parsed), text)
			}
			if err := blueprint.Check(parsed, ctx); err != nil {
				t.Fatalf("world %d: %v\n%s", n, err, w)
			}
			ctx.Blueprints = append(ctx.Blueprints, parsed)
			for _, network := range parsed.Networks {
				ctx.Networks[network.Name] = blueprint.ExistingNetwork{Blueprint: parsed.Name, Domain: parsed.Domain}
			}
		}
	}
}
