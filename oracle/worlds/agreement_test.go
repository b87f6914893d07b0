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
	count = flag.Int("worlds", 60, "how many random worlds to compare")
)

func random(t *testing.T) *rand.Rand {
	t.Logf("go test ./oracle/worlds -run '%s' -seed %d", t.Name(), *seed)
	return rand.New(rand.NewPCG(*seed, 0))
}

// compiler is the way from blueprints to a table, with a place between any two
// steps where a seeded fault can sit. The zero value is the real thing.
type compiler struct {
	blueprint func(*blueprint.Blueprint) // of a deep copy
	member    func(*policy.Member)       // of a copy
	edge      func(time.Time) time.Time
	addr      func(netip.Addr) netip.Addr
	half      func(*verdict.Half) // of a deep copy
	table     func(*verdict.Table)
}

// judged is a world with what the oracle said of it so far.
type judged struct {
	*worlds.World
	probes  []worlds.Probe
	answers map[[3]int]oracle.Answer // by source, target and probe
}

func judge(w *worlds.World) judged {
	return judged{w, worlds.Probes(w.Blueprints), map[[3]int]oracle.Answer{}}
}

// oracle asks it about a probe from one member to another, once.
func (w judged) oracle(i, j, probe int, src, dst oracle.End) oracle.Answer {
	at := [3]int{i, j, probe}
	answer, asked := w.answers[at]
	if !asked {
		p := w.probes[probe]
		answer = oracle.Decide(w.Blueprints, w.Edge, oracle.Packet{Src: src, Dst: dst, Protocol: p.Protocol, Port: p.Port})
		w.answers[at] = answer
	}
	return answer
}

// disagreement compares all pairs of a world with the oracle and describes the
// first difference, or returns "".
func (c compiler) disagreement(w judged) string {
	edge := w.Edge
	if c.edge != nil {
		edge = c.edge(edge)
	}
	domain := policy.Compile(c.mutated(w.Blueprints), edge)
	for i := range w.Members {
		for j := range w.Members {
			src, dst := ends(w.World, i, j)
			table, err := c.compile(domain, src, dst)
			if err != nil {
				return err.Error()
			}
			for k, p := range w.probes {
				if !w.Edge.IsZero() && (i+2*j+k)%4 > 0 {
					continue // rich worlds have many: a part of them from each member to each
				}
				want := w.oracle(i, j, k, src, dst)
				v := table.Lookup(p.Protocol, p.Port)
				is := oracle.Answer{Allow: v.Allow, Rule: table.Name(v), Log: v.Log, Shadow: table.WouldName(v), Would: v.WouldAllow, NoReply: v.NoReply, Stateless: !table.Stateful()}
				if is != want {
					return fmt.Sprintf("endpoint %d at %s to %d at %s, %s/%d: oracle says %+v, table says %+v\n%s",
						i, src.Addr, j, dst.Addr, p.Protocol, p.Port, want, is, table)
				}
			}
		}
	}
	return ""
}

// ends returns two members at addresses that are theirs in this world.
func ends(w *worlds.World, src, dst int) (oracle.End, oracle.End) {
	at := func(i int) oracle.End {
		return w.Members[i].End(worlds.Addrs[(i*3+len(w.Blueprints))%len(worlds.Addrs)])
	}
	return at(src), at(dst)
}

func member(e oracle.End) policy.Member {
	return policy.Member{Groups: e.Groups, Labels: e.Labels, Ports: e.Ports, Open: e.Open}
}

func (c compiler) mutated(blueprints []*blueprint.Blueprint) []*blueprint.Blueprint {
	if c.blueprint == nil {
		return blueprints
	}
	var out []*blueprint.Blueprint
	for _, b := range blueprints {
		b := *b
		b.Groups = slices.Clone(b.Groups)
		b.Outside = slices.Clone(b.Outside)
		b.Policies = slices.Clone(b.Policies)
		c.blueprint(&b)
		out = append(out, &b)
	}
	return out
}

func (c compiler) signature(domain *policy.Domain, e oracle.End) policy.Signature {
	m, addr := member(e), e.Addr
	if c.member != nil {
		c.member(&m)
	}
	if c.addr != nil {
		addr = c.addr(addr)
	}
	s, err := policy.ParseSignature(domain.Signature(m, addr).Key())
	if err != nil {
		panic(err)
	}
	return s
}

