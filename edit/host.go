package edit

import (
	"crypto/subtle"
	"fmt"
	"net/netip"
	"time"

	"dove.network/dove"
	"dove.network/world"
)

// PutHost makes a host or fixes its VTEP. A host that joined with another VTEP
// has to join again, since its certificate names the old one.
func PutHost(w *world.World, name dove.HostName, vtep netip.Addr, ifMatch *dove.Revision) (dove.Txn, world.Host, error) {
	return declare(w, world.Host{Name: name, VTEP: vtep}, ifMatch)
}

// PutForeign declares a host that runs no dSwitch, or changes its VTEP. Plain
// says that it does not know group policy ids.
func PutForeign(w *world.World, name dove.HostName, vtep netip.Addr, plain bool, ifMatch *dove.Revision) (dove.Txn, world.Host, error) {
	return declare(w, world.Host{Name: name, VTEP: vtep, Foreign: true, Plain: plain}, ifMatch)
}

func declare(w *world.World, doc world.Host, ifMatch *dove.Revision) (dove.Txn, world.Host, error) {
	old, exists := w.Host(doc.Name)
	var p problems
	checkName(&p, "name", string(doc.Name))
	checkVTEP(&p, w, doc.Name, doc.VTEP)
	if exists && old.Foreign != doc.Foreign {
		p.add(dove.Conflict, "foreign", "delete that host first, or choose another name", "host %q is %s", doc.Name, map[bool]string{true: "foreign", false: "one with a dSwitch"}[old.Foreign])
	}
	if err := p.err("the host"); err != nil {
		return dove.Txn{}, doc, err
	}
	if err := match(w, fmt.Sprintf("host %q", doc.Name), doc.Key(), ifMatch); err != nil {
		return dove.Txn{}, doc, err
	}
	if exists && old.VTEP == doc.VTEP && old.Plain == doc.Plain {
		return dove.Txn{}, old, nil
	}
	c := begin(w)
	c.putHost(old, doc)
	txn, err := c.done()
	return txn, doc, err
}

// checkVTEP checks that an address can be the host's alone.
func checkVTEP(p *problems, w *world.World, name dove.HostName, vtep netip.Addr) {
	const hint = "give the address of the host in the underlay, such as 192.0.2.1 or 2001:db8::1"
	if !vtep.IsGlobalUnicast() || vtep.Is4In6() || vtep.Zone() != "" { // also not the host itself, nor its whole link
		p.add(dove.Invalid, "vtep", hint, "VTEP %q is no unicast address that others reach", vtep)
		return
	}
	for h := range w.Hosts() {
		if h.Name != name && h.VTEP.IsValid() && h.VTEP.Is4() != vtep.Is4() {
			p.add(dove.Conflict, "vtep", "a fleet is on one underlay: the first host decides whether it is IPv4 or IPv6",
				"VTEP %s cannot reach host %q at %s", vtep, h.Name, h.VTEP)
			return
		}
	}
	if other, taken := w.HostByVTEP(vtep); taken && other.Name != name {
		p.add(dove.Conflict, "vtep", "delete that host first if it is gone", "VTEP %s is that of host %q", vtep, other.Name)
	}
}

// putHost writes a host and the claim of its VTEP, so that two hosts cannot get one VTEP at once.
func (c *change) putHost(old, doc world.Host) {
	c.put(doc)
	if old.VTEP == doc.VTEP {
		return
	}
	if old.VTEP.IsValid() {
		c.delete(world.VTEPKey(old.VTEP))
	}
	c.put(world.VTEPAlloc{VTEP: doc.VTEP, Host: doc.Name})
}

// occupy relies on a host for a binding. Who decided to delete the host before it
// had the binding could not read that there was none: the claim of the VTEP, which
// DeleteHost takes back, is therefore written again. Whoever has that claim is there.
func (c *change) occupy(h world.Host) {
	if !h.VTEP.IsValid() {
		c.read(h.Key())
		return
	}
	c.put(world.VTEPAlloc{VTEP: h.VTEP, Host: h.Name})
}

