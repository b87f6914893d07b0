package plan_test

import (
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/oracle"
	"dove.network/oracle/worlds"
	"dove.network/plan"
	"dove.network/world"
)

var (
	seed  = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the random worlds")
	count = flag.Int("worlds", 40, "how many random changes to plan")
)

// asked is how many packets are asked about of each pair of addresses; those that
// lines are about come besides.
const asked = 25

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// store is a world and what happens to it.
type store struct {
	t testing.TB
	w *world.World
}

// apply carries a transaction out.
func (s *store) apply(txn dove.Txn, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	var docs []dove.Doc
	for _, p := range txn.Puts {
		docs = append(docs, dove.Doc{Key: p.Key, Value: p.Value, Revision: s.w.Revision() + 1})
	}
	for _, k := range txn.Deletes {
		docs = append(docs, dove.Doc{Key: k, Revision: s.w.Revision() + 1})
	}
	if s.w, _, err = s.w.Apply(s.w.Revision()+1, docs); err != nil {
		s.t.Fatal(err)
	}
}

// far is a second network, which a router may join with the first.
const far = "far"

var far4 = netip.MustParsePrefix("172.16.0.0/16")

// lent are what some endpoints are allowed beside their own addresses.
var lent = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/28"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")}

// drawn is a random world in a store, and a random change of some blueprints.
type drawn struct {
	store
	world   *worlds.World
	members map[dove.EndpointID]worlds.Member
	after   []*blueprint.Blueprint
	text    []byte // of the blueprints that change
}

// draw returns false for a world that contradicts itself.
func draw(t *testing.T, r *rand.Rand) (*drawn, bool) {
	d := &drawn{store: store{t, world.New()}, world: worlds.Rich(r, "acme"), members: map[dove.EndpointID]worlds.Member{}}
	txn, _, err := edit.PutTenant(d.w, "acme", nil)
	d.apply(txn, err)
	first := d.world.Blueprints[0]
	first.Networks = append(first.Networks, blueprint.Network{Name: far, Subnets: []netip.Prefix{far4}})
	slices.SortFunc(first.Networks, func(a, b blueprint.Network) int { return strings.Compare(a.Name, b.Name) })
	joins(first, r.IntN(2) == 0)
	for _, b := range d.world.Blueprints {
		txn, _, err := edit.PutBlueprint(d.w, "acme", "", blueprint.Format(b), now, nil)
		if dove.KindOf(err) == dove.Conflict {
			return nil, false
		}
		d.apply(txn, err)
	}
	var near4, near6 []netip.Addr
	for _, a := range worlds.Addrs {
		switch {
		case worlds.Subnet4.Contains(a):
			near4 = append(near4, a)
		case worlds.Subnet6.Contains(a):
			near6 = append(near6, a)
		}
	}
	take := func(from *[]netip.Addr, otherwise string) string {
		if len(*from) == 0 {
			return otherwise
		}
		a := (*from)[0]
		*from = (*from)[1:]
		return a.String()
	}
	for i, m := range d.world.Members {
		for range 1 + r.IntN(2) {
			id := dove.EndpointID(fmt.Sprintf("e%d-%d", i, len(d.members)))
			q := edit.EndpointRequest{Tenant: "acme", ID: id, Network: worlds.Network, Groups: []string{}, Labels: m.Labels, Ports: map[string]string{}, PortSecurity: new(!m.Open)}
			for name, p := range m.Ports {
				q.Ports[name] = p.String()
			}
			n := len(d.members) + 20
			four, six := fmt.Sprintf("10.0.0.%d", n), fmt.Sprintf("fd00:0:0:1::%x", n)
			switch r.IntN(4) {
			case 0:
				q.Network, q.Addresses = far, []string{fmt.Sprintf("172.16.0.%d", n)}
			case 1:
				q.Addresses = []string{take(&near4, four)}
			case 2:
				q.Addresses = []string{take(&near6, six)}
			case 3:
				q.Addresses = []string{take(&near4, four), take(&near6, six)}
			}
			for _, g := range m.Groups {
				q.Groups = append(q.Groups, g.Blueprint+"/"+g.Name)
			}
			if i := r.IntN(4 * len(lent)); i < len(lent) {
				q.Allowed = []edit.AllowedRequest{{Prefix: lent[i].String()}}
			}
			txn, _, err := edit.PutEndpoint(d.w, q, edit.Chance{UID: dove.UID(n), Now: now}, nil)
			d.apply(txn, err)
			d.members[id] = m
		}
	}
	d.after = slices.Clone(d.world.Blueprints)
	var texts []string
	some := r.Perm(len(d.after))[:1+r.IntN(2)*(len(d.after)-1)] // one or all
	for _, at := range some {
		d.mutate(r, at)
		texts = append(texts, string(blueprint.Format(d.after[at])))
	}
	d.text = []byte(strings.Join(texts, "---\n"))
	return d, true
}

