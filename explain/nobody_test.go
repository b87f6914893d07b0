package explain_test

import (
	"net/netip"
	"strings"
	"testing"

	"dove.network/dove"
	"dove.network/explain"
	"dove.network/verdict"
)

// TestWhyNobody asks about addresses that nobody has: policy answers as for any
// that is outside, and what is in the way says where packets would end.
func TestWhyNobody(t *testing.T) {
	w := shopWorld(t)
	for _, test := range []struct {
		from, to string
		protocol dove.Protocol
		port     uint16
		allowed  bool
		rule     string
		says     string // part of what is in the way; empty: refused
		network  string // that it is on
	}{
		{"web-1", "10.0.0.99", dove.ProtocolTCP, 443, false, verdict.DefaultDeny, "no endpoint has address 10.0.0.99 on network acme/front", "front"},
		{"web-1", "fd00::99", dove.ProtocolICMP, 128 << 8, false, verdict.DefaultDeny, "no endpoint has address fd00::99 on network acme/front", "front"},
		{"web-1", "front/10.0.0.99", dove.ProtocolTCP, 443, false, verdict.DefaultDeny, "no endpoint has address 10.0.0.99", "front"},
		{"web-1", "10.0.5.99", dove.ProtocolTCP, 443, false, verdict.DefaultDeny, "no endpoint has address 10.0.5.99 on network acme/store", "store"},
		{"web-1", "10.0.5.1", dove.ProtocolTCP, 443, false, verdict.DefaultDeny, "is router core's own address", "store"},
		{"web-1", "back/10.0.0.99", dove.ProtocolTCP, 443, false, verdict.DefaultDeny, "on network acme/back, and no router joins that with network acme/front", "back"},
		{"app-b", "10.9.0.7", dove.ProtocolTCP, 443, false, verdict.DefaultDeny, "in no subnet of network acme/back", ""},
		{"web-1", "203.0.113.9", dove.ProtocolTCP, 443, false, verdict.DefaultDeny, "there is no gateway to other addresses", ""},
		{"203.0.113.9", "web-1", dove.ProtocolTCP, 443, false, verdict.DefaultDeny, "nobody has address 203.0.113.9, and switches let no endpoint send", ""},
		{"203.0.113.9", "203.0.113.10", dove.ProtocolTCP, 443, false, "", "", ""},
		{"app-6", "10.0.0.99", dove.ProtocolTCP, 443, false, "", "", ""}, // no IPv4 address
		{"web-1", "web-1/10.0.0.99", dove.ProtocolTCP, 443, false, "", "", ""},
		{"web-1", "none/10.0.0.99", dove.ProtocolTCP, 443, false, "", "", ""},
	} {
		name := test.from + " to " + test.to
		q, err := explain.Ends(w, "acme", test.from, test.to)
		q.Protocol, q.Port = test.protocol, test.port
		var a explain.Answer
		if err == nil {
			a, err = explain.Why(w, q)
		}
		if err != nil {
			if kind := dove.KindOf(err); test.says != "" || kind != dove.NotFound && kind != dove.Invalid {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		nobody := a.To
		if a.From.Endpoint == (dove.Endpoint{}) {
			nobody = a.From
		}
		if a.Allowed != test.allowed || a.Rule != test.rule || a.Reaches() || len(a.Obstacles) == 0 || !strings.Contains(a.Obstacles[0], test.says) ||
			nobody.Network.Name != test.network || nobody.Endpoint != (dove.Endpoint{}) || a.Domain.Name != "shop" {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// TestWhyOutside asks what policies say of addresses that they name and nobody has.
func TestWhyOutside(t *testing.T) {
	w := shopWorld(t, hole)
	ask := func(from, to string, port uint16) explain.Answer {
		t.Helper()
		q, err := explain.Ends(w, "acme", from, to)
		if err != nil {
			t.Fatal(err)
		}
		q.Protocol, q.Port = dove.ProtocolTCP, port
		a, err := explain.Why(w, q)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := ask("web-1", "203.0.113.7", 443); !a.Allowed || a.Rule != "hole/out" || a.Reaches() {
		t.Errorf("%+v", a)
	}
	if a := ask("web-1", "203.0.113.8", 443); a.Allowed || a.Near.Rule != "hole/out" || a.Near.Terms() != "to" { // excepted
		t.Errorf("%+v", a)
	}
	if a := ask("203.0.113.7", "web-1", 22); !a.Allowed || a.Rule != "hole/in" || a.From.Addr != netip.MustParseAddr("203.0.113.7") {
		t.Errorf("%+v", a)
	}
}