// DeleteHost removes a host that no endpoint is bound to. Its certificate and
// join tokens are worth nothing afterwards.
func DeleteHost(w *world.World, name dove.HostName, ifMatch *dove.Revision) (dove.Txn, error) {
	if err := match(w, fmt.Sprintf("host %q", name), world.HostKey(name), ifMatch); err != nil {
		return dove.Txn{}, err
	}
	host, exists := w.Host(name)
	if !exists {
		return dove.Txn{}, missingHost(name)
	}
	if names, more := some(w.EndpointsOn(name), func(e world.Endpoint) string { return e.Full().String() }); names != "" {
		var p problems
		p.add(dove.Conflict, "", "move, detach or delete them first", "host %q has endpoints %s%s", name, names, more)
		return dove.Txn{}, p.err(fmt.Sprintf("deleting host %q", name))
	}
	c := begin(w)
	c.delete(world.HostKey(name))
	if host.VTEP.IsValid() {
		c.delete(world.VTEPKey(host.VTEP))
	}
	for t := range w.JoinTokens() {
		if t.Host == name {
			c.delete(t.Key())
		}
	}
	return c.done()
}

// CreateJoinToken keeps a token that admits one host once. The host need not
// exist yet: it comes into being when it joins.
func CreateJoinToken(w *world.World, token world.JoinToken) (dove.Txn, error) {
	var p problems
	checkName(&p, "host", string(token.Host))
	checkToken(&p, token.ID, token.Digest)
	if err := p.err("the join token"); err != nil {
		return dove.Txn{}, err
	}
	if host, _ := w.Host(token.Host); host.Foreign {
		return dove.Txn{}, dove.Errorf(dove.Conflict, "host %q is declared foreign and cannot join: delete it first, or choose another name", token.Host)
	}
	if _, exists := w.JoinToken(token.ID); exists {
		return dove.Txn{}, dove.Errorf(dove.Exists, "join token %q exists: draw another id", token.ID)
	}
	c := begin(w)
	c.put(token)
	return c.done()
}

// digestBytes is the length of a SHA-256.
const digestBytes = 32

func checkToken(p *problems, id string, digest []byte) {
	checkName(p, "id", id)
	if len(digest) != digestBytes {
		p.add(dove.Invalid, "digest", "keep the SHA-256 of the secret", "the digest has %d bytes, not %d", len(digest), digestBytes)
	}
}

// JoinRequest is what a host that wants in shows, and the serial number of the
// certificate that it will get for it.
type JoinRequest struct {
	Token  string // id
	Digest []byte // SHA-256 of the secret that was shown
	VTEP   netip.Addr
	Serial string // hexadecimal
	Now    time.Time
}

// Join uses up a join token and makes Serial the one certificate that is valid
// for the token's host. The host is made if there is none; one that
// has a VTEP cannot bring another. Nothing tells an unknown token from a wrong secret.
func Join(w *world.World, r JoinRequest) (dove.Txn, world.Host, error) {
	token, known := w.JoinToken(r.Token)
	if subtle.ConstantTimeCompare(token.Digest, r.Digest) != 1 || !known || len(r.Digest) != digestBytes {
		return dove.Txn{}, world.Host{}, dove.Errorf(dove.Unauthorized, "the join token is not valid or was used: make one with dovectl host token")
	}
	if !r.Now.Before(token.Expires) {
		return dove.Txn{}, world.Host{}, dove.Errorf(dove.Unauthorized, "the join token expired at %s: make one with dovectl host token", token.Expires.UTC().Format(time.RFC3339))
	}
	old, exists := w.Host(token.Host)
	doc := world.Host{Name: token.Host, VTEP: r.VTEP, Serial: r.Serial}
	var p problems
	checkVTEP(&p, w, token.Host, r.VTEP)
	if exists && old.VTEP.IsValid() && old.VTEP != r.VTEP {
		p.add(dove.Conflict, "vtep", "join with that address, or change the host first", "host %q has VTEP %s, not %s", token.Host, old.VTEP, r.VTEP)
	}
	if old.Foreign {
		p.add(dove.Conflict, "host", "delete that host first, or choose another name", "host %q is declared foreign: it runs no dSwitch", token.Host)
	}
	if r.Serial == "" {
		p.add(dove.Invalid, "serial", "", "the certificate has no serial number")
	}
	if err := p.err(fmt.Sprintf("joining as host %q", token.Host)); err != nil {
		return dove.Txn{}, doc, err
	}
	c := begin(w)
	c.putHost(old, doc)
	c.delete(token.Key())
	txn, err := c.done()
	return txn, doc, err
}

func missingHost(name dove.HostName) error {
	return dove.Errorf(dove.NotFound, "there is no host %q", name)
}
