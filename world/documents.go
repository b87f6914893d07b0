package world

import (
	"encoding/json"
	"net/netip"
	"time"

	"dove.network/dove"
)

// Meta is the one document about the store itself, under MetaKey. Incarnation
// is drawn when a store is made and renewed by a restore: revisions compare
// only inside one.
type Meta struct {
	Incarnation uint64    `json:"incarnation"`
	CreatedAt   time.Time `json:"createdAt"`
}

// Tenant is an owner of blueprints and endpoints.
type Tenant struct {
	Name dove.Tenant `json:"name"`
}

// Blueprint is a tenant's document as it was given. Domain repeats what the
// text says, so that a reader need not parse.
type Blueprint struct {
	Tenant dove.Tenant `json:"tenant"`
	Name   string      `json:"name"`
	Domain string      `json:"domain"`
	Text   string      `json:"text"`
}

// Network is a segment with its decided VNI. Blueprint names its owner, "" if
// it was made by itself. Domain is fixed when the network is made.
type Network struct {
	Tenant    dove.Tenant    `json:"tenant"`
	Name      string         `json:"name"`
	Domain    string         `json:"domain"`
	Blueprint string         `json:"blueprint,omitempty"`
	Subnets   []netip.Prefix `json:"subnets"`
	VNI       dove.VNI       `json:"vni"`
	MTU       uint16         `json:"mtu"`
}

// Router joins networks of one domain. Blueprint names its owner, "" if it was
// made by itself. Interfaces are in order of networks, routes of prefixes.
type Router struct {
	Tenant     dove.Tenant `json:"tenant"`
	Name       string      `json:"name"`
	Domain     string      `json:"domain"`
	Blueprint  string      `json:"blueprint,omitempty"`
	Interfaces []Interface `json:"interfaces"`
	Routes     []Route     `json:"routes,omitempty"`
}

