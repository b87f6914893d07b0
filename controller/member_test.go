package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/lobby"
	"dove.network/store/memory"
	"dove.network/world"
)

// conn is one session's connection: what either end sends waits in a channel.
type conn struct {
	ctx  context.Context
	up   chan control.Up
	down chan control.Down
	deaf context.Context // when it is done nothing more is received
	stop context.CancelFunc
}

func newConn(ctx context.Context, up, down int) *conn {
	deaf, stop := context.WithCancel(ctx)
	return &conn{ctx, make(chan control.Up, up), make(chan control.Down, down), deaf, stop}
}

func (c *conn) Send(messages ...control.Down) error {
	for _, m := range messages {
		select {
		case c.down <- m:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
	return nil
}

func (c *conn) TrySend(messages ...control.Down) (bool, error) {
	if c.ctx.Err() != nil || len(messages) > cap(c.down)-len(c.down) {
		return false, c.ctx.Err()
	}
	return true, c.Send(messages...)
}

func (c *conn) Stop()         { c.stop() }
func (c *conn) Waiting() bool { return len(c.up) > 0 }

func (c *conn) Recv() (control.Up, error) {
	select {
	case m, ok := <-c.up:
		if !ok {
			return nil, io.EOF
		}
		return m, nil
	case <-c.deaf.Done():
		return nil, c.deaf.Err()
	}
}

// fleet is a member, its store and its sessions, in a bubble of synctest.
type fleet struct {
	t      *testing.T
	store  Store
	member *Member
	ran    chan error
	stop   context.CancelFunc
}

// newFleet runs a member until the test ends; the store has two hosts, the
// tenant acme, its shop, and web on h1 and app on h2.
func newFleet(t *testing.T, wrap func(*memory.Store) Store) *fleet {
	t.Helper()
	docs := memory.New()
	f := &fleet{t: t, store: docs, ran: make(chan error, 1)}
	if wrap != nil {
		f.store = wrap(docs)
	}
	f.member = NewMember("dpc-1", f.store, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	go func() { f.ran <- f.member.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := docs.Close(); err != nil {
			t.Error(err)
		}
	})
	f.edit(func(w *world.World) (dove.Txn, error) { return edit.Initialize(w, world.Meta{Incarnation: 1}) })
	f.edit(func(*world.World) (dove.Txn, error) {
		return dove.Txn{Puts: []dove.Put{
			world.Put(world.Host{Name: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), Serial: "01"}),
			world.Put(world.Host{Name: "h2", VTEP: netip.MustParseAddr("192.0.2.2"), Serial: "02"}),
		}}, nil
	})
	f.edit(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutTenant(w, "acme", nil)
		return txn, err
	})
	f.policies(webApp)
	for n, group := range []string{"web", "app"} {
		f.edit(func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutEndpoint(w, edit.EndpointRequest{
				Tenant: "acme", ID: dove.EndpointID(group + "-1"), Groups: []string{"shop/" + group},
				Addresses: []string{fmt.Sprintf("10.0.0.%d", 11+n)}, Host: dove.HostName(fmt.Sprintf("h%d", n+1)),
			}, edit.Chance{UID: dove.UID(n + 1), Now: time.Now()}, nil)
			return txn, err
		})
	}
	return f
}

func (f *fleet) edit(decide func(*world.World) (dove.Txn, error)) dove.Revision {
	f.t.Helper()
	revision, err := f.member.Edit(f.t.Context(), decide)
	if err != nil {
		f.t.Fatal(err)
	}
	return revision
}

func (f *fleet) policies(list string) dove.Revision {
	f.t.Helper()
	return f.edit(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.PutBlueprint(w, "acme", "", fmt.Appendf(nil, shop, list), time.Now(), nil)
		return txn, err
	})
}

// session is a dSwitch's end.
type testSession struct {
	*conn
	cancel context.CancelFunc
	ended  chan error
}

