package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"dove.network/api"
	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/scenario"
)

// Stage carries out scenarios on a lab: every step through the API, every
// expectation by real packets.
type Stage struct {
	Lab *Lab

	ports      Ports // that guests listen on
	blueprints map[dove.Tenant]map[string]*blueprint.Blueprint
	networks   map[dove.Network][]netip.Prefix // that no blueprint makes, and their subnets
	idle       map[dove.Endpoint]*Guest        // known, but not plugged in
	flows      map[string][]*Stream
	outage     scenario.Outage
	taps       bool // guests come with taps
}

// NewStage prepares a lab for a scenario: its hosts, and which ports its guests listen on.
func NewStage(ctx context.Context, l *Lab, s *scenario.Scenario) (*Stage, error) {
	st := &Stage{Lab: l, blueprints: map[dove.Tenant]map[string]*blueprint.Blueprint{},
		networks: map[dove.Network][]netip.Prefix{}, idle: map[dove.Endpoint]*Guest{}, flows: map[string][]*Stream{}}
	for _, step := range s.Steps {
		switch a := step.Action.(type) {
		case scenario.Expect:
			st.listen(a.Probe)
		case scenario.ExpectMatrix:
			for _, p := range a.Probes {
				st.listen(p)
			}
		case scenario.OpenFlow:
			st.listen(a.Probe)
		}
	}
	for _, h := range s.Hosts {
		if _, err := l.AddHost(ctx, string(h)); err != nil {
			return nil, err
		}
	}
	for _, h := range s.Foreign {
		if err := l.AddForeign(ctx, string(h)); err != nil {
			return nil, err
		}
	}
	return st, nil
}

func (st *Stage) listen(p scenario.Probe) {
	ports := map[dove.Protocol]*[]uint16{dove.ProtocolTCP: &st.ports.TCP, dove.ProtocolUDP: &st.ports.UDP, dove.ProtocolSCTP: &st.ports.SCTP}[p.Protocol]
	if ports != nil && !slices.Contains(*ports, p.Port) {
		*ports = append(*ports, p.Port)
	}
}

// Do makes one step.
func (st *Stage) Do(ctx context.Context, a scenario.Action) (says string, err error) {
	for _, e := range ends(a) {
		if st.guest(e) == nil {
			return "", fmt.Errorf("%s is not there, because an earlier step failed", e)
		}
	}
	st.outage.Follow(a)
	switch a := a.(type) {
	case scenario.Expect:
		return st.expect(ctx, a)
	case scenario.ExpectMatrix:
		return st.matrix(ctx, a)
	case scenario.OpenFlow:
		return st.openFlow(ctx, a)
	case scenario.ExpectFlow:
		return st.expectFlow(ctx, a)
	case scenario.Forge:
		return "dropped as " + a.Reason, st.forge(ctx, a)
	case scenario.Announce:
		return st.announce(ctx, a)
	case scenario.Refuse:
		return st.refuse(ctx, a)
	case scenario.Plug:
		return "", st.plug(ctx, st.idle[a.Endpoint])
	case scenario.Unplug:
		g, _ := st.Lab.Guest(a.Endpoint)
		return "", st.unplug(ctx, g)
	case scenario.Move:
		return st.move(ctx, a)
	case scenario.Prepare:
		return st.prepare(ctx, a)
	case scenario.Activate:
		return st.activate(ctx, a)
	case scenario.Finish:
		return st.finish(ctx, a)
	case scenario.Pass:
		return st.pass(ctx, a)
	case scenario.Kill, scenario.Stop, scenario.Start, scenario.Cut, scenario.Heal:
		return st.disturb(ctx, a)
	default:
		rev, err := st.change(ctx, a)
		if err != nil {
			return "", err
		}
		if err := st.after(ctx, a); err != nil {
			return "", err
		}
		return st.settle(ctx, rev)
	}
}

