package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dove.network/control"
	"dove.network/dataplane"
	"dove.network/dataplane/soft"
	"dove.network/dove"
	"dove.network/packet"
)

// pipe is both ends of a session in memory.
type pipe struct {
	up     chan control.Up
	down   chan control.Down
	closed chan struct{}
}

func newPipe() *pipe {
	return &pipe{make(chan control.Up, 64), make(chan control.Down), make(chan struct{})}
}

func (p *pipe) Send(messages ...control.Up) error {
	for _, m := range messages {
		select {
		case p.up <- m:
		case <-p.closed:
			return io.EOF
		}
	}
	return nil
}

func (p *pipe) TrySend(messages ...control.Up) (bool, error) {
	if len(messages) > cap(p.up)-len(p.up) {
		return false, nil
	}
	return true, p.Send(messages...)
}

func (p *pipe) Recv() (control.Down, error) {
	select {
	case m, ok := <-p.down:
		if !ok {
			return nil, io.EOF
		}
		return m, nil
	case <-p.closed:
		return nil, io.EOF
	}
}

func (p *pipe) Waiting() bool { return len(p.down) > 0 }

func (p *pipe) Close() error {
	close(p.closed) // twice would panic: the agent must not
	return nil
}

// fixture is an Agent over a switch in memory.
type fixture struct {
	t       *testing.T
	sw      *soft.Switch
	dials   chan *pipe  // what Dial returns; nil is an error
	dialled chan string // the first addresses that it was called with
	devices chan Event
	misses  chan dataplane.Miss
	ended   chan struct{} // closed when the agent has
	drops   chan dataplane.Drop
	agent   *Agent
	stop    func()
}

func newFixture(t *testing.T, socket string) *fixture {
	f := &fixture{t: t, dials: make(chan *pipe), dialled: make(chan string, 16), devices: make(chan Event), misses: make(chan dataplane.Miss), ended: make(chan struct{}), drops: make(chan dataplane.Drop)}
	f.sw = soft.New(dataplane.Config{VTEP: addr("192.0.2.1"), Underlay: "u0"}, time.Now)
	f.agent = New(Options{
		Config: Config{Host: "h1", VTEP: addr("192.0.2.1"), Software: "test"},
		Switch: f.sw,
		Misses: func(take func([]dataplane.Miss)) {
			for {
				select {
				case m := <-f.misses:
					take([]dataplane.Miss{m})
				case <-f.ended:
					return
				}
			}
		},
		Drops:   f.drops,
		Devices: f.devices,
		Dial: func(ctx context.Context, address string) (control.HostConn, error) {
			select {
			case f.dialled <- address:
			default:
			}
			select {
			case p := <-f.dials:
				if p == nil {
					return nil, errors.New("connection refused")
				}
				return p, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
		Prepare: func(d Device) error {
			if d.Name == "dvbad" {
				return errors.New("its other end is here")
			}
			return nil
		},
		Socket: socket,
		Log:    slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.agent.Run(ctx) }()
	f.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		close(f.ended)
	}
	return f
}

// next waits for a message that is no EndpointUpdate or Heartbeat.
func next[M control.Up](f *fixture, p *pipe) M {
	f.t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case m := <-p.up:
			switch m := m.(type) {
			case M:
				return m
			case *control.EndpointUpdate, *control.Heartbeat:
			default:
				f.t.Fatalf("the agent said %T", m)
			}
		case <-timeout:
			var want M
			f.t.Fatalf("the agent said no %T", want)
		}
	}
}

// appear returns once the agent knows of devices.
func (f *fixture) appear(devices ...Event) {
	for _, d := range devices {
		f.devices <- d
	}
	f.devices <- Tick{} // is taken when they have been
}

func (f *fixture) welcome(p *pipe) {
	f.t.Helper()
	next[*control.Hello](f, p)
	for _, m := range []control.Down{
		&control.Welcome{Version: control.Version, Member: "m1", Incarnation: 7, Revision: 3},
		assignOf("web-1", 5, "10.0.0.1", 20),
		&control.Tunnels{Full: true, Add: []control.Tunnel{{Host: "h2", VTEP: addr("192.0.2.2")}}},
		&control.Frontier{Revision: 3},
	} {
		p.down <- m
	}
	if a := next[*control.Ack](f, p); a.Revision != 3 {
		f.t.Fatalf("acknowledged %d", a.Revision)
	}
}

