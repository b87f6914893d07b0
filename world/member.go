package world

import (
	"cmp"
	"iter"
	"time"

	"dove.network/dove"
)

// Member is a DPC member: one of the processes that serve the API and the
// sessions of hosts, over one store. Addresses are those under which others
// reach it, "host:port"; "" where nobody can.
type Member struct {
	Name    string   `json:"name"`
	UID     dove.UID `json:"uid"`               // tells one life of a member from the next one under the same name
	API     string   `json:"api,omitempty"`     // of people and joining hosts
	Control string   `json:"control,omitempty"` // of sessions of hosts
	Peer    string   `json:"peer,omitempty"`    // of the streams of other members
	Etcd    string   `json:"etcd,omitempty"`    // of the etcd member inside its process; "" if it has none that others reach
	// Serial is the serial number of the one certificate that is valid for the
	// member, in hexadecimal.
	Serial   string    `json:"serial"`
	Joined   time.Time `json:"joined"`
	Draining bool      `json:"draining,omitempty"` // it takes no sessions and sends away those that it has
}

// MemberToken admits one DPC member, once, before Expires. Only a digest of the
// secret is kept.
type MemberToken struct {
	ID      string    `json:"id"`
	Digest  []byte    `json:"digest"` // SHA-256 of the secret
	Member  string    `json:"member"`
	Expires time.Time `json:"expires"`
}

// MemberKey is the key of a DPC member.
func MemberKey(name string) string { return Prefix + "members/" + name }

// MemberTokenKey is the key of a token that admits a DPC member.
func MemberTokenKey(id string) string { return Prefix + "member-tokens/" + id }

// Key returns the document's key.
func (m Member) Key() string { return MemberKey(m.Name) }

// Key returns the document's key.
func (t MemberToken) Key() string { return MemberTokenKey(t.ID) }

// Member returns a DPC member's document.
func (w *World) Member(name string) (Member, bool) { return docOf(w.members.find(memberAt(name))) }

// Members yields all DPC members.
func (w *World) Members() iter.Seq[Member] { return docs(w.members.all()) }

// MemberToken returns the document of a token that admits a DPC member. Expiry
// is the reader's concern.
func (w *World) MemberToken(id string) (MemberToken, bool) {
	return docOf(w.memberTokens.find(memberTokenAt(id)))
}

// MemberTokens yields all tokens that admit DPC members.
func (w *World) MemberTokens() iter.Seq[MemberToken] { return docs(w.memberTokens.all()) }

func byMember(a, b *held[Member]) int           { return cmp.Compare(a.doc.Name, b.doc.Name) }
func byMemberToken(a, b *held[MemberToken]) int { return cmp.Compare(a.doc.ID, b.doc.ID) }

func memberAt(name string) func(*held[Member]) int {
	return func(h *held[Member]) int { return cmp.Compare(h.doc.Name, name) }
}

func memberTokenAt(id string) func(*held[MemberToken]) int {
	return func(h *held[MemberToken]) int { return cmp.Compare(h.doc.ID, id) }
}
