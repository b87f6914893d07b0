package worlds_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/oracle"
	"dove.network/oracle/worlds"
	"dove.network/policy"
)

// TestNearestWouldAllow changes what Nearest says that a policy fails, and asks
// the oracle, which must allow the packet then. Where Nearest says that more
// than one term fails, or that nothing is near, no other term of any policy
// would have done. Nothing is near what is allowed.
func TestNearestWouldAllow(t *testing.T) {
	r := random(t)
	terms := map[string]int{}
	for n := range *count {
		w := worlds.Rich(r, "acme")
		d := policy.Compile(w.Blueprints, w.Edge)
		probes := worlds.Probes(w.Blueprints)
		for i := range w.Members {
			for j := range w.Members {
				src, dst := ends(w, i, j)
				from, to := d.Signature(member(src), src.Addr), d.Signature(member(dst), dst.Addr)
				for range 8 {
					probe := probes[r.IntN(len(probes))]
					p := oracle.Packet{Src: src, Dst: dst, Protocol: probe.Protocol, Port: probe.Port}
					was := oracle.Decide(w.Blueprints, w.Edge, p)
					near := d.Nearest(from, to, p.Protocol, p.Port)
					fail := func(format string, args ...any) {
						t.Fatalf("world %d, endpoint %d at %s to %d at %s, %s/%d is %+v, the nearest rule %+v: %s\n%s", n, i, src.Addr, j, dst.Addr, p.Protocol, p.Port, was, near, fmt.Sprintf(format, args...), w)
					}
					if was.Allow && near.Rule != "" {
						fail("it is allowed")
					}
					if was.Allow {
						continue
					}
					for _, f := range near.Failed {
						terms[f.Term]++
						if f.Words == "" {
							fail("no words for %s", f.Term)
						}
					}
					if near.Rule != "" && !allowsChanged(w, p, near) {
						fail("it does not allow it with other terms")
					}
					if len(near.Failed) != 1 && (near.Rule != "" || was.Rule == oracle.DefaultDeny) && r.IntN(6) == 0 {
						if better := singleTerm(w, p); better != "" {
							fail("%s would do", better)
						}
					}
				}
			}
		}
	}
	t.Logf("terms: %v", terms)
	for _, term := range append([]string{policy.Isolated}, allTerms...) {
		rare := term == "priority" || term == "default" // tables have them
		if terms[term] == 0 && !rare && *count >= 60 {
			t.Errorf("the worlds are dull: no policy fails on %s", term)
		}
	}
}

var allTerms = []string{"from", "to", "protocol", "port", "family", "priority", "default", "side", "until", "shadow"}

// allowsChanged reports whether a rule allows a packet once its failed terms are
// as the packet wants them.
func allowsChanged(w *worlds.World, p oracle.Packet, near policy.Near) bool {
	for at, b := range w.Blueprints {
		for k, g := range b.Groups {
			if near.Terms() == policy.Isolated && blueprint.GroupRuleName(b.GroupOf(g.Name)) == near.Rule {
				c := copied(w.Blueprints)
				c[at].Groups[k].Isolated = false
				return oracle.Decide(c, w.Edge, p).Allow
			}
		}
		for k, q := range b.Policies {
			if b.RuleName(q) != near.Rule {
				continue
			}
			var terms []string
			for _, f := range near.Failed {
				terms = append(terms, f.Term)
			}
			for i := range q.Allow {
				if c := changed(w, p, at, k, i, terms); oracle.Decide(c, w.Edge, p).Allow {
					return true
				}
			}
		}
	}
	return false
}

// singleTerm names a policy that would allow a packet if one term were another.
func singleTerm(w *worlds.World, p oracle.Packet) string {
	for at, b := range w.Blueprints {
		for k, q := range b.Policies {
			for i := range q.Allow {
				for _, term := range allTerms {
					if term == "default" {
						continue // then other defaults may allow it
					}
					a := oracle.Decide(changed(w, p, at, k, i, []string{term}), w.Edge, p)
					if a.Allow && slices.Contains(strings.Split(a.Rule, " & "), b.RuleName(q)) {
						return b.RuleName(q) + " with another " + term
					}
				}
			}
		}
	}
	return ""
}

// changed returns the blueprints with terms of one policy, and of one traffic
// that it allows, as a packet wants them.
func changed(w *worlds.World, p oracle.Packet, at, policy, traffic int, terms []string) []*blueprint.Blueprint {
	all := copied(w.Blueprints)
	q := &all[at].Policies[policy]
	q.Allow = slices.Clone(q.Allow)
	allow := &q.Allow[traffic]
	for _, term := range terms {
		switch term {
		case "from":
			q.From = []dove.Group{blueprint.Any}
		case "to":
			q.To = []dove.Group{blueprint.Any}
		case "protocol":
			if port, ok := p.Dst.Ports[allow.Port]; ok && port.Protocol == allow.Protocol {
				*allow = blueprint.Traffic{Protocol: allow.Protocol, First: port.Number, Last: port.Number}
			}
			if !allow.Protocol.HasPorts() || !p.Protocol.HasPorts() {
				allow.First, allow.Last, allow.Port = 0, 65535, ""
			}
			allow.Protocol = p.Protocol
		case "port":
			allow.First, allow.Last, allow.Port = p.Port, p.Port, ""
		case "family":
			q.Family = blueprint.BothFamilies
		case "priority":
			q.Priority = 0
		case "side":
			q.Side = blueprint.BothSides
		case "until":
			q.Until = time.Time{}
		case "shadow":
			q.Shadow = false
		case "default":
			for _, b := range all {
				for i := range b.Groups {
					for _, says := range []*blueprint.Default{&b.Groups[i].Egress, &b.Groups[i].Ingress} {
						if *says == blueprint.DefaultDeny {
							*says = blueprint.DefaultNone
						}
					}
				}
			}
		}
	}
	return all
}

func copied(blueprints []*blueprint.Blueprint) []*blueprint.Blueprint {
	return compiler{blueprint: func(*blueprint.Blueprint) {}}.mutated(blueprints)
}
