package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/oracle"
	"dove.network/scenario"
)

// Check is one question that a real connection answers: may From reach Addr by
// this probe, and is it To who answers? To is nil where nobody of From's
// tenant has the address.
type Check struct {
	From, To *Guest
	Addr     netip.Addr
	Probe    scenario.Probe
	Size     uint16        // bytes that the packet carries, 0 for a few
	Wait     time.Duration // for an answer or a drop, 0 for some seconds
}

// String says what a check is, for a person.
func (c Check) String() string {
	to := "nobody"
	if c.To != nil {
		to = c.To.Name()
	}
	return fmt.Sprintf("%s -> %s (%s) %s", c.From.Name(), c.Addr, to, c.Probe)
}

// Intent is what should come of a check, and which rule says so.
type Intent struct {
	Outcome scenario.Outcome
	Rule    string
}

// Result is a check with what was meant and what was seen. Fault is empty if
// the two agree.
type Result struct {
	Check  Check
	Intent Intent
	Reply  Reply
	Drop   *Drop // the drop that ended a denied check
	Fault  string
}

// answerTimeout bounds a check whose answer or drop does not come; grace is how
// long a denied check goes on listening after its drop was counted.
const (
	answerTimeout = 5 * time.Second
	grace         = 200 * time.Millisecond
	checksAtOnce  = 24

	// inVain is how long to listen for an answer that is not to come: longer
	// than a dswitch holds a packet.
	inVain = 2500 * time.Millisecond
)

// Checks lists each probe from every guest to every address that any guest of
// any tenant has, its own excepted.
func Checks(guests []*Guest, probes []scenario.Probe) []Check {
	var out []Check
	for _, from := range guests {
		asked := map[netip.Addr]bool{}
		for _, a := range from.Addrs {
			asked[a] = true
		}
		for _, other := range guests {
			for _, a := range other.Addrs {
				if asked[a] || !from.Addr(a.Is6()).IsValid() {
					continue
				}
				asked[a] = true
				to := owner(guests, from, a)
				for _, p := range probes {
					if _, _, exists := p.Over(a); exists {
						out = append(out, Check{From: from, To: to, Addr: a, Probe: p})
					}
				}
			}
		}
	}
	return out
}

// owner returns which guest has the address on from's network or on one that a
// router joins with it.
func owner(guests []*Guest, from *Guest, a netip.Addr) *Guest {
	i := slices.IndexFunc(guests, func(g *Guest) bool {
		return g.Endpoint.Tenant == from.Endpoint.Tenant && (g.Network == from.Network || slices.Contains(from.Joined, g.Network)) && slices.Contains(g.Addrs, a)
	})
	if i < 0 {
		return nil
	}
	return guests[i]
}

// Meant asks the oracle what should come of a check under these blueprints.
func Meant(c Check, blueprints []*blueprint.Blueprint) Intent {
	if c.To == nil {
		return Intent{Outcome: scenario.NoEndpoint}
	}
	own := slices.DeleteFunc(slices.Clone(blueprints), func(b *blueprint.Blueprint) bool { return b.Tenant != c.From.Endpoint.Tenant })
	protocol, port, _ := c.Probe.Over(c.Addr)
	end := func(g *Guest, a netip.Addr) oracle.End {
		return oracle.End{Addr: a, Groups: g.Groups, Labels: g.Labels, Ports: g.Ports}
	}
	var src netip.Addr
	if i := slices.IndexFunc(c.From.Addrs, func(a netip.Addr) bool { return a.Is4() == c.Addr.Is4() }); i >= 0 {
		src = c.From.Addrs[i]
	}
	a := oracle.Decide(own, time.Now(), oracle.Packet{Src: end(c.From, src), Dst: end(c.To, c.Addr), Protocol: protocol, Port: port})
	if a.Allow {
		return Intent{scenario.Allow, a.Rule}
	}
	return Intent{scenario.Deny, a.Rule}
}

