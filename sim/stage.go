package sim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/scenario"
	"dove.network/world"
)

// Levels are what NewStage knows, from the plainest to the fullest.
var Levels = []string{"oracle", "table", "soft"}

// level is how a stage finds out what happens: by asking (paper) or by sending
// packets (simulated). What it says is for a reader; "" is nothing.
type level interface {
	editor
	addHost(dove.HostName) error
	addForeign(dove.HostName) error
	settle(dove.Revision) (says string, err error)   // until a change is in force wherever the DPC reaches
	moved(e world.Endpoint) (says string, err error) // until a step of a move is as far as it should be
	plug(world.Endpoint) (says string, err error)
	unplug(dove.Endpoint) (says string, err error)
	ask(Packet) (seen Finding, says string, err error)
	sport() uint16                                                                 // that the packet asked about last came from
	spread(Packet) (reached []dove.Endpoint, seen Finding, says string, err error) // of many flows alike, all of whom they reached
	open(Packet) (flow conversation, says string, err error)
	forge(scenario.Forge) (says string, err error)
	announce(scenario.Announce) (says string, err error)
	disturb(scenario.Action) (says string, err error) // Kill, Stop, Start, Cut, Heal
	Sleep(time.Duration)
}

func (st *stage) isPlugged(e dove.Endpoint) bool { return st.plugged[e] }

// conversation is a flow of one family that was opened. It passes both ways or
// not at all; anything between is an error.
type conversation interface {
	passes(back bool) (passes bool, says string, err error) // back: the responder sends first
}

// flow is a conversation and the packet that began it.
type flow struct {
	Packet
	conversation
}

// stage makes the steps of a scenario at a level.
type stage struct {
	level
	name    string
	plugged map[dove.Endpoint]bool
	flows   map[string][]flow
	outage  scenario.Outage
}

// NewStage prepares a scenario's hosts and tenants at a level: "oracle",
// "table" or "soft".
func NewStage(name string, s *scenario.Scenario) (scenario.Stage, error) {
	st := &stage{name: name, plugged: map[dove.Endpoint]bool{}, flows: map[string][]flow{}}
	switch name {
	case "oracle":
		st.level = newPaper(byOracle)
	case "table":
		st.level = newPaper(byTable)
	case "soft":
		st.level = simulated{New(1)}
	default:
		return nil, fmt.Errorf("unknown level %q: use %s", name, strings.Join(Levels, ", "))
	}
	for _, h := range s.Hosts {
		if err := st.addHost(h); err != nil {
			return nil, err
		}
	}
	for _, h := range s.Foreign {
		if err := st.addForeign(h); err != nil {
			return nil, err
		}
	}
	for _, step := range s.Steps {
		tenant := tenantOf(step.Action)
		if tenant == "" {
			continue
		}
		if _, err := st.Edit(func(w *world.World) (dove.Txn, error) {
			return first(edit.PutTenant(w, tenant, nil))
		}); err != nil {
			return nil, err
		}
	}
	_, err := st.settle(st.World().Revision())
	return st, err
}

// tenantOf returns whose blueprint a step applies, or network it makes, or "".
func tenantOf(a scenario.Action) dove.Tenant {
	switch a := a.(type) {
	case scenario.ApplyBlueprint:
		return a.Tenant
	case scenario.CreateNetwork:
		return a.Network.Tenant
	case scenario.Refuse:
		return tenantOf(a.Action)
	}
	return ""
}

// Do makes one step.
func (st *stage) Do(_ context.Context, a scenario.Action) (says string, err error) {
	st.outage.Follow(a)
	switch a := a.(type) {
	case scenario.Expect:
		return st.expect(a)
	case scenario.ExpectMatrix:
		return st.matrix(a)
	case scenario.OpenFlow:
		return st.openFlow(a)
	case scenario.ExpectFlow:
		return st.expectFlow(a)
	case scenario.Forge:
		return st.forge(a)
	case scenario.Announce:
		return st.announce(a)
	case scenario.Refuse:
		return st.refuse(a)
	case scenario.Plug:
		return st.plugIn(a.Endpoint)
	case scenario.Unplug:
		return st.unplugAll(a.Endpoint)
	case scenario.Pass:
		st.Sleep(a.Time)
		return st.expire()
	case scenario.Kill, scenario.Stop, scenario.Start, scenario.Cut, scenario.Heal:
		says, err := st.disturb(a)
		ended, failed := st.expire()
		return strings.TrimSpace(says + "\n" + ended), errors.Join(err, failed)
	}
	return st.change(a)
}

