package sim

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/oracle/worlds"
	"dove.network/scenario"
	"dove.network/world"
)

var (
	seed  = flag.Uint64("seed", 20261123, "seed of the random worlds; another one looks elsewhere")
	count = flag.Int("worlds", 12, "how many random worlds to compare")
	steps = flag.Int("steps", 40, "how many random steps a walk has")
)

// walk is a simulation of two tenants with equal addresses and random intent,
// and the steps that it made.
type walk struct {
	*Sim
	r      *rand.Rand
	intent map[dove.Tenant]*worlds.World
	ids    int
	// accidents may happen while a change is on its way.
	accidents bool
	shape
	cures []scenario.Action // of what is stopped and cut
	log   []string
}

var tenants = []dove.Tenant{"acme", "globex"}

// newWalk builds a random world on three hosts. An error is a fault of DOVE.
func newWalk(seed uint64, jitter time.Duration) (*walk, error) {
	return newFleetWalk(seed, jitter, 1)
}

func newFleetWalk(seed uint64, jitter time.Duration, members int) (*walk, error) {
	return newShapedWalk(seed, jitter, members, shape{})
}

func newShapedWalk(seed uint64, jitter time.Duration, members int, has shape) (*walk, error) {
	w := &walk{
		Sim: NewFleet(seed, members), r: rand.New(rand.NewPCG(seed, 1)),
		intent: map[dove.Tenant]*worlds.World{}, shape: has,
	}
	w.Jitter = jitter
	for _, h := range []dove.HostName{"h1", "h2", "h3"} {
		if err := w.AddHost(h); err != nil {
			return w, err
		}
	}
	for _, t := range tenants {
		w.intent[t] = worlds.Rich(w.r, t)
		w.intent[t].Settle()
		if err := w.commit("tenant "+string(t), func(now *world.World) (dove.Txn, error) {
			return first(edit.PutTenant(now, t, nil))
		}); err != nil {
			return w, err
		}
		for _, b := range w.intent[t].Blueprints {
			if err := w.apply(b); err != nil {
				return w, err
			}
		}
		if err := w.route(t); err != nil {
			return w, err
		}
		for i, m := range w.intent[t].Members {
			if err := w.create(t, m, i); err != nil {
				return w, err
			}
		}
	}
	return w, nil
}

