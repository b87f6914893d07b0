package auth

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"dove.network/dove"
)

// Roles of who has a certificate; its URI is dove://ROLE/NAME.
const (
	roleHost   = "host"
	roleMember = "dpc"
)

func roleURI(role, name string) []*url.URL {
	return []*url.URL{{Scheme: "dove", Host: role, Path: "/" + name}}
}

// nameIn reads the name that the URIs of a certificate, or of a request for one, state for a role.
func nameIn(uris []*url.URL, role string) (string, error) {
	if len(uris) != 1 || uris[0].Scheme != "dove" || uris[0].Host != role {
		return "", fmt.Errorf("it does not carry exactly one URI of the form dove://%s/NAME", role)
	}
	name, ok := strings.CutPrefix(uris[0].String(), "dove://"+role+"/")
	if !ok {
		return "", errors.New("its URI is not of the form dove://" + role + "/NAME")
	}
	return name, dove.CheckName(name)
}

// ask makes a key and the request (PEM) for a certificate for it.
func ask(role, name string, dns []string, ips []net.IP) (key *ecdsa.PrivateKey, request []byte, err error) {
	if key, err = newKey(); err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name}, URIs: roleURI(role, name), DNSNames: dns, IPAddresses: ips,
	}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}
