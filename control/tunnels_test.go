package control

import (
	"net/netip"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"dove.network/control/controlpb"
	"dove.network/dove"
)

// TestFleetDigest: a digest is of a set, whatever its order, and of all of each tunnel; what
// was encoded once is what is encoded each time.
func TestFleetDigest(t *testing.T) {
	all := []Tunnel{{Host: "h1", VTEP: netip.MustParseAddr("192.0.2.1")}, {Host: "h2", VTEP: netip.MustParseAddr("192.0.2.2"), Plain: true}, {Host: "h3", VTEP: netip.MustParseAddr("2001:db8::3"), Foreign: true}}
	of := func(some ...Tunnel) Digest { return FleetDigest(slices.Values(some)) }
	whole := of(all...)
	if whole == (Digest{}) || of(all[2], all[0], all[1]) != whole {
		t.Errorf("in another order %s, not %s", of(all[2], all[0], all[1]), whole)
	}
	for name, other := range map[string]Tunnel{
		"host": {Host: "h4", VTEP: all[0].VTEP}, "address": {Host: "h1", VTEP: all[1].VTEP}, "foreign": {Host: "h1", VTEP: all[0].VTEP, Foreign: true}, "plain": {Host: "h1", VTEP: all[0].VTEP, Plain: true},
	} {
		if of(other, all[1], all[2]) == whole {
			t.Errorf("another %s has the same digest", name)
		}
	}
	if of(all[1], all[2]) == whole || of(all[0], Tunnel{VTEP: all[1].VTEP}) != (Digest{}) {
		t.Error("what lacks a tunnel, or knows not all of one, has a digest of all")
	}
	m := &Tunnels{Full: true, Add: all}
	if err := m.Encode(); err != nil {
		t.Fatal(err)
	}
	m.Add = nil // not looked at any more
	for _, revision := range []dove.Revision{7, 9} {
		want := wire(t, EncodeDown(&Tunnels{Revision: revision, Full: true, Add: all}))
		e := new(controlpb.Envelope)
		got, err := AppendDown(nil, m.At(revision))
		if err == nil {
			err = proto.Unmarshal(got, e)
		}
		if err != nil || !proto.Equal(want, e) {
			t.Errorf("encoded once, at revision %d it says %v, %v, not %v", revision, e, err, want)
		}
	}
}
