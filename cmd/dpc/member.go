package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"dove.network/control"
	"dove.network/controller"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// sweepEvery is how often what is of no more use is deleted.
const sweepEvery = 10 * time.Minute

// sweepsMax bounds how often one task is done in a row; the rest is for the next time.
const sweepsMax = 1000

// admitTimeout bounds how long the store may take to say which certificate is valid.
const admitTimeout = 2 * time.Second

// prepare gives an empty store its incarnation, and the store this member's
// document and the first administrator's token.
func prepare(ctx context.Context, m *controller.Member, state string, id identity, own world.Member, now time.Time) error {
	if _, err := m.Edit(ctx, func(w *world.World) (dove.Txn, error) {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return dove.Txn{}, err
		}
		return edit.Initialize(w, world.Meta{Incarnation: max(1, binary.BigEndian.Uint64(b[:])), CreatedAt: now.UTC()})
	}); err != nil {
		return fmt.Errorf("prepare the store: %w", err)
	}
	own.Joined = now.UTC().Truncate(time.Second)
	if _, err := m.Edit(ctx, func(w *world.World) (dove.Txn, error) {
		if _, known := w.Member(own.Name); !known && !id.Written {
			for other := range w.Members() {
				return dove.Txn{}, dove.Errorf(dove.Conflict, "the store is that of another installation, with member %q: use another store, or dpc join in an empty folder", other.Name)
			}
		}
		txn, _, err := edit.PutMember(w, own, !id.Written)
		return txn, err
	}); err != nil {
		return err
	}
	if id.Written = true; len(id.Join) > 0 {
		id.Join = nil
	}
	if err := id.save(state); err != nil {
		return err
	}
	return keepToken(ctx, m, filepath.Join(state, tokenFile))
}

// belong returns an error when the member is removed.
func belong(ctx context.Context, m *controller.Member, own world.Member) error {
	for {
		_, later := m.Changes()
		if doc, known := m.World().Member(own.Name); !known || doc.UID != own.UID {
			return dove.Errorf(dove.Forbidden, "member %q was removed from this installation", own.Name)
		}
		select {
		case <-later:
		case <-ctx.Done():
			return nil
		}
	}
}

// keepToken puts the first administrator's token into the store.
func keepToken(ctx context.Context, m *controller.Member, tokenPath string) error {
	text, err := os.ReadFile(tokenPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var token world.APIToken
	if err := json.Unmarshal(text, &token); err != nil {
		return fmt.Errorf("%s: %w", tokenPath, err)
	}
	_, err = m.Edit(ctx, func(w *world.World) (dove.Txn, error) { return edit.CreateAPIToken(w, token) })
	if err != nil && dove.KindOf(err) != dove.Exists {
		return fmt.Errorf("keep the first administrator's token: %w", err)
	}
	return os.Remove(tokenPath)
}

// admit says whether a host's certificate is the valid one. A member that is
// behind asks the store before it sends a host away.
func admit(m *controller.Member) func(context.Context, control.Identity) error {
	return func(ctx context.Context, id control.Identity) error {
		if admissible(m.World(), id) == nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, admitTimeout)
		defer cancel()
		w, err := m.Read(ctx)
		if err != nil {
			return dove.Errorf(dove.Unavailable, "this DPC member cannot say which certificates are valid: try another one")
		}
		return admissible(w, id)
	}
}

func admissible(w *world.World, id control.Identity) error {
	host, ok := w.Host(id.Host)
	switch {
	case !ok:
		return dove.Errorf(dove.Unauthorized, "there is no host %q: it was deleted; join again", id.Host)
	case host.Serial != id.Serial:
		return dove.Errorf(dove.Unauthorized, "host %q has another certificate by now: join again", id.Host)
	case host.VTEP != id.VTEP:
		return dove.Errorf(dove.Forbidden, "host %q is at %s, the certificate says %s: join again", id.Host, host.VTEP, id.VTEP)
	}
	return nil
}

// sweep deletes now and then what is of no more use. Every member does; what one
// did is nothing to do for the others.
func sweep(ctx context.Context, m *controller.Member, log *slog.Logger) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		tasks := []func(*world.World) (dove.Txn, error){
			func(w *world.World) (dove.Txn, error) { return edit.Sweep(w, time.Now()) },
		}
		for d := range m.World().ClassDomains() {
			tasks = append(tasks, func(w *world.World) (dove.Txn, error) { return edit.SweepClasses(w, d, time.Now()) })
		}
		for d := range m.World().EdgeDomains() {
			tasks = append(tasks, func(w *world.World) (dove.Txn, error) { return edit.SweepEdge(w, d, time.Now()) })
		}
		for _, task := range tasks {
			if err := exhaust(ctx, m, task); err != nil && ctx.Err() == nil {
				log.Warn("sweeping failed; it is tried again later", "error", err)
			}
		}
	}
}

// expire ends policies when their time is up. Every member tries; one does it.
func expire(ctx context.Context, m *controller.Member, log *slog.Logger) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var judged *world.World
	var next time.Time
	var domain dove.Domain
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if w := m.World(); w != judged {
			judged = w
			next, domain = edit.NextEdge(w)
		}
		if next.IsZero() || time.Now().Before(next) {
			continue
		}
		err := exhaust(ctx, m, func(w *world.World) (dove.Txn, error) { return edit.SweepEdge(w, domain, time.Now()) })
		if err != nil && ctx.Err() == nil {
			log.Warn("a policy whose time is up was not ended; it is tried again", "domain", domain, "until", next, "error", err)
		}
	}
}

// exhaust does a task until it finds nothing to do, or did a lot.
func exhaust(ctx context.Context, m *controller.Member, task func(*world.World) (dove.Txn, error)) error {
	for range sweepsMax {
		idle := false
		_, err := m.Edit(ctx, func(w *world.World) (dove.Txn, error) {
			txn, err := task(w)
			idle = txn.Empty()
			return txn, err
		})
		if err != nil || idle {
			return err
		}
	}
	return nil
}