// change makes a write, and what the workload's owner does around it.
func (st *stage) change(a scenario.Action) (says string, err error) {
	var lines []string
	if a, ok := a.(scenario.ApplyBlueprint); ok {
		lines = append(lines, tellPlan(st, a))
	}
	revision, ok, err := write(st, a)
	if !ok {
		return "", fmt.Errorf("%T is unknown to this program: %w", a, scenario.ErrCannot)
	}
	if err != nil {
		return "", err
	}
	says, err = st.settle(revision)
	if err != nil {
		return "", err
	}
	line := strings.TrimSuffix(fmt.Sprintf("revision %d: %s", revision, says), ": ")
	var port string
	switch a := a.(type) {
	case scenario.CreateEndpoint:
		lines = append(lines, tellClasses(st.World(), a.Endpoint))
		if a.Host != "" || st.plugged[dove.Endpoint{Tenant: a.Endpoint.Tenant, ID: a.Parent}] {
			port, err = st.plugIn(a.Endpoint)
		}
	case scenario.SetGroups:
		lines = append(lines, tellClasses(st.World(), a.Endpoint))
	case scenario.Move:
		port, err = st.plugIn(a.Endpoint)
	case scenario.Prepare:
		port, err = st.step(a.Endpoint)
	case scenario.Activate:
		port, err = st.step(a.Endpoint)
	case scenario.Finish:
		port, err = st.step(a.Endpoint)
	case scenario.DeleteEndpoint:
		delete(st.plugged, a.Endpoint)
		_, err = st.unplug(a.Endpoint)
	}
	if port != "" {
		line += "; " + port
	}
	return strings.Join(append(lines, line), "\n"), err
}

// step has a workload follow a step of its endpoint's move.
func (st *stage) step(name dove.Endpoint) (says string, err error) {
	if _, err := st.plugIn(name); err != nil {
		return "", err
	}
	all := trunk(st.World(), name)
	for _, e := range slices.Backward(all) {
		if says, err = st.moved(e); err != nil {
			return "", err
		}
	}
	return says, nil
}

// plugIn plugs an endpoint in, and its sub-ports with it. It says what became of the endpoint.
func (st *stage) plugIn(name dove.Endpoint) (says string, err error) {
	for i, e := range trunk(st.World(), name) {
		st.plugged[e.Full()] = true
		became, err := st.plug(e)
		if err != nil {
			return "", err
		}
		if i == 0 {
			says = became
		}
	}
	return says, nil
}

// unplugAll takes an endpoint's device away, and its sub-ports with it.
func (st *stage) unplugAll(name dove.Endpoint) (says string, err error) {
	for _, e := range slices.Backward(trunk(st.World(), name)) {
		delete(st.plugged, e.Full())
		if says, err = st.unplug(e.Full()); err != nil {
			return "", err
		}
	}
	return says, nil
}

// trunk lists an endpoint and its sub-ports, which are bound, moved and plugged in with it.
func trunk(w *world.World, name dove.Endpoint) (all []world.Endpoint) {
	if e, ok := w.Endpoint(name); ok {
		all = append(all, e)
	}
	return slices.AppendSeq(all, w.SubPorts(name))
}