// guest sends a frame from the guest; what misses goes to the agent.
func (f *fixture) guest(dst string, port uint16) dataplane.Outcome {
	e := packet.Ends{SrcMAC: dove.MAC{2, 0, 0, 0, 0, 1}, DstMAC: dove.MAC{2, 0, 0, 0, 1, 1}, Src: addr("10.0.0.1"), Dst: addr(dst)}
	outcome, _ := f.sw.FromGuest(1, packet.TCP(e, 1000, port, packet.SYN, nil))
	for _, m := range f.sw.TakeMisses() {
		f.misses <- m
	}
	return outcome
}

// TestFirstPacket follows a guest's first packet through a miss, the DPC's
// answer and back into the switch, and over the loss of the session.
func TestFirstPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "")
		f.dials <- nil // the first attempt fails
		p := newPipe()
		f.dials <- p
		f.appear(deviceOf("dvweb-1", 3))
		f.welcome(p)

		if o := f.guest("10.0.0.7", 80); o.Action != dataplane.Missed {
			t.Fatalf("outcome %+v", o)
		}
		f.guest("10.0.0.7", 81)
		request := next[*control.PolicyRequest](f, p)
		p.down <- found(request.ID, request.Questions[0], 20, 30)
		synctest.Wait()
		sent := f.sw.TakeInjected()
		if len(sent) != 2 {
			t.Fatalf("%d packets went back", len(sent))
		}
		for _, s := range sent {
			if s.Outcome.Action != dataplane.Tunneled || s.Outcome.VTEP != addr("192.0.2.2") || s.Outcome.Class != 20 {
				t.Fatalf("outcome %+v", s.Outcome)
			}
		}

		// Without a session what is known goes on, what is not waits and is dropped.
		close(p.down)
		<-p.closed
		if o := f.guest("10.0.0.7", 82); o.Action != dataplane.Tunneled {
			t.Fatalf("outcome %+v", o)
		}
		f.guest("10.0.0.8", 80)
		time.Sleep(2 * HoldFor)
		counts, err := f.sw.Counts()
		if err != nil || len(counts) != 1 || counts[0].Reason != dataplane.HoldLimit {
			t.Fatalf("counts %+v, %v", counts, err)
		}

		p = newPipe()
		f.dials <- p
		f.welcome(p)
		// A policy that is told ends what it forbids.
		deny := pairRow(20, 30, "no")
		deny.Table = denial("no")
		p.down <- &control.Update{Revision: 4, Pairs: []control.Pair{deny}}
		p.down <- &control.Frontier{Revision: 4}
		if a := next[*control.Ack](f, p); a.Revision != 4 {
			t.Fatalf("acknowledged %d", a.Revision)
		}
		if o := f.guest("10.0.0.7", 80); o.Action != dataplane.Dropped || o.Reason != dataplane.Policy || o.Rule != "no" {
			t.Fatalf("outcome %+v", o)
		}
		f.stop()
	})
}

// TestRest keeps what missed for the next run: what waited for the first session is
// taken only then, and what is held when the agent stops goes back.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "")
		f.agent.options.Rest = func() error { return nil }
		waits := make(chan struct{})
		go func() {
			f.misses <- dataplane.Miss{Port: 99}
			close(waits)
		}()
		synctest.Wait()
		select {
		case <-waits:
			t.Error("a miss is taken before there was a session")
		default:
		}
		p := newPipe()
		f.dials <- p
		f.appear(deviceOf("dvweb-1", 3))
		f.welcome(p)
		<-waits
		f.guest("10.0.0.7", 80)
		f.guest("10.0.0.7", 81)
		next[*control.PolicyRequest](f, p)
		f.stop()
		sent := f.sw.TakeInjected()
		if len(sent) != 2 {
			t.Fatalf("%d packets went back", len(sent))
		}
		for _, s := range sent {
			if s.Outcome.Action != dataplane.Missed || s.Outcome.Want != dataplane.WantPeer {
				t.Errorf("outcome %+v", s.Outcome)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) { // stopped before anybody answered
		f := newFixture(t, "")
		f.agent.options.Rest = func() error { return nil }
		go func() { f.misses <- dataplane.Miss{Port: 99} }()
		synctest.Wait()
		f.stop()
		synctest.Wait()
		select {
		case <-f.misses:
		default:
			t.Error("what waited for the first session was taken from the next run")
		}
	})
	synctest.Test(t, func(t *testing.T) { // nobody answers: the wait has an end
		f := newFixture(t, "")
		began := time.Now()
		f.misses <- dataplane.Miss{Port: 99}
		if waited := time.Since(began); waited != startWait {
			t.Errorf("it was taken after %v", waited)
		}
		f.stop()
	})
}

