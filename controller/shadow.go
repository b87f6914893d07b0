package controller

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"dove.network/control"
	"dove.network/dove"
)

// examplesMax is how many examples there are of one rule in shadow, of all hosts.
const examplesMax = 16

// Shadows asks all hosts with endpoints of a tenant what rules in shadow would say of
// its flows. Hosts that do not answer in time are named.
func (m *Member) Shadows(ctx context.Context, t dove.Tenant) (control.ShadowList, error) {
	leave, err := enter(m.listers, "ask about policies in shadow")
	if err != nil {
		return control.ShadowList{}, err
	}
	defer leave()
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	box, release, err := m.inquire(ctx, Asked{ShadowsOf: t})
	if err != nil {
		return control.ShadowList{}, err
	}
	defer release()
	list := shadowList{tenant: t, rules: map[string]*control.LiveShadow{}, denied: map[dove.HostName]int{}}
	for !list.complete() && m.await(ctx, box) == nil {
		effects, _ := box.take()
		for _, e := range effects {
			switch e := e.(type) {
			case Asks:
				list.waiting = map[dove.HostName]bool{}
				for _, h := range e.Hosts {
					list.waiting[h] = true
				}
			case Told:
				list.take(e)
			}
		}
	}
	m.deny(list.denied)
	if list.waiting == nil || parent.Err() != nil {
		return control.ShadowList{}, dove.Errorf(dove.Unavailable, "the member does not react: try again")
	}
	out := list.list()
	out.Revision = m.World().Revision()
	return out, nil
}

// shadowList puts together what hosts say of a tenant's rules in shadow.
type shadowList struct {
	tenant  dove.Tenant
	rules   map[string]*control.LiveShadow
	waiting map[dove.HostName]bool // nil until it is known who is asked
	silent  []dove.HostName
	denied  map[dove.HostName]int // examples that are not the host's to tell
}

func (l *shadowList) complete() bool { return l.waiting != nil && len(l.waiting) == 0 }

// take takes what one host says.
func (l *shadowList) take(t Told) {
	if !l.waiting[t.Host] {
		return
	}
	delete(l.waiting, t.Host)
	if t.Report == nil || t.Report.Refused != "" {
		l.silent = append(l.silent, t.Host)
		return
	}
	for _, s := range t.Report.Shadows {
		sum := l.rules[s.Rule]
		if sum == nil {
			sum = &control.LiveShadow{Rule: s.Rule}
			l.rules[s.Rule] = sum
		}
		sum.Age = max(sum.Age, s.Age)
		sum.Allow, sum.Deny, sum.Same = addLost(sum.Allow, s.Allow), addLost(sum.Deny, s.Deny), addLost(sum.Same, s.Same)
		for _, e := range s.Examples {
			ends, its := endsOf(t.World, l.tenant, t.Host, e.Tuple)
			switch {
			case !its:
				l.denied[t.Host]++
			case len(sum.Examples) < examplesMax:
				e.Tuple = ends.tuple
				sum.Examples = append(sum.Examples, control.FlowNews{Event: &e, Network: ends.network, From: ends.from, To: ends.to, Host: t.Host})
			}
		}
	}
}

// list returns what there is by now; who has said nothing did not answer.
func (l *shadowList) list() control.ShadowList {
	out := control.ShadowList{Unanswered: append(slices.Collect(maps.Keys(l.waiting)), l.silent...)}
	slices.Sort(out.Unanswered)
	for _, s := range l.rules {
		slices.SortStableFunc(s.Examples, func(a, b control.FlowNews) int {
			return cmp.Or(cmp.Compare(a.Host, b.Host), a.Event.Tuple.Compare(b.Event.Tuple))
		})
		out.Shadows = append(out.Shadows, *s)
	}
	slices.SortFunc(out.Shadows, func(a, b control.LiveShadow) int { return cmp.Compare(a.Rule, b.Rule) })
	return out
}
