package scenario_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/oracle"
	"dove.network/scenario"
)

// TestFiles reads every scenario of the project and holds its expectations
// against the oracle, as far as documents alone can answer them.
func TestFiles(t *testing.T) {
	files, err := filepath.Glob("../scenarios/*.dove")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".dove"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, err := scenario.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			w := &intent{foreign: s.Foreign, networks: map[dove.Network]blueprint.ExistingNetwork{}, blueprints: map[string]*blueprint.Blueprint{}, endpoints: map[dove.Endpoint]*placed{}, flows: map[string]scenario.OpenFlow{}, now: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
			for _, step := range s.Steps {
				if err := w.step(step.Action); err != nil {
					t.Fatalf("%s:%d: %v", file, step.Line, err)
				}
			}
			if w.expectations == 0 {
				t.Error("expects nothing")
			}
		})
	}
}

// TestExamples holds that each example is a scenario: the one of its name
// applies it, word for word.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		twin := "../scenarios/" + strings.TrimSuffix(filepath.Base(file), ".yaml") + ".dove"
		scenario, err := os.ReadFile(twin)
		if err != nil || !strings.Contains(string(scenario), " <<END\n"+string(text)+"END\n") {
			t.Errorf("%s does not apply %s word for word: %v", twin, file, err)
		}
	}
}

// intent is the world as far as documents tell it.
type intent struct {
	foreign      []dove.HostName
	networks     map[dove.Network]blueprint.ExistingNetwork // that no blueprint makes
	blueprints   map[string]*blueprint.Blueprint            // by tenant/name
	endpoints    map[dove.Endpoint]*placed
	flows        map[string]scenario.OpenFlow
	outage       scenario.Outage
	now          time.Time
	expectations int
}

type placed struct {
	groups    []dove.Group
	labels    map[string]string
	ports     map[string]dove.Port
	network   string
	addresses []netip.Addr
	allowed   []netip.Prefix
	parent    dove.EndpointID // whose place it has
	*place
}

type place struct{ host, standby dove.HostName }

func (p *placed) end(a netip.Addr) oracle.End {
	return oracle.End{Addr: a, Groups: p.groups, Labels: p.labels, Ports: p.ports}
}

func (w *intent) step(a scenario.Action) error {
	w.outage.Follow(a)
	switch a := a.(type) {
	case scenario.Pass:
		w.now = w.now.Add(a.Time)
	case scenario.ApplyBlueprint:
		b, err := w.check(a)
		if err != nil {
			return err
		}
		w.blueprints[string(b.Tenant)+"/"+b.Name] = b
	case scenario.CreateNetwork:
		w.networks[a.Network] = blueprint.ExistingNetwork{Domain: a.Domain, Subnets: a.Subnets}
	case scenario.DeleteBlueprint:
		b := w.blueprints[string(a.Tenant)+"/"+a.Name]
		if b == nil {
			return fmt.Errorf("no blueprint %s", a.Name)
		}
		if err := blueprint.CheckDelete(b, w.context(a.Tenant)); err != nil {
			return err
		}
		var members []string
		for id, e := range w.endpoints {
			if slices.ContainsFunc(e.groups, func(g dove.Group) bool { return g.Tenant == a.Tenant && g.Blueprint == a.Name }) {
				members = append(members, string(id.ID))
			}
		}
		if len(members) > 0 {
			return dove.Errorf(dove.Conflict, "endpoints %s are in its groups", strings.Join(members, ", "))
		}
		delete(w.blueprints, string(a.Tenant)+"/"+a.Name)
	case scenario.CreateEndpoint:
		return w.create(a)
	case scenario.SetGroups:
		for _, g := range a.Groups {
			if w.group(g) == nil {
				return fmt.Errorf("no group %s", g)
			}
		}
		w.endpoints[a.Endpoint].groups = a.Groups
	case scenario.Move:
		w.endpoints[a.Endpoint].host = a.Host
	case scenario.Prepare:
		switch e := w.endpoints[a.Endpoint]; {
		case e.host == a.Host:
			return dove.Errorf(dove.Conflict, "it is active on host %s", a.Host)
		case e.standby != "":
			return dove.Errorf(dove.Conflict, "it moves between hosts %s and %s", e.host, e.standby)
		case slices.Contains(w.foreign, a.Host):
			return dove.Errorf(dove.Conflict, "%s is a foreign host", a.Host)
		default:
			e.standby = a.Host
		}
	case scenario.Activate:
		e := w.endpoints[a.Endpoint]
		if e.standby == "" {
			return dove.Errorf(dove.Conflict, "it is not on standby anywhere")
		}
		e.host, e.standby = e.standby, e.host
	case scenario.Finish:
		e := w.endpoints[a.Endpoint]
		if e.standby == "" {
			return dove.Errorf(dove.NotFound, "it has no binding on standby")
		}
		e.standby = ""
	case scenario.DeleteEndpoint:
		for other, e := range w.endpoints {
			if other.Tenant == a.Endpoint.Tenant && e.parent == a.Endpoint.ID {
				return dove.Errorf(dove.Conflict, "%s is its sub-port", other)
			}
		}
		delete(w.endpoints, a.Endpoint)
	case scenario.Refuse:
		w.expectations++
		err := w.step(a.Action)
		if err == nil || dove.KindOf(err) != a.Kind {
			return fmt.Errorf("refused with %v, not %v: %v", dove.KindOf(err), a.Kind, err)
		}
		for _, f := range a.Fragments {
			if !strings.Contains(err.Error(), f) {
				return fmt.Errorf("no %q in %v", f, err)
			}
		}
	case scenario.Expect:
		w.expectations++
		return w.expect(a)
	case scenario.OpenFlow:
		w.flows[a.Name] = a
	case scenario.ExpectFlow:
		w.expectations++
		f := w.flows[a.Name]
		if w.endpoints[f.To] != nil && w.outage.Between(w.endpoints[f.From].host, w.endpoints[f.To].host) != "" {
			return nil // documents do not say what becomes of it
		}
		e := scenario.Expect{From: f.From, To: f.To, Probe: f.Probe, Over: f.Over, Outcome: scenario.Allow}
		if w.endpoints[f.To] == nil {
			if a.Passes {
				return fmt.Errorf("flow %s ends nowhere", a.Name)
			}
			return nil
		}
		err := w.expect(e)
		if e.Outcome = scenario.NoReply; err == nil && w.expect(e) == nil {
			err = errors.New("its answers are denied")
		}
		if (err == nil) != a.Passes {
			return fmt.Errorf("flow %s: passes is %t: %v", a.Name, a.Passes, err)
		}
	}
	return nil
}

