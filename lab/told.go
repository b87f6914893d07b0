package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"dove.network/api"
	"dove.network/dove"
	"dove.network/scenario"
)

// told carries out an expectation, and holds what is told of it (log=, would=,
// shadow=) against what the API says of the tenant's flows. That nothing is told of
// what is allowed cannot be waited for; of counts it is seen.
func (st *Stage) told(ctx context.Context, a scenario.Expect, expect func() (string, error)) (string, error) {
	tenant := a.From.Tenant
	before, err := st.shadows(ctx, tenant)
	if err != nil {
		return "", err
	}
	logged := func() error { return nil }
	if a.Log == scenario.Logged && a.Outcome != scenario.Deny { // what is denied is told anyway
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		if logged, err = st.watchLogged(ctx, a); err != nil {
			return "", err
		}
	}
	says, err := expect()
	if err != nil {
		return says, err
	}
	after, err := st.shadows(ctx, tenant)
	if err != nil {
		return says, err
	}
	grown := map[scenario.Would]map[string]bool{scenario.WouldAllow: {}, scenario.WouldDeny: {}}
	for rule, now := range after {
		was := before[rule]
		if now.Allow > was.Allow {
			grown[scenario.WouldAllow][rule] = true
		}
		if now.Deny > was.Deny {
			grown[scenario.WouldDeny][rule] = true
		}
	}
	// What is in shadow and would decide the same is counted too, as such.
	same := a.Would == scenario.WouldAllow && a.Outcome != scenario.Deny || a.Would == scenario.WouldDeny && a.Outcome == scenario.Deny
	switch counted := grown[a.Would]; {
	case a.Would == scenario.AnyWould:
	case a.Would == scenario.WouldNothing:
		if n := len(grown[scenario.WouldAllow]) + len(grown[scenario.WouldDeny]); n > 0 {
			return says, fmt.Errorf("%v: policies in shadow counted it: %v", a, grown)
		}
	case same && a.Shadow != "" && after[a.Shadow].Same == before[a.Shadow].Same:
		return says, fmt.Errorf("%v: %s did not count it as the same", a, a.Shadow)
	case !same && (len(counted) == 0 || a.Shadow != "" && !counted[a.Shadow]):
		return says, fmt.Errorf("%v: counted it: %v", a, grown)
	}
	return says, logged()
}

// shadows are the counts of a tenant's policies in shadow.
func (st *Stage) shadows(ctx context.Context, tenant dove.Tenant) (map[string]api.Shadow, error) {
	all, err := st.Lab.api.Shadows(ctx, tenant, api.ShadowFilter{})
	if err == nil && len(all.Unanswered) > 0 {
		err = fmt.Errorf("hosts %v do not say what their policies in shadow counted", all.Unanswered)
	}
	out := map[string]api.Shadow{}
	for _, s := range all.Items {
		out[s.Policy] = s
	}
	return out, err
}

// watchLogged watches the tenant's flows; wait returns when one that the step is
// about was told as logged.
func (st *Stage) watchLogged(ctx context.Context, a scenario.Expect) (wait func() error, err error) {
	listening, seen := make(chan error, 1), make(chan error, 1)
	go func() {
		listens := false
		for e, err := range st.Lab.api.WatchFlows(ctx, a.From.Tenant, api.FlowFilter{Endpoint: a.From.ID}) {
			switch {
			case err != nil:
				err = fmt.Errorf("%v: nobody told of it as logged: %w", a, err)
				if !listens {
					listening <- err
				}
				seen <- err
				return
			case e.Event == "host" && *e.Answers && !listens && string(e.Host) == st.guest(a.From).Host:
				listens = true
				listening <- nil
			case e.Event == "logged" && e.From == a.From.ID && (a.To.ID == "" || e.To == a.To.ID) && (a.Rule == "" || a.Outcome != scenario.Allow || e.Rule == a.Rule):
				seen <- nil
				return
			}
		}
	}()
	return func() error { return <-seen }, <-listening
}

// noReply sends what arrives, and waits for the drop of what answers it.
func (l *Lab) noReply(ctx context.Context, checks []Check, rule string) (string, error) {
	var lines []string
	for _, c := range checks {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		drops := l.watchDrops(ctx)
		src, since := c.From.Addr(c.Addr.Is6()), time.Now()
		protocol, port, _ := c.Probe.Over(c.Addr)
		reply := make(chan Reply, 1)
		go func() { reply <- c.ask(ctx, uint16(l.pings.Add(1))) }()
		drop := drops.find(ctx, func(d Drop) bool {
			return d.At.After(since) && d.From == c.To.Endpoint && d.Src == c.Addr && d.Dst == src && d.Protocol == protocol && (!protocol.HasPorts() || d.SrcPort == port)
		})
		if drop != nil {
			time.AfterFunc(grace, cancel)
		}
		answer := <-reply
		cancel()
		switch {
		case answer.From != "":
			return "", fmt.Errorf("%s: answered, meant: no reply", c)
		case drop == nil:
			return "", errors.Join(fmt.Errorf("%s: no drop of an answer was told", c), drops.err())
		case drop.Reason != "policy" || rule != "" && drop.Rule != rule:
			return "", fmt.Errorf("%s: the answer was dropped on %s as %s by rule %q, meant: %q", c, drop.Host, drop.Reason, drop.Rule, rule)
		}
		lines = append(lines, fmt.Sprintf("%s answers, and that is denied on %s by %s", netip.AddrPortFrom(c.Addr, port), drop.Host, drop.Rule))
	}
	return strings.Join(lines, "\n"), nil
}
