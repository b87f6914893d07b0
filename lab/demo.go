package lab

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"dove.network/dove"
	"dove.network/scenario"
)

//go:embed demo.dove
var demoText []byte

// Demo builds the world of demo.dove and tells on out, step by step, what was
// meant beside what was seen. It returns how many of how many checks held.
type Demo struct {
	Out         io.Writer
	held, total int
	newcomers   int // endpoints made while the story is told
	started     time.Time
}

// Count returns how many of how many checks held so far.
func (d *Demo) Count() (held, total int) { return d.held, d.total }

func (d *Demo) say(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }

// title begins a part of the story.
func (d *Demo) title(format string, args ...any) {
	d.say("\n%5.1fs  %s", time.Since(d.started).Seconds(), fmt.Sprintf(format, args...))
}

// check counts one check and prints it.
func (d *Demo) check(err error, format string, args ...any) {
	d.total++
	text := fmt.Sprintf(format, args...)
	if err != nil {
		d.say("  FAIL  %s: %v", text, err)
		return
	}
	d.held++
	d.say("  ok    %s", text)
}

// unless returns an error with the text unless ok.
func unless(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// World builds the demo's world in a lab and returns it with its stage.
func World(ctx context.Context, opt Options, each func(scenario.Step)) (*Lab, *Stage, *scenario.Scenario, error) {
	s, err := scenario.Parse(demoText)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("demo.dove: %w", err)
	}
	l, err := New(ctx, opt)
	if err != nil {
		return nil, nil, nil, err
	}
	st, err := NewStage(ctx, l, s)
	if err != nil {
		return l, nil, nil, err
	}
	for _, step := range s.Steps {
		if _, isMatrix := step.Action.(scenario.ExpectMatrix); isMatrix {
			continue
		}
		if each != nil {
			each(step)
		}
		if _, err := st.Do(ctx, step.Action); err != nil {
			return l, st, nil, fmt.Errorf("demo.dove:%d: %w", step.Line, err)
		}
	}
	return l, st, s, nil
}

// Run tells the whole story and cleans up. An error means that the story could
// not be told; a check that did not hold is none.
func (d *Demo) Run(ctx context.Context, opt Options) (err error) {
	d.started = time.Now()
	d.title("Building: three hosts with a dswitch each, one dpc, an underlay with MTU 1500")
	l, st, s, err := World(ctx, opt, func(step scenario.Step) {
		if a, ok := step.Action.(scenario.ApplyBlueprint); ok {
			d.say("        tenant %s applies its blueprint", a.Tenant)
		}
	})
	if l != nil {
		defer func() { err = errors.Join(err, l.Close()) }()
	}
	if st != nil {
		defer st.Close()
	}
	if err != nil {
		return err
	}
	d.say("        %d endpoints in two tenants, plugged into %d hosts", len(l.guests), len(l.hosts))
	for _, part := range []func(context.Context, *Lab, *Stage) error{d.first, d.matrix(s), d.edit, d.move, d.crash} {
		if err := part(ctx, l, st); err != nil {
			return err
		}
	}
	return nil
}

// first shows that a host learns only what its guests need.
func (d *Demo) first(ctx context.Context, l *Lab, st *Stage) error {
	d.title("On first need: hosts hold no answers until a guest asks")
	if err := d.holds(ctx, l, map[string]int{"h1": 0, "h2": 0, "h3": 0}); err != nil {
		return err
	}
	from, to := st.guest(dove.Endpoint{Tenant: "acme", ID: "web-1"}), st.guest(dove.Endpoint{Tenant: "acme", ID: "app-1"})
	r := from.AskTCP(ctx, netip.AddrPortFrom(to.Addr(false), 8080))
	d.check(errors.Join(r.Err, unless(r.From == to.Name(), "%q answered", r.From), unless(r.Retransmits == 0, "%d retransmissions", r.Retransmits)),
		"%s on h1 opened tcp/8080 to %s on h2, cold, in %.1f ms, without a retransmission", from.Name(), to.Name(), float64(r.Took.Microseconds())/1000)
	return d.holds(ctx, l, map[string]int{"h1": 1, "h2": 1, "h3": 0})
}

