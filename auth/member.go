package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"

	"dove.network/dove"
)

// MemberJoinPath is where the API takes a MemberJoinRequest (POST, no bearer token).
const MemberJoinPath = "/v1/members/join"

// MemberJoinRequest is what a new DPC member sends.
type MemberJoinRequest struct {
	Token   string `json:"token" doc:"The member token as it was printed." maxLength:"256"`
	Name    string `json:"name" doc:"The member's name, as the token was made for." maxLength:"63"`
	UID     string `json:"uid" doc:"A number that the member drew, in hexadecimal." maxLength:"16" pattern:"^[0-9a-f]{1,16}$"`
	API     string `json:"api,omitempty" doc:"HOST:PORT under which others reach its API." maxLength:"300"`
	Control string `json:"control,omitempty" doc:"HOST:PORT under which hosts reach it." maxLength:"300"`
	Peer    string `json:"peer,omitempty" doc:"HOST:PORT under which other members reach it." maxLength:"300"`
	Etcd    string `json:"etcd,omitempty" doc:"HOST:PORT of the etcd member inside its process; missing if it is to have none." maxLength:"300"`
	Request string `json:"request" doc:"A PKCS #10 certificate request (PEM) for an ECDSA P-256 key, with the URI dove://dpc/NAME, and the member's host names and addresses as alternative names." maxLength:"16384"`
}

// MemberJoinReply is what the member gets. It holds the authority's key: every
// member admits hosts.
type MemberJoinReply struct {
	Certificate  string        `json:"certificate" doc:"The member's certificate (PEM)."`
	Authority    string        `json:"authority" doc:"The authority's certificate (PEM)."`
	AuthorityKey string        `json:"authorityKey" doc:"The authority's key (PEM)."`
	Etcd         []string      `json:"etcd" nullable:"false" doc:"HOST:PORT of the etcd members inside the processes of others; none if documents are in an etcd elsewhere."`
	Revision     dove.Revision `json:"revision" doc:"The revision that made the certificate valid."`
}

// NewMemberKey makes a key and the request (PEM) for a certificate that names a
// DPC member and the host names and IP addresses (without port) under which
// others reach it.
func NewMemberKey(member string, addresses []string) (key *ecdsa.PrivateKey, request []byte, err error) {
	dns, ips, err := alternatives(addresses)
	if err != nil {
		return nil, nil, err
	}
	return ask(roleMember, member, dns, ips)
}

// SignMember makes the certificate that a DPC member asked for with request (PEM,
// as NewMemberKey makes it), as SignHost does for hosts.
func (a *Authority) SignMember(request []byte, member string, now time.Time, random io.Reader) (certPEM []byte, serial string, err error) {
	what := "certificate request of member " + member
	csr, public, err := parseRequest(what, request)
	if err != nil {
		return nil, "", err
	}
	asked, err := nameIn(csr.URIs, roleMember)
	switch {
	case err != nil:
		return nil, "", dove.Errorf(dove.Invalid, "%s: %v", what, err)
	case asked != member:
		return nil, "", dove.Errorf(dove.Invalid, "%s: it names member %q", what, asked)
	}
	addresses := csr.DNSNames
	for _, ip := range csr.IPAddresses {
		addresses = append(addresses, ip.String())
	}
	template, err := serverTemplate(member, addresses, now, random)
	if err != nil {
		return nil, "", dove.Errorf(dove.Invalid, "%s: %v", what, err)
	}
	cert, err := issue(template, a.cert, public, a.key)
	if err != nil {
		return nil, "", err
	}
	return certificatePEM(cert), serialText(cert), nil
}

// MemberIdentity reads the name of the DPC member that a certificate states, and
// its serial number as documents spell it. It does not check who signed it: TLS
// has. The error is of kind dove.Unauthorized.
func MemberIdentity(cert *x509.Certificate) (name, serial string, err error) {
	name, err = nameIn(cert.URIs, roleMember)
	if err != nil {
		return "", "", dove.Errorf(dove.Unauthorized, "the certificate is not a DPC member's: %v", err)
	}
	return name, serialText(cert), nil
}

// KeyPEM returns the authority's key, for another member of the same installation.
func (a *Authority) KeyPEM() ([]byte, error) { return keyPEM(a.key) }

// NewAuthorityFrom puts together an authority from its certificate and key (PEM).
func NewAuthorityFrom(certPEM, keyPEM []byte) (*Authority, error) {
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate of the authority: %w", err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("key of the authority: %w", err)
	}
	switch {
	case !cert.IsCA:
		return nil, errors.New("certificate of the authority: it is no authority's")
	case !key.PublicKey.Equal(cert.PublicKey):
		return nil, errors.New("the authority's key is not that of its certificate")
	}
	return &Authority{cert, key}, nil
}

// Joined is what a DPC member gets that joins.
type Joined struct {
	Authority *Authority
	Server    tls.Certificate
	Etcd      []string // of others; none if documents are in an etcd elsewhere
}

// JoinMember asks a DPC member's API at server ("https://host:port" or
// "host:port") to admit another member. Request.Token and Request.Request are
// filled in here; addresses are those for the certificate. It believes only a server of
// the authority that the token names, and what it is given only if that is the
// authority. The token is used up if JoinMember succeeds.
func JoinMember(ctx context.Context, server string, token Token, request MemberJoinRequest, addresses []string) (*Joined, error) {
	key, csr, err := NewMemberKey(request.Name, addresses)
	if err != nil {
		return nil, err
	}
	request.Token, request.Request = token.Text(), string(csr)
	var reply MemberJoinReply
	if err := postJoin(ctx, server, token.Pin, MemberJoinPath, request, &reply); err != nil {
		return nil, err
	}
	authority, err := NewAuthorityFrom([]byte(reply.Authority), []byte(reply.AuthorityKey))
	if err != nil {
		return nil, fmt.Errorf("join at %s: %w", server, err)
	}
	cert, err := parseCertificate([]byte(reply.Certificate))
	if err != nil {
		return nil, fmt.Errorf("join at %s: certificate of the member: %w", server, err)
	}
	name, _, err := MemberIdentity(cert)
	switch {
	case authority.Pin() != token.Pin:
		return nil, fmt.Errorf("join at %s: the answer names another authority than the token", server)
	case err != nil:
		return nil, fmt.Errorf("join at %s: %w", server, err)
	case name != request.Name || !key.PublicKey.Equal(cert.PublicKey):
		return nil, fmt.Errorf("join at %s: the certificate is not what was asked for", server)
	}
	if err := cert.CheckSignatureFrom(authority.cert); err != nil {
		return nil, fmt.Errorf("join at %s: the certificate is not from the authority: %w", server, err)
	}
	return &Joined{authority, authority.chain(cert, key), reply.Etcd}, nil
}
