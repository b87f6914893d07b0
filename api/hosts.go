package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// Host is a machine of the fleet.
type Host struct {
	Name      dove.HostName `json:"name"`
	VTEP      string        `json:"vtep,omitempty" doc:"Its underlay address."`
	Serial    string        `json:"serial,omitempty" doc:"The serial number of its valid certificate; missing until it joined."`
	Foreign   bool          `json:"foreign,omitempty" doc:"It runs no dSwitch: endpoints bound to it are where its address is."`
	Plain     bool          `json:"plain,omitempty" doc:"It is sent VXLAN without group policy ids."`
	Endpoints int           `json:"endpoints" doc:"How many endpoints are bound to it."`
	Session   *Session      `json:"session,omitempty" doc:"Its session with a DPC member in reach, if there is one."`
	Revision  dove.Revision `json:"revision" doc:"The revision since which the resource has been as it is."`
}

// HostSpec is what a host is made of. A host also comes into being by joining.
type HostSpec struct {
	VTEP    netip.Addr `json:"vtep" doc:"Its underlay address."`
	Foreign bool       `json:"foreign,omitempty" doc:"It runs no dSwitch and never joins: a VXLAN device or switch of another kind."`
	Plain   bool       `json:"plain,omitempty" doc:"Of a foreign one: it does not know group policy ids."`
}

// JoinTokenSpec says how long a join token is good.
type JoinTokenSpec struct {
	Seconds int `json:"seconds,omitempty" minimum:"60" maximum:"604800" default:"3600" doc:"How long the token is good."`
}

// JoinToken admits one host, once.
type JoinToken struct {
	Token    string        `json:"token" doc:"Give it to dswitch --join. It is shown only here."`
	Host     dove.HostName `json:"host"`
	Expires  time.Time     `json:"expires"`
	Revision dove.Revision `json:"revision"`
}

// HostPath names a host in a request.
type HostPath struct {
	Host dove.HostName `path:"host" maxLength:"63"`
}

// HostFilter chooses among hosts; what is "" does not matter.
type HostFilter struct {
	Connected string `query:"connected" enum:"true,false" doc:"true: only those with a session with a DPC member in reach; false: only those without."`
	Behind    string `query:"behind" enum:"true,false" doc:"true: only those that have not acknowledged all that they were told; false: only those that have."`
}

// wants judges a host by its session, nil if it has none. Without one a host
// is neither behind nor not.
func (f HostFilter) wants(s *control.SessionStatus) bool {
	return (f.Connected == "" || (f.Connected == "true") == (s != nil)) &&
		(f.Behind == "" || s != nil && (f.Behind == "true") == behind(*s))
}

// behind reports whether a host has still to enforce some of what it was told.
func behind(s control.SessionStatus) bool { return s.Acked < s.Told }

// foreign reports whether a host runs no dSwitch.
func foreign(w *world.World, name dove.HostName) bool {
	h, _ := w.Host(name)
	return h.Foreign
}

func byHost(all []control.SessionStatus) map[dove.HostName]*control.SessionStatus {
	sessions := map[dove.HostName]*control.SessionStatus{}
	for _, status := range all {
		sessions[status.Host] = &status
	}
	return sessions
}

func renderHost(w *world.World, sessions map[dove.HostName]*control.SessionStatus) func(world.Host, dove.Revision) Host {
	return func(h world.Host, since dove.Revision) Host {
		out := Host{Name: h.Name, Serial: h.Serial, Foreign: h.Foreign, Plain: h.Plain, Revision: since}
		if session := sessions[h.Name]; session != nil {
			out.Session = new(renderSession(*session))
		}
		if h.VTEP.IsValid() {
			out.VTEP = h.VTEP.String()
		}
		for range w.EndpointsOn(h.Name) {
			out.Endpoints++
		}
		return out
	}
}

