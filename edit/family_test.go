package edit_test

import (
	"net/netip"
	"testing"

	"dove.network/dove"
	"dove.network/edit"
)

// TestFamily has the first host decide which family the fleet's underlay has,
// and with it the MTU of networks to come.
func TestFamily(t *testing.T) {
	for _, c := range []struct {
		first, other string
		mtu          uint16
	}{
		{"192.0.2.1", "2001:db8::2", 1450},
		{"2001:db8::1", "192.0.2.2", 1430},
	} {
		b := newBook(t)
		b.tenant("acme")
		b.host("h1", c.first)
		b.blueprint("acme", shop)
		if n, _ := b.w.Network(dove.Network{Tenant: "acme", Name: "front"}); n.MTU != c.mtu {
			t.Errorf("with a host at %s a network has MTU %d, want %d", c.first, n.MTU, c.mtu)
		}
		if _, _, err := edit.PutHost(b.w, "h2", netip.MustParseAddr(c.other), nil); dove.KindOf(err) != dove.Conflict {
			t.Errorf("beside %s a host at %s: %v", c.first, c.other, err)
		}
		txn, _, err := edit.PutHost(b.w, "h1", netip.MustParseAddr(c.other), nil) // the only one may change
		b.must(txn, err)
		b.host("h2", netip.MustParseAddr(c.other).Next().String())
	}
}
