package scenario

import (
	"slices"
	"strconv"
	"strings"

	"dove.network/dove"
)

// ends takes "tenant/from -> tenant/to".
func (l *line) ends() (from, to dove.Endpoint) {
	from = l.endpoint("endpoint")
	l.exactly("->")
	at := word{column: l.end}
	if len(l.words) > 0 {
		at = l.words[0]
	}
	to = l.endpoint("endpoint")
	switch {
	case from.Tenant != to.Tenant:
		l.fault(at, "tenants cannot name each other's endpoints; expect an address, or the matrix", "%s is of another tenant", to)
	case from == to:
		l.fault(at, "", "%s talks to itself", to)
	}
	return from, to
}

// over reads over=v4 or over=v6.
func (l *line) over(options map[string]word) Family {
	switch w, given := options["over"]; {
	case !given:
		return AnyFamily
	case w.text == "v4":
		return IPv4
	case w.text == "v6":
		return IPv6
	default:
		l.fault(w, "", "%s is no family: write over=v4 or over=v6", shorten(w.text))
		return AnyFamily
	}
}

// expect takes what follows "expect".
func (p *parser) expect(l *line) Action {
	if len(l.words) > 0 {
		switch l.words[0].text {
		case "matrix":
			l.next("matrix")
			m := ExpectMatrix{Probes: []Probe{l.probe()}}
			for len(l.words) > 0 {
				at := l.words[0]
				probe := l.probe()
				if slices.Contains(m.Probes, probe) {
					l.fault(at, "", "probe %s is given twice", probe)
				}
				m.Probes = append(m.Probes, probe)
			}
			return m
		case "flow":
			l.next("flow")
			f := ExpectFlow{Name: l.name("flow")}
			switch w := l.next("passes, answers or blocked"); w.text {
			case "passes":
				f.Passes = true
			case "answers":
				f.Passes, f.Back = true, true
			case "blocked":
			default:
				l.fault(w, "write passes, answers or blocked", "%s is no state of a flow", shorten(w.text))
			}
			return f
		}
	}
	o := l.options("rule", "over", "size", "at", "by", "log", "would", "shadow")
	e := Expect{Rule: o["rule"].text, Over: l.over(o)}
	if w, given := o["rule"]; given && w.text == "" {
		l.fault(w, "leave rule= out if any will do", "the rule has no name")
	}
	if len(l.words) > 2 && isAddress(l.words[2].text) {
		e.From = l.endpoint("endpoint")
		l.exactly("->")
		e.Address = l.address(l.next("an address"))
		if w, given := o["at"]; given {
			l.fault(w, "write the endpoint before it", "an address has no other one")
		}
	} else {
		e.From, e.To = l.ends()
		if w, given := o["at"]; given {
			e.Address = l.address(w)
		}
	}
	e.Probe = l.probe()
	e.Size = l.size(o, e.Probe)
	w := l.next("allow, deny, no-endpoint, no-answer, too-big or no-reply")
	i := slices.Index(outcomes, w.text)
	if i < 0 {
		l.fault(w, "write allow, deny, no-endpoint, no-answer, too-big or no-reply", "%s is no outcome", shorten(w.text))
	} else {
		e.Outcome = Outcome(i)
	}
	if by, given := o["by"]; given {
		e.By = l.by(by, e)
	}
	l.told(o, &e)
	switch {
	case l.bad || e.Outcome == Allow || e.Outcome == Deny:
	case e.Outcome == NoReply && (e.To == dove.Endpoint{} || !e.Probe.answered()):
		l.fault(w, "expect it of tcp/PORT, udp/PORT, sctp/PORT or ping, between endpoints", "nobody answers %s there", e.Probe)
	case e.Outcome == NoReply:
	case e.Outcome == TooBig && (e.Size == 0 || e.Probe.Protocol != dove.ProtocolUDP):
		l.fault(w, "expect it of udp/PORT, with size=BYTES", "%s is not too big", e.Probe)
	case e.Outcome == TooBig && e.Rule != "":
		l.fault(o["rule"], "", "no rule decides about a packet that is too big")
	case e.Outcome == NoEndpoint && e.To != dove.Endpoint{}:
		l.fault(w, "expect it of an address", "%s is an endpoint", e.To)
	case e.Outcome == NoEndpoint && e.Rule != "":
		l.fault(o["rule"], "", "no rule decides about an address that nobody has")
	case e.Rule != "":
		l.fault(o["rule"], "", "no rule decides about a packet that nobody answers")
	}
	return e
}

