package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

var vtep = netip.MustParseAddr("192.0.2.1")

func authority(t *testing.T, now time.Time) *Authority {
	t.Helper()
	a, err := NewAuthority("test", now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func join(t *testing.T, a *Authority, host dove.HostName, vtep netip.Addr, now time.Time) *HostCredentials {
	t.Helper()
	key, request, err := NewHostKey(host, vtep)
	if err != nil {
		t.Fatal(err)
	}
	cert, _, err := a.SignHost(request, host, vtep, now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewHostCredentials(key, cert, a.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestToken(t *testing.T) {
	pin := authority(t, time.Now()).Pin()
	for _, kind := range []TokenKind{AdminToken, JoinToken} {
		made, err := NewToken(kind, pin, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		read, err := ParseToken(kind, made.Text())
		if err != nil || read != made {
			t.Errorf("%s reads back as %v, %v", made.Text(), read, err)
		}
		if !read.Matches(made.Digest()) || read.Matches(nil) || read.Matches(make([]byte, 32)) {
			t.Errorf("%s: Matches is wrong", kind)
		}
		if strings.Contains(made.String(), made.Secret) {
			t.Errorf("String shows the secret: %s", made)
		}
		for _, bad := range []string{
			"", "x", made.Text() + "0", made.Text() + ".", strings.ToUpper(made.Text()),
			strings.Replace(made.Text(), ".", "..", 1), strings.Repeat("a", 300),
			strings.Replace(made.Text(), "dove-", "dive-", 1), made.String(),
		} {
			_, err := ParseToken(kind, bad)
			if dove.KindOf(err) != dove.Unauthorized {
				t.Errorf("ParseToken(%q) = %v", bad, err)
			} else if strings.Contains(err.Error(), made.Secret) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		}
	}
}

func TestSignHostRefuses(t *testing.T) {
	now := time.Now()
	a := authority(t, now)
	_, good, err := NewHostKey("h1", vtep)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(good)
	broken := bytes.Clone(block.Bytes)
	broken[len(broken)-1] ^= 1
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, p384)
	if err != nil {
		t.Fatal(err)
	}
	csr := func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}
	for name, c := range map[string]struct {
		request []byte
		host    dove.HostName
		vtep    netip.Addr
		says    string
	}{
		"no PEM":          {[]byte("hello"), "h1", vtep, "PEM block"},
		"two blocks":      {append(bytes.Clone(good), good...), "h1", vtep, "PEM block"},
		"garbage inside":  {csr([]byte{1, 2, 3}), "h1", vtep, "cannot be read"},
		"too long":        {make([]byte, requestMax+1), "h1", vtep, "longer than"},
		"bad signature":   {csr(broken), "h1", vtep, "not signed with its own key"},
		"wrong key":       {csr(other), "h1", vtep, "not ECDSA P-256"},
		"other host":      {good, "h2", vtep, `names host "h1"`},
		"other underlay":  {good, "h1", netip.MustParseAddr("192.0.2.2"), "names the underlay address 192.0.2.1"},
		"no underlay":     {good, "h1", netip.Addr{}, "names the underlay address"},
		"mapped underlay": {good, "h1", netip.MustParseAddr("::ffff:192.0.2.1"), "names the underlay address"},
	} {
		_, _, err := a.SignHost(c.request, c.host, c.vtep, now, rand.Reader)
		if dove.KindOf(err) != dove.Invalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v does not say %q", name, err, c.says)
		}
	}
	for _, bad := range []netip.Addr{{}, netip.IPv4Unspecified(), netip.MustParseAddr("ff02::1"), netip.MustParseAddr("fe80::1%eth0")} {
		if _, _, err := NewHostKey("h1", bad); err == nil {
			t.Errorf("underlay address %v is accepted", bad)
		}
	}
	if _, _, err := NewHostKey("H1", vtep); err == nil {
		t.Error("host name H1 is accepted")
	}
}

func TestHostIdentity(t *testing.T) {
	now := time.Now()
	a := authority(t, now)
	for _, addr := range []netip.Addr{vtep, netip.MustParseAddr("2001:db8::1")} {
		c := join(t, a, "h1", addr, now)
		want := control.Identity{Host: "h1", VTEP: addr, Serial: c.Certificate().SerialNumber.Text(16)}
		if c.Identity != want {
			t.Errorf("identity %+v, want %+v", c.Identity, want)
		}
	}
	server, err := a.IssueServer("dpc1", nil, now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, cert := range map[string]*x509.Certificate{"server": server.Leaf, "authority": a.Certificate()} {
		if _, err := HostIdentity(cert); dove.KindOf(err) != dove.Unauthorized {
			t.Errorf("the %s's certificate passes for a host's: %v", name, err)
		}
	}
}

func TestFiles(t *testing.T) {
	now, dir := time.Now(), filepath.Join(t.TempDir(), "state")
	a := authority(t, now)
	if err := a.Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := authority(t, now).Save(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second authority: %v", err)
	}
	loaded, err := LoadAuthority(dir)
	if err != nil || loaded.Pin() != a.Pin() {
		t.Fatalf("load the authority: %v", err)
	}
	server, err := a.IssueServer("dpc1", []string{"192.0.2.9", "dpc.example"}, now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := SaveServer(dir, server); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadServer(dir, a.Certificate()); err != nil {
		t.Error(err)
	}
	if _, err := LoadServer(dir, authority(t, now).Certificate()); err == nil {
		t.Error("a server certificate of another authority loads")
	}
	for _, name := range []string{"192.0.2.9", "dpc.example", "localhost", "127.0.0.1", "::1", ServerName} {
		if err := server.Leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := a.IssueServer("dpc1", []string{"192.0.2.9:7443"}, now, rand.Reader); err == nil {
		t.Error("an address with a port is accepted")
	}
	if NeedsRenewal(server.Leaf, now) || !NeedsRenewal(server.Leaf, now.Add(ServerLifetime/2+time.Hour)) {
		t.Error("NeedsRenewal is wrong")
	}

	host := filepath.Join(t.TempDir(), "host")
	if _, err := LoadHost(host); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a host that has not joined: %v", err)
	}
	for _, name := range []dove.HostName{"h1", "h2"} { // the second replaces the first
		c := join(t, a, name, vtep, now)
		if err := c.Save(host); err != nil {
			t.Fatal(err)
		}
		if back, err := LoadHost(host); err != nil || back.Identity != c.Identity {
			t.Errorf("load %s: %v", name, err)
		}
	}
	for _, d := range []string{dir, host} {
		files, err := os.ReadDir(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
			}
		}
	}
}

// shake lets two configurations meet on a loopback connection and returns what
// each side says. In TLS 1.3 the client learns of a refusal with its first read.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		c := tls.Server(raw, server)
		defer c.Close()
		if err = c.HandshakeContext(t.Context()); err == nil {
			_, err = c.Write([]byte("x"))
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, client)
	defer c.Close()
	if clientErr = c.HandshakeContext(t.Context()); clientErr == nil {
		_, clientErr = c.Read(make([]byte, 1))
	} else {
		c.Close()
	}
	return <-done, clientErr
}

func TestHandshakes(t *testing.T) {
	now := time.Now()
	a, other := authority(t, now), authority(t, now)
	server, err := a.IssueServer("dpc1", nil, now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// A certificate of the same authority that may not serve.
	host := join(t, a, "h1", vtep, now)
	asServer := tls.Certificate{Certificate: [][]byte{host.cert.Raw, a.cert.Raw}, PrivateKey: host.key}
	// Somebody in between who has the authority's public certificate.
	fake, err := other.IssueServer("dpc1", nil, now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	fake.Certificate[1] = a.cert.Raw
	asClient := ClientTLS(a.cert)
	asClient.Certificates = []tls.Certificate{server}
	api, control := APITLS(server), ControlTLS(server, a.cert)
	peer, second := PeerTLS(server, a.cert), PeerTLS(memberOf(t, a, now), a.cert)
	old := ClientTLS(a.cert)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12

	for name, c := range map[string]struct {
		server, client *tls.Config
		ok             bool
	}{
		"client of the API":               {api, ClientTLS(a.cert), true},
		"client of another authority":     {api, ClientTLS(other.cert), false},
		"TLS 1.2":                         {api, old, false},
		"pinned":                          {api, PinnedTLS(a.Pin()), true},
		"pinned to another":               {api, PinnedTLS(other.Pin()), false},
		"pinned, a host plays DPC":        {APITLS(asServer), PinnedTLS(a.Pin()), false},
		"pinned, somebody is in between":  {APITLS(fake), PinnedTLS(a.Pin()), false},
		"client, somebody is in between":  {APITLS(fake), ClientTLS(a.cert), false},
		"host":                            {control, host.TLS(), true},
		"host without certificate":        {control, ClientTLS(a.cert), false},
		"host of another authority":       {ControlTLS(fake, other.cert), host.TLS(), false},
		"other authority's host":          {control, mixed(join(t, other, "h1", vtep, now), a), false},
		"expired host":                    {control, join(t, a, "h1", vtep, now.Add(-HostLifetime-time.Hour)).TLS(), false},
		"host from the future":            {control, join(t, a, "h1", vtep, now.Add(time.Hour)).TLS(), false},
		"server certificate as a host's":  {control, asClient, false},
		"member":                          {peer, second, true},
		"host as a member":                {peer, host.TLS(), false},
		"member of another authority":     {peer, PeerTLS(memberOf(t, other, now), a.cert), false},
		"member to another authority's":   {PeerTLS(memberOf(t, other, now), a.cert), peer, false},
		"nobody as a member":              {peer, ClientTLS(a.cert), false},
		"host plays the other member":     {PeerTLS(asServer, a.cert), peer, false},
		"expired member":                  {peer, PeerTLS(expired(t, a, now), a.cert), false},
		"expired server, pinned":          {APITLS(expired(t, a, now)), PinnedTLS(a.Pin()), false},
		"authority's certificate as leaf": {APITLS(tls.Certificate{Certificate: [][]byte{a.cert.Raw}, PrivateKey: a.key}), PinnedTLS(a.Pin()), false},
	} {
		serverErr, clientErr := shake(t, c.server, c.client)
		if ok := serverErr == nil && clientErr == nil; ok != c.ok {
			t.Errorf("%s: server says %v, client says %v", name, serverErr, clientErr)
		}
	}
}

func memberOf(t *testing.T, a *Authority, now time.Time) tls.Certificate {
	t.Helper()
	c, err := a.IssueServer("dpc2", nil, now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mixed makes a host trust a while it shows what another authority signed.
func mixed(c *HostCredentials, a *Authority) *tls.Config {
	config := c.TLS()
	config.RootCAs = ClientTLS(a.cert).RootCAs
	return config
}

func expired(t *testing.T, a *Authority, now time.Time) tls.Certificate {
	t.Helper()
	c, err := a.IssueServer("dpc1", nil, now.Add(-ServerLifetime-time.Hour), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCredentialsMustFit(t *testing.T) {
	now := time.Now()
	a := authority(t, now)
	one, two := join(t, a, "h1", vtep, now), join(t, a, "h1", vtep, now)
	if one.Identity.Serial == two.Identity.Serial {
		t.Error("two certificates have one serial")
	}
	if _, err := NewHostCredentials(one.key, certificatePEM(two.cert), a.CertificatePEM()); err == nil {
		t.Error("a certificate passes with another key")
	}
	if _, err := NewHostCredentials(one.key, certificatePEM(one.cert), authority(t, now).CertificatePEM()); err == nil {
		t.Error("a certificate passes with another authority")
	}
	if _, err := newSerial(bytes.NewReader(nil)); err == nil {
		t.Error("no randomness, but a serial")
	}
	if s, err := newSerial(bytes.NewReader(make([]byte, 16))); err != nil || s.Cmp(big.NewInt(0)) <= 0 {
		t.Errorf("serial %v, %v", s, err)
	}
}
