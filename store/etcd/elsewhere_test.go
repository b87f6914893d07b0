package etcd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"dove.network/dove"
	"dove.network/store/etcd"
	"dove.network/store/storetest"
)

// TestElsewhere runs the conformance test over TLS, and checks that a client
// without a certificate gets nothing.
func TestElsewhere(t *testing.T) {
	files, ours := certificates(t)
	address := cluster(t, files).Clients[0].Addr().String()

	stranger := ours.Clone()
	stranger.Certificates = nil
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := etcd.Open(ctx, etcd.Config{Endpoints: []string{address}, TLS: stranger}); dove.KindOf(err) != dove.Unavailable {
		t.Errorf("without a certificate: %v", err)
	}

	s, err := etcd.Open(t.Context(), etcd.Config{Endpoints: []string{address}, TLS: ours})
	if err != nil {
		t.Fatal(err)
	}
	storetest.Run(t, s)
	if s.Stopped() != nil {
		t.Error("a store without a member says when it stops")
	}
}

// TestPassword runs the conformance test on a cluster that asks for a name and a password, as who may read and
// write what begins with a slash alone, and checks that nobody else gets anything.
func TestPassword(t *testing.T) {
	e := cluster(t, transport.TLSInfo{})
	address := e.Clients[0].Addr().String()
	admin, err := clientv3.New(clientv3.Config{Endpoints: []string{address}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	ctx := t.Context()
	_, err1 := admin.RoleAdd(ctx, "dove")
	_, err2 := admin.RoleGrantPermission(ctx, "dove", "/", clientv3.GetPrefixRangeEnd("/"), clientv3.PermissionType(clientv3.PermReadWrite))
	_, err3 := admin.RoleAdd(ctx, "root")
	errs := []error{err1, err2, err3}
	for user, role := range map[string]string{"dove": "dove", "root": "root", "nobody": ""} {
		_, err := admin.UserAdd(ctx, user, "secret of "+user)
		errs = append(errs, err)
		if role != "" {
			_, err = admin.UserGrantRole(ctx, user, role)
			errs = append(errs, err)
		}
	}
	_, err4 := admin.AuthEnable(ctx)
	if err := errors.Join(append(errs, err4)...); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]etcd.Config{
		"no name":        {},
		"wrong password": {User: "dove", Password: "secret"},
		"no role":        {User: "nobody", Password: "secret of nobody"},
	} {
		c.Endpoints, c.Prefix = []string{address}, "/"
		within, cancel := context.WithTimeout(ctx, 5*time.Second)
		s, err := etcd.Open(within, c)
		if err == nil {
			_, err = s.Load(within, "/", func([]dove.Doc) error { return nil })
			s.Close()
		}
		t.Logf("%s: %v", name, err)
		if err == nil || within.Err() != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	open := func(user string) *etcd.Store {
		s, err := etcd.Open(ctx, etcd.Config{Endpoints: []string{address}, Prefix: "/", User: user, Password: "secret of " + user})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	root := open("root")
	storetest.Run(t, limited{open("dove"), root})
	if err := root.Close(); err != nil {
		t.Error(err)
	}
}

// limited is a store of one who may not compact, which is for the cluster's own operator.
type limited struct {
	*etcd.Store
	root *etcd.Store
}

func (l limited) Compact(ctx context.Context, upTo dove.Revision) error {
	return l.root.Compact(ctx, upTo)
}

// cluster starts a cluster of one, that serves clients with certificates if there are any.
func cluster(t *testing.T, files transport.TLSInfo) *embed.Etcd {
	t.Helper()
	c := embed.NewConfig()
	c.Dir = t.TempDir()
	c.ListenPeerUrls = nil
	c.ListenClientUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	if !files.Empty() {
		c.ListenClientUrls[0].Scheme = "https"
	}
	c.AdvertiseClientUrls = c.ListenClientUrls
	c.ClientTLSInfo = files
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return e
}

// certificates makes an authority with a certificate for both ends.
func certificates(t *testing.T) (transport.TLSInfo, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	self := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, self, self, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, content := range map[string][]byte{certFile: cert, keyFile: secret} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(cert, secret)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return transport.TLSInfo{CertFile: certFile, KeyFile: keyFile, TrustedCAFile: certFile, ClientCertAuth: true},
		&tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS13}
}