// TestMissesWaitForTheTurn has packets miss while somebody has the turn: who reads them does
// not wait for it, and they are taken after it, as many as there is room for.
func TestMissesWaitForTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "")
		p := newPipe()
		f.dials <- p
		f.appear(deviceOf("dvweb-1", 3))
		f.welcome(p)
		f.agent.turn.Lock()
		f.agent.miss(slices.Repeat([]dataplane.Miss{{Port: 99}}, missQueue+1))
		f.agent.turn.Unlock()
		synctest.Wait()
		counts, err := f.sw.Counts()
		got := map[dataplane.Reason]uint64{}
		for _, c := range counts {
			got[c.Reason] += c.Packets
		}
		if err != nil || got[dataplane.HoldLimit] != 1 || got[dataplane.NoPort] != missQueue {
			t.Errorf("dropped %v, %v", got, err)
		}
		f.stop()
	})
}

// TestRefusal waits longer after the DPC says that trying again is of no use.
func TestRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "")
		p := newPipe()
		f.dials <- p
		next[*control.Hello](f, p)
		p.down <- &control.Refusal{Kind: dove.Forbidden, Message: "host h1 was deleted"}
		<-p.closed
		for range 9 { // the wait grows to its limit
			f.dials <- nil
		}
		synctest.Wait()
		var s Status
		if err := f.agent.call(t.Context(), func() { s = f.agent.core.Status() }); err != nil {
			t.Fatal(err)
		}
		if s.Refusal != "host h1 was deleted" || s.Session != "closed" {
			t.Fatalf("status %+v", s)
		}
		f.stop()
	})
}

// TestALaterSession has a number beyond one that the DPC names, though the clock says less.
func TestALaterSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "")
		p := newPipe()
		f.dials <- p
		later := next[*control.Hello](f, p).Number + uint64(time.Hour)
		p.down <- &control.Refusal{Kind: dove.Unavailable, Message: "host h1 has opened a later session", Later: later}
		<-p.closed
		q := newPipe()
		f.dials <- q
		if got := next[*control.Hello](f, q).Number; got <= later {
			t.Errorf("session %d is not later than %d", got, later)
		}
		f.stop()
	})
}

