package auth

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"dove.network/dove"
)

// TestSignMember signs what a member asks for, and nothing else.
func TestSignMember(t *testing.T) {
	a := authority(t, time.Now())
	_, request, err := NewMemberKey("dpc-2", []string{"dpc2.example", "192.0.2.2"})
	if err != nil {
		t.Fatal(err)
	}
	text, serial, err := a.SignMember(request, "dpc-2", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := parseCertificate(text)
	if err != nil {
		t.Fatal(err)
	}
	if name, s, err := MemberIdentity(cert); err != nil || name != "dpc-2" || s != serial {
		t.Errorf("the certificate says %q, %q, %v", name, s, err)
	}
	for _, name := range []string{"dpc2.example", "192.0.2.2", ServerName, "localhost"} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := HostIdentity(cert); dove.KindOf(err) != dove.Unauthorized {
		t.Errorf("a member's certificate as a host's: %v", err)
	}
	_, asHost, err := NewHostKey("dpc-2", vtep)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		request []byte
		member  string
		want    string
	}{
		"another": {request, "dpc-3", `names member "dpc-2"`},
		"host":    {asHost, "dpc-2", "dove://dpc/NAME"},
		"nothing": {nil, "dpc-2", "not one PEM block"},
		"changed": {[]byte(strings.Replace(string(request), "M", "N", 3)), "dpc-2", ""},
		"long":    {make([]byte, 20<<10), "dpc-2", "longer"},
	} {
		if _, _, err := a.SignMember(test.request, test.member, time.Now(), rand.Reader); dove.KindOf(err) != dove.Invalid || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"dpc 2", "", "dpc2:7443"} {
		if _, _, err := NewMemberKey("dpc-2", []string{bad}); err == nil {
			t.Errorf("a certificate for %q is asked for", bad)
		}
	}
}

// TestAuthorityTravels puts an authority together from its text, and refuses halves of two.
func TestAuthorityTravels(t *testing.T) {
	one, two := authority(t, time.Now()), authority(t, time.Now())
	key, err := one.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := NewAuthorityFrom(one.CertificatePEM(), key)
	if err != nil || again.Pin() != one.Pin() {
		t.Errorf("the authority is %v, %v", again, err)
	}
	if _, err := NewAuthorityFrom(two.CertificatePEM(), key); err == nil {
		t.Error("a key of another authority is taken")
	}
	server, err := one.IssueServer("dpc-1", nil, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewAuthorityFrom(certificatePEM(server.Leaf), key); err == nil {
		t.Error("a member's certificate is taken for an authority's")
	}
}
