package controller

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/store/memory"
	"dove.network/world"
)

// peerPipe is an end of a stream in memory.
type peerPipe struct {
	in   <-chan control.Across
	out  chan<- control.Across
	ends *pipeEnds
}

type pipeEnds struct {
	once sync.Once
	over chan struct{}
}

func newPeerPipe() (a, b *peerPipe) {
	x, y, ends := make(chan control.Across, 100), make(chan control.Across, 100), &pipeEnds{over: make(chan struct{})}
	return &peerPipe{x, y, ends}, &peerPipe{y, x, ends}
}

func (p *peerPipe) Send(messages ...control.Across) error {
	for _, m := range messages {
		sent, err := control.DecodeAcross(control.EncodeAcross(m))
		if err != nil {
			return err
		}
		select {
		case p.out <- sent:
		case <-p.ends.over:
			return io.ErrClosedPipe
		}
	}
	return nil
}

func (p *peerPipe) Recv() (control.Across, error) {
	select {
	case m := <-p.in:
		return m, nil
	case <-p.ends.over:
		return nil, io.EOF
	}
}

func (p *peerPipe) Close() error {
	p.ends.once.Do(func() { close(p.ends.over) })
	return nil
}

// newCluster is the fleet of newFleet with a second member, and what cuts the two
// from each other as long as it is true.
func newCluster(t *testing.T) (f, g *fleet, cut func(bool)) {
	t.Helper()
	docs := memory.New()
	f = newFleet(t, func(*memory.Store) Store { return docs })
	ctx, stop := context.WithCancel(context.Background())
	second := NewMember("dpc-2", docs, slog.New(slog.NewTextHandler(t.Output(), nil)))
	g = &fleet{t: t, store: docs, member: second, ran: make(chan error, 1), stop: stop}
	go func() { g.ran <- second.Run(ctx) }()
	for n, name := range []string{"dpc-1", "dpc-2"} {
		doc := world.Member{Name: name, UID: dove.UID(n + 1), API: name + ":7443", Control: name + ":7444", Peer: name + ":7447", Serial: fmt.Sprintf("a%d", n)}
		f.edit(func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutMember(w, doc, true)
			return txn, err
		})
	}
	var mu sync.Mutex
	var live *peerPipe
	down := false
	dial := func(ctx context.Context, its world.Member) (control.PeerConn, error) {
		mu.Lock()
		defer mu.Unlock()
		if down {
			return nil, fmt.Errorf("%s cannot be reached", its.Name)
		}
		near, far := newPeerPipe()
		live = near
		go second.ConversePeer(ctx, control.PeerIdentity{Member: "dpc-1", Serial: "a0"}, far)
		return near, nil
	}
	f.member.dial = dial
	var keeping sync.WaitGroup
	keeping.Go(func() { f.member.keepPeers(ctx) })
	t.Cleanup(func() {
		stop()
		keeping.Wait()
		<-g.ran
		if err := docs.Close(); err != nil {
			t.Error(err)
		}
	})
	return f, g, func(is bool) {
		mu.Lock()
		defer mu.Unlock()
		if down = is; down && live != nil {
			live.Close()
		}
	}
}

// acknowledge answers every frontier of a session, as a dSwitch that is never slow.
func (s *testSession) acknowledge(t *testing.T, after time.Duration) {
	go func() {
		for {
			select {
			case m := <-s.down:
				if f, ok := m.(*control.Frontier); ok {
					time.Sleep(after)
					s.up <- &control.Ack{Revision: f.Revision}
				}
			case <-s.ctx.Done():
				return
			}
		}
	}()
}

func TestTwoMembersAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g, cut := newCluster(t)
		time.Sleep(time.Second)
		f.open(1, 0, 100).acknowledge(t, 0)
		g.open(2, 0, 100).acknowledge(t, 2*time.Second)
		time.Sleep(5 * time.Second)

		// Either knows the sessions of both, and waits for both.
		for _, m := range []*Member{f.member, g.member} {
			var hosts []string
			for _, s := range m.Sessions() {
				hosts = append(hosts, fmt.Sprintf("%s with %s", s.Host, s.Member))
			}
			slices.Sort(hosts)
			if !slices.Equal(hosts, []string{"h1 with dpc-1", "h2 with dpc-2"}) {
				t.Errorf("%s knows %v", m.name, hosts)
			}
			if some := m.SessionsOf("h2", "h1"); len(some) != 2 || some[0].Host != "h2" || some[1].Host != "h1" {
				t.Errorf("%s says of h2 and h1 %+v", m.name, some)
			}
		}
		for m, other := range map[*Member]string{f.member: "dpc-2", g.member: "dpc-1"} {
			at := m.World().Revision()
			want := []control.MemberStatus{{Member: m.name, Reached: true, Applied: at, Sessions: 1}, {Member: other, Reached: true, Applied: at, Sessions: 1}}
			if got := m.Members(); !slices.Equal(got, want) {
				t.Errorf("%s says of members %+v, want %+v", m.name, got, want)
			}
		}
		revision := f.policies(webApp + ", " + appDB)
		move := f.edit(func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutEndpoint(w, edit.EndpointRequest{Tenant: "acme", ID: "web-2", Groups: []string{"shop/web"}, Addresses: []string{"10.0.0.21"}, Host: "h2"}, edit.Chance{UID: 9, Now: time.Now()}, nil)
			return txn, err
		})
		if r := f.member.Receipt(move); r.Complete {
			t.Errorf("a receipt is complete before h2 has acknowledged: %+v", r)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if r := f.member.WaitReceipt(ctx, move); !r.Complete || r.Told == 0 && time.Since(began) < time.Second {
			t.Errorf("after %s %+v", time.Since(began), r)
		}
		if r := g.member.WaitReceipt(ctx, revision); !r.Complete {
			t.Errorf("%+v", r)
		}

		// While they cannot hear each other, receipts name the other's host.
		cut(true)
		time.Sleep(time.Second)
		last := f.policies(webApp)
		time.Sleep(10 * time.Second)
		if r := f.member.Receipt(last); r.Complete || !slices.Equal(r.Unknown, []control.UnknownHost{{Host: "h2", Member: "dpc-2"}}) {
			t.Errorf("%+v", r)
		}
		cut(false)
		if r := f.member.WaitReceipt(ctx, last); !r.Complete || len(r.Unknown) > 0 {
			t.Errorf("%+v", r)
		}

		// A host that opens a session with the other has one only.
		h1 := g.open(1, 0, 100)
		h1.acknowledge(t, 0)
		time.Sleep(3 * time.Second)
		if all := f.member.Sessions(); len(all) != 2 || all[0].Member != "dpc-2" || all[1].Member != "dpc-2" {
			t.Errorf("%+v", all)
		}
	})
}

func TestAMemberThatIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newCluster(t)
		time.Sleep(time.Second)
		for _, id := range []control.PeerIdentity{{Member: "dpc-3", Serial: "a2"}, {Member: "dpc-2", Serial: "ff"}, {Member: "dpc-1", Serial: "a0"}} {
			if err := f.member.AdmitPeer(t.Context(), id); dove.KindOf(err) != dove.Forbidden {
				t.Errorf("%+v: %v", id, err)
			}
		}
		for name, first := range map[string]control.Across{
			"no greeting":         &control.Progress{},
			"another version":     &control.Greeting{Version: 1, Member: "dpc-2", Start: 1, Incarnation: 1},
			"another name":        &control.Greeting{Version: control.Version, Member: "dpc-9", Start: 1, Incarnation: 1},
			"another store":       &control.Greeting{Version: control.Version, Member: "dpc-2", Start: 1, Incarnation: 2},
			"nothing for a while": nil,
		} {
			near, far := newPeerPipe()
			if first != nil {
				if err := far.Send(first); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.member.ConversePeer(t.Context(), control.PeerIdentity{Member: "dpc-2", Serial: "a1"}, near); err == nil {
				t.Errorf("%s: it is let in", name)
			}
		}
	})
}

// Another run of a member must not be taken for the one before: what that one's
// hosts had not acknowledged would count as if they had.
func TestAStreamIsOfOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, cut := newCluster(t)
		time.Sleep(time.Second)
		cut(true)
		time.Sleep(time.Second)
		near, far := newPeerPipe()
		if err := far.Send(&control.Greeting{Version: control.Version, Member: "dpc-2", Start: 1, Incarnation: 1}); err != nil {
			t.Fatal(err)
		}
		f.member.pause() // the store cannot be followed
		ended := make(chan error, 1)
		go func() {
			ended <- f.member.ConversePeer(t.Context(), control.PeerIdentity{Member: "dpc-2", Serial: "a1"}, near)
		}()
		time.Sleep(time.Second)
		f.member.begin(f.member.World())
		synctest.Wait()
		select {
		case err := <-ended:
			if dove.KindOf(err) != dove.Unavailable {
				t.Error(err)
			}
		default:
			t.Error("the stream that the run before greeted goes on")
			near.Close()
		}
	})
}