// RunChecks makes the connections, several at a time, and compares each with
// what is meant. Progress is called after each one.
func (l *Lab) RunChecks(ctx context.Context, checks []Check, meant func(Check) Intent, progress func(done, total int)) ([]Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	drops := l.watchDrops(ctx)
	results := make([]Result, len(checks))
	var done atomic.Int64
	var wg sync.WaitGroup
	slots := make(chan struct{}, checksAtOnce)
	for i, c := range checks {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			results[i] = l.check(ctx, c, meant(c), drops)
			if progress != nil {
				progress(int(done.Add(1)), len(checks))
			}
		})
	}
	wg.Wait()
	return results, errors.Join(ctx.Err(), drops.err(), forget(results))
}

// forget has guests forget the neighbours that they could not find: a guest's
// kernel goes on refusing such an address for seconds, whoever has it by then.
func forget(results []Result) error {
	asked := map[*Guest]bool{}
	for _, r := range results {
		if r.Check.To == nil {
			asked[r.Check.From] = true
		}
	}
	var errs []error
	for g := range asked {
		errs = append(errs, g.ns.IP("neigh flush dev "+g.nic))
	}
	return errors.Join(errs...)
}

func (l *Lab) check(ctx context.Context, c Check, in Intent, drops *dropLog) Result {
	r := Result{Check: c, Intent: in}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Wait, answerTimeout))
	defer cancel()
	id := uint16(l.pings.Add(1))
	if in.Outcome == scenario.Allow {
		r.Reply = c.ask(ctx, id)
		r.judge()
		return r
	}
	if in.Outcome == scenario.NoAnswer {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, inVain)
		defer stop()
	}
	protocol, port, _ := c.Probe.Over(c.Addr)
	key := dropKey{c.From.Endpoint, c.Addr, protocol, port}
	since := time.Now()
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		if r.Drop = drops.wait(ctx, key, since); r.Drop == nil {
			return
		}
		if in.Outcome == scenario.NoAnswer {
			return // it may be sent again, and listening goes on
		}
		select {
		case <-ctx.Done():
		case <-time.After(grace): // an answer in spite of the drop would be seen
			cancel()
		}
	}()
	r.Reply = c.ask(ctx, id)
	if r.Reply.From != "" {
		cancel()
	}
	<-counted
	r.judge()
	return r
}

func (c Check) ask(ctx context.Context, id uint16) Reply {
	switch c.Probe.Protocol {
	case dove.ProtocolTCP:
		return c.From.askTCP(ctx, netip.AddrPortFrom(c.Addr, c.Probe.Port), c.Size)
	case dove.ProtocolUDP:
		return c.From.AskUDP(ctx, netip.AddrPortFrom(c.Addr, c.Probe.Port), c.Size)
	case dove.ProtocolSCTP:
		return c.From.AskSCTP(ctx, netip.AddrPortFrom(c.Addr, c.Probe.Port))
	default:
		return c.From.Ping(ctx, c.Addr, id, c.Size)
	}
}

// canAsk says whether a guest can send the probe through its sockets.
func canAsk(p scenario.Probe) bool {
	return p == scenario.Ping || p.Protocol.HasPorts() ||
		p.Protocol == dove.ProtocolICMP && p.Port == 8<<8 || p.Protocol == dove.ProtocolICMPv6 && p.Port == 128<<8
}