func (f *fleet) open(n int, seen dove.Revision, queue int) *testSession {
	f.t.Helper()
	id := control.Identity{
		Host: dove.HostName(fmt.Sprintf("h%d", n)), VTEP: netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), Serial: fmt.Sprintf("%02x", n),
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &testSession{newConn(ctx, 4096, queue), cancel, make(chan error, 1)}
	s.up <- &control.Hello{Version: control.Version, Host: id.Host, VTEP: id.VTEP, Incarnation: 1, Seen: seen}
	go func() {
		err := f.member.Converse(ctx, id, s.conn)
		cancel() // as a transport does: nothing of the connection works any more
		s.ended <- err
	}()
	f.t.Cleanup(cancel)
	return s
}

// next returns the next message of a type and skips others.
func next[M control.Down](t *testing.T, s *testSession) M {
	t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case m := <-s.down:
			if m, ok := m.(M); ok {
				return m
			}
		case <-late:
			var m M
			t.Fatalf("no %T within a minute", m)
		}
	}
}

// ask has web or app ask for the other one.
func (s *testSession) ask(t *testing.T, w *world.World, local, peer string) *control.PolicyReply {
	t.Helper()
	n, _ := w.Network(dove.Network{Tenant: "acme", Name: "front"})
	s.up <- &control.PolicyRequest{ID: 1, Questions: []control.Question{{VNI: n.VNI, Local: netip.MustParseAddr(local), Peer: netip.MustParseAddr(peer)}}}
	return next[*control.PolicyReply](t, s)
}

func TestMemberServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		s := f.open(1, 0, 100)
		if assign := next[*control.Assign](t, s); assign.Endpoint.ID != "web-1" {
			t.Errorf("%+v", assign)
		}
		s.up <- &control.Ack{Revision: next[*control.Frontier](t, s).Revision}
		if reply := s.ask(t, f.member.World(), "10.0.0.11", "10.0.0.12"); len(reply.Peers) != 1 || reply.Peers[0].Host != "h2" {
			t.Errorf("%+v", reply)
		}
		rev := f.policies(appDB)
		if r := f.member.Receipt(rev); r.Complete || r.Told != 1 || fmt.Sprint(r.Pending, r.Unconfirmed) != "[h1] [h2]" {
			t.Errorf("%+v", r)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		if r := f.member.WaitReceipt(short, rev); r.Complete {
			t.Errorf("%+v", r)
		}
		cancel()
		waited := make(chan control.Receipt)
		go func() { waited <- f.member.WaitReceipt(t.Context(), rev) }()
		synctest.Wait()
		s.up <- &control.Ack{Revision: next[*control.Frontier](t, s).Revision}
		if r := <-waited; !r.Complete || r.Took != time.Second {
			t.Errorf("%+v", r)
		}
		if of := f.member.SessionsOf("h0", "h1"); len(of) != 1 || of[0].Host != "h1" {
			t.Errorf("sessions of h0 and h1: %+v", of)
		}
		if all := f.member.Sessions(); len(all) != 1 || all[0].Host != "h1" || all[0].Acked != rev || all[0].Pairs != 2 {
			t.Errorf("%+v", all)
		}
		close(s.up)
		if err := <-s.ended; err != nil {
			t.Errorf("a session that ends in order: %v", err)
		}
		if all := f.member.Sessions(); len(all) != 0 {
			t.Errorf("%+v", all)
		}
	})
}

// A member without a Core says in time that it knows nothing.
func TestMemberWithoutCore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMember("dpc-1", nil, slog.New(slog.DiscardHandler))
		defer close(m.stopped)
		begun := time.Now()
		if m.Following() || m.Sessions() != nil || m.SessionsOf("h1") != nil || m.Members() != nil {
			t.Error("it knows something")
		}
		if r := m.Receipt(7); r.Complete || r.Revision != 7 {
			t.Errorf("%+v", r)
		}
		if took := time.Since(begun); took > 6*statusWithin {
			t.Errorf("that took %v", took)
		}
	})
}

func TestMemberRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		s := f.open(9, 0, 100)
		if r := next[*control.Refusal](t, s); r.Kind != dove.Forbidden {
			t.Errorf("%+v", r)
		}
		if err := <-s.ended; dove.KindOf(err) != dove.Forbidden {
			t.Error(err)
		}
		s = &testSession{newConn(t.Context(), 1, 1), nil, nil}
		s.up <- &control.Ack{}
		if err := f.member.Converse(t.Context(), control.Identity{Host: "h1"}, s.conn); dove.KindOf(err) != dove.Invalid {
			t.Error(err)
		}
		if r := next[*control.Refusal](t, s); r.Kind != dove.Invalid {
			t.Errorf("%+v", r)
		}
	})
}

// TestASlowSessionEndsAlone has h1 read nothing while h1's rows change, and h2 go on.
func TestASlowSessionEndsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		slow, quick := f.open(1, 0, 10), f.open(2, 0, 10)
		slow.ask(t, f.member.World(), "10.0.0.11", "10.0.0.12")
		for n := range QueueMax + 50 {
			f.policies([]string{webApp, appDB}[n%2])
		}
		if err := <-slow.ended; dove.KindOf(err) != dove.Unavailable {
			t.Error(err)
		}
		if reply := quick.ask(t, f.member.World(), "10.0.0.12", "10.0.0.11"); len(reply.Answers) != 1 {
			t.Errorf("%+v", reply)
		}
		if all := f.member.Sessions(); len(all) != 1 || all[0].Host != "h2" {
			t.Errorf("%+v", all)
		}
	})
}

func TestAMemberThatIsBehindWaitsAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		ahead := f.member.World().Revision() + 1
		early := f.open(1, ahead, 100)
		synctest.Wait()
		f.policies(appDB)
		if w := next[*control.Welcome](t, early); w.Revision < ahead {
			t.Errorf("%+v", w)
		}
		if e := next[*control.Elsewhere](t, f.open(2, ahead+5, 100)); len(e.Addresses) > 0 || !strings.Contains(e.Reason, "the dSwitch has seen") {
			t.Errorf("%+v", e)
		}
	})
}

func TestEdit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		// Two edits of one document: the loser is asked again.
		calls := 0
		rename := func(w *world.World) (dove.Txn, error) {
			calls++
			if calls == 1 {
				f.policies(appDB)
			}
			b, _ := w.Blueprint("acme", "shop")
			b.Text += "\n"
			return dove.Txn{Reads: []dove.Read{{Key: b.Key(), Revision: w.DocRevision(b.Key())}}, Puts: []dove.Put{world.Put(b)}}, nil
		}
		revision := f.edit(rename)
		if calls != 2 || f.member.World().Revision() < revision {
			t.Errorf("%d calls, revision %d", calls, revision)
		}
		if again := f.edit(func(*world.World) (dove.Txn, error) { return dove.Txn{}, nil }); again != revision {
			t.Errorf("an edit of nothing is at %d, not at %d", again, revision)
		}
		refusal := dove.Errorf(dove.Conflict, "refused")
		if _, err := f.member.Edit(t.Context(), func(*world.World) (dove.Txn, error) { calls++; return dove.Txn{}, refusal }); !errors.Is(err, refusal) || calls != 3 {
			t.Errorf("%v after %d calls", err, calls)
		}
		if _, err := f.member.Edit(t.Context(), func(*world.World) (dove.Txn, error) {
			return dove.Txn{Reads: []dove.Read{{Key: world.TenantKey("x"), Revision: 77}}, Deletes: []string{world.TenantKey("x")}}, nil
		}); dove.KindOf(err) != dove.Conflict {
			t.Errorf("an edit that never holds: %v", err)
		}
	})
}

// brittle is a store whose watch can be broken.
type brittle struct {
	*memory.Store
	broken atomic.Pointer[func(error)]
	loads  atomic.Int32
	deaf   atomic.Bool // a watch hears nothing
}

