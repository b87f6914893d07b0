package fleet

import (
	"fmt"
	"maps"
	"net/netip"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/oracle/worlds"
	"dove.network/world"
)

// build joins the hosts and draws tenants with their endpoints.
func (f *fleet) build() error {
	for n := range f.Hosts {
		f.hosts = append(f.hosts, dove.HostName(fmt.Sprintf("h%d", n+1)))
	}
	if err := f.AddHosts(f.hosts...); err != nil {
		return err
	}
	for n := range max(2, f.Hosts/5) {
		t := &tenant{name: dove.Tenant(fmt.Sprintf("t%d", n+1))}
		for range 4 {
			t.at = append(t.at, pick(f.r, f.hosts))
		}
		t.intent = worlds.Rich(f.r, t.name)
		t.intent.Settle()
		f.tenants = append(f.tenants, t)
		if err := f.commit(func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutTenant(w, t.name, nil)
			return txn, err
		}, "tenant %s", t.name); err != nil {
			return err
		}
		for _, b := range t.intent.Blueprints {
			if err := f.apply(b); err != nil {
				return err
			}
		}
		for i, m := range t.intent.Members {
			if err := f.create(t, m, i); err != nil {
				return err
			}
		}
	}
	return f.mend()
}

// commit makes a write.
func (f *fleet) commit(decide func(*world.World) (dove.Txn, error), format string, args ...any) error {
	revision, err := f.Edit(decide)
	if err != nil {
		return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
	}
	f.note("%s: revision %d", fmt.Sprintf(format, args...), revision)
	return nil
}

func (f *fleet) apply(b *blueprint.Blueprint) error {
	return f.commit(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutBlueprint(w, b.Tenant, "", blueprint.Format(b), f.Now(), nil)
		return txn, err
	}, "blueprint %s/%s", b.Tenant, b.Name)
}

// pool is how many addresses of each family the endpoints of a tenant share, within
// prefixes that rich worlds tell apart.
const pool = 10

func address4(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(3 + i)}) }
func address6(i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd00:0:0:1::%x", 3+i))
}

// create makes an endpoint with the i-th addresses and plugs it in.
func (f *fleet) create(t *tenant, m worlds.Member, i int) error {
	f.ids++
	request := request(m)
	request.Tenant, request.ID = t.name, dove.EndpointID(fmt.Sprintf("e%d", f.ids))
	request.Network, request.Host, request.Device = worlds.Network, pick(f.r, t.at), fmt.Sprintf("dv%d", f.ids)
	request.Addresses = []string{address4(i).String(), address6(i).String()}
	chance := f.Chance()
	if err := f.commit(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutEndpoint(w, request, chance, nil)
		return txn, err
	}, "endpoint %s/%s on %s at %s", t.name, request.ID, request.Host, address4(i)); err != nil {
		return err
	}
	f.plug(dove.Endpoint{Tenant: t.name, ID: request.ID})
	return nil
}

// request says of an endpoint what policy sees of it, empty rather than nothing.
func request(m worlds.Member) edit.EndpointRequest {
	r := edit.EndpointRequest{Groups: []string{}, Labels: map[string]string{}, Ports: map[string]string{}}
	for _, g := range m.Groups {
		r.Groups = append(r.Groups, g.Blueprint+"/"+g.Name)
	}
	maps.Copy(r.Labels, m.Labels)
	for name, p := range m.Ports {
		r.Ports[name] = p.String()
	}
	return r
}

// plug has the device of an endpoint be where it is bound.
func (f *fleet) plug(name dove.Endpoint) {
	if e, ok := f.World().Endpoint(name); ok && e.Host != "" {
		f.Plug(e)
	} else {
		f.Unplug(name)
	}
}
