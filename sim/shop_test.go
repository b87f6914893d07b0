package sim

import (
	"net/netip"
	"testing"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/scenario"
	"dove.network/world"
)

// shop is a tenant, acme, with one blueprint in a simulation. What fails ends the test.
type shop struct {
	*Sim
	testing.TB
}

// newShop gives a simulation hosts, the tenant and its blueprint.
func newShop(t testing.TB, s *Sim, blueprint string, hosts ...dove.HostName) shop {
	t.Helper()
	x := shop{s, t}
	x.must(s.AddHosts(hosts...))
	x.do(tenant("acme"))
	x.do(x.means(blueprint))
	return x
}

func (x shop) must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

// edit makes a change, and waits for nothing.
func (x shop) edit(decide func(w *world.World) (dove.Txn, error)) dove.Revision {
	x.Helper()
	revision, err := x.Edit(decide)
	x.must(err)
	return revision
}

// enforced waits until all hosts enforce a revision, and nothing is under way.
func (x shop) enforced(revision dove.Revision) {
	x.Helper()
	x.must(x.Wait(revision))
	x.must(x.Settle())
}

// do makes a change, and waits until all hosts enforce it.
func (x shop) do(decide func(w *world.World) (dove.Txn, error)) {
	x.Helper()
	x.enforced(x.edit(decide))
}

// tenant is the change that makes a tenant.
func tenant(t dove.Tenant) func(*world.World) (dove.Txn, error) {
	return func(w *world.World) (dove.Txn, error) { return first(edit.PutTenant(w, t, nil)) }
}

// means is the change to a blueprint.
func (x shop) means(blueprint string) func(*world.World) (dove.Txn, error) {
	return func(w *world.World) (dove.Txn, error) {
		return first(edit.PutBlueprint(w, "acme", "", []byte(blueprint), x.Now(), nil))
	}
}

// has is the change to what a request says of an endpoint.
func (x shop) has(r edit.EndpointRequest) func(*world.World) (dove.Txn, error) {
	r.Tenant = "acme"
	return func(w *world.World) (dove.Txn, error) { return first(edit.PutEndpoint(w, r, x.chance(), nil)) }
}

// endpoint makes an endpoint and plugs it in.
func (x shop) endpoint(r edit.EndpointRequest) world.Endpoint {
	x.Helper()
	x.do(x.has(r))
	return x.plug(r.ID)
}

// of is an endpoint as it is now.
func (x shop) of(id dove.EndpointID) world.Endpoint {
	e, _ := x.World().Endpoint(dove.Endpoint{Tenant: "acme", ID: id})
	return e
}

func (x shop) plug(id dove.EndpointID) world.Endpoint {
	x.Helper()
	e := x.of(id)
	x.Plug(e)
	x.must(x.Settle())
	return e
}

// moving is a step of a live move.
type moving func(*world.World, dove.Endpoint, dove.HostName, *dove.Revision) (dove.Txn, world.Endpoint, error)

// move makes a step of a live move of endpoints that share a device, the one that has it
// first: it is complete, and they send from where they are active.
func (x shop) move(how moving, host dove.HostName, ids ...dove.EndpointID) {
	x.Helper()
	revision := x.edit(func(w *world.World) (dove.Txn, error) { return first(how(w, x.of(ids[0]).Full(), host, nil)) })
	for _, id := range ids {
		x.Plug(x.of(id))
	}
	x.enforced(revision)
	for _, id := range ids {
		if e := x.of(id); e.Standby != "" {
			if why := x.TakenOver(e); why != "" {
				x.Fatal(why)
			}
			x.GoOn(e)
		}
	}
}

// reached says whom a packet of an endpoint came to, or why it was dropped.
func (x shop) reached(from world.Endpoint, src, dst netip.Addr) (dove.EndpointID, dataplane.Reason) {
	x.Helper()
	talk, err := x.exchange(x.plugged(from.Full()), src, dst, false, request(scenario.Probe{Protocol: dove.ProtocolUDP, Port: 53}, false, x.freePort()))
	x.must(err)
	switch {
	case len(talk.reached) == 1 && len(talk.drops) == 0:
		return talk.reached[0].endpoint.ID, 0
	case len(talk.drops) > 0:
		return "", talk.drops[0].reason
	}
	return "", 0
}