// waitPort waits until a guest's port is open or shut, if its host can know: a
// dswitch that does not run knows nothing, and one that cannot hear from the DPC
// opens only what it was assigned before.
func (st *Stage) waitPort(ctx context.Context, g *Guest, open bool) error {
	host := dove.HostName(g.Host)
	if _, foreign, _ := st.Lab.machine(g.Host); foreign != nil {
		return nil
	}
	if st.outage.Stopped(scenario.Program{Host: host}) {
		return nil
	}
	if h, ok := st.Lab.Host(g.Host); ok && open && st.outage.Adrift(host) != "" {
		if s, err := h.sock.Status(ctx); err != nil || portState(s, g) == notAssigned {
			return err
		}
	}
	return st.Lab.waitPort(ctx, g, open)
}

// documentName finds a blueprint's name in its text, well-formed or not.
var documentName = regexp.MustCompile(`(?m)^name: *([a-z0-9-]+)`)

// ends lists the guests that a step needs.
func ends(a scenario.Action) []dove.Endpoint {
	switch a := a.(type) {
	case scenario.Expect:
		if a.To == (dove.Endpoint{}) {
			return []dove.Endpoint{a.From}
		}
		return []dove.Endpoint{a.From, a.To}
	case scenario.OpenFlow:
		return []dove.Endpoint{a.From, a.To}
	case scenario.Forge:
		return []dove.Endpoint{a.From, a.To}
	case scenario.Announce:
		return []dove.Endpoint{a.Endpoint}
	case scenario.Plug:
		return []dove.Endpoint{a.Endpoint}
	case scenario.Unplug:
		return []dove.Endpoint{a.Endpoint}
	case scenario.Move:
		return []dove.Endpoint{a.Endpoint}
	case scenario.Prepare:
		return []dove.Endpoint{a.Endpoint}
	case scenario.Activate:
		return []dove.Endpoint{a.Endpoint}
	case scenario.Finish:
		return []dove.Endpoint{a.Endpoint}
	case scenario.SetGroups:
		return []dove.Endpoint{a.Endpoint}
	}
	return nil
}

