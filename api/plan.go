package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/plan"
	"dove.network/world"
)

// Plan is what blueprints would change.
type Plan struct {
	Base      dove.Revision     `json:"base" doc:"The revision that it was planned on."`
	Documents []PlannedDocument `json:"documents" nullable:"false" doc:"In the order of the text."`
	Classes   int               `json:"newClasses" doc:"How many classes of endpoints it makes: endpoints are of one class while no policy can tell them apart. More than 100 take several revisions, of which the last applies the text."`
	Token     string            `json:"token" doc:"Stands for the text and all that was read for the plan. Apply the text with it as plan, and it is refused if the plan is not true any more."`
	Reach     Reach             `json:"reach" doc:"Who could talk to whom that cannot now, and the reverse, once all documents are applied."`
	Room      Room              `json:"room" doc:"Which hosts might have no room for all rules then, if their endpoints talked with everybody that policies let them. A pair of classes whose rules do not fit is denied."`
}

// Room says which hosts might have too little.
type Room struct {
	Tight   []TightHost `json:"tight" nullable:"false" doc:"The first 20 of them."`
	TightN  int         `json:"tightCount" doc:"How many they are."`
	Unknown int         `json:"unknown,omitempty" doc:"Of how many others it was not worked out, because they have too many rules."`
}

// TightHost is a host that might have too little room for the rules of a domain.
type TightHost struct {
	Host    dove.HostName `json:"host"`
	Domain  string        `json:"domain"`
	Entries int           `json:"entries" doc:"What the rules would take in its switch."`
	Max     int           `json:"max" doc:"What one domain alone may take there."`
}

// PlannedDocument is what one blueprint would change by itself.
type PlannedDocument struct {
	Blueprint string          `json:"blueprint"`
	Domain    string          `json:"domain"`
	Current   dove.Revision   `json:"current" doc:"The revision of the blueprint that it would replace, for If-Match; 0 if there is none."`
	Changes   []PlannedChange `json:"changes" nullable:"false" doc:"Of the document; none if it says the same."`
	Networks  []PlannedChange `json:"networks" nullable:"false" doc:"Networks that would be made, changed or deleted."`
}

