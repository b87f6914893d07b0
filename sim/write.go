package sim

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/scenario"
	"dove.network/world"
)

// editor takes writes: a Sim, or paper without hosts.
type editor interface {
	World() *world.World
	Edit(decide func(*world.World) (dove.Txn, error)) (dove.Revision, error)
	Now() time.Time
	chance() edit.Chance
}

// first is the transaction of an edit that tells more.
func first[T any](txn dove.Txn, _ T, err error) (dove.Txn, error) { return txn, err }

// found gives an empty store its incarnation.
func found(e editor) error {
	_, err := e.Edit(func(w *world.World) (dove.Txn, error) {
		return edit.Initialize(w, world.Meta{Incarnation: uint64(e.chance().UID), CreatedAt: e.chance().Now})
	})
	return err
}

// join admits host number n as a host is admitted: by a token, once.
func join(e editor, name dove.HostName, n int) (control.Identity, error) {
	digest := sha256.Sum256([]byte(name))
	now := e.chance().Now
	token := world.JoinToken{ID: fmt.Sprintf("join%d", n), Digest: digest[:], Host: name, Expires: now.Add(time.Hour)}
	id := control.Identity{Host: name, VTEP: vtepOf(n), Serial: fmt.Sprintf("%02x", n)}
	_, err := e.Edit(func(w *world.World) (dove.Txn, error) { return edit.CreateJoinToken(w, token) })
	if err != nil {
		return id, err
	}
	_, err = e.Edit(func(w *world.World) (dove.Txn, error) {
		return first(edit.Join(w, edit.JoinRequest{Token: token.ID, Digest: digest[:], VTEP: id.VTEP, Serial: id.Serial, Now: now}))
	})
	return id, err
}

// vtepOf is the underlay address of host number n: of RFC 5737, TEST-NET-1, and
// where there are more, of RFC 2544.
func vtepOf(n int) netip.Addr {
	if n < 255 {
		return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
	}
	return netip.AddrFrom4([4]byte{198, 18 + byte(n>>16&1), byte(n >> 8), byte(n)})
}

// write makes the change of a step; ok is false for a step that is none.
func write(e editor, a scenario.Action) (revision dove.Revision, ok bool, err error) {
	chance := e.chance()
	var decide func(w *world.World) (dove.Txn, error)
	switch a := a.(type) {
	case scenario.ApplyBlueprint:
		decide = func(w *world.World) (dove.Txn, error) {
			return first(edit.PutBlueprint(w, a.Tenant, "", []byte(a.At(chance.Now)), chance.Now, nil))
		}
	case scenario.DeleteBlueprint:
		decide = func(w *world.World) (dove.Txn, error) {
			return edit.DeleteBlueprint(w, a.Tenant, a.Name, chance.Now, nil)
		}
	case scenario.CreateNetwork:
		decide = func(w *world.World) (dove.Txn, error) {
			r := edit.NetworkRequest{Tenant: a.Network.Tenant, Name: a.Network.Name, Domain: a.Domain, MTU: a.MTU}
			for _, p := range a.Subnets {
				r.Subnets = append(r.Subnets, p.String())
			}
			return first(edit.PutNetwork(w, r, chance.Now, nil))
		}
	case scenario.CreateEndpoint:
		decide = func(w *world.World) (dove.Txn, error) {
			r := edit.EndpointRequest{
				Tenant: a.Endpoint.Tenant, ID: a.Endpoint.ID, Network: a.Network, Groups: namesOf(a.Groups), Host: a.Host,
				Parent: a.Parent, VLAN: a.VLAN,
			}
			if a.Parent == "" {
				r.Device = fmt.Sprintf("dv%d", w.Revision()) // tenants may use equal ids on one host
			}
			for _, addr := range a.Addresses {
				r.Addresses = append(r.Addresses, addr.String())
			}
			for _, p := range a.Allowed {
				r.Allowed = append(r.Allowed, edit.AllowedRequest{Prefix: p.String()})
			}
			r.Labels = a.Labels
			r.Ports = map[string]string{}
			for name, p := range a.Ports {
				r.Ports[name] = p.String()
			}
			return first(edit.PutEndpoint(w, r, chance, nil))
		}
	case scenario.SetGroups:
		decide = func(w *world.World) (dove.Txn, error) {
			r := edit.EndpointRequest{Tenant: a.Endpoint.Tenant, ID: a.Endpoint.ID, Groups: namesOf(a.Groups)}
			return first(edit.PutEndpoint(w, r, chance, nil))
		}
	case scenario.Move:
		decide = func(w *world.World) (dove.Txn, error) {
			return first(edit.BindEndpoint(w, a.Endpoint, a.Host, nil))
		}
	case scenario.Prepare:
		decide = func(w *world.World) (dove.Txn, error) {
			return first(edit.PrepareEndpoint(w, a.Endpoint, a.Host, nil))
		}
	case scenario.Activate:
		decide = func(w *world.World) (dove.Txn, error) {
			return first(edit.ActivateEndpoint(w, a.Endpoint, standbyOf(w, a.Endpoint), nil))
		}
	case scenario.Finish:
		decide = func(w *world.World) (dove.Txn, error) {
			return first(edit.FinishEndpoint(w, a.Endpoint, standbyOf(w, a.Endpoint), nil))
		}
	case scenario.DeleteEndpoint:
		decide = func(w *world.World) (dove.Txn, error) { return edit.DeleteEndpoint(w, a.Endpoint, nil) }
	default:
		return 0, false, nil
	}
	revision, err = e.Edit(decide)
	return revision, true, err
}

// standbyOf returns the host of an endpoint's second binding, or a name that no
// binding is to.
func standbyOf(w *world.World, name dove.Endpoint) dove.HostName {
	e, _ := w.Endpoint(name)
	return cmp.Or(e.Standby, "nowhere")
}

func namesOf(groups []dove.Group) []string {
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = g.Blueprint + "/" + g.Name
	}
	return names
}