// holds checks how many answers each host holds.
func (d *Demo) holds(ctx context.Context, l *Lab, want map[string]int) error {
	for _, h := range l.hosts {
		held, err := h.sock.Status(ctx)
		if err != nil {
			return err
		}
		n := held.Held.Peers
		d.check(unless(n == want[h.Name], "it should hold %d", want[h.Name]), "%s holds %d answers about other hosts' endpoints", h.Name, n)
	}
	return nil
}

// matrix compares every pair with the oracle.
func (d *Demo) matrix(s *scenario.Scenario) func(context.Context, *Lab, *Stage) error {
	return func(ctx context.Context, l *Lab, st *Stage) error {
		probes := s.Steps[len(s.Steps)-1].Action.(scenario.ExpectMatrix).Probes
		checks := Checks(l.guests, probes)
		d.title("The matrix: %d real connections, each compared with what the oracle says", len(checks))
		shown := time.Now()
		results, err := l.RunChecks(ctx, checks, st.meant, func(done, total int) {
			if done == total || done%100 == 0 {
				d.say("        %4d of %d connections made, %.1f s", done, total, time.Since(shown).Seconds())
			}
		})
		if err != nil {
			return err
		}
		d.say("")
		d.say("%s", Table(results))
		cold, retransmits := 0, 0
		for _, r := range results {
			d.total++
			if r.Fault == "" {
				d.held++
			} else {
				d.say("  FAIL  %s: %s", r.Check, r.Fault)
			}
			if r.Intent.Outcome == scenario.Allow && r.Check.Probe.Protocol == dove.ProtocolTCP {
				cold++
				retransmits += r.Reply.Retransmits
			}
		}
		d.check(unless(retransmits == 0, "there were %d", retransmits), "%d TCP connections opened with %d retransmissions", cold, retransmits)
		d.check(strangers(l), "no guest was ever reached by the other tenant, though their addresses are equal")
		for _, h := range l.hosts {
			held, err := h.sock.Status(ctx)
			if err != nil {
				return err
			}
			needed := 0
			for _, g := range l.guests {
				if g.Host != h.Name {
					needed += len(g.Addrs)
				}
			}
			d.check(unless(held.Held.Peers <= needed, "its guests could talk to %d only", needed),
				"%s holds %d answers: at most one for each of the %d addresses that its guests asked for", h.Name, held.Held.Peers, needed)
		}
		return nil
	}
}

// strangers says whether any guest was reached by a guest of another tenant.
func strangers(l *Lab) error {
	var errs []error
	for _, g := range l.guests {
		for who := range g.Askers() {
			if !strings.HasPrefix(who, string(g.Endpoint.Tenant)+"/") {
				errs = append(errs, fmt.Errorf("%s was reached by %s", g.Name(), who))
			}
		}
	}
	return errors.Join(errs...)
}

// edited is acme's blueprint after the edit: web may no longer use tcp/8080 of
// app, still uses udp/5353, and may now use its tcp/5432.
const edited = `apiVersion: dove/v1
kind: Blueprint
name: shop
networks:
  main: {subnets: [10.0.1.0/24, "fd00:0:0:1::/64"]}
groups:
  web: {network: main}
  app: {network: main}
  db:  {network: main, isolated: true}
policies:
  - {name: web-app, from: web, to: app, allow: [tcp/5432, udp/5353, icmp]}
  - {name: app-db, from: app, to: db, allow: [tcp/5432]}
  - {name: quiet-db, from: [web, app], to: db, deny: [icmp]}
`