func (w *intent) context(t dove.Tenant) blueprint.Context {
	ctx := blueprint.Context{Networks: map[string]blueprint.ExistingNetwork{}, Routers: map[string]blueprint.ExistingRouter{}}
	for name, n := range w.networks {
		if name.Tenant == t {
			ctx.Networks[name.Name] = n
		}
	}
	for _, b := range w.blueprints {
		ctx.Blueprints = append(ctx.Blueprints, b)
		for _, n := range b.Networks {
			if b.Tenant == t {
				ctx.Networks[n.Name] = blueprint.ExistingNetwork{Blueprint: b.Name, Domain: b.Domain, Subnets: n.Subnets}
			}
		}
		for _, r := range b.Routers {
			if b.Tenant == t {
				ctx.Routers[r.Name] = blueprint.ExistingRouter{Blueprint: b.Name, Domain: b.Domain, Router: r}
			}
		}
	}
	return ctx
}

func (w *intent) check(a scenario.ApplyBlueprint) (*blueprint.Blueprint, error) {
	b, err := blueprint.Parse(a.Tenant, []byte(a.At(w.now)))
	if err != nil {
		return nil, err
	}
	return b, blueprint.Check(b, w.context(a.Tenant))
}

func (w *intent) group(g dove.Group) *blueprint.Group {
	b := w.blueprints[string(g.Tenant)+"/"+g.Blueprint]
	if b == nil {
		return nil
	}
	for _, d := range b.Groups {
		if d.Name == g.Name {
			return &d
		}
	}
	return nil
}

func (w *intent) create(a scenario.CreateEndpoint) error {
	e := &placed{groups: a.Groups, labels: a.Labels, ports: a.Ports, network: a.Network, addresses: a.Addresses, allowed: a.Allowed, parent: a.Parent, place: &place{host: a.Host}}
	if a.Parent != "" {
		e.place = w.endpoints[dove.Endpoint{Tenant: a.Endpoint.Tenant, ID: a.Parent}].place
	}
	for _, g := range a.Groups {
		d := w.group(g)
		if d == nil {
			return fmt.Errorf("no group %s", g)
		}
		if e.network == "" {
			e.network = d.Network
		}
		if d.Network != "" && d.Network != e.network {
			return fmt.Errorf("%s: which network, %s or %s?", a.Endpoint, e.network, d.Network)
		}
	}
	subnets := w.networks[dove.Network{Tenant: a.Endpoint.Tenant, Name: e.network}].Subnets
	for _, b := range w.blueprints {
		for _, n := range b.Networks {
			if b.Tenant == a.Endpoint.Tenant && n.Name == e.network {
				subnets = n.Subnets
			}
		}
	}
	for _, addr := range a.Addresses {
		if !slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return dove.Errorf(dove.Invalid, "address %s is in no subnet of network %q", addr, e.network)
		}
		if o := w.find(a.Endpoint.Tenant, e.network, addr); o != nil {
			return dove.Errorf(dove.Conflict, "address %s is taken", addr)
		}
		for _, b := range w.blueprints {
			for _, r := range b.Routers {
				if f, on := r.On(e.network); on && b.Tenant == a.Endpoint.Tenant && slices.Contains(f.Gateways(subnets), addr) {
					return dove.Errorf(dove.Conflict, "address %s is that of router %s", addr, r.Name)
				}
			}
		}
	}
	for _, p := range a.Allowed {
		for id, o := range w.endpoints {
			if p.IsSingleIP() && id.Tenant == a.Endpoint.Tenant && o.network == e.network && slices.Contains(o.addresses, p.Addr()) {
				return dove.Errorf(dove.Conflict, "address %s is that of endpoint %q", p.Addr(), id.ID)
			}
		}
	}
	w.endpoints[a.Endpoint] = e
	return nil
}