func (s *server) hosts() {
	register(s, huma.Operation{
		OperationID: "list-hosts", Method: http.MethodGet, Path: "/v1/hosts", Tags: []string{"hosts"},
		Summary: "List hosts",
	}, func(ctx context.Context, in *struct {
		Page
		HostFilter
	}) (*listAnswer[Host], error) {
		w, err := s.read(ctx, in.Freshness)
		if err != nil {
			return nil, err
		}
		sessions := byHost(s.Backend.Sessions())
		chosen := where(w.Hosts(), func(h world.Host) bool { return in.wants(sessions[h.Name]) })
		return list(w, in.Page, chosen, func(h world.Host) string { return string(h.Name) }, asOf(w, renderHost(w, sessions))), nil
	})
	register(s, huma.Operation{
		OperationID: "get-host", Method: http.MethodGet, Path: "/v1/hosts/{host}", Tags: []string{"hosts"},
		Summary: "Read a host",
	}, func(ctx context.Context, in *struct {
		HostPath
		Freshness
	}) (*Answer[Host], error) {
		w, err := s.read(ctx, in.Freshness)
		if err != nil {
			return nil, err
		}
		h, ok := w.Host(in.Host)
		return one(w, "host", in.Host, h, ok, renderHost(w, byHost(s.Backend.SessionsOf(h.Name))))
	})
	register(s, huma.Operation{
		OperationID: "put-host", Method: http.MethodPut, Path: "/v1/hosts/{host}", Tags: []string{"hosts"},
		Summary:     "Make a host, or change its underlay address",
		Description: "A host whose address changes has to join again, since its certificate names the old one. A foreign host never joins.",
	}, func(ctx context.Context, in *struct {
		HostPath
		Conditions
		Body HostSpec
	}) (*Written[Host], error) {
		return write(ctx, s, world.HostKey(in.Host), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, world.Host, error) {
			switch {
			case in.Body.Foreign:
				return edit.PutForeign(w, in.Host, in.Body.VTEP, in.Body.Plain, ifMatch)
			case in.Body.Plain:
				return dove.Txn{}, world.Host{}, dove.Errorf(dove.Invalid, "a host with a dSwitch knows group policy ids: plain is for foreign ones")
			}
			return edit.PutHost(w, in.Host, in.Body.VTEP, ifMatch)
		}, func(h world.Host, since dove.Revision) Host {
			return renderHost(s.Backend.World(), byHost(s.Backend.SessionsOf(h.Name)))(h, since)
		})
	})
	register(s, huma.Operation{
		OperationID: "delete-host", Method: http.MethodDelete, Path: "/v1/hosts/{host}", Tags: []string{"hosts"},
		Summary:     "Delete a host",
		Description: "Refused while endpoints are bound to it. Its certificate and join tokens are worth nothing afterwards.",
	}, func(ctx context.Context, in *struct {
		HostPath
		Conditions
	}) (*Written[Done], error) {
		return s.remove(ctx, world.HostKey(in.Host), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, error) {
			return edit.DeleteHost(w, in.Host, ifMatch)
		})
	})
	register(s, huma.Operation{
		OperationID: "create-join-token", Method: http.MethodPost, Path: "/v1/hosts/{host}/token", Tags: []string{"hosts"},
		Summary:     "Make a token that admits one host, once",
		Description: "The host need not exist yet. A host that joins again gets a new certificate; its old one is worth nothing from then on.",
	}, s.createJoinToken)
	registerOpen(s, huma.Operation{
		OperationID: "join", Method: http.MethodPost, Path: auth.JoinPath, Tags: []string{"hosts"},
		Summary:     "Join as a host",
		Description: "No bearer token: the join token in the body says who asks, and is used up.",
	}, s.join)
}

func (s *server) createJoinToken(ctx context.Context, in *struct {
	HostPath
	Body *JoinTokenSpec
}) (*Written[JoinToken], error) {
	ttl := time.Hour
	if in.Body != nil && in.Body.Seconds > 0 {
		ttl = time.Duration(in.Body.Seconds) * time.Second
	}
	token, err := auth.NewToken(auth.JoinToken, s.Authority.Pin(), s.Random)
	if err != nil {
		return nil, err
	}
	doc := world.JoinToken{ID: token.ID, Digest: token.Digest(), Host: in.Host, Expires: s.Now().Add(ttl).UTC().Truncate(time.Second)}
	return write(ctx, s, doc.Key(), Conditions{}, func(w *world.World, _ *dove.Revision) (dove.Txn, world.JoinToken, error) {
		txn, err := edit.CreateJoinToken(w, doc)
		return txn, doc, err
	}, func(doc world.JoinToken, r dove.Revision) JoinToken {
		return JoinToken{token.Text(), doc.Host, doc.Expires, r}
	})
}

// join signs first and commits then: a certificate is worth nothing until its
// serial number is the host's.
func (s *server) join(ctx context.Context, in *struct{ Body auth.JoinRequest }) (*Written[auth.JoinReply], error) {
	token, err := auth.ParseToken(auth.JoinToken, in.Body.Token)
	if err != nil {
		return nil, err
	}
	// Nobody without a good token makes the authority sign.
	known, _ := s.Backend.World().JoinToken(token.ID)
	if !token.Matches(known.Digest) {
		return nil, dove.Errorf(dove.Unauthorized, "the join token is not valid or was used: make one with dovectl host token")
	}
	if token.Pin != s.Authority.Pin() {
		return nil, dove.Errorf(dove.Unauthorized, "the join token is of another authority")
	}
	if string(known.Host) != in.Body.Host {
		return nil, dove.Errorf(dove.Forbidden, "the join token is for host %q, not %q", known.Host, in.Body.Host)
	}
	cert, serial, err := s.Authority.SignHost([]byte(in.Body.Request), known.Host, in.Body.VTEP, s.Now(), s.Random)
	if err != nil {
		return nil, err
	}
	request := edit.JoinRequest{Token: token.ID, Digest: token.Digest(), VTEP: in.Body.VTEP, Serial: serial, Now: s.Now()}
	return write(ctx, s, world.HostKey(known.Host), Conditions{}, func(w *world.World, _ *dove.Revision) (dove.Txn, world.Host, error) {
		txn, host, err := edit.Join(w, request)
		if err == nil && host.Name != known.Host {
			err = errors.New("a join token changed its host")
		}
		return txn, host, err
	}, func(h world.Host, r dove.Revision) auth.JoinReply {
		s.Log.Info("host joined", "host", string(h.Name), "vtep", h.VTEP.String(), "serial", serial)
		return auth.JoinReply{Certificate: string(cert), Authority: string(s.Authority.CertificatePEM()), Revision: r}
	})
}
