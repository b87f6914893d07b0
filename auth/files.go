package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Files of a state folder. A DPC member has the authority's and the server's, a
// host its own and the authority's certificate.
const (
	AuthorityCertFile = "ca.crt"
	AuthorityKeyFile  = "ca.key"
	ServerCertFile    = "server.crt"
	ServerKeyFile     = "server.key"
	HostCertFile      = "host.crt"
	HostKeyFile       = "host.key"
)

// Save writes the authority into dir, which it makes if need be. It never
// replaces another authority: the error then is fs.ErrExist.
func (a *Authority) Save(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, AuthorityKeyFile)); err == nil {
		return fmt.Errorf("%s holds an authority already: %w", dir, fs.ErrExist)
	}
	key, err := keyPEM(a.key)
	if err != nil {
		return err
	}
	return writeFiles(dir, file{AuthorityCertFile, a.CertificatePEM()}, file{AuthorityKeyFile, key})
}

// LoadAuthority reads what Save wrote.
func LoadAuthority(dir string) (*Authority, error) {
	cert, key, err := loadPair(dir, AuthorityCertFile, AuthorityKeyFile)
	if err != nil {
		return nil, fmt.Errorf("load the authority: %w", err)
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("load the authority: %s is no authority's certificate", filepath.Join(dir, AuthorityCertFile))
	}
	return &Authority{cert, key}, nil
}

// SaveServer writes a server certificate and its key into dir.
func SaveServer(dir string, server tls.Certificate) error {
	private, ok := server.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		panic(fmt.Sprintf("auth: key of a server certificate is a %T", server.PrivateKey))
	}
	key, err := keyPEM(private)
	if err != nil {
		return err
	}
	return writeFiles(dir, file{ServerCertFile, certificatePEM(server.Leaf)}, file{ServerKeyFile, key})
}

// LoadServer reads what SaveServer wrote and requires that the authority signed it.
func LoadServer(dir string, authority *x509.Certificate) (tls.Certificate, error) {
	cert, key, err := loadPair(dir, ServerCertFile, ServerKeyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("load the server's certificate: %w", err)
	}
	if err := cert.CheckSignatureFrom(authority); err != nil {
		return tls.Certificate{}, fmt.Errorf("the server's certificate is not from the authority beside it: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw, authority.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// NeedsRenewal reports whether less than half of the certificate's life is left.
func NeedsRenewal(cert *x509.Certificate, now time.Time) bool {
	return now.After(cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 2))
}

// Save writes the credentials into dir, which it makes if need be; earlier ones
// are replaced.
func (c *HostCredentials) Save(dir string) error {
	key, err := keyPEM(c.key)
	if err != nil {
		return err
	}
	return writeFiles(dir,
		file{AuthorityCertFile, certificatePEM(c.Authority)},
		file{HostKeyFile, key},
		file{HostCertFile, certificatePEM(c.cert)})
}

// LoadHost reads what Save wrote. The error is fs.ErrNotExist if the host has
// not joined.
func LoadHost(dir string) (*HostCredentials, error) {
	_, key, err := loadPair(dir, HostCertFile, HostKeyFile)
	if err != nil {
		return nil, fmt.Errorf("load the host's credentials: %w", err)
	}
	cert, err := os.ReadFile(filepath.Join(dir, HostCertFile))
	if err != nil {
		return nil, fmt.Errorf("load the host's credentials: %w", err)
	}
	authority, err := os.ReadFile(filepath.Join(dir, AuthorityCertFile))
	if err != nil {
		return nil, fmt.Errorf("load the host's credentials: %w", err)
	}
	return NewHostCredentials(key, cert, authority)
}

func loadPair(dir, certName, keyName string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certPath, keyPath := filepath.Join(dir, certName), filepath.Join(dir, keyName)
	text, err := os.ReadFile(certPath)
	if err != nil {
		return nil, nil, err
	}
	cert, err := parseCertificate(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", certPath, err)
	}
	if text, err = os.ReadFile(keyPath); err != nil {
		return nil, nil, err
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", keyPath, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, fmt.Errorf("%s is not the key of %s", keyPath, certPath)
	}
	return cert, key, nil
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("write a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("it is not a PEM block of type PRIVATE KEY")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, errors.New("the key is not ECDSA P-256")
	}
	return private, nil
}

type file struct {
	name string
	text []byte
}

// writeFiles writes each file as a whole or not at all, readable by its owner
// alone, the later ones after the earlier ones.
func writeFiles(dir string, files ...file) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, f := range files {
		if err := WriteSecret(filepath.Join(dir, f.name), f.text); err != nil {
			return err
		}
	}
	return nil
}

// WriteSecret replaces a file as a whole; only its owner can read it.
func WriteSecret(path string, text []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // after Rename there is nothing of that name
	_, err = temp.Write(text)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(temp.Name(), path)
}
