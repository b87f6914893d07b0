package plan_test

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
	"dove.network/edit"
	"dove.network/oracle"
	"dove.network/oracle/worlds"
	"dove.network/plan"
	"dove.network/world"
)

var (
	seed  = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the random worlds")
	count = flag.Int("worlds", 150, "how many random changes to plan")
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// store is a world and what happens to it.
type store struct {
	t testing.TB
	w *world.World
}

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

func (s *store) blueprint(b *blueprint.Blueprint) {
	s.t.Helper()
	txn, _, err := edit.PutBlueprint(s.w, "acme", "", blueprint.Format(b), now, nil)
	s.apply(txn, err)
}

// far is a second network, which a router may join with the first.
const far = "far"

var far4 = netip.MustParsePrefix("10.1.0.0/16")

// drawn is a random world in a store, and a random change of one blueprint.
type drawn struct {
	store
	world   *worlds.World
	members map[dove.EndpointID][]dove.Group
	after   []*blueprint.Blueprint
	changed *blueprint.Blueprint
}

func draw(t *testing.T, r *rand.Rand) *drawn {
	d := &drawn{store: store{t, world.New()}, world: worlds.Random(r, "acme"), members: map[dove.EndpointID][]dove.Group{}}
	txn, _, err := edit.PutTenant(d.w, "acme", nil)
	d.apply(txn, err)
	first := d.world.Blueprints[0]
	first.Networks = append(first.Networks, blueprint.Network{Name: far, Subnets: []netip.Prefix{far4}})
	slices.SortFunc(first.Networks, func(a, b blueprint.Network) int { return strings.Compare(a.Name, b.Name) })
	joins(first, r.IntN(2) == 0)
	for _, b := range d.world.Blueprints {
		d.blueprint(b)
	}
	for i, m := range d.world.Members {
		for range 1 + r.IntN(2) {
			id := dove.EndpointID(fmt.Sprintf("e%d-%d", i, len(d.members)))
			q := edit.EndpointRequest{Tenant: "acme", ID: id, Network: worlds.Network, Groups: []string{}}
			n := len(d.members) + 10
			switch r.IntN(4) {
			case 0:
				q.Network, q.Addresses = far, []string{fmt.Sprintf("10.1.0.%d", n)}
			case 1:
				q.Addresses = []string{fmt.Sprintf("10.0.0.%d", n)}
			case 2:
				q.Addresses = []string{fmt.Sprintf("fd00:0:0:1::%d", n)}
			case 3:
				q.Addresses = []string{fmt.Sprintf("10.0.0.%d", n), fmt.Sprintf("fd00:0:0:1::%d", n)}
			}
			for _, g := range m.Groups {
				q.Groups = append(q.Groups, g.Blueprint+"/"+g.Name)
			}
			txn, _, err := edit.PutEndpoint(d.w, q, edit.Chance{UID: dove.UID(n), Now: now}, nil)
			d.apply(txn, err)
			d.members[id] = m.Groups
		}
	}
	d.mutate(r)
	return d
}

func joins(b *blueprint.Blueprint, joined bool) {
	b.Routers = nil
	if joined {
		b.Routers = []blueprint.Router{{Name: "core", Interfaces: []blueprint.Interface{{Network: far}, {Network: worlds.Network}}}}
	}
}

// mutate changes one blueprint: policies go and come, groups become isolated or
// open, the router comes or goes.
func (d *drawn) mutate(r *rand.Rand) {
	at := r.IntN(len(d.world.Blueprints))
	b := *d.world.Blueprints[at]
	declared := map[dove.Group]bool{}
	for _, o := range d.world.Blueprints {
		for _, g := range o.Groups {
			declared[o.GroupOf(g.Name)] = true
		}
	}
	b.Policies = slices.DeleteFunc(slices.Clone(b.Policies), func(blueprint.Policy) bool { return r.IntN(4) == 0 })
	known := func(g dove.Group) bool { return !declared[g] }
	for _, o := range worlds.Random(r, "acme").Blueprints {
		for _, p := range o.Policies {
			taken := slices.ContainsFunc(b.Policies, func(q blueprint.Policy) bool { return q.Name == p.Name })
			if !taken && r.IntN(2) == 0 && !slices.ContainsFunc(p.From, known) && !slices.ContainsFunc(p.To, known) {
				b.Policies = append(b.Policies, p)
			}
		}
	}
	slices.SortFunc(b.Policies, func(a, b blueprint.Policy) int { return strings.Compare(a.Name, b.Name) })
	b.Groups = slices.Clone(b.Groups)
	for i := range b.Groups {
		if r.IntN(5) == 0 {
			b.Groups[i].Isolated = !b.Groups[i].Isolated
		}
	}
	if at == 0 && r.IntN(3) == 0 {
		joins(&b, len(b.Routers) == 0)
	}
	d.changed = &b
	d.after = slices.Clone(d.world.Blueprints)
	d.after[at] = &b
}

// passes is the slow obvious answer.
func passes(w *world.World, all []*blueprint.Blueprint, joined bool, a, b world.Endpoint, src, dst []dove.Group, p worlds.Probe) (bool, string) {
	if a.Network != b.Network && !joined {
		return false, plan.Unrouted
	}
	says := oracle.Decide(all, time.Time{}, oracle.Packet{Src: oracle.End{Groups: src}, Dst: oracle.End{Groups: dst}, Protocol: p.Protocol, Port: p.Port})
	return says.Allow, says.Rule
}

// TestPlanIsExact compares plans with brute force: every pair of endpoints,
// every protocol, every port at an edge, before and after.
func TestPlanIsExact(t *testing.T) {
	t.Logf("go test ./plan -run %s -seed %d", t.Name(), *seed)
	r := rand.New(rand.NewPCG(*seed, 0))
	lines, differ := 0, 0
	for n := range *count {
		d := draw(t, r)
		planned, err := edit.Plan(d.w, "acme", blueprint.Format(d.changed), now)
		if err != nil {
			t.Fatalf("world %d: %v", n, err)
		}
		diff := planned.Reach
		if diff.More+diff.Uncompared > 0 {
			t.Fatalf("world %d: %d lines and %d pairs are left out", n, diff.More, diff.Uncompared)
		}
		lines += len(diff.Lines)
		used := map[int]bool{}
		was, is := len(d.world.Blueprints[0].Routers) > 0, len(d.after[0].Routers) > 0
		probes := worlds.Probes(slices.Concat(d.world.Blueprints, d.after))
		for a := range d.w.Endpoints("acme") {
			for b := range d.w.Endpoints("acme") {
				src, dst, ok := common(a, b)
				if !ok || a.ID == b.ID {
					continue
				}
				for _, p := range probes {
					before, rule := passes(d.w, d.world.Blueprints, was, a, b, d.members[a.ID], d.members[b.ID], p)
					after, rule2 := passes(d.w, d.after, is, a, b, d.members[a.ID], d.members[b.ID], p)
					want := ""
					if before != after {
						differ++
						want = fmt.Sprintf("%s, %s before, %s after", map[bool]plan.Op{false: plan.Removed, true: plan.Added}[after], rule, rule2)
					}
					var got []string
					for _, i := range diff.Find(a.NetworkOf(), src, b.NetworkOf(), dst, p.Protocol, p.Port) {
						l := diff.Lines[i]
						used[i] = true
						got = append(got, fmt.Sprintf("%s, %s before, %s after", l.Op, l.Before, l.After))
						if !within(l.From, d.members[a.ID]) || !within(l.To, d.members[b.ID]) || !slices.Contains(l.Endpoints, a.Full()) && l.EndpointCount <= plan.NamesMax {
							t.Fatalf("world %d: the line %v is about %s %v and %s %v and does not name them\n%s", n, l, a.ID, d.members[a.ID], b.ID, d.members[b.ID], d.world)
						}
					}
					if strings.Join(got, "; ") != want {
						t.Fatalf("world %d, seed %d: %s to %s, %s/%d: brute force says %q, the plan %q\n%s\nafter:\n%s\nlines: %+v", n, *seed, a.ID, b.ID, p.Protocol, p.Port, want, got, d.world, blueprint.Format(d.changed), diff.Lines)
					}
				}
			}
		}
		for i, l := range diff.Lines {
			for a := range d.w.Endpoints("acme") {
				for b := range d.w.Endpoints("acme") {
					src, dst, ok := common(a, b)
					port := l.Traffic[0].First
					p := l.Traffic[0].Protocol
					if p == dove.ProtocolAny {
						p = 254
					}
					joined := a.Network == b.Network || was || is
					if !ok || !joined || a.ID == b.ID || !on(l.From, a, d.members[a.ID]) || !on(l.To, b, d.members[b.ID]) {
						continue
					}
					if !slices.Contains(diff.Find(a.NetworkOf(), src, b.NetworkOf(), dst, p, port), i) {
						t.Fatalf("world %d, seed %d: line %+v names %s %v to %s %v, and is not about them\n%s", n, *seed, l, a.ID, d.members[a.ID], b.ID, d.members[b.ID], d.world)
					}
				}
			}
		}
		if len(used) != len(diff.Lines) {
			t.Fatalf("world %d, seed %d: %d of %d lines are about no pair of endpoints\n%+v", n, *seed, len(diff.Lines)-len(used), len(diff.Lines), diff.Lines)
		}
	}
	t.Logf("%d changes, %d lines for %d differences", *count, lines, differ)
	if lines == 0 || differ < 10*lines {
		t.Errorf("%d lines for %d differences: the worlds are dull, or lines are not condensed", lines, differ)
	}
}

// common returns two addresses of one family.
func common(a, b world.Endpoint) (src, dst netip.Addr, ok bool) {
	for _, src := range a.Addresses {
		for _, dst := range b.Addresses {
			if src.Is4() == dst.Is4() {
				return src, dst, true
			}
		}
	}
	return src, dst, false
}

// within reports whether the words for one end of a line are about endpoints in
// some groups, on some network.
func within(names []string, groups []dove.Group) bool {
	return on(names, world.Endpoint{}, groups)
}

// on is within, and minds the network of an endpoint if it has one.
func on(names []string, e world.Endpoint, groups []dove.Group) bool {
	var texts []string
	for _, g := range groups {
		texts = append(texts, g.Blueprint+"/"+g.Name)
	}
	slices.Sort(texts)
	exact := "only " + strings.Join(texts, "+")
	if len(texts) == 0 {
		exact = "no group"
	}
	return slices.ContainsFunc(names, func(name string) bool {
		name, networks, narrow := strings.Cut(name, " on ")
		if narrow && e.Network != "" && !slices.Contains(strings.Split(networks, "+"), e.Network) {
			return false
		}
		return name == "any endpoint" || name == exact || !narrow && slices.Contains(texts, name)
	})
}