// Interface is a router's on a network. Addresses are those that were given:
// RouterOn says which it has.
type Interface struct {
	Network   string       `json:"network"`
	MAC       dove.MAC     `json:"mac"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

// Route leads a prefix that no network has to endpoints, by their addresses.
type Route struct {
	To  netip.Prefix `json:"to"`
	Via []netip.Addr `json:"via"`
}

// Endpoint is one interface of a workload. Class ids are not here: they follow
// from Groups and the alloc documents. Host is "" while it is bound to none;
// while it moves, Standby is the host of its other binding. Epoch grows with
// each change of its bindings.
type Endpoint struct {
	Tenant    dove.Tenant     `json:"tenant"`
	ID        dove.EndpointID `json:"id"`
	UID       dove.UID        `json:"uid"`
	Network   string          `json:"network"`
	MAC       dove.MAC        `json:"mac"`
	Addresses []netip.Addr    `json:"addresses"`
	Groups    []dove.Group    `json:"groups,omitempty"`
	Host      dove.HostName   `json:"host,omitempty"`
	Standby   dove.HostName   `json:"standby,omitempty"`   // never without Host, never the same
	Activated bool            `json:"activated,omitempty"` // it was active at Standby before it was at Host; false: Standby is only prepared
	Epoch     dove.Epoch      `json:"epoch,omitempty"`
	Device    string          `json:"device,omitempty"`  // "" = tap or dv and the first eleven characters of the id
	Allowed   []Allowed       `json:"allowed,omitempty"` // in order of prefixes
	Open      bool            `json:"open,omitempty"`    // port security is off: it may send from any address and MAC
	Parent    dove.EndpointID `json:"parent,omitempty"`  // of a sub-port: its frames come by that endpoint's device, and its bindings are those
	VLAN      uint16          `json:"vlan,omitempty"`    // and have this tag there, 1 to dove.VLANMax

	Labels map[string]string    `json:"labels,omitempty"` // by which groups select it
	Ports  map[string]dove.Port `json:"ports,omitempty"`  // of its own, under the names that policies use
}

// Allowed is what an endpoint may send from and gets beside its own addresses.
// A single address that several endpoints of a network are allowed is a virtual
// one: it is of whoever claimed it last (Claim).
type Allowed struct {
	Prefix netip.Prefix `json:"prefix"`
	MAC    dove.MAC     `json:"mac,omitzero"` // that it may use with it, zero: its own
}

// Claim says which endpoint has a virtual address. It counts for as long as that
// life of the endpoint is allowed the address.
type Claim struct {
	Tenant   dove.Tenant     `json:"tenant"`
	Network  string          `json:"network"`
	Addr     netip.Addr      `json:"addr"`
	Endpoint dove.EndpointID `json:"endpoint"`
	UID      dove.UID        `json:"uid"`
	Epoch    dove.Epoch      `json:"epoch"` // grows with each claim of the address
}

// Host is a machine of the fleet. VTEP is bound to its certificate at join.
type Host struct {
	Name dove.HostName `json:"name"`
	VTEP netip.Addr    `json:"vtep"`
	// Serial is the serial number of the one certificate that is valid for the
	// host, in hexadecimal; "" until it joined.
	Serial string `json:"serial,omitempty"`
	// Foreign hosts run no dSwitch: they never join nor ask, and endpoints bound
	// to one are where its VTEP is. Plain ones are sent no group policy id.
	Foreign bool `json:"foreign,omitempty"`
	Plain   bool `json:"plain,omitempty"`
}

// JoinToken admits one host, once, before Expires. Only a digest of the secret is kept.
type JoinToken struct {
	ID      string        `json:"id"`
	Digest  []byte        `json:"digest"` // SHA-256 of the secret
	Host    dove.HostName `json:"host"`
	Expires time.Time     `json:"expires"`
}

// APIToken lets its bearer use the API: as an administrator, or for a tenant alone.
type APIToken struct {
	ID      string      `json:"id"`
	Digest  []byte      `json:"digest"`           // SHA-256 of the secret
	Tenant  dove.Tenant `json:"tenant,omitempty"` // "": an administrator's
	Created time.Time   `json:"created,omitzero"`
}

// Request is a write that its client gave an id, and what came of it, so that
// a repetition gets the same answer. It is of no use after Expires.
type Request struct {
	Token       string          `json:"token"`              // id of the API token that asked
	ID          string          `json:"id"`                 // SHA-256 of the client's id, in hexadecimal
	Fingerprint []byte          `json:"fingerprint"`        // SHA-256 of the whole request
	Result      json.RawMessage `json:"result"`             // what was decided
	Revision    dove.Revision   `json:"revision,omitempty"` // since when that had been so; 0: since this document
	Expires     time.Time       `json:"expires"`
}

// ClassAlloc decides the class id of a signature (policy.Signature's key) in a domain.
type ClassAlloc struct {
	Tenant    dove.Tenant `json:"tenant"`
	Domain    string      `json:"domain"`
	Class     dove.Class  `json:"class"`
	Signature string      `json:"signature"`
	FreedAt   *time.Time  `json:"freedAt,omitempty"` // rests before the id is used again
}

// Edge is the moment up to which policies of a domain have ended. It moves when
// one ends, by a write, so that all compile the same at one revision.
type Edge struct {
	Tenant dove.Tenant `json:"tenant"`
	Domain string      `json:"domain"`
	At     time.Time   `json:"at"`
}

// VNIAlloc decides whose a VNI is.
type VNIAlloc struct {
	VNI     dove.VNI   `json:"vni"`
	Network string     `json:"network"` // "tenant/name"
	FreedAt *time.Time `json:"freedAt,omitempty"`
}

// Ledger makes all writes of a tenant's blueprints, networks and routers collide in the
// store: each writes it, because each judges the tenant's intent as a whole.
type Ledger struct {
	Tenant dove.Tenant `json:"tenant"`
}

// VTEPAlloc makes two hosts that claim one VTEP collide in the store, and the end
// of a host with a binding to it: each of these writes it. It says what Host says
// and is not read.
type VTEPAlloc struct {
	VTEP netip.Addr    `json:"vtep"`
	Host dove.HostName `json:"host"`
}

// ClassNext makes all choices in one domain collide in the store: of class ids,
// and of addresses and groups of endpoints. Each writes it. Next is where the next search for a class id begins.
type ClassNext struct {
	Tenant dove.Tenant `json:"tenant"`
	Domain string      `json:"domain"`
	Next   dove.Class  `json:"next"`
}

// VNINext does the same for VNIs.
type VNINext struct {
	Next dove.VNI `json:"next"`
}

// Prefix heads every key; no two kinds of document share a folder.
const Prefix = "/dove/v1/"

// Keys.
const (
	MetaKey      = Prefix + "meta"
	ClassNextKey = Prefix + "alloc/class-next/" // + tenant/domain: serializes choices of class ids
	VNINextKey   = Prefix + "alloc/vni-next"    // serializes choices of VNIs
)

// TenantKey and the rest give each document's key.
func TenantKey(t dove.Tenant) string { return Prefix + "tenants/" + string(t) }

// BlueprintKey is the key of a blueprint.
func BlueprintKey(t dove.Tenant, name string) string {
	return Prefix + "blueprints/" + string(t) + "/" + name
}

// NetworkKey is the key of a network.
func NetworkKey(n dove.Network) string { return Prefix + "networks/" + n.String() }

// RouterKey is the key of a router.
func RouterKey(r dove.Router) string { return Prefix + "routers/" + r.String() }

// EndpointKey is the key of an endpoint.
func EndpointKey(e dove.Endpoint) string { return endpointFolder + e.String() }

const endpointFolder = Prefix + "endpoints/"

// ClaimKey is the key of the claim to a virtual address of a network.
func ClaimKey(n dove.Network, a netip.Addr) string {
	return Prefix + "claims/" + n.String() + "/" + a.String()
}

// HostKey is the key of a host.
func HostKey(h dove.HostName) string { return Prefix + "hosts/" + string(h) }

// JoinTokenKey is the key of a join token.
func JoinTokenKey(id string) string { return Prefix + "join-tokens/" + id }

// APITokenKey is the key of an API token.
func APITokenKey(id string) string { return Prefix + "api-tokens/" + id }

// RequestKey is the key of a write that a client gave an id.
func RequestKey(token, id string) string { return Prefix + "requests/" + token + "/" + id }