// change makes the write of a step through the API and returns its revision.
func (st *Stage) change(ctx context.Context, a scenario.Action) (dove.Revision, error) {
	c := st.Lab.api
	switch a := a.(type) {
	case scenario.ApplyBlueprint:
		if _, err := c.PutTenant(ctx, a.Tenant, nil); err != nil {
			return 0, err
		}
		name := "refused" // a text without a name is never applied
		text := []byte(a.At(time.Now()))
		if found := documentName.FindSubmatch(text); found != nil {
			name = string(found[1])
		}
		b, err := c.PutBlueprint(ctx, a.Tenant, name, text, nil)
		if err != nil {
			return 0, err
		}
		parsed, err := blueprint.Parse(a.Tenant, text)
		if err != nil {
			return 0, fmt.Errorf("the DPC accepted a blueprint that this program cannot parse: %w", err)
		}
		if st.blueprints[a.Tenant] == nil {
			st.blueprints[a.Tenant] = map[string]*blueprint.Blueprint{}
		}
		st.blueprints[a.Tenant][parsed.Name] = parsed
		return b.Revision, nil
	case scenario.DeleteBlueprint:
		rev, err := c.DeleteBlueprint(ctx, a.Tenant, a.Name, nil)
		if err == nil {
			delete(st.blueprints[a.Tenant], a.Name)
		}
		return rev, err
	case scenario.CreateNetwork:
		if _, err := c.PutTenant(ctx, a.Network.Tenant, nil); err != nil {
			return 0, err
		}
		spec := api.NetworkSpec{Domain: a.Domain, MTU: a.MTU}
		for _, p := range a.Subnets {
			spec.Subnets = append(spec.Subnets, p.String())
		}
		n, err := c.PutNetwork(ctx, a.Network, spec, nil)
		if err == nil {
			st.networks[a.Network] = a.Subnets
		}
		return n.Revision, err
	case scenario.CreateEndpoint:
		if _, err := c.PutTenant(ctx, a.Endpoint.Tenant, nil); err != nil {
			return 0, err
		}
		g := &Guest{Endpoint: a.Endpoint, Groups: a.Groups, Host: string(a.Host), Device: st.Lab.NextDevice(), Tap: st.taps, Allowed: a.Allowed, Labels: a.Labels, Ports: a.Ports}
		spec := api.EndpointSpec{Network: a.Network, Groups: groupsOf(a.Groups), Addresses: texts(a.Addresses), Host: a.Host, Device: g.Device, Labels: a.Labels}
		if a.Parent != "" {
			g.parent, g.vlan = st.guest(dove.Endpoint{Tenant: a.Endpoint.Tenant, ID: a.Parent}), a.VLAN
			if g.parent == nil {
				return 0, fmt.Errorf("its parent %s is not there, because an earlier step failed", a.Parent)
			}
			spec.Parent, spec.VLAN, spec.Device = a.Parent, a.VLAN, ""
		}
		for _, p := range a.Allowed {
			spec.Allowed = append(spec.Allowed, api.AllowedPrefix{Prefix: p.String()})
		}
		spec.Ports = map[string]string{}
		for name, p := range a.Ports {
			spec.Ports[name] = p.String()
		}
		e, err := c.PutEndpoint(ctx, a.Endpoint, spec, nil)
		if err != nil {
			return 0, err
		}
		st.idle[a.Endpoint] = g
		return e.Revision, st.Lab.fill(ctx, g, e)
	case scenario.SetGroups:
		g := st.guest(a.Endpoint)
		spec := api.EndpointSpec{Network: g.Network, Groups: groupsOf(a.Groups), Addresses: texts(g.Addrs), MAC: g.MAC.String()}
		if g.parent == nil {
			spec.Host, spec.Device = dove.HostName(g.Host), g.Device
		}
		e, err := c.PutEndpoint(ctx, a.Endpoint, spec, nil)
		if err == nil {
			g.Groups = a.Groups
		}
		return e.Revision, err
	case scenario.Move:
		e, err := c.BindEndpoint(ctx, a.Endpoint, a.Host, nil)
		return e.Revision, err
	case scenario.Prepare:
		e, err := c.PrepareEndpoint(ctx, a.Endpoint, a.Host, nil)
		return e.Revision, err
	case scenario.Activate:
		to, err := st.standby(ctx, a.Endpoint)
		if err != nil {
			return 0, err
		}
		e, err := c.ActivateEndpoint(ctx, a.Endpoint, to, api.Force{}, nil)
		return e.Revision, err
	case scenario.Finish:
		to, err := st.standby(ctx, a.Endpoint)
		if err != nil {
			return 0, err
		}
		e, err := c.FinishEndpoint(ctx, a.Endpoint, to, api.Force{}, nil)
		return e.Revision, err
	case scenario.DeleteEndpoint:
		return c.DeleteEndpoint(ctx, a.Endpoint, nil)
	}
	return 0, scenario.ErrCannot
}

// standby returns the host of an endpoint's second binding, or a name that no
// binding is to.
func (st *Stage) standby(ctx context.Context, name dove.Endpoint) (dove.HostName, error) {
	e, err := st.Lab.api.Endpoint(ctx, name)
	return cmp.Or(e.Standby, "nowhere"), err
}

// after does what a workload's owner does around a write: plug and unplug.
func (st *Stage) after(ctx context.Context, a scenario.Action) error {
	switch a := a.(type) {
	case scenario.ApplyBlueprint:
		return st.reroute(a.Tenant)
	case scenario.DeleteBlueprint:
		return st.reroute(a.Tenant)
	case scenario.CreateEndpoint:
		g := st.idle[a.Endpoint]
		if a.Host != "" || g.parent != nil && st.idle[g.parent.Endpoint] == nil {
			return st.plug(ctx, g)
		}
	case scenario.DeleteEndpoint:
		delete(st.idle, a.Endpoint)
		if g, ok := st.Lab.Guest(a.Endpoint); ok {
			return st.Lab.Unplug(g)
		}
	}
	return nil
}