func (st *stage) refuse(a scenario.Refuse) (says string, err error) {
	before := st.World().Revision()
	revision, ok, err := write(st, a.Action)
	switch {
	case !ok:
		return "", fmt.Errorf("%T is unknown to this program: %w", a.Action, scenario.ErrCannot)
	case err == nil:
		return "", fmt.Errorf("accepted as revision %d, meant: refused as %s", revision, a.Kind)
	case dove.KindOf(err) != a.Kind:
		return "", fmt.Errorf("refused as %s, meant: %s: %w", dove.KindOf(err), a.Kind, err)
	case st.World().Revision() != before:
		return "", fmt.Errorf("the refused change moved the world from revision %d to %d", before, st.World().Revision())
	}
	for _, f := range a.Fragments {
		if !strings.Contains(err.Error(), f) {
			return "", fmt.Errorf("the refusal does not say %q: %w", f, err)
		}
	}
	return tellRefusal(err), nil
}

// foresee returns an error if a level that knows no links cannot say what
// becomes of a packet, since something is stopped or cut.
func (st *stage) foresee(p Packet) error {
	if _, sends := st.level.(simulated); sends {
		return nil
	}
	from, _ := st.World().Endpoint(p.From)
	to, _ := whose(st.World(), from, p.Dst)
	if why := st.outage.Between(from.Host, to.Host); why != "" {
		return fmt.Errorf("%s, and there are no links on paper: %w", why, scenario.ErrCannot)
	}
	return nil
}

func (st *stage) expect(a scenario.Expect) (string, error) {
	if _, sends := st.level.(simulated); !sends && a.Outcome == scenario.TooBig {
		return "", fmt.Errorf("there are no packets on paper that could be too big: %w", scenario.ErrCannot)
	}
	targets := []netip.Addr{a.Address}
	if !a.Address.IsValid() {
		to, ok := st.World().Endpoint(a.To)
		if !ok {
			return "", fmt.Errorf("there is no endpoint %s", a.To)
		}
		targets = to.Addresses
	}
	var errs []error
	var told families
	tried := 0
	for p := range st.packets(a.From, targets, a.Probe) {
		if !a.Over.Has(p.Dst) {
			continue
		}
		if err := st.foresee(p); err != nil {
			return "", err
		}
		p.Size, p.Whole = a.Size, a.Outcome == scenario.TooBig
		tried++
		meant := Finding{Outcome: a.Outcome, Rule: a.Rule}
		if from, _ := st.World().Endpoint(a.From); a.Address.IsValid() && a.To != (dove.Endpoint{}) {
			if to, _ := whose(st.World(), from, p.Dst); to.Full() != a.To {
				errs = append(errs, fmt.Errorf("%s is %s's, meant: %s's", p.Dst, to.Full(), a.To))
			}
		}
		seen, says, err := st.tryAll(a, p)
		errs = append(errs, err)
		told.add(p, says)
		if meant.Rule == "" && seen.Instead == "" && seen.Outcome == meant.Outcome {
			meant.Rule = seen.Rule
		}
		meant.Told = seen.Told
		if policy := a.Outcome == scenario.Allow || a.Outcome == scenario.Deny || a.Outcome == scenario.NoReply; policy && seen.Instead == "" && st.outage.Any() == "" && len(a.By) == 0 {
			meant.Told = judge(st.World(), byOracle, st.isPlugged, p).Told
		}
		if wrong := seen.contradicts(a); wrong != "" {
			errs = append(errs, fmt.Errorf("%s: %s, meant: %s", p, seen, wrong))
		}
		if seen != meant {
			errs = append(errs, fmt.Errorf("%s: %s, meant: %s", p, seen, meant))
		}
	}
	if tried == 0 {
		return "", fmt.Errorf("%s has no address of a family of %v", a.From, targets)
	}
	return told.String(), errors.Join(errs...)
}

// tryAll asks what becomes of a packet, or of flows of it that take different ways.
func (st *stage) tryAll(a scenario.Expect, p Packet) (seen Finding, says string, err error) {
	if len(a.By) == 0 {
		return st.ask(p)
	}
	reached, seen, says, err := st.spread(p)
	order := func(a, b dove.Endpoint) int { return strings.Compare(a.String(), b.String()) }
	slices.SortFunc(reached, order)
	if meant := slices.SortedFunc(slices.Values(a.By), order); err == nil && !slices.Equal(reached, meant) {
		err = fmt.Errorf("flows to %s go by %v, meant: %v", p.Dst, reached, meant)
	}
	return seen, says, err
}

