package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"dove.network/blueprint"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/oracle/worlds"
	"dove.network/scenario"
	"dove.network/world"
)

// step makes one random step and checks some packets.
func (w *walk) step() error {
	all := []func() error{
		w.editPolicy, w.editPolicy, w.editPolicy, w.regroup, w.regroup, w.move, w.move, w.unbind, w.migrate, w.migrate, w.migrate,
		w.unplugSome, w.plugSome, w.replace, w.deletePlugged, w.makeAnother,
		w.cut, w.mend, w.mend, w.mend, w.mend, w.rest, w.join, w.restartAgent, w.restartMember,
		w.disturb, w.disturb, w.stopMember,
	}
	if err := all[w.r.IntN(len(all))](); err != nil {
		return err
	}
	return w.sample(12)
}

// editPolicy changes one thing in a blueprint.
func (w *walk) editPolicy() error {
	t := w.anyTenant()
	var all []*blueprint.Blueprint
	for b := range w.World().ParsedOf(t) {
		all = append(all, b)
	}
	b := *all[w.r.IntN(len(all))]
	if len(b.Routers) > 0 {
		w.reroute(&b)
		return w.apply(&b)
	}
	if !worlds.Change(w.r, &b) {
		return nil
	}
	return w.apply(&b)
}

// regroup puts an endpoint into other groups.
func (w *walk) regroup() error {
	e, ok := w.anyEndpoint()
	if !ok {
		return nil
	}
	members := w.intent[e.Tenant].Members
	m := members[w.r.IntN(len(members))]
	request := edit.EndpointRequest{Tenant: e.Tenant, ID: e.ID}
	request.Groups, request.Labels, request.Ports = m.Said()
	chance := w.chance()
	return w.commit(fmt.Sprintf("regroup %s to %+v", e.Full(), m), func(now *world.World) (dove.Txn, error) {
		return first(edit.PutEndpoint(now, request, chance, nil))
	})
}

// move binds an endpoint to some host. Its device follows at once, later or,
// as far as this step goes, never.
func (w *walk) move() error {
	e, ok := w.anyEndpoint()
	if !ok {
		return nil
	}
	e, to := w.trunk(e)[0], w.anyHost()
	if err := w.commit(fmt.Sprintf("move %s from %s to %s", e.Full(), e.Host, to), func(now *world.World) (dove.Txn, error) {
		return first(edit.BindEndpoint(now, e.Full(), to, nil))
	}); err != nil {
		return err
	}
	w.retract(e)
	switch w.r.IntN(4) {
	case 0:
		return nil
	case 1:
		if err := w.sample(4); err != nil {
			return err
		}
	}
	return w.plugIn(e.Full())
}

func (w *walk) unbind() error {
	e, ok := w.anyEndpoint()
	if !ok {
		return nil
	}
	e = w.trunk(e)[0]
	defer w.retract(e)
	return w.commit("unbind "+e.Full().String(), func(now *world.World) (dove.Txn, error) {
		return first(edit.UnbindEndpoint(now, e.Full(), nil))
	})
}

// retract takes away one of two devices of what was moving, if that has ended.
func (w *walk) retract(e world.Endpoint) {
	if e.Standby == "" {
		return
	}
	for _, now := range w.trunk(e) {
		if now, ok := w.World().Endpoint(now.Full()); ok {
			w.Retract(now)
		}
	}
}

// migrate makes the next step of some endpoint's live move, and now and then
// gives it up or goes back.
func (w *walk) migrate() error {
	e, ok := w.anyEndpoint()
	if !ok || !w.whole() {
		return nil
	}
	if e = w.trunk(e)[0]; !w.allPlugged(e) {
		return nil
	}
	name, decide, to := "prepare", edit.PrepareEndpoint, w.anyHost()
	switch {
	case e.Standby == "" && to == e.Host:
		return nil
	case e.Standby != "" && w.r.IntN(3) == 0:
		name, decide, to = "finish", edit.FinishEndpoint, e.Standby
	case e.Standby != "":
		name, decide, to = "activate", edit.ActivateEndpoint, e.Standby
	}
	flows, err := w.talk(e)
	if err != nil {
		return err
	}
	if err := w.commit(fmt.Sprintf("%s %s of %s and %q on %s", name, e.Full(), e.Host, e.Standby, to), func(now *world.World) (dove.Txn, error) {
		return first(decide(now, e.Full(), to, nil))
	}); err != nil {
		return err
	}
	e, _ = w.World().Endpoint(e.Full())
	w.plugAll(e)
	if err := w.Settle(); err != nil {
		return err
	}
	if e.Standby != "" && w.whole() {
		if w.takenOver(e) != "" { // a session or an agent ended meanwhile
			w.Sleep(2 * control.CarryAgain)
		}
		if err := w.Settle(); err != nil {
			return err
		}
		if why := w.takenOver(e); why != "" {
			return errors.New(why)
		}
	}
	w.goOn(e)
	if !w.whole() {
		return nil
	}
	return flows()
}

