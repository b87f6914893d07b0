package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"dove.network/agent"
	"dove.network/blueprint"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/explain"
	"dove.network/scenario"
	"dove.network/verdict"
	"dove.network/world"
)

// told is what a host heard of changes: how many endpoints came and went, and
// how many rows and hosts.
type told struct{ came, went, peers, tables, hosts int }

// plus counts one more message.
func (t told) plus(m control.Down) told {
	switch m := m.(type) {
	case *control.Assign:
		t.came++
	case *control.Unassign:
		t.went++
	case *control.Update:
		t.peers += len(m.Peers)
		t.tables += len(m.Pairs)
	case *control.Expect:
		t.peers += len(m.Peers)
		t.tables += len(m.Pairs)
	case *control.Tunnels:
		if m.Full {
			break // the fleet as it is, at the beginning of a session
		}
		t.hosts += len(m.Add) + len(m.Del)
	}
	return t
}

func (t told) String() string {
	var all []string
	for _, part := range []struct {
		n    int
		what string
	}{{t.came, "endpoint of its own"}, {t.went, "endpoint less"}, {t.peers, "peer"}, {t.tables, "table"}, {t.hosts, "host"}} {
		if part.n > 0 {
			all = append(all, counted(part.n, part.what))
		}
	}
	return strings.Join(all, ", ")
}

// counted writes "1 table", "2 tables", "2 endpoints of its own".
func counted(n int, what string) string {
	if n != 1 {
		first, rest, _ := strings.Cut(what, " ")
		what = strings.TrimSuffix(strings.TrimSuffix(first, "y")+map[bool]string{true: "ies", false: "s"}[strings.HasSuffix(first, "y")]+" "+rest, " ")
	}
	return fmt.Sprintf("%d %s", n, what)
}

// listed writes "h1, h2 and h3".
func listed[T ~string](names []T) string {
	var all []string
	for _, n := range names {
		if !slices.Contains(all, string(n)) {
			all = append(all, string(n))
		}
	}
	slices.Sort(all)
	if last := len(all) - 1; last > 0 {
		return strings.Join(all[:last], ", ") + " and " + all[last]
	}
	return strings.Join(all, "")
}

// tellTold says who heard of the last change, and who could not.
func (s *Sim) tellTold() string {
	var all []string
	for _, h := range slices.Sorted(maps.Keys(s.told)) {
		if t := s.told[h]; t != (told{}) {
			all = append(all, fmt.Sprintf("%s was told (%s)", h, t))
		}
	}
	if len(all) == 0 {
		all = []string{"nobody had to be told"}
	}
	for _, h := range s.chief().core.Receipt(s.World().Revision()).Unconfirmed {
		if why := s.outage.Adrift(h); why != "" {
			all = append(all, why+" and does not know")
		}
	}
	return strings.Join(all, "; ")
}

// tellHeld says what the switch of the host holds that a step is about.
func (s *Sim) tellHeld(a scenario.Action) string {
	var name dove.HostName
	switch a := a.(type) {
	case scenario.Kill:
		name = a.Program.Host
	case scenario.Stop:
		name = a.Program.Host
	case scenario.Start:
		name = a.Program.Host
	case scenario.Cut:
		name = a.Link.Host
	}
	if name == "" {
		return ""
	}
	held := s.host(name).holds
	return fmt.Sprintf("%s and %s", counted(len(held.peers), "peer"), counted(len(held.pairs), "table"))
}

// tellDisturbed says what a kill, stop, start, cut or heal came to.
// Held is what the host held before, and heard who was told what since.
func (s *Sim) tellDisturbed(a scenario.Action, held, heard string) string {
	back := "the dpc has read its store, and every host that can reach it is in session again; " + heard
	switch a := a.(type) {
	case scenario.Kill:
		if a.Program.Host == "" {
			return back
		}
		if why := s.outage.Adrift(a.Program.Host); why != "" {
			return fmt.Sprintf("the new dswitch finds %s in the kernel and leaves it so: %s", held, why)
		}
		return fmt.Sprintf("the new dswitch finds %s in the kernel and is in session again; %s", held, heard)
	case scenario.Start:
		if a.Program.Host == "" {
			return back
		}
		return fmt.Sprintf("the new dswitch finds %s in the kernel and is in session again; %s", held, heard)
	case scenario.Stop:
		return fmt.Sprintf("the kernel of %s goes on with what it holds (%s), and nobody asks for more", a.Program.Host, held)
	case scenario.Cut:
		if a.Link.To == "" {
			return fmt.Sprintf("%s goes on with what it holds (%s)", a.Link.Host, held)
		}
		return fmt.Sprintf("nothing passes between %s and %s; both are in session", a.Link.Host, a.Link.To)
	case scenario.Heal:
		if a.Link.To == "" {
			return fmt.Sprintf("%s is in session again; %s", a.Link.Host, heard)
		}
		return fmt.Sprintf("packets pass between %s and %s again", a.Link.Host, a.Link.To)
	}
	panic(fmt.Sprintf("sim: %T disturbs nothing", a))
}