// packets yields a probe from each address of an endpoint to each target of the
// same family in which it exists, its own addresses excepted.
func (st *stage) packets(from dove.Endpoint, targets []netip.Addr, probe scenario.Probe) func(func(Packet) bool) {
	e, _ := st.World().Endpoint(from)
	return func(yield func(Packet) bool) {
		for _, src := range e.Addresses {
			for _, dst := range targets {
				_, _, exists := probe.Over(dst)
				if exists && src.Is4() == dst.Is4() && !slices.Contains(e.Addresses, dst) &&
					!yield(Packet{From: from, Src: src, Dst: dst, Probe: probe}) {
					return
				}
			}
		}
	}
}

func (st *stage) matrix(a scenario.ExpectMatrix) (string, error) {
	if st.name == "oracle" {
		return "", fmt.Errorf("a matrix is held against the oracle, which would be held against itself: %w", scenario.ErrCannot)
	}
	w := st.World()
	var plugged []dove.Endpoint
	var addresses []netip.Addr
	for t := range w.Tenants() {
		for e := range w.Endpoints(t.Name) {
			if st.plugged[e.Full()] {
				plugged = append(plugged, e.Full())
				addresses = append(addresses, e.Addresses...)
			}
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	addresses = slices.Compact(addresses)
	var errs []error
	var outcomes [scenario.NoReply + 1]int
	for _, from := range plugged {
		for _, probe := range a.Probes {
			for p := range st.packets(from, addresses, probe) {
				seen, _, err := st.ask(p)
				errs = append(errs, err)
				meant := judgeWhole(w, byOracle, st.isPlugged, p, st.sport())
				if seen != meant {
					errs = append(errs, fmt.Errorf("%s: %s, the oracle says: %s", p, seen, meant))
				} else if seen.Instead == "" {
					outcomes[seen.Outcome]++
				}
			}
		}
	}
	return fmt.Sprintf("as the oracle says: %d allowed, %d denied, %d to addresses that nobody has there",
		outcomes[scenario.Allow], outcomes[scenario.Deny], outcomes[scenario.NoEndpoint]), errors.Join(errs...)
}

func (st *stage) openFlow(a scenario.OpenFlow) (string, error) {
	to, ok := st.World().Endpoint(a.To)
	if !ok {
		return "", fmt.Errorf("there is no endpoint %s", a.To)
	}
	opened := map[bool]bool{} // by family
	var told families
	for p := range st.packets(a.From, to.Addresses, a.Probe) {
		if !a.Over.Has(p.Dst) || opened[p.Dst.Is4()] {
			continue
		}
		if protocol, port, _ := p.Probe.Over(p.Dst); !answerable(protocol, port) {
			return "", fmt.Errorf("nobody answers %s, so it is no flow: %w", a.Probe, scenario.ErrCannot)
		}
		if err := st.foresee(p); err != nil {
			return "", err
		}
		opened[p.Dst.Is4()] = true
		c, says, err := st.open(p)
		if err != nil {
			return "", err
		}
		told.add(p, says)
		st.flows[a.Name] = append(st.flows[a.Name], flow{p, c})
	}
	return told.String(), nil
}

func (st *stage) expectFlow(a scenario.ExpectFlow) (string, error) {
	flows, ok := st.flows[a.Name]
	if !ok {
		return "", fmt.Errorf("flow %s was not opened: %w", a.Name, scenario.ErrCannot)
	}
	var errs []error
	var told families
	for _, f := range flows {
		if err := st.foresee(f.Packet); err != nil {
			return "", err
		}
		passes, says, err := f.passes(a.Back)
		told.add(f.Packet, says)
		switch {
		case err != nil:
			errs = append(errs, err)
		case passes && !a.Passes:
			errs = append(errs, fmt.Errorf("flow %s still passes: %s", a.Name, f.Packet))
		case !passes && a.Passes:
			errs = append(errs, fmt.Errorf("flow %s is blocked: %s: %s", a.Name, f.Packet, says))
		}
	}
	return told.String(), errors.Join(errs...)
}
