package world

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"

	"dove.network/dove"
)

// Document is anything that the store holds: a value with its key.
type Document interface{ Key() string }

// Put returns the write of a document.
func Put(d Document) dove.Put {
	value, err := json.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("world: document %s does not encode: %v", d.Key(), err))
	}
	return dove.Put{Key: d.Key(), Value: value}
}

// decode reads what Put wrote. An unknown field is an error: a newer controller
// wrote it, and to ignore it could mean to enforce less than was meant.
func decode[D Document](doc dove.Doc, into *D) error {
	d := json.NewDecoder(bytes.NewReader(doc.Value))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return dove.Errorf(dove.Internal, "document %s at revision %d is not readable: %v (a newer controller may have written it)", doc.Key, doc.Revision, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return dove.Errorf(dove.Internal, "document %s at revision %d has something after its end", doc.Key, doc.Revision)
	}
	if key := (*into).Key(); key != doc.Key {
		return dove.Errorf(dove.Internal, "document %s at revision %d says that it is %s", doc.Key, doc.Revision, key)
	}
	return nil
}

// Key returns MetaKey.
func (Meta) Key() string { return MetaKey }

// Key returns the document's key.
func (t Tenant) Key() string { return TenantKey(t.Name) }

// Key returns the document's key.
func (b Blueprint) Key() string { return BlueprintKey(b.Tenant, b.Name) }

// Key returns the document's key.
func (n Network) Key() string { return NetworkKey(n.Full()) }

// Key returns the document's key.
func (r Router) Key() string { return RouterKey(r.Full()) }

// Key returns the document's key.
func (e Endpoint) Key() string { return EndpointKey(e.Full()) }

// Key returns the document's key.
func (c Claim) Key() string { return ClaimKey(c.NetworkOf(), c.Addr) }

// Key returns the document's key.
func (h Host) Key() string { return HostKey(h.Name) }

// Key returns the document's key.
func (t JoinToken) Key() string { return JoinTokenKey(t.ID) }

// Key returns the document's key.
func (t APIToken) Key() string { return APITokenKey(t.ID) }

// Key returns the document's key.
func (r Request) Key() string { return RequestKey(r.Token, r.ID) }

// Key returns the document's key.
func (a ClassAlloc) Key() string { return ClassKey(a.DomainOf(), a.Signature) }

// Key returns the document's key.
func (e Edge) Key() string { return EdgeKey(e.DomainOf()) }

// DomainOf returns the domain whose policies end.
func (e Edge) DomainOf() dove.Domain { return dove.Domain{Tenant: e.Tenant, Name: e.Domain} }

// EdgeKey is the key of the edge of a domain.
func EdgeKey(d dove.Domain) string { return Prefix + "alloc/edge/" + d.String() }

// Key returns the document's key.
func (n ClassNext) Key() string { return ClassNextKey + n.DomainOf().String() }

// Key returns the document's key.
func (l Ledger) Key() string { return Prefix + "alloc/ledger/" + string(l.Tenant) }

// Key returns the document's key.
func (a VTEPAlloc) Key() string { return VTEPKey(a.VTEP) }

// Key returns the document's key.
func (a VNIAlloc) Key() string { return VNIKey(a.VNI) }

// Key returns VNINextKey.
func (VNINext) Key() string { return VNINextKey }

// ClassKey is the key of the class id of a signature in a domain. Signatures
// may be long, so the key has the first 16 bytes of the SHA-256.
func ClassKey(d dove.Domain, signature string) string {
	return Prefix + "alloc/class/" + d.String() + "/" + classDigest(signature)
}

func classDigest(signature string) string {
	sum := sha256.Sum256([]byte(signature))
	return hex.EncodeToString(sum[:16])
}

// VNIKey is the key of the owner of a VNI.
func VNIKey(v dove.VNI) string { return Prefix + "alloc/vni/" + strconv.Itoa(int(v)) }

// VTEPKey is the key of the owner of a VTEP.
func VTEPKey(a netip.Addr) string { return Prefix + "alloc/vtep/" + a.String() }

// Full returns the network's full name.
func (n Network) Full() dove.Network { return dove.Network{Tenant: n.Tenant, Name: n.Name} }

// DomainOf returns the domain in which the network's addresses are classified.
func (n Network) DomainOf() dove.Domain { return dove.Domain{Tenant: n.Tenant, Name: n.Domain} }

// Full returns the router's full name.
func (r Router) Full() dove.Router { return dove.Router{Tenant: r.Tenant, Name: r.Name} }

// DomainOf returns the domain of the networks that the router joins.
func (r Router) DomainOf() dove.Domain { return dove.Domain{Tenant: r.Tenant, Name: r.Domain} }

// DomainOf returns the domain whose intent the blueprint is part of.
func (b Blueprint) DomainOf() dove.Domain { return dove.Domain{Tenant: b.Tenant, Name: b.Domain} }

// Full returns the endpoint's full name.
func (e Endpoint) Full() dove.Endpoint { return dove.Endpoint{Tenant: e.Tenant, ID: e.ID} }

// Bindings returns the hosts that the endpoint is bound to, the one where it is
// active first.
func (e Endpoint) Bindings() []dove.HostName {
	switch {
	case e.Host == "":
		return nil
	case e.Standby == "":
		return []dove.HostName{e.Host}
	}
	return []dove.HostName{e.Host, e.Standby}
}

// BoundTo reports whether the endpoint has a binding to a host, active or standby.
func (e Endpoint) BoundTo(h dove.HostName) bool { return h != "" && (h == e.Host || h == e.Standby) }

// Source returns the host of an endpoint that moves whose flows the other one
// needs: where it is active until it is activated on the other, and from then on
// where it was.
func (e Endpoint) Source() dove.HostName {
	if e.Activated {
		return e.Standby
	}
	return e.Host
}

// Other returns the host of the other binding than that to h, "" if there is none.
func (e Endpoint) Other(h dove.HostName) dove.HostName {
	if h == e.Standby {
		return e.Host
	}
	return e.Standby
}

// NetworkOf returns the full name of the endpoint's network.
func (e Endpoint) NetworkOf() dove.Network { return dove.Network{Tenant: e.Tenant, Name: e.Network} }

// DomainOf returns the domain in which the class is an id.
func (a ClassAlloc) DomainOf() dove.Domain { return dove.Domain{Tenant: a.Tenant, Name: a.Domain} }

// DomainOf returns the domain whose class ids the document serializes.
func (n ClassNext) DomainOf() dove.Domain { return dove.Domain{Tenant: n.Tenant, Name: n.Domain} }

// NetworkOf returns the full name of the network of the claimed address.
func (c Claim) NetworkOf() dove.Network { return dove.Network{Tenant: c.Tenant, Name: c.Network} }
