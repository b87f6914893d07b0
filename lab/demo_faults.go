package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"dove.network/dove"
	"dove.network/scenario"
)

// move takes an endpoint to another host while it is talked to.
func (d *Demo) move(ctx context.Context, l *Lab, st *Stage) error {
	d.title("An endpoint moves to another host while it is talked to")
	web, app := st.guest(dove.Endpoint{Tenant: "acme", ID: "web-2"}), st.guest(dove.Endpoint{Tenant: "acme", ID: "app-2"})
	from := app.Host
	stream, err := web.StreamTCP(ctx, app, netip.AddrPortFrom(app.Addr(false), 5432), 2*time.Millisecond)
	if err != nil {
		return err
	}
	defer stream.Abort()
	if err := goesOn(ctx, stream, 100); err != nil {
		return err
	}
	if _, err := st.move(ctx, scenario.Move{Endpoint: app.Endpoint, Host: "h1"}); err != nil {
		return err
	}
	if err := goesOn(ctx, stream, 100); err != nil {
		d.check(err, "the TCP stream from %s to %s survives the move", web.Name(), app.Name())
		return nil
	}
	t := stream.Finish()
	d.check(errors.Join(t.Err, unless(t.Sent == t.Echoed, "%d of %d numbers came back", t.Echoed, t.Sent)),
		"%s moved from %s to %s: the TCP stream survived, %d numbers sent, %d echoed; longest silence %.0f ms, %d segments sent again",
		app.Name(), from, app.Host, t.Sent, t.Echoed, ms(t.Gap), t.Retransmits)
	return nil
}

// crash kills a dswitch and the dpc under traffic.
func (d *Demo) crash(ctx context.Context, l *Lab, st *Stage) error {
	d.title("A dswitch is killed and started again under traffic")
	web, app := st.guest(dove.Endpoint{Tenant: "acme", ID: "web-1"}), st.guest(dove.Endpoint{Tenant: "acme", ID: "app-1"})
	globex := st.guest(dove.Endpoint{Tenant: "globex", ID: "web-1"})
	target, err := d.newcomer(ctx, l, st) // whom h1 never asked for
	if err != nil {
		return err
	}
	known, err := web.StreamUDP(ctx, app, netip.AddrPortFrom(app.Addr(false), 5353), 2*time.Millisecond)
	if err != nil {
		return err
	}
	defer known.Abort()
	if err := goesOn(ctx, known, 100); err != nil {
		return err
	}
	h, _ := l.Host("h1")
	if err := h.sw.kill(); err != nil {
		return err
	}
	begun := make(chan Reply, 1)
	begin, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	go func() { begun <- globex.AskTCP(begin, netip.AddrPortFrom(target.Addr(true), 5432)) }()
	if err := goesOn(ctx, known, 200); err != nil {
		d.check(err, "known flows run on without a dswitch")
		return nil
	}
	started := time.Now()
	if err := h.run(l); err != nil {
		return err
	}
	if err := l.waitSession(ctx, h); err != nil {
		return err
	}
	d.say("        the dswitch on h1 was started again and has its session after %.0f ms", ms(time.Since(started)))
	r := <-begun
	d.check(errors.Join(r.Err, unless(r.From == target.Name(), "%q answered", r.From)),
		"a connection begun meanwhile succeeded by its own retry, after %.1f s", r.Took.Seconds())
	if err := goesOn(ctx, known, 100); err != nil {
		d.check(err, "known flows run on under the new dswitch")
		return nil
	}
	t := known.Finish()
	d.check(unless(t.Sent == t.Echoed, "%d of %d numbers came back", t.Echoed, t.Sent), "the known flow lost nothing: %d datagrams sent, %d echoed", t.Sent, t.Echoed)
	return d.crashDPC(ctx, l, st)
}

func (d *Demo) crashDPC(ctx context.Context, l *Lab, st *Stage) error {
	d.title("The dpc is killed and started again")
	web, app := st.guest(dove.Endpoint{Tenant: "acme", ID: "web-1"}), st.guest(dove.Endpoint{Tenant: "acme", ID: "app-1"})
	before, err := l.documents(ctx)
	if err != nil {
		return err
	}
	known, err := web.StreamUDP(ctx, app, netip.AddrPortFrom(app.Addr(true), 5353), 2*time.Millisecond)
	if err != nil {
		return err
	}
	defer known.Abort()
	if err := goesOn(ctx, known, 100); err != nil {
		return err
	}
	if err := l.members[0].dpc.kill(); err != nil {
		return err
	}
	if err := goesOn(ctx, known, 200); err != nil {
		d.check(err, "known flows run on without a dpc")
		return nil
	}
	started := time.Now()
	if err := l.RunMember(ctx, l.members[0]); err != nil {
		return err
	}
	for _, h := range l.hosts {
		if err := l.waitSession(ctx, h); err != nil {
			return err
		}
	}
	d.say("        the dpc is back and every host has its session after %.0f ms", ms(time.Since(started)))
	t := known.Finish()
	d.check(unless(t.Sent == t.Echoed, "%d of %d numbers came back", t.Echoed, t.Sent), "the known flow lost nothing: %d datagrams sent, %d echoed", t.Sent, t.Echoed)
	after, err := l.documents(ctx)
	if err != nil {
		return err
	}
	d.check(unless(before == after, "before: %s; after: %s", before, after), "every document is still there: %s", after)
	g, err := d.newcomer(ctx, l, st)
	if err != nil {
		return err
	}
	r := st.guest(dove.Endpoint{Tenant: "globex", ID: "web-1"}).AskTCP(ctx, netip.AddrPortFrom(g.Addr(false), 5432))
	d.check(errors.Join(r.Err, unless(r.From == g.Name(), "%q answered", r.From)), "an endpoint that is made now is reached in %.1f ms", ms(r.Took))
	return nil
}

// newcomer makes another endpoint in globex's group db on h2.
func (d *Demo) newcomer(ctx context.Context, l *Lab, st *Stage) (*Guest, error) {
	d.newcomers++
	name := dove.Endpoint{Tenant: "globex", ID: dove.EndpointID(fmt.Sprintf("new-%d", d.newcomers))}
	db := st.guest(dove.Endpoint{Tenant: "globex", ID: "db-3"})
	rev, err := st.change(ctx, scenario.CreateEndpoint{Endpoint: name, Host: "h2", Groups: db.Groups})
	if err != nil {
		return nil, err
	}
	g := st.idle[name]
	delete(st.idle, name)
	err = st.plug(ctx, g)
	_, late := l.WaitReceipt(ctx, rev)
	return g, errors.Join(err, late)
}

// documents says how many documents of each kind the DPC has.
func (l *Lab) documents(ctx context.Context) (string, error) {
	s, err := l.api.Status(ctx)
	return fmt.Sprintf("%d tenants, %d endpoints, %d hosts, revision %d", s.Tenants, s.Endpoints, s.Hosts, s.Revision), err
}

// goesOn waits until a stream has that many more echoes.
func goesOn(ctx context.Context, s *Stream, more int64) error {
	before := s.Tally().Echoed
	return eventually(ctx, passesWithin, func() error {
		now := s.Tally().Echoed
		return unless(now >= before+more, "%s of %s stands still at %d echoes", s.Name, s.From.Name(), now)
	})
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// kill ends a program as a crash does, and waits until it is gone.
func (p *process) kill() error {
	if err := p.signal(unix.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}
