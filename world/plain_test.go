package world

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"dove.network/dove"
)

// TestPlainEndpoint reads random endpoints, and the same with mistakes, as they stand and as
// any document: what the former takes, the latter reads the same.
func TestPlainEndpoint(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	one := func(of ...string) string { return of[random.IntN(len(of))] }
	plain := 0
	const all = 20_000
	for range all {
		e := Endpoint{
			Tenant: dove.Tenant(one("acme", "a", "ä", "a<b", "")), ID: dove.EndpointID(one("e1", "vm-7.x", `q"`)), UID: dove.UID(random.Uint64() >> random.IntN(64)),
			Network: one("net", "n"), MAC: dove.MAC{2, byte(random.IntN(256))}, Host: dove.HostName(one("", "h1")), Epoch: dove.Epoch(random.Uint64() >> (20 + random.IntN(44))), Device: one("", "", "tap0"),
			Open: random.IntN(9) == 0, Standby: dove.HostName(one("", "", "", "", "h2")),
		}
		for range random.IntN(3) {
			e.Addresses = append(e.Addresses, netip.MustParseAddr(one("10.0.0.1", "fd00::1", "::ffff:1.2.3.4", "fe80::1%eth0")))
		}
		for i := range random.IntN(3) {
			e.Groups = append(e.Groups, dove.Group{Tenant: "acme", Blueprint: "shop", Name: fmt.Sprintf("g%d", i)})
		}
		for range random.IntN(4) * random.IntN(2) {
			if e.Labels == nil {
				e.Labels = map[string]string{}
			}
			e.Labels[one("app", "app", "example.com/tier", "app", "", "ä")] = one("web", "web", "", "db", "a<b")
		}
		put := Put(e)
		text := put.Value
		for range random.IntN(3) * random.IntN(2) {
			at := random.IntN(len(text))
			switch random.IntN(3) {
			case 0:
				text = append(text[:at:at], text[at+1:]...)
			case 1:
				text = append(append(text[:at:at], `",:{}[]0 19x\`[random.IntN(13)]), text[at:]...)
			default:
				text[at] = byte(random.IntN(256))
			}
			if len(text) == 0 {
				text = []byte("{")
			}
		}
		var is, want Endpoint
		if !plainEndpoint(text, &is) {
			continue
		}
		plain++
		if err := decode(dove.Doc{Key: is.Key(), Value: text}, &want); err != nil {
			t.Fatalf("seed %d: %s is taken, but: %v", seed, text, err)
		}
		if !reflect.DeepEqual(is, want) {
			t.Fatalf("seed %d: %s is read as\n%+v, not as\n%+v", seed, text, is, want)
		}
		if kept := pack(&want, newAlike(&want, want.kind()), 1).doc(); !reflect.DeepEqual(kept, want) {
			t.Fatalf("seed %d: %+v is kept as\n%+v", seed, want, kept)
		}
		h, err := readEndpoint(dove.Doc{Key: is.Key() + one("", "x"), Value: text})
		if (err == nil) != (h != nil) || h != nil && h.Key() != EndpointKey(is.Full()) {
			t.Fatalf("seed %d: %s under its key: %v", seed, text, err)
		}
	}
	if plain < all/10 {
		t.Errorf("only %d of %d are plain", plain, all)
	}
	other := Endpoint{Tenant: "acme", ID: "e1", Network: "net", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	if _, err := readEndpoint(dove.Doc{Key: EndpointKey(dove.Endpoint{Tenant: "acme", ID: "e2"}), Value: Put(other).Value}); err == nil {
		t.Error("an endpoint under another one's key is taken")
	}
}

func BenchmarkReadEndpoint(b *testing.B) {
	put := Put(Endpoint{
		Tenant: "acme", ID: "e1000000", UID: 1 << 60, Network: "net", MAC: dove.MAC{2, 1}, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
		Groups: []dove.Group{{Tenant: "acme", Blueprint: "shop", Name: "web"}}, Host: "h100", Epoch: 77,
	})
	for b.Loop() {
		if _, err := readEndpoint(dove.Doc{Key: put.Key, Value: put.Value}); err != nil {
			b.Fatal(err)
		}
	}
}