// edit changes policy while traffic runs.
func (d *Demo) edit(ctx context.Context, l *Lab, st *Stage) error {
	d.title("A policy edit while traffic runs: acme forbids web > app tcp/8080, allows tcp/5432, keeps the rest")
	web, app := st.guest(dove.Endpoint{Tenant: "acme", ID: "web-1"}), st.guest(dove.Endpoint{Tenant: "acme", ID: "app-2"})
	db := st.guest(dove.Endpoint{Tenant: "acme", ID: "db-1"})
	app1 := st.guest(dove.Endpoint{Tenant: "acme", ID: "app-1"})
	doomed, err := web.StreamTCP(ctx, app, netip.AddrPortFrom(app.Addr(false), 8080), 2*time.Millisecond)
	if err != nil {
		return err
	}
	defer doomed.Abort()
	keptUDP, err := web.StreamUDP(ctx, app, netip.AddrPortFrom(app.Addr(true), 5353), 2*time.Millisecond)
	if err != nil {
		return err
	}
	keptTCP, err := app1.StreamTCP(ctx, db, netip.AddrPortFrom(db.Addr(false), 5432), 2*time.Millisecond)
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	defer keptTCP.Abort()
	defer keptUDP.Abort()
	if err := eventually(ctx, answerTimeout, func() error {
		return unless(doomed.Tally().Echoed > 100 && keptUDP.Tally().Echoed > 100 && keptTCP.Tally().Echoed > 100, "the streams do not run")
	}); err != nil {
		return err
	}
	ctxDrops, cancel := context.WithCancel(ctx)
	defer cancel()
	drops := l.watchDrops(ctxDrops)

	committed := time.Now()
	rev, err := st.change(ctx, scenario.ApplyBlueprint{Tenant: "acme", Text: edited})
	if err != nil {
		return err
	}
	receipt, err := l.receipt(ctx, rev)
	if err != nil {
		return err
	}
	d.check(unless(receipt.Complete, "pending: %v", receipt.Pending), "revision %d is enforced everywhere, %.1f ms after it was committed (%.1f ms as seen from here); %d of %d hosts were told",
		rev, float64(receipt.Took.Microseconds())/1000, float64(time.Since(committed).Microseconds())/1000, receipt.Told, len(l.hosts))
	atReceipt := doomed.Tally()
	ctxWait, cancelWait := context.WithTimeout(ctx, answerTimeout)
	defer cancelWait()
	drop := drops.wait(ctxWait, dropKey{web.Endpoint, app.Addr(false), dove.ProtocolTCP, 8080}, committed)
	if drop == nil {
		d.check(errors.New("no drop was counted"), "the forbidden connection's packets are counted")
	} else {
		d.check(unless(drop.Rule == "default-deny", "dropped as %s by %q", drop.Reason, drop.Rule), "the forbidden connection's packets are dropped on %s by %s", drop.Host, drop.Rule)
	}
	now := doomed.Tally()
	d.check(unless(now.Echoed-atReceipt.Echoed <= 1, "%d echoes came after the receipt", now.Echoed-atReceipt.Echoed),
		"the forbidden established connection died: %d numbers echoed, then silence", now.Echoed)
	opened := web.AskTCP(ctx, netip.AddrPortFrom(app.Addr(false), 5432))
	d.check(errors.Join(opened.Err, unless(opened.From == app.Name(), "%q answered", opened.From), unless(opened.Retransmits == 0, "%d retransmissions", opened.Retransmits)),
		"the newly allowed tcp/5432 opened in %.1f ms", float64(opened.Took.Microseconds())/1000)
	for _, s := range []*Stream{keptUDP, keptTCP} {
		t := s.Finish()
		d.check(errors.Join(t.Err, unless(t.Sent == t.Echoed, "%d of %d numbers came back", t.Echoed, t.Sent), unless(t.Retransmits == 0, "%d retransmissions", t.Retransmits)),
			"the still allowed %s of %s lost nothing: %d sent, %d echoed", s.Name, s.From.Name(), t.Sent, t.Echoed)
	}

	d.title("A change that nobody holds tells nobody")
	rev, err = st.change(ctx, scenario.ApplyBlueprint{Tenant: "initech", Text: "apiVersion: dove/v1\nkind: Blueprint\nname: plans\nnetworks:\n  lan: {subnets: [10.0.1.0/24]}\ngroups:\n  desk: {network: lan}\n"})
	if err != nil {
		return err
	}
	receipt, err = l.receipt(ctx, rev)
	if err != nil {
		return err
	}
	d.check(unless(receipt.Complete && receipt.Told == 0, "complete: %v, told: %d", receipt.Complete, receipt.Told),
		"a third tenant's first blueprint, revision %d: complete after %.1f ms, %d hosts told", rev, float64(receipt.Took.Microseconds())/1000, receipt.Told)
	return nil
}
