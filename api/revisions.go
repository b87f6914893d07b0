package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/control"
	"dove.network/dove"
)

// Status is what a DPC member knows of itself and its sessions.
type Status struct {
	Member      string        `json:"member"`
	Version     string        `json:"version"`
	Incarnation string        `json:"incarnation" doc:"Of the store, in hexadecimal: revisions compare only within one."`
	Revision    dove.Revision `json:"revision" doc:"What the member knows."`
	Tenants     int           `json:"tenants"`
	Endpoints   int           `json:"endpoints"`
	Hosts       int           `json:"hosts"`
	Sessions    int           `json:"sessions" doc:"With dSwitches, of all members in reach: hosts lists them."`
	Behind      SomeHosts     `json:"behind" doc:"Hosts with a session that have not acknowledged all that they were told."`
	Absent      SomeHosts     `json:"absent" doc:"Hosts without a session with a member in reach."`
	Foreign     SomeHosts     `json:"foreign" doc:"Hosts without dSwitch, which need no session."`
	Members     []string      `json:"members" nullable:"false" doc:"The DPC members: members lists them."`
	Store       StoreHealth   `json:"store"`
}

// SomeHosts counts hosts and names the first of them.
type SomeHosts struct {
	Count int             `json:"count"`
	First []dove.HostName `json:"first" nullable:"false" doc:"The first 16 by name."`
}

// someMax is how many of many hosts a status names.
const someMax = 16

func (h *SomeHosts) add(name dove.HostName) {
	if h.Count++; h.Count <= someMax {
		h.First = append(h.First, name)
	}
}

// Version says what program answers.
type Version struct {
	Version  string `json:"version"`
	Protocol int    `json:"protocol" doc:"Of the control conversation."`
}

func (s *server) revisions() {
	registerTenant(s, huma.Operation{
		OperationID: "get-receipt", Method: http.MethodGet, Path: "/v1/receipts/{revision}", Tags: []string{"revisions"},
		Summary:     "Ask how far a revision got",
		Description: "Complete means: every host with a session enforces it. With wait the answer comes once it is complete, or as it is when the time is over.",
	}, s.receipt)
	register(s, huma.Operation{
		OperationID: "get-status", Method: http.MethodGet, Path: "/v1/status", Tags: []string{"system"},
		Summary: "Ask what the DPC member knows of itself",
	}, func(ctx context.Context, _ *struct{}) (*struct{ Body Status }, error) {
		w := s.Backend.World()
		out := Status{
			Member: s.Member, Version: s.Version, Revision: w.Revision(),
			Incarnation: strconv.FormatUint(w.Incarnation(), 16),
			Behind:      SomeHosts{First: []dove.HostName{}}, Absent: SomeHosts{First: []dove.HostName{}}, Foreign: SomeHosts{First: []dove.HostName{}}, Members: []string{},
		}
		for m := range w.Members() {
			out.Members = append(out.Members, m.Name)
		}
		out.Store = s.health(ctx)
		n := w.Counts()
		out.Tenants, out.Endpoints, out.Hosts = n.Tenants, n.Endpoints, n.Hosts
		sessions := byHost(s.Backend.Sessions())
		out.Sessions = len(sessions)
		for h := range w.Hosts() {
			switch session := sessions[h.Name]; {
			case h.Foreign:
				out.Foreign.add(h.Name)
			case session == nil:
				out.Absent.add(h.Name)
			case behind(*session):
				out.Behind.add(h.Name)
			}
		}
		return &struct{ Body Status }{out}, nil
	})
	registerOpen(s, huma.Operation{
		OperationID: "get-version", Method: http.MethodGet, Path: "/v1/version", Tags: []string{"system"},
		Summary: "Ask what program answers",
	}, func(context.Context, *struct{}) (*struct{ Body Version }, error) {
		return &struct{ Body Version }{Version{s.Version, control.Version}}, nil
	})
}

func (s *server) receipt(ctx context.Context, in *struct {
	Revision dove.Revision `path:"revision" minimum:"1"`
	Wait     string        `query:"wait" maxLength:"16" example:"30s" doc:"How long to wait for completion, with a unit; at most 5m."`
}) (*struct{ Body Receipt }, error) {
	var wait time.Duration
	if in.Wait != "" {
		var err error
		if wait, err = time.ParseDuration(in.Wait); err != nil || wait < 0 || wait > WaitMax {
			var n names
			n.fault("wait", "write 30s", "wait must be a duration from 0s to 5m, not %q", in.Wait)
			return nil, n.err()
		}
	}
	if _, err := s.read(ctx, Freshness{in.Revision}); err != nil {
		return nil, err
	}
	if wait == 0 {
		return &struct{ Body Receipt }{renderReceipt(s.Backend.Receipt(in.Revision))}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return &struct{ Body Receipt }{renderReceipt(s.Backend.WaitReceipt(ctx, in.Revision))}, nil
}
