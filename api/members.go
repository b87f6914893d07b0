package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dove.network/auth"
	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// Member is a DPC member: one of the processes that serve this API and hosts.
type Member struct {
	Name     string        `json:"name"`
	API      string        `json:"api,omitempty" doc:"HOST:PORT under which people and joining hosts reach it."`
	Control  string        `json:"control,omitempty" doc:"HOST:PORT under which hosts reach it."`
	Peer     string        `json:"peer,omitempty" doc:"HOST:PORT under which other members reach it."`
	Etcd     string        `json:"etcd,omitempty" doc:"HOST:PORT of the etcd member inside its process; missing if there is none that others reach."`
	Serial   string        `json:"serial" doc:"The serial number of its valid certificate."`
	Joined   time.Time     `json:"joined"`
	Draining bool          `json:"draining,omitempty" doc:"It takes no sessions of hosts, and sends away those that it has."`
	Answers  bool          `json:"answers,omitempty" doc:"It is the one that answers this."`
	Reached  bool          `json:"reached" doc:"The one that answers hears of it; else applied and sessions are what it said last."`
	Applied  dove.Revision `json:"applied" doc:"The revision of the documents by which it answers; 0 if it never said."`
	Sessions int           `json:"sessions" doc:"How many hosts have a session with it."`
	Revision dove.Revision `json:"revision" doc:"The revision since which the resource has been as it is."`
}

// MemberTokenSpec says how long a token is good.
type MemberTokenSpec struct {
	Seconds int `json:"seconds,omitempty" minimum:"60" maximum:"86400" default:"1800" doc:"How long the token is good."`
}

// MemberToken admits one DPC member, once.
type MemberToken struct {
	Token    string        `json:"token" doc:"Give it to dpc join. It is shown only here, and whoever shows it first gets the authority's key."`
	Member   string        `json:"member"`
	Expires  time.Time     `json:"expires"`
	Revision dove.Revision `json:"revision"`
}

// MemberPath names a DPC member in a request.
type MemberPath struct {
	Member string `path:"member" maxLength:"63"`
}

// StoreHealth is how full the store is, and what is wrong with it.
type StoreHealth struct {
	Size   int64    `json:"size" doc:"Bytes of the file of the answering member's etcd member, or of one elsewhere."`
	InUse  int64    `json:"inUse" doc:"Bytes of that."`
	Most   int64    `json:"most" doc:"What size can become, in bytes: the quota, or less if the disk has less room."`
	Full   int      `json:"full" doc:"Hundredths of most. From 70 on it is an alarm, from 85 on tenants can add nothing."`
	Leader string   `json:"leader,omitempty" doc:"The member that orders writes."`
	Alarms []string `json:"alarms" nullable:"false"`
}

// health asks for the health of the store.
func (s *server) health(ctx context.Context) StoreHealth {
	h, err := s.Store.Health(ctx)
	if err != nil {
		h.Alarms = append(h.Alarms, "the store does not answer")
	}
	h.Alarms = append([]string{}, h.Alarms...)
	return h
}

func (s *server) renderMember() func(world.Member, dove.Revision) Member {
	known := map[string]control.MemberStatus{}
	for _, is := range s.Backend.Members() {
		known[is.Member] = is
	}
	return func(m world.Member, since dove.Revision) Member {
		is := known[m.Name]
		return Member{
			Reached: is.Reached, Applied: is.Applied, Sessions: is.Sessions,
			Name: m.Name, API: m.API, Control: m.Control, Peer: m.Peer, Etcd: m.Etcd, Serial: m.Serial,
			Joined: m.Joined, Draining: m.Draining, Answers: m.Name == s.Member, Revision: since,
		}
	}
}