// tell says what became of an exchange.
func (s *Sim) tell(p Packet, seen Finding, x *exchange) string {
	says := seen.String()
	switch {
	case seen.Instead != "":
	case seen.Outcome == scenario.Allow:
		says = fmt.Sprintf("%s on %s reached %s on %s: %s allows it%s", p.From, x.from.at(), x.reached[0].endpoint, x.reached[0].at(), seen.Rule, seen.Told)
	case seen.Outcome == scenario.Deny:
		says = fmt.Sprintf("denied on %s by %s%s", x.drops[0].host, because(s.World(), p, seen.Rule), seen.Told)
	case seen.Outcome == scenario.NoReply:
		says = fmt.Sprintf("%s on %s reached %s on %s, and the answer is denied on %s by %s%s", p.From, x.from.at(), x.reached[0].endpoint, x.reached[0].at(), x.drops[0].host, seen.Rule, seen.Told)
	case seen.Outcome == scenario.NoEndpoint:
		says = fmt.Sprintf("nobody has %s on that network: dropped on %s", p.Dst, x.drops[0].host)
	case seen.Outcome == scenario.TooBig:
		says = fmt.Sprintf("dropped on %s as too-big, and %s is told that %d bytes may be sent", x.drops[0].host, p.From, x.from.mtu)
	case len(x.drops) > 0:
		h := x.drops[0].host
		says = fmt.Sprintf("held on %s for what the DPC would say, and dropped after %s as %s: %s", h, agent.HoldFor, x.drops[0].reason, s.outage.Adrift(h))
	case len(x.lost) > 0:
		says = "lost " + x.lost[0]
	}
	if len(x.asked) > 0 {
		says += "; " + listed(x.asked) + " asked the DPC"
	}
	return says
}

// at returns the host of a guest's device.
func (g *guest) at() dove.HostName {
	if g.host == nil {
		return "no host"
	}
	return g.host.name
}

// tellOnPaper says what a judgement means.
func tellOnPaper(w *world.World, p Packet, seen Finding) string {
	switch {
	case seen.Instead != "":
	case seen.Outcome == scenario.Allow:
		return seen.Rule + " allows it" + seen.Told.String()
	case seen.Outcome == scenario.Deny:
		return "denied by " + because(w, p, seen.Rule) + seen.Told.String()
	case seen.Outcome == scenario.NoReply:
		return fmt.Sprintf("it arrives, and the answer is denied by %s%s", seen.Rule, seen.Told)
	case seen.Outcome == scenario.NoEndpoint:
		return fmt.Sprintf("nobody has %s on that network", p.Dst)
	}
	return seen.String()
}

// because names a rule that denied, and for a default what was near.
func because(w *world.World, p Packet, rule string) string {
	from, _ := w.Endpoint(p.From)
	to, ok := whose(w, from, p.Dst)
	if !ok {
		return rule
	}
	protocol, port, _ := p.Probe.Over(p.Dst)
	why, err := explain.Why(w, explain.Question{
		From: explain.End{Endpoint: p.From, Addr: p.Src}, To: explain.End{Endpoint: to.Full(), Addr: p.Dst}, Protocol: protocol, Port: port,
	})
	switch {
	case err != nil || why.Rule != rule: // the switch is behind the world
		return rule
	case why.Near.Rule == "" && rule == verdict.DefaultDeny:
		return rule + ": no rule is about their groups"
	case why.Near.Rule == "":
		return rule
	}
	return fmt.Sprintf("%s: the nearest rule is %s, which fails on: %s", rule, why.Near.Rule, why.Near.Terms())
}

// families collects what was said of packets of one step: once what is the
// same for all, and otherwise for each.
type families struct {
	order []string
	of    map[string][]string
}

func (f *families) add(p Packet, says string) {
	family := "IPv4"
	if p.Dst.Is6() {
		family = "IPv6"
	}
	if f.of == nil {
		f.of = map[string][]string{}
	}
	if f.of[says] == nil {
		f.order = append(f.order, says)
	}
	if !slices.Contains(f.of[says], family) {
		f.of[says] = append(f.of[says], family)
	}
}

func (f *families) String() string {
	if len(f.order) == 1 {
		return f.order[0]
	}
	lines := make([]string, len(f.order))
	for i, says := range f.order {
		lines[i] = strings.Join(f.of[says], ", ") + ": " + says
	}
	return strings.Join(lines, "\n")
}

// tellPlan says what a blueprint will change: what a new version adds, removes
// and changes, or how much a new document holds.
func tellPlan(e editor, a scenario.ApplyBlueprint) string {
	plan, err := edit.Plan(e.World(), a.Tenant, []byte(a.At(e.Now())), e.Now())
	if err != nil {
		return ""
	}
	planned := plan.Documents[0]
	if e.World().Parsed(a.Tenant, planned.Blueprint.Name) == nil {
		parts := map[blueprint.Part]int{}
		for _, c := range planned.Changes {
			parts[c.Part]++
		}
		var all []string
		for _, part := range slices.Sorted(maps.Keys(parts)) {
			if part.String() != "domain" {
				all = append(all, counted(parts[part], part.String()))
			}
		}
		return fmt.Sprintf("%s/%s is new: %s", a.Tenant, planned.Blueprint.Name, strings.Join(all, ", "))
	}
	lines := make([]string, len(planned.Changes))
	for i, c := range planned.Changes {
		lines[i] = c.String()
	}
	if len(lines) == 0 {
		return "nothing is different"
	}
	return strings.Join(lines, "\n")
}

// tellClasses says what an endpoint's addresses are to policy.
func tellClasses(w *world.World, name dove.Endpoint) string {
	e, ok := w.Endpoint(name)
	if !ok {
		return ""
	}
	var classes []string
	for _, a := range e.Addresses {
		if c := fmt.Sprint(w.AddressClass(e, a)); !slices.Contains(classes, c) {
			classes = append(classes, c)
		}
	}
	return fmt.Sprintf("%s is of class %s", name, strings.Join(classes, ", "))
}

// tellRefusal says why a change was refused.
func tellRefusal(err error) string {
	says := "refused as " + dove.KindOf(err).String() + ": "
	if e, ok := errors.AsType[*dove.Error](err); ok && len(e.Faults) == 1 {
		return says + e.Faults[0].Message
	}
	return says + err.Error()
}
