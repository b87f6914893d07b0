package resolver

import (
	"hash/maphash"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"dove.network/dove"
	"dove.network/policy"
	"dove.network/world"
)

// members are the classes that endpoints of a domain were found to have. Most have what
// many others have, and to find the class of a signature anew takes far longer.
type members map[memberKey][]likeness

// membersMax is how many of them are remembered.
const membersMax = 1 << 16

// memberKey tells most members apart; likeness tells them all.
type memberKey struct {
	sum    uint64
	prefix netip.Prefix // that policies mention
	open   bool
}

// likeness is what members of one class have alike.
type likeness struct {
	member policy.Member
	class  dove.Class
}

var seed = maphash.MakeSeed()

// sum is the same for equal members.
func sum(m policy.Member) uint64 {
	s := uint64(0)
	for _, g := range m.Groups {
		s += maphash.Comparable(seed, g)
	}
	for key, value := range m.Labels {
		s += maphash.Comparable(seed, [2]string{key, value})
	}
	for name := range m.Ports {
		s += maphash.String(seed, name)
	}
	return s
}

// class returns what world.AddressClass does, of an endpoint of a domain.
func (v *View) class(d dove.Domain, e *world.Endpoint, addr netip.Addr) dove.Class {
	t := v.ofDomain(d)
	member := e.Member()
	key := memberKey{sum(member), t.domain.Mentioned(addr), e.Open}
	if !e.Has(addr) {
		return dove.ClassNone
	}
	for _, l := range t.members[key] {
		if slices.Equal(l.member.Groups, member.Groups) && maps.Equal(l.member.Labels, member.Labels) && maps.Equal(l.member.Ports, member.Ports) {
			return l.class
		}
	}
	class, _ := v.world.ClassOf(d, t.domain.Signature(member, addr))
	if len(t.members) >= membersMax {
		clear(t.members)
	}
	t.members[key] = append(t.members[key], likeness{member, class})
	return class
}

// classesOf yields the classes of all that an endpoint may send from, some perhaps twice.
func (v *View) classesOf(d dove.Domain, e *world.Endpoint) iter.Seq[dove.Class] {
	return func(yield func(dove.Class) bool) {
		if !e.Open && len(e.Allowed) == 0 {
			for _, a := range e.Addresses {
				if !yield(v.class(d, e, a)) {
					return
				}
			}
			return
		}
		for _, s := range e.Signatures(v.world.Domain(d)) {
			class, _ := v.world.ClassOf(d, s)
			if !yield(class) {
				return
			}
		}
	}
}