// PlannedChange is one difference.
type PlannedChange struct {
	Op     string `json:"op" enum:"added,removed,changed"`
	Part   string `json:"part" doc:"domain, network, router, group or policy."`
	Name   string `json:"name,omitempty"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Reach is the difference in reachability that a change makes.
type Reach struct {
	Lines      []ReachLine     `json:"lines" nullable:"false" doc:"What is removed first. Together they are the whole difference between endpoints, unless more or uncompared is there."`
	More       int             `json:"more,omitempty" doc:"How many lines were left out because they are too many."`
	Uncompared int             `json:"uncompared,omitempty" doc:"How many pairs of classes of endpoints were not compared because they are too many."`
	Unanswered []dove.HostName `json:"unanswered,omitempty" doc:"Hosts that were asked for their flows and did not answer: flows does not count theirs."`
}

// ReachLine is traffic that is added or removed from any of From to any of To that
// have an address family in common.
type ReachLine struct {
	Op        string            `json:"op" enum:"removed,added"`
	From      []string          `json:"from" nullable:"false" doc:"BLUEPRINT/GROUP: its members. Only A+B: those that are in just these groups. No group: those in none. Any endpoint: all of the domain. With on NETWORK: those of them there."`
	To        []string          `json:"to" nullable:"false" doc:"Likewise."`
	Traffic   []string          `json:"traffic" nullable:"false" doc:"As a blueprint writes it; or any but, and protocols."`
	Before    string            `json:"before" doc:"What gives the verdict now: BLUEPRINT/POLICY, BLUEPRINT/GROUP/members, default-deny, or no-router if none joins their networks."`
	After     string            `json:"after" doc:"What will give it."`
	Endpoints []dove.EndpointID `json:"endpoints" nullable:"false" doc:"At either end; the first 20."`
	EndpointN int               `json:"endpointCount" doc:"How many they are."`
	Hosts     []dove.HostName   `json:"hosts" nullable:"false" doc:"Of these endpoints; the first 20."`
	HostN     int               `json:"hostCount" doc:"How many they are."`
	Flows     *int              `json:"flows,omitempty" doc:"Live flows that it is about: those of a removed line would end. Missing unless hosts were asked."`
}

func (s *server) plans() {
	registerTenant(s, huma.Operation{
		OperationID: "plan", Method: http.MethodPost, Path: "/v1/tenants/{tenant}/plan", Tags: []string{"blueprints"},
		Summary:     "Ask what applying a blueprint, or several, would change",
		Description: "The text has one document, or several that lines with --- part. Told is what changes of each document, of networks, and of reachability: which traffic between which endpoints would begin or stop to pass, and by which policy.",
		RequestBody: textBody(), MaxBodyBytes: TextMax,
	}, func(ctx context.Context, in *struct {
		TenantPath
		Live bool `query:"live" default:"false" doc:"true: ask the hosts how many live flows each line of reach is about."`
		TextBody
	}) (*struct{ Body Plan }, error) {
		w, err := s.read(ctx, Freshness{})
		if err != nil {
			return nil, err
		}
		planned, err := edit.Plan(w, in.Tenant, in.RawBody, s.Now())
		for _, d := range planned.Documents {
			if actsForTenant(ctx) && err == nil {
				err = edit.OwnTier(w, in.Tenant, d.Blueprint.Name, d.Blueprint)
			}
		}
		if err != nil {
			return nil, err
		}
		out := renderPlan(w, in.Tenant, planned)
		if in.Live && len(out.Reach.Lines) > 0 {
			if err := s.countFlows(ctx, w, in.Tenant, planned.Reach, &out.Reach); err != nil {
				return nil, err
			}
		}
		return &struct{ Body Plan }{out}, nil
	})
}

func renderPlan(w *world.World, t dove.Tenant, planned edit.Planned) Plan {
	out := Plan{Base: planned.Base, Documents: []PlannedDocument{}, Classes: planned.NewClasses, Token: planned.Token, Reach: renderReach(planned.Reach)}
	out.Room = Room{Tight: []TightHost{}, TightN: planned.Reach.TightCount, Unknown: planned.Reach.TightUnknown}
	for _, h := range planned.Reach.Tight {
		out.Room.Tight = append(out.Room.Tight, TightHost{h.Host, h.Domain.Name, h.Entries, dataplane.EntriesAlone})
	}
	for _, d := range planned.Documents {
		out.Documents = append(out.Documents, renderPlanned(w, t, d))
	}
	return out
}

func renderPlanned(w *world.World, t dove.Tenant, d edit.PlannedDocument) PlannedDocument {
	out := PlannedDocument{
		Blueprint: d.Blueprint.Name, Domain: d.Blueprint.Domain, Current: w.DocRevision(world.BlueprintKey(t, d.Blueprint.Name)),
		Changes: []PlannedChange{}, Networks: []PlannedChange{},
	}
	for _, c := range d.Changes {
		out.Changes = append(out.Changes, PlannedChange{c.Op.String(), c.Part.String(), c.Name, c.Before, c.After})
	}
	for _, c := range d.Networks {
		change := PlannedChange{Op: "changed", Part: "network"}
		if c.Old != nil {
			change.Name, change.Before = c.Old.Name, subnetsText(*c.Old)
		} else {
			change.Op = "added"
		}
		if c.New != nil {
			change.Name, change.After = c.New.Name, subnetsText(*c.New)
		} else {
			change.Op = "removed"
		}
		out.Networks = append(out.Networks, change)
	}
	return out
}

func subnetsText(n world.Network) string {
	var parts []string
	for _, p := range n.Subnets {
		parts = append(parts, p.String())
	}
	return strings.Join(parts, ", ")
}

func renderReach(d *plan.Difference) Reach {
	out := Reach{Lines: []ReachLine{}, More: d.More, Uncompared: d.Uncompared}
	for _, l := range d.Lines {
		line := ReachLine{
			Op: l.Op.String(), From: l.From, To: l.To, Traffic: plan.Texts(l.Traffic), Before: l.Before, After: l.After,
			Endpoints: []dove.EndpointID{}, EndpointN: l.EndpointCount, Hosts: append([]dove.HostName{}, l.Hosts...), HostN: l.HostCount,
		}
		for _, e := range l.Endpoints {
			line.Endpoints = append(line.Endpoints, e.ID)
		}
		out.Lines = append(out.Lines, line)
	}
	return out
}

// countFlows asks the tenant's hosts for their flows and counts those of each line.
func (s *server) countFlows(ctx context.Context, w *world.World, t dove.Tenant, d *plan.Difference, out *Reach) error {
	all, err := s.Backend.Flows(ctx, t)
	if err != nil {
		return err
	}
	counts := make([]int, len(d.Lines))
	for _, f := range all.Flows {
		from, known := w.Endpoint(f.From)
		to, knows := w.Endpoint(f.To)
		if !known || !knows {
			continue
		}
		for _, i := range d.Find(from, f.Tuple.Src, to, f.Tuple.Dst, f.Tuple.Protocol, f.Tuple.DstPort) {
			counts[i]++
		}
	}
	for i := range out.Lines {
		out.Lines[i].Flows = &counts[i]
	}
	out.Unanswered = all.Unanswered
	return nil
}