func (b *brittle) Load(ctx context.Context, prefix string, page func([]dove.Doc) error) (dove.Revision, error) {
	if b.loads.Add(1) == 1 {
		return 0, errors.New("the store is not up yet")
	}
	return b.Store.Load(ctx, prefix, page)
}

func (b *brittle) Watch(ctx context.Context, prefix string, after dove.Revision, each func(dove.Revision, []dove.Doc) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b.broken.Store(new(func(err error) { cancel(err) }))
	if b.deaf.Load() {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if err := b.Store.Watch(ctx, prefix, after, each); context.Cause(ctx) == nil {
		return err
	}
	return context.Cause(ctx)
}

func TestABrokenWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store *brittle
		f := newFleet(t, func(m *memory.Store) Store { store = &brittle{Store: m}; return store })
		s := f.open(1, 0, 100)
		s.ask(t, f.member.World(), "10.0.0.11", "10.0.0.12")

		// It goes on where it was, and no session notices.
		(*store.broken.Load())(errors.New("the network is down"))
		f.policies(appDB)
		if u := next[*control.Update](t, s); len(u.Peers) != 1 || u.Peers[0].VTEP.IsValid() {
			t.Errorf("%+v", u)
		}
		// If the store no longer knows that place, neither: they are told the difference.
		store.deaf.Store(true)
		(*store.broken.Load())(errors.New("the network is down"))
		time.Sleep(rewatch)
		synctest.Wait()
		txn, _, err := edit.PutBlueprint(f.member.World(), "acme", "", fmt.Appendf(nil, shop, webApp), time.Now(), nil)
		if err == nil {
			_, err = store.Commit(t.Context(), txn)
		}
		if err != nil {
			t.Fatal(err)
		}
		store.deaf.Store(false)
		(*store.broken.Load())(dove.Errorf(dove.Unavailable, "compacted"))
		u := next[*control.Update](t, s)
		for len(u.Peers) == 0 {
			u = next[*control.Update](t, s)
		}
		if len(u.Peers) != 1 || !u.Peers[0].VTEP.IsValid() {
			t.Errorf("%+v", u)
		}
		if reply := s.ask(t, f.member.World(), "10.0.0.11", "10.0.0.12"); !reply.Peers[0].VTEP.IsValid() {
			t.Errorf("%+v", reply)
		}
		if loads := store.loads.Load(); loads != 3 {
			t.Errorf("the world was loaded %d times", loads)
		}
	})
}

func TestStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		s := f.open(1, 0, 100)
		next[*control.Frontier](t, s)
		waited := make(chan control.Receipt)
		go func() { waited <- f.member.WaitReceipt(context.Background(), 1000) }()
		synctest.Wait()
		f.stop()
		if err := <-f.ran; err != nil {
			t.Error(err)
		}
		if r := next[*control.Refusal](t, s); r.Kind != dove.Unavailable {
			t.Errorf("%+v", r)
		}
		if r := <-waited; r.Complete {
			t.Errorf("%+v", r)
		}
		if err := <-s.ended; dove.KindOf(err) != dove.Unavailable {
			t.Error(err)
		}
		if err := <-f.open(2, 0, 100).ended; dove.KindOf(err) != dove.Unavailable {
			t.Error(err)
		}
		if _, err := f.member.Read(t.Context()); err != nil && dove.KindOf(err) != dove.Unavailable {
			t.Error(err)
		}
	})
}

func TestAStoreThatCannotBeReadStopsTheMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		if _, err := f.store.Commit(t.Context(), dove.Txn{Puts: []dove.Put{{Key: world.TenantKey("x"), Value: []byte("{")}}}); err != nil {
			t.Fatal(err)
		}
		if err := <-f.ran; !errors.Is(err, errUnreadable) {
			t.Errorf("Run returned %v", err)
		}
		again := NewMember("dpc-2", f.store, slog.New(slog.DiscardHandler))
		if err := again.Run(t.Context()); !errors.Is(err, errUnreadable) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// TestEditInSteps decides 250 classes by one edit while others make endpoints of
