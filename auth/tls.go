package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

// ClientTLS returns the configuration of a client of a DPC member that knows
// the authority: dovectl's, and without a certificate of the client. It checks
// for ServerName, not for the address dialled.
func ClientTLS(authority *x509.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: ServerName}
}

// APITLS returns the configuration of the API's listener: no certificate of the
// client is asked for, a bearer token says who it is.
func APITLS(server tls.Certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{server}}
}

// ControlTLS returns the configuration of the control listener: the client must
// show a host's certificate from the authority. Which host's it is, HostIdentity says.
func ControlTLS(server tls.Certificate, authority *x509.Certificate) *tls.Config {
	return mutual(server, authority, func(c *x509.Certificate) error {
		_, err := HostIdentity(c)
		return err
	})
}

// PeerTLS returns the configuration of both ends of a stream between two DPC
// members: each must show a member's certificate from the authority. Which
// member's it is, MemberIdentity says.
func PeerTLS(own tls.Certificate, authority *x509.Certificate) *tls.Config {
	c := mutual(own, authority, func(c *x509.Certificate) error {
		_, _, err := MemberIdentity(c)
		return err
	})
	c.RootCAs, c.ServerName = c.ClientCAs, ServerName
	return c
}

// mutual is what both ends show a certificate with, that of the client judged.
func mutual(own tls.Certificate, authority *x509.Certificate, judge func(*x509.Certificate) error) *tls.Config {
	clients := x509.NewCertPool()
	clients.AddCert(authority)
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
		// A resumed session would outlive the check of its certificate.
		SessionTicketsDisabled: true,
		VerifyConnection:       func(s tls.ConnectionState) error { return judge(s.PeerCertificates[0]) },
	}
}

// PinnedTLS returns the configuration of a client that knows only the
// authority's digest. The server must send the authority's certificate in its
// chain, and that chain must be good in every ordinary respect, with ServerName.
func PinnedTLS(pin Pin) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: ServerName,
		// The ordinary check needs a root to start from, which is what the pin
		// finds: verifyPinned does all of it.
		InsecureSkipVerify: true,
		VerifyConnection:   func(s tls.ConnectionState) error { return verifyPinned(pin, s) },
	}
}

func verifyPinned(pin Pin, s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server sent no certificate")
	}
	i := slices.IndexFunc(s.PeerCertificates, func(c *x509.Certificate) bool { return PinOf(c) == pin })
	if i < 0 {
		return errors.New("the server's certificate is not from the authority that the join token names: wrong server, or somebody is in between")
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.PeerCertificates[i])
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots:     roots,
		DNSName:   ServerName,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("the server is not a DPC member of the authority that the join token names: %w", err)
	}
	return nil
}