// judge compares what was seen with what was meant.
func (r *Result) judge() {
	denied := r.Intent.Outcome != scenario.Allow
	switch {
	case r.Reply.From != "" && r.Reply.Err != nil:
		r.Fault = r.Reply.Err.Error()
	case !denied && r.Reply.From == "":
		r.Fault = fmt.Sprintf("no answer, though %s allows it: %v", r.Intent.Rule, r.Reply.Err)
	case r.Reply.From != "" && (r.Check.To == nil || r.Reply.From != r.Check.To.Name()):
		r.Fault = "answered by " + r.Reply.From
	case denied && r.Reply.From != "":
		r.Fault = "answered, though it is meant to be denied"
		if r.Intent.Rule != "" {
			r.Fault = fmt.Sprintf("answered, though %s denies it", r.Intent.Rule)
		}
	case r.Intent.Outcome == scenario.NoAnswer:
		if r.Drop != nil && r.Drop.Reason != "hold-limit" {
			r.Fault = fmt.Sprintf("dropped as %s by rule %q, meant: no word of it", r.Drop.Reason, r.Drop.Rule)
		}
	case denied && r.Drop == nil:
		r.Fault = "no answer, but no drop was counted either"
	case r.Intent.Outcome == scenario.NoEndpoint && r.Drop.Reason != "no-endpoint" && r.Drop.Reason != "no-route":
		r.Fault = fmt.Sprintf("dropped as %s, meant: no-endpoint or no-route", r.Drop.Reason)
	case r.Intent.Outcome == scenario.Deny && r.Drop.Rule != r.Intent.Rule && r.Intent.Rule != "":
		r.Fault = fmt.Sprintf("dropped as %s by rule %q, meant: %q", r.Drop.Reason, r.Drop.Rule, r.Intent.Rule)
	case !denied && r.Reply.Retransmits > 0 && !r.Check.From.foreign && !r.Check.To.foreign: // what a foreign host's own kernel loses is not ours
		r.Fault = fmt.Sprintf("%d TCP retransmissions while opening", r.Reply.Retransmits)
	}
}

// Faults joins what was wrong, or returns nil.
func Faults(results []Result) error {
	var errs []error
	for _, r := range results {
		if r.Fault != "" {
			errs = append(errs, fmt.Errorf("%s: %s", r.Check, r.Fault))
		}
	}
	return errors.Join(errs...)
}

// Table draws results as one line for each tenant, pair of groups and rule:
// what was meant beside what was seen.
func Table(results []Result) string {
	type key struct{ tenant, from, to, intent, seen string }
	type cell struct {
		probes      []string
		total, held int
	}
	var order []key
	cells := map[key]*cell{}
	for _, r := range results {
		k := key{tenant: string(r.Check.From.Endpoint.Tenant), from: groupNames(r.Check.From)}
		switch r.Intent.Outcome {
		case scenario.Allow:
			k.to, k.intent, k.seen = groupNames(r.Check.To), "allow  "+r.Intent.Rule, "answered by the right guest"
		case scenario.Deny:
			k.to, k.intent, k.seen = groupNames(r.Check.To), "deny   "+r.Intent.Rule, "dropped by that rule"
		default:
			k.to, k.intent, k.seen = "(other tenant)", "nobody there", "dropped as no-endpoint"
		}
		c := cells[k]
		if c == nil {
			c = &cell{}
			cells[k] = c
			order = append(order, k)
		}
		if p := r.Check.Probe.String(); !slices.Contains(c.probes, p) {
			c.probes = append(c.probes, p)
		}
		c.total++
		if r.Fault == "" {
			c.held++
		}
	}
	slices.SortStableFunc(order, func(a, b key) int {
		return cmp.Or(strings.Compare(a.tenant, b.tenant), strings.Compare(a.from+a.to, b.from+b.to))
	})
	var b strings.Builder
	fmt.Fprintf(&b, "  %-7s %-20s %-35s %-26s %s\n", "tenant", "from > to", "what (v4 and v6)", "intended", "observed")
	for _, k := range order {
		c := cells[k]
		mark := "ok  "
		if c.held != c.total {
			mark = "FAIL"
		}
		fmt.Fprintf(&b, "  %-7s %-20s %-35s %-26s %s %2d of %2d %s\n",
			k.tenant, k.from+" > "+k.to, strings.Join(c.probes, " "), k.intent, mark, c.held, c.total, k.seen)
	}
	return b.String()
}

func groupNames(g *Guest) string {
	names := make([]string, len(g.Groups))
	for i, group := range g.Groups {
		names[i] = group.Name
	}
	return strings.Join(names, "+")
}

// Ask sends a probe once and says who answered.
func (g *Guest) Ask(ctx context.Context, p scenario.Probe, to netip.Addr) (Reply, error) {
	if !canAsk(p) {
		return Reply{}, fmt.Errorf("a guest has no socket for %s: use tcp/PORT, udp/PORT, sctp/PORT or ping", p)
	}
	return Check{From: g, Addr: to, Probe: p}.ask(ctx, uint16(time.Now().UnixNano())), nil
}
