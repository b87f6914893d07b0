package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/blueprint"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

// Shadow is what a policy in shadow would change, as switches have counted since they
// know of it. A flow counts once when it begins, and again when what is said of it changes;
// of what is denied each packet counts.
type Shadow struct {
	Policy   string          `json:"policy" example:"shop/no-ssh" doc:"BLUEPRINT/POLICY."`
	Since    *time.Time      `json:"since,omitempty" doc:"When the first host that has endpoints which it concerns heard of it, or started. Missing if none has."`
	Allow    uint64          `json:"allow" doc:"How much was denied, and would be allowed."`
	Deny     uint64          `json:"deny" doc:"How much was allowed, and would be denied."`
	Same     uint64          `json:"same" doc:"How much it would decide as it was decided."`
	Examples []ShadowExample `json:"examples" nullable:"false" doc:"Some of the newest of allow and deny."`
}

// ShadowExample is a flow that a policy in shadow would let pass, or not.
type ShadowExample struct {
	FlowEnds
	Allowed bool          `json:"allowed" doc:"What was decided; the policy would decide otherwise."`
	Rule    string        `json:"rule" doc:"What decided."`
	Host    dove.HostName `json:"host"`
}

// Shadows is what the policies in shadow of a tenant would change.
type Shadows struct {
	Revision   dove.Revision   `json:"revision" doc:"The revision of the names."`
	Items      []Shadow        `json:"items" nullable:"false" doc:"In order of policy; those that decided about nothing so far too."`
	Unanswered []dove.HostName `json:"unanswered" nullable:"false" doc:"Hosts with endpoints of the tenant that did not answer: what was judged there is not counted."`
	NoSession  []dove.HostName `json:"noSession,omitempty" doc:"Those of unanswered that have no session with a DPC member in reach, and could not be asked."`
}

// ShadowFilter chooses policies; what is missing does not matter.
type ShadowFilter struct {
	Blueprint string `query:"blueprint" maxLength:"63" doc:"Only those of this blueprint."`
	Policy    string `query:"policy" maxLength:"63" doc:"Only the one of this name."`
}

func (s *server) shadows() {
	registerTenant(s, huma.Operation{
		OperationID: "list-shadows", Method: http.MethodGet, Path: "/v1/tenants/{tenant}/shadows", Tags: []string{"flows"},
		Summary:     "Ask what policies in shadow would change",
		Description: "Asks every host that has endpoints of the tenant. Nothing of it is kept by the DPC.",
	}, func(ctx context.Context, in *struct {
		TenantPath
		ShadowFilter
		Freshness
	}) (*struct{ Body Shadows }, error) {
		w, err := s.readTenant(ctx, in.Tenant, in.Freshness)
		if err != nil {
			return nil, err
		}
		policies, err := in.policies(w, in.Tenant)
		if err != nil {
			return nil, err
		}
		all, err := s.Backend.Shadows(ctx, in.Tenant)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		out := Shadows{Revision: all.Revision, Items: []Shadow{}, Unanswered: append([]dove.HostName{}, all.Unanswered...), NoSession: s.absent(all.Unanswered)}
		for _, policy := range policies {
			out.Items = append(out.Items, renderShadow(policy, all.Shadows, now))
		}
		return &struct{ Body Shadows }{out}, nil
	})
}

// policies returns the policies in shadow that the filter chooses, in order.
func (f ShadowFilter) policies(w *world.World, t dove.Tenant) ([]string, error) {
	n := names{w: w, tenant: t}
	if f.Blueprint != "" {
		n.blueprint("blueprint", f.Blueprint)
	}
	var all []string
	named := f.Policy == ""
	for b := range w.ParsedOf(t) {
		for _, p := range b.Policies {
			if f.Blueprint != "" && b.Name != f.Blueprint || f.Policy != "" && p.Name != f.Policy {
				continue
			}
			named = true
			if p.Shadow {
				all = append(all, ruleOf(b, p))
			}
		}
	}
	if !named && len(n.faults) == 0 {
		n.fault("policy", "", "unknown policy %q", f.Policy)
	}
	slices.Sort(all)
	return all, n.err()
}

func ruleOf(b *blueprint.Blueprint, p blueprint.Policy) string { return b.Name + "/" + p.Name }

// renderShadow sums up what a policy has a part in: where both ends would allow by
// different rules, both are named.
func renderShadow(policy string, said []control.LiveShadow, now time.Time) Shadow {
	out := Shadow{Policy: policy, Examples: []ShadowExample{}}
	var age time.Duration
	known := false
	for _, l := range said {
		if !slices.Contains(strings.Split(l.Rule, " & "), policy) {
			continue
		}
		age, known = max(age, l.Age), true
		out.Allow, out.Deny, out.Same = out.Allow+l.Allow, out.Deny+l.Deny, out.Same+l.Same
		for _, e := range l.Examples {
			out.Examples = append(out.Examples, ShadowExample{
				FlowEnds: renderEnds(e.Event.Tuple, e.Network, e.From, e.To),
				Allowed:  e.Event.What != control.FlowDenied, Rule: e.Event.Rule, Host: e.Host,
			})
		}
	}
	if known {
		out.Since = new(now.Add(-age).UTC().Truncate(time.Second))
	}
	return out
}