func joins(b *blueprint.Blueprint, joined bool) {
	b.Routers = nil
	if joined {
		b.Routers = []blueprint.Router{{Name: "core", Interfaces: []blueprint.Interface{{Network: far}, {Network: worlds.Network}}}}
	}
}

// mutate changes the blueprint at a place: policies go and come, groups say something else
// or select others, outsides hold other addresses, the router comes or goes.
func (d *drawn) mutate(r *rand.Rand, at int) {
	b := *d.world.Blueprints[at]
	declared := map[dove.Group]bool{blueprint.Any: true}
	for _, o := range d.world.Blueprints {
		for _, g := range o.Groups {
			declared[o.GroupOf(g.Name)] = true
		}
		for _, x := range o.Outside {
			declared[o.GroupOf(x.Name)] = true
		}
	}
	unknown := func(g dove.Group) bool { return !declared[g] }
	b.Policies = slices.DeleteFunc(slices.Clone(b.Policies), func(blueprint.Policy) bool { return r.IntN(4) == 0 })
	b.Groups, b.Outside = slices.Clone(b.Groups), slices.Clone(b.Outside)
	for _, o := range worlds.Rich(r, "acme").Blueprints {
		if o.Tier == b.Tier {
			for _, p := range o.Policies {
				taken := slices.ContainsFunc(b.Policies, func(q blueprint.Policy) bool { return q.Name == p.Name })
				if !taken && r.IntN(2) == 0 && !slices.ContainsFunc(p.From, unknown) && !slices.ContainsFunc(p.To, unknown) {
					b.Policies = append(b.Policies, p)
				}
			}
		}
		for i, g := range b.Groups {
			for _, other := range o.Groups {
				if other.Name == g.Name && r.IntN(4) == 0 {
					other.Network = g.Network
					b.Groups[i] = other
				}
			}
		}
		for i, x := range b.Outside {
			for _, other := range o.Outside {
				if other.Name == x.Name && r.IntN(4) == 0 {
					b.Outside[i] = other
				}
			}
		}
	}
	slices.SortFunc(b.Policies, func(a, b blueprint.Policy) int { return strings.Compare(a.Name, b.Name) })
	if at == 0 && r.IntN(3) == 0 {
		joins(&b, len(b.Routers) == 0)
	}
	d.after[at] = &b
}

var domain = dove.Domain{Tenant: "acme", Name: worlds.Domain}

// state is one of the two that are compared.
type state struct {
	w          *world.World
	blueprints []*blueprint.Blueprint
}

// passes is the slow obvious answer.
func (d *drawn) passes(s state, a, b world.Endpoint, src, dst netip.Addr, p worlds.Probe) (bool, string) {
	if a.Network != b.Network && len(s.blueprints[0].Routers) == 0 {
		return false, plan.Unrouted
	}
	answer := oracle.Decide(s.blueprints, s.w.Edge(domain), oracle.Packet{Src: d.members[a.ID].End(src), Dst: d.members[b.ID].End(dst), Protocol: p.Protocol, Port: p.Port})
	return answer.Allow, answer.Rule
}

