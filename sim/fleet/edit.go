package fleet

import (
	"fmt"
	"slices"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/oracle/worlds"
	"dove.network/world"
)

// edit changes one thing that some tenant wants.
func (f *fleet) edit() error {
	t := pick(f.r, f.tenants)
	all := slices.Collect(f.World().Endpoints(t.name))
	if len(all) == 0 {
		return f.another(t)
	}
	e := pick(f.r, all)
	switch f.r.IntN(12) {
	case 0, 1, 2, 3:
		return f.policy(t)
	case 4, 5:
		return f.regroup(t, e)
	case 6, 7:
		return f.bind(t, e)
	case 8:
		return f.unbind(e)
	case 9:
		if err := f.remove(e); err != nil {
			return err
		}
		return f.another(t)
	case 10:
		return f.another(t)
	default:
		return f.prepare(t, e)
	}
}

func (f *fleet) policy(t *tenant) error {
	b := *pick(f.r, slices.Collect(f.World().ParsedOf(t.name)))
	if !worlds.Change(f.r, &b) {
		return nil
	}
	return f.apply(&b)
}

func (f *fleet) regroup(t *tenant, e world.Endpoint) error {
	request := edit.EndpointRequest{Tenant: e.Tenant, ID: e.ID}
	request.Groups, request.Labels, request.Ports = pick(f.r, t.intent.Members).Said()
	chance := f.Chance()
	return f.commit(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutEndpoint(w, request, chance, nil)
		return txn, err
	}, "regroup %s to %v", e.Full(), request.Groups)
}

// bind moves an endpoint to some host at once, and its guest at once or somewhat later.
func (f *fleet) bind(t *tenant, e world.Endpoint) error {
	to := pick(f.r, t.at)
	if f.r.IntN(4) == 0 {
		to = pick(f.r, f.hosts)
	}
	if err := f.commit(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.BindEndpoint(w, e.Full(), to, nil)
		return txn, err
	}, "bind %s from %s to %s", e.Full(), e.Host, to); err != nil {
		return err
	}
	if f.r.IntN(2) == 0 {
		f.plug(e.Full())
		return nil
	}
	f.later(time.Duration(f.r.IntN(5000))*time.Millisecond, "", func() error { f.plug(e.Full()); return nil })
	return nil
}

func (f *fleet) unbind(e world.Endpoint) error {
	err := f.commit(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.UnbindEndpoint(w, e.Full(), nil)
		return txn, err
	}, "unbind %s from %s", e.Full(), e.Host)
	f.later(time.Duration(f.r.IntN(3000))*time.Millisecond, "", func() error { f.plug(e.Full()); return nil })
	return err
}

// remove deletes an endpoint; its guest goes on for a while.
func (f *fleet) remove(e world.Endpoint) error {
	err := f.commit(func(w *world.World) (dove.Txn, error) {
		return edit.DeleteEndpoint(w, e.Full(), nil)
	}, "delete %s on %s", e.Full(), e.Host)
	f.later(time.Duration(f.r.IntN(3000))*time.Millisecond, "", func() error { f.plug(e.Full()); return nil })
	return err
}

// another makes an endpoint with a free address, if there is one.
func (f *fleet) another(t *tenant) error {
	for i := range worlds.Pool {
		if _, taken := f.World().EndpointOn(dove.Network{Tenant: t.name, Name: worlds.Network}, worlds.Address4(i)); !taken {
			return f.create(t, pick(f.r, t.intent.Members), i)
		}
	}
	return nil
}

// move is a live move that goes on.
type move struct {
	name  dove.Endpoint
	epoch dove.Epoch
	since time.Time // this part of it
	waits bool      // until it is carried, which it must be once all is mended
}

// moveWithin is after how long a part of a move is given up.
const moveWithin = 20 * time.Second

// prepare begins a live move.
func (f *fleet) prepare(t *tenant, e world.Endpoint) error {
	to := pick(f.r, t.at)
	if e.Standby != "" || e.Host == "" || to == e.Host || !f.Plugged(e.Full()) {
		return nil
	}
	if err := f.commit(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PrepareEndpoint(w, e.Full(), to, nil)
		return txn, err
	}, "prepare the move of %s from %s to %s", e.Full(), e.Host, to); err != nil {
		return err
	}
	f.went(&move{name: e.Full(), waits: f.r.IntN(2) == 0})
	return nil
}

// went has a guest follow a part of its move.
func (f *fleet) went(m *move) {
	e, _ := f.World().Endpoint(m.name)
	f.plug(m.name)
	if e.Standby != "" {
		m.epoch, m.since = e.Epoch, f.Now()
		f.moving = append(f.moving, m)
	}
}

// goesOn reports whether a move is where it was left.
func (m *move) goesOn(w *world.World) (world.Endpoint, bool) {
	e, ok := w.Endpoint(m.name)
	return e, ok && e.Standby != "" && e.Epoch == m.epoch
}

// carryOn makes the next steps of live moves whose last one is complete. Of those that take too
// long as something was broken meanwhile, some are given up.
func (f *fleet) carryOn() error {
	all := f.moving
	f.moving = nil
	for _, m := range all {
		e, ok := m.goesOn(f.World())
		if !ok {
			continue // it ended otherwise
		}
		has, late := f.Carried(e), f.Now().Sub(m.since) > moveWithin
		switch {
		case !has && late && f.well(m.since):
			return fmt.Errorf("the live move of %s from %s to %s is not carried within %s, and nothing was broken", m.name, e.Source(), e.Other(e.Source()), moveWithin)
		case !has && (!late || m.waits):
			f.moving = append(f.moving, m)
			continue
		case has && !e.Activated:
			if err := f.commit(func(w *world.World) (dove.Txn, error) {
				txn, _, err := edit.ActivateEndpoint(w, e.Full(), e.Standby, nil)
				return txn, err
			}, "activate %s on %s", e.Full(), e.Standby); err != nil {
				return err
			}
		default:
			says := "finish"
			if has {
				f.result.Moved++
				f.GoOn(e)
			} else {
				says = "give up"
				f.result.GivenUp++
			}
			if err := f.commit(func(w *world.World) (dove.Txn, error) {
				txn, _, err := edit.FinishEndpoint(w, e.Full(), e.Standby, nil)
				return txn, err
			}, "%s the move of %s, which stays on %s", says, e.Full(), e.Host); err != nil {
				return err
			}
		}
		f.went(m)
	}
	return nil
}