// TestSocket calls everything that the local socket offers.
func TestSocket(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "dswitch.sock")
	f := newFixture(t, socket)
	p := newPipe()
	f.dials <- p
	f.appear(deviceOf("dvweb-1", 3), deviceOf("dvbad", 4))
	f.welcome(p)
	f.guest("10.0.0.7", 80)
	request := next[*control.PolicyRequest](f, p)
	reply := found(request.ID, request.Questions[0], 20, 30)
	reply.Pairs[0].Table = denial("no-web")
	p.down <- reply
	p.down <- &control.Frontier{Revision: 5}
	next[*control.Ack](f, p)

	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("socket %v, %v", info, err)
	}
	c, ctx := NewClient(socket), t.Context()
	defer c.Close()
	status, err := c.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(HeldCounts{Peers: 1, Pairs: 2, Ports: 1, VTEPs: 1}, status.Held); d != "" || status.Session != "open" ||
		status.Seen != 5 || len(status.Ports) != 1 || status.Ports[0].State != "active" {
		t.Fatalf("status %+v\n%s", status, d)
	}
	held, err := c.Held(ctx)
	if err != nil || len(held.Peers) != 1 || held.Peers[0].Endpoint != "red/p9" || held.Peers[0].Network != "red/net5" || len(held.Pairs) != 2 {
		t.Fatalf("held %+v, %v", held, err)
	}
	counts, err := c.Counts(ctx)
	want := []CountRecord{{Port: "red/web-1", Reason: "policy", Rule: "no-web", Packets: 1, Bytes: counts[0].Bytes}}
	if d := cmp.Diff(want, counts); d != "" || err != nil {
		t.Fatalf("counts (-want +got):\n%s%v", d, err)
	}
	if flows, err := c.Flows(ctx); err != nil || len(flows) != 0 {
		t.Fatalf("flows %+v, %v", flows, err)
	}

	// Who waits for a drop gets it with names.
	first := make(chan Drops)
	go func() {
		d, err := c.Drops(ctx, 0, true)
		if err != nil {
			t.Error(err)
		}
		first <- d
	}()
	for _, d := range f.sw.TakeDrops() {
		f.drops <- d
	}
	drops := <-first
	if drops.Last != 1 || len(drops.Drops) != 1 {
		t.Fatalf("drops %+v", drops)
	}
	d := drops.Drops[0]
	if d.From != "red/web-1" || d.To != "red/p9" || d.Port != "red/web-1" || d.Rule != "no-web" || d.Reason != "policy" ||
		d.Direction != "from-guest" || d.Protocol != "tcp" || d.DstPort != 80 || d.Network != "red/net5" || d.Dst != addr("10.0.0.7") {
		t.Fatalf("drop %+v", d)
	}

	web := dove.Endpoint{Tenant: "red", ID: "web-1"}
	for _, step := range []struct {
		device string
		want   PlugReply
	}{
		{"dvbad", PlugReply{State: "failed", Detail: "its other end is here"}},
		{"eth9", PlugReply{State: "waiting", Detail: "there is no device eth9"}},
		{"", PlugReply{State: "active", Device: "dvweb-1"}},
	} {
		if got, err := c.Plug(ctx, web, step.device); err != nil || got != step.want {
			t.Fatalf("plug %q: %+v, %v", step.device, got, err)
		}
	}
	if got, err := c.Unplug(ctx, web); err != nil || got != (PlugReply{State: "waiting", Detail: "unplugged"}) {
		t.Fatalf("unplug: %+v, %v", got, err)
	}
	if got, err := c.Plug(ctx, dove.Endpoint{Tenant: "red", ID: "other"}, "dvx"); err != nil || got.State != "unassigned" {
		t.Fatalf("plug of what is not assigned: %+v, %v", got, err)
	}
	if _, err := c.Plug(ctx, web, "a device with spaces"); dove.KindOf(err) != dove.Invalid {
		t.Fatalf("plug of no device: %v", err)
	}

	// A second one on the same socket is refused.
	if err := New(f.agent.options).Run(ctx); err == nil {
		t.Fatal("two dswitches on one socket")
	}
	f.stop()
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the socket is left: %v", err)
	}
	if _, err := c.Status(ctx); err == nil {
		t.Fatal("somebody answers")
	}
}

func TestRing(t *testing.T) {
	r := newRing()
	for i := range uint64(RingSize + 10) {
		r.add(DropRecord{Src: netip.AddrFrom4([4]byte{byte(i)})})
	}
	all := r.since(0)
	if len(all.Drops) != RingSize || all.Drops[0].Seq != 11 || all.Last != RingSize+10 {
		t.Fatalf("%d drops from %d to %d", len(all.Drops), all.Drops[0].Seq, all.Last)
	}
	for i, d := range all.Drops {
		if d.Seq != uint64(11+i) {
			t.Fatalf("drop %d at %d", d.Seq, i)
		}
	}
	if got := r.since(RingSize + 8).Drops; len(got) != 2 || got[0].Seq != RingSize+9 {
		t.Fatalf("since gives %v", got)
	}
	if got := r.since(1 << 40).Drops; len(got) != RingSize {
		t.Fatalf("a number of another run gives %d", len(got))
	}
}