// TestPlanIsExact compares plans with brute force: every pair of endpoints, and of
// all protocols and ports at an edge a part, before and after. And a line is about
// all that it names.
func TestPlanIsExact(t *testing.T) {
	t.Logf("go test ./plan -run %s -seed %d", t.Name(), *seed)
	r := rand.New(rand.NewPCG(*seed, 0))
	lines, differ, planned := 0, 0, 0
	for n := range *count {
		d, ok := draw(t, r)
		if !ok {
			continue
		}
		p, err := edit.Plan(d.w, "acme", d.text, now)
		if kind := dove.KindOf(err); err != nil && (kind == dove.Conflict || kind == dove.TooLarge) {
			continue
		}
		if err != nil {
			t.Fatalf("world %d: %v\n%s", n, err, d.text)
		}
		diff := p.Reach
		if diff.More+diff.Uncompared > 0 {
			t.Fatalf("world %d: %d lines and %d pairs are left out", n, diff.More, diff.Uncompared)
		}
		planned++
		lines += len(diff.Lines)
		before := state{d.w, d.world.Blueprints}
		txn, _, err := edit.PutBlueprints(d.w, "acme", d.text, now, p.Token)
		d.apply(txn, err)
		differ += d.check(t, r, n, diff, before, state{d.w, d.after})
	}
	t.Logf("%d changes, %d lines for %d differences", planned, lines, differ)
	if planned < *count/2 || lines == 0 || differ < 10*lines {
		t.Errorf("%d plans, %d lines for %d differences: the worlds are dull, or lines are not condensed", planned, lines, differ)
	}
}

// check compares one plan, and returns how many packets have another verdict.
func (d *drawn) check(t *testing.T, r *rand.Rand, n int, diff *plan.Difference, before, after state) (differ int) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("world %d, seed %d: "+format+"\n%s\nafter:\n%s", append(append([]any{n, *seed}, args...), d.world, d.text)...)
	}
	used := map[int]bool{}
	probes := worlds.Probes(slices.Concat(before.blueprints, after.blueprints))
	for _, port := range []uint16{80, 81, 443} { // of names
		probes = append(probes, worlds.Probe{Protocol: dove.ProtocolTCP, Port: port}, worlds.Probe{Protocol: dove.ProtocolUDP, Port: port})
	}
	for a := range d.w.Endpoints("acme") {
		for b := range d.w.Endpoints("acme") {
			for src, dst := range common(a, b) {
				for range min(asked, len(probes)) {
					p := probes[r.IntN(len(probes))]
					was, rule := d.passes(before, a, b, src, dst, p)
					is, rule2 := d.passes(after, a, b, src, dst, p)
					want := ""
					if was != is {
						differ++
						want = fmt.Sprintf("%s, %s before, %s after", map[bool]plan.Op{false: plan.Removed, true: plan.Added}[is], rule, rule2)
					}
					var got []string
					for _, i := range diff.Find(a, src, b, dst, p.Protocol, p.Port) {
						l := diff.Lines[i]
						used[i] = true
						got = append(got, fmt.Sprintf("%s, %s before, %s after", l.Op, l.Before, l.After))
						w := []*world.World{before.w, after.w}[l.Op]
						if !named(w, l.From, a, src, true) || !named(w, l.To, b, dst, true) || !slices.Contains(l.Endpoints, a.Full()) && l.EndpointCount <= plan.NamesMax {
							fail("the line %+v is about %s %s and %s %s and does not name them", l, a.ID, src, b.ID, dst)
						}
					}
					if strings.Join(got, "; ") != want {
						fail("%s %s to %s %s, %s/%d: brute force says %q, the plan %q\nlines: %+v", a.ID, src, b.ID, dst, p.Protocol, p.Port, want, got, diff.Lines)
					}
				}
				for i, l := range diff.Lines {
					p, w := l.Traffic[0].Protocol, []*world.World{before.w, after.w}[l.Op]
					if p == dove.ProtocolAny {
						p = 254
					}
					joined := a.Network == b.Network || len(before.blueprints[0].Routers)+len(after.blueprints[0].Routers) > 0
					if joined && named(w, l.From, a, src, false) && named(w, l.To, b, dst, false) && !slices.Contains(diff.Find(a, src, b, dst, p, l.Traffic[0].First), i) {
						fail("line %+v names %s %s to %s %s, and is not about them", l, a.ID, src, b.ID, dst)
					}
					was, _ := d.passes(before, a, b, src, dst, worlds.Probe{Protocol: p, Port: l.Traffic[0].First})
					is, _ := d.passes(after, a, b, src, dst, worlds.Probe{Protocol: p, Port: l.Traffic[0].First})
					about := slices.Contains(diff.Find(a, src, b, dst, p, l.Traffic[0].First), i)
					if used[i] = used[i] || about; about && was == is {
						fail("line %+v is about %s %s to %s %s, where nothing changes", l, a.ID, src, b.ID, dst)
					}
				}
			}
		}
	}
	for i, l := range diff.Lines {
		elsewhere := slices.ContainsFunc(slices.Concat(l.From, l.To), func(s string) bool {
			return strings.HasPrefix(s, "outside") || strings.Contains(s, "without port security")
		})
		// One without port security may send from addresses of a family that it has none of.
		open := slices.ContainsFunc(l.Endpoints, func(e dove.Endpoint) bool { return d.members[e.ID].Open })
		if !used[i] && !elsewhere && !open {
			fail("line %+v is about no pair of endpoints", l)
		}
	}
	return differ
}

