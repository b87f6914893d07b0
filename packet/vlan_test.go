package packet

import (
	"bytes"
	"net/netip"
	"testing"

	"dove.network/dove"
)

func TestTag(t *testing.T) {
	plain := ARPRequest(dove.MAC{2, 1}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"))
	tag := func(bytes ...byte) []byte {
		return append(append(append([]byte{}, plain[:12]...), bytes...), plain[12:]...)
	}
	for name, c := range map[string]struct {
		frame []byte
		vlan  uint16
		inner []byte // nil: refused
	}{
		"none":           {plain, 0, plain},
		"runt":           {plain[:13], 0, plain[:13]},
		"tag":            {tag(0x81, 0, 0, 7), 7, plain},
		"greatest":       {tag(0x81, 0, 0x0f, 0xfe), 4094, plain},
		"priority":       {tag(0x81, 0, 0xf0, 7), 7, plain},
		"priority alone": {tag(0x81, 0, 0xe0, 0), 0, plain},
		"two":            {tag(0x81, 0, 0, 7, 0x81, 0, 0, 8), 0, nil},
		"provider's":     {tag(0x88, 0xa8, 0, 7), 0, nil},
		"and within":     {tag(0x81, 0, 0, 7, 0x88, 0xa8, 0, 8), 0, nil},
		"cut short":      {tag(0x81, 0, 0, 7)[:17], 0, nil},
		"just that":      {tag(0x81, 0, 0, 7)[:18], 7, plain[:14]},
	} {
		vlan, inner, ok := Untag(bytes.Clone(c.frame))
		if ok != (c.inner != nil) || vlan != c.vlan || ok && !bytes.Equal(inner, c.inner) {
			t.Errorf("%s: VLAN %d, %t, %x", name, vlan, ok, inner)
		}
	}
	if got := Tag(plain, 0x107); !bytes.Equal(got, tag(0x81, 0, 1, 7)) || !bytes.Equal(Tag(plain, 0), plain) {
		t.Errorf("tagged %x", got)
	}
}