func (s *server) members() {
	register(s, huma.Operation{
		OperationID: "list-members", Method: http.MethodGet, Path: "/v1/members", Tags: []string{"members"},
		Summary: "List the DPC members",
	}, func(ctx context.Context, in *struct{ Page }) (*listAnswer[Member], error) {
		w, err := s.read(ctx, in.Freshness)
		if err != nil {
			return nil, err
		}
		return list(w, in.Page, w.Members(), func(m world.Member) string { return m.Name }, asOf(w, s.renderMember())), nil
	})
	register(s, huma.Operation{
		OperationID: "get-member", Method: http.MethodGet, Path: "/v1/members/{member}", Tags: []string{"members"},
		Summary: "Read a DPC member",
	}, func(ctx context.Context, in *struct {
		MemberPath
		Freshness
	}) (*Answer[Member], error) {
		w, err := s.read(ctx, in.Freshness)
		if err != nil {
			return nil, err
		}
		m, ok := w.Member(in.Member)
		return one(w, "member", in.Member, m, ok, s.renderMember())
	})
	s.draining(http.MethodPut, "drain-member", "Have a DPC member send its sessions away and take none", true)
	s.draining(http.MethodDelete, "undrain-member", "Have a DPC member take sessions again", false)
	register(s, huma.Operation{
		OperationID: "remove-member", Method: http.MethodDelete, Path: "/v1/members/{member}", Tags: []string{"members"},
		Summary:     "Remove a DPC member for good",
		Description: "Ask another member than that. It is refused if the others could not write the store. The member's process ends, if it runs; it has the authority's key, so destroy its state folder.",
	}, s.removeMember)
	register(s, huma.Operation{
		OperationID: "create-member-token", Method: http.MethodPost, Path: "/v1/members/{member}/token", Tags: []string{"members"},
		Summary:     "Make a token that admits one DPC member, once",
		Description: "Whoever shows it becomes a member and gets the authority's key: it can admit hosts and members.",
	}, s.createMemberToken)
	registerOpen(s, huma.Operation{
		OperationID: "join-member", Method: http.MethodPost, Path: auth.MemberJoinPath, Tags: []string{"members"},
		Summary:     "Join as a DPC member",
		Description: "No bearer token: the token in the body says who asks, and is used up.",
	}, s.joinMember)
}

func (s *server) draining(method, id, summary string, draining bool) {
	register(s, huma.Operation{
		OperationID: id, Method: method, Path: "/v1/members/{member}/drain", Tags: []string{"members"}, Summary: summary,
	}, func(ctx context.Context, in *struct {
		MemberPath
		Conditions
	}) (*Written[Member], error) {
		return write(ctx, s, world.MemberKey(in.Member), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, world.Member, error) {
			return edit.DrainMember(w, in.Member, draining, ifMatch)
		}, s.renderMember())
	})
}

// removeMember changes the cluster of the store first: what is left of a member
// whose document is gone could not be found any more.
func (s *server) removeMember(ctx context.Context, in *struct {
	MemberPath
	Conditions
}) (*Written[Done], error) {
	w, err := s.read(ctx, Freshness{})
	if err != nil {
		return nil, err
	}
	ifMatch, err := in.revision()
	if err == nil {
		_, err = edit.RemoveMember(w, in.Member, ifMatch)
	}
	if m, there := w.Member(in.Member); err == nil && there {
		if m.Name == s.Member {
			return nil, dove.Errorf(dove.Conflict, "member %q is the one that answers: ask another one to remove it", m.Name)
		}
		if m.Etcd != "" {
			if err := s.Store.Dismiss(ctx, m.Etcd); err != nil {
				return nil, err
			}
		}
	}
	return s.remove(ctx, world.MemberKey(in.Member), in.Conditions, func(w *world.World, ifMatch *dove.Revision) (dove.Txn, error) {
		return edit.RemoveMember(w, in.Member, ifMatch)
	})
}