// ephemeral is a port that packets come from.
const ephemeral = 49152

// find returns the endpoint that has an address on a network, or nil.
func (w *intent) find(t dove.Tenant, network string, a netip.Addr) *placed {
	for id, e := range w.endpoints {
		if id.Tenant == t && e.network == network && slices.Contains(e.addresses, a) {
			return e
		}
	}
	return nil
}

// see returns the endpoint that has an address on a network or on one that a
// router joins with it, or nil.
func (w *intent) see(t dove.Tenant, network string, a netip.Addr) *placed {
	if e := w.find(t, network, a); e != nil {
		return e
	}
	for _, b := range w.blueprints {
		for _, r := range b.Routers {
			if b.Tenant != t || !slices.Contains(r.Networks(), network) {
				continue
			}
			for _, n := range r.Networks() {
				if e := w.find(t, n, a); e != nil {
					return e
				}
			}
		}
	}
	return nil
}

func (w *intent) expect(a scenario.Expect) error {
	from := w.endpoints[a.From]
	targets := []netip.Addr{a.Address}
	if !a.Address.IsValid() {
		targets = w.endpoints[a.To].addresses
	}
	for _, src := range from.addresses {
		for _, dst := range targets {
			protocol, port, ok := a.Probe.Over(dst)
			if !ok || src.Is4() != dst.Is4() || !a.Over.Has(dst) {
				continue
			}
			to := w.see(a.From.Tenant, from.network, dst)
			if a.Address.IsValid() && a.To != (dove.Endpoint{}) { // whose it is was announced
				to = w.endpoints[a.To]
				if !slices.ContainsFunc(to.allowed, func(p netip.Prefix) bool { return p.Contains(dst) }) {
					return fmt.Errorf("%v: %s is not allowed %s", a, a.To, dst)
				}
			}
			for _, hop := range a.By {
				to = w.endpoints[hop]
				if !slices.ContainsFunc(to.allowed, func(p netip.Prefix) bool { return p.Contains(dst) }) {
					return fmt.Errorf("%v: %s is not allowed %s", a, hop, dst)
				}
			}
			if w.outage.Adrift(from.host) != "" || to != nil && w.outage.Between(from.host, to.host) != "" {
				continue // documents do not say what becomes of it
			}
			if a.Outcome == scenario.TooBig {
				continue // nor of what size a packet may be
			}
			outcome, rule := scenario.NoEndpoint, ""
			if to != nil && to.host != "" {
				outcome = scenario.Deny
				var allow bool
				answer := oracle.Decide(w.domain(a.From.Tenant, from.network), w.now, oracle.Packet{Src: from.end(src), Dst: to.end(dst), Protocol: protocol, Port: port})
				if allow, rule = answer.Allow, answer.Rule; allow {
					outcome = scenario.Allow
				}
				if allow && a.Outcome == scenario.NoReply {
					back := oracle.Packet{Src: to.end(dst), Dst: from.end(src), Protocol: protocol, Port: ephemeral}
					switch protocol {
					case dove.ProtocolICMP:
						back.Port = 0
					case dove.ProtocolICMPv6:
						back.Port = 129 << 8
					}
					if reply := oracle.Decide(w.domain(a.From.Tenant, from.network), w.now, back); reply.NoReply {
						outcome, rule = scenario.NoReply, reply.Rule
					}
				}
				if log := map[bool]scenario.Tells{false: scenario.Unlogged, true: scenario.Logged}[answer.Log]; a.Log != scenario.AnyTells && a.Log != log {
					return fmt.Errorf("%v: the oracle says that it is logged: %t", a, answer.Log)
				}
				would := scenario.WouldNothing
				if answer.Shadow != "" {
					would = map[bool]scenario.Would{false: scenario.WouldDeny, true: scenario.WouldAllow}[answer.Would]
				}
				if a.Would != scenario.AnyWould && a.Would != would || a.Shadow != "" && a.Shadow != answer.Shadow {
					return fmt.Errorf("%v: the oracle says of what is in shadow: %q, allow %t", a, answer.Shadow, answer.Would)
				}
			}
			if outcome != a.Outcome || a.Rule != "" && rule != a.Rule {
				return fmt.Errorf("%v: from %v to %v the oracle says %v by %q", a, src, dst, outcome, rule)
			}
		}
	}
	return nil
}

// domain returns the blueprints of the domain that a network is of.
func (w *intent) domain(t dove.Tenant, network string) []*blueprint.Blueprint {
	domain := w.context(t).Networks[network].Domain
	var all []*blueprint.Blueprint
	for _, b := range w.blueprints {
		if b.Tenant == t && b.Domain == domain {
			all = append(all, b)
		}
	}
	return all
}