func (c compiler) compile(domain *policy.Domain, src, dst oracle.End) (*verdict.Table, error) {
	egress, ingress := domain.Halves(c.signature(domain, src), c.signature(domain, dst))
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

// drawn draws plain worlds and rich ones in turn.
func drawn(r *rand.Rand, n int) *worlds.World {
	if n%3 == 0 {
		return worlds.Random(r, "acme")
	}
	return worlds.Rich(r, "acme")
}

func TestOracleAndTablesAgree(t *testing.T) {
	r := random(t)
	pairs, allowed := 0, 0
	for n := range *count {
		w := drawn(r, n)
		if d := (compiler{}).disagreement(judge(w)); d != "" {
			t.Fatalf("world %d: %s\n%s", n, d, w)
		}
		domain := policy.Compile(w.Blueprints, w.Edge)
		for i := range w.Members {
			for j := range w.Members {
				src, dst := ends(w, i, j)
				pairs++
				if table, err := (compiler{}).compile(domain, src, dst); err == nil && table.AllowsAny() {
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
		w := drawn(r, n)
		shuffled := compiler{blueprint: func(b *blueprint.Blueprint) {
			for i, p := range b.Policies {
				b.Policies[i].From, b.Policies[i].To = slices.Clone(p.From), slices.Clone(p.To)
				slices.Reverse(b.Policies[i].From)
				slices.Reverse(b.Policies[i].To)
			}
			r.Shuffle(len(b.Policies), func(i, j int) { b.Policies[i], b.Policies[j] = b.Policies[j], b.Policies[i] })
			r.Shuffle(len(b.Groups), func(i, j int) { b.Groups[i], b.Groups[j] = b.Groups[j], b.Groups[i] })
			r.Shuffle(len(b.Outside), func(i, j int) { b.Outside[i], b.Outside[j] = b.Outside[j], b.Outside[i] })
		}}.mutated(w.Blueprints)
		slices.Reverse(shuffled)
		one, other := policy.Compile(w.Blueprints, w.Edge), policy.Compile(shuffled, w.Edge)
		for i := range w.Members {
			for j := range w.Members {
				src, dst := ends(w, i, j)
				backwards := dst
				backwards.Groups = slices.Concat(dst.Groups, dst.Groups)
				slices.Reverse(backwards.Groups)
				a := one.Table(one.Signature(member(src), src.Addr), one.Signature(member(dst), dst.Addr))
				b := other.Table(other.Signature(member(src), src.Addr), other.Signature(member(backwards), dst.Addr))
				if a.Digest() != b.Digest() {
					t.Fatalf("world %d, %v to %v: in another order\n%s instead of\n%s%s", n, src, dst, b, a, w)
				}
			}
		}
	}
}

// The parts of a prefix are what its addresses are like: each address of a world
// has the signature of the smallest part around it.
func TestPartsCoverPrefixes(t *testing.T) {
	r := random(t)
	for n := range *count / 3 {
		w := worlds.Rich(r, "acme")
		d := policy.Compile(w.Blueprints, w.Edge)
		for _, within := range []netip.Prefix{worlds.Subnet4, worlds.Subnet6, netip.MustParsePrefix("10.0.0.0/29"), netip.MustParsePrefix("0.0.0.0/0")} {
			for i, m := range w.Members {
				for _, a := range worlds.Addrs {
					var smallest netip.Prefix
					for _, p := range d.Parts(within) {
						if p.Contains(a) && p.Bits() >= smallest.Bits() {
							smallest = p
						}
					}
					if smallest.IsValid() != within.Contains(a) {
						t.Fatalf("world %d: %s is in part %s of %s\n%s", n, a, smallest, within, w)
					}
					of, is := d.SignatureIn(policy.Member(m), smallest), d.Signature(policy.Member(m), a)
					if smallest.IsValid() && of.Key() != is.Key() {
						t.Fatalf("world %d: endpoint %d at %s is %s, in part %s %s\n%s", n, i, a, is.Key(), smallest, of.Key(), w)
					}
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
		d := policy.Compile(w.Blueprints, w.Edge)
		for _, src := range w.Members {
			for _, dst := range w.Members {
				for _, p := range worlds.Probes(w.Blueprints) {
					if _, rule := decide(w, src, dst, p); rule != oracle.DefaultDeny {
						continue
					}
					near := d.Nearest(d.Signature(policy.Member(src), netip.Addr{}), d.Signature(policy.Member(dst), netip.Addr{}), p.Protocol, p.Port)
					rule, failed := near.Rule, near.Terms()
					fewest, found := 5, failed == policy.Isolated
					for name, terms := range failing(w.Blueprints, src.Groups, dst.Groups, p) {
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

func decide(w *worlds.World, src, dst worlds.Member, p worlds.Probe) (bool, string) {
	a := oracle.Decide(w.Blueprints, w.Edge, oracle.Packet{Src: src.End(netip.Addr{}), Dst: dst.End(netip.Addr{}), Protocol: p.Protocol, Port: p.Port})
	return a.Allow, a.Rule
}

// failing lists, for each policy that names one end and does not deny the packet
// itself, the terms that each of its allowed traffics fails.
func failing(blueprints []*blueprint.Blueprint, src, dst []dove.Group, p worlds.Probe) map[string][][]string {
	in := func(side, groups []dove.Group) bool {
		return slices.ContainsFunc(side, func(g dove.Group) bool { return slices.Contains(groups, g) })
	}
	out := map[string][][]string{}
	for _, b := range blueprints {
		for _, rule := range b.Policies {
			from, to := in(rule.From, src), in(rule.To, dst)
			denies := slices.ContainsFunc(rule.Deny, func(t blueprint.Traffic) bool {
				return t.Protocol == dove.ProtocolAny || t.Protocol == p.Protocol && t.First <= p.Port && p.Port <= t.Last
			})
			if !from && !to || denies {
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
		w := drawn(r, n)
		w.Settle()
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
