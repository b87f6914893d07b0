package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/oracle"
	"dove.network/scenario"
	"dove.network/store/memory"
	"dove.network/verdict"
	"dove.network/world"
)

// decider says whether an endpoint may open a flow to another by a packet of the
// protocol to the port, and what is told of it.
type decider func(w *world.World, p Packet, from, to world.Endpoint, protocol dove.Protocol, port uint16) oracle.Answer

// judge says what should become of a packet, given who is plugged in.
func judge(w *world.World, decide decider, plugged func(dove.Endpoint) bool, p Packet) Finding {
	from, ok := w.Endpoint(p.From)
	if !ok || !plugged(p.From) {
		return Finding{Instead: p.From.String() + " is not plugged in"}
	}
	to, _ := whose(w, from, p.Dst)
	return judgeTo(w, decide, plugged, p, from, to)
}

// judgeTo is judge of a packet that goes to one of those who have the address, or to
// nobody.
func judgeTo(w *world.World, decide decider, plugged func(dove.Endpoint) bool, p Packet, from, to world.Endpoint) Finding {
	if to.Host == "" {
		return Finding{Outcome: scenario.NoEndpoint}
	}
	protocol, port, _ := p.Probe.Over(p.Dst)
	a := decide(w, p, from, to, protocol, port)
	f := Finding{Outcome: scenario.Deny, Rule: a.Rule, Told: Told{a.Log, a.Shadow, a.Would}}
	switch {
	case a.Allow && !plugged(to.Full()):
		return Finding{Instead: to.Full().String() + " is not plugged in"}
	case a.Allow:
		f.Outcome = scenario.Allow
	}
	return f
}

// judgeWhole is judge of a packet from a port, and of its answer: what is allowed
// comes to NoReply where an end that keeps no state denies that.
func judgeWhole(w *world.World, decide decider, plugged func(dove.Endpoint) bool, p Packet, sport uint16) Finding {
	from, _ := w.Endpoint(p.From)
	to, _ := whose(w, from, p.Dst)
	return answered(w, decide, p, from, to, sport, judge(w, decide, plugged, p))
}

// answered says what a packet comes to with its answer, if it comes to f by itself.
func answered(w *world.World, decide decider, p Packet, from, to world.Endpoint, sport uint16, f Finding) Finding {
	protocol, port, _ := p.Probe.Over(p.Dst)
	if !allowed(f) || !answerable(protocol, port) {
		return f
	}
	switch {
	case protocol.HasPorts():
		port = sport
	case protocol == dove.ProtocolICMP:
		port = 0
	case protocol == dove.ProtocolICMPv6:
		port = 129 << 8
	}
	back := p
	back.Src, back.Dst = p.Dst, p.Src
	if a := decide(w, back, to, from, protocol, port); a.NoReply {
		f.Outcome, f.Rule = scenario.NoReply, a.Rule
	}
	return f
}

func allowed(f Finding) bool { return f.Instead == "" && f.Outcome == scenario.Allow }

// whose finds who has an address as an endpoint sees it, the slow obvious way: on
// its own network, or on one that a router joins with it; of several next hops of a
// static route the first by name.
func whose(w *world.World, from world.Endpoint, addr netip.Addr) (world.Endpoint, bool) {
	if all := owners(w, from, addr); len(all) > 0 {
		return all[0], true
	}
	return world.Endpoint{}, false
}

// owners finds all who have an address as an endpoint sees it: more than one are
// the next hops of a static route that are bound somewhere and allowed the address.
func owners(w *world.World, from world.Endpoint, addr netip.Addr) []world.Endpoint {
	own, _ := w.Network(from.NetworkOf())
	var route world.Route
	var networks []world.Network // that the router of the route joins
	subnet := false
	for n := range w.Networks(from.Tenant) {
		joined := n.Name == from.Network
		for r := range w.Routers(from.Tenant) {
			near, far := false, false
			for _, f := range r.Interfaces {
				near = near || f.Network == from.Network
				far = far || f.Network == n.Name
			}
			joined = joined || near && far
		}
		if !joined {
			continue
		}
		if e, ok := w.EndpointOn(n.Full(), addr); ok {
			return []world.Endpoint{e}
		}
		if slices.ContainsFunc(n.Subnets, func(s netip.Prefix) bool { return s.Contains(addr) }) {
			subnet = true
			if e, _, ok := permitted(w, n, addr); ok {
				return []world.Endpoint{e}
			}
		}
	}
	lent, bits, allowed := permitted(w, own, addr)
	for r := range w.Routers(from.Tenant) {
		if _, on := r.On(from.Network); !on || subnet {
			continue
		}
		for _, t := range r.Routes {
			if t.To.Contains(addr) && (!route.To.IsValid() || t.To.Bits() > route.To.Bits()) {
				route, networks = t, nil
				for _, f := range r.Interfaces {
					n, _ := w.Network(r.NetworkOf(f))
					networks = append(networks, n)
				}
			}
		}
	}
	switch {
	case subnet:
		return nil
	case allowed && (!route.To.IsValid() || bits > route.To.Bits()):
		return []world.Endpoint{lent}
	case !route.To.IsValid():
		return nil
	}
	var all []world.Endpoint
	for e := range w.Endpoints(from.Tenant) { // in order of names
		hop := slices.ContainsFunc(networks, func(n world.Network) bool {
			return n.Name == e.Network && slices.ContainsFunc(route.Via, func(via netip.Addr) bool { return slices.Contains(e.Addresses, via) })
		})
		n, _ := w.Network(e.NetworkOf())
		if o, longer, ok := permitted(w, n, addr); ok && longer > route.To.Bits() && o.Full() != e.Full() {
			continue // on its network another has it
		}
		if hop && e.Host != "" && slices.ContainsFunc(e.Allowed, func(a world.Allowed) bool { return a.Prefix.Contains(addr) }) {
			all = append(all, e)
		}
	}
	return all
}

