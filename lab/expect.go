package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dove.network/api"
	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/scenario"
)

// meant is what the oracle says of a check now.
func (st *Stage) meant(c Check) Intent {
	var all []*blueprint.Blueprint
	for _, b := range st.blueprints[c.From.Endpoint.Tenant] {
		all = append(all, b)
	}
	return Meant(c, all)
}

func (st *Stage) expect(ctx context.Context, a scenario.Expect) (string, error) {
	if a.Log == scenario.AnyTells && a.Would == scenario.AnyWould {
		return st.meet(ctx, a)
	}
	return st.told(ctx, a, func() (string, error) { return st.meet(ctx, a) })
}

// meet sends what a step is about, and says what became of it.
func (st *Stage) meet(ctx context.Context, a scenario.Expect) (string, error) {
	if !canAsk(a.Probe) {
		return "", fmt.Errorf("a guest has no socket for %s: %w", a.Probe, scenario.ErrCannot)
	}
	from := st.guest(a.From)
	targets := []netip.Addr{a.Address}
	shared := a.Address.IsValid() && a.To != (dove.Endpoint{})
	switch {
	case !a.Address.IsValid():
		targets = st.guest(a.To).Addrs
	case shared && a.Probe.Protocol != dove.ProtocolTCP:
		return "", fmt.Errorf("guests answer only TCP from what is not their own address: %w", scenario.ErrCannot)
	}
	var checks []Check
	for _, addr := range targets {
		if _, _, exists := a.Probe.Over(addr); exists && a.Over.Has(addr) && from.Addr(addr.Is6()).IsValid() {
			to := owner(st.Lab.guests, from, addr)
			if shared {
				to = st.guest(a.To)
			}
			checks = append(checks, Check{From: from, To: to, Addr: addr, Probe: a.Probe, Size: a.Size})
		}
	}
	if len(a.By) > 0 {
		return st.spread(ctx, a, checks)
	}
	if a.Outcome == scenario.TooBig {
		return st.Lab.tooBig(ctx, checks)
	}
	if a.Outcome == scenario.NoReply {
		return st.Lab.noReply(ctx, checks, a.Rule)
	}
	results, err := st.Lab.RunChecks(ctx, checks, func(Check) Intent { return Intent{a.Outcome, a.Rule} }, nil)
	lines := make([]string, len(results))
	for i, r := range results {
		nearest, wrong := st.why(ctx, a, r)
		lines[i] = r.tell() + nearest
		err = errors.Join(err, wrong)
	}
	return strings.Join(lines, "\n"), errors.Join(err, Faults(results))
}

// flowsSpread is how many connections are made to see by which next hops they go.
const flowsSpread = 48

// spread makes connections alike, and holds who answered them against those who should.
func (st *Stage) spread(ctx context.Context, a scenario.Expect, checks []Check) (string, error) {
	if a.Probe.Protocol != dove.ProtocolTCP {
		return "", fmt.Errorf("guests answer only TCP from what is not their own address: %w", scenario.ErrCannot)
	}
	var meant, lines []string
	for _, hop := range a.By {
		meant = append(meant, st.guest(hop).Name())
	}
	slices.Sort(meant)
	var errs []error
	for _, c := range checks {
		count := map[string]int{}
		for range flowsSpread {
			r := c.ask(ctx, 0)
			if r.Err != nil {
				return "", fmt.Errorf("%v: %w", c, r.Err)
			}
			count[r.From]++
		}
		if by := slices.Sorted(maps.Keys(count)); !slices.Equal(by, meant) {
			errs = append(errs, fmt.Errorf("connections to %s were answered by %v, meant: %v", c.Addr, by, meant))
		}
		lines = append(lines, fmt.Sprintf("of %d connections to %s each was answered by one of %s", flowsSpread, c.Addr, strings.Join(meant, ", ")))
	}
	return strings.Join(lines, "\n"), errors.Join(errs...)
}

// why asks the DPC why a check came to what it did, if the DPC can answer, and
// what almost allowed what a default denied. It and the switches of both ends must
// say of the flow what its packet came to.
func (st *Stage) why(ctx context.Context, a scenario.Expect, r Result) (nearest string, err error) {
	c := r.Check
	decided := a.Outcome == scenario.Allow || a.Outcome == scenario.Deny
	if c.To == nil || r.Fault != "" || !decided || st.outage.Any() != "" || a.Address.IsValid() { // a switch calls an address that is but allowed unassigned
		return "", nil
	}
	protocol, port, _ := c.Probe.Over(c.Addr)
	why, err := st.Lab.api.Why(ctx, c.From.Endpoint.Tenant, api.Flow{
		From: string(c.From.Endpoint.ID), To: fmt.Sprintf("%s/%s", c.To.Endpoint.ID, c.Addr), Proto: protocol.String(), Port: fmt.Sprint(port),
	})
	if err != nil {
		return "", err
	}
	allowed := a.Outcome == scenario.Allow
	switch {
	case why.Reaches != allowed || a.Rule != "" && why.Rule != a.Rule || r.Drop != nil && why.Rule != r.Drop.Rule:
		err = fmt.Errorf("%s: %s, but why says: reaches %t by %s", c, r.tell(), why.Reaches, why.Rule)
	case a.Would == scenario.WouldNothing && why.Shadow != nil, a.Would > scenario.WouldNothing && (why.Shadow == nil || why.Shadow.Allowed != (a.Would == scenario.WouldAllow)),
		a.Shadow != "" && why.Shadow.Rule != a.Shadow:
		err = fmt.Errorf("%s: meant in shadow: %s by %q, but why says %+v", c, a.Would, a.Shadow, why.Shadow)
	}
	for _, l := range why.Live {
		if !l.Agrees && l.State != "foreign" {
			err = errors.Join(err, fmt.Errorf("%s: %s, but the switch of %s: %s %s %s %s", c, r.tell(), l.Host, l.State, l.Standing, l.Rule, l.Detail))
		}
	}
	if why.Nearest != "" {
		nearest = fmt.Sprintf(": the nearest rule is %s, which fails on: %s", why.Nearest, why.Failed)
	}
	return nearest, err
}

