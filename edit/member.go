package edit

import (
	"crypto/subtle"
	"fmt"
	"time"

	"dove.network/dove"
	"dove.network/world"
)

// MembersMax is how many DPC members there may be: each more makes a write wait
// for one more disk, and five survive the loss of two. Seven leave room to replace some.
const MembersMax = 7

// PutMember writes what a DPC member says of itself when it starts: its addresses
// and the serial number of its certificate. Fresh says that it has never been
// written; else one that is not there any more was removed. Whether it is
// draining is not for the member to say.
func PutMember(w *world.World, doc world.Member, fresh bool) (dove.Txn, world.Member, error) {
	old, exists := w.Member(doc.Name)
	switch {
	case exists && old.UID != doc.UID:
		return dove.Txn{}, old, dove.Errorf(dove.Conflict, "member %q is another one, that joined at %s: remove it first, or choose another name", doc.Name, old.Joined.Format(time.RFC3339))
	case !exists && !fresh:
		return dove.Txn{}, doc, dove.Errorf(dove.Forbidden, "member %q was removed from this installation: join again, in an empty folder", doc.Name)
	case exists:
		doc.Joined, doc.Draining = old.Joined, old.Draining
	}
	var p problems
	checkMember(&p, w, doc)
	if err := p.err(fmt.Sprintf("member %q", doc.Name)); err != nil {
		return dove.Txn{}, doc, err
	}
	if exists && old == doc {
		return dove.Txn{}, old, nil
	}
	c := begin(w)
	c.put(doc)
	txn, err := c.done()
	return txn, doc, err
}

func checkMember(p *problems, w *world.World, doc world.Member) {
	checkName(p, "name", doc.Name)
	if doc.Serial == "" {
		p.add(dove.Invalid, "serial", "", "the certificate has no serial number")
	}
	taken := map[string]string{}
	others := 0
	for m := range w.Members() {
		if m.Name == doc.Name {
			continue
		}
		others++
		for _, a := range []string{m.API, m.Control, m.Peer, m.Etcd} {
			taken[a] = m.Name
		}
	}
	if others >= MembersMax {
		p.add(dove.TooLarge, "", "remove one that is gone: dovectl member remove NAME", "there are %d members already", others)
	}
	for _, its := range []struct{ path, address string }{{"api", doc.API}, {"control", doc.Control}, {"peer", doc.Peer}, {"etcd", doc.Etcd}} {
		path, a := its.path, its.address
		if a == "" {
			continue
		}
		if err := dove.CheckAddress(a, false); err != nil {
			p.add(dove.Invalid, path, "write dpc1.example:7443 or 192.0.2.9:7443", "%v", err)
			continue
		}
		if other := taken[a]; other != "" {
			p.add(dove.Conflict, path, "advertise the address under which others reach this member", "%s is the address of member %q", a, other)
		}
	}
}

// CreateMemberToken keeps a token that admits one DPC member once.
func CreateMemberToken(w *world.World, token world.MemberToken) (dove.Txn, error) {
	var p problems
	checkName(&p, "member", token.Member)
	checkToken(&p, token.ID, token.Digest)
	if err := p.err("the token"); err != nil {
		return dove.Txn{}, err
	}
	if _, exists := w.Member(token.Member); exists {
		return dove.Txn{}, memberExists(token.Member)
	}
	if _, exists := w.MemberToken(token.ID); exists {
		return dove.Txn{}, dove.Errorf(dove.Exists, "token %q exists: draw another id", token.ID)
	}
	c := begin(w)
	c.read(world.MemberKey(token.Member))
	c.put(token)
	return c.done()
}

// MemberJoin is what a DPC member that wants in shows, and what it will be.
type MemberJoin struct {
	Token  string // id
	Digest []byte // SHA-256 of the secret that was shown
	Member world.Member
	Now    time.Time
}

// CheckMemberJoin says whether a MemberJoin is good at a world.
func CheckMemberJoin(w *world.World, r MemberJoin) error {
	token, known := w.MemberToken(r.Token)
	if subtle.ConstantTimeCompare(token.Digest, r.Digest) != 1 || !known || len(r.Digest) != digestBytes {
		return dove.Errorf(dove.Unauthorized, "the token is not valid or was used: make one with dovectl member token")
	}
	if !r.Now.Before(token.Expires) {
		return dove.Errorf(dove.Unauthorized, "the token expired at %s: make one with dovectl member token", token.Expires.UTC().Format(time.RFC3339))
	}
	if token.Member != r.Member.Name {
		return dove.Errorf(dove.Forbidden, "the token is for member %q, not %q", token.Member, r.Member.Name)
	}
	if _, exists := w.Member(r.Member.Name); exists {
		return memberExists(r.Member.Name)
	}
	var p problems
	checkMember(&p, w, r.Member)
	return p.err(fmt.Sprintf("joining as member %q", r.Member.Name))
}

// JoinMember uses up a token and makes the DPC member that it is for. Nothing
// tells an unknown token from a wrong secret.
func JoinMember(w *world.World, r MemberJoin) (dove.Txn, world.Member, error) {
	if err := CheckMemberJoin(w, r); err != nil {
		return dove.Txn{}, r.Member, err
	}
	c := begin(w)
	c.put(r.Member)
	c.delete(world.MemberTokenKey(r.Token))
	txn, err := c.done()
	return txn, r.Member, err
}

// DrainMember says whether a DPC member takes sessions. One at least does.
func DrainMember(w *world.World, name string, draining bool, ifMatch *dove.Revision) (dove.Txn, world.Member, error) {
	doc, err := existingMember(w, name, ifMatch)
	if err != nil || doc.Draining == draining {
		return dove.Txn{}, doc, err
	}
	c := begin(w)
	if draining && !c.leave(name, func(m world.Member) bool { return !m.Draining }) {
		return dove.Txn{}, doc, dove.Errorf(dove.Conflict, "no other member takes sessions: hosts would have none")
	}
	doc.Draining = draining
	c.put(doc)
	txn, err := c.done()
	return txn, doc, err
}

// RemoveMember ends what a DPC member is. Its certificate is worth nothing
// afterwards. The last one stays.
func RemoveMember(w *world.World, name string, ifMatch *dove.Revision) (dove.Txn, error) {
	doc, err := existingMember(w, name, ifMatch)
	if err != nil {
		return dove.Txn{}, err
	}
	c := begin(w)
	if !c.leave(name, func(world.Member) bool { return true }) {
		return dove.Txn{}, dove.Errorf(dove.Conflict, "member %q is the last one: nobody would be left", name)
	}
	c.delete(doc.Key())
	for t := range w.MemberTokens() {
		if t.Member == name {
			c.delete(t.Key())
		}
	}
	return c.done()
}

// leave relies on another member that is good, and reports whether there is one:
// two that count on each other are not both right.
func (c *change) leave(name string, good func(world.Member) bool) bool {
	for m := range c.w.Members() {
		if m.Name != name && good(m) {
			c.read(m.Key())
			return true
		}
	}
	return false
}

func existingMember(w *world.World, name string, ifMatch *dove.Revision) (world.Member, error) {
	if err := match(w, fmt.Sprintf("member %q", name), world.MemberKey(name), ifMatch); err != nil {
		return world.Member{}, err
	}
	doc, exists := w.Member(name)
	if !exists {
		return doc, dove.Errorf(dove.NotFound, "there is no member %q", name)
	}
	return doc, nil
}

func memberExists(name string) error {
	return dove.Errorf(dove.Exists, "member %q exists: choose another name, or remove that one first with dovectl member remove %s", name, name)
}
