package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"

	"dove.network/control"
	"dove.network/dove"
)

// HostCredentials are what a joined host has: its key, its certificate and the
// authority that signed it.
type HostCredentials struct {
	Identity  control.Identity
	Authority *x509.Certificate
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
}

// NewHostKey makes a key and the request (PEM) for a certificate that names the
// host and its underlay address.
func NewHostKey(host dove.HostName, vtep netip.Addr) (key *ecdsa.PrivateKey, request []byte, err error) {
	if err := dove.CheckName(string(host)); err != nil {
		return nil, nil, fmt.Errorf("name of the host: %w", err)
	}
	if err := checkVTEP(vtep); err != nil {
		return nil, nil, err
	}
	return ask(roleHost, string(host), nil, []net.IP{vtep.AsSlice()})
}

// NewHostCredentials puts together what a host made and what it was given. It
// requires that the certificate belongs to the key, was signed by the authority
// and names a host.
func NewHostCredentials(key *ecdsa.PrivateKey, certPEM, authorityPEM []byte) (*HostCredentials, error) {
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate of the host: %w", err)
	}
	authority, err := parseCertificate(authorityPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate of the authority: %w", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the host's certificate is not for the host's key: join again")
	}
	if err := cert.CheckSignatureFrom(authority); err != nil {
		return nil, fmt.Errorf("the host's certificate is not from the authority beside it (join again): %w", err)
	}
	identity, err := HostIdentity(cert)
	if err != nil {
		return nil, err
	}
	return &HostCredentials{identity, authority, cert, key}, nil
}

// Certificate returns the host's certificate. Callers must not change it.
func (c *HostCredentials) Certificate() *x509.Certificate { return c.cert }

// TLS returns the configuration of the host's end of the control conversation.
func (c *HostCredentials) TLS() *tls.Config {
	config := ClientTLS(c.Authority)
	config.Certificates = []tls.Certificate{{
		Certificate: [][]byte{c.cert.Raw},
		PrivateKey:  c.key,
		Leaf:        c.cert,
	}}
	return config
}

// HostIdentity reads the identity that a host's certificate states. It does not
// check who signed it: TLS has. The error is of kind dove.Unauthorized.
func HostIdentity(cert *x509.Certificate) (control.Identity, error) {
	host, vtep, err := hostNames(cert.URIs, cert.IPAddresses)
	if err != nil {
		return control.Identity{}, dove.Errorf(dove.Unauthorized, "the certificate is not a host's: %v", err)
	}
	return control.Identity{Host: host, VTEP: vtep, Serial: serialText(cert)}, nil
}

func hostNames(uris []*url.URL, ips []net.IP) (dove.HostName, netip.Addr, error) {
	name, err := nameIn(uris, roleHost)
	if err != nil {
		return "", netip.Addr{}, err
	}
	if len(ips) != 1 {
		return "", netip.Addr{}, fmt.Errorf("it carries %d addresses instead of the host's one underlay address", len(ips))
	}
	vtep, ok := netip.AddrFromSlice(ips[0])
	if !ok {
		return "", netip.Addr{}, errors.New("its address is malformed")
	}
	vtep = vtep.Unmap()
	return dove.HostName(name), vtep, checkVTEP(vtep)
}

func checkVTEP(vtep netip.Addr) error {
	switch {
	case !vtep.IsValid() || vtep.Zone() != "" || vtep.Is4In6():
		return errors.New("the underlay address must be a plain IPv4 or IPv6 address")
	case vtep.IsUnspecified() || vtep.IsMulticast():
		return fmt.Errorf("the underlay address %s is not one host's", vtep)
	}
	return nil
}

// parseCertificate reads exactly one certificate.
func parseCertificate(text []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it is not one PEM block of type CERTIFICATE")
	}
	return x509.ParseCertificate(block.Bytes)
}
