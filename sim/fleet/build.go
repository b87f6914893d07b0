package fleet

import (
	"fmt"

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

// create makes an endpoint with the i-th addresses and plugs it in.
func (f *fleet) create(t *tenant, m worlds.Member, i int) error {
	f.ids++
	request := edit.EndpointRequest{
		Tenant: t.name, ID: dove.EndpointID(fmt.Sprintf("e%d", f.ids)), Network: worlds.Network, Host: pick(f.r, t.at), Device: fmt.Sprintf("dv%d", f.ids),
		Addresses: []string{worlds.Address4(i).String(), worlds.Address6(i).String()},
	}
	request.Groups, request.Labels, request.Ports = m.Said()
	chance := f.Chance()
	if err := f.commit(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutEndpoint(w, request, chance, nil)
		return txn, err
	}, "endpoint %s/%s on %s at %s", t.name, request.ID, request.Host, worlds.Address4(i)); err != nil {
		return err
	}
	f.plug(dove.Endpoint{Tenant: t.name, ID: request.ID})
	return nil
}

// plug has the device of an endpoint be where it is bound.
func (f *fleet) plug(name dove.Endpoint) {
	if e, ok := f.World().Endpoint(name); ok && e.Host != "" {
		f.Plug(e)
	} else {
		f.Unplug(name)
	}
}
