package policy

import (
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"

	"dove.network/dove"
)

// Signer gives members of a domain their signatures, each once for all that are
// alike: most endpoints have what many others have. It has one owner.
type Signer struct {
	domain *Domain
	known  map[likeKey][]*like
}

// likeKey tells most members apart; like tells them all.
type likeKey struct {
	sum    uint64
	prefix netip.Prefix // that policies mention
	open   bool
}

// like is what members have that are alike, and what they get.
type like struct {
	member    Member
	signature Signature
	key       string
}

// NewSigner returns a signer of a domain that has seen nobody.
func NewSigner(d *Domain) *Signer { return &Signer{d, map[likeKey][]*like{}} }

// SignatureIn returns what Domain.SignatureIn does, and its key.
func (s *Signer) SignatureIn(m Member, within netip.Prefix) (Signature, string) {
	at := likeKey{sum(m), s.domain.mention.longest(within), m.Open}
	for _, l := range s.known[at] {
		if slices.Equal(l.member.Groups, m.Groups) && maps.Equal(l.member.Labels, m.Labels) && maps.Equal(l.member.Ports, m.Ports) {
			return l.signature, l.key
		}
	}
	signature := s.domain.SignatureIn(m, within)
	l := &like{m, signature, signature.Key()}
	s.known[at] = append(s.known[at], l)
	return l.signature, l.key
}

var likeSeed = maphash.MakeSeed()

// sum is the same for equal members.
func sum(m Member) uint64 {
	n := uint64(0)
	for _, g := range m.Groups {
		n += maphash.Comparable(likeSeed, g)
	}
	for key, value := range m.Labels {
		n += maphash.Comparable(likeSeed, [2]string{key, value})
	}
	for name, port := range m.Ports {
		n += maphash.Comparable(likeSeed, struct {
			string
			dove.Port
		}{name, port})
	}
	return n
}