// plugAll, allPlugged, takenOver and goOn are Plug, Plugged, TakenOver and GoOn of all
// who share an endpoint's device.
func (w *walk) plugAll(e world.Endpoint) {
	for _, e := range w.trunk(e) {
		w.Plug(e)
	}
}

func (w *walk) allPlugged(e world.Endpoint) bool {
	return !slices.ContainsFunc(w.trunk(e), func(e world.Endpoint) bool { return !w.Plugged(e.Full()) })
}

func (w *walk) takenOver(e world.Endpoint) string {
	for _, e := range w.trunk(e) {
		if why := w.TakenOver(e); why != "" {
			return why
		}
	}
	return ""
}

func (w *walk) goOn(e world.Endpoint) {
	for _, e := range w.trunk(e) {
		w.GoOn(e)
	}
}

// talk opens conversations of an endpoint with some others, begun at either
// end; flows sends on with each, the responder first, which must pass.
func (w *walk) talk(e world.Endpoint) (flows func() error, err error) {
	var all []opened
	packets := w.packets(e.Tenant)
	w.r.Shuffle(len(packets), func(i, j int) { packets[i], packets[j] = packets[j], packets[i] })
	for _, p := range packets {
		protocol, port, _ := p.Probe.Over(p.Dst)
		to, exists := w.owner(p)
		if len(all) == 4 {
			break
		}
		moves := func(o dove.Endpoint) bool {
			return slices.ContainsFunc(w.trunk(e), func(e world.Endpoint) bool { return e.Full() == o })
		}
		if routed(p.Src) || routed(p.Dst) { // refused where a next hop was: docs/limits.md
			continue
		}
		if !exists || !moves(p.From) && !moves(to.Full()) || !answerable(protocol, port) || !protocol.HasPorts() ||
			!allowed(judge(w.World(), byOracle, w.Plugged, p)) || w.stateless(p) { // whose answers may be denied
			continue
		}
		c, _, err := simulated{w.Sim}.open(p)
		if err != nil {
			return nil, fmt.Errorf("before a move: %w", err)
		}
		all = append(all, c.(opened))
	}
	return func() error {
		for _, c := range all {
			passes, says, err := c.passes(true)
			w.note("%s answers: %v %s", c.Packet, passes, says)
			if err == nil && !passes {
				err = fmt.Errorf("%s: the flow ended with a step of a move: %s", c.Packet, says)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (w *walk) unplugSome() error {
	e, ok := w.anyEndpoint()
	if !ok {
		return nil
	}
	w.note("unplug %s", e.Full())
	for _, e := range slices.Backward(w.trunk(e)) {
		w.Unplug(e.Full())
	}
	return w.Settle()
}

// plugSome plugs in whatever is bound and not plugged in.
func (w *walk) plugSome() error {
	for _, t := range tenants {
		for e := range w.World().Endpoints(t) {
			if !w.Plugged(e.Full()) {
				if err := w.plugIn(e.Full()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// anyLeaf returns some endpoint without sub-ports, false if it happened upon none.
func (w *walk) anyLeaf() (world.Endpoint, bool) {
	e, ok := w.anyEndpoint()
	return e, ok && (e.Parent != "" || len(w.trunk(e)) == 1)
}

func (w *walk) delete(e world.Endpoint) error {
	return w.commit("delete "+e.Full().String(), func(now *world.World) (dove.Txn, error) {
		return edit.DeleteEndpoint(now, e.Full(), nil)
	})
}

// replace deletes an endpoint and gives its addresses to another one, of some
// groups and on some host.
func (w *walk) replace() error {
	e, ok := w.anyLeaf()
	if !ok {
		return nil
	}
	if err := w.delete(e); err != nil {
		return err
	}
	w.Unplug(e.Full())
	members := w.intent[e.Tenant].Members
	i := int(e.Addresses[0].As4()[3]) - 3
	return w.create(e.Tenant, members[w.r.IntN(len(members))], i)
}

// deletePlugged deletes an endpoint whose guest goes on: it must reach nobody.
func (w *walk) deletePlugged() error {
	e, ok := w.anyLeaf()
	if !ok {
		return nil
	}
	g := w.plugged(e.Full())
	if err := w.delete(e); err != nil {
		return err
	}
	defer w.Unplug(e.Full())
	if g == nil || !g.host.current() {
		return nil
	}
	for i := range pool {
		probe := scenario.Probe{Protocol: dove.ProtocolTCP, Port: 80}
		if address4(i) == e.Addresses[0] {
			continue
		}
		x, err := w.exchange(g, e.Addresses[0], address4(i), false, request(probe, false, w.freePort()))
		if err != nil {
			return err
		}
		if len(x.reached) > 0 || len(x.drops) != 1 {
			return fmt.Errorf("%s is deleted and sends to %s: %d guests reached, %v; the oracle says: it is not there", e.Full(), address4(i), len(x.reached), x.drops)
		}
	}
	return nil
}

// makeAnother makes an endpoint with a free address.
func (w *walk) makeAnother() error {
	t := w.anyTenant()
	members := w.intent[t].Members
	network := dove.Network{Tenant: t, Name: "net"}
	for i := range pool {
		if _, taken := w.World().EndpointOn(network, address4(i)); !taken {
			return w.create(t, members[w.r.IntN(len(members))], i)
		}
	}
	return nil
}

// cut breaks the session of a host.
func (w *walk) cut() error {
	name := w.anyHost()
	w.note("cut %s", name)
	w.Cut(name)
	return w.Settle()
}

// disturb stops a dswitch, or cuts a host from the member or from another host,
// until the next mend.
func (w *walk) disturb() error {
	h, other := w.anyHost(), w.anyHost()
	var harm, cure scenario.Action
	switch link := (scenario.Link{Host: h, To: other}); {
	case w.r.IntN(2) == 0 && h != other:
		harm, cure = scenario.Cut{Link: link}, scenario.Heal{Link: link}
	case w.r.IntN(2) == 0:
		harm, cure = scenario.Stop{Program: scenario.Program{Host: h}}, scenario.Start{Program: scenario.Program{Host: h}}
	default:
		link.To = ""
		harm, cure = scenario.Cut{Link: link}, scenario.Heal{Link: link}
	}
	if outage := w.outage.Clone(); outage.Follow(harm) != "" {
		return nil
	}
	w.note("%s", harm)
	w.cures = append(w.cures, cure)
	return errors.Join(w.Disturb(harm), w.Settle())
}

// stopMember stops the member for a while in which nobody can change anything.
func (w *walk) stopMember() error {
	w.note("stop the member")
	if err := w.Disturb(scenario.Stop{}); err != nil {
		return err
	}
	if err := errors.Join(w.sample(6), w.Settle()); err != nil {
		return err
	}
	w.note("start the member")
	return errors.Join(w.Disturb(scenario.Start{}), w.Settle())
}

// mend ends all outages and connects all hosts again. Whatever happened
// meanwhile, all is as the world says then.
func (w *walk) mend() error {
	for _, cure := range w.cures {
		w.note("%s", cure)
		if err := w.Disturb(cure); err != nil {
			return err
		}
	}
	w.cures = nil
	for _, h := range w.hosts {
		if h.session == 0 {
			w.note("connect %s", h.name)
			w.Connect(h.name)
		}
	}
	if err := w.Settle(); err != nil || !w.healthy() {
		return err
	}
	return w.Wait(w.World().Revision())
}

// restartAgent kills an agent at any moment.
func (w *walk) restartAgent() error {
	name := w.anyHost()
	w.note("restart the agent of %s", name)
	w.RestartAgent(name)
	if w.r.IntN(2) == 0 { // again, while it opens its session
		for range w.r.IntN(20) {
			w.Sim.step()
		}
		w.RestartAgent(name)
	}
	return w.Settle()
}

func (w *walk) restartMember() error {
	w.note("restart the member")
	if err := w.RestartMember(); err != nil {
		return err
	}
	return w.Settle()
}

// rest lets time pass: negative answers and flows expire.
func (w *walk) rest() error {
	d := time.Duration(w.r.IntN(60)) * time.Second
	w.note("rest %s", d)
	w.Sleep(d)
	return w.Settle()
}

// join adds a host to the fleet, up to five.
func (w *walk) join() error {
	if len(w.hosts) == 5 {
		return nil
	}
	name := dove.HostName(fmt.Sprintf("h%d", len(w.hosts)+1))
	w.note("join %s", name)
	return w.AddHost(name)
}