// the domain, and once more after one that was given up.
func TestEditInSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		endpoint := func(i int) func(w *world.World) (dove.Txn, error) {
			return func(w *world.World) (dove.Txn, error) {
				txn, _, err := edit.PutEndpoint(w, edit.EndpointRequest{
					Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", i)), Network: "front", Groups: []string{},
					Labels: map[string]string{"n": fmt.Sprint(i % 250)},
				}, edit.Chance{UID: dove.UID(100 + i), Now: time.Now()}, nil)
				return txn, err
			}
		}
		f.edit(func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutBlueprint(w, "acme", "", []byte(strings.Replace(fmt.Sprintf(shop, webApp), "10.0.0.0/24", "10.0.0.0/16", 1)), time.Now(), nil)
			return txn, err
		})
		for i := range 250 {
			f.edit(endpoint(i))
		}
		var groups strings.Builder
		for i := range 250 {
			fmt.Fprintf(&groups, "g%d: {selector: {matchLabels: {n: %q}}}, ", i, fmt.Sprint(i))
		}
		apart := func(w *world.World) (dove.Txn, error) {
			text := strings.NewReplacer("10.0.0.0/24", "10.0.0.0/16", "groups: {", "groups: {"+groups.String()).Replace(fmt.Sprintf(shop, webApp))
			txn, _, err := edit.PutBlueprint(w, "acme", "", []byte(text), time.Now(), nil)
			return txn, err
		}
		domain := dove.Domain{Tenant: "acme", Name: "shop"}
		before := f.member.World()
		asked, gaveUp := 0, errors.New("all classes are decided")
		_, err := f.member.Edit(t.Context(), func(w *world.World) (dove.Txn, error) {
			if asked++; asked == 2 {
				return dove.Txn{}, gaveUp
			}
			return apart(w)
		})
		w := f.member.World()
		if !errors.Is(err, gaveUp) || w.Domain(domain) != before.Domain(domain) || w.ClassCount(domain) < before.ClassCount(domain)+200 {
			t.Fatalf("%v, %d classes", err, w.ClassCount(domain))
		}
		var others sync.WaitGroup
		for i := range 20 {
			others.Go(func() {
				if _, err := f.member.Edit(t.Context(), endpoint(250+i)); err != nil {
					t.Error(err)
				}
			})
		}
		revision := f.edit(apart)
		others.Wait()
		w = f.member.World()
		if w.DocRevision(world.BlueprintKey("acme", "shop")) != revision {
			t.Error("it is not the revision of the change that is told")
		}
		for e := range w.Endpoints("acme") {
			if w.AddressClass(e, e.Addresses[0]) == dove.ClassNone {
				t.Errorf("%s has no class", e.ID)
			}
		}
	})
}

// A session opens in a turn of those who come in, of whom others have their handshakes computed; who is inside waits for no such turn,
// and has as much time after it, as he asks.
func TestWhoComesInHasTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		inside := f.open(1, 0, 100)
		inside.up <- &control.Ack{Revision: next[*control.Frontier](t, inside).Revision}
		var gives []func()
		for range lobby.Half() {
			gives = append(gives, f.member.Turns().Take(lobby.Source{}))
		}
		const turn = 10 * time.Millisecond
		time.Sleep(turn)
		comes := f.open(2, 0, 100)
		if reply := inside.ask(t, f.member.World(), "10.0.0.11", "10.0.0.12"); len(reply.Peers) != 1 {
			t.Errorf("%+v", reply)
		}
		synctest.Wait()
		if n := len(comes.down); n > 0 {
			t.Errorf("%d messages, though it is not its turn", n)
		}
		for _, give := range gives { // that last from before the question until now
			give()
		}
		given := time.Now()
		next[*control.Welcome](t, comes)
		if rest := time.Since(given); rest < turn {
			t.Errorf("opens %s after a turn of %s in which somebody asked", rest, turn)
		}
	})
}