func (s *server) createMemberToken(ctx context.Context, in *struct {
	MemberPath
	Body *MemberTokenSpec
}) (*Written[MemberToken], error) {
	ttl := 30 * time.Minute
	if in.Body != nil && in.Body.Seconds > 0 {
		ttl = time.Duration(in.Body.Seconds) * time.Second
	}
	token, err := auth.NewToken(auth.MemberToken, s.Authority.Pin(), s.Random)
	if err != nil {
		return nil, err
	}
	doc := world.MemberToken{ID: token.ID, Digest: token.Digest(), Member: in.Member, Expires: s.Now().Add(ttl).UTC().Truncate(time.Second)}
	return write(ctx, s, doc.Key(), Conditions{}, func(w *world.World, _ *dove.Revision) (dove.Txn, world.MemberToken, error) {
		txn, err := edit.CreateMemberToken(w, doc)
		return txn, doc, err
	}, func(doc world.MemberToken, r dove.Revision) MemberToken {
		return MemberToken{token.Text(), doc.Member, doc.Expires, r}
	})
}

// joinMember makes place in the store's cluster first, and takes it back if the
// document is refused, unless it is another's by now: the same token may have been shown
// twice at once. A place that nobody takes counts for nothing.
func (s *server) joinMember(ctx context.Context, in *struct{ Body auth.MemberJoinRequest }) (*Written[auth.MemberJoinReply], error) {
	token, err := auth.ParseToken(auth.MemberToken, in.Body.Token)
	if err != nil {
		return nil, err
	}
	// Nobody without a good token makes the authority sign, or the store be asked.
	known, _ := s.Backend.World().MemberToken(token.ID)
	if !token.Matches(known.Digest) {
		return nil, dove.Errorf(dove.Unauthorized, "the token is not valid or was used: make one with dovectl member token")
	}
	if token.Pin != s.Authority.Pin() {
		return nil, dove.Errorf(dove.Unauthorized, "the token is of another authority")
	}
	uid, err := strconv.ParseUint(in.Body.UID, 16, 64)
	if err != nil || uid == 0 {
		return nil, dove.Errorf(dove.Invalid, "the UID must be a number other than 0, in hexadecimal")
	}
	cert, serial, err := s.Authority.SignMember([]byte(in.Body.Request), in.Body.Name, s.Now(), s.Random)
	if err != nil {
		return nil, err
	}
	request := edit.MemberJoin{Token: token.ID, Digest: token.Digest(), Now: s.Now(), Member: world.Member{
		Name: in.Body.Name, UID: dove.UID(uid), API: in.Body.API, Control: in.Body.Control, Peer: in.Body.Peer, Etcd: in.Body.Etcd,
		Serial: serial, Joined: s.Now().UTC().Truncate(time.Second),
	}}
	w, err := s.read(ctx, Freshness{})
	if err != nil {
		return nil, err
	}
	if err := edit.CheckMemberJoin(w, request); err != nil {
		return nil, err
	}
	key, err := s.Authority.KeyPEM()
	if err != nil {
		return nil, err
	}
	others, err := s.Store.Admit(ctx, request.Member.Etcd)
	if err != nil {
		return nil, err
	}
	if len(others) == 0 {
		request.Member.Etcd = ""
	}
	out, err := write(ctx, s, world.MemberKey(request.Member.Name), Conditions{}, func(w *world.World, _ *dove.Revision) (dove.Txn, world.Member, error) {
		return edit.JoinMember(w, request)
	}, func(m world.Member, r dove.Revision) auth.MemberJoinReply {
		s.Log.Info("member joined", "member", m.Name, "api", m.API, "serial", serial)
		return auth.MemberJoinReply{
			Certificate: string(cert), Authority: string(s.Authority.CertificatePEM()), AuthorityKey: string(key),
			Etcd: append([]string{}, others...), Revision: r,
		}
	})
	if err != nil && len(others) > 0 && !s.hasEtcd(in.Body.Etcd) {
		if err := s.Store.Dismiss(context.WithoutCancel(ctx), in.Body.Etcd); err != nil {
			s.Log.Warn("an etcd member that did not join is left over; it is forgotten when one joins at its address", "address", in.Body.Etcd, "error", err)
		}
	}
	return out, err
}

// hasEtcd reports whether a member has its etcd member at an address.
func (s *server) hasEtcd(address string) bool {
	for m := range s.Backend.World().Members() {
		if m.Etcd == address {
			return true
		}
	}
	return false
}
