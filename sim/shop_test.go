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

// shop is a tenant with one blueprint in a simulation.
type shop struct {
	*Sim
	testing.TB
}

func newShop(t testing.TB, s *Sim, blueprint string) shop {
	t.Helper()
	x := shop{s, t}
	x.do(func(w *world.World) (dove.Txn, error) { txn, _, err := edit.PutTenant(w, "acme", nil); return txn, err })
	x.do(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutBlueprint(w, "acme", "", []byte(blueprint), s.Now(), nil)
		return txn, err
	})
	return x
}

// do makes a change, and waits until all hosts enforce it.
func (x shop) do(decide func(w *world.World) (dove.Txn, error)) {
	x.Helper()
	revision, err := x.Edit(decide)
	if err == nil {
		err = x.Wait(revision)
	}
	if err == nil {
		err = x.Settle()
	}
	if err != nil {
		x.Fatal(err)
	}
}

// endpoint makes an endpoint and plugs it in.
func (x shop) endpoint(r edit.EndpointRequest) world.Endpoint {
	x.Helper()
	r.Tenant = "acme"
	x.do(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutEndpoint(w, r, x.chance(), nil)
		return txn, err
	})
	return x.plug(r.ID)
}

func (x shop) plug(id dove.EndpointID) world.Endpoint {
	x.Helper()
	e, _ := x.World().Endpoint(dove.Endpoint{Tenant: "acme", ID: id})
	x.Plug(e)
	if err := x.Settle(); err != nil {
		x.Fatal(err)
	}
	return e
}

// reached says whom a packet of an endpoint came to, or why it was dropped.
func (x shop) reached(from world.Endpoint, src, dst netip.Addr) (dove.EndpointID, dataplane.Reason) {
	x.Helper()
	talk, err := x.exchange(x.plugged(from.Full()), src, dst, false, request(scenario.Probe{Protocol: dove.ProtocolUDP, Port: 53}, false, x.freePort()))
	if err != nil {
		x.Fatal(err)
	}
	switch {
	case len(talk.reached) == 1 && len(talk.drops) == 0:
		return talk.reached[0].endpoint.ID, 0
	case len(talk.drops) > 0:
		return "", talk.drops[0].reason
	}
	return "", 0
}