// permitted finds who of a network is allowed an address by the longest prefix, and
// how many bits that has. If several are allowed just it, the one is meant that claimed it.
func permitted(w *world.World, n world.Network, addr netip.Addr) (found world.Endpoint, longest int, ok bool) {
	equal := 0
	longest = -1
	for e := range w.EndpointsIn(n.Full()) {
		for _, a := range e.Allowed {
			switch bits := a.Prefix.Bits(); {
			case !a.Prefix.Contains(addr) || bits < longest:
			case bits > longest:
				found, longest, equal = e, bits, 1
			default:
				equal++
			}
		}
	}
	if equal > 1 && longest == addr.BitLen() {
		c, claimed := w.Claim(n.Full(), addr)
		if !claimed {
			return world.Endpoint{}, longest, false
		}
		found, ok = w.Endpoint(dove.Endpoint{Tenant: c.Tenant, ID: c.Endpoint})
		return found, longest, ok && found.UID == c.UID
	}
	return found, longest, longest >= 0
}

// byOracle reads the blueprints.
func byOracle(w *world.World, p Packet, from, to world.Endpoint, protocol dove.Protocol, port uint16) oracle.Answer {
	n, ok := w.Network(from.NetworkOf())
	if !ok {
		return oracle.Answer{Rule: "no network"}
	}
	var intent []*blueprint.Blueprint
	for b := range w.ParsedOf(from.Tenant) {
		if b.Domain == n.Domain {
			intent = append(intent, b)
		}
	}
	return oracle.Decide(intent, w.Edge(n.DomainOf()), oracle.Packet{Src: end(from, p.Src), Dst: end(to, p.Dst), Protocol: protocol, Port: port})
}

func end(e world.Endpoint, a netip.Addr) oracle.End {
	return oracle.End{Addr: a, Groups: e.Groups, Labels: e.Labels, Ports: e.Ports, Open: e.Open}
}

// byTable goes the way of the compiled tables: from the addresses' class ids to
// what these stand for, to the table of the pair, over its encoding.
func byTable(w *world.World, p Packet, from, to world.Endpoint, protocol dove.Protocol, port uint16) oracle.Answer {
	n, ok := w.Network(from.NetworkOf())
	if !ok {
		return oracle.Answer{Rule: "no network"}
	}
	domain := n.DomainOf()
	src, ok := w.SignatureOf(domain, w.AddressClass(from, p.Src))
	if !ok {
		return oracle.Answer{Rule: fmt.Sprintf("no class for %s", p.Src)}
	}
	dst, ok := w.SignatureOf(domain, w.AddressClass(to, p.Dst))
	if !ok {
		return oracle.Answer{Rule: fmt.Sprintf("no class for %s", p.Dst)}
	}
	table, err := verdict.Decode(w.Domain(domain).Table(src, dst).Encode())
	if err != nil {
		return oracle.Answer{Rule: err.Error()}
	}
	v := table.Lookup(protocol, port)
	return oracle.Answer{Allow: v.Allow, Rule: table.Name(v), Log: v.Log, Shadow: table.WouldName(v), Would: v.WouldAllow, NoReply: v.NoReply, Stateless: !table.Stateful()}
}

// paper is a level without hosts: a change is in force as soon as it is made,
// and packets are judged, not sent.
type paper struct {
	decide  decider
	store   *memory.Store
	world   *world.World
	random  *rand.Rand
	hosts   int
	plugged map[dove.Endpoint]dove.UID
	now     time.Time
}