// tell says what was seen of a check.
func (r Result) tell() string {
	switch {
	case r.Reply.From != "":
		return fmt.Sprintf("%s answered from %s after %.1f ms", r.Reply.From, r.Check.Addr, ms(r.Reply.Took))
	case r.Drop != nil && r.Drop.Rule != "":
		return fmt.Sprintf("%s: denied on %s by %s", r.Check.Addr, r.Drop.Host, r.Drop.Rule)
	case r.Drop != nil:
		return fmt.Sprintf("%s: dropped on %s as %s", r.Check.Addr, r.Drop.Host, r.Drop.Reason)
	}
	return fmt.Sprintf("%s: no answer, and no switch counted a drop", r.Check.Addr)
}

func (st *Stage) matrix(ctx context.Context, a scenario.ExpectMatrix) (string, error) {
	probes := slices.DeleteFunc(slices.Clone(a.Probes), func(p scenario.Probe) bool { return !canAsk(p) })
	results, err := st.Lab.RunChecks(ctx, Checks(st.Lab.guests, probes), st.meant, nil)
	says := fmt.Sprintf("%d real connections", len(results))
	if err := errors.Join(err, Faults(results)); err != nil || len(probes) == len(a.Probes) {
		return says, err
	}
	return says, fmt.Errorf("a guest has no socket for some of %v: %w", a.Probes, scenario.ErrCannot)
}

func (st *Stage) openFlow(ctx context.Context, a scenario.OpenFlow) (string, error) {
	var lines []string
	from, to := st.guest(a.From), st.guest(a.To)
	for _, addr := range to.Addrs {
		if _, _, exists := a.Probe.Over(addr); !exists || !a.Over.Has(addr) || !from.Addr(addr.Is6()).IsValid() {
			continue
		}
		var s *Stream
		var err error
		switch a.Probe.Protocol {
		case dove.ProtocolTCP:
			s, err = from.StreamTCP(ctx, to, netip.AddrPortFrom(addr, a.Probe.Port), 20*time.Millisecond)
		case dove.ProtocolUDP:
			s, err = from.StreamUDP(ctx, to, netip.AddrPortFrom(addr, a.Probe.Port), 20*time.Millisecond)
		default:
			return "", fmt.Errorf("a flow of %s: %w", a.Probe, scenario.ErrCannot)
		}
		if err != nil {
			return "", err
		}
		st.flows[a.Name] = append(st.flows[a.Name], s)
		lines = append(lines, fmt.Sprintf("from %s on %s to %s on %s", from.Name(), from.Host, s.conn.RemoteAddr(), to.Host))
	}
	return strings.Join(lines, "\n"), nil
}

// Bounds of ExpectFlow: a blocked TCP stream sends again after its
// retransmission time-out, which doubles while it is blocked.
const (
	passesWithin = 15 * time.Second
	blockedFor   = 400 * time.Millisecond
)

func (st *Stage) expectFlow(ctx context.Context, a scenario.ExpectFlow) (string, error) {
	streams, ok := st.flows[a.Name]
	if !ok {
		return "", fmt.Errorf("flow %s was not opened: %w", a.Name, scenario.ErrCannot)
	}
	if a.Back {
		return "", fmt.Errorf("servers answer who asks, and never send first: %w", scenario.ErrCannot)
	}
	var lines []string
	for _, s := range streams {
		before := s.Tally()
		if !a.Passes {
			time.Sleep(blockedFor) // silence can only be listened to
			if now := s.Tally(); now.Echoed > before.Echoed {
				return "", fmt.Errorf("flow %s over %s goes on: %d more echoes", a.Name, s.conn.RemoteAddr(), now.Echoed-before.Echoed)
			}
			lines = append(lines, fmt.Sprintf("to %s: silent after %d echoes", s.conn.RemoteAddr(), before.Echoed))
			continue
		}
		err := eventually(ctx, passesWithin, func() error {
			if s.Tally().Echoed > before.Echoed {
				return nil
			}
			return fmt.Errorf("flow %s over %s stands still at %d echoes", a.Name, s.conn.RemoteAddr(), before.Echoed)
		})
		if err != nil {
			return "", err
		}
		now := s.Tally()
		lines = append(lines, fmt.Sprintf("to %s: %d numbers echoed, longest silence %.0f ms", s.conn.RemoteAddr(), now.Echoed, ms(now.Gap)))
	}
	return strings.Join(lines, "\n"), nil
}

// Close ends the streams that the scenario left open.
func (st *Stage) Close() {
	for _, streams := range st.flows {
		for _, s := range streams {
			s.Abort()
		}
	}
}