// told reads log=, would= and shadow=.
func (l *line) told(o map[string]word, e *Expect) {
	choose := func(key string, of ...string) uint8 {
		w, given := o[key]
		if !given {
			return 0
		}
		i := slices.Index(of, w.text)
		if i < 0 {
			l.fault(w, "write "+strings.Join(of, ", "), "%s is not what %s= may be", shorten(w.text), key)
		} else if e.Outcome != Allow && e.Outcome != Deny && e.Outcome != NoReply {
			l.fault(w, "expect it of allow, deny or no-reply", "nothing is told where no policy decides")
		}
		return uint8(i + 1)
	}
	e.Log = Tells(choose("log", tells...))
	e.Would = Would(choose("would", woulds...))
	w, given := o["shadow"]
	if e.Shadow = w.text; given && e.Would <= WouldNothing {
		l.fault(w, "write would=allow or would=deny with it", "what would the policy in shadow do?")
	}
}

// What Tells and Would are written as, from 1.
var (
	tells  = []string{"yes", "no"}
	woulds = []string{"nothing", "allow", "deny"}
)

// by reads by=ENDPOINT,ENDPOINT, of the sender's tenant.
func (l *line) by(w word, e Expect) (all []dove.Endpoint) {
	if !e.Address.IsValid() || e.To != (dove.Endpoint{}) || e.Outcome != Allow || e.Size != 0 {
		l.fault(w, "write it for an address, without at= and size=", "only what is allowed to an address behind next hops is by them")
	}
	for id := range strings.SplitSeq(w.text, ",") {
		if err := dove.CheckName(id); err != nil {
			l.fault(w, "", "next hop %s: %v", shorten(id), err)
		}
		hop := dove.Endpoint{Tenant: e.From.Tenant, ID: dove.EndpointID(id)}
		if slices.Contains(all, hop) {
			l.fault(w, "", "next hop %s is given twice", id)
		}
		all = append(all, hop)
	}
	return all
}

// size reads size=BYTES of a probe's packet.
func (l *line) size(options map[string]word, p Probe) uint16 {
	w, given := options["size"]
	if !given {
		return 0
	}
	n, err := strconv.ParseUint(w.text, 10, 16)
	switch {
	case err != nil || n < SizeMin || n > SizeMax:
		l.fault(w, "", "%s is no size: write bytes, from %d to %d", shorten(w.text), SizeMin, SizeMax)
	case p != Ping && p.Protocol != dove.ProtocolUDP && p.Protocol != dove.ProtocolTCP:
		l.fault(w, "give tcp/PORT, udp/PORT or ping one", "a packet of %s has no size", p)
	}
	return uint16(n)
}

var outcomes = []string{"allow", "deny", "no-endpoint", "no-answer", "too-big", "no-reply"}

// isAddress tells an address from tenant/endpoint.
func isAddress(s string) bool { return !strings.Contains(s, "/") && strings.ContainsAny(s, ".:") }

// refuse takes a kind, fragments and the change that is to be refused.
func (p *parser) refuse(l *line) Action {
	w := l.next("a kind of error")
	var r Refuse
	kinds := []string{}
	for k := dove.Internal; k <= dove.Unavailable; k++ {
		kinds = append(kinds, k.String())
	}
	i := slices.Index(kinds, w.text)
	if i < 0 {
		l.fault(w, "known are "+strings.Join(kinds, ", "), "unknown kind of error %s", shorten(w.text))
	}
	r.Kind = dove.Kind(max(i, 0))
	for len(l.words) > 0 && l.words[0].quoted {
		r.Fragments = append(r.Fragments, l.next("a fragment").text)
	}
	verb := l.next("the change that is to be refused")
	r.Action = p.action(l, verb)
	switch r.Action.(type) {
	case nil, ApplyBlueprint, DeleteBlueprint, CreateNetwork, CreateEndpoint, SetGroups, Move, Prepare, Activate, Finish, DeleteEndpoint:
	default:
		l.fault(verb, "", "%s is no change that could be refused", verb.text)
	}
	return r
}

// forge takes a lie, the ends, a probe and the reason of the drop.
func (p *parser) forge(l *line) Action {
	o := l.options("drop")
	w := l.next("a lie")
	f := Forge{Lie: Lie(w.text), Reason: o["drop"].text}
	if !slices.Contains(lies, f.Lie) {
		var known []string
		for _, k := range lies {
			known = append(known, string(k))
		}
		l.fault(w, "known are "+strings.Join(known, ", "), "unknown lie %s", shorten(w.text))
	}
	f.From, f.To = l.ends()
	f.Probe = l.probe()
	if given := o["drop"]; f.Reason != "" && !slices.Contains(Reasons, f.Reason) {
		l.fault(given, "known are "+strings.Join(Reasons, ", "), "unknown reason of a drop %s", shorten(given.text))
	}
	if f.Reason == "" {
		l.fault(word{column: l.end}, "write drop=reason, as the switch counts it", "the reason of the drop is missing")
	}
	return f
}