func newPaper(decide decider) *paper {
	p := &paper{
		decide: decide, store: memory.New(), world: world.New(),
		random: rand.New(rand.NewPCG(1, 0)), plugged: map[dove.Endpoint]dove.UID{}, now: Start,
	}
	if err := found(p); err != nil {
		panic(fmt.Sprintf("sim: an empty store refuses its first document: %v", err))
	}
	return p
}

func (l *paper) World() *world.World { return l.world }

func (l *paper) Now() time.Time { return l.now }

// Sleep lets time pass, in which nothing happens.
func (l *paper) Sleep(d time.Duration) { l.now = l.now.Add(d) }

func (l *paper) chance() edit.Chance {
	return edit.Chance{UID: dove.UID(l.random.Uint64()), Now: l.now}
}

func (l *paper) Edit(decide func(*world.World) (dove.Txn, error)) (dove.Revision, error) {
	return commit(l.store, l.World, decide, func(revision dove.Revision, docs []dove.Doc) error {
		next, _, err := l.world.Apply(revision, docs)
		if err == nil {
			l.world = next
		}
		return err
	})
}

func (l *paper) addHost(name dove.HostName) error {
	l.hosts++
	_, err := join(l, name, l.hosts)
	return err
}

func (l *paper) addForeign(name dove.HostName) error {
	l.hosts++
	_, err := declare(l, name, l.hosts)
	return err
}

func (l *paper) settle(dove.Revision) (string, error) { return "", nil }

func (l *paper) moved(world.Endpoint) (string, error) { return "", nil }

func (l *paper) plug(e world.Endpoint) (string, error) {
	l.plugged[e.Full()] = e.UID
	return "", nil
}

func (l *paper) unplug(e dove.Endpoint) (string, error) {
	delete(l.plugged, e)
	return "", nil
}

// ephemeral is a port that packets on paper come from.
const ephemeral = 49152

func (l *paper) ask(p Packet) (Finding, string, error) {
	seen := judgeWhole(l.world, l.decide, func(e dove.Endpoint) bool { return l.plugged[e] != 0 }, p, ephemeral)
	return seen, tellOnPaper(l.world, p, seen), nil
}

func (l *paper) sport() uint16 { return ephemeral }

// spread looks whom flows of a packet may reach.
func (l *paper) spread(p Packet) (reached []dove.Endpoint, seen Finding, says string, err error) {
	from, _ := l.world.Endpoint(p.From)
	for _, e := range owners(l.world, from, p.Dst) {
		if l.plugged[e.Full()] != 0 {
			reached = append(reached, e.Full())
		}
	}
	seen, says, err = l.ask(p)
	return reached, seen, says, err
}

func (l *paper) disturb(scenario.Action) (string, error) {
	return "", fmt.Errorf("there are no programs and no links on paper: %w", scenario.ErrCannot)
}

// announce writes the claim: on paper an announcement is heard at once.
func (l *paper) announce(a scenario.Announce) (string, error) {
	e, _ := l.world.Endpoint(a.Endpoint)
	_, err := l.Edit(func(w *world.World) (dove.Txn, error) {
		return edit.ClaimAddress(w, edit.ClaimRequest{Endpoint: a.Endpoint, Epoch: e.Epoch, Addr: a.Address})
	})
	return "", err
}

func (l *paper) forge(f scenario.Forge) (string, error) {
	return "", fmt.Errorf("there are no packets to lie with: %w", scenario.ErrCannot)
}

// asked is a conversation on paper: it lasts between two lives of endpoints, as
// long as its first packet would still pass.
type asked struct {
	level *paper
	Packet
	from, to dove.UID
}

func (l *paper) open(p Packet) (conversation, string, error) {
	seen, says, err := l.ask(p)
	if err != nil || seen.Instead != "" || seen.Outcome != scenario.Allow {
		return nil, "", fmt.Errorf("%s: %s, meant: allow", p, seen)
	}
	c := asked{level: l, Packet: p}
	c.from, c.to = c.ends()
	return c, says, nil
}

// ends returns the present lives of the two ends.
func (c asked) ends() (from, to dove.UID) {
	w := c.level.world
	e, _ := w.Endpoint(c.From)
	o, _ := whose(w, e, c.Dst)
	return e.UID, o.UID
}

func (c asked) passes(bool) (bool, string, error) {
	if from, to := c.ends(); from != c.from || to != c.to {
		return false, "its ends are not what they were", nil
	}
	seen, says, err := c.level.ask(c.Packet)
	return err == nil && seen.Instead == "" && seen.Outcome == scenario.Allow, says, err
}