// common yields pairs of addresses of one family, of two endpoints: their own, and
// of what they are allowed.
func common(a, b world.Endpoint) iter.Seq2[netip.Addr, netip.Addr] {
	all := func(e world.Endpoint) []netip.Addr {
		out := slices.Clone(e.Addresses)
		for _, addr := range worlds.Addrs {
			if !slices.Contains(out, addr) && slices.ContainsFunc(e.Allowed, func(a world.Allowed) bool { return a.Prefix.Contains(addr) }) {
				out = append(out, addr)
			}
		}
		return out
	}
	return func(yield func(src, dst netip.Addr) bool) {
		for _, src := range all(a) {
			for _, dst := range all(b) {
				if a.ID != b.ID && src.Is4() == dst.Is4() && !yield(src, dst) {
					return
				}
			}
		}
	}
}

// named reports whether the words for one end of a line are about an endpoint's
// address. Words that tell more than groups and networks apart are taken at
// their word if lax is set, else not.
func named(w *world.World, words []string, e world.Endpoint, a netip.Addr, lax bool) bool {
	_, s, _ := w.SignatureFor(e, a)
	var texts []string
	for _, g := range s.Groups {
		texts = append(texts, g.Blueprint+"/"+g.Name)
	}
	slices.Sort(texts)
	exact := "only " + strings.Join(texts, "+")
	if len(texts) == 0 {
		exact = "no group"
	}
	return slices.ContainsFunc(words, func(word string) bool {
		word, networks, narrow := strings.Cut(word, " on ")
		if narrow && !slices.Contains(strings.Split(networks, "+"), e.Network) {
			return false
		}
		for _, more := range []string{" that will be ", " that was ", " in ", " with ", " without "} {
			if text, _, found := strings.Cut(word, more); found {
				if !lax {
					return false
				}
				word, narrow = text, true
			}
		}
		return word == "any endpoint" || !narrow && slices.Contains(texts, word) ||
			word == exact && (lax || !s.Prefix.IsValid() && len(s.Ports) == 0 && !s.Open)
	})
}