// plug brings a guest up, and those of its sub-ports with it.
func (st *Stage) plug(ctx context.Context, g *Guest) error {
	delete(st.idle, g.Endpoint)
	if g.parent != nil {
		g.Host = g.parent.Host
	}
	if err := st.Lab.Plug(g); err != nil {
		return err
	}
	g.routes = nil
	if err := st.route(g); err != nil {
		return err
	}
	if err := g.Serve(st.ports); err != nil {
		return err
	}
	if err := st.waitPort(ctx, g, true); err != nil {
		return err
	}
	for _, sub := range st.idle {
		if sub.parent == g {
			if err := st.plug(ctx, sub); err != nil {
				return err
			}
		}
	}
	return nil
}

// unplug takes a guest down, after those of its sub-ports.
func (st *Stage) unplug(ctx context.Context, g *Guest) error {
	for _, sub := range slices.Clone(st.Lab.Guests()) {
		if sub.parent == g {
			if err := st.unplug(ctx, sub); err != nil {
				return err
			}
		}
	}
	st.idle[g.Endpoint] = g
	return errors.Join(st.Lab.Unplug(g), st.waitPort(ctx, g, false))
}

func (st *Stage) move(ctx context.Context, a scenario.Move) (string, error) {
	rev, err := st.change(ctx, a)
	if err != nil {
		return "", err
	}
	if g := st.idle[a.Endpoint]; g != nil {
		g.Host = string(a.Host)
		if err := st.plug(ctx, g); err != nil {
			return "", err
		}
	} else if g := st.guest(a.Endpoint); g.Host != string(a.Host) {
		if err := st.Lab.Move(g, string(a.Host)); err != nil {
			return "", err
		}
		g.routes = nil
		if err := st.route(g); err != nil {
			return "", err
		}
		for _, o := range st.Lab.Guests() {
			if o != g && o.parent != g {
				continue
			}
			if err := st.waitPort(ctx, o, true); err != nil {
				return "", err
			}
		}
	}
	return st.settle(ctx, rev)
}

// guest returns an endpoint's guest, plugged in or not.
func (st *Stage) guest(e dove.Endpoint) *Guest {
	if g, ok := st.Lab.Guest(e); ok {
		return g
	}
	return st.idle[e]
}

func (st *Stage) refuse(ctx context.Context, a scenario.Refuse) (string, error) {
	before, err := st.Lab.api.Status(ctx)
	if err != nil {
		return "", err
	}
	rev, err := st.change(ctx, a.Action)
	if err == nil {
		return "", fmt.Errorf("accepted as revision %d, meant: refused as %s", rev, a.Kind)
	}
	if kind := dove.KindOf(err); kind != a.Kind {
		return "", fmt.Errorf("refused as %s, meant: %s: %w", kind, a.Kind, err)
	}
	for _, f := range a.Fragments {
		if !strings.Contains(err.Error(), f) {
			return "", fmt.Errorf("the refusal does not say %q: %w", f, err)
		}
	}
	says := "refused as " + a.Kind.String() + ": " + err.Error()
	after, err := st.Lab.api.Status(ctx)
	if err == nil && after.Revision != before.Revision {
		err = fmt.Errorf("the refused change moved the world from revision %d to %d", before.Revision, after.Revision)
	}
	return says, err
}

func groupsOf(groups []dove.Group) []string {
	out := make([]string, len(groups))
	for i, g := range groups {
		out[i] = g.Blueprint + "/" + g.Name
	}
	return out
}

func texts(addrs []netip.Addr) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out
}