func (w *walk) note(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

// commit makes a write and waits for its receipt; while a host is cut off there
// may be none, and all that can be waited for is quiet.
func (w *walk) commit(what string, decide func(*world.World) (dove.Txn, error)) error {
	revision, err := w.Edit(decide)
	w.note("%s: revision %d", what, revision)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if w.accidents && w.r.IntN(6) == 0 { // the change is on its way
		for range w.r.IntN(30) {
			w.Sim.step()
		}
		name := w.anyHost()
		w.note("meanwhile, restart the agent of %s", name)
		w.RestartAgent(name)
	}
	if w.whole() {
		return w.Wait(revision)
	}
	return w.Settle()
}

// whole reports whether every host has a session, and nothing else is wrong.
func (w *walk) whole() bool {
	return w.outage.Any() == "" && !slices.ContainsFunc(w.hosts, func(h *host) bool { return !h.current() }) && w.healthy()
}

// healthy reports whether all members work, follow the store and hear each other.
func (w *walk) healthy() bool {
	return !slices.ContainsFunc(w.peerings, func(p *peering) bool { return !p.up }) && !slices.ContainsFunc(w.members, func(m *member) bool { return !m.well() })
}

func (w *walk) apply(b *blueprint.Blueprint) error {
	return w.commit(fmt.Sprintf("blueprint %s/%s", b.Tenant, b.Name), func(now *world.World) (dove.Txn, error) {
		return first(edit.PutBlueprint(now, b.Tenant, "", blueprint.Format(b), w.now, nil))
	})
}

// pool is how many addresses the endpoints of a tenant share, by number.
const pool = worlds.Pool

var address4, address6 = worlds.Address4, worlds.Address6

// create makes an endpoint with the i-th addresses on some host and plugs it in.
func (w *walk) create(t dove.Tenant, m worlds.Member, i int) error {
	w.ids++
	name := dove.Endpoint{Tenant: t, ID: dove.EndpointID(fmt.Sprintf("e%d", w.ids))}
	request := edit.EndpointRequest{
		Tenant: t, ID: name.ID, Network: worlds.Network, Host: w.anyHost(),
		Addresses: []string{address4(i).String(), address6(i).String()}, Device: fmt.Sprintf("dv%d", w.ids),
	}
	request.Groups, request.Labels, request.Ports = m.Said()
	w.lead(&request, i)
	w.share(&request)
	chance := w.chance()
	if err := w.commit(fmt.Sprintf("endpoint %s %+v on %s%s at %s", name, m, request.Host, request.Parent, address4(i)), func(now *world.World) (dove.Txn, error) {
		return first(edit.PutEndpoint(now, request, chance, nil))
	}); err != nil {
		return err
	}
	return w.plugIn(name)
}

func (w *walk) plugIn(name dove.Endpoint) error {
	e, ok := w.World().Endpoint(name)
	if !ok || e.Host == "" {
		return nil
	}
	w.note("plug %s on %s", name, e.Host)
	w.plugAll(e)
	return w.Settle()
}

func (w *walk) anyHost() dove.HostName { return w.hosts[w.r.IntN(len(w.hosts))].name }

func (w *walk) anyTenant() dove.Tenant { return tenants[w.r.IntN(len(tenants))] }

// anyEndpoint returns some endpoint of some tenant, false if it has none.
func (w *walk) anyEndpoint() (world.Endpoint, bool) {
	all := slices.Collect(w.World().Endpoints(w.anyTenant()))
	if len(all) == 0 {
		return world.Endpoint{}, false
	}
	return all[w.r.IntN(len(all))], true
}

// packets lists first packets of a tenant: from every plugged endpoint to every
// address of the pool, each probe that the blueprints can tell apart. What has
// no ports comes last, because it takes time.
func (w *walk) packets(t dove.Tenant) []Packet {
	var ported, others []Packet
	probes := worlds.Probes(slices.Collect(w.World().ParsedOf(t)))
	targets := map[bool][]netip.Addr{true: w.targets(true), false: w.targets(false)}
	for e := range w.World().Endpoints(t) {
		if !w.Plugged(e.Full()) {
			continue
		}
		from := w.speaksFrom(e)
		for _, p := range probes {
			for _, src := range from {
				for _, dst := range targets[src.Is6()] {
					probe := scenario.Probe(p)
					if _, _, ok := probe.Over(dst); !ok || e.Has(dst) || neighborDiscovery(p) {
						continue // from one next hop to another it is up to them
					}
					packet := Packet{From: e.Full(), Src: src, Dst: dst, Probe: probe}
					if p.Protocol.HasPorts() || p.Protocol.IsICMP() {
						ported = append(ported, packet)
					} else {
						others = append(others, packet)
					}
				}
			}
		}
	}
	return append(ported, others...)
}

// neighborDiscovery reports whether a probe is what no switch carries: router
// and neighbour discovery.
func neighborDiscovery(p worlds.Probe) bool {
	return p.Protocol == dove.ProtocolICMPv6 && p.Port>>8 >= 133 && p.Port>>8 <= 137
}

// check sends a packet and holds what becomes of it against the oracle. While
// hosts are cut off, they may refuse what they do not know, and what passes
// must be allowed unless both ends are cut off.
func (w *walk) check(p Packet) error {
	seen, x, err := w.ask(p)
	w.note("%s: %s", p, seen)
	if len(x.reached) == 2 && x.from.host != nil && w.mistaken(x.reached[0].host, sight{from: x.from, to: x.reached[0], src: p.Src, dst: p.Dst}, x.reached[1]) {
		return err // it arrived, and its answer went to another next hop
	}
	from, _ := w.World().Endpoint(p.From)
	hops := owners(w.World(), from, p.Dst)
	if len(x.reached) == 1 && !x.from.host.current() { // it may not have heard who is no next hop any more
		if to, ok := w.World().Endpoint(x.reached[0].endpoint); ok && to.Has(p.Dst) {
			hops = append(hops, to)
		}
	}
	if len(hops) == 0 {
		hops = []world.Endpoint{{}}
	}
	may := false
	var meant []Finding // of several next hops by each that it may have gone by
	for _, to := range hops {
		f := judgeTo(w.World(), byOracle, w.Plugged, p, from, to)
		reached := len(x.reached) == 1 && x.reached[0].uid == to.UID
		if reached {
			may, meant = allowed(f), nil
		}
		if f.Instead != "" && x.misses(to) {
			seen = f // of several without a port where it ended
		}
		if meant = append(meant, answered(w.World(), byOracle, p, from, to, w.port, f)); reached {
			break
		}
	}
	if err != nil || slices.Contains(meant, seen) && (seen.Outcome != scenario.NoReply || x.drops[0].host == x.reached[0].at()) {
		return err
	}
	if !w.whole() {
		if len(x.reached) == 0 || may {
			return nil
		}
		if !x.from.host.current() && !x.reached[0].host.current() {
			return nil
		}
	}
	return fmt.Errorf("%s: %s, the oracle says: %s", p, seen, meant)
}

// stateless reports whether an end of a packet's pair keeps no state.
func (w *walk) stateless(p Packet) bool {
	protocol, port, _ := p.Probe.Over(p.Dst)
	from, _ := w.World().Endpoint(p.From)
	to, ok := whose(w.World(), from, p.Dst)
	return ok && byOracle(w.World(), p, from, to, protocol, port).Stateless
}

// sample checks some packets of all tenants.
func (w *walk) sample(n int) error {
	for _, t := range tenants {
		all := w.packets(t)
		w.r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		chosen := all[:min(n, len(all))]
		for _, p := range chosen {
			if err := w.check(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// trace digests everything that the walk did and saw.
func (w *walk) trace() uint64 {
	h := fnv.New64a()
	for _, line := range w.log {
		fmt.Fprintln(h, line)
	}
	return h.Sum64()
}

// explain ends a test with the world and the last steps.
func (w *walk) explain(t *testing.T, err error) {
	t.Helper()
	for _, line := range w.log[max(0, len(w.log)-25):] {
		t.Log(line)
	}
	for _, tenant := range tenants {
		for b := range w.World().ParsedOf(tenant) {
			t.Logf("%s\n%s", tenant, blueprint.Format(b))
		}
		for e := range w.World().Endpoints(tenant) {
			t.Logf("%s in %v at %v on %s", e.Full(), e.Groups, e.Addresses, e.Host)
		}
	}
	t.Fatal(err)
}
