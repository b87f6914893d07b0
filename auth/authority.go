package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"time"

	"dove.network/dove"
)

// Lifetimes of certificates, and how far clocks may disagree when one is new.
const (
	AuthorityLifetime = 20 * 365 * 24 * time.Hour
	ServerLifetime    = 2 * 365 * 24 * time.Hour
	HostLifetime      = 2 * 365 * 24 * time.Hour
	ClockSkew         = 10 * time.Minute
)

// ServerName is a name that every DPC member's certificate carries, whatever
// its addresses are. Clients that hold the authority check for it and can so
// reach a member under any address.
const ServerName = "dpc.dove.internal"

// requestMax bounds a certificate request in bytes.
const requestMax = 16 << 10

// Authority is an installation's certificate authority. It never changes, so any
// goroutine may use it.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority with a new ECDSA P-256 key, valid from now on.
func NewAuthority(name string, now time.Time, random io.Reader) (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	serial, err := newSerial(random)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "DOVE authority of " + name},
		NotBefore:             now.Add(-ClockSkew),
		NotAfter:              now.Add(AuthorityLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	cert, err := issue(template, template, key.Public().(*ecdsa.PublicKey), key)
	if err != nil {
		return nil, err
	}
	return &Authority{cert, key}, nil
}

// Certificate returns the authority's own certificate. Callers must not change it.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// CertificatePEM returns the authority's own certificate for handing out.
func (a *Authority) CertificatePEM() []byte { return certificatePEM(a.cert) }

// Pin returns the digest of the authority's certificate.
func (a *Authority) Pin() Pin { return PinOf(a.cert) }

// PinOf returns the digest of a certificate.
func PinOf(cert *x509.Certificate) Pin { return sha256.Sum256(cert.Raw) }

// IssueServer makes a key and a certificate for the DPC member of the given
// name. Addresses are the host names and IP addresses (without port) under which
// others reach it; ServerName and "localhost" with its addresses are always
// added. The result's chain includes the authority, so that a pin can be checked.
func (a *Authority) IssueServer(member string, addresses []string, now time.Time, random io.Reader) (tls.Certificate, error) {
	template, err := serverTemplate(member, addresses, now, random)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := newKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	cert, err := issue(template, a.cert, key.Public().(*ecdsa.PublicKey), a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return a.chain(cert, key), nil
}

// chain returns a member's certificate as its listeners show it.
func (a *Authority) chain(cert *x509.Certificate, key *ecdsa.PrivateKey) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{cert.Raw, a.cert.Raw}, PrivateKey: key, Leaf: cert}
}

// serverTemplate is the certificate of a DPC member, which it shows to those who
// connect to it and to other members that it connects to.
func serverTemplate(member string, addresses []string, now time.Time, random io.Reader) (*x509.Certificate, error) {
	if err := dove.CheckName(member); err != nil {
		return nil, fmt.Errorf("name of the DPC member: %w", err)
	}
	template, err := leaf(member, roleMember, now, ServerLifetime, random)
	if err != nil {
		return nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames, template.IPAddresses, err = alternatives(append([]string{ServerName, "localhost", "127.0.0.1", "::1"}, addresses...))
	return template, err
}

// alternatives sorts addresses into host names and IP addresses, each once.
func alternatives(addresses []string) (dns []string, ips []net.IP, err error) {
	for _, s := range addresses {
		if addr, err := netip.ParseAddr(s); err == nil {
			ip := net.IP(addr.Unmap().WithZone("").AsSlice())
			if !slices.ContainsFunc(ips, ip.Equal) {
				ips = append(ips, ip)
			}
			continue
		}
		if err := checkDNSName(s); err != nil {
			return nil, nil, err
		}
		if !slices.Contains(dns, s) {
			dns = append(dns, s)
		}
	}
	return dns, ips, nil
}

// SignHost makes the certificate that a host asked for with request (PEM, as
// NewHostKey makes it). The request must be signed with its own ECDSA P-256 key
// and name exactly this host and this underlay address: whoever calls has
// decided that the asker may be that host. Errors are of kind dove.Invalid. The
// serial comes back as Identity.Serial will spell it.
func (a *Authority) SignHost(request []byte, host dove.HostName, vtep netip.Addr, now time.Time, random io.Reader) (certPEM []byte, serial string, err error) {
	bad := func(format string, args ...any) ([]byte, string, error) {
		return nil, "", dove.Errorf(dove.Invalid, "certificate request of host %s: "+format, append([]any{host}, args...)...)
	}
	csr, public, err := parseRequest(fmt.Sprintf("certificate request of host %s", host), request)
	if err != nil {
		return nil, "", err
	}
	asked, askedVTEP, err := hostNames(csr.URIs, csr.IPAddresses)
	switch {
	case err != nil:
		return bad("%v", err)
	case asked != host:
		return bad("it names host %q", asked)
	case askedVTEP != vtep:
		return bad("it names the underlay address %s, not %s", askedVTEP, vtep)
	}
	template, err := leaf(string(host), roleHost, now, HostLifetime, random)
	if err != nil {
		return nil, "", err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	template.IPAddresses = append(template.IPAddresses, vtep.AsSlice())
	cert, err := issue(template, a.cert, public, a.key)
	if err != nil {
		return nil, "", err
	}
	return certificatePEM(cert), serialText(cert), nil
}

// parseRequest reads a certificate request (PEM) that is signed with its own
// ECDSA P-256 key. Errors are of kind dove.Invalid.
func parseRequest(what string, request []byte) (*x509.CertificateRequest, *ecdsa.PublicKey, error) {
	bad := func(format string, args ...any) (*x509.CertificateRequest, *ecdsa.PublicKey, error) {
		return nil, nil, dove.Errorf(dove.Invalid, "%s: "+format, append([]any{what}, args...)...)
	}
	if len(request) > requestMax {
		return bad("it is longer than %d bytes", requestMax)
	}
	block, rest := pem.Decode(request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(bytes.TrimSpace(rest)) > 0 {
		return bad("it is not one PEM block of type CERTIFICATE REQUEST")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return bad("it cannot be read: %v", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return bad("it is not signed with its own key: %v", err)
	}
	public, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return bad("its key is not ECDSA P-256")
	}
	return csr, public, nil
}

// leaf is what certificates of members and hosts have in common: a name, and
// the same name as a URI, dove://ROLE/NAME.
func leaf(name, role string, now time.Time, lifetime time.Duration, random io.Reader) (*x509.Certificate, error) {
	serial, err := newSerial(random)
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-ClockSkew),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		URIs:         roleURI(role, name),
	}, nil
}

func issue(template, parent *x509.Certificate, public *ecdsa.PublicKey, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", template.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make an ECDSA key: %w", err)
	}
	return key, nil
}

// newSerial draws 127 bits: positive, and never the same twice.
func newSerial(random io.Reader) (*big.Int, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:]), nil
}

func serialText(cert *x509.Certificate) string { return cert.SerialNumber.Text(16) }

func checkDNSName(s string) error {
	if s == "" || len(s) > 253 {
		return errors.New("an address to be reached under must be an IP address or a host name of 1 to 253 bytes, without port")
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.':
		default:
			return fmt.Errorf("%q is neither an IP address nor a host name (without port)", s)
		}
	}
	return nil
}

func certificatePEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}
